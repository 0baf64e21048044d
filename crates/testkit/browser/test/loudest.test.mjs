// In a big room only the loudest are forwarded: who begins to speak is heard soon, and who falls silent leaves nothing behind.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { ask, checkAudio, figure, join, newRoom, sleep, stats } from '../lib/call.mjs';
import { setStage } from '../lib/stage.mjs';

const SPEAKERS = [{ identity: 'anna', hz: 440 }, { identity: 'ben', hz: 880 }, { identity: 'cem', hz: 1320 }];
/** As gains of a tone: somebody who speaks, and the noise of a room. */
const [SPEAKING, QUIET] = [0.3, 0.003];
/** Levels at the listener, rms, of somebody who is heard and of somebody who is not forwarded at all. */
const [HEARD, NOTHING] = [0.1, 0.0005];
/** From the first loud sample to its sound at the listener: what the server waits for, and both browsers' delay. */
const BEGIN_MS = 500;
/** Longer than the server keeps the place of who is quiet. */
const TURN_MS = 2_000;
const TURNS = 6;

/** How long sound waits to be played since `before`, by the stream of each speaker. */
async function playout(page, before) {
  const streams = (await stats(page)).filter((s) => s.type === 'inbound-rtp' && s.kind === 'audio');
  return streams.map((now) => {
    const was = before?.find((s) => s.id === now.id) ?? {};
    const since = (key) => (now[key] ?? 0) - (was[key] ?? 0);
    return { ...now, waitMs: (since('jitterBufferDelay') * 1_000) / Math.max(1, since('jitterBufferEmittedCount')) };
  });
}

describe('loudest speakers', { timeout: 90_000 }, () => {
  const stage = setStage({ server: { audio: { loudest: 2, loudest_from: 3 } } });

  test('three take turns, two are forwarded', { timeout: 80_000 }, async (t) => {
    const room = newRoom('loudest');
    const pages = {};
    for (const { identity, hz } of SPEAKERS) {
      pages[identity] = await stage.page(t);
      await join(pages[identity], stage.server, { room, identity });
      await ask(pages[identity], 'publish', { hz });
      await ask(pages[identity], 'speak', QUIET);
    }
    const listener = await stage.page(t);
    await join(listener, stage.server, { room, identity: 'listener' });
    for (const { identity } of SPEAKERS) await ask(listener, 'heard', identity, 10_000);
    const took = [];
    let before;
    for (let turn = 0; turn < TURNS; turn++) {
      const [speaker, withheld, last] = [0, 1, 2].map((n) => SPEAKERS[(turn + n) % SPEAKERS.length]);
      await ask(pages[last.identity], 'speak', QUIET);
      await ask(pages[speaker.identity], 'speak', SPEAKING);
      const begun = Date.now();
      await ask(listener, 'level', speaker.identity, HEARD, 1, 5_000);
      took.push(Date.now() - begun);
      await sleep(TURN_MS);
      await checkAudio(`turn ${turn}`, listener, { from: speaker.identity, hz: speaker.hz });
      if (turn < SPEAKERS.length) continue; // the first round fills the places
      // Not the noise of a room, but nothing: its packets don't come.
      const { rms } = await ask(listener, 'audio', withheld.identity);
      assert.ok(rms <= NOTHING, `${withheld.identity} is heard with ${rms}`);
      before ??= await playout(listener);
    }
    figure('loudest', 'until a speaker is heard, ms', took);
    const after = await playout(listener, before);
    figure('loudest', 'sound waits to be played, ms', after.map((s) => Math.round(s.waitMs)));
    const withheld = [...(await stage.server.metrics())].filter(([name]) => name.startsWith('schalter_audio_packets_withheld')).reduce((sum, [, count]) => sum + count, 0);
    figure('loudest', 'packets withheld', withheld);
    assert.ok(withheld > 0, 'the server counts what it withholds');
    assert.ok(Math.max(...took) <= BEGIN_MS, `speakers are heard after ${took} ms`);
    // Stretches that were left out must not pile up as delay, nor what redundancy (RFC 2198) says of them.
    assert.ok(after.every(({ waitMs }) => waitMs <= 200), 'sound comes without delay');
  });
});
