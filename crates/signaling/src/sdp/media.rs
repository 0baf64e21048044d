//! From a peer's description to the media plane's words: transports, producers, consumers.

use std::sync::Arc;

use schalter_forward::{
    CodecBinding, ConsumerConfig, ConsumerTarget, EncodingConfig, ExtensionIds, ProducerConfig,
};
use schalter_model::MediaKind;
use schalter_transport::{Fingerprint, RemoteIce};

use super::codec::{self, CodecSet};
use super::description::{
    MediaSection, SectionKind, SessionDescription, Setup, TransportAttributes,
};
use super::extension::{self, Flow};
use super::parse::{SdpError, SdpProblem};

/// Most simulcast encodings of a section; more are not answered, so that they are not sent.
pub(super) const MAX_ENCODINGS: usize = 4;

/// Feedback of RFC 8888 §6; written for all formats at once.
pub(super) const CONGESTION_FEEDBACK: &str = "ack ccfb";

/// Rids of LiveKit's clients, lowest quality first. They say what a layer is, wherever it is listed.
const KNOWN_RIDS: [&str; 3] = ["q", "h", "f"];

/// What a shard must know of the peer's side of a transport.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransportParameters {
    /// The peer's ICE user. Another one than before means that the peer restarts ICE.
    pub remote_ice: RemoteIce,
    /// The certificates that the peer may show.
    pub fingerprints: Vec<Fingerprint>,
}

/// What a subscribing section accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reception {
    /// The section.
    pub mid: Arc<str>,
    /// Sound or pictures.
    pub kind: MediaKind,
    /// The subscriber's payload types, at least one.
    pub codecs: Vec<CodecBinding>,
    /// The subscriber's header extension ids.
    pub extensions: ExtensionIds,
    /// The subscriber feeds back by stream (RFC 8888), and not by transport-wide numbers.
    pub congestion_feedback: bool,
}

/// A track as a subscriber's section names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendTrack {
    /// Id of the stream in `a=msid`, e.g. `PA_…|TR_…`.
    pub stream_id: Arc<str>,
    /// Id of the track in `a=msid`, e.g. `TR_…`.
    pub track_id: Arc<str>,
    /// RTCP CNAME.
    pub cname: Arc<str>,
    /// SSRC of the media.
    pub ssrc: u32,
    /// SSRC of retransmissions; used where the subscriber takes `rtx`.
    pub rtx_ssrc: Option<u32>,
}

impl Reception {
    /// The subscription of this section to `track`.
    pub fn consumer_config(&self, track: &SendTrack, target: ConsumerTarget) -> ConsumerConfig {
        let rtx = self.codecs.iter().any(|c| c.rtx_payload_type.is_some());
        ConsumerConfig {
            ssrc: track.ssrc,
            rtx_ssrc: track.rtx_ssrc.filter(|_| rtx),
            cname: Arc::clone(&track.cname),
            mid: Some(Arc::clone(&self.mid)),
            codecs: self.codecs.clone(),
            extensions: self.extensions,
            congestion_feedback: self.congestion_feedback,
            continues: false,
            target,
        }
    }
}

impl SessionDescription {
    /// The peer's side of the one transport that all sections share.
    ///
    /// # Errors
    /// No usable section, no credentials, no fingerprint, or a DTLS role that is ours.
    pub fn transport_parameters(&self) -> Result<TransportParameters, SdpError> {
        let usable: Vec<&MediaSection> =
            self.sections.iter().filter(|s| self.is_usable(s)).collect();
        // The section that BUNDLE names first speaks for all (RFC 9143 §7.1.3); others may leave the attributes out.
        let tagged = self
            .bundle
            .iter()
            .flatten()
            .find_map(|mid| usable.iter().copied().find(|section| section.mid == *mid));
        let Some(tagged) = tagged.or(usable.first().copied()) else {
            return Err(SdpError::whole(SdpProblem::NothingUsable));
        };
        let levels = [&tagged.transport, &self.transport];
        let rest = usable.iter().map(|section| &section.transport);
        let sources: Vec<&TransportAttributes> = levels.into_iter().chain(rest).collect();

        let setup = sources.iter().find_map(|source| source.setup);
        if matches!(setup, Some(Setup::Passive | Setup::HoldConn)) {
            return Err(SdpError::whole(SdpProblem::DtlsRole));
        }
        let credentials = |source: &&TransportAttributes| {
            let (ufrag, password) = (source.ice_ufrag.clone()?, source.ice_pwd.clone()?);
            Some(RemoteIce { ufrag, password })
        };
        let remote_ice = sources
            .iter()
            .find_map(credentials)
            .ok_or(SdpError::whole(SdpProblem::NoIceCredentials))?;
        let fingerprints = sources
            .iter()
            .map(|source| &source.fingerprints)
            .find(|fingerprints| !fingerprints.is_empty())
            .ok_or(SdpError::whole(SdpProblem::NoFingerprint))?;
        Ok(TransportParameters {
            remote_ice,
            fingerprints: fingerprints.clone(),
        })
    }
}

impl MediaSection {
    /// Sound or pictures, if it is one of those.
    pub fn media_kind(&self) -> Option<MediaKind> {
        match self.kind {
            SectionKind::Audio => Some(MediaKind::Audio),
            SectionKind::Video => Some(MediaKind::Video),
            SectionKind::Data | SectionKind::Other(_) => None,
        }
    }

