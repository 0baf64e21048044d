//! What publishers are asked to send of each codec of a track: more at once, less after a while.

use livekit_protocol::{
    SubscribedCodec, SubscribedQuality, SubscribedQualityUpdate, signal_response::Message,
};
use schalter_model::{MediaKind, Time, TrackId};

use super::codecs::Choice;
use super::subscribe::Subscription;
use super::track::{Quality, Track, Wanted};
use super::{Room, Timer};
use crate::sdp::CodecKind;

/// What a publisher was asked to send of one codec of a track.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Demand {
    told: Option<Wanted>,
    down_at: Option<Time>,
}

impl Demand {
    /// What was asked last; `None`: nothing yet.
    pub(super) fn told(self) -> Option<Wanted> {
        self.told
    }
}

impl Track {
    fn demand_mut(&mut self, choice: Choice) -> &mut Demand {
        match choice {
            Choice::First => &mut self.demand,
            Choice::Backup => &mut self.backup_demand,
        }
    }

    fn demand(&self, choice: Choice) -> Demand {
        match choice {
            Choice::First => self.demand,
            Choice::Backup => self.backup_demand,
        }
    }
}

impl Room {
    /// Asks the publisher for what its subscribers want of each codec: more at once, less after a while.
    pub(super) fn review_quality(&mut self, id: TrackId) {
        let Some(track) = self.tracks.get(&id) else {
            return;
        };
        if track.kind != MediaKind::Video || track.backup_of.is_some() {
            return;
        }
        self.review_regression(id);
        for choice in Choice::ALL {
            self.review_demand(id, choice);
        }
    }

    fn review_demand(&mut self, id: TrackId, choice: Choice) {
        let Some(track) = self.tracks.get(&id) else {
            return;
        };
        let wanted = self.wanted(track, choice);
        let Demand { told, down_at } = track.demand(choice);
        // Before anybody subscribed there is nothing to take back.
        if told.is_none() && wanted == Wanted::Nothing {
            return;
        }
        let at = self.now + self.config.quality_down_delay;
        if told.is_none_or(|told| wanted > told) {
            self.tell_quality(id, choice, wanted);
        } else if let Some(track) = self.tracks.get_mut(&id) {
            let demand = track.demand_mut(choice);
            if told == Some(wanted) {
                demand.down_at = None;
            } else if down_at.is_none() {
                demand.down_at = Some(at);
                self.arm(at, Timer::QualityDown(id));
            }
        }
    }

    fn wanted(&self, track: &Track, choice: Choice) -> Wanted {
        let carrier = match choice {
            Choice::First => Some(track.id),
            Choice::Backup => track.backup,
        };
        let counts = |subscription: &&Subscription| {
            // What flows is needed until what follows does.
            let flows = subscription.active && Some(subscription.media) == carrier;
            let config = subscription.config.as_ref();
            flows || config.is_some_and(|config| self.choice(track, config) == choice)
        };
        // Other rooms are forwarded the first codec only.
        let elsewhere = track.wanted_elsewhere.values().copied();
        let elsewhere = elsewhere.filter(|_| choice == Choice::First);
        track
            .subscribers
            .iter()
            .filter_map(|key| self.subscription(*key, track.id))
            .filter(counts)
            .map(|subscription| subscription.settings.wanted(track))
            .chain(elsewhere)
            .max()
            .unwrap_or(Wanted::Nothing)
    }

    pub(super) fn on_quality_timer(&mut self, id: TrackId, at: Time) {
        let Some(track) = self.tracks.get_mut(&id) else {
            return;
        };
        if track.return_at == Some(at) {
            track.return_at = None;
            track.regressed = false;
            self.review_quality(id);
            self.serve(id);
        }
        for choice in Choice::ALL {
            let Some(track) = self.tracks.get(&id) else {
                return;
            };
            if track.demand(choice).down_at == Some(at) {
                let wanted = self.wanted(track, choice);
                self.tell_quality(id, choice, wanted);
            }
        }
    }

    fn tell_quality(&mut self, id: TrackId, choice: Choice, wanted: Wanted) {
        let Some(track) = self.tracks.get_mut(&id) else {
            return;
        };
        let demand = track.demand_mut(choice);
        demand.down_at = None;
        if demand.told == Some(wanted) {
            return;
        }
        demand.told = Some(wanted);
        self.links.note_change();
        let owner = track.owner;
        let first = track.info.codecs.first().map(|codec| &*codec.mime_type);
        let backup = track.backup_codec().map(CodecKind::mime);
        let codec = |mime: Option<&str>, demand: Demand| {
            let name = mime.unwrap_or_default().to_ascii_lowercase();
            SubscribedCodec {
                codec: name.strip_prefix("video/").unwrap_or(&name).to_owned(),
                qualities: qualities(demand.told.unwrap_or(Wanted::Nothing)),
            }
        };
        let mut subscribed_codecs = vec![codec(first, track.demand)];
        if track.backup_demand.told.is_some() {
            subscribed_codecs.push(codec(backup, track.backup_demand));
        }
        #[expect(deprecated, reason = "older clients read this list")]
        let message = SubscribedQualityUpdate {
            track_sid: track.sid.to_string(),
            subscribed_qualities: subscribed_codecs[0].qualities.clone(),
            subscribed_codecs,
        };
        self.send(owner, Message::SubscribedQualityUpdate(message));
    }
}

fn qualities(wanted: Wanted) -> Vec<SubscribedQuality> {
    let told = |quality: Quality| SubscribedQuality {
        quality: quality.wire() as i32,
        enabled: wanted >= Wanted::UpTo(quality),
    };
    Quality::ALL.into_iter().map(told).collect()
}
