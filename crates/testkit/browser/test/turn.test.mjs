// The built-in TURN server: browsers that may use nothing but relays have a call through it, and coturn's client finds that it reaches
// media sockets and nothing else.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { ask, checkVideo, figure, join, measure, newRoom, stats } from '../lib/call.mjs';
import { startGstreamer } from '../lib/gstreamer.mjs';
import { startServer } from '../lib/server.mjs';
import { setStage, untilEnd } from '../lib/stage.mjs';
import { startAiortc } from '../lib/whip.mjs';

const RELAY = { rtcConfig: { iceTransportPolicy: 'relay' } };

/** The candidate pairs in use, each with both candidates. */
async function pairs(page) {
  const all = new Map((await stats(page)).map((s) => [s.id, s]));
  const selected = [...all.values()].filter((s) => s.type === 'candidate-pair' && (s.selected ?? s.nominated) && s.state === 'succeeded');
  return selected.map((pair) => ({ local: all.get(pair.localCandidateId), remote: all.get(pair.remoteCandidateId), bytes: pair.bytesReceived }));
}

/** The TURN server as a client is told of it: host, port, user name and password. */
async function turnServer(server) {
  const answer = await fetch(`${server.url}/whip/v1`, { method: 'OPTIONS', headers: { authorization: `Bearer ${server.token({ room: 'r', identity: 'i' })}` } });
  const links = answer.headers.get('link') ?? '';
  const found = links.match(/<turn:([^>]+):(\d+)\?transport=udp>; rel="ice-server"; username="([^"]+)"; credential="([^"]+)"/);
  assert.ok(found, `no TURN server in ${links}`);
  const [, host, port, username, credential] = found;
  return { host, port, username, credential };
}

const metric = async (server, name) => (await server.metrics()).get(name) ?? 0;

/** Waits until more than `least` was counted, and answers that. Workers tell what they counted once a second. */
async function countedMore(server, name, least) {
  for (const end = Date.now() + 3_000; ; await sleep(100)) {
    const counted = await metric(server, name);
    if (counted > least) return counted;
    assert.ok(Date.now() < end, `${name} is ${counted}, not above ${least}`);
  }
}

