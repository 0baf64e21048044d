// In the encryption worker, before the library: copies frames as the encoder made them, when the page asks for it. The
// library passes each frame through a TransformStream; one that stands before its function sees what was not yet encrypted.
const channel = self.name ? new BroadcastChannel(self.name) : undefined;
let recorded;

const record = ({ data, type }) => recorded?.push({ type: type ?? 'audio', data: data.slice(0) });

const Native = self.TransformStream;
self.TransformStream = class extends Native {
  constructor(transformer, ...rest) {
    super({
      ...transformer,
      transform(frame, controller) {
        if (frame.data) record(frame);
        return transformer.transform(frame, controller);
      },
    }, ...rest);
  }
};

if (channel) {
  channel.onmessage = ({ data }) => {
    if (data === 'record') recorded = [];
    if (data !== 'stop') return;
    channel.postMessage(recorded ?? []);
    recorded = undefined;
  };
}
