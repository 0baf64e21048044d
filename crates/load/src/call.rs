//! A call: rooms full of publishers and subscribers, brought up, measured, taken down.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{StreamExt as _, TryStreamExt as _};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::client::{Certificate, ClientEvent};
use crate::engine::{Engine, PeerEvent, PeerId, Totals};
use crate::error::LoadError;
use crate::feed::FeedConfig;
use crate::probe::Kind;
use crate::process::{Snapshot, Usage};
use crate::receive::Feedback;
use crate::report::Report;
use crate::target::{Member, Participant, Shared, Target};

/// Participants that join at the same time: as many as arrive together when a class or an office starts.
const JOINING_AT_ONCE: usize = 16;
/// From the last join until everybody hears everybody.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// After a measurement, until the last packet counts as lost.
const GRACE: Duration = Duration::from_millis(500);
const POLL: Duration = Duration::from_millis(50);

/// Who is in a call.
#[derive(Clone, Debug)]
pub struct CallPlan {
    /// Rooms, all alike.
    pub rooms: u32,
    /// Publishers in each.
    pub publishers: u32,
    /// Subscribers in each that publish nothing.
    pub subscribers: u32,
    /// Publishers hear each other.
    pub mutual: bool,
    /// What publishers send.
    pub feed: FeedConfig,
    /// Names the rooms; calls at the same time need different ones.
    pub name: String,
}

impl CallPlan {
    /// Packets per second that the server has to send.
    pub fn forwarded_per_second(&self) -> u64 {
        let hearers = self.subscribers + if self.mutual { self.publishers - 1 } else { 0 };
        u64::from(self.rooms)
            * u64::from(self.publishers)
            * u64::from(hearers)
            * u64::from(self.feed.packets_per_second())
    }

    /// Participants in the order in which they join: publishers, then subscribers.
    fn participants(&self, target: &Target) -> (Vec<Participant>, Vec<Participant>) {
        let (mut first, mut second) = (Vec::new(), Vec::new());
        for room in 0..self.rooms {
            let publishers: Vec<u32> = (0..self.publishers)
                .map(|index| room * self.publishers + index)
                .collect();
            let name = format!("{}-{room}", self.name);
            for publisher in &publishers {
                let others: Vec<u32> = publishers
                    .iter()
                    .copied()
                    .filter(|p| p != publisher)
                    .collect();
                let hears = if self.mutual { others } else { Vec::new() };
                let together = target.publishes_and_hears_at_once();
                first.push(Participant {
                    room: name.clone(),
                    identity: format!("publisher-{publisher}"),
                    publish: Some((*publisher, self.feed)),
                    hears: if together { hears.clone() } else { Vec::new() },
                    view: None,
                });
                if !together && !hears.is_empty() {
                    second.push(Participant {
                        room: name.clone(),
                        identity: format!("ears-{publisher}"),
                        publish: None,
                        hears,
                        view: None,
                    });
                }
            }
            for subscriber in 0..self.subscribers {
                second.push(Participant {
                    room: name.clone(),
                    identity: format!("subscriber-{subscriber}"),
                    publish: None,
                    hears: publishers.clone(),
                    view: None,
                });
            }
        }
        (first, second)
    }
}

/// How peers of a run behave.
#[derive(Clone, Copy, Debug)]
pub struct PeerOptions {
    /// Address that their sockets are on.
    pub local: std::net::IpAddr,
    /// SRTP profile to offer.
    pub profile: schalter_model::SrtpProfile,
    /// What subscribers tell the server.
    pub feedback: Feedback,
    /// Core of the generator's media thread.
    pub core: Option<usize>,
}

/// Peers and the news of them.
pub struct Generator {
    /// Engine and what all peers share.
    pub shared: Arc<Shared>,
    events: mpsc::UnboundedReceiver<PeerEvent>,
}

impl Generator {
    /// Starts the engine.
    ///
    /// # Errors
    /// [`LoadError`] when certificate or thread can't be made.
    pub fn start(options: PeerOptions) -> Result<Self, LoadError> {
        let certificate = Certificate::generate()?;
        let (news, events) = mpsc::unbounded_channel();
        let engine = Engine::start(Arc::clone(&certificate), news, options.core)?;
        let shared = Shared {
            engine,
            certificate,
            local: options.local,
            profile: options.profile,
            feedback: options.feedback,
        };
        Ok(Self {
            shared: Arc::new(shared),
            events,
        })
    }

