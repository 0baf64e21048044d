// Cameras, microphones and loudspeakers: opening them, naming what is wrong with them, measuring a microphone.

import { createLocalTracks, LocalAudioTrack, LocalVideoTrack, VideoPresets } from 'livekit-client';

export type DeviceKind = 'camera' | 'microphone';
export type DeviceProblem = 'denied' | 'missing' | 'busy' | 'insecure' | 'failed';

/** What opening gave for each kind: a track, what went wrong, or nothing because it was not asked for. */
export interface Opened {
  camera?: LocalVideoTrack | DeviceProblem;
  microphone?: LocalAudioTrack | DeviceProblem;
}

export const CAMERA = { resolution: VideoPresets.h720.resolution };
export const MICROPHONE = { echoCancellation: true, noiseSuppression: true, autoGainControl: true };

export function problemOf(error: unknown): DeviceProblem {
  switch (error instanceof Error || error instanceof DOMException ? error.name : '') {
    case 'NotAllowedError':
    case 'PermissionDeniedError':
    case 'SecurityError':
      return 'denied';
    case 'NotFoundError':
    case 'OverconstrainedError':
      return 'missing';
    case 'NotReadableError':
    case 'AbortError':
      return 'busy';
    default:
      return 'failed';
  }
}

/** Opens the wanted devices with one prompt; if that fails, finds out which of them is the trouble. */
export async function open(wanted: readonly DeviceKind[]): Promise<Opened> {
  if (!navigator.mediaDevices) return both(wanted, () => 'insecure');
  const first = await openTogether(wanted);
  if (typeof first !== 'string') return first;
  if (wanted.length === 1) return both(wanted, () => first);
  const found: Opened = {};
  for (const kind of wanted) {
    // After a refusal another prompt would be a nuisance: only what is allowed already is tried again.
    const again = first !== 'denied' || (await isGranted(kind));
    const alone = again ? await openTogether([kind]) : first;
    Object.assign(found, typeof alone === 'string' ? { [kind]: alone } : alone);
  }
  return found;
}

async function openTogether(wanted: readonly DeviceKind[]): Promise<Opened | DeviceProblem> {
  try {
    const tracks = await createLocalTracks({
      audio: wanted.includes('microphone') && MICROPHONE,
      video: wanted.includes('camera') && CAMERA,
    });
    const opened: Opened = {};
    for (const track of tracks) {
      if (track instanceof LocalVideoTrack) opened.camera = track;
      if (track instanceof LocalAudioTrack) opened.microphone = track;
    }
    return opened;
  } catch (error) {
    return problemOf(error);
  }
}

function both(kinds: readonly DeviceKind[], value: () => DeviceProblem): Opened {
  return Object.fromEntries(kinds.map((kind) => [kind, value()]));
}

/** Whether the browser would open the device without asking. */
export async function isGranted(kind: DeviceKind): Promise<boolean> {
  try {
    return (await navigator.permissions.query({ name: kind as PermissionName })).state === 'granted';
  } catch {
    return false; // the browser does not tell
  }
}

export interface Choices {
  readonly cameras: MediaDeviceInfo[];
  readonly microphones: MediaDeviceInfo[];
  readonly speakers: MediaDeviceInfo[];
}

/** The devices to choose from; loudspeakers only where a page may choose one. */
export async function listDevices(): Promise<Choices> {
  const all = (await navigator.mediaDevices?.enumerateDevices()) ?? [];
  const of = (kind: MediaDeviceKind) => all.filter((device) => device.kind === kind && device.deviceId !== '');
  const canChoose = 'setSinkId' in HTMLMediaElement.prototype;
  return { cameras: of('videoinput'), microphones: of('audioinput'), speakers: canChoose ? of('audiooutput') : [] };
}

/** `unmeasured`: the browser lets no audio clock run, for example on a machine without any loudspeaker. */
export type Loudness = 'unmeasured' | 'silent' | 'low' | 'good' | 'loud';

const REPORT_MS = 100;
/** Speech at a normal distance is around −25 dBFS; below −55 there is only room noise. */
const LOUDNESS_DB: readonly [number, Loudness][] = [[-6, 'loud'], [-38, 'good'], [-55, 'low']];
const FLOOR_DB = -60;

/** Measures a microphone until stopped; `level` runs from 0 to 1. */
export function measure(track: MediaStreamTrack, report: (level: number, loudness: Loudness) => void): () => void {
  const context = new AudioContext();
  const analyser = context.createAnalyser();
  analyser.fftSize = 2048;
  context.createMediaStreamSource(new MediaStream([track])).connect(analyser);
  const samples = new Float32Array(analyser.fftSize);
  let smooth = FLOOR_DB;
  const timer = setInterval(() => {
    if (context.state !== 'running') return report(0, 'unmeasured');
    analyser.getFloatTimeDomainData(samples);
    const power = samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length;
    const db = Math.max(FLOOR_DB, 10 * Math.log10(power + 1e-9));
    smooth = db > smooth ? db : smooth + (db - smooth) * 0.15; // falls slowly, so that pauses between words do not flicker
    report(1 - smooth / FLOOR_DB, LOUDNESS_DB.find(([limit]) => smooth > limit)?.[1] ?? 'silent');
  }, REPORT_MS);
  return () => {
    clearInterval(timer);
    void context.close();
  };
}
