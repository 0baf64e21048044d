//! A peer that checks, and the agent under test.

use schalter_model::{DropReason, Path, ShardId, Time, Ufrag};
use schalter_transport::ice::{
    ChallengeSecret, IceEvent, IceLimits, IceLite, MAX_ICE_RESPONSE_LEN,
};
use schalter_transport::stun::{
    BINDING, IntegrityKey, StunClass, StunMessage, StunWriter, TransactionId, attribute,
};
use schalter_transport::{LocalIce, RemoteIce};

pub(crate) const REMOTE: &str = "peer";
pub(crate) const REMOTE_PASSWORD: &str = "the-password-of-the-peer";

pub(crate) fn secret() -> ChallengeSecret {
    ChallengeSecret::new([1; ChallengeSecret::LEN])
}

pub(crate) fn local(random: u64) -> LocalIce {
    LocalIce {
        ufrag: Ufrag::new(1, ShardId(0), random),
        password: format!("a-password-of-22-chars-{random}").into(),
    }
}

pub(crate) fn path(last: u8) -> Path {
    Path::udp(([192, 0, 2, last], 5_000).into(), None)
}

pub(crate) fn at(millis: u64) -> Time {
    Time::from_millis(millis)
}

/// What the peer would answer to such a question.
pub(crate) fn answer_as(id: TransactionId, password: &str) -> Vec<u8> {
    let mut out = vec![0; 200];
    let mut writer = StunWriter::new(&mut out, StunClass::Success, BINDING, id).unwrap();
    writer
        .xor_mapped_address(([203, 0, 113, 1], 7_882).into())
        .unwrap();
    writer
        .integrity(&IntegrityKey::new(password.as_bytes()))
        .unwrap();
    let len = writer.fingerprint().unwrap();
    out.truncate(len);
    out
}

/// What the peer answers to this question.
pub(crate) fn answer(question: &[u8]) -> Vec<u8> {
    let id = StunMessage::parse(question).unwrap().transaction_id();
    answer_as(id, REMOTE_PASSWORD)
}

/// A peer that checks, and the agent under test.
pub(crate) struct Pair {
    pub(crate) agent: IceLite,
    pub(crate) ice: LocalIce,
    next_id: u64,
    out: [u8; MAX_ICE_RESPONSE_LEN],
}

/// What one check says.
#[derive(Clone, Copy)]
pub(crate) struct Check<'a> {
    pub(crate) nominates: bool,
    pub(crate) priority: u32,
    pub(crate) remote: &'a str,
    pub(crate) extra: &'a [u16],
    pub(crate) id: Option<u64>,
}

pub(crate) const PLAIN: Check<'static> = Check {
    nominates: false,
    priority: 100,
    remote: REMOTE,
    extra: &[],
    id: None,
};
pub(crate) const NOMINATION: Check<'static> = Check {
    nominates: true,
    ..PLAIN
};

impl Pair {
    pub(crate) fn new() -> Self {
        Self::with_limits(IceLimits::default())
    }

    pub(crate) fn with_limits(limits: IceLimits) -> Self {
        let ice = local(1);
        let mut agent = IceLite::new(Time::ZERO, &ice, secret(), limits);
        agent.set_remote(RemoteIce {
            ufrag: REMOTE.into(),
            password: REMOTE_PASSWORD.into(),
        });
        Self {
            agent,
            ice,
            next_id: 1,
            out: [0; MAX_ICE_RESPONSE_LEN],
        }
    }

    pub(crate) fn request(&mut self, ice: &LocalIce, check: Check<'_>) -> Vec<u8> {
        let mut id = [0; 12];
        id[4..].copy_from_slice(&check.id.unwrap_or(self.next_id).to_be_bytes());
        self.next_id += 1;
        let mut out = vec![0; 600];
        let mut writer =
            StunWriter::new(&mut out, StunClass::Request, BINDING, TransactionId(id)).unwrap();
        let user = format!("{}:{}", ice.ufrag, check.remote);
        writer
            .attribute(attribute::USERNAME, user.as_bytes())
            .unwrap();
        writer
            .attribute(attribute::PRIORITY, &check.priority.to_be_bytes())
            .unwrap();
        for kind in check.extra {
            writer.attribute(*kind, &[0; 8]).unwrap();
        }
        if check.nominates {
            writer.attribute(attribute::USE_CANDIDATE, &[]).unwrap();
        }
        writer
            .integrity(&IntegrityKey::new(ice.password.as_bytes()))
            .unwrap();
        let len = writer.fingerprint().unwrap();
        out.truncate(len);
        out
    }

    pub(crate) fn deliver(
        &mut self,
        now: Time,
        path: Path,
        datagram: &[u8],
    ) -> Result<&[u8], DropReason> {
        let response = self.agent.on_request(now, path, datagram, &mut self.out)?;
        Ok(&self.out[..response.len])
    }

    /// A check that must succeed.
    pub(crate) fn check(&mut self, now: Time, path: Path, check: Check<'_>) {
        let ice = self.ice.clone();
        self.check_as(now, path, &ice, check);
    }

    pub(crate) fn check_as(&mut self, now: Time, path: Path, ice: &LocalIce, check: Check<'_>) {
        let datagram = self.request(ice, check);
        let id = StunMessage::parse(&datagram).unwrap().transaction_id();
        let key = IntegrityKey::new(ice.password.as_bytes());
        let response = self.deliver(now, path, &datagram).unwrap();
        let message = StunMessage::parse(response).unwrap();
        assert_eq!(message.class(), StunClass::Success);
        assert_eq!(message.transaction_id(), id);
        assert_eq!(message.xor_mapped_address(), Some(path.remote));
        assert!(message.verify_integrity(&key));
        assert_eq!(message.verify_fingerprint(), Some(true));
    }

    pub(crate) fn events(&mut self) -> Vec<IceEvent> {
        std::iter::from_fn(|| self.agent.poll_event()).collect()
    }

    /// Lets time pass as a worker would: only at the times that were asked for.
    pub(crate) fn run_until(&mut self, end: Time) {
        while let Some(next) = self.agent.next_timeout().filter(|next| *next <= end) {
            self.agent.on_timeout(next);
            assert_ne!(
                self.agent.next_timeout(),
                Some(next),
                "a timer that doesn't move"
            );
        }
    }
}
