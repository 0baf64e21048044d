// GStreamer: DTLS on OpenSSL with an RSA certificate, libnice, usrsctp. Nothing of it is libwebrtc's or Firefox's.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { figure, newRoom, sleep } from '../lib/call.mjs';
import { dtlsObserver } from '../lib/dtls.mjs';
import { startGstreamer } from '../lib/gstreamer.mjs';
import { udpRelay } from '../lib/network.mjs';
import { setStage, untilEnd } from '../lib/stage.mjs';

const NAME = 'GStreamer';
const [HZ, COLOUR] = [440, [200, 60, 60]];

describe(NAME, { timeout: 60_000 }, () => {
  const stage = setStage({ client: false, chromium: false });

  test('publishes, subscribes and sends data both ways', { timeout: 30_000 }, async (t) => {
    const { server } = stage;
    const room = newRoom('gstreamer');
    const dtls = dtlsObserver();
    const relay = await untilEnd(t, udpRelay(server.udpPort, { observe: dtls.observe }));
    const [gina, gus] = await Promise.all(['gina', 'gus'].map((identity) => untilEnd(t, startGstreamer(server, { room, identity, relayPort: relay.port }))));
    figure(NAME, 'version', gina.sdk);
    await gina.publish({ hz: HZ, colour: COLOUR });
    await gus.publish({ hz: HZ * 2, colour: COLOUR });
    for (const participant of [gina, gus]) {
      await participant.until('a picture and a tone', ({ video, audio }) => video.frames > 20 && audio?.db > -40);
      await participant.until('open channels', ({ connections }) => Object.values(connections).every(({ opened }) => opened.includes('_reliable') && opened.includes('_lossy')));
    }
    await gina.send('from gina');
    await gus.send('from gus, unreliable', false);
    await gus.send('x'.repeat(15_000)); // many SCTP chunks
    await gus.until('the message', ({ messages }) => messages.length === 1, 5_000);
    await gina.until('both messages', ({ messages }) => messages.length === 2, 5_000);
    assert.deepEqual(await gus.texts(), [{ label: '_reliable', text: 'from gina' }]);
    assert.deepEqual((await gina.texts()).sort((a, b) => a.text.length - b.text.length), [
      { label: '_lossy', text: 'from gus, unreliable' },
      { label: '_reliable', text: 'x'.repeat(15_000) },
    ]);

    await sleep(1_000); // the ear's next window
    for (const [who, other, hz] of [[gina, 'gus', HZ * 2], [gus, 'gina', HZ]]) {
      const { video, audio, connections, errors } = await who.state();
      figure(NAME, `${other} at the other one`, `${video.frames} frames ${video.size}, colour ${video.colour}, ${audio.hz} Hz at ${audio.db.toFixed(0)} dB`);
      assert.deepEqual([errors, who.failures.map(String)], [[], []]);
      assert.deepEqual(Object.entries(connections).map(([name, { connection }]) => [name, connection]).sort(), [['publisher', 'connected'], ['subscriber', 'connected']]);
      assert.equal(video.size, '320x180');
      COLOUR.forEach((value, i) => assert.ok(Math.abs(value - video.colour[i]) <= 20, `colour ${video.colour} instead of ${COLOUR}`));
      assert.ok(Math.abs(audio.hz - hz) <= 20, `${audio.hz} Hz instead of ${hz}`);
    }

    const handshakes = dtls.report();
    for (const { hello, ...handshake } of handshakes) figure(NAME, 'handshake', handshake);
    assert.equal(handshakes.length, 4, 'two connections each');
    for (const handshake of handshakes) {
      assert.equal(handshake.clientKey, 'RSA', 'what GStreamer shows');
      assert.equal(handshake.serverKey, 'ECDSA', 'what GStreamer takes');
      assert.match(handshake.suite, /^ECDHE-ECDSA-/);
      assert.equal(handshake.profile, 'SRTP_AES128_CM_SHA1_80', 'GStreamer offers nothing else');
    }
  });
});
