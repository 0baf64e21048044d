//! A client: checks its path, publishes, subscribes, and answers and asks as a browser does.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use schalter_model::{DropReason, MediaKind, SrtpProfile, Time, TransportId, WallClock};
use schalter_rtp::extension::parse_transport_sequence;
use schalter_rtp::rtcp::{Rtcp, SenderInfo, compound};
use schalter_rtp::{RtcpWriter, RtpPacket, is_rtcp};
use schalter_transport::srtp::{DtlsRole, Inbound, Outbound, SessionKeys, SrtpLimits};
use schalter_transport::stun::{
    BINDING, IntegrityKey, StunClass, StunMessage, StunWriter, TransactionId, attribute,
};

use schalter_transport::{LocalIce, RemoteIce};

use crate::feedback::Reporter;
use crate::media::TRANSPORT_CC;
use crate::{Feedback, Random, Receiver, Source, SourceConfig, Timeline};

/// Time between checks while none is answered: browsers pace them so.
const FAST_CHECKS: Duration = Duration::from_millis(50);
/// Time between checks of a path that works.
const SLOW_CHECKS: Duration = Duration::from_millis(2_500);
/// Checks whose answers are still taken: three seconds of fast ones.
const PENDING_CHECKS: usize = 64;
/// Time between reports.
const REPORTS: Duration = Duration::from_secs(1);
/// Peers' wall clocks are this far from the shards', so that a report shows whose it is.
pub const PEER_CLOCK: WallClock = WallClock::new(5_000_000_000_000);
/// Room for a datagram.
const DATAGRAM: usize = 1_500;

/// What a peer is made with.
#[derive(Clone, Debug)]
pub struct PeerConfig {
    /// Its name on the server.
    pub transport: TransportId,
    /// Where it sends from.
    pub address: SocketAddr,
    /// Where it sends to.
    pub server: SocketAddr,
    /// The server's credentials.
    pub ice: LocalIce,
    /// Its own credentials.
    pub own_ice: RemoteIce,
    /// What protects the media.
    pub profile: SrtpProfile,
    /// The keys, as a DTLS exporter would give them.
    pub keying_material: Vec<u8>,
}

/// What a peer counted beside its streams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerStats {
    /// Checks that were answered well.
    pub checks_answered: u64,
    /// Binding requests of the server, which were answered.
    pub questions: u64,
    /// Packets that came twice, as SRTP sees it.
    pub replayed: u64,
    /// Packets that could not be opened or read.
    pub broken: u64,
    /// Media for no stream that was subscribed to.
    pub foreign: u64,
    /// Keyframe requests of the server.
    pub plis: u64,
    /// Sequence numbers that the server asked for.
    pub nacked: u64,
    /// Transport-wide feedback messages that came.
    pub feedback: u64,
    /// Packets that such feedback or a maximum bitrate was sent in.
    pub feedback_sent: u64,
    /// Report blocks about our streams.
    pub reports: u64,
    /// Goodbyes.
    pub byes: u64,
}

/// A simulated client.
pub struct SimPeer {
    config: PeerConfig,
    random: Random,
    user: String,
    key: IntegrityKey,
    pending_checks: VecDeque<TransactionId>,
    next_check: Option<Time>,
    answered: bool,
    /// Where the server sees us instead of at our own address.
    relayed: Option<SocketAddr>,
    connected: bool,
    outbound: Outbound,
    inbound: Inbound,
    transport_sequence: u16,
    sources: Vec<Source>,
    receivers: Vec<Receiver>,
    reporter: Reporter,
    arrived: Timeline,
    next_report: Time,
    outgoing: VecDeque<Vec<u8>>,
    stats: PeerStats,
}