    /// Peers that have failed or were closed by the server since the last call, with why.
    fn lost(&mut self) -> Vec<String> {
        let mut lost = Vec::new();
        while let Ok(news) = self.events.try_recv() {
            match news.event {
                ClientEvent::Connected => {}
                ClientEvent::Closed => lost.push("closed by the server".to_owned()),
                ClientEvent::Failed(why) => lost.push(why),
            }
        }
        lost
    }
}

/// A call that is up: everybody hears everybody they should.
pub struct Call {
    plan: CallPlan,
    members: Vec<(Participant, Member)>,
}

async fn join_all(
    target: &Target,
    shared: &Arc<Shared>,
    who: Vec<Participant>,
) -> Result<Vec<(Participant, Member)>, LoadError> {
    futures_util::stream::iter(who)
        .map(|who| async move {
            let member = target.join(shared, &who).await?;
            Ok((who, member))
        })
        .buffered(JOINING_AT_ONCE)
        .try_collect()
        .await
}

impl Call {
    /// Joins everybody and waits until all streams are heard.
    ///
    /// # Errors
    /// [`LoadError`] when somebody can't join or does not hear what it should in time.
    pub async fn start(
        target: &Target,
        generator: &mut Generator,
        plan: CallPlan,
    ) -> Result<Self, LoadError> {
        plan.feed.check().map_err(LoadError::Usage)?;
        let (first, second) = plan.participants(target);
        let mut members = join_all(target, &generator.shared, first).await?;
        // Janus answers a subscription to a publisher only once it publishes.
        wait_connected(generator, &members).await?;
        members.extend(join_all(target, &generator.shared, second).await?);
        wait_connected(generator, &members).await?;
        let call = Self { plan, members };
        call.wait_heard(generator).await?;
        Ok(call)
    }

    /// The participants and their members.
    pub fn members(&self) -> impl Iterator<Item = (&Participant, &Member)> {
        self.members.iter().map(|(who, member)| (who, member))
    }

