//! Data packets: reading what routing needs, and writing the server's fields into the sender's bytes.
use schalter_signaling::splice::{Overwrite, overwrite, view};

/// Does it with one input.
pub fn run(packet: &[u8]) {
    let fields = Overwrite {
        lossy: packet.len() % 2 == 1,
        sid: "PA_sender",
        identity: "sender",
    };
    let Ok(seen) = view(packet) else {
        return;
    };
    let out = overwrite(packet, fields, &seen.destinations).expect("what was read can be written");
    let again = view(&out).expect("what was written can be read");
    assert_eq!(again.claimed_identity, "sender");
    assert_eq!(again.destinations, seen.destinations);
    assert_eq!(again.destination_sids, seen.destination_sids);
    assert_eq!(again.sequence, seen.sequence);
    assert_eq!(again.payload, seen.payload);
    // Writing once more changes nothing: the sender's claims are gone for good.
    let twice = overwrite(&out, fields, &again.destinations).expect("well-formed");
    assert_eq!(twice.len(), out.len());
}
