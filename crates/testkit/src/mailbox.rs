//! What carries envelopes and messages between simulated shards.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::time::Duration;

use schalter_model::{ShardId, Time};
use schalter_shard::peer::{Envelope, PeerMessage};

use crate::Random;

/// How the two lanes behave.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MailboxConfig {
    /// Time under way on both lanes.
    pub delay: Duration,
    /// Probability that an envelope is lost.
    pub loss: f64,
    /// Envelopes that may be under way to one shard; what comes beyond is lost.
    pub capacity: usize,
}

impl Default for MailboxConfig {
    fn default() -> Self {
        Self {
            delay: Duration::from_micros(50),
            loss: 0.0,
            capacity: 1_024,
        }
    }
}

type UnderWay = (Time, u64);

/// Between all shards: a media lane that is bounded and may lose, a control lane that keeps everything in order.
pub struct SimMailbox {
    config: MailboxConfig,
    random: Random,
    sequence: u64,
    order: BinaryHeap<Reverse<UnderWay>>,
    media: BTreeMap<UnderWay, (ShardId, ShardId, Box<Envelope>)>,
    control: VecDeque<(Time, ShardId, ShardId, PeerMessage)>,
    depth: BTreeMap<ShardId, usize>,
    lost: u64,
}

/// What arrives at a shard.
pub enum Delivery {
    /// A packet.
    Media(Box<Envelope>),
    /// A message.
    Control(PeerMessage),
}

impl SimMailbox {
    /// Empty lanes.
    pub fn new(config: MailboxConfig, random: Random) -> Self {
        Self {
            config,
            random,
            sequence: 0,
            order: BinaryHeap::new(),
            media: BTreeMap::new(),
            control: VecDeque::new(),
            depth: BTreeMap::new(),
            lost: 0,
        }
    }

    /// Changes how the lanes behave from now on; the delay may not shrink while messages are under way.
    pub fn set_config(&mut self, config: MailboxConfig) {
        self.config = config;
    }

    /// Envelopes that were lost, at random or because a lane was full.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Takes an envelope; answers whether the lane had room.
    pub fn send_media(
        &mut self,
        now: Time,
        from: ShardId,
        to: ShardId,
        envelope: &Envelope,
    ) -> bool {
        let depth = self.depth.entry(to).or_default();
        if *depth >= self.config.capacity {
            self.lost += 1;
            return false;
        }
        if self.random.chance(self.config.loss) {
            self.lost += 1;
            return true;
        }
        *depth += 1;
        let key = (now + self.config.delay, self.sequence);
        self.sequence += 1;
        self.order.push(Reverse(key));
        self.media
            .insert(key, (from, to, Box::new(envelope.clone())));
        true
    }

    /// Takes a message.
    pub fn send_control(&mut self, now: Time, from: ShardId, to: ShardId, message: PeerMessage) {
        self.control
            .push_back((now + self.config.delay, from, to, message));
    }

    /// When something arrives next.
    pub fn next_arrival(&self) -> Option<Time> {
        let media = self.order.peek().map(|Reverse((at, _))| *at);
        let control = self.control.front().map(|(at, ..)| *at);
        media.into_iter().chain(control).min()
    }

    /// What has arrived by `now`: from, to, what. Messages go before packets of the same time.
    pub fn receive(&mut self, now: Time) -> Option<(ShardId, ShardId, Delivery)> {
        if self.control.front().is_some_and(|(at, ..)| *at <= now) {
            let (_, from, to, message) = self.control.pop_front()?;
            return Some((from, to, Delivery::Control(message)));
        }
        let Reverse(key) = *self.order.peek()?;
        if key.0 > now {
            return None;
        }
        self.order.pop();
        let (from, to, envelope) = self.media.remove(&key)?;
        if let Some(depth) = self.depth.get_mut(&to) {
            *depth -= 1;
        }
        Some((from, to, Delivery::Media(envelope)))
    }
}
