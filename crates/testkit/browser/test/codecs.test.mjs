// Every video codec arrives as the pixels that were sent.
import { after, before, describe, test } from 'node:test';
import { ask, checkTransport, checkVideo, join, measure, newRoom, openPage } from '../lib/call.mjs';
import { launchChromium } from '../lib/chromium.mjs';
import { serveClientPage } from '../lib/pages.mjs';
import { startServer } from '../lib/server.mjs';

const CODECS = [
  { videoCodec: 'vp8', mimeType: 'video/VP8' },
  { videoCodec: 'vp9', mimeType: 'video/VP9' },
  { videoCodec: 'h264', mimeType: 'video/H264' },
  { videoCodec: 'av1', mimeType: 'video/AV1' },
];

describe('codecs', { timeout: 300_000 }, () => {
  let server;
  let client;
  let browser;
  before(async () => {
    server = await startServer(); // first: what fails here leaves nothing behind
    client = await serveClientPage();
    browser = await launchChromium();
  });
  after(async () => {
    await browser?.close();
    await client?.close();
    await server?.stop();
  });

  for (const { videoCodec, mimeType } of CODECS) {
    test(`${mimeType} arrives`, { timeout: 60_000 }, async () => {
      const room = newRoom(videoCodec);
      const [sender, receiver] = [await openPage(browser, client.url), await openPage(browser, client.url)];
      try {
        await join(receiver, server, { room, identity: 'receiver' });
        await join(sender, server, { room, identity: 'sender' });
        await ask(sender, 'publish', { id: 9, video: { videoCodec, backupCodec: false } });
        await ask(receiver, 'seen', 'sender', 10_000);
        await measure([receiver], { warmMs: 8_000, ms: 10_000 });
        await checkTransport(videoCodec, receiver, { codec: mimeType });
        await checkVideo(videoCodec, receiver, { from: 'sender', id: 9, minFps: 20, maxP95Ms: 250, size: '640x360' });
      } finally {
        await sender.closeAll();
        await receiver.closeAll();
      }
    });
  }
});
