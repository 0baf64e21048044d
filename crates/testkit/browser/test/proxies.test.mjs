// The proxy configurations in deploy/proxies: they carry signaling, and no log of theirs has a token.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import WebSocket from 'ws';
import tls from 'node:tls';
import { ask, newRoom, openPage, sleep } from '../lib/call.mjs';
import { makeAuthority } from '../lib/certificates.mjs';
import { launchChromium } from '../lib/chromium.mjs';
import { serveClientPage } from '../lib/pages.mjs';
import { SMALL, checkSeesAndHears, paths } from '../lib/people.mjs';
import { freeTcpPorts, startServer } from '../lib/server.mjs';
import { untilEnd } from '../lib/stage.mjs';

const shipped = (name) => fs.readFileSync(fileURLToPath(new URL(`../../../../deploy/proxies/${name}`, import.meta.url)), 'utf8');
const READY_MS = 10_000;
/** The balancer's address and name: Schalter's own are 127.0.0.1 and localhost. */
const BALANCER = '127.0.0.2';
const BALANCER_NAME = 'video.example.org';

async function freePort() {
  const listener = net.createServer();
  await new Promise((ready) => listener.listen(0, '127.0.0.1', ready));
  const { port } = listener.address();
  await new Promise((closed) => listener.close(closed));
  return port;
}

/** Replaces `text` by `by`, and fails if it is not there: then the shipped file has changed. */
function replaced(file, pairs) {
  return pairs.reduce((all, [text, by]) => {
    assert.ok(all.includes(text), `the configuration has no ${text}`);
    return all.replaceAll(text, by);
  }, file);
}

/**
 * Each proxy with the shipped configuration: only addresses, certificates and the places of logs are those of the test.
 * TLS is left to the proxies' own tests, but where a browser comes: nginx with a `certificate`, at the balancer's address.
 */
const PROXIES = {
  nginx: ({ folder, port, upstream, certificate }) => {
    const server = replaced(shipped('nginx.conf'), [
      ['listen 443 ssl;', certificate ? `listen ${BALANCER}:${port} ssl;` : `listen 127.0.0.1:${port};`],
      ['ssl_certificate     /etc/nginx/video.example.org.pem;', certificate ? `ssl_certificate ${certificate.cert_file};` : ''],
      ['ssl_certificate_key /etc/nginx/video.example.org.key;', certificate ? `ssl_certificate_key ${certificate.key_file};` : ''],
      ['/var/log/nginx/', `${folder}/`],
      ['127.0.0.1:7880', `127.0.0.1:${upstream}`],
    ]);
    const file = path.join(folder, 'nginx.conf');
    const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => `${name}_temp_path ${folder}/${name};`).join(' ');
    fs.writeFileSync(file, `daemon off; pid ${folder}/pid; error_log ${folder}/main.log;\nevents {}\nhttp { ${temporary}\n${server}\n}\n`);
    return { check: ['nginx', ['-t', '-q', '-c', file]], run: ['nginx', ['-c', file]], logs: ['schalter.log', 'schalter-error.log', 'main.log'] };
  },
  haproxy: ({ folder, port, upstream }) => {
    const file = path.join(folder, 'haproxy.cfg');
    fs.writeFileSync(file, replaced(shipped('haproxy.cfg'), [
      ['bind :443 ssl crt /etc/haproxy/video.example.org.pem alpn http/1.1', `bind 127.0.0.1:${port}`],
      ['127.0.0.1:7880', `127.0.0.1:${upstream}`],
    ]));
    return { check: ['haproxy', ['-c', '-q', '-f', file]], run: ['haproxy', ['-db', '-f', file]], logs: [] };
  },
  caddy: ({ folder, port, upstream }) => {
    const file = path.join(folder, 'Caddyfile');
    fs.writeFileSync(file, replaced(shipped('Caddyfile'), [
      ['video.example.org {', `http://127.0.0.1:${port} {`],
      ['/var/log/caddy/', `${folder}/`],
      ['127.0.0.1:7880', `127.0.0.1:${upstream}`],
      ['{\n\tlog {\n\t\tformat', '{\n\tadmin off\n\tlog {\n\t\tformat'],
    ]));
    const adapter = ['--config', file, '--adapter', 'caddyfile'];
    return { check: ['caddy', ['validate', ...adapter]], run: ['caddy', ['run', ...adapter]], logs: ['schalter.log'] };
  },
};

