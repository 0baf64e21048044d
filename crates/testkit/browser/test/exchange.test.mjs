// RPC, text and byte streams, transcriptions, data tracks, profiles and permissions between SDKs of every kind, each with each.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { ask, figure, join, newRoom, openPage, sleep } from '../lib/call.mjs';
import { Opened } from '../lib/opened.mjs';
import { VERSIONS, startSdk } from '../lib/sdk.mjs';
import { setStage } from '../lib/stage.mjs';

/** Long enough for what must not arrive to arrive. */
const QUIET_MS = 700;
const STREAM_BYTES = 2_000_000;
const KINDS = ['chromium', 'firefox', 'python', 'node'];
const NAMES = `${VERSIONS.browser} (Chromium, Firefox), ${VERSIONS.python}, ${VERSIONS.node}`;

describe(`between ${NAMES}`, { timeout: 180_000 }, () => {
  const stage = setStage({ firefox: {} });
  const people = {};
  const opened = new Opened();
  after(() => opened.close());

  before(async () => {
    const { server } = stage;
    const room = newRoom('exchange');
    await Promise.all(KINDS.map(async (kind) => {
      const grant = { canUpdateOwnMetadata: true };
      if (['python', 'node'].includes(kind)) {
        const sdk = await opened.add(startSdk(kind), (it) => it.close());
        await sdk.join(server, { room, identity: kind, grant });
        people[kind] = { kind, ask: sdk.ask, people: async () => (await sdk.state()).people, audio: async () => (await sdk.state()).audio };
      } else {
        const page = await opened.add(openPage(stage[kind], stage.client.url), (it) => it.closeAll());
        await join(page, server, { room, identity: kind, grant });
        people[kind] = { kind, page, ask: (name, wish) => ask(page, name, wish), people: async () => Object.fromEntries(await Promise.all(KINDS.map(async (who) => [who, await ask(page, 'about', who)]))) };
      }
    }));
    for (const { kind } of Object.values(people)) await until(kind, 'everybody', async ({ people: seen }) => {
      const known = await seen().catch(() => ({}));
      return KINDS.every((who) => known[who]?.name === who);
    });
  });

  /** Waits until `check` of a participant is true. */
  async function until(kind, what, check, ms = 10_000) {
    const end = Date.now() + ms;
    for (;;) {
      const value = await check(people[kind]);
      if (value) return value;
      if (Date.now() > end) assert.fail(`${kind}: ${what} not within ${ms} ms: ${JSON.stringify(await people[kind].ask('exchanged', {})).slice(0, 2_000)}`);
      await sleep(50);
    }
  }
  const exchanged = (kind) => people[kind].ask('exchanged', {});
  const pairs = KINDS.flatMap((from) => KINDS.filter((to) => to !== from).map((to) => [from, to]));

  test('calls are answered, with payloads of 14 kB, and fail as their handlers fail', { timeout: 60_000 }, async () => {
    for (const [from, to] of pairs) {
      const start = performance.now();
      const payload = `${from} asks ${to} ${'ü'.repeat(7_000)}`;
      assert.deepEqual(await people[from].ask('callRpc', { to, method: 'echo', payload }), { value: `${from}:${payload}` }, `${from} to ${to}`);
      figure('rpc', `${from} to ${to} and back, ms`, performance.now() - start);
      const failed = await people[from].ask('callRpc', { to, method: 'fail' });
      assert.deepEqual([failed.code, failed.message, failed.data], [101, 'on purpose', 'more'], `${from} to ${to}`);
      assert.equal((await people[from].ask('callRpc', { to, method: 'unheard-of' })).code, 1400, `${from} to ${to}: UNSUPPORTED_METHOD`);
    }
  });

  test('texts reach everybody, or the one they are for, with topic and attributes', { timeout: 60_000 }, async () => {
    for (const from of KINDS) {
      const long = `${from} ${'long '.repeat(20_000)}`;
      const to = KINDS.find((kind) => kind !== from);
      await people[from].ask('sendText', { text: `${from} to all`, attributes: { a: 'b' } });
      await people[from].ask('sendText', { text: long });
      await people[from].ask('sendText', { text: `${from} to one`, to: [to] });
      for (const kind of KINDS.filter((other) => other !== from)) {
        await until(kind, `texts of ${from}`, async () => {
          const { texts } = await exchanged(kind);
          const own = texts.filter((t) => t.from === from && t.topic === 'text');
          return own.some((t) => t.text === `${from} to all` && t.attributes?.a === 'b') && own.some((t) => t.text === long) && (kind !== to || own.some((t) => t.text === `${from} to one`));
        });
      }
    }
    await sleep(QUIET_MS);
    for (const kind of KINDS) {
      const { texts } = await exchanged(kind);
      const alone = texts.filter((t) => t.text.endsWith('to one')).map((t) => t.from);
      assert.deepEqual(alone.sort(), KINDS.filter((from) => KINDS.find((other) => other !== from) === kind).sort(), `${kind} got what was for it`);
    }
  });

  test('streams of two megabytes arrive whole and in order', { timeout: 90_000 }, async () => {
    // A ring: each sends one and gets one, at the same time.
    const ring = [['chromium', 'node'], ['node', 'firefox'], ['firefox', 'python'], ['python', 'chromium']];
    await Promise.all(ring.map(async ([from, to]) => {
      const start = performance.now();
      await people[from].ask('sendBytes', { size: STREAM_BYTES, to: [to] });
      const entry = await until(to, `bytes of ${from}`, async () => (await exchanged(to)).bytes.find((b) => b.from === from && b.done), 60_000);
      assert.deepEqual([entry.size, entry.wrong], [STREAM_BYTES, 0], `${from} to ${to}`);
      figure('streams', `${from} to ${to}, Mbit/s`, (STREAM_BYTES * 8) / (performance.now() - start) / 1000);
    }));
    for (const kind of KINDS) assert.equal((await exchanged(kind)).bytes.length, 1, `${kind} got one stream`);
  });

  test('transcriptions: as text streams of anybody, as packets of agents only', { timeout: 40_000 }, async () => {
    await people.chromium.ask('sendText', { text: 'spoken', topic: 'lk.transcription', attributes: { 'lk.segment_id': 's1', 'lk.transcription_final': 'true' } });
    for (const kind of ['firefox', 'python', 'node']) {
      await until(kind, 'a transcription', async () => (await exchanged(kind)).texts.some((t) => t.topic === 'lk.transcription' && t.text === 'spoken' && t.attributes?.['lk.segment_id'] === 's1'));
    }
    // The older packet names a track, which must be there.
    const { audio } = await people.chromium.ask('publish', { hz: 440 });
    await until('python', 'the microphone', async ({ people: seen }) => Object.keys((await seen()).chromium.tracks).includes(audio));
    await people.python.ask('transcribe', { who: 'chromium', track: audio, text: 'forged' });
    const agent = await opened.add(startSdk('python'), (it) => it.close());
    const { room } = await ask(people.chromium.page, 'about');
    await agent.join(stage.server, { room: room.name, identity: 'agent', claims: { kind: 'agent' } });
    await agent.until('the microphone', ({ people: seen }) => Object.keys(seen.chromium?.tracks ?? {}).includes(audio));
    await agent.ask('transcribe', { who: 'chromium', track: audio, text: 'heard' });
    for (const kind of ['firefox', 'chromium']) {
      await until(kind, 'the words of an agent', async () => (await exchanged(kind)).transcriptions.some((t) => t.text === 'heard' && t.from === 'chromium'));
      assert.ok(!(await exchanged(kind)).transcriptions.some((t) => t.text === 'forged'), `${kind} got a transcription of somebody who is no agent`);
    }
    await ask(people.chromium.page, 'unpublish', 'audio');
    await agent.close();
  });

  test('data tracks begin, carry frames of one and of many packets, and end', { timeout: 60_000 }, async () => {
    const kinds = ['chromium', 'firefox', 'python']; // the Node SDK has none
    for (const from of kinds) {
      const name = `track of ${from}`;
      const others = kinds.filter((kind) => kind !== from);
      const sid = await people[from].ask('publishDataTrack', { name });
      assert.match(sid, /^DTR_/);
      for (const kind of others) await until(kind, `${name}`, async () => (await exchanged(kind)).dataTracks.some((t) => t.name === name && t.from === from && t.sid === sid));
      // A subscription takes a moment; frames before it are nobody's.
      for (const kind of others) {
        await until(kind, `frames of ${name}`, async () => {
          await people[from].ask('pushFrames', { name, count: 1, size: 10 });
          return (await exchanged(kind)).frames[name].count > 0;
        });
      }
      // Nothing of a data track is sent twice: what a busy machine loses of a burst is lost, and the next burst is another try.
      const push = async () => {
        await people[from].ask('pushFrames', { name, count: 50, size: 200 });
        await people[from].ask('pushFrames', { name, count: 10, size: 40_000 });
      };
      await push();
      for (const kind of others) {
        let pushed = Date.now();
        const frames = await until(kind, `most of ${name}`, async () => {
          const seen = (await exchanged(kind)).frames[name];
          if (seen.sizes[200] >= 45 && seen.sizes[40_000] >= 8) return seen;
          if (Date.now() - pushed > 3_000) {
            figure('data tracks', `${from} to ${kind}, sent again after`, seen.sizes);
            await push();
            pushed = Date.now();
          }
          return undefined;
        });
        assert.equal(frames.wrong, 0, `${kind}: frames of ${name} are whole`);
        figure('data tracks', `${from} to ${kind}, frames by size`, frames.sizes);
      }
      await people[from].ask('unpublishDataTrack', { name });
      for (const kind of others) await until(kind, `the end of ${name}`, async () => (await exchanged(kind)).ended.includes(sid));
    }
  });

  test('names, metadata and attributes change for everybody, and an attribute that is set to nothing goes', { timeout: 40_000 }, async () => {
    for (const from of KINDS) {
      assert.deepEqual(await people[from].ask('setName', { value: `${from} named` }), {}, from);
      assert.deepEqual(await people[from].ask('setMetadata', { value: `${from} described` }), {}, from);
      assert.deepEqual(await people[from].ask('setAttributes', { value: { a: from, gone: 'x' } }), {}, from);
      assert.deepEqual(await people[from].ask('setAttributes', { value: { gone: '' } }), {}, from);
      for (const kind of KINDS) {
        await until(kind, `the profile of ${from}`, async ({ people: seen }) => {
          const { name, metadata, attributes } = (await seen())[from];
          return name === `${from} named` && metadata === `${from} described` && attributes.a === from && !attributes.gone;
        });
      }
    }
  });

  test('who may not change its own profile is refused', { timeout: 40_000 }, async (t) => {
    const room = newRoom('refused');
    const page = await stage.page(t);
    await join(page, stage.server, { room, identity: 'chromium' });
    for (const command of ['setName', 'setMetadata', 'setAttributes']) {
      const { error } = await ask(page, command, { value: command === 'setAttributes' ? { a: 'b' } : 'x' });
      assert.match(error ?? '', /does not have permission/, command);
    }
    const about = await ask(page, 'about');
    assert.deepEqual([about.name, about.metadata ?? '', about.attributes], ['chromium', '', {}]);
  });

  test('tracks are for those whom their publisher permits', { timeout: 60_000 }, async () => {
    const page = people.chromium.page;
    await ask(page, 'publish', { hz: 660 });
    // What comes down is judged: the Rust core tells its application nothing of a permission that ends.
    const hears = async (kind) => {
      if (kind === 'firefox') return (await ask(people.firefox.page, 'events')).filter((e) => e.identity === 'chromium' && ['subscribed', 'unsubscribed'].includes(e.name)).at(-1)?.name === 'subscribed';
      const before = (await people[kind].audio()).chromium?.frames;
      await sleep(300);
      const { frames, rms } = (await people[kind].audio()).chromium ?? {};
      return frames > before && rms > 0.05;
    };
    for (const kind of ['firefox', 'python', 'node']) await until(kind, 'the microphone', () => hears(kind));
    await people.chromium.ask('permit', { all: false, only: ['firefox'] });
    for (const kind of ['python', 'node']) await until(kind, 'its end', async () => !(await hears(kind)));
    assert.ok(await hears('firefox'), 'who is permitted keeps it');
    await people.chromium.ask('permit', { all: true });
    for (const kind of ['firefox', 'python', 'node']) await until(kind, 'the microphone again', () => hears(kind));
  });

  test('everybody is well', async () => {
    for (const kind of ['chromium', 'firefox']) assert.deepEqual(people[kind].page.failures, []);
    await opened.close();
  });
});
