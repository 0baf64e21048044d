//! The TURN server's keys.

use super::acme::dns_name;
use super::document::{Complaint, Value};
use super::livekit;
use super::read::DAY;

/// The built-in TURN server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Turn {
    /// Whether there is one.
    pub(crate) enabled: bool,
    /// Seconds that credentials are good for a new relay.
    pub(crate) credential_ttl: u32,
    /// UDP port of the first worker for TURN, the other workers have the ports after it; without it there is no TURN over UDP.
    pub(crate) udp_port: Option<u16>,
    /// Port for TURN over TCP without TLS; without it there is none.
    pub(crate) tcp_port: Option<u16>,
    /// Host that clients are told for TURN over TLS; without it the certificate's first name.
    pub(crate) domain: Option<String>,
    /// Port that clients are told for TURN over TLS; without it the one that TLS is on.
    pub(crate) tls_port: Option<u16>,
}

impl Default for Turn {
    fn default() -> Self {
        Self {
            enabled: true,
            // A working day: a client that changes networks makes new relays with what it was handed when it joined.
            credential_ttl: 12 * 3_600,
            // Whoever gets through to a UDP port of ours mostly gets through to those for media, and needs no relay.
            udp_port: None,
            tcp_port: None,
            domain: None,
            tls_port: None,
        }
    }
}

impl Turn {
    /// The first worker's UDP port for TURN, if there is TURN and such a port.
    pub(crate) fn udp_port(&self) -> Option<u16> {
        self.udp_port.filter(|_| self.enabled)
    }

    pub(super) fn read(value: &Value<'_>) -> Result<Self, Complaint> {
        let mut turn = Self::default();
        let mut group = value.group()?;
        group.take("enabled", &mut turn.enabled, Value::boolean)?;
        group.take("credential_ttl", &mut turn.credential_ttl, |v| {
            v.number(60..=7 * DAY)
        })?;
        group.take("udp_port", &mut turn.udp_port, |v| {
            Ok(Some(v.number(0..=65_535)?))
        })?;
        group.take("tcp_port", &mut turn.tcp_port, |v| {
            Ok(Some(v.number(0..=65_535)?))
        })?;
        group.take("domain", &mut turn.domain, |v| dns_name(v).map(Some))?;
        group.take("tls_port", &mut turn.tls_port, |v| {
            Ok(Some(v.number(1..=65_535)?))
        })?;
        group.finish(livekit::advice)?;
        Ok(turn)
    }
}
