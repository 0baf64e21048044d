// The client library's encryption worker as it is, behind a recorder of frames.
import './frames.js';
import 'livekit-client/e2ee-worker';
