// People in an office and a server outside (lib/office.mjs): Chromium and Firefox there, how they join, and what they are shown.
import assert from 'node:assert/strict';
import { after, before } from 'node:test';
import { ask, checkAudio, sleep } from './call.mjs';
import { makeAuthority } from './certificates.mjs';
import { launchChromium } from './chromium.mjs';
import { hasSound, launchFirefox } from './firefox.mjs';
import { INNER, INNER_NAME, PROXY, SERVER, SERVER_NAME, openOffice } from './office.mjs';
import { Opened } from './opened.mjs';
import { bundle, serveClientPage } from './pages.mjs';
import { startServer } from './server.mjs';
import { untilEnd } from './stage.mjs';

/** As small a picture as the rest of the kit reads: what is judged is time and the way. */
export const SMALL = { width: 320, height: 180 };
/** A tone that Firefox can make only with a sound server. */
export const firefoxSound = (hz) => (hasSound ? { hz } : { deviceAudio: true });
/** Where Chromium's page is, which its driver answers for; a secure context. */
const PAGE = 'http://localhost:8000/';
const BLANK = '<!doctype html><meta charset="utf-8"><title>client</title><body><script src="client.js"></script></body>';
/** The server is at no address of these hosts. Each pair of candidates more has the check that matters wait for 50 ms, and outside of tests there are none on loopback. */
const PREFS = { 'media.peerconnection.ice.loopback': false };
const PROXY_PREFS = {
  'network.proxy.type': 1, 'network.proxy.http': PROXY.address, 'network.proxy.http_port': PROXY.port,
  'network.proxy.ssl': PROXY.address, 'network.proxy.ssl_port': PROXY.port,
};

/** Opens the office and its browsers for the tests of the `describe` that calls this, and clears it after them. */
export function setOffice() {
  const opened = new Opened();
  let authority;
  let chromium;
  let firefox;
  let client;
  let script;
  const stage = {
    office: undefined,

    /** A server outside, behind TLS on port 443; `rtc` is merged into its configuration. */
    serve: (t, { rtc = {} } = {}) => untilEnd(t, startServer({
      rtc: { node_ip: SERVER.v4, ...rtc },
      tls: { ...authority.issue(), port: 443, bind_addresses: ['0.0.0.0', '::'] },
    }, { inside: stage.office.server }), (it) => it.stop()),

    /** The page in Chromium, which lives in a namespace without the test's loopback. */
    async chris(t, { proxied = false } = {}) {
      const context = await untilEnd(t, chromium.newContext(proxied ? { proxy: { server: `http://${PROXY.address}:${PROXY.port}` } } : {}));
      await context.route(`${PAGE}**`, (route) => (route.request().url().endsWith('client.js')
        ? route.fulfill({ contentType: 'text/javascript', body: script })
        : route.fulfill({ contentType: 'text/html', body: BLANK })));
      const page = await context.newPage();
      await page.goto(PAGE);
      return page;
    },

    /** The page in Firefox; in one of its own behind the proxy. */
    async fox(t, { proxied = false } = {}) {
      const browser = proxied ? await untilEnd(t, launchFirefox({ acceptInsecureCerts: true, prefs: { ...PREFS, ...PROXY_PREFS } })) : firefox;
      const page = await untilEnd(t, browser.newPage(), async (it) => {
        await ask(it, 'leave').catch(() => undefined);
        await it.close();
      });
      await page.goto(client.url);
      return page;
    },

    /** Fails unless nobody was asked for help but the server: not by configuration, and not in fact. Answers the servers configured. */
    async checkNobodyElse(name, pages) {
      const urls = [...new Set((await Promise.all(pages.map((page) => page.evaluate(() => window.iceServerUrls())))).flat())];
      for (const url of urls) {
        const [, at] = /^(?:turns?|stuns?):(\[[^\]]+\]|[^:?]+)/.exec(url);
        assert.ok([SERVER_NAME, INNER_NAME, SERVER.v4, `[${SERVER.v6}]`, INNER.told].includes(at), `${name}: ${url} is not the server's`);
      }
      const { strays, served, where } = stage.office.left();
      assert.ok(served.every((count) => count > 50), `${name}: what goes to the server is counted: ${served}`);
      assert.equal(strays, 0, `${name}: packets went elsewhere: ${where.join(' ')}`);
      return urls;
    },
  };

  before(async () => {
    try {
      stage.office = await opened.add(openOffice(), (it) => it.close());
      stage.office.become('open', ['v4', 'v6']);
      authority = await opened.add(makeAuthority([SERVER_NAME, INNER_NAME]), (it) => it.close());
      chromium = await opened.add(launchChromium({ inside: stage.office.chris, extra: [authority.chromium], replace: { '--allow-loopback-in-peer-connection': null } }), (it) => it.close());
      firefox = await opened.add(launchFirefox({ acceptInsecureCerts: true, prefs: PREFS }), (it) => it.close());
      client = await opened.add(serveClientPage(), (it) => it.close());
      script = await bundle('client.js');
    } catch (failure) {
      await opened.close().catch((later) => console.error(later));
      throw failure;
    }
  }, { timeout: 60_000 });
  after(() => opened.close());
  return stage;
}

/** Lets a page join at the server's name outside; answers the session's id. */
export async function joinAt(page, server, { room, identity, host = SERVER_NAME }) {
  const { sid } = await page.evaluate((wish) => window.client.join(wish), { url: `wss://${host}`, token: server.token({ room, identity }) });
  return sid;
}

/** What a page is shown and hears for a while is `from` and nobody else. */
export async function checkSeesAndHears(name, page, { from, id, hz }) {
  await ask(page, 'resetMeters');
  await sleep(1_500);
  const { good, frames, ids } = await ask(page, 'video', from);
  assert.ok(good >= 15 && good >= frames * 0.95, `${name}: ${good} of ${frames} frames of ${from} are readable`);
  assert.deepEqual(Object.keys(ids), [String(id)], `${name}: the frames are ${from}'s`);
  if (hasSound) await checkAudio(name, page, { from, hz });
}

/** The paths that a page's media takes, one line each. */
export async function paths(page) {
  const all = await page.evaluate(() => window.paths());
  return { all, lines: [...new Set(all.map(({ local, remote, protocol, relayProtocol }) => `${protocol} ${local}-${remote}${relayProtocol ? ` by ${relayProtocol}` : ''}`))] };
}
