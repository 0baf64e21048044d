// Chromium and Firefox ESR see and hear each other.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { ask, checkAudio, checkTransport, checkVideo, figure, join, measure, newRoom, stats } from '../lib/call.mjs';
import { hasSound } from '../lib/firefox.mjs';
import { setStage, untilEnd } from '../lib/stage.mjs';

describe('call between Chromium and Firefox', { timeout: 300_000 }, () => {
  const stage = setStage({ firefox: {} });

  for (const singlePeerConnection of [true, false]) {
    const name = `firefox, ${singlePeerConnection ? 'one connection' : 'two connections'}`;
    test(name, { timeout: 120_000 }, async (t) => {
      const room = newRoom('firefox');
      const { server } = stage;
      const [chris, fox] = [await stage.page(t), await stage.page(t, stage.firefox)];
      await untilEnd(t, fox, () => ask(fox, 'leave').catch(() => undefined));
      await join(chris, server, { room, identity: 'chris', options: { singlePeerConnection } });
      await join(fox, server, { room, identity: 'fox', options: { singlePeerConnection } });
      await ask(chris, 'publish', { id: 1, hz: 440 });
      // Without a sound server Firefox's WebAudio stands still: its fake microphone must do.
      await ask(fox, 'publish', hasSound ? { id: 2, hz: 880 } : { id: 2, deviceAudio: true });
      await Promise.all([ask(chris, 'seen', 'fox', 15_000), ask(fox, 'seen', 'chris', 15_000), ask(chris, 'heard', 'fox', 15_000)]);
      await measure([chris, fox]);
      await checkVideo(name, chris, { from: 'fox', id: 2, minFps: 24 });
      await checkVideo(name, fox, { from: 'chris', id: 1, minFps: 24, size: '640x360' });
      if (hasSound) {
        await checkAudio(name, chris, { from: 'fox', hz: 880 });
        await checkAudio(name, fox, { from: 'chris', hz: 440 });
      } else {
        const heard = await ask(chris, 'audio', 'fox');
        figure(name, 'level of the fake microphone, rms', heard.rms.toFixed(4));
        assert.ok(heard.rms > 0.001, 'Chromium hears Firefox');
        const arriving = (await stats(fox)).filter((s) => s.type === 'inbound-rtp' && s.kind === 'audio');
        figure(name, 'audio packets at Firefox', arriving.map((s) => s.packetsReceived));
        assert.ok(arriving.some((s) => s.packetsReceived > 500), 'audio reaches Firefox');
      }
      await checkTransport(name, chris, { codec: 'video/VP8' });
      // Firefox tells no cipher in its statistics; the server counts what all have agreed on.
      const agreed = [...(await server.metrics())].filter(([metric, count]) => metric.startsWith('schalter_srtp_handshakes_total') && count > 0);
      figure(name, 'handshakes by SRTP profile', Object.fromEntries(agreed));
      assert.ok(agreed.length > 0 && agreed.every(([metric]) => /aead/i.test(metric)), `every handshake agreed on AES-GCM: ${JSON.stringify(agreed)}`);
      assert.deepEqual(chris.failures, []);
    });
  }
});
