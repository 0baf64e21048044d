//! Any bytes as the body of a ClientHello, and as datagrams of a transport that waits for one or has just got one that a
//! real client sent: refused or read, never a panic.

use std::sync::{Arc, LazyLock};
use std::time::Instant;

use schalter_model::{Path, ShardId, Time, Ufrag};
use schalter_transport::ice::ChallengeSecret;
use schalter_transport::stun::{
    BINDING, IntegrityKey, StunClass, StunWriter, TransactionId, attribute,
};
use schalter_transport::{
    ClientHello, CryptoProfile, Identity, LocalIce, Transport, TransportConfig, TransportLimits,
};

const PASSWORD: &str = "a-password-of-22-chars";
const RECORD_HEADER_LEN: usize = 13;
/// Behind the headers of record and message.
const BODY: usize = RECORD_HEADER_LEN + 12;
static IDENTITY: LazyLock<Arc<Identity>> =
    LazyLock::new(|| Arc::new(Identity::generate().expect("the crypto library makes keys")));

/// First flights, as lists of datagrams: the seeds of the corpus, recorded from clients (see `transport/tests/client_hellos.rs`).
static HELLOS: [&[&[u8]]; 4] = [
    &[
        include_bytes!("../../transport/tests/data/chromium-hello-1.bin"),
        include_bytes!("../../transport/tests/data/chromium-hello-2.bin"),
    ],
    &[
        include_bytes!("../../transport/tests/data/firefox-hello-1.bin"),
        include_bytes!("../../transport/tests/data/firefox-hello-2.bin"),
    ],
    &[
        include_bytes!("../../transport/tests/data/gstreamer-hello-1.bin"),
        include_bytes!("../../transport/tests/data/gstreamer-hello-2.bin"),
    ],
    &[include_bytes!(
        "../../transport/tests/data/rtc-dtls-hello-1.bin"
    )],
];

/// Does it with one input.
pub fn run(bytes: &[u8]) {
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
        challenges: ChallengeSecret::new([1; ChallengeSecret::LEN]),
        channels: Vec::new(),
        limits: TransportLimits::default(),
    };
    let mut transport = Transport::new(now, config).expect("no channels, nothing to refuse");
    let path = Path::udp(([127, 0, 0, 1], 9).into(), None);
    transport
        .on_stun(now, path, &check(ufrag))
        .expect("the check is well-formed");
    let mut out = [0; 1500];
    let mut cookie = Vec::new();
    let mut deliver = |datagram: &[u8], cookie: &mut Vec<u8>| {
        let _ = transport.on_dtls(now, path, datagram);
        while let Some((_, len)) = transport.poll_transmit(now, &mut out) {
            if let Some(sent) = cookie_of(&out[..len]) {
                *cookie = sent.to_vec();
            }
        }
    };
    // The first byte of each chunk says what it is, or how long.
    let mut rest = bytes;
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        match first {
            0xf0.. => {
                let hello = HELLOS[usize::from(first) % HELLOS.len()];
                for datagram in hello {
                    deliver(datagram, &mut cookie);
                }
            }
            0xe0.. => {
                // The same with the cookie that was asked for: the library is past its first flight.
                let hello = HELLOS[usize::from(first) % HELLOS.len()];
                let datagram = with_cookie(hello, &cookie);
                deliver(&datagram, &mut cookie);
            }
            _ => {
                let (datagram, next) = after.split_at((usize::from(first) * 8).min(after.len()));
                rest = next;
                deliver(datagram, &mut cookie);
            }
        }
    }
}

/// What a HelloVerifyRequest asks to be repeated (RFC 6347 §4.2.1), after headers and version.
fn cookie_of(datagram: &[u8]) -> Option<&[u8]> {
    const HELLO_VERIFY_REQUEST: u8 = 3;
    let (len, rest) = datagram.get(BODY + 2..)?.split_first()?;
    (datagram[RECORD_HEADER_LEN] == HELLO_VERIFY_REQUEST)
        .then(|| rest.get(..usize::from(*len)))
        .flatten()
}

/// The second hello, in one record.
fn with_cookie(hello: &[&[u8]], cookie: &[u8]) -> Vec<u8> {
    let mut body: Vec<u8> = hello
        .iter()
        .flat_map(|datagram| &datagram[BODY..])
        .copied()
        .collect();
    let at = 34 + 1 + usize::from(body[34]); // after version, random and session id
    body[at] = cookie.len() as u8;
    body.splice(at + 1..at + 1, cookie.iter().copied());
    let len = (body.len() as u32).to_be_bytes();
    let mut out = hello[0][..RECORD_HEADER_LEN - 3].to_vec();
    out.push(1); // record sequence
    out.extend_from_slice(&(body.len() as u16 + 12).to_be_bytes());
    out.push(1); // client_hello
    out.extend_from_slice(&len[1..]);
    out.extend_from_slice(&[0, 1, 0, 0, 0]); // message sequence, offset
    out.extend_from_slice(&len[1..]);
    out.extend_from_slice(&body);
    out
}

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
