//! Any bytes as the body of a ClientHello, and as datagrams of a transport that waits for one: refused or read, never a panic.

#![no_main]

use std::sync::{Arc, LazyLock};
use std::time::Instant;

use libfuzzer_sys::fuzz_target;
use schalter_model::{Path, ShardId, Time, Ufrag};
use schalter_transport::stun::{
    BINDING, IntegrityKey, StunClass, StunWriter, TransactionId, attribute,
};
use schalter_transport::{
    ClientHello, CryptoProfile, Identity, LocalIce, Transport, TransportConfig,
    TransportLimits,
};

const PASSWORD: &str = "a-password-of-22-chars";
static IDENTITY: LazyLock<Arc<Identity>> =
    LazyLock::new(|| Arc::new(Identity::generate().expect("the crypto library makes keys")));

fuzz_target!(|bytes: &[u8]| {
    let _ = ClientHello::parse(bytes);

    let now = Time::from_millis(1);
    let ufrag = Ufrag::new(0, ShardId(0), 1);
    let config = TransportConfig {
        epoch: Instant::now(),
        identity: Arc::clone(&IDENTITY),
        crypto: CryptoProfile::Standard,
        ice: LocalIce {
            ufrag,
            password: PASSWORD.into(),
        },
        channels: Vec::new(),
        limits: TransportLimits::default(),
    };
    let mut transport = Transport::new(now, config).expect("no channels, nothing to refuse");
    let path = Path {
        remote: ([127, 0, 0, 1], 9).into(),
        local: None,
    };
    transport
        .on_stun(now, path, &check(ufrag))
        .expect("the check is well-formed");
    let mut out = [0; 1500];
    // The first byte of each chunk says how long it is.
    let mut rest = bytes;
    while let Some((len, after)) = rest.split_first() {
        let (datagram, next) = after.split_at((usize::from(*len) * 8).min(after.len()));
        let _ = transport.on_dtls(now, path, datagram);
        while transport.poll_transmit(now, &mut out).is_some() {}
        rest = next;
    }
});

fn check(ufrag: Ufrag) -> Vec<u8> {
    let mut out = vec![0; 256];
    let id = TransactionId([1; 12]);
    let mut writer = StunWriter::new(&mut out, StunClass::Request, BINDING, id).expect("fits");
    let user = format!("{ufrag}:peer");
    writer
        .attribute(attribute::USERNAME, user.as_bytes())
        .expect("fits");
    writer
        .attribute(attribute::USE_CANDIDATE, &[])
        .expect("fits");
    writer
        .integrity(&IntegrityKey::new(PASSWORD.as_bytes()))
        .expect("fits");
    let len = writer.fingerprint().expect("fits");
    out.truncate(len);
    out
}
