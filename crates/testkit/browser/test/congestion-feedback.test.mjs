// Feedback by stream (RFC 8888): who can is asked for it and believed, who cannot goes on with transport-wide numbers.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { SIMULCAST, SIZES, ask, figure, join, newRoom, sleep, untilSize } from '../lib/call.mjs';
import { launchChromium } from '../lib/chromium.mjs';
import { setStage, untilEnd } from '../lib/stage.mjs';

/** libwebrtc's switch for it. */
const TRIAL = '--force-fieldtrials=WebRTC-RFC8888CongestionControlFeedback/Enabled,offer:true/';
const RECEIVED = 'schalter_congestion_feedback_received_total';

describe('congestion control feedback', { timeout: 150_000 }, () => {
  const stage = setStage({ chromium: false }); // each test has one of its own

  const received = async () => [...(await stage.server.metrics())].filter(([name]) => name.startsWith(RECEIVED)).reduce((sum, [, count]) => sum + count, 0);

  for (const [name, extra, byStream] of [['by stream', [TRIAL], true], ['transport-wide', [], false]]) {
    test(name, { timeout: 60_000 }, async (t) => {
      const { server } = stage;
      const browser = await untilEnd(t, launchChromium({ extra }));
      const room = newRoom('feedback');
      const [sender, receiver] = [await stage.page(t, browser), await stage.page(t, browser)];
      const options = { singlePeerConnection: false }; // the server offers
      await join(receiver, server, { room, identity: 'receiver', options });
      await join(sender, server, { room, identity: 'sender', options });
      const before = await received();
      await ask(sender, 'publish', SIMULCAST);
      await ask(receiver, 'seen', 'sender', 10_000);
      // If its first probes fail, as they do on a busy machine, Chromium probes again after 5 s, and after an overuse it adds
      // 40 kbit/s each second: that is the way to the server, and not what is looked at.
      await ask(sender, 'encodes', SIMULCAST.width, 30_000);
      figure(name, 'made at 720p, seen there after, ms', await untilSize(receiver, 'sender', SIZES[2], 10_000));
      await sleep(2_000);
      const count = (await received()) - before;
      figure(name, 'feedback by stream received', count);
      // Chromium reports at every frame, at most 40 times a second.
      assert.ok(byStream ? count >= 40 : count === 0, `${count} messages`);
      const after = await ask(receiver, 'video', 'sender');
      assert.equal(after.size, SIZES[2]);
      assert.deepEqual([...sender.failures, ...receiver.failures], []);
    });
  }
});
