// A call between test pages: opening participants, measuring what they see and hear, judging it.
import assert from 'node:assert/strict';
import { watchMachine } from './machine.mjs';

let rooms = 0;
/** A room name that no other test uses. */
export const newRoom = (name) => `${name}-${process.pid}-${++rooms}`;

/** Prints a measured figure, one line each, so that a run can be read and compared. */
export function figure(test, what, value) {
  console.log(`${test}: ${what} = ${typeof value === 'number' ? Math.round(value * 10) / 10 : typeof value === 'string' ? value : JSON.stringify(value)}`);
}

/** Three layers of a 720p camera, as the library's own presets have them, and a microphone. */
export const SIMULCAST = { id: 7, hz: 660, width: 1280, height: 720, video: { simulcast: true, videoEncoding: { maxBitrate: 1_700_000, maxFramerate: 30 } } };
/** The sizes of its layers, by the library's numbers of qualities: 0 is LOW. */
export const SIZES = ['320x180', '640x360', '1280x720'];

/** Whether there is time: `npm run test:long` measures for as long as people talk, the gate for as long as figures need to settle. */
export const LONG = process.env.SCHALTER_LONG === '1';

export const sleep = (ms) => new Promise((later) => setTimeout(later, ms));

/** Opens a page of playwright or puppeteer in a window of its own, so that it is never in the background. */
export async function openPage(browser, url) {
  const context = browser.newContext ? await browser.newContext() : browser; // puppeteer: Firefox has one
  const page = await context.newPage();
  const failures = [];
  page.on('pageerror', (error) => failures.push(error.message));
  await page.goto(url);
  return Object.assign(page, { failures, closeAll: () => (context === browser ? page.close() : context.close()) });
}

/**
 * Lets `page` join. `server` gives address and token; `port` leads signalling through a relay, `relay` media.
 */
export async function join(page, server, { room, identity, name = identity, grant = {}, options = {}, connect, port = server.port, relayPort, e2ee, without }) {
  const relay = relayPort === undefined ? undefined : { from: server.udpPort, to: relayPort };
  const url = `ws://127.0.0.1:${port}`;
  const token = server.token({ room, identity, name, video: grant });
  return page.evaluate((wish) => window.client.join(wish), { url, token, options, connect, relay, e2ee, without });
}

/** Calls a function of the page's `client`. */
export const ask = (page, name, ...args) => page.evaluate(([n, a]) => window.client[n](...a), [name, args]);

/**
 * Waits until `page` is shown a frame of `identity` in a size, one that came after the meters' last reset: a picture that
 * stands still has a size, too. Answers how long it took in ms.
 */
export async function untilSize(page, identity, size, ms) {
  const begun = Date.now();
  for (;;) {
    const report = await ask(page, 'video', identity);
    if (report?.good > 0 && report.size === size) return Date.now() - begun;
    if (Date.now() - begun > ms) throw new Error(`${identity} is ${report?.size}, not ${size}, after ${ms} ms: ${JSON.stringify(report?.changes)}`);
    await sleep(100);
  }
}

/** Lets everything warm up (bandwidth estimation takes its time), then measures all receivers over the same span. */
export async function measure(pages, { warmMs = LONG ? 12_000 : 3_000, ms = LONG ? 20_000 : 6_000 } = {}) {
  await sleep(warmMs);
  await Promise.all(pages.map((page) => ask(page, 'resetMeters')));
  const watched = watchMachine();
  await sleep(ms);
  machineBusy = watched().busy;
}

/** Share of all cores that was busy during the last measurement, 0 to 1. */
let machineBusy = 0;

/** From here on the browsers themselves lack CPU, and their frame rate no longer speaks of the server. */
const SATURATED = 0.95;
/** What of the wanted frame rate must then still arrive: a server that loses frames falls below it all the same. */
const SATURATED_SHARE = 0.8;

