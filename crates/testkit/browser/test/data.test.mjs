// Messages reach those they are for, whole and in order, with their topic and the true sender.
import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import { ask, figure, join, newRoom, openPage, sleep } from '../lib/call.mjs';
import { setStage } from '../lib/stage.mjs';

/** Long enough for a message that must not arrive to arrive. */
const QUIET_MS = 700;

describe('data', { timeout: 120_000 }, () => {
  const stage = setStage();
  const people = {};
  before(async () => {
    const { server, chromium, client } = stage;
    const room = newRoom('data');
    for (const identity of ['anna', 'ben', 'cem']) {
      people[identity] = await openPage(chromium, client.url);
      await join(people[identity], server, { room, identity, grant: identity === 'cem' ? { canPublishData: false } : {} });
    }
    for (const identity of ['ben', 'cem']) await ask(people.anna, 'happened', 'joined', { identity }, 5_000);
  });

  const texts = async (identity, prefix) => (await ask(people[identity], 'messages')).filter((m) => m.text.startsWith(prefix));

  for (const reliable of [true, false]) {
    const kind = reliable ? 'reliable' : 'lossy';
    test(`${kind}, to all`, { timeout: 20_000 }, async () => {
      const start = Date.now();
      await ask(people.anna, 'send', `${kind} all`, { reliable, topic: 'greeting' });
      for (const identity of ['ben', 'cem']) {
        const message = await ask(people[identity], 'received', `${kind} all`, 5_000);
        assert.equal(message.from, 'anna');
        assert.equal(message.topic, 'greeting');
        figure(`data ${kind}`, `to ${identity}, ms`, message.at - start);
      }
      await sleep(QUIET_MS);
      assert.deepEqual(await texts('anna', `${kind} all`), [], 'nobody gets their own message');
    });

    test(`${kind}, to one identity`, { timeout: 20_000 }, async () => {
      await ask(people.anna, 'send', `${kind} one`, { reliable, destinationIdentities: ['ben'] });
      await ask(people.ben, 'received', `${kind} one`, 5_000);
      await sleep(QUIET_MS);
      assert.deepEqual(await texts('cem', `${kind} one`), []);
    });
  }

  test('reliable messages keep their order and none is lost', { timeout: 30_000 }, async () => {
    await people.anna.evaluate(async () => {
      for (let i = 0; i < 200; i++) await window.client.send(`order ${i}`, { reliable: true });
    });
    await ask(people.ben, 'received', 'order 199', 10_000);
    assert.deepEqual((await texts('ben', 'order')).map((m) => m.text), Array.from({ length: 200 }, (_, i) => `order ${i}`));
  });

  test('a message of 14 kB arrives whole', { timeout: 20_000 }, async () => {
    await ask(people.ben, 'send', `large ${'x'.repeat(14_000)}`, { reliable: true });
    assert.equal((await ask(people.anna, 'received', 'large', 5_000)).bytes, 14_006);
  });

  test('who may not send data is not forwarded', { timeout: 20_000 }, async () => {
    await ask(people.cem, 'send', 'forbidden', { reliable: true }).catch(() => undefined);
    await sleep(QUIET_MS);
    for (const identity of ['anna', 'ben']) assert.deepEqual(await texts(identity, 'forbidden'), []);
  });
});
