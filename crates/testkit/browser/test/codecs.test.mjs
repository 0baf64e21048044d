// Every video codec arrives as the pixels that were sent.
import { describe, test } from 'node:test';
import { checkTransport, checkVideo, measure, untilSize } from '../lib/call.mjs';
import { setStage } from '../lib/stage.mjs';

const CODECS = [
  { videoCodec: 'vp8', mimeType: 'video/VP8' },
  { videoCodec: 'vp9', mimeType: 'video/VP9' },
  { videoCodec: 'h264', mimeType: 'video/H264' },
  { videoCodec: 'av1', mimeType: 'video/AV1' },
];

// Two at once: each takes a fifth of a small machine, and most of the time it waits.
describe('codecs', { timeout: 300_000, concurrency: 2 }, () => {
  const stage = setStage();

  for (const { videoCodec, mimeType } of CODECS) {
    test(`${mimeType} arrives`, { timeout: 60_000 }, async (t) => {
      const publish = { id: 9, video: { videoCodec, backupCodec: false } };
      const { receiver } = await stage.oneWay(t, videoCodec, publish, { seenMs: 10_000 });
      await untilSize(receiver, 'sender', '640x360', 15_000);
      await measure([receiver], { warmMs: 1_000, ms: 6_000 });
      await checkTransport(videoCodec, receiver, { codec: mimeType });
      await checkVideo(videoCodec, receiver, { from: 'sender', id: 9, minFps: 20, maxP95Ms: 250, size: '640x360' });
    });
  }
});
