// Loaded before the product page: its camera shows barcodes and its microphone hears one tone. `TEST_DEVICES` is set by
// the test in the same context: `id` of the camera, `hz` of the microphone (none: the browser's own), `screen`, the id of what is
// shared (none: what the browser lets be chosen), `relay`, the ports between which media is led through a relay, and what else the camera is.
import './peers.js';
import { clockCamera, listen, readBarcode, toneMic, watch } from './rig.js';

const { id, hz, screen, relay, width = 640, height = 360, fps = 30 } = window.TEST_DEVICES;
window.mediaRelay = relay;
const native = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
navigator.mediaDevices.getUserMedia = async ({ audio, video }) => {
  const stream = new MediaStream();
  if (video) stream.addTrack(clockCamera({ id, width, height, fps }).getVideoTracks()[0]);
  if (audio) stream.addTrack((hz ? toneMic(hz) : await native({ audio: true })).getAudioTracks()[0]);
  return stream;
};
if (screen !== undefined) navigator.mediaDevices.getDisplayMedia = async (wish) => {
  window.sharingAsked = wish;
  const stream = clockCamera({ id: screen, width: 640, height: 360, fps: 10 });
  const [track] = stream.getVideoTracks();
  const settings = track.getSettings.bind(track);
  track.getSettings = () => ({ ...settings(), displaySurface: window.sharedSurface ?? 'window' });
  return stream;
};
/** Which keys the page gave the encryption worker: whose, and under which index. */
window.keysSet = [];
const post = Worker.prototype.postMessage;
Worker.prototype.postMessage = function (message, ...more) {
  if (message?.kind === 'setKey' && message.data.updateCurrentKeyIndex) window.keysSet.push([message.data.participantIdentity, message.data.keyIndex]);
  return post.call(this, message, ...more);
};
window.testRig = { listen, readBarcode, watch };
