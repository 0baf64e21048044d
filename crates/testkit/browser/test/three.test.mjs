// Three people at 320×180: everybody gets the other two, and nobody gets mixed up.
import { describe, test } from 'node:test';
import { ask, checkAudio, checkVideo, join, measure, newRoom } from '../lib/call.mjs';
import { setStage } from '../lib/stage.mjs';

const PEOPLE = [
  { identity: 'anna', id: 1, hz: 440 },
  { identity: 'ben', id: 2, hz: 880 },
  { identity: 'cem', id: 3, hz: 1320 },
];

describe('three people', { timeout: 180_000 }, () => {
  const stage = setStage();

  test('each sees and hears the other two', { timeout: 120_000 }, async (t) => {
    const room = newRoom('three');
    const pages = [];
    for (const { identity, id, hz } of PEOPLE) {
      const page = await stage.page(t);
      pages.push(page);
      await join(page, stage.server, { room, identity });
      await ask(page, 'publish', { id, hz, width: 320, height: 180 });
    }
    const pairs = PEOPLE.flatMap((_, i) => PEOPLE.filter((__, j) => j !== i).map((other) => ({ page: pages[i], at: PEOPLE[i].identity, other })));
    await Promise.all(pairs.map(({ page, other }) => ask(page, 'seen', other.identity, 15_000)));
    await measure(pages);
    for (const { page, at, other } of pairs) {
      await checkVideo(`three, at ${at}`, page, { from: other.identity, id: other.id, minFps: 24, size: '320x180' });
      await checkAudio(`three, at ${at}`, page, { from: other.identity, hz: other.hz });
    }
  });
});
