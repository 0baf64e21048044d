// A desk in memory: the pages' API for one office with one appointment, so that the pages can be tested without the server.
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { WebSocketServer } from 'ws';

const TYPES = { '.html': 'text/html; charset=utf-8', '.js': 'text/javascript', '.css': 'text/css', '.json': 'application/json', '.svg': 'image/svg+xml', '.woff2': 'font/woff2' };
const POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self'; media-src 'self' blob:; worker-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/** Serves `dist` with `script` as the pages' bundle; `options` are the name and texts of the office, to be hostile with. */
export async function fakeDesk({ dist, script, name = 'Kim Müller', texts = {}, office: more = {}, notice = {}, notices = {} }) {
  const office = { id: 'mitte', name: 'Bürgeramt Mitte', time_zone: 'Europe/Berlin', languages: ['de', 'en', 'de-leicht'], help: { phone: '+49 30 115', text: 'Montag bis Freitag, 8 bis 18 Uhr' }, links: { imprint: '/impressum', privacy: '/datenschutz', accessibility: '/barrierefrei', feedback: 'hilfe@example.org' }, theme: { logo_url: null, colours: { primary: '#00509b', on_primary: '#ffffff' } }, login: { oidc: true, demo: [{ id: 'off', name: 'Frau Schröder' }] }, ...more };
  const hour = 3_600_000;
  const at = (ms) => new Date(Date.now() + ms).toISOString();
  const needs = { signing: false, live_text: false, interpreter: false, companion: false };
  const kim = { id: 'per_kim', role: 'citizen', name, stage: 'invited', needs, linked_to: null, link: 'unused', other_device: false, notice_agreed: false, devices: null, waiting_since: null, message: null };
  const apt = { id: 'apt_1', external_ref: 'A-1', subject: 'Personalausweis', starts_at: at(0), ends_at: at(hour / 2), state: 'scheduled', outcome: null, version: 1, late: false, people: [kim] };
  const calls = [];
  const bodies = {};
  let version = 0;
  const view = () => ({ version: ++version, server_time: at(0), me: kim, appointment: { ...apt, opens_at: at(-hour), closes_at: at(hour) }, authority: office,
    notice: { kind: 'notice', hash: 'h', title: 'Datenschutz', text: 'Es wird nichts aufgezeichnet.', details: 'Rechtsgrundlage: DSGVO Art. 6.', ...notice }, notices, present: [{ id: 'off', role: 'official', name: 'Frau Schröder', stage: 'in_call', linked_to: null }], grants: { publish: true, captions: false } });
  const day = () => ({ day: at(0).slice(0, 10), appointments: [apt] });
  const sockets = new Set();
  const changed = () => { for (const { socket, citizen } of sockets) socket.send(JSON.stringify(citizen ? { type: 'view', view: view() } : { type: 'day', day: day() })); };
  let signedIn = false;
  const change = (fields) => { Object.assign(kim, fields); changed(); return view(); };
  const no = (status, code, more = {}) => ({ status, body: { type: `https://schalter.example/problems/${code}`, title: code, ...more } });
  const answer = (method, where, body) => {
    calls.push(`${method} ${where}`);
    bodies[where] = body;
    const own = where.match(/^appointments\/apt_1\/people\/per_kim\/(\w+)$/)?.[1];
    if (own) return change({ admit: { stage: 'admitted' }, deny: { stage: 'denied' }, hold: { stage: 'held' }, message: { message: { text: body.text, at: at(0) } } }[own]);
    switch (`${method} ${where}`) {
      case 'GET office': return office;
      case 'POST links/open': if (body.token === 'early') return no(409, 'too-early', { opens_at: '2026-12-07T08:30:00.000Z' }); return body.token === 'good' ? change({ link: 'bound', stage: 'opened' }) : no(404, 'link-unknown');
      case 'GET me': return kim.link === 'bound' ? view() : no(401, 'no-session');
      case 'POST me/notice': return change({ notice_agreed: true });
      case 'POST me/devices': return change({ devices: body });
      case 'POST me/needs': return change({ needs: body });
      case 'POST me/wait': return change({ stage: 'waiting', waiting_since: at(0) });
      case 'POST me/leave': return change({ stage: 'left' });
      case 'POST me/seat': case 'POST appointments/apt_1/seat': return { url: '', token: 't' };
      case 'GET official': return signedIn ? { official: { id: 'off', name: 'Frau Schröder', acr: null }, office, outcomes: ['done', 'no_show'], server_time: at(0) } : no(401, 'no-session');
      case 'POST login/demo': signedIn = true; return {};
      case 'POST login/link': return no(401, 'login-link-expired');
      case 'POST appointments': return { ...apt, ...body, id: 'apt_2', people: [{ ...kim, join_url: 'https://example.org/termin#secret' }] };
      case 'POST appointments/apt_1/colleague': return { join_url: 'https://example.org/amt#einladung=x' };
      case 'POST appointments/apt_1/end': apt.state = 'ended'; changed(); return apt;
      default: return where.startsWith('texts/') ? texts : no(404, 'not-found');
    }
  };
  const server = http.createServer(async (request, response) => {
    const { pathname } = new URL(request.url, 'http://127.0.0.1');
    if (pathname.startsWith('/desk/v1/')) {
      let text = '';
      for await (const chunk of request) text += chunk;
      const result = answer(request.method, pathname.slice(9), text ? JSON.parse(text) : {});
      return void response.writeHead(result.status ?? 200, { 'content-type': 'application/json' }).end(JSON.stringify(result.status ? result.body : result));
    }
    const file = pathname === '/termin' || pathname === '/amt' ? `${pathname}.html` : pathname;
    const full = path.join(dist, path.normalize(file));
    const body = file === '/assets/desk.js' ? script : fs.existsSync(full) && fs.statSync(full).isFile() ? fs.readFileSync(full) : undefined;
    if (!body) return void response.writeHead(404).end();
    response.writeHead(200, { 'content-type': TYPES[path.extname(file)] ?? 'application/octet-stream', 'cache-control': 'no-store', ...(file.endsWith('.html') ? { 'content-security-policy': POLICY } : {}) }).end(body);
  });
  const hub = new WebSocketServer({ server });
  hub.on('connection', (socket, request) => {
    const entry = { socket, citizen: request.url.includes('/me/') };
    sockets.add(entry);
    socket.on('close', () => sockets.delete(entry));
    socket.send(JSON.stringify(entry.citizen ? { type: 'view', view: view() } : { type: 'day', day: day() }));
  });
  await new Promise((ready) => server.listen(0, '127.0.0.1', ready));
  return { url: `http://127.0.0.1:${server.address().port}`, calls, bodies, kim, change, close: () => new Promise((closed) => { for (const { socket } of sockets) socket.terminate(); hub.close(); server.closeAllConnections(); server.close(closed); }) };
}