impl SimPeer {
    /// A peer that begins to check at `now`.
    ///
    /// # Panics
    /// If the keying material does not fit the profile.
    pub fn new(now: Time, config: PeerConfig, mut random: Random) -> Self {
        let (outbound, inbound) =
            SessionKeys::from_exporter(config.profile, &config.keying_material, DtlsRole::Client)
                .and_then(|keys| keys.into_contexts(SrtpLimits::default()))
                .expect("keying material fits the profile");
        Self {
            user: format!("{}:{}", config.ice.ufrag, config.own_ice.ufrag),
            key: IntegrityKey::new(config.ice.password.as_bytes()),
            pending_checks: VecDeque::new(),
            next_check: Some(now),
            answered: false,
            relayed: None,
            connected: false,
            outbound,
            inbound,
            transport_sequence: random.next() as u16,
            sources: Vec::new(),
            receivers: Vec::new(),
            reporter: Reporter::new(Feedback::default()),
            arrived: Timeline::default(),
            next_report: now + random.span(REPORTS),
            outgoing: VecDeque::new(),
            stats: PeerStats::default(),
            random,
            config,
        }
    }

    /// What it was made with; the address is the one it has now.
    pub fn config(&self) -> &PeerConfig {
        &self.config
    }

    /// Whether a check was ever answered.
    pub fn is_connected(&self) -> bool {
        self.connected
    }

    /// What it counted.
    pub fn stats(&self) -> PeerStats {
        self.stats
    }

    /// Its published streams.
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// Its published streams, to stop them.
    pub fn sources_mut(&mut self) -> &mut [Source] {
        &mut self.sources
    }

    /// Its subscribed streams.
    pub fn receivers(&self) -> &[Receiver] {
        &self.receivers
    }

    /// The subscribed stream of this publisher's SSRC.
    pub fn receiver_of(&self, source: u32) -> Option<&Receiver> {
        self.receivers
            .iter()
            .find(|receiver| receiver.source() == source)
    }

    /// Bytes of RTP that came: media, repetitions and padding.
    pub fn arrived(&self) -> &Timeline {
        &self.arrived
    }

    /// Feeds back so from now on; the default is transport-wide feedback.
    pub fn set_feedback(&mut self, now: Time, feedback: Feedback) {
        self.reporter.set_feedback(now, feedback);
    }

    /// Publishes a stream from now on.
    pub fn publish(&mut self, now: Time, config: SourceConfig) {
        let drawn = self.random.next();
        self.sources.push(Source::new(now, config, drawn));
    }

    /// Expects a stream.
    pub fn subscribe(&mut self, now: Time, kind: MediaKind, ssrc: u32, source: u32) {
        self.receivers.push(Receiver::new(now, kind, ssrc, source));
    }

    /// Expects a picture that adapts, of the encodings with these SSRCs.
    pub fn subscribe_adaptive(&mut self, now: Time, ssrc: u32, sources: Vec<u32>) {
        self.receivers.push(Receiver::adaptive(now, ssrc, sources));
    }

    /// Expects a publisher's stream no more.
    pub fn unsubscribe(&mut self, source: u32) {
        self.receivers
            .retain(|receiver| receiver.source() != source);
    }

    /// Sends from another address from now on, and checks it.
    pub fn move_to(&mut self, now: Time, address: SocketAddr) {
        self.config.address = address;
        self.answered = false;
        self.next_check = Some(now);
    }

    /// Is seen by the server at another address from now on, and does not know.
    pub fn rebind(&mut self, address: SocketAddr) {
        self.config.address = address;
    }

    /// Is seen by the server at this address of a relay.
    pub fn appear_as(&mut self, relayed: SocketAddr) {
        self.relayed = Some(relayed);
    }

    /// Sends no more checks: its consent runs out.
    pub fn stop_checking(&mut self) {
        self.next_check = None;
    }

