// How browsers agree on keys, without browsers: what both have in the end, what somebody in the middle can do, who can read after whom, and what
// comes of silence and of nonsense. Time is the test's.
import assert from 'node:assert/strict';
import { before, beforeEach, afterEach, describe, mock, test } from 'node:test';
import { pageModule } from '../lib/page-module.mjs';

const words = (bytes) => new TextDecoder().decode(bytes);
const bytes = (text) => new TextEncoder().encode(text);
const hex = (secret) => secret && Buffer.from(secret.bytes).toString('hex');

let modules;
before(async () => {
  const [agreement, pair, sender, layer] = await Promise.all(['agreement', 'pair', 'sender', 'layer'].map((name) => pageModule(`talk/e2ee/${name}.ts`)));
  modules = { ...agreement, ...pair, ...sender, ...layer };
});

/** What WebCrypto is at work on: it answers from other threads. */
let working = 0;
for (const name of ['deriveBits', 'deriveKey', 'digest', 'decrypt', 'encrypt', 'exportKey', 'generateKey', 'importKey']) {
  const native = crypto.subtle[name].bind(crypto.subtle);
  crypto.subtle[name] = (...values) => {
    working++;
    return native(...values).finally(() => working--);
  };
}

/** Until nothing more happens by itself. */
async function quiet() {
  for (let still = 0; still < 5; still = working === 0 ? still + 1 : 0) await new Promise((next) => setImmediate(next));
}

/** Several browsers in a call; `between` sees each message and answers what arrives. */
function room({ between = (message) => message } = {}) {
  const all = new Map();
  const calls = { sent: [] };
  const tell = () => {
    for (const { agreement } of all.values()) agreement.present(new Map([...all].map(([identity, { sid }]) => [identity, sid])));
  };
  return {
    calls,
    join(identity, { able = true, yields = true, sid = `${identity} 1` } = {}) {
      const own = { sid, keys: new Map(), using: undefined, clear: undefined };
      own.agreement = new modules.Agreement({ me: identity, able, yields }, {
        send(to, message) {
          const told = between(JSON.parse(words(message)), identity, to);
          for (const one of Array.isArray(told) ? told : told ? [told] : []) {
            calls.sent.push(one);
            all.get(to)?.agreement.take(identity, bytes(JSON.stringify(one)));
          }
        },
        encrypt: async (secret) => void (own.using = secret),
        decrypt: async (from, secret) => void own.keys.set(from, secret),
        clear: (yes) => void (own.clear = yes),
        changed: () => undefined,
      });
      all.set(identity, own);
      return own.agreement.begin().then(() => (tell(), own));
    },
    leave(identity) {
      all.get(identity).agreement.end();
      all.delete(identity);
      tell();
    },
    end: () => { for (const { agreement } of all.values()) agreement.end(); },
  };
}

/** Whether `to` reads what `from` sends. */
async function reads(from, identity, to, text = 'ein Wort') {
  const packet = await from.agreement.seal({ topic: 'rtt', to: '', payload: bytes(text) });
  let read;
  to.agreement.open(identity, packet, (content) => (read = words(content.payload)));
  await quiet();
  return read === text;
}

