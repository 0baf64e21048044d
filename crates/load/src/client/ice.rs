//! An agent that checks one candidate and, in control, nominates it at once (RFC 8445 §7.2, §8.1.1).

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use schalter_transport::stun::{
    BINDING, IntegrityKey, StunClass, StunError, StunMessage, StunWriter, TransactionId, attribute,
};

/// Time to the second check; doubles up to [`SLOWEST_CHECK`] until one is answered.
const FIRST_CHECK: Duration = Duration::from_millis(50);
const SLOWEST_CHECK: Duration = Duration::from_millis(800);
/// Consent is asked for this often (RFC 7675 §5.1).
const CONSENT: Duration = Duration::from_secs(4);
/// `PRIORITY` of a host candidate as peer-reflexive one (RFC 8445 §5.1.2.1).
const PRIORITY: u32 = (110 << 24) | (65_535 << 8) | 255;
/// Longest message written here.
const MESSAGE_MAX: usize = 256;

/// Username fragment and password (RFC 8839 §5.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IceCredentials {
    /// `a=ice-ufrag`.
    pub ufrag: String,
    /// `a=ice-pwd`.
    pub password: String,
}

impl IceCredentials {
    /// Fresh ones.
    pub fn generate() -> Self {
        let text = |len: usize| {
            const ALPHABET: &[u8; 64] =
                b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
            (0..len)
                .map(|_| char::from(ALPHABET[usize::from(rand::random::<u8>() & 63)]))
                .collect()
        };
        Self {
            ufrag: text(8),
            password: text(24),
        }
    }
}

/// Who nominates (RFC 8445 §6.1.1): whoever offered, unless the other side is a lite agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IceRole {
    /// We do.
    Controlling,
    /// The server does.
    Controlled,
}

/// What a message made of us.
pub(super) struct Heard {
    pub(super) answer: Option<Bytes>,
    /// The pair is nominated: by our check that was answered, or by the server's that we answer.
    pub(super) nominated: bool,
}

pub(super) struct Checks {
    role: IceRole,
    local: IceCredentials,
    local_key: IntegrityKey,
    remote_key: IntegrityKey,
    /// `USERNAME` of our requests.
    username: String,
    candidate: SocketAddr,
    tie_breaker: u64,
    transaction: TransactionId,
    next: Instant,
    pause: Duration,
    answered: bool,
}

impl Checks {
    pub(super) fn new(
        now: Instant,
        role: IceRole,
        local: IceCredentials,
        remote: &IceCredentials,
        candidate: SocketAddr,
    ) -> Self {
        Self {
            role,
            local_key: IntegrityKey::new(local.password.as_bytes()),
            remote_key: IntegrityKey::new(remote.password.as_bytes()),
            username: format!("{}:{}", remote.ufrag, local.ufrag),
            local,
            candidate,
            tie_breaker: rand::random(),
            transaction: TransactionId(rand::random()),
            next: now,
            pause: FIRST_CHECK,
            answered: false,
        }
    }

    pub(super) const fn next_timeout(&self) -> Instant {
        self.next
    }

    pub(super) fn on_timeout(&mut self, now: Instant) -> Option<Bytes> {
        if now < self.next {
            return None;
        }
        self.next = now + if self.answered { CONSENT } else { self.pause };
        self.pause = (self.pause * 2).min(SLOWEST_CHECK);
        self.transaction = TransactionId(rand::random());
        let request = self.request();
        Some(
            request
                .expect("MESSAGE_MAX holds a binding request with an 8-character local fragment"),
        )
    }

    fn request(&self) -> Result<Bytes, StunError> {
        let mut buffer = [0; MESSAGE_MAX + 256];
        let mut writer =
            StunWriter::new(&mut buffer, StunClass::Request, BINDING, self.transaction)?;
        writer.attribute(attribute::USERNAME, self.username.as_bytes())?;
        let tie_breaker = self.tie_breaker.to_be_bytes();
        match self.role {
            IceRole::Controlling => {
                writer.attribute(attribute::ICE_CONTROLLING, &tie_breaker)?;
                writer.attribute(attribute::USE_CANDIDATE, &[])?;
            }
            IceRole::Controlled => writer.attribute(attribute::ICE_CONTROLLED, &tie_breaker)?,
        }
        writer.attribute(attribute::PRIORITY, &PRIORITY.to_be_bytes())?;
        writer.integrity(&self.remote_key)?;
        let len = writer.fingerprint()?;
        Ok(Bytes::copy_from_slice(&buffer[..len]))
    }

    /// Takes a STUN message; `None` if it is not authentic or not for us.
    pub(super) fn on_message(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &[u8],
    ) -> Option<Heard> {
        let message = StunMessage::parse(datagram).ok()?;
        if message.method() != BINDING || from != self.candidate {
            return None;
        }
        match message.class() {
            StunClass::Success => {
                let ours = message.transaction_id() == self.transaction;
                if !ours || !message.verify_integrity(&self.remote_key) {
                    return None;
                }
                if !self.answered {
                    self.answered = true;
                    self.next = now + CONSENT;
                }
                Some(Heard {
                    answer: None,
                    nominated: self.role == IceRole::Controlling,
                })
            }
            StunClass::Request => {
                let (to, _) = message.username()?;
                if to != self.local.ufrag.as_bytes() || !message.verify_integrity(&self.local_key) {
                    return None;
                }
                let answer = self.success(message.transaction_id(), from).ok()?;
                let nominates = message.attribute(attribute::USE_CANDIDATE).is_some();
                let nominated = nominates && self.role == IceRole::Controlled;
                Some(Heard {
                    answer: Some(answer),
                    nominated,
                })
            }
            StunClass::Indication | StunClass::Error => None,
        }
    }