    /// Takes a datagram of the server.
    pub fn on_datagram(&mut self, now: Time, datagram: &mut [u8]) {
        match datagram.first() {
            Some(0..=3) => self.on_stun(now, datagram),
            Some(128..=191) if is_rtcp(datagram) => {
                let opened = self.inbound.open_rtcp(datagram);
                if let Some(len) = self.opened(opened) {
                    self.on_rtcp(now, &datagram[..len]);
                }
            }
            Some(128..=191) => {
                let opened = self.inbound.open_rtp(datagram);
                if let Some(len) = self.opened(opened) {
                    self.on_rtp(now, &datagram[..len]);
                }
            }
            Some(_) | None => self.stats.broken += 1,
        }
    }

    fn opened(&mut self, result: Result<usize, DropReason>) -> Option<usize> {
        match result {
            Ok(len) => return Some(len),
            Err(DropReason::SrtpReplay) => self.stats.replayed += 1,
            Err(_) => self.stats.broken += 1,
        }
        None
    }

    fn on_stun(&mut self, now: Time, datagram: &[u8]) {
        let Ok(message) = StunMessage::parse(datagram) else {
            self.stats.broken += 1;
            return;
        };
        let id = message.transaction_id();
        if message.class() == StunClass::Request {
            self.answer(&message);
            return;
        }
        let expected = self.pending_checks.contains(&id);
        if message.class() != StunClass::Success || !message.verify_integrity(&self.key) {
            self.stats.broken += 1;
            return;
        }
        if !expected {
            return;
        }
        self.pending_checks.retain(|pending| *pending != id);
        self.stats.checks_answered += 1;
        let appears_as = self.relayed.unwrap_or(self.config.address);
        if message.xor_mapped_address() != Some(appears_as) {
            // An answer to a check from before a move.
            return;
        }
        if !std::mem::replace(&mut self.answered, true) && self.next_check.is_some() {
            self.next_check = Some(now + SLOW_CHECKS);
        }
        self.connected = true;
    }

    /// Answers as a full agent does (RFC 8445 §7.3).
    fn answer(&mut self, request: &StunMessage<'_>) {
        let own = &self.config.own_ice;
        let key = IntegrityKey::new(own.password.as_bytes());
        let names = (
            own.ufrag.as_bytes(),
            self.config.ice.ufrag.as_str().as_bytes(),
        );
        if request.username() != Some(names) || !request.verify_integrity(&key) {
            self.stats.broken += 1;
            return;
        }
        self.stats.questions += 1;
        let response = binding_response(&key, request.transaction_id(), self.config.server);
        self.outgoing.push_back(response);
    }

    fn on_rtp(&mut self, now: Time, bytes: &[u8]) {
        let Ok(packet) = RtpPacket::parse(bytes) else {
            self.stats.broken += 1;
            return;
        };
        self.arrived.add(now, bytes.len());
        let wide = packet
            .extension(TRANSPORT_CC)
            .and_then(|value| parse_transport_sequence(value).ok());
        if let Some(sequence) = wide {
            self.reporter.on_packet(now, sequence, packet.ssrc());
        }
        let receiver = self
            .receivers
            .iter_mut()
            .find(|receiver| receiver.takes(packet.ssrc()));
        match receiver {
            Some(receiver) => receiver.on_rtp(now, &packet),
            None => self.stats.foreign += 1,
        }
    }

    fn on_rtcp(&mut self, now: Time, bytes: &[u8]) {
        for packet in compound(bytes) {
            let Ok(packet) = packet else {
                self.stats.broken += 1;
                continue;
            };
            match packet {
                Rtcp::SenderReport(report) => {
                    let receiver = self
                        .receivers
                        .iter_mut()
                        .find(|receiver| receiver.ssrc() == report.ssrc);
                    if let Some(receiver) = receiver {
                        receiver.on_sender_report(now, report.compact_ntp());
                    }
                }
                Rtcp::ReceiverReport(report) => {
                    for block in report.reports {
                        self.stats.reports += 1;
                        if let Some(source) = self.source_mut(block.ssrc) {
                            source.on_report();
                        }
                    }
                }
                Rtcp::Nack(nack) => {
                    for sequence in nack.lost() {
                        self.stats.nacked += 1;
                        self.resend(now, nack.media_ssrc, sequence);
                    }
                }
                Rtcp::Pli { media_ssrc, .. } => {
                    self.stats.plis += 1;
                    self.on_keyframe_request(media_ssrc);
                }
                Rtcp::TransportCc(_) | Rtcp::CongestionControl(_) => self.stats.feedback += 1,
                Rtcp::Bye(_) => self.stats.byes += 1,
                Rtcp::SourceDescription(_)
                | Rtcp::Fir(_)
                | Rtcp::Remb(_)
                | Rtcp::Unknown { .. } => {}
            }
        }
    }

