// Loaded before anything else: remembers every peer connection for getStats, and can lead media through a relay by
// exchanging the port in the server's candidates. The client library above it stays as it is.
const peers = (window.peerConnections = []);
const Native = window.RTCPeerConnection;
const relayed = (text) => (window.mediaRelay ? text.replaceAll(` ${window.mediaRelay.from} typ host`, ` ${window.mediaRelay.to} typ host`) : text);

window.RTCPeerConnection = class extends Native {
  constructor(...args) {
    super(...args);
    peers.push(this);
  }
  setRemoteDescription(description) {
    return super.setRemoteDescription({ type: description.type, sdp: relayed(description.sdp) });
  }
  addIceCandidate(candidate) {
    if (!candidate?.candidate) return super.addIceCandidate(candidate);
    const { sdpMid, sdpMLineIndex, usernameFragment } = candidate;
    return super.addIceCandidate({ candidate: relayed(candidate.candidate), sdpMid, sdpMLineIndex, usernameFragment });
  }
};

/** The statistics of all live connections in one list, each with its codec's name. */
window.allStats = async () => {
  const all = [];
  for (const peer of peers) {
    if (peer.connectionState === 'closed') continue;
    const stats = [...(await peer.getStats()).values()];
    const byId = new Map(stats.map((s) => [s.id, s]));
    for (const s of stats) all.push({ ...s, codec: byId.get(s.codecId)?.mimeType });
  }
  return all;
};

/** By kind, what the live connections send with: encodings, and what gives way first. */
window.sending = () => {
  const senders = peers.filter((peer) => peer.connectionState !== 'closed').flatMap((peer) => peer.getSenders()).filter((sender) => sender.track);
  return Object.fromEntries(senders.map((sender) => {
    const { encodings, degradationPreference } = sender.getParameters();
    return [sender.track.kind, { encodings, degradationPreference, contentHint: sender.track.contentHint }];
  }));
};