/** Opens the WebSocket of a join; answers the status of what was answered. */
function join(port, path) {
  return new Promise((done, failed) => {
    const socket = new WebSocket(`ws://127.0.0.1:${port}${path}`);
    socket.once('message', () => done({ status: 101, close: () => socket.terminate() }));
    socket.once('unexpected-response', (_, answer) => done({ status: answer.statusCode, close: () => answer.destroy() }));
    socket.once('error', failed);
  });
}

describe('proxies', { timeout: 90_000 }, () => {
  for (const [name, configure] of Object.entries(PROXIES)) {
    test(`${name} carries signaling and logs no token`, { timeout: 30_000 }, async (t) => {
      const server = await startServer();
      let stopped = false;
      const stop = async () => stopped || ((stopped = true), await server.stop());
      t.after(stop);
      const folder = fs.mkdtempSync(path.join(os.tmpdir(), `schalter-${name}-`));
      fs.chmodSync(folder, 0o777); // workers may have another user
      t.after(() => fs.rmSync(folder, { recursive: true, force: true }));
      const port = await freePort();
      const { check, run, logs } = configure({ folder, port, upstream: server.port });
      execFileSync(...check, { stdio: 'pipe', env: { ...process.env, HOME: folder } });
      const proxy = spawn(...run, { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, HOME: folder } });
      await untilEnd(t, Promise.resolve(proxy), (it) => it.kill('SIGTERM'));
      let printed = '';
      for (const stream of [proxy.stdout, proxy.stderr]) stream.on('data', (data) => (printed += data));
      const written = () => printed + logs.map((log) => path.join(folder, log)).filter(fs.existsSync).map((log) => fs.readFileSync(log, 'utf8')).join('');
      const end = Date.now() + READY_MS;
      while (!(await fetch(`http://127.0.0.1:${port}/`).then((answer) => answer.ok, () => false))) {
        assert.ok(Date.now() < end, `${name} does not answer: ${printed}`);
        await sleep(50);
      }
      const token = server.token({ room: newRoom('proxy'), identity: 'anna' });
      const joined = await join(port, `/rtc?access_token=${token}`);
      assert.equal(joined.status, 101);
      const refused = await join(port, `/rtc?access_token=${token}x`);
      assert.equal(refused.status, 401);
      assert.equal((await fetch(`http://127.0.0.1:${port}/rtc/validate?access_token=${token}`)).status, 200);
      joined.close();
      refused.close();
      // What can't be passed on is logged in another way.
      await stop();
      const lost = await join(port, `/rtc?access_token=${token}`);
      assert.ok(lost.status >= 500, `answered ${lost.status} without a server`);
      lost.close();
      // A line that can't be read as a request.
      await new Promise((done) => {
        const broken = net.connect(port, '127.0.0.1', () => broken.end(`GET /rtc?access_token=${token}\u0001 HTTP/1.1\r\nHost: x y\r\n\r\n`));
        broken.on('close', done).on('error', done).resume();
      });
      await new Promise((done) => proxy.once('exit', done).kill('SIGTERM'));
      const text = written();
      assert.match(text, /\/rtc\b/, `${name} logs requests: ${text}`);
      assert.match(text, /\/rtc\/validate/, text);
      for (const secret of ['access_token', token, token.split('.')[1]]) assert.ok(!text.includes(secret), `${name} logs a token: ${text}`);
    });
  }

  test('behind nginx, which ends TLS, media takes TURN over TLS at an address of its own', { timeout: 45_000 }, async (t) => {
    const authority = await untilEnd(t, Promise.resolve(makeAuthority(['localhost', BALANCER_NAME])));
    const certificate = authority.issue();
    fs.chmodSync(authority.folder, 0o777);
    const [port, turnPort] = await freeTcpPorts(2);
    // As in docs/deploy.md.
    const server = await untilEnd(t, startServer({ tls: { ...certificate, port: turnPort, bind_addresses: ['127.0.0.1'] } }), (it) => it.stop());
    const { check, run } = PROXIES.nginx({ folder: authority.folder, port, upstream: server.port, certificate });
    execFileSync(...check, { stdio: 'pipe' });
    await untilEnd(t, Promise.resolve(spawn(...run, { stdio: 'ignore' })), (it) => it.kill('SIGTERM'));
    const chromium = await untilEnd(t, launchChromium({ extra: [authority.chromium, `--host-resolver-rules=MAP ${BALANCER_NAME} ${BALANCER}`] }));
    const client = await untilEnd(t, serveClientPage());
    const room = newRoom('balancer');
    const [anna, ben] = await Promise.all(['anna', 'ben'].map(async (identity) => {
      const page = await untilEnd(t, openPage(chromium, client.url), (it) => it.closeAll());
      const wish = { url: `wss://${BALANCER_NAME}:${port}`, token: server.token({ room, identity }), connect: { rtcConfig: { iceTransportPolicy: 'relay' } } };
      await page.evaluate((it) => window.client.join(it), wish);
      return page;
    }));
    await ask(anna, 'publish', { id: 1, hz: 440, ...SMALL });
    await ask(ben, 'seen', 'anna', 15_000);
    await ask(ben, 'level', 'anna', 0.05, 1, 15_000);
    await checkSeesAndHears('behind nginx', ben, { from: 'anna', id: 1, hz: 440 });
    for (const page of [anna, ben]) {
      const { all, lines } = await paths(page);
      assert.ok(all.length > 0 && all.every(({ local, relayProtocol }) => local === 'relay' && relayProtocol === 'tls'), lines.join('; '));
    }
    assert.ok((await server.metrics()).get('schalter_turn_allocations') >= 2);
  });

  test('haproxy passes TLS on unopened, with a PROXY header that only it may send', { timeout: 30_000 }, async (t) => {
    const authority = await untilEnd(t, Promise.resolve(makeAuthority()));
    const [upstream, port] = await freeTcpPorts(2);
    // HAProxy connects from an address of its own, so that the test can come from another.
    const server = await untilEnd(t, startServer({
      tls: { ...authority.issue(), port: upstream }, proxy_protocol: { trusted: ['127.0.0.2'] },
    }), (it) => it.stop());
    const file = path.join(authority.folder, 'haproxy.cfg');
    fs.writeFileSync(file, replaced(shipped('haproxy-tcp.cfg'), [
      ['bind :443', `bind 127.0.0.1:${port}`],
      ['server schalter 10.0.0.1:443', `server schalter 127.0.0.1:${upstream} source 127.0.0.2`],
    ]));
    execFileSync('haproxy', ['-c', '-q', '-f', file], { stdio: 'pipe' });
    const haproxy = spawn('haproxy', ['-db', '-f', file], { stdio: ['ignore', 'pipe', 'pipe'] });
    await untilEnd(t, Promise.resolve(haproxy), (it) => it.kill('SIGTERM'));
    let printed = '';
    for (const stream of [haproxy.stdout, haproxy.stderr]) stream.on('data', (data) => (printed += data));
    const secret = { ca: authority.ca, servername: 'localhost' };
    const connected = () => new Promise((done) => {
      const socket = tls.connect({ ...secret, host: '127.0.0.1', port }, () => done(true) || socket.destroy());
      socket.on('error', () => done(false));
    });
    const end = Date.now() + READY_MS;
    while (!(await connected())) {
      assert.ok(Date.now() < end, `haproxy does not pass anything on: ${printed}`);
      await sleep(50);
    }
    const token = server.token({ room: newRoom('proxy'), identity: 'anna' });
    const socket = new WebSocket(`wss://localhost:${port}/rtc?access_token=${token}`, { ...secret, lookup: (_, options, done) => (options.all ? done(null, [{ address: '127.0.0.1', family: 4 }]) : done(null, '127.0.0.1', 4)) });
    await new Promise((done, failed) => socket.once('message', done).once('error', failed));
    // Health checks have come and gone meanwhile, with headers of their own.
    const closed = async (reason) => (await server.metrics()).get(`schalter_connections_closed_total{reason="${reason}"}`);
    for (const reason of ['proxy_missing', 'proxy_malformed', 'proxy_version_1', 'proxy_untrusted']) assert.equal(await closed(reason), 0, reason);
    socket.terminate();
    // Whoever isn't the balancer comes in without a header, and not with one.
    assert.equal((await direct(upstream, Buffer.alloc(0))).authorized, true);
    const header = Buffer.concat([Buffer.from('\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c', 'latin1'), Buffer.from([192, 0, 2, 7, 203, 0, 113, 9, 48, 57, 1, 187])]);
    await assert.rejects(direct(upstream, header));
    assert.equal(await closed('proxy_untrusted'), 1);
    assert.doesNotMatch(server.log(), /192\.0\.2\.7|127\.0\.0\.1:\d+ /);
    assert.ok(!printed.includes('access_token'), printed);

    /** Connects to the server itself, after some bytes. */
    function direct(to, first) {
      return new Promise((done, failed) => {
        const tcp = net.connect(to, '127.0.0.1', () => {
          tcp.write(first);
          const socket = tls.connect({ ...secret, socket: tcp }, () => {
            done({ authorized: socket.authorized });
            socket.destroy();
          });
          socket.on('error', failed);
        });
        tcp.on('error', failed);
      });
    }
  });
});
