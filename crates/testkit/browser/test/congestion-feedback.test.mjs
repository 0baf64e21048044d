// Feedback by stream (RFC 8888): who can is asked for it and believed, who cannot goes on with transport-wide numbers.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { ask, figure, join, newRoom, openPage, sleep } from '../lib/call.mjs';
import { launchChromium } from '../lib/chromium.mjs';
import { serveClientPage } from '../lib/pages.mjs';
import { startServer } from '../lib/server.mjs';

/** libwebrtc's switch for it. */
const TRIAL = '--force-fieldtrials=WebRTC-RFC8888CongestionControlFeedback/Enabled,offer:true/';
const RECEIVED = 'schalter_congestion_feedback_received_total';
const SIMULCAST = { id: 7, hz: 660, width: 1280, height: 720, video: { simulcast: true, videoEncoding: { maxBitrate: 1_700_000, maxFramerate: 30 } } };

describe('congestion control feedback', { timeout: 60_000 }, () => {
  let server;
  let client;
  before(async () => {
    server = await startServer(); // first: what fails here leaves nothing behind
    client = await serveClientPage();
  });
  after(async () => {
    await client?.close();
    await server?.stop();
  });

  const received = async () => [...(await server.metrics())].filter(([name]) => name.startsWith(RECEIVED)).reduce((sum, [, count]) => sum + count, 0);

  for (const [name, extra, byStream] of [['by stream', [TRIAL], true], ['transport-wide', [], false]]) {
    test(name, { timeout: 25_000 }, async () => {
      const browser = await launchChromium({ extra });
      try {
        const room = newRoom('feedback');
        const [sender, receiver] = [await openPage(browser, client.url), await openPage(browser, client.url)];
        const options = { singlePeerConnection: false }; // the server offers
        await join(receiver, server, { room, identity: 'receiver', options });
        await join(sender, server, { room, identity: 'sender', options });
        const before = await received();
        const begun = Date.now();
        await ask(sender, 'publish', SIMULCAST);
        await ask(receiver, 'seen', 'sender', 10_000);
        let report;
        do {
          await sleep(100);
          report = await ask(receiver, 'video', 'sender');
        } while (report?.size !== '1280x720' && Date.now() - begun < 10_000);
        figure(name, 'at 720p after, ms', Date.now() - begun);
        assert.equal(report.size, '1280x720');
        await sleep(2_000);
        const count = (await received()) - before;
        figure(name, 'feedback by stream received', count);
        // Chromium reports at every frame, at most 40 times a second.
        assert.ok(byStream ? count >= 40 : count === 0, `${count} messages`);
        const after = await ask(receiver, 'video', 'sender');
        assert.equal(after.size, '1280x720');
        assert.deepEqual([...sender.failures, ...receiver.failures], []);
      } finally {
        await browser.close();
      }
    });
  }
});