    async fn wait_heard(&self, generator: &mut Generator) -> Result<(), LoadError> {
        let kinds = self.kinds().len();
        let wanted: HashMap<PeerId, usize> = self
            .members
            .iter()
            .map(|(who, m)| (m.peer(), who.hears.len() * kinds))
            .collect();
        let deadline = Instant::now() + READY_TIMEOUT;
        loop {
            let status = generator.shared.engine.status().await;
            let deaf = status
                .iter()
                .filter(|s| {
                    wanted
                        .get(&s.peer)
                        .is_some_and(|wanted| s.streams < *wanted)
                })
                .count();
            if deaf == 0 {
                return Ok(());
            }
            if Instant::now() > deadline {
                let lost = generator.lost();
                return Err(LoadError::Timeout(format!(
                    "{deaf} of {} participants don't hear everything after {READY_TIMEOUT:?}{}",
                    self.members.len(),
                    lost.first()
                        .map(|why| format!(" ({why})"))
                        .unwrap_or_default(),
                )));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    fn kinds(&self) -> Vec<Kind> {
        let feed = &self.plan.feed;
        [
            (Kind::Audio, feed.audio_packets),
            (Kind::Video, feed.video_packets),
        ]
        .into_iter()
        .filter_map(|(kind, packets)| (packets > 0).then_some(kind))
        .collect()
    }

    /// Measures for `span`. `server` is the process whose cost counts.
    ///
    /// # Errors
    /// None at present; a call in which nothing arrives is a report, not an error.
    pub async fn measure(
        &self,
        generator: &mut Generator,
        span: Duration,
        server: Option<u32>,
    ) -> Result<Report, LoadError> {
        generator.lost();
        let engine = &generator.shared.engine;
        // What an earlier measurement counted goes away by difference.
        let earlier = engine.totals().await;
        // No process has this number: then nothing counts as the server's.
        let server_pid = server.unwrap_or(u32::MAX);
        engine.measure(true).await;
        let before = Snapshot::take(server_pid);
        tokio::time::sleep(span).await;
        let after = Snapshot::take(server_pid);
        engine.measure(false).await;
        let usage = after.since(&before);
        tokio::time::sleep(GRACE).await;
        let totals = engine.totals().await;
        let lost = generator.lost();
        Ok(self.report(&totals, &earlier, usage, server.is_some(), lost))
    }

    fn report(
        &self,
        totals: &Totals,
        earlier: &Totals,
        usage: Usage,
        server_known: bool,
        lost: Vec<String>,
    ) -> Report {
        let mut sent: HashMap<(u32, Kind), u64> = HashMap::new();
        for (totals, sign) in [(totals, 1), (earlier, -1)] {
            for (publisher, packets) in totals.peers.iter().filter_map(|peer| peer.sent) {
                for (kind, count) in [(Kind::Audio, packets.audio), (Kind::Video, packets.video)] {
                    let total = sent.entry((publisher, kind)).or_default();
                    *total = total.wrapping_add_signed(sign * count as i64);
                }
            }
        }
        let mut report = Report::new(&self.plan, usage, server_known);
        report.lost_peers = lost.len();
        report.lost_because = lost
            .into_iter()
            .collect::<HashSet<_>>()
            .into_iter()
            .collect();
        report.lost_signaling = self
            .members
            .iter()
            .filter(|(_, member)| member.signaling_lost())
            .count();
        let heard = |totals: &Totals, peer: PeerId, key: (u32, Kind)| {
            let peer = totals.peers.iter().find(|p| p.peer == peer);
            peer.and_then(|p| p.heard.iter().find(|(k, _)| *k == key))
                .map(|(_, heard)| (heard.measured, heard.duplicates))
                .unwrap_or_default()
        };
        for (who, member) in &self.members {
            for publisher in &who.hears {
                for kind in self.kinds() {
                    let key = (*publisher, kind);
                    let (now, before) = (
                        heard(totals, member.peer(), key),
                        heard(earlier, member.peer(), key),
                    );
                    let expected = sent.get(&key).copied().unwrap_or(0);
                    report.add(kind, expected, now.0 - before.0, now.1 - before.1);
                }
            }
        }
        report.finish(totals, earlier);
        report
    }

    /// Everybody leaves.
    pub async fn end(self, generator: &mut Generator) {
        futures_util::stream::iter(self.members)
            .for_each_concurrent(JOINING_AT_ONCE, |(_, member)| member.leave())
            .await;
        // The answer comes after all peers are gone, and with them the last news: a server that says goodbye to who
        // leaves has lost nobody.
        generator.shared.engine.status().await;
        generator.lost();
    }
}

async fn wait_connected(
    generator: &mut Generator,
    members: &[(Participant, Member)],
) -> Result<(), LoadError> {
    let ours: HashSet<PeerId> = members.iter().map(|(_, member)| member.peer()).collect();
    loop {
        if let Some(why) = generator.lost().into_iter().next() {
            return Err(LoadError::Handshake(why));
        }
        let status = generator.shared.engine.status().await;
        if status
            .iter()
            .filter(|s| ours.contains(&s.peer))
            .all(|s| s.connected)
        {
            return Ok(());
        }
        tokio::time::sleep(POLL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::janus::Janus;
    use crate::livekit::LiveKit;

    fn plan(mutual: bool) -> CallPlan {
        CallPlan {
            rooms: 2,
            publishers: 3,
            subscribers: 4,
            mutual,
            feed: FeedConfig::default(),
            name: "x".to_owned(),
        }
    }

    #[test]
    fn everybody_hears_all_publishers_of_the_own_room_and_nobody_itself() {
        let livekit = Target::LiveKit(LiveKit {
            url: String::new(),
            key: String::new(),
            secret: String::new(),
        });
        let janus = Target::Janus(Janus { url: String::new() });
        for (target, mutual) in [
            (&livekit, true),
            (&livekit, false),
            (&janus, true),
            (&janus, false),
        ] {
            let (first, second) = plan(mutual).participants(target);
            assert_eq!(first.len(), 6);
            let pairs: usize = first.iter().chain(&second).map(|who| who.hears.len()).sum();
            assert_eq!(pairs, 2 * 3 * (4 + if mutual { 2 } else { 0 }));
            for who in first.iter().chain(&second) {
                let own = who.publish.map(|(publisher, _)| publisher);
                assert!(who.hears.iter().all(|heard| Some(*heard) != own));
                let room: u32 = who.room.strip_prefix("x-").unwrap().parse().unwrap();
                assert!(who.hears.iter().all(|heard| heard / 3 == room));
            }
        }
    }

    #[test]
    fn the_load_is_what_the_plan_multiplies_to() {
        assert_eq!(plan(false).forwarded_per_second(), 2 * 3 * 4 * 210);
        assert_eq!(plan(true).forwarded_per_second(), 2 * 3 * 6 * 210);
    }
}
