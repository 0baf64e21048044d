// The networks that people are in, each for real, by network namespaces: Chromium and Firefox join, see and hear each other;
// how long the first picture took and which path media takes is printed. And nobody but the server is ever spoken to.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { ask, figure, newRoom, sleep } from '../lib/call.mjs';
import { hasSound } from '../lib/firefox.mjs';
import { enterNamespaces } from '../lib/namespaces.mjs';
import { HOSTS, INNER, INNER_NAME, SERVER } from '../lib/office.mjs';
import { SMALL, checkSeesAndHears, firefoxSound, joinAt, paths, setOffice } from '../lib/people.mjs';
import { VERSIONS } from '../lib/sdk.mjs';
import { untilEnd } from '../lib/stage.mjs';

const skip = await enterNamespaces(HOSTS);

/** To the first picture, where UDP works and where only TCP does. */
const UDP_MS = 2_000;
const TCP_MS = 4_000;
const SEEN_MS = 15_000;
/** Where clients find ICE-TCP when they may use other ports than 443. */
const TCP_PORT = 7881;

/** By UDP and by no relay. */
const directly = ({ protocol, relayProtocol }) => protocol === 'udp' && !relayProtocol;
/** By ICE-TCP or by TURN over TCP: Chromium takes what answers first. */
const byTcp = ({ protocol, relayProtocol }) => (relayProtocol || protocol) === 'tcp';
/** By TURN over TLS. */
const byTls = ({ relayProtocol }) => relayProtocol === 'tls';

/** By network: what of the server is special, and what is expected of paths and time. */
const NETWORKS = [
  { name: 'open', kinds: ['v4', 'v6'], within: UDP_MS, by: directly },
  { name: 'symmetric NAT', within: UDP_MS, by: directly },
  { name: 'IPv6 only', rules: 'open', kinds: ['v6'], rtc: { node_ip: SERVER.v6 }, within: UDP_MS, by: directly },
  { name: 'MTU 1280', within: UDP_MS, by: directly },
  { name: 'NAT 1:1', host: INNER_NAME, rtc: { node_ip: INNER.told }, within: UDP_MS, by: directly },
  { name: 'no UDP', rtc: { tcp_port: TCP_PORT }, within: TCP_MS, by: byTcp },
  { name: 'only TCP 443', within: TCP_MS, by: byTls },
  { name: 'proxy', proxied: true, within: TCP_MS, by: byTls },
];

describe(`networks, ${VERSIONS.browser}`, { timeout: 300_000, skip }, () => {
  const stage = setOffice();

  /** From the call of `connect` to the first picture of `other` with its barcode, ms. */
  async function firstPicture(page, server, whom, other) {
    const begun = Date.now();
    await joinAt(page, server, whom);
    const joined = Date.now() - begun;
    await ask(page, 'seen', other, SEEN_MS);
    return { joined, seen: Date.now() - begun };
  }

  for (const network of NETWORKS) {
    const { name, kinds = ['v4'], host, within, by } = network;
    test(name, { timeout: 60_000 }, async (t) => {
      const { office } = stage;
      office.become(network.rules ?? name, kinds);
      if (network.proxied) await untilEnd(t, office.proxy());
      const server = await stage.serve(t, network);
      const room = newRoom('networks');

      // Somebody in each browser, with a picture to come to.
      const [first, fox] = [await stage.chris(t, network), await stage.fox(t, network)];
      await joinAt(first, server, { room, identity: 'first', host });
      await ask(first, 'publish', { id: 1, hz: 440, ...SMALL });
      const atFox = await firstPicture(fox, server, { room, identity: 'fox', host }, 'first');
      await ask(fox, 'publish', { id: 2, ...firefoxSound(880), ...SMALL });
      await ask(first, 'seen', 'fox', SEEN_MS);
      await ask(first, 'leave');
      const chris = await stage.chris(t, network);
      const atChris = await firstPicture(chris, server, { room, identity: 'chris', host }, 'fox');
      await ask(chris, 'publish', { id: 3, hz: 660, ...SMALL });
      await ask(fox, 'seen', 'chris', SEEN_MS);
      await Promise.all([ask(chris, 'level', 'fox', hasSound ? 0.05 : 0.001, 1, SEEN_MS), ...(hasSound ? [ask(fox, 'level', 'chris', 0.05, 1, SEEN_MS)] : [])]);

      for (const [who, page, { joined, seen }] of [['Chromium', chris, atChris], ['Firefox', fox, atFox]]) {
        figure(name, `${who}: joined, first picture, ms`, `${joined}; ${seen}`);
        const { all, lines } = await paths(page);
        figure(name, `${who}: path`, lines);
        assert.ok(all.length > 0, `${name}: ${who} has a path`);
        assert.ok(all.every(by), `${name}: ${who}'s path is ${JSON.stringify(lines)}, expected ${by.name}`);
        assert.ok(seen <= within, `${name}: ${who} saw a picture after ${seen} ms`);
      }
      await Promise.all([checkSeesAndHears(name, chris, { from: 'fox', id: 2, hz: 880 }), checkSeesAndHears(name, fox, { from: 'chris', id: 3, hz: 660 })]);
      figure(name, 'ICE servers', await stage.checkNobodyElse(name, [chris, fox]));
      if (name === 'only TCP 443') {
        // UDP is let through after all: with the next restart of ICE, as after any change, media leaves TURN for the direct way.
        office.rules('open');
        const opened = Date.now();
        await Promise.all([chris, fox].map((page) => ask(page, 'simulate', 'signal-reconnect')));
        while (!(await Promise.all([chris, fox].map(paths))).flatMap(({ all }) => all).every(directly)) {
          assert.ok(Date.now() - opened < SEEN_MS, `${name}: somebody stays on TURN`);
          await sleep(50);
        }
        figure(name, 'opened to all: both take the direct way after, ms', Date.now() - opened);
        await Promise.all([checkSeesAndHears(`${name}, opened`, chris, { from: 'fox', id: 2, hz: 880 }), checkSeesAndHears(`${name}, opened`, fox, { from: 'chris', id: 3, hz: 660 })]);
      }
      if (name === 'MTU 1280') {
        figure(name, 'packets of the browsers too long for the link', office.counted('long_of_clients'));
        assert.equal(office.counted('long_of_server'), 0, 'the server sends nothing that is too long for the link');
      }
    });
  }
});