    /// Whether it has a format that we forward.
    pub fn has_codec(&self, enabled: CodecSet) -> bool {
        !codec::kept(self, enabled).is_empty()
    }

    /// The track that this section of an offer publishes; `None` if it publishes none, or nothing that we forward.
    ///
    /// Holds what [`super::answer`] says of the section for [`super::AnswerPlan::Receive`].
    pub fn producer_config(&self, enabled: CodecSet) -> Option<ProducerConfig> {
        let kind = self.media_kind()?;
        if self.is_rejected() || !self.direction.sends() {
            return None;
        }
        let kept = codec::kept(self, enabled);
        if kept.is_empty() {
            return None;
        }
        let extensions = extension::ids(self, Flow::Up);
        let transport_cc = extensions.transport_cc.is_some()
            && kept
                .iter()
                .any(|k| k.format.feedback.iter().any(|fb| &**fb == "transport-cc"));
        Some(ProducerConfig {
            kind,
            mid: Some(Arc::clone(&self.mid)),
            codecs: kept.iter().map(codec::Kept::binding).collect(),
            encodings: self.encodings(),
            extensions,
            transport_cc,
            room: None,
        })
    }

    /// What this section of an offer or an answer can receive; `None` if it receives nothing, or nothing that we
    /// forward.
    pub fn reception(&self, enabled: CodecSet) -> Option<Reception> {
        let kind = self.media_kind()?;
        if self.is_rejected() || !self.direction.receives() {
            return None;
        }
        let codecs: Vec<_> = codec::kept(self, enabled)
            .iter()
            .map(codec::Kept::binding)
            .collect();
        (!codecs.is_empty()).then(|| Reception {
            mid: Arc::clone(&self.mid),
            kind,
            codecs,
            extensions: extension::ids(self, Flow::Down),
            congestion_feedback: self.feeds_back_by_stream(),
        })
    }

    /// Whether packets sent on this section are reported by stream (RFC 8888 §6).
    ///
    /// An offer that names transport-wide numbers too gets these; an answer that agrees to RFC 8888 leaves them out
    /// (libwebrtc's do).
    pub(super) fn feeds_back_by_stream(&self) -> bool {
        let is_named = self.formats.iter().any(|format| {
            format
                .feedback
                .iter()
                .any(|fb| &**fb == CONGESTION_FEEDBACK)
        });
        is_named && extension::ids(self, Flow::Down).transport_cc.is_none()
    }

    /// The rids under which the section sends and that we take, in its order.
    pub(crate) fn sent_rids(&self) -> Vec<Arc<str>> {
        let declared = self.rids.iter().filter(|rid| rid.send).map(|rid| &rid.id);
        let mut rids: Vec<Arc<str>> = if self.simulcast_send.is_empty() {
            declared.cloned().collect()
        } else {
            let declared: Vec<_> = declared.collect();
            let listed = self.simulcast_send.iter();
            listed.filter(|id| declared.contains(id)).cloned().collect()
        };
        let mut seen = Vec::new();
        rids.retain(|rid| {
            let new = !seen.contains(rid);
            seen.push(Arc::clone(rid));
            new
        });
        rids.truncate(MAX_ENCODINGS);
        rids
    }

    /// Lowest quality first.
    fn encodings(&self) -> Vec<EncodingConfig> {
        let mut rids = self.sent_rids();
        if !rids.is_empty() {
            let rank = |rid: &Arc<str>| KNOWN_RIDS.iter().position(|known| **known == **rid);
            if rids.iter().all(|rid| rank(rid).is_some()) {
                rids.sort_by_key(rank);
            }
            // SSRCs that stand beside rids are in no stated order (RFC 8853 §5): packets name their rid.
            return rids
                .into_iter()
                .map(|rid| EncodingConfig {
                    rid: Some(rid),
                    ssrc: None,
                    rtx_ssrc: None,
                })
                .collect();
        }
        let simulcast = self
            .ssrc_groups
            .iter()
            .find(|group| &*group.semantics == "SIM" && !group.ssrcs.is_empty());
        let primaries: Vec<Option<u32>> = match simulcast {
            Some(group) => group.ssrcs.iter().copied().map(Some).collect(),
            None => vec![self.primary_ssrc()],
        };
        primaries
            .into_iter()
            .take(MAX_ENCODINGS)
            .map(|ssrc| EncodingConfig {
                rid: None,
                ssrc,
                rtx_ssrc: ssrc.and_then(|ssrc| self.rtx_ssrc(ssrc)),
            })
            .collect()
    }

    /// The first SSRC that is not another's companion (retransmission, error correction).
    fn primary_ssrc(&self) -> Option<u32> {
        let companion = |ssrc: u32| {
            self.ssrc_groups
                .iter()
                .any(|group| group.ssrcs.iter().skip(1).any(|member| *member == ssrc))
        };
        let mut ssrcs = self.ssrcs.iter().map(|source| source.ssrc);
        ssrcs.find(|ssrc| !companion(*ssrc))
    }

    fn rtx_ssrc(&self, primary: u32) -> Option<u32> {
        self.ssrc_groups
            .iter()
            .filter(|group| &*group.semantics == "FID")
            .find_map(|group| match group.ssrcs[..] {
                [first, rtx, ..] if first == primary => Some(rtx),
                _ => None,
            })
    }
}
