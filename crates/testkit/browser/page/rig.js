// In a page: cameras and microphones whose output can be recognised, and meters that recognise it. Both browsers.
import { drawBarcode, readBarcode, VALUE_MOD } from '../lib/barcode.mjs';

export { readBarcode };
export const sleep = (ms) => new Promise((later) => setTimeout(later, ms));
export const now = () => performance.timeOrigin + performance.now();

/** A canvas camera. Its barcode carries sender and wall clock, so a receiver knows who and how late. */
export function clockCamera({ id, width = 640, height = 360, fps = 30 }) {
  const canvas = Object.assign(document.createElement('canvas'), { width, height });
  const context = canvas.getContext('2d', { alpha: false });
  const stream = canvas.captureStream(0);
  const [track] = stream.getVideoTracks();
  let n = 0;
  const draw = () => {
    context.fillStyle = `hsl(${(id * 47) % 360} 50% 45%)`;
    context.fillRect(0, 0, width, height);
    for (let i = 0; i < 24; i++) {
      context.fillStyle = `hsl(${(i * 40 + n * 3) % 360} 80% 50%)`;
      context.fillRect((i * 61 + n * 5) % width, height / 6 + ((i * 37 + n * 3) % ((height * 5) / 6)), 50, 34);
    }
    drawBarcode(context, width, height, id, Math.floor(now()) % VALUE_MOD);
    n++;
    (track.requestFrame ? track : stream).requestFrame();
  };
  const timer = setInterval(draw, 1000 / fps);
  draw();
  const stop = track.stop.bind(track);
  track.stop = () => {
    clearInterval(timer);
    stop();
  };
  return stream;
}

let context;
const audioContext = () => (context ??= new AudioContext({ sampleRate: 48000 }));

/** A microphone that hears one tone; `loudness.value` of the stream changes it. */
export function toneMic(hz, gain = 0.3) {
  const oscillator = audioContext().createOscillator();
  const volume = audioContext().createGain();
  const output = audioContext().createMediaStreamDestination();
  oscillator.frequency.value = hz;
  volume.gain.value = gain;
  oscillator.connect(volume).connect(output);
  oscillator.start();
  return Object.assign(output.stream, { loudness: volume.gain });
}

/** A video element in the page, with a meter of what it shows. */
export function show() {
  const element = Object.assign(document.createElement('video'), { muted: true, autoplay: true, playsInline: true, width: 320 });
  document.body.append(element);
  return { element, meter: watch(element) };
}

/** A picture that stands still for so long is remembered as a freeze. */
const LONG_GAP_MS = 300;

/**
 * Counts the frames a video shows and reads the barcode of those the page gets to see. The browser calls back at most once
 * for each of its own pictures: of two video frames between two of those it hands out only the later one, but counts both.
 */
export function watch(video) {
  const meter = {}; // `size`, `presented`, `lastFrame` and `lastGood` outlive a reset
  const reset = () => Object.assign(meter, { frames: 0, shown: 0, good: 0, ids: {}, sizes: {}, latencies: [], gaps: [], changes: [], maxGapMs: 0, lastFrame: meter.lastFrame ?? 0, lastGood: meter.lastGood ?? 0, since: now() });
  reset();
  let stopped = false;
  const onFrame = (_, { presentedFrames }) => {
    if (stopped) return;
    const time = now();
    meter.frames++;
    meter.shown += presentedFrames - (meter.presented ?? presentedFrames - 1);
    meter.presented = presentedFrames;
    if (meter.lastFrame) {
      const gap = time - Math.max(meter.lastFrame, meter.since); // also of a picture that stood still at the reset
      meter.maxGapMs = Math.max(meter.maxGapMs, gap);
      if (gap >= LONG_GAP_MS) meter.gaps.push({ at: Math.round(time), ms: Math.round(gap) });
    }
    meter.lastFrame = time;
    const size = `${video.videoWidth}x${video.videoHeight}`;
    meter.sizes[size] = (meter.sizes[size] ?? 0) + 1;
    if (meter.size !== size) meter.changes.push({ at: Math.round(time), size });
    meter.size = size;
    const code = readBarcode(video);
    if (code) {
      meter.good++;
      meter.lastGood = time;
      meter.ids[code.id] = (meter.ids[code.id] ?? 0) + 1;
      meter.latencies.push((Math.floor(time) % VALUE_MOD) - code.value);
    }
    video.requestVideoFrameCallback(onFrame);
  };
  video.requestVideoFrameCallback(onFrame);
  return {
    reset,
    stop: () => (stopped = true),
    report() {
      const time = now();
      const sorted = [...meter.latencies].sort((a, b) => a - b);
      const at = (share) => (sorted.length ? sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] : null);
      // A freeze that still lasts counts as well.
      const open = time - Math.max(meter.lastFrame, meter.since);
      const stands = open >= LONG_GAP_MS;
      const stillMs = meter.gaps.reduce((sum, gap) => sum + gap.ms, stands ? open : 0);
      return {
        frames: meter.frames, good: meter.good, ids: meter.ids, sizes: meter.sizes, size: meter.size, gaps: meter.gaps, changes: meter.changes, fps: (meter.shown * 1000) / (time - meter.since),
        maxGapMs: Math.round(Math.max(meter.maxGapMs, open)), stands, stillMs: Math.round(stillMs), sinceGoodMs: Math.round(time - meter.lastGood), latency: { p50: at(0.5), p95: at(0.95), max: at(1) },
      };
    },
  };
}

/** Measures dominant frequency and level of an audio track. */
export function listen(track) {
  // Chromium gives a remote track to WebAudio only while an element plays it, too.
  const element = Object.assign(new Audio(), { muted: true, srcObject: new MediaStream([track]) });
  element.play().catch(() => undefined);
  const analyser = audioContext().createAnalyser();
  analyser.fftSize = 8192;
  audioContext().createMediaStreamSource(new MediaStream([track])).connect(analyser);
  const spectrum = new Float32Array(analyser.frequencyBinCount);
  const samples = new Float32Array(analyser.fftSize);
  return () => {
    analyser.getFloatFrequencyData(spectrum);
    analyser.getFloatTimeDomainData(samples);
    let k = 1;
    for (let i = 2; i < spectrum.length - 1; i++) if (spectrum[i] > spectrum[k]) k = i;
    const [a, b, c] = [spectrum[k - 1], spectrum[k], spectrum[k + 1]];
    const shift = a - 2 * b + c ? (a - c) / (2 * (a - 2 * b + c)) : 0;
    return {
      hz: ((k + shift) * audioContext().sampleRate) / analyser.fftSize,
      rms: Math.sqrt(samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length),
      running: audioContext().state === 'running',
    };
  };
}
