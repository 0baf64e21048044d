// In the encryption worker, before the library: copies frames as the encoder made them, when the page asks for it. The
// library passes each frame through a TransformStream; one that stands before its function sees what was not yet encrypted. What it decrypts comes
// that way, too, and is left out: it is in the server as it arrives here.
const channel = self.name ? new BroadcastChannel(self.name) : undefined;
/** The product's pages call their worker so: there everything is recorded from the first frame on, until one asks. */
const PRODUCT = 'e2ee';
const MOST_FIRST = 400;
let recorded = self.name === PRODUCT ? [] : undefined;
let first = recorded !== undefined;

const record = ({ data, type }) => (!first || recorded.length < MOST_FIRST) && recorded?.push({ type: type ?? 'audio', data: data.slice(0) });

const DECRYPTS = 'bound decodeFunction';

const Native = self.TransformStream;
self.TransformStream = class extends Native {
  constructor(transformer, ...rest) {
    super({
      ...transformer,
      transform(frame, controller) {
        if (frame.data && transformer.transform.name !== DECRYPTS) record(frame);
        return transformer.transform(frame, controller);
      },
    }, ...rest);
  }
};

if (channel) {
  channel.onmessage = ({ data }) => {
    first = false;
    if (data === 'record') recorded = [];
    if (data !== 'stop') return;
    channel.postMessage(recorded ?? []);
    recorded = undefined;
  };
}