describe('the keys of a call', { timeout: 20_000 }, () => {
  let call;
  beforeEach(() => mock.timers.enable({ apis: ['setTimeout'] }));
  afterEach(() => {
    call?.end();
    call = undefined;
    mock.timers.reset();
  });

  test('each has the secret of each other, and a pair has one code', async () => {
    call = room();
    const people = new Map();
    for (const identity of ['per_kim', 'off', 'per_uli.2']) people.set(identity, await call.join(identity));
    await quiet();
    const secrets = new Set();
    for (const [one, { agreement, using }] of people) {
      secrets.add(hex(using));
      for (const [other, theirs] of people) {
        if (one === other) continue;
        const [mine, others] = [agreement.peer(other), theirs.agreement.peer(one)];
        assert.equal(mine.stage, 'ready');
        assert.match(mine.code, /^\d{6}$/);
        assert.equal(mine.code, others.code);
        assert.equal(hex(theirs.keys.get(one)), hex(using));
        assert.ok(await reads({ agreement }, one, theirs), `${other} reads ${one}`);
      }
      await agreement.settled();
    }
    assert.equal(secrets.size, 3);
    const sent = JSON.stringify(call.calls.sent);
    for (const { using } of people.values()) assert.ok(!sent.includes(Buffer.from(using.bytes).toString('base64')), 'no secret goes by in the clear');
  });

  test('somebody between who gives each a share of their own is told by the codes', async () => {
    // The server takes part twice: towards Kim as the official, towards the official as Kim. Each side agrees with it, and the codes differ.
    const same = [];
    for (let i = 0; i < 8; i++) {
      const [kim, official] = await Promise.all([modules.Pair.begin('kim', 'off'), modules.Pair.begin('off', 'kim')]);
      const [asOfficial, asKim] = await Promise.all([modules.Pair.begin('off', 'kim'), modules.Pair.begin('kim', 'off')]);
      const run = async (first, second) => {
        const [commit] = [await first.meet(second.number), await second.meet(first.number)];
        const { step: share } = await second.take(commit);
        const { step: reveal, agreed } = await first.take(share);
        return [agreed.code, (await second.take(reveal)).agreed.code];
      };
      const [kimSees] = await run(kim, asOfficial);
      const [, officialSees] = await run(asKim, official);
      same.push(kimSees === officialSees);
    }
    assert.ok(same.filter(Boolean).length <= 1, 'the codes differ'); // one in a million is the same
  });

  test('whoever committed can not change their share when they have seen the other', async () => {
    const make = async () => {
      const [first, second, another] = [await modules.Pair.begin('kim', 'off'), await modules.Pair.begin('off', 'kim'), await modules.Pair.begin('kim', 'off')];
      const commit = await first.meet(second.number);
      await second.meet(first.number);
      const { step: share } = await second.take(commit);
      return { first, second, another, share };
    };
    {
      const { first, second, another, share } = await make();
      const { step: reveal } = await first.take(share);
      const changed = Buffer.from(reveal.nonce, 'base64');
      changed[0] ^= 1;
      assert.equal(await second.take({ ...reveal, nonce: changed.toString('base64') }), false);
      assert.equal(await second.take(reveal), false, 'and the attempt is over');
      assert.ok(another);
    }
    {
      // What is no point of the curve is nobody's share, and nothing is taken twice or of another attempt.
      const { first, share } = await make();
      assert.equal(await first.take({ ...share, to: 'another' }), false);
      assert.equal(await first.take({ ...share, from: 'another' }), false);
      assert.equal(await first.take({ ...share, point: Buffer.alloc(65, 4).toString('base64') }), false);
      assert.equal(await first.take(share), false);
    }
  });

  test('a server that exchanges a commitment has nobody agree', async () => {
    const stranger = await modules.Pair.begin('kim', 'off');
    const commit = await stranger.meet(stranger.number);
        let exchanged = 0;
    call = room({ between: (message) => (message.kind === 'commit' && ++exchanged ? { ...message, hash: commit.hash } : message) });
    const kim = await call.join('kim');
    const official = await call.join('off');
    await quiet();
    assert.ok(exchanged > 0);
    assert.notEqual(official.agreement.peer('kim').stage, 'ready');
    assert.equal(official.keys.size, 0);
    assert.notEqual(kim.agreement.peer('off').stage, 'ready', 'nobody confirmed a secret');
  });

  test('whoever left can not read on, and whoever comes reads from then on', async () => {
    call = room();
    const [kim, official, uli] = [await call.join('kim'), await call.join('off'), await call.join('uli')];
    await quiet();
    const before = kim.using;
    call.leave('uli');
    await quiet();
    assert.equal(kim.using.number, before.number + 1, 'a new secret, and used as soon as all who are left have it');
    assert.equal(hex(official.keys.get('kim')), hex(kim.using));
    assert.equal(hex(uli.keys.get('kim')), hex(before), 'who left has the old one');
    assert.ok(await reads(kim, 'kim', official));
    const again = await call.join('uli', { sid: 'uli 2' });
    await quiet();
    assert.equal(hex(again.keys.get('kim')), hex(kim.using));
    assert.ok(await reads(kim, 'kim', again));
    assert.equal(kim.agreement.peer('uli').code, again.agreement.peer('kim').code);
  });

  test('a browser that connects anew agrees with everybody anew, and sends with another secret', async () => {
    call = room();
    const [kim, official] = [await call.join('kim'), await call.join('off')];
    await quiet();
    const [{ code }, { number }] = [kim.agreement.peer('off'), kim.using];
    // The library forgets who is there, and finds them again; the others see somebody go and come.
    kim.agreement.present(new Map());
    await quiet();
    kim.agreement.present(new Map([['off', 'off 1']]));
    official.agreement.present(new Map([['kim', 'kim 2']]));
    await quiet();
    assert.deepEqual([kim.agreement.peer('off').stage, official.agreement.peer('kim').stage], ['ready', 'ready']);
    assert.equal(kim.agreement.peer('off').code, official.agreement.peer('kim').code);
    assert.notEqual(kim.agreement.peer('off').code, code);
    assert.ok(kim.using.number > number);
    assert.equal(hex(official.keys.get('kim')), hex(kim.using));
    assert.ok(await reads(kim, 'kim', official));
  });

  test('a new secret is used in time even if somebody does not confirm it', async () => {
    let deaf = false;
    call = room({ between: (message, from) => (deaf && from === 'off' && message.kind === 'have' ? undefined : message) });
    const kim = await call.join('kim');
    await call.join('off');
    await call.join('uli');
    await quiet();
    deaf = true;
    const { number } = kim.using;
    call.leave('uli');
    await quiet();
    assert.equal(kim.using.number, number);
    mock.timers.tick(modules.HANDOVER_MS);
    await quiet();
    assert.equal(kim.using.number, number + 1);
  });

  test('somebody who can not: all go on in the clear where that may be, and say so; else nobody does', async () => {
    for (const yields of [true, false]) {
      call = room();
      const [kim, official] = [await call.join('kim', { yields }), await call.join('off', { yields })];
      await quiet();
      assert.equal(kim.clear, undefined);
      await call.join('old', { able: false, yields });
      await quiet();
      assert.equal(kim.agreement.peer('old').stage, 'unable');
      assert.deepEqual([kim.clear, official.clear], yields ? [true, true] : [undefined, undefined]);
      assert.equal(official.agreement.peer('kim').clear, yields, 'they were told');
      assert.equal((await kim.agreement.seal({ topic: 'rtt', to: '', payload: bytes('x') })) === undefined, yields);
      if (yields) {
        call.leave('old');
        await quiet();
        assert.deepEqual([kim.clear, official.clear, official.agreement.peer('kim').clear], [false, false, false], 'and back when they are gone');
      }
      call.end();
    }
  });

  test('silence has an end, and whoever comes anew is agreed with', async () => {
    let mute = true;
    call = room({ between: (message) => (mute ? undefined : message) });
    const kim = await call.join('kim');
    await call.join('off');
    const settled = kim.agreement.settled().then(() => true);
    const real = performance.now.bind(performance);
    let gone = 0;
    performance.now = () => real() + gone;
    try {
      for (; gone <= modules.SILENT_MS; ) {
        await quiet();
        mock.timers.tick(modules.ASK_MS);
        gone += modules.ASK_MS;
      }
    } finally {
      performance.now = real;
    }
    assert.equal(await settled, true);
    assert.equal(kim.agreement.peer('off').stage, 'unable');
    mute = false;
    call.leave('off');
    await call.join('off', { sid: 'off 2' });
    await quiet();
    assert.equal(kim.agreement.peer('off').stage, 'ready');
  });

  test('an attempt that gets stuck is begun anew, a bounded number of times', async () => {
    let lost = 1;
    call = room({ between: (message) => (message.kind === 'share' && lost-- > 0 ? undefined : message) });
    const [kim, official] = [await call.join('kim'), await call.join('off')];
    await quiet();
    assert.equal(kim.agreement.peer('off').stage, 'agreeing');
    mock.timers.tick(modules.ATTEMPT_MS);
    await quiet();
    assert.equal(kim.agreement.peer('off').stage, 'ready');
    assert.equal(kim.agreement.peer('off').code, official.agreement.peer('kim').code);

    const never = room({ between: (message) => (message.kind === 'share' ? undefined : message) });
    const one = await never.join('kim');
    await never.join('off');
    for (let i = 0; i < 3 * modules.MOST_FAILURES; i++) {
      await quiet();
      mock.timers.tick(modules.ATTEMPT_MS);
    }
    await quiet();
    assert.equal(one.agreement.peer('off').stage, 'unable');
    assert.ok(never.calls.sent.filter(({ kind }) => kind === 'commit').length <= 2 * modules.MOST_FAILURES);
    never.end();
  });

  test('nobody is led into more attempts than are allowed', async () => {
    call = room();
    const kim = await call.join('kim');
    const official = await call.join('off');
    await quiet();
    for (let i = 0; i < 2 * modules.MOST_ATTEMPTS; i++) {
      kim.agreement.take('off', bytes(JSON.stringify({ kind: 'hello', able: true, mine: Buffer.alloc(16, i + 1).toString('base64') })));
      await quiet();
    }
    assert.ok(official);
    assert.equal(kim.agreement.peer('off').stage, 'unable');
    assert.ok(call.calls.sent.filter(({ kind, from }) => kind === 'commit' && from).length <= modules.MOST_ATTEMPTS + 2);
  });

  test('what is malformed, too long, too much or not for this is dropped', async () => {
    call = room();
    const [kim, official] = [await call.join('kim'), await call.join('off')];
    await quiet();
    const code = kim.agreement.peer('off').code;
    for (const nonsense of ['', '{', 'null', '[]', '7', '{"kind":"hello"}', '{"kind":"hello","able":"yes","mine":"x"}', '{"kind":"commit","from":1,"to":2,"hash":3}', '{"kind":"key","from":"a","to":"b","box":"c"}', '{"kind":"have","from":"a","to":"b","box":"…"}', `{"kind":"hello","able":true,"mine":"${'x'.repeat(modules.MOST_MESSAGE)}"}`]) kim.agreement.take('off', bytes(nonsense));
    kim.agreement.take('nobody', bytes('{"kind":"hello","able":true,"mine":"AAAAAAAAAAAAAAAAAAAAAA=="}'));
    kim.agreement.take('off', new Uint8Array([0xff, 0xfe]));
    await quiet();
    assert.deepEqual([kim.agreement.peer('off').stage, kim.agreement.peer('off').code], ['ready', code]);

    const packet = await official.agreement.seal({ topic: 'chat', to: '', payload: bytes('Guten Tag') });
    const heard = [];
    const open = (what, from = 'off') => kim.agreement.open(from, what, ({ payload }) => heard.push(words(payload)));
    const broken = packet.slice();
    broken[broken.length - 1] ^= 1;
    for (const what of [broken, new Uint8Array(3), new Uint8Array(modules.MOST_SEALED + 1), packet, packet]) open(what);
    open(packet, 'kim');
    await quiet();
    assert.deepEqual(heard, ['Guten Tag'], 'once, and only as it was sealed');
    const for_ = async (to, text) => open(await official.agreement.seal({ topic: 'ask-mute', to, payload: bytes(text) }));
    await for_('uli', 'to somebody else');
    await for_('kim', 'to me');
    await quiet();
    assert.deepEqual(heard, ['Guten Tag', 'to me']);
    const many = [];
    for (let i = 0; i < 3 * modules.MOST_WAITING; i++) many.push(await official.agreement.seal({ topic: 'chat', to: '', payload: bytes(String(i)) }));
    heard.length = 0;
    for (const each of many) open(each);
    await quiet();
    assert.equal(heard.length, modules.MOST_WAITING, 'what waits is bounded');
  });

  test('how long a message is does not tell what was typed', async () => {
    call = room();
    const kim = await call.join('kim');
    const length = async (text) => (await kim.agreement.seal({ topic: 'rtt', to: '', payload: bytes(text) })).length;
    assert.equal(await length('a'), await length('ß and some more'));
  });
});

