//! What the router tells: for signaling, for the shards that have copies, for the shard a copy comes from.

use schalter_forward::ForwardEvent;

use crate::control::Event;
use crate::peer::PeerMessage;
use crate::shard::Shard;

impl Shard {
    /// Passes everything on that the router has told since the last call.
    pub(crate) fn drain_router_events(&mut self) {
        while let Some(event) = self.router.poll_event() {
            match event {
                ForwardEvent::EncodingStarted {
                    track,
                    encoding,
                    ssrc,
                    codec,
                } => {
                    // Remote copies of a track start, too; the publisher's own shard is the one that reports.
                    if !self.remote.contains_key(&track) {
                        self.push_event(Event::EncodingStarted {
                            track,
                            encoding,
                            ssrc,
                            codec,
                        });
                    }
                }
                ForwardEvent::AudioLevel {
                    track,
                    level,
                    active,
                } => {
                    if !self.remote.contains_key(&track) {
                        self.push_event(Event::AudioLevel {
                            track,
                            level,
                            active,
                        });
                    }
                }
                ForwardEvent::StreamState {
                    owner,
                    track,
                    paused,
                } => {
                    if let Some(transport) = self.slots.slot(owner).map(|slot| slot.id) {
                        self.push_event(Event::StreamState {
                            transport,
                            track,
                            paused,
                        });
                    }
                }
                ForwardEvent::Quality { owner, quality } => {
                    if let Some(transport) = self.slots.slot(owner).map(|slot| slot.id) {
                        self.push_event(Event::Quality { transport, quality });
                    }
                }
                ForwardEvent::KeyframeNeeded { track, encoding } => {
                    if let Some(remote) = self.remote.get(&track) {
                        let message = PeerMessage::KeyframeRequest { track, encoding };
                        self.peer_messages.push_back((remote.shard, message));
                    }
                }
                ForwardEvent::SenderReport {
                    track,
                    encoding,
                    ntp,
                    rtp_timestamp,
                } => {
                    for shard in self.taps.get(&track).into_iter().flatten() {
                        let message = PeerMessage::SenderReport {
                            track,
                            encoding,
                            ntp,
                            rtp_timestamp,
                        };
                        self.peer_messages.push_back((*shard, message));
                    }
                }
            }
        }
    }
}