    /// The encoder of a simulcast picture makes keyframes of all its encodings at once, as browsers' VP8 encoders do.
    fn on_keyframe_request(&mut self, ssrc: u32) {
        let asked = self.source_mut(ssrc).map(|source| *source.config());
        let Some(asked) = asked else {
            return;
        };
        for source in &mut self.sources {
            let config = source.config();
            let together = asked.rid.is_some() && config.rid.is_some();
            if config.ssrc == ssrc || together {
                source.on_keyframe_request();
            }
        }
    }

    fn source_mut(&mut self, ssrc: u32) -> Option<&mut Source> {
        self.sources
            .iter_mut()
            .find(|source| source.config().ssrc == ssrc)
    }

    fn resend(&mut self, now: Time, ssrc: u32, sequence: u16) {
        let mut number = self.transport_sequence;
        let packet = self
            .source_mut(ssrc)
            .and_then(|source| source.resend(now, sequence, &mut number));
        self.transport_sequence = number;
        if let Some(packet) = packet {
            self.send_rtp(packet);
        }
    }

    /// When [`Self::on_timeout`] wants to be called.
    pub fn next_timeout(&self) -> Option<Time> {
        if !self.connected {
            return self.next_check;
        }
        let sources = self.sources.iter().filter_map(Source::next_timeout);
        let receivers = self.receivers.iter().map(Receiver::next_timeout);
        self.next_check
            .into_iter()
            .chain([self.next_report])
            .chain(self.reporter.due())
            .chain(sources)
            .chain(receivers)
            .min()
    }

    /// Does what time asks for.
    pub fn on_timeout(&mut self, now: Time) {
        if self.next_check.is_some_and(|at| at <= now) {
            self.check(now);
        }
        if !self.connected {
            return;
        }
        let mut packets = Vec::new();
        let mut number = self.transport_sequence;
        for source in &mut self.sources {
            source.produce(now, &mut number, |packet| packets.push(packet));
        }
        self.transport_sequence = number;
        for packet in packets {
            self.send_rtp(packet);
        }
        self.report_arrivals(now);
        self.feed_back(now);
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.outgoing.pop_front()
    }

    fn check(&mut self, now: Time) {
        let wait = if self.answered {
            SLOW_CHECKS
        } else {
            FAST_CHECKS
        };
        self.next_check = Some(now + wait);
        let mut id = TransactionId([0; 12]);
        self.random.fill(&mut id.0);
        if self.pending_checks.len() == PENDING_CHECKS {
            self.pending_checks.pop_front();
        }
        self.pending_checks.push_back(id);
        let key = &self.key;
        let request = binding_request(&self.user, key, id);
        self.outgoing.push_back(request);
    }

    /// Feedback about the whole transport, if it is due.
    fn report_arrivals(&mut self, now: Time) {
        while self.reporter.due().is_some_and(|due| due <= now) {
            let from = self.ssrc();
            let streams: Vec<_> = self.receivers.iter().map(Receiver::ssrc).collect();
            let mut buffer = vec![0; DATAGRAM];
            // Room for the tag, and less than a path's usual limit.
            let mut writer = RtcpWriter::new(&mut buffer[..1_200]);
            self.reporter.write(now, from, &streams, &mut writer);
            if writer.is_empty() {
                return;
            }
            let len = writer.finish();
            self.stats.feedback_sent += 1;
            self.send_rtcp(buffer, len);
        }
    }

