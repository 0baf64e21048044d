// The official's check of camera and microphone before the first call; what was chosen there is taken again in this browser until it is checked anew.

import { createLocalTracks, LocalAudioTrack, LocalVideoTrack } from 'livekit-client';
import { CAMERA, isGranted, MICROPHONE } from '../devices';
import { showPrejoin, type Entry } from '../prejoin';

const STORED = 'amt.devices';

interface Kept {
  readonly camera: boolean;
  readonly microphone: boolean;
  readonly cameraId?: string;
  readonly microphoneId?: string;
  readonly speakerId?: string;
}

function kept(): Kept | undefined {
  try {
    const value: unknown = JSON.parse(localStorage.getItem(STORED) ?? 'null');
    return typeof value === 'object' && value !== null && 'camera' in value && 'microphone' in value ? (value as Kept) : undefined;
  } catch {
    return undefined; // storage is switched off, or holds what we did not write
  }
}

async function keep({ camera, microphone, speakerId }: Entry): Promise<void> {
  const [cameraId, microphoneId] = [camera instanceof LocalVideoTrack ? await camera.getDeviceId(false) : undefined, microphone instanceof LocalAudioTrack ? await microphone.getDeviceId(false) : undefined];
  const choice: Kept = { camera: camera !== false, microphone: microphone !== false, ...(cameraId ? { cameraId } : {}), ...(microphoneId ? { microphoneId } : {}), ...(speakerId ? { speakerId } : {}) };
  try {
    localStorage.setItem(STORED, JSON.stringify(choice));
  } catch {
    // it is asked again next time
  }
}

const link = (name: string) => ({ name, mayRename: false, mayPublish: true, token: '' });
const KEYS = { join: 'amt.devices.enter', withoutCamera: 'amt.devices.enter.audio', silent: 'amt.devices.enter.silent' } as const;
const DONE = { join: 'amt.devices.done', withoutCamera: 'amt.devices.done.audio', silent: 'amt.devices.done.silent' } as const;

/** What to enter a call with: as chosen before, where that still opens without a question, or after the check. */
export async function entryFor(content: HTMLElement, name: string): Promise<Entry> {
  const before = await asBefore(name);
  if (before) return before;
  const entry = await showPrejoin(content, link(name), { keys: KEYS });
  await keep(entry);
  return entry;
}

/** As `entryFor`; nothing if the official went back to the day instead. */
export async function entryOrBack(content: HTMLElement, name: string): Promise<Entry | undefined> {
  return (await asBefore(name)) ?? check(content, name, KEYS);
}

/** Checks anew; nothing stays on. Whether something was chosen. */
export async function checkAgain(content: HTMLElement, name: string): Promise<boolean> {
  const entry = await check(content, name, DONE);
  for (const track of entry ? [entry.camera, entry.microphone] : []) if (typeof track !== 'boolean') track.stop();
  return entry !== undefined;
}

async function check(content: HTMLElement, name: string, keys: typeof KEYS | typeof DONE): Promise<Entry | undefined> {
  const entry = await showPrejoin(content, link(name), { keys, back: 'day.back' });
  if (entry) await keep(entry);
  return entry;
}

async function asBefore(name: string): Promise<Entry | undefined> {
  const choice = kept();
  if (!choice) return undefined;
  const entry = { name, ...(choice.speakerId === undefined ? {} : { speakerId: choice.speakerId }) };
  if (!choice.camera && !choice.microphone) return { ...entry, camera: false, microphone: false };
  const allowed = (!choice.camera || (await isGranted('camera'))) && (!choice.microphone || (await isGranted('microphone')));
  if (!allowed) return undefined;
  const wanted = (id: string | undefined) => (id === undefined ? {} : { deviceId: { exact: id } });
  try {
    const tracks = await createLocalTracks({ audio: choice.microphone && { ...MICROPHONE, ...wanted(choice.microphoneId) }, video: choice.camera && { ...CAMERA, ...wanted(choice.cameraId) } });
    return { ...entry, camera: tracks.find((track) => track instanceof LocalVideoTrack) ?? false, microphone: tracks.find((track) => track instanceof LocalAudioTrack) ?? false };
  } catch {
    return undefined; // what was chosen is not there: the check says what is wrong
  }
}