test('the page says no more than is so', () => {
  const peer = { identity: 'off', stage: 'ready', code: '123456', clear: false };
  const official = { identity: 'off', name: 'Dilek', peer, encrypted: true };
  const base = { policy: 'possible', able: true, clear: false, own: true, people: [official] };
  const kind = (facts) => modules.layerOf({ ...base, ...facts });
  assert.deepEqual(kind({}), { kind: 'end' });
  assert.deepEqual(kind({ people: [] }), { kind: 'alone' });
  for (const facts of [{ own: false }, { clear: true }, { people: [{ ...official, peer: undefined }] }, { people: [official, { ...official, peer: { ...peer, stage: 'agreeing' } }] }]) assert.deepEqual(kind(facts), { kind: 'agreeing' });
  for (const one of [{ ...official, encrypted: false }, { ...official, peer: { ...peer, clear: true } }, { ...official, peer: { ...peer, stage: 'unable' } }]) assert.deepEqual(kind({ people: [official, one] }), { kind: 'transport', why: 'other', names: ['Dilek'] });
  // Where nothing else will do nothing goes out in the clear: who can't is there and gets nothing.
  const unable = { ...official, name: 'Kim', peer: { ...peer, stage: 'unable' } };
  const required = (facts) => kind({ policy: 'required', ...facts });
  assert.deepEqual(required({}), { kind: 'end' });
  assert.deepEqual(required({ people: [official, unable] }), { kind: 'without', names: ['Kim'] });
  assert.deepEqual(required({ people: [{ ...official, encrypted: false }] }), { kind: 'without', names: ['Dilek'] });
  for (const facts of [{ own: false }, { clear: true }, { people: [unable, { ...official, peer: undefined }] }]) assert.deepEqual(required({ people: [unable], ...facts }), { kind: 'agreeing' });
  assert.deepEqual(kind({ able: false }), { kind: 'transport', why: 'own' });
  assert.deepEqual(kind({ able: false, policy: 'off' }), { kind: 'transport', why: 'office' });
});
