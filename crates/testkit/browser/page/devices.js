// Loaded before the product page: its camera shows barcodes and its microphone hears one tone. `TEST_DEVICES` is set by
// the test in the same context.
import './peers.js';
import { clockCamera, listen, readBarcode, toneMic, watch } from './rig.js';

const { id, hz } = window.TEST_DEVICES;
navigator.mediaDevices.getUserMedia = async ({ audio, video }) => {
  const stream = new MediaStream();
  if (video) stream.addTrack(clockCamera({ id, width: 640, height: 360 }).getVideoTracks()[0]);
  if (audio) stream.addTrack(toneMic(hz).getAudioTracks()[0]);
  return stream;
};
window.testRig = { listen, readBarcode, watch };
