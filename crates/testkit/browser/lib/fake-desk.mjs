// A desk in memory: the pages' API for one office with one appointment, so that the pages can be tested without the server.
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { WebSocketServer } from 'ws';

const TYPES = { '.html': 'text/html; charset=utf-8', '.js': 'text/javascript', '.css': 'text/css', '.json': 'application/json', '.svg': 'image/svg+xml', '.woff2': 'font/woff2' };
const POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self'; media-src 'self' blob:; worker-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/** What `If-Match` must come with. */
const HELD = ['PATCH ', 'POST cancel', 'POST people', 'PATCH person', 'DELETE person', 'POST link', 'DELETE link'];

/** Serves `dist` with `script` as the pages' bundle; `options` are the name and texts of the office, to be hostile with, `offices` where there are several, and what the citizen is in place of one (`me`). */
export async function fakeDesk({ dist, script, name = 'Kim Müller', texts = {}, office: more = {}, notice = {}, notices = {}, offices, me = {} }) {
  const office = { id: 'mitte', name: 'Bürgeramt Mitte', time_zone: 'Europe/Berlin', languages: ['de', 'en', 'de-leicht'], help: { phone: '+49 30 115', text: 'Montag bis Freitag, 8 bis 18 Uhr' }, links: { imprint: '/impressum', privacy: '/datenschutz', accessibility: '/barrierefrei', feedback: 'hilfe@example.org' }, theme: { logo_url: null, colours: { primary: '#00509b', on_primary: '#ffffff' } }, login: { oidc: true, demo: [{ id: 'off', name: 'Frau Schröder' }] }, ...more };
  const hour = 3_600_000;
  const at = (ms) => new Date(Date.now() + ms).toISOString();
  const needs = { signing: false, live_text: false, interpreter: false, companion: false };
  const kim = { id: 'per_kim', role: 'citizen', name, stage: 'invited', needs, language: null, linked_to: null, link: 'unused', other_device: false, notice_agreed: false, devices: null, waiting_since: null, message: null, ...me };
  const apt = { id: 'apt_1', external_ref: 'A-1', subject: 'Personalausweis', starts_at: at(0), ends_at: at(hour / 2), state: 'scheduled', outcome: null, version: 1, late: false, people: [kim] };
  const calls = [];
  const bodies = {};
  const requests = [];
  let version = 0;
  const view = () => ({ version: ++version, server_time: at(0), me: kim, appointment: { ...apt, opens_at: at(-hour), closes_at: at(hour) }, authority: office,
    notice: { kind: 'notice', hash: 'h', title: 'Datenschutz', text: 'Es wird nichts aufgezeichnet.', details: 'Rechtsgrundlage: DSGVO Art. 6.', ...notice }, notices, present: [{ id: 'off', role: 'official', name: 'Frau Schröder', stage: 'in_call', linked_to: null }], grants: { publish: !['captioner', 'observer'].includes(kim.role), captions: kim.role === 'captioner' } });
  const made = [];
  const day = () => ({ day: at(0).slice(0, 10), appointments: [apt, ...made] });
  const sockets = new Set();
  const changed = () => { for (const { socket, citizen } of sockets) socket.send(JSON.stringify(citizen ? { type: 'view', view: view() } : { type: 'day', day: day() })); };
  let signedIn = false;
  const change = (fields) => { Object.assign(kim, fields); apt.version++; changed(); return view(); };
  const no = (status, code, more = {}) => ({ status, body: { type: `https://schalter.example/problems/${code}`, title: code, ...more } });
  // The officials' part: a plan that can be changed, and people with links.
  const refusals = new Map();
  let count = 0;
  const personOf = (body, people = []) => ({ ...kim, needs: { ...needs, ...body.needs }, id: `per_${++count}`, role: body.role, name: body.name, stage: 'invited', language: body.language, linked_to: typeof body.linked_to === 'number' ? people[body.linked_to]?.id : body.linked_to, link: 'unused', devices: null, waiting_since: null });
  const url = (role) => `https://example.org/${role === 'official' ? 'amt#einladung=' : 'termin#'}token-${++count}`;
  const replan = (fields) => { Object.assign(apt, fields); apt.version++; };
  const plan = (method, rest, body, headers) => {
    const told = (answer) => { apt.version++; changed(); return answer; };
    const [, id, what] = rest.match(/^people\/(\w+)(?:\/(\w+))?$/) ?? [];
    const one = apt.people.find((person) => person.id === id);
    const wanted = `${method} ${what ?? (id ? 'person' : rest)}`;
    // Changes of the plan are of a version; what is decided of who is there is not.
    if (HELD.includes(wanted) && headers['if-match'] !== `"${apt.version}"`) return headers['if-match'] ? no(412, 'stale') : no(428, 'if-match-required');
    switch (wanted) {
      case 'GET ': return apt;
      case 'PATCH ': return told(Object.assign(apt, body));
      case 'PATCH person': return told(Object.assign(one, body) && apt);
      case 'POST cancel': return told(Object.assign(apt, { state: 'cancelled' }));
      case 'POST people': {
        const person = personOf(body);
        apt.people.push(person);
        return told({ ...apt, people: apt.people.map((other) => (other === person ? { ...other, join_url: url(other.role) } : other)) });
      }
      case 'DELETE person': return told(apt.people.splice(apt.people.indexOf(one), 1) && apt);
      case 'POST link': Object.assign(one, { link: 'unused', stage: 'invited' }); return told({ join_url: url(one.role) });
      case 'DELETE link': return told(Object.assign(one, { link: 'revoked', stage: 'invited' }) && apt);
      case 'POST deny': return told(Object.assign(one, { stage: 'denied', message: body.text ? { text: body.text, at: at(0) } : null }) && apt);
      case 'POST admit': return told(Object.assign(one, { stage: 'admitted' }) && apt);
      case 'POST hold': return told(Object.assign(one, { stage: 'held' }) && apt);
      case 'POST remove': return told(Object.assign(one, { stage: 'invited', link: 'revoked' }) && apt);
      case 'POST message': return told(Object.assign(one, { message: { text: body.text, at: at(0) } }) && apt);
      default: return undefined;
    }
  };
  const answer = (method, where, body, headers, query) => {
    calls.push(`${method} ${where}`);
    bodies[where] = body;
    requests.push([`${method} ${where}`, body]);
    const refused = refusals.get(`${method} ${where}`);
    if (refused) return no(...refused);
    const own = where.match(/^appointments\/apt_1(?:\/(.*))?$/);
    const planned = own && plan(method, own[1] ?? '', body, headers);
    if (planned) return planned;
    switch (`${method} ${where}`) {
      case 'GET office': return !offices || offices.some(({ id }) => id === query.get('authority')) ? office : no(404, 'no-authority', query.has('authority') ? {} : { offices });
      case 'POST links/open': if (body.token === 'early') return no(409, 'too-early', { opens_at: '2026-12-07T08:30:00.000Z' }); return body.token === 'good' ? change({ link: 'bound', stage: 'opened' }) : no(404, 'link-unknown');
      case 'GET me': return kim.link === 'bound' ? view() : no(401, 'no-session');
      case 'POST me/notice': return change({ notice_agreed: true });
      case 'POST me/devices': return change({ devices: body });
      case 'POST me/needs': return change({ needs: body });
      case 'POST me/wait': return change({ stage: 'waiting', waiting_since: at(0) });
      case 'POST me/leave': return change({ stage: 'left' });
      case 'POST me/seat': case 'POST appointments/apt_1/seat': return { url: '', token: 't' };
      case 'GET official': return signedIn ? { official: { id: 'off', name: 'Frau Schröder', acr: null }, office, outcomes: ['done', 'no_show', 'moved'], server_time: at(0) } : no(401, 'no-session');
      case 'POST login/demo': signedIn = true; return {};
      case 'POST login/link': return no(401, 'login-link-expired');
      case 'POST appointments': {
        const people = [];
        for (const one of body.people) people.push(personOf(one, people));
        const card = { ...apt, ...body, id: 'apt_2', state: 'scheduled', late: false, version: 1, people };
        made.push(card);
        changed();
        return { ...card, people: people.map((one) => ({ ...one, join_url: url(one.role) })) };
      }
      case 'POST appointments/apt_1/colleague': return { join_url: 'https://example.org/amt#einladung=x' };
      case 'POST appointments/apt_1/end': apt.state = 'ended'; changed(); return apt;
      default: return where.startsWith('texts/') ? texts : no(404, 'not-found');
    }
  };
  const server = http.createServer(async (request, response) => {
    const { pathname, searchParams } = new URL(request.url, 'http://127.0.0.1');
    if (pathname.startsWith('/desk/v1/')) {
      let text = '';
      for await (const chunk of request) text += chunk;
      const result = answer(request.method, pathname.slice(9), text ? JSON.parse(text) : {}, request.headers, searchParams);
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
  return { url: `http://127.0.0.1:${server.address().port}`, calls, bodies, requests, kim, apt, change, replan, refusals, close: () => new Promise((closed) => { for (const { socket } of sockets) socket.terminate(); hub.close(); server.closeAllConnections(); server.close(closed); }) };
}
