// In a page: end-to-end encryption by the client library's own worker, with keys that a test chooses.
import { BaseKeyProvider, createKeyMaterialFromString } from 'livekit-client';

/** How often a receiver may ratchet a key before it gives up on a frame. */
const RATCHET_WINDOW = 8;

let created = 0;

/** One passphrase for the whole room, which may be exchanged and ratcheted. */
class SharedKeys extends BaseKeyProvider {
  constructor() {
    // A receiver with a wrong key goes on trying: what it never gets is the point of some tests.
    super({ sharedKey: true, ratchetWindowSize: RATCHET_WINDOW, failureTolerance: -1 });
  }

  async set(passphrase, index) {
    this.onSetEncryptionKey(await createKeyMaterialFromString(passphrase), undefined, index);
  }
}

/**
 * What a room needs for encryption: `options` for the library, `keys` to change keys, and `frames(run)`, which answers
 * copies of the frames that went into the worker while `run` lasted, before anything was encrypted.
 */
export async function encryption({ key, index = 0 }) {
  const keys = new SharedKeys();
  const name = `frames-${Date.now()}-${++created}`;
  const worker = new Worker('/e2ee-worker.js', { name });
  const channel = new BroadcastChannel(name);
  await keys.set(key, index);
  return {
    options: { keyProvider: keys, worker },
    keys,
    async frames(run) {
      channel.postMessage('record');
      await run();
      const answer = new Promise((done) => (channel.onmessage = ({ data }) => done(data)));
      channel.postMessage('stop');
      return answer;
    },
  };
}
