// What the server's memory holds of an encrypted call: nothing of the frames as they were before encryption.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { describe, test } from 'node:test';
import { SIMULCAST, SIZES, ask, figure, join, newRoom } from '../lib/call.mjs';
import { WINDOW, dumpMemory, windowsOf } from '../lib/dump.mjs';
import { VERSIONS } from '../lib/sdk.mjs';
import { setStage } from '../lib/stage.mjs';

/** How long frames are gathered just before the dump: the server keeps packets longer than that. */
const FRAMES_MS = 1_000;

describe('memory', { timeout: 120_000 }, () => {
  const stage = setStage();

  /** Searches the server's memory during a call for what the sender's encoders just made. */
  async function search(t, e2ee) {
    const name = e2ee.off ? 'not encrypted' : 'encrypted';
    const room = newRoom('memory');
    const receiver = await stage.page(t);
    const sender = await stage.page(t);
    await join(receiver, stage.server, { room, identity: 'receiver', e2ee });
    await join(sender, stage.server, { room, identity: 'sender', e2ee });
    await ask(sender, 'publish', SIMULCAST);
    await Promise.all([ask(receiver, 'seen', 'sender', 15_000), ask(receiver, 'heard', 'sender', 5_000)]);
    await ask(receiver, 'askFor', 'sender', 2, SIZES[2], 20_000);
    // A switch has the sender make a key frame meanwhile.
    const [frames] = await Promise.all([ask(sender, 'frames', FRAMES_MS), ask(receiver, 'askFor', 'sender', 0, SIZES[0], 20_000)]);
    const dump = await dumpMemory(stage.server.pid());
    t.after(dump.remove);
    const kinds = Object.fromEntries(['key', 'delta', 'audio'].map((kind) => [kind, frames.filter(({ type }) => type === kind).length]));
    figure(name, 'frames', kinds);
    assert.ok(kinds.key >= 1 && kinds.delta >= 30 && kinds.audio >= 30, JSON.stringify(kinds));
    const begun = Date.now();
    const windows = windowsOf(frames);
    const { found, first } = windows.search(dump.file, { enough: windows.count / 10 });
    figure(name, 'dump, MiB', fs.statSync(dump.file).size / 2 ** 20);
    figure(name, `pieces of ${WINDOW} bytes, and those of them in the dump`, [windows.count, found]);
    figure(name, 'searched in, ms', Date.now() - begun);
    assert.ok(windows.count > 10_000, `${windows.count} pieces are varied enough to be looked for`);
    // The call went on.
    await ask(receiver, 'resetMeters');
    await ask(receiver, 'seen', 'sender', 5_000);
    return { found, first, count: windows.count };
  }

  test(`an encrypted call of ${VERSIONS.browser} leaves nothing readable`, { timeout: 60_000 }, async (t) => {
    const { found, first } = await search(t, { key: 'a passphrase that the server never learns' });
    assert.equal(found, 0, `a frame as it was before encryption stands in the dump at ${first}`);
  });

  // Without this the test above could not fail: what isn't encrypted is found in the same way.
  test('the same call without encryption is found', { timeout: 60_000 }, async (t) => {
    const { found, count } = await search(t, { key: 'not used', off: true });
    assert.ok(found >= count / 10, `${found} of ${count} pieces are in the dump`);
  });
});
