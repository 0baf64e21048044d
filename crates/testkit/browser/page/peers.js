// Loaded before anything else: remembers every peer connection for getStats, and can lead media through a relay by
// exchanging the port in the server's candidates, and take codecs away. The client library above it stays as it is.
const peers = (window.peerConnections = []);
/** Every configuration that a connection was given. */
const configurations = (window.peerConfigurations = []);
const Native = window.RTCPeerConnection;
const relayed = (text) => (window.mediaRelay ? text.replaceAll(` ${window.mediaRelay.from} typ host`, ` ${window.mediaRelay.to} typ host`) : text);

/** Lets a connection receive all but `window.withoutCodecs`, names such as `AV1` or `red`. */
function takeCodecsAway(peer) {
  const without = window.withoutCodecs?.map((name) => name.toLowerCase());
  if (!without) return;
  for (const transceiver of peer.getTransceivers()) {
    // What answers an offer gets its direction by answering.
    if (transceiver.sender.track) continue;
    const { codecs } = RTCRtpReceiver.getCapabilities(transceiver.receiver.track.kind);
    transceiver.setCodecPreferences(codecs.filter(({ mimeType }) => !without.includes(mimeType.split('/')[1].toLowerCase())));
  }
}

window.RTCPeerConnection = class extends Native {
  constructor(...args) {
    super(...args);
    peers.push(this);
    configurations.push(args[0] ?? {});
  }
  setConfiguration(configuration) {
    configurations.push(configuration ?? {});
    return super.setConfiguration(configuration);
  }
  createOffer(...args) {
    takeCodecsAway(this);
    return super.createOffer(...args);
  }
  createAnswer(...args) {
    takeCodecsAway(this);
    return super.createAnswer(...args);
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

/** The URLs of all STUN and TURN servers that connections were told of. */
window.iceServerUrls = () => [...new Set(configurations.flatMap(({ iceServers }) => iceServers ?? []).flatMap(({ urls }) => urls))];

/** The user names that this side's ICE agents have now, of connections that are open; others than before mean a restart. */
window.ufrags = () => peers.filter((peer) => peer.connectionState !== 'closed').map((peer) => /a=ice-ufrag:(\S+)/.exec(peer.localDescription?.sdp)?.[1]);

/**
 * The paths that media takes: of each connection's selected pair the types of its candidates, their protocol, and what the
 * browser speaks to a relay.
 */
window.paths = async () => {
  const paths = [];
  for (const peer of peers) {
    if (peer.connectionState === 'closed') continue;
    const stats = await peer.getStats();
    const selected = [...stats.values()].filter((s) => s.type === 'transport').map((s) => s.selectedCandidatePairId);
    for (const pair of stats.values()) {
      if (pair.type !== 'candidate-pair' || !(selected.includes(pair.id) || pair.selected) || !pair.bytesSent) continue;
      const [local, remote] = [stats.get(pair.localCandidateId), stats.get(pair.remoteCandidateId)];
      paths.push({ local: local?.candidateType, remote: remote?.candidateType, protocol: local?.protocol, relayProtocol: local?.relayProtocol, address: local?.address, port: local?.port, to: `${remote?.address}:${remote?.port}` });
    }
  }
  return paths;
};