    fn success(&self, id: TransactionId, from: SocketAddr) -> Result<Bytes, StunError> {
        let mut buffer = [0; MESSAGE_MAX];
        let mut writer = StunWriter::new(&mut buffer, StunClass::Success, BINDING, id)?;
        writer.xor_mapped_address(from)?;
        writer.integrity(&self.local_key)?;
        let len = writer.fingerprint()?;
        Ok(Bytes::copy_from_slice(&buffer[..len]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent(now: Instant, role: IceRole) -> (Checks, IceCredentials, IceCredentials) {
        let (local, remote) = (IceCredentials::generate(), IceCredentials::generate());
        let candidate = "127.0.0.1:9".parse().unwrap();
        (
            Checks::new(now, role, local.clone(), &remote, candidate),
            local,
            remote,
        )
    }

    fn pair(now: Instant) -> (Checks, IceCredentials, IceCredentials) {
        agent(now, IceRole::Controlling)
    }

    #[test]
    fn checks_back_off_until_answered_and_then_ask_for_consent() {
        let mut now = Instant::now();
        let (mut checks, _, remote) = pair(now);
        let mut pauses = Vec::new();
        for _ in 0..7 {
            checks.on_timeout(now).unwrap();
            pauses.push((checks.next_timeout() - now).as_millis());
            now = checks.next_timeout();
        }
        assert_eq!(pauses, [50, 100, 200, 400, 800, 800, 800]);
        let request = checks.on_timeout(now).unwrap();
        let message = StunMessage::parse(&request).unwrap();
        assert!(message.verify_integrity(&IntegrityKey::new(remote.password.as_bytes())));
        assert!(message.attribute(attribute::USE_CANDIDATE).is_some());
        let mut answer = [0; 128];
        let mut writer = StunWriter::new(
            &mut answer,
            StunClass::Success,
            BINDING,
            message.transaction_id(),
        )
        .unwrap();
        writer
            .integrity(&IntegrityKey::new(remote.password.as_bytes()))
            .unwrap();
        let len = writer.fingerprint().unwrap();
        let from = checks.candidate;
        assert!(
            checks
                .on_message(now, from, &answer[..len])
                .unwrap()
                .nominated
        );
        assert_eq!(checks.next_timeout() - now, CONSENT);
    }

    #[test]
    fn answers_that_are_forged_or_from_elsewhere_nominate_nothing() {
        let now = Instant::now();
        let (mut checks, _, remote) = pair(now);
        let request = checks.on_timeout(now).unwrap();
        let id = StunMessage::parse(&request).unwrap().transaction_id();
        let candidate = checks.candidate;
        let elsewhere = "127.0.0.1:10".parse().unwrap();
        for (password, from) in [("wrong", candidate), (remote.password.as_str(), elsewhere)] {
            let mut answer = [0; 128];
            let mut writer = StunWriter::new(&mut answer, StunClass::Success, BINDING, id).unwrap();
            writer
                .integrity(&IntegrityKey::new(password.as_bytes()))
                .unwrap();
            let len = writer.fingerprint().unwrap();
            assert!(checks.on_message(now, from, &answer[..len]).is_none());
        }
    }

    #[test]
    fn the_servers_own_checks_are_answered_and_nominate_where_it_is_in_control() {
        let now = Instant::now();
        for role in [IceRole::Controlling, IceRole::Controlled] {
            let (mut checks, local, remote) = agent(now, role);
            answers(&mut checks, &local, &remote, role == IceRole::Controlled);
            let request = checks.on_timeout(now).unwrap();
            let nominates = StunMessage::parse(&request)
                .unwrap()
                .attribute(attribute::USE_CANDIDATE);
            assert_eq!(nominates.is_some(), role == IceRole::Controlling);
        }
    }

    fn answers(
        checks: &mut Checks,
        local: &IceCredentials,
        remote: &IceCredentials,
        nominated: bool,
    ) {
        let now = Instant::now();
        let mut request = [0; 256];
        let id = TransactionId([7; 12]);
        let mut writer = StunWriter::new(&mut request, StunClass::Request, BINDING, id).unwrap();
        let user = format!("{}:{}", local.ufrag, remote.ufrag);
        writer
            .attribute(attribute::USERNAME, user.as_bytes())
            .unwrap();
        writer.attribute(attribute::USE_CANDIDATE, &[]).unwrap();
        writer
            .integrity(&IntegrityKey::new(local.password.as_bytes()))
            .unwrap();
        let len = writer.fingerprint().unwrap();
        let from = checks.candidate;
        let heard = checks.on_message(now, from, &request[..len]).unwrap();
        assert_eq!(heard.nominated, nominated);
        let answer = heard.answer.unwrap();
        let message = StunMessage::parse(&answer).unwrap();
        assert_eq!(
            (message.class(), message.transaction_id()),
            (StunClass::Success, id)
        );
        assert_eq!(message.xor_mapped_address(), Some(from));
    }
}
