// TLS of the server's own: a scanner looks at it, and its certificate is replaced while people talk over it.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { describe, test } from 'node:test';
import tls from 'node:tls';
import { ask, checkAudio, checkVideo, figure, join, newRoom, openPage, sleep } from '../lib/call.mjs';
import { makeAuthority } from '../lib/certificates.mjs';
import { launchChromium } from '../lib/chromium.mjs';
import { serveClientPage } from '../lib/pages.mjs';
import { VERSIONS } from '../lib/sdk.mjs';
import { freeTcpPorts, startServer } from '../lib/server.mjs';
import { untilEnd } from '../lib/stage.mjs';

/** A server with a port for TLS beside its plain one. */
async function secured(t, authority, override = {}) {
  const [port] = await freeTcpPorts(1);
  const server = await untilEnd(t, startServer({ tls: { ...authority.issue(), port }, ...override }), (it) => it.stop());
  return { ...server, tlsPort: port };
}

/** Serial number of the certificate that is shown now. */
function shown(port, ca) {
  return new Promise((done, failed) => {
    const socket = tls.connect({ port, host: '127.0.0.1', servername: 'localhost', ca }, () => {
      done(socket.getPeerX509Certificate().serialNumber);
      socket.destroy();
    });
    socket.on('error', failed);
  });
}

// What testssl.sh says of the test's own certificate and of the machine it runs on, not of the server: revocation and CAA are the
// authority's, GOST is an engine of OpenSSL.
const NOT_OURS = ['engine_problem', 'cert_revocation', 'DNS_CAArecord'];

describe('TLS', { timeout: 240_000 }, () => {
  test('testssl.sh finds no weakness in the profile bsi', { timeout: 120_000 }, async (t) => {
    const authority = await untilEnd(t, Promise.resolve(makeAuthority()));
    const server = await secured(t, authority, { crypto_profile: 'bsi' });
    const report = path.join(authority.folder, 'testssl.json');
    const scan = ['--quiet', '--color', '0', '--warnings', 'off', '--add-ca', authority.caFile, '--jsonfile', report, '-p', '-s', '-f', '-U', '--ip', '127.0.0.1'];
    execFileSync('testssl', [...scan, `localhost:${server.tlsPort}`], { stdio: 'pipe' });
    const findings = JSON.parse(fs.readFileSync(report, 'utf8'));
    const of = (id) => findings.find((it) => it.id === id)?.finding;
    // That it looked at all: the new version and the good suites are there, the old ones are not.
    assert.match(of('TLS1_3'), /^offered/);
    for (const old of ['SSLv2', 'SSLv3', 'TLS1', 'TLS1_1']) assert.match(of(old), /^not offered/, old);
    assert.match(of('cipherlist_STRONG'), /^offered/);
    assert.match(of('PFS_ECDHE_curves'), /^prime256v1 secp384r1\s*$/);
    assert.match(of('heartbleed'), /^not vulnerable/);
    const bad = findings.filter(({ id, severity }) => !['OK', 'INFO'].includes(severity) && !NOT_OURS.includes(id));
    assert.deepEqual(bad, []);
    figure('tls', 'findings of testssl.sh', findings.length);
  });

  test(`the certificate is replaced while ${VERSIONS.browser} talks over it, and nobody notices`, { timeout: 90_000 }, async (t) => {
    const authority = await untilEnd(t, Promise.resolve(makeAuthority()));
    const server = await secured(t, authority);
    const chromium = await untilEnd(t, launchChromium({ extra: [authority.chromium] }));
    const client = await untilEnd(t, serveClientPage());
    const url = `wss://localhost:${server.tlsPort}`;
    const room = newRoom('tls');
    const people = {};
    for (const identity of ['anna', 'ben']) {
      people[identity] = await untilEnd(t, openPage(chromium, client.url), (page) => page.closeAll());
      const token = server.token({ room, identity });
      await people[identity].evaluate((wish) => window.client.join(wish), { url, token });
    }
    const { anna, ben } = people;
    await ask(anna, 'publish', { id: 1, hz: 440 });
    await ask(ben, 'publish', { id: 2, hz: 880 });
    await Promise.all([ask(anna, 'seen', 'ben', 10_000), ask(ben, 'seen', 'anna', 10_000)]);
    await sleep(2_000);
    await Promise.all([ask(anna, 'resetMeters'), ask(ben, 'resetMeters')]);
    const before = authority.serial();
    assert.equal(await shown(server.tlsPort, authority.ca), before);
    for (let replaced = 0; replaced < 3; replaced++) {
      authority.issue();
      const answer = await fetch(`${server.admin.url}/v1/reload`, { method: 'POST', headers: { authorization: `Bearer ${server.admin.token}` } });
      assert.equal((await answer.json()).certificate, true);
      assert.equal(await shown(server.tlsPort, authority.ca), authority.serial());
      await sleep(1_000);
    }
    assert.notEqual(authority.serial(), before);
    await checkVideo('tls', ben, { from: 'anna', id: 1, minFps: 15, maxGapMs: 500, maxP95Ms: null });
    await checkAudio('tls', ben, { from: 'anna', hz: 440 });
    for (const page of [anna, ben]) {
      const events = await ask(page, 'events');
      assert.deepEqual(events.filter((e) => ['reconnecting', 'reconnected', 'disconnected'].includes(e.name)), []);
    }
    // The page itself, with what it loads, by a browser that has never been here.
    const page = await chromium.newPage();
    const opened = await page.goto(`https://localhost:${server.tlsPort}/`);
    assert.equal(opened.status(), 200);
    assert.match(opened.headers()['strict-transport-security'], /^max-age=31536000$/);
    const protocol = await page.evaluate(() => performance.getEntriesByType('navigation')[0].nextHopProtocol);
    assert.equal(protocol, 'http/1.1');
    await page.close();
  });
});