    /// Reports if their time has come, and requests that are due.
    fn feed_back(&mut self, now: Time) {
        let from = self.ssrc();
        let mut buffer = vec![0; DATAGRAM];
        let mut writer = RtcpWriter::new(&mut buffer);
        let reports = self.next_report <= now;
        let requests = self.receivers.iter().any(|r| r.next_timeout() <= now);
        if !reports && !requests {
            return;
        }
        let mut blocks = Vec::new();
        if reports {
            self.next_report = now + REPORTS;
            blocks.extend(
                self.receivers
                    .iter_mut()
                    .filter_map(|r| r.report(now))
                    .take(31),
            );
            for source in &self.sources {
                let (packet_count, octet_count) = source.totals();
                let info = SenderInfo {
                    ssrc: source.config().ssrc,
                    ntp: PEER_CLOCK.ntp(now).0,
                    rtp_timestamp: source.timestamp_at(now),
                    packet_count,
                    octet_count,
                };
                if packet_count > 0 {
                    writer
                        .sender_report(&info, &[])
                        .expect("a few reports fit a datagram");
                }
            }
        }
        writer
            .receiver_report(from, &blocks)
            .and_then(|()| writer.sdes_cname(from, "simulated"))
            .expect("31 blocks fit a datagram");
        for receiver in &mut self.receivers {
            receiver.write_requests(now, from, &mut writer);
        }
        let len = writer.finish();
        self.send_rtcp(buffer, len);
    }

    fn send_rtcp(&mut self, mut buffer: Vec<u8>, len: usize) {
        let len = self
            .outbound
            .seal_rtcp(&mut buffer, len)
            .expect("RTCP of ours is well-formed and has room for its tag");
        buffer.truncate(len);
        self.outgoing.push_back(buffer);
    }

    fn ssrc(&self) -> u32 {
        self.sources
            .first()
            .map_or(0xF000_0001, |source| source.config().ssrc)
    }

    fn send_rtp(&mut self, mut packet: Vec<u8>) {
        let len = packet.len();
        packet.resize(len + schalter_transport::srtp::MAX_SRTP_OVERHEAD, 0);
        let len = self
            .outbound
            .seal_rtp(&mut packet, len)
            .expect("a new packet with room for its tag");
        packet.truncate(len);
        self.outgoing.push_back(packet);
    }
}

/// The success response to a binding request that came from `from`.
///
/// # Panics
/// Never: it fits a datagram.
pub fn binding_response(key: &IntegrityKey, id: TransactionId, from: SocketAddr) -> Vec<u8> {
    let mut out = vec![0; DATAGRAM];
    let mut write = || {
        let mut writer = StunWriter::new(&mut out, StunClass::Success, BINDING, id)?;
        writer.xor_mapped_address(from)?;
        writer.integrity(key)?;
        writer.fingerprint()
    };
    let len = write().expect("an answer fits a datagram");
    out.truncate(len);
    out
}

/// A nominating binding request for `user`, as a controlling browser sends it.
///
/// # Panics
/// If the user's name is longer than a datagram.
pub fn binding_request(user: &str, key: &IntegrityKey, id: TransactionId) -> Vec<u8> {
    let mut out = vec![0; DATAGRAM];
    let mut write = || {
        let mut writer = StunWriter::new(&mut out, StunClass::Request, BINDING, id)?;
        writer.attribute(attribute::USERNAME, user.as_bytes())?;
        writer.attribute(attribute::ICE_CONTROLLING, &[7; 8])?;
        writer.attribute(attribute::PRIORITY, &0x6eff_ffff_u32.to_be_bytes())?;
        writer.attribute(attribute::USE_CANDIDATE, &[])?;
        writer.integrity(key)?;
        writer.fingerprint()
    };
    let len = write().expect("a check fits a datagram");
    out.truncate(len);
    out
}