/** Checks the picture of `sender` as `page` sees it, and prints the figures. */
export async function checkVideo(test, page, { from, id, minFps, minGoodShare = 0.99, maxP95Ms = 150, maxGapMs, size }) {
  const report = await ask(page, 'video', from);
  assert.ok(report, `${test}: no video of ${from}`);
  const share = report.good / Math.max(1, report.frames);
  figure(test, `${from} fps`, report.fps);
  figure(test, `${from} frames with the right barcode, %`, share * 100);
  figure(test, `${from} latency p50/p95/max, ms`, `${report.latency.p50}/${report.latency.p95}/${report.latency.max}`);
  figure(test, `${from} longest gap, ms`, report.maxGapMs);
  figure(test, `${from} sizes`, report.sizes);
  const wanted = machineBusy > SATURATED ? minFps * SATURATED_SHARE : minFps;
  figure(test, 'machine busy, %', machineBusy * 100);
  assert.ok(report.fps >= wanted, `${test}: ${report.fps.toFixed(1)} fps of ${from}, wanted ${wanted}`);
  assert.ok(share >= minGoodShare, `${test}: ${(share * 100).toFixed(2)} % of the frames of ${from} are readable`);
  assert.deepEqual(Object.keys(report.ids), [String(id)], `${test}: the frames are ${from}'s`);
  if (maxP95Ms !== null) assert.ok(report.latency.p95 <= maxP95Ms, `${test}: p95 latency ${report.latency.p95} ms`);
  if (maxGapMs !== undefined) assert.ok(report.maxGapMs <= maxGapMs, `${test}: video of ${from} stood still for ${report.maxGapMs} ms`);
  if (size) assert.ok(report.sizes[size] > 0, `${test}: size ${size} expected, got ${JSON.stringify(report.sizes)}`);
  return report;
}

/** A tone is recognised within so many Hz, after so long at most. */
const TONE_HZ = 6;
const TONE_MS = 2_000;

/** Checks that `page` hears `sender` at the right pitch. */
export async function checkAudio(test, page, { from, hz }) {
  // A receiver stretches sound to fill its buffer: for a moment no tone is what was sent.
  let heard;
  for (const end = Date.now() + TONE_MS; ; await sleep(100)) {
    heard = await ask(page, 'audio', from);
    if (Date.now() > end || Math.abs(heard?.hz - hz) <= TONE_HZ) break;
  }
  assert.ok(heard, `${test}: no audio of ${from}`);
  figure(test, `${from} tone, Hz`, heard.hz);
  assert.ok(heard.running, `${test}: the AudioContext has no clock`);
  assert.ok(Math.abs(heard.hz - hz) <= TONE_HZ, `${test}: heard ${heard.hz.toFixed(1)} Hz of ${from}, sent ${hz}`);
  assert.ok(heard.rms > 0.01, `${test}: ${from} is silent (rms ${heard.rms})`);
}

export const stats = (page) => page.evaluate(() => window.allStats());

/** The share of the sound that had to be made up since the statistics `before`. */
export async function concealed(page, before) {
  const sum = (all, key) => all.filter((s) => s.type === 'inbound-rtp' && s.kind === 'audio').reduce((total, s) => total + (s[key] ?? 0), 0);
  const now = await stats(page);
  return (sum(now, 'concealedSamples') - sum(before, 'concealedSamples')) / Math.max(1, sum(now, 'totalSamplesReceived') - sum(before, 'totalSamplesReceived'));
}

/** What a page's own encoders and decoders say of its pictures, one line each: why somebody is seen small, late or not at all. */
export async function pictures(page) {
  const mine = (s) => s.type === 'inbound-rtp' || s.type === 'outbound-rtp' ? s.kind === 'video' : s.type === 'candidate-pair' && s.state === 'succeeded' && s.nominated;
  const KEYS = ['type', 'rid', 'frameWidth', 'framesPerSecond', 'framesEncoded', 'framesSent', 'targetBitrate', 'encoderImplementation', 'qualityLimitationReason', 'qualityLimitationDurations', 'framesDecoded', 'framesDropped', 'freezeCount',
    'packetsReceived', 'packetsLost', 'retransmittedPacketsSent', 'retransmittedPacketsReceived', 'nackCount', 'pliCount', 'jitter', 'availableOutgoingBitrate', 'currentRoundTripTime'];
  return (await stats(page)).filter(mine).map((s) => JSON.stringify(Object.fromEntries(KEYS.filter((key) => s[key] !== undefined).map((key) => [key, s[key]]))));
}

/** Checks that media is encrypted by an AEAD, and the codec that arrives. */
export async function checkTransport(test, page, { codec } = {}) {
  const all = await stats(page);
  const transports = all.filter((s) => s.type === 'transport' && s.srtpCipher !== undefined);
  figure(test, 'SRTP', [...new Set(transports.map((s) => s.srtpCipher))]);
  assert.ok(transports.length > 0, `${test}: no transport with SRTP`);
  for (const { srtpCipher } of transports) assert.match(srtpCipher, /^(SRTP_)?AEAD_AES_(128|256)_GCM$/, test);
  if (codec) {
    const arriving = all.filter((s) => s.type === 'inbound-rtp' && s.kind === 'video' && s.framesDecoded > 0).map((s) => s.codec);
    figure(test, 'codec', [...new Set(arriving)]);
    assert.ok(arriving.length > 0 && arriving.every((c) => c?.toLowerCase() === codec.toLowerCase()), `${test}: ${arriving} instead of ${codec}`);
  }
}