describe('TURN over UDP', { timeout: 240_000 }, () => {
  const stage = setStage({ server: { turn: { udp_port: 0 } }, firefox: {} });

  test('Chromium and Firefox see each other through relays only', { timeout: 120_000 }, async (t) => {
    const room = newRoom('turn');
    const { server } = stage;
    const [chris, fox] = [await stage.page(t), await stage.page(t, stage.firefox)];
    await untilEnd(t, fox, () => ask(fox, 'leave').catch(() => undefined));
    for (const [page, identity] of [[chris, 'chris'], [fox, 'fox']]) {
      const from = Date.now();
      await join(page, server, { room, identity, connect: RELAY });
      figure('turn', `${identity} joins in, ms`, Date.now() - from);
    }
    await ask(chris, 'publish', { id: 1, hz: 440 });
    await ask(fox, 'publish', { id: 2, deviceAudio: true });
    await Promise.all([ask(chris, 'seen', 'fox', 15_000), ask(fox, 'seen', 'chris', 15_000)]);
    await measure([chris, fox]);
    await checkVideo('turn', chris, { from: 'fox', id: 2, minFps: 20 });
    await checkVideo('turn', fox, { from: 'chris', id: 1, minFps: 20 });
    for (const page of [chris, fox]) {
      const used = await pairs(page);
      assert.ok(used.length > 0, 'there is a pair in use');
      for (const { local } of used) assert.equal(local.candidateType, 'relay', JSON.stringify(used));
    }
    const allocations = await metric(server, 'schalter_turn_allocations');
    figure('turn', 'allocations for two browsers', allocations);
    assert.ok(allocations >= 2);
    assert.ok(await metric(server, 'schalter_turn_relayed_datagrams_sent_total') > 1_000, 'media went through relays');
    assert.equal(await metric(server, 'schalter_drops_total{reason="turn_foreign_peer"}'), 0);
    assert.deepEqual(chris.failures, []);
  });

  test('aiortc plays a room through a relay only', { timeout: 60_000 }, async (t) => {
    const { server } = stage;
    const room = newRoom('turn-aiortc');
    const alice = await stage.page(t);
    await join(alice, server, { room, identity: 'alice' });
    await ask(alice, 'publish', { id: 31, hz: 440 });
    const before = await metric(server, 'schalter_turn_relayed_datagrams_sent_total');
    const playing = await untilEnd(t, startAiortc(server, { room, identity: 'player', relay: true }));
    await playing.until('alice', ({ places: [sound, picture] }) => picture.ids[31] > 15 && Math.abs(sound.hz - 440) <= 6);
    const { places: [, picture] } = await playing.state();
    figure(playing.sdk, 'alice through a relay', `${picture.good} of ${picture.frames} frames, ${picture.latencyMs} ms`);
    assert.ok(picture.good / picture.frames >= 0.95, JSON.stringify(picture));
    await countedMore(server, 'schalter_turn_relayed_datagrams_sent_total', before);
    assert.deepEqual(await playing.ask('stop'), { status: 200 });
  });

  test('GStreamer publishes and subscribes through relays only', { timeout: 60_000 }, async (t) => {
    const { server } = stage;
    const room = newRoom('turn-gstreamer');
    const before = await metric(server, 'schalter_turn_relayed_datagrams_received_total');
    const [gina, gus] = await Promise.all(['gina', 'gus'].map((identity) => untilEnd(t, startGstreamer(server, { room, identity, turn: true }))));
    await gina.publish({ hz: 440, colour: [200, 60, 60] });
    await gus.publish({ hz: 880, colour: [200, 60, 60] });
    for (const participant of [gina, gus]) {
      await participant.until('a picture and a tone', ({ video, audio }) => video.frames > 20 && audio?.db > -40);
      const { video, errors } = await participant.state();
      assert.deepEqual([errors, participant.failures.map(String)], [[], []]);
      assert.equal(video.size, '320x180');
    }
    const after = await countedMore(server, 'schalter_turn_relayed_datagrams_received_total', before + 100);
    figure(gina.sdk, 'datagrams through relays', after - before);
  });

  test("coturn's client reaches a media socket, and nothing else", { timeout: 60_000 }, async (t) => {
    // One of its own: nobody else uses its relays.
    const server = await untilEnd(t, startServer({ turn: { udp_port: 0 } }), (it) => it.stop());
    const { host, port, username, credential } = await turnServer(server);
    /** Allocates, and sends ten messages to a peer: by indications, or through a channel. */
    const uclient = (how, peer, peerPort) => {
      const options = ['-v', '-n', '10', '-m', '1', '-c', '-l', '100', '-u', username, '-w', credential, '-e', peer, '-r', `${peerPort}`, '-p', port, ...(how === 'send' ? ['-s'] : []), host];
      const child = spawn('turnutils_uclient', options, { stdio: ['ignore', 'pipe', 'pipe'] });
      t.after(() => child.kill('SIGKILL'));
      const printed = { text: '' };
      for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => (printed.text += text));
      return printed;
    };
    const RELAYED = 'schalter_turn_relayed_datagrams_received_total';
    const REFUSED = 'schalter_turn_refusals_total{code="403"}';
    const FOREIGN = 'schalter_drops_total{reason="turn_foreign_peer"}';
    const before = await server.metrics();
    const grown = (metrics, name) => (metrics.get(name) ?? 0) - (before.get(name) ?? 0);
    const tries = {
      media: uclient('send', '127.0.0.1', server.udpPort),
      'another host': uclient('send', '192.0.2.1', 9),
      "another host's channel": uclient('channel', '192.0.2.1', 9),
      "this host's other port": uclient('channel', '127.0.0.1', server.port),
      'data to this host': uclient('send', '127.0.0.1', server.port),
    };
    let after;
    const done = () => grown(after, RELAYED) >= 10 && grown(after, REFUSED) >= 3 && grown(after, FOREIGN) >= 10;
    for (const deadline = Date.now() + 30_000; ; await sleep(250)) {
      after = await server.metrics();
      if (done()) break;
      assert.ok(Date.now() < deadline, JSON.stringify({ tries, relayed: grown(after, RELAYED), refused: grown(after, REFUSED), foreign: grown(after, FOREIGN) }, null, 1));
    }
    figure('turn', "messages of coturn's client that reached the media socket", grown(after, RELAYED));
    figure('turn', 'refused', grown(after, REFUSED));
    figure('turn', 'messages to another port, dropped', grown(after, FOREIGN));
    assert.equal(grown(after, RELAYED), 10, 'nothing but what was for the media socket');
    for (const name of ['another host', "another host's channel", "this host's other port"]) assert.match(tries[name].text, /403/, `${name}: ${tries[name].text}`);
  });
});
