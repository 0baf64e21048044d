//! What peers send as bytes: nothing of it panics, and what the server writes stays readable.

use livekit_protocol::{DataPacket, UserPacket, data_packet::Value};
use proptest::prelude::*;
use prost::Message as _;
use schalter_signaling::livekit::join::read_join_request;
use schalter_signaling::splice::{Overwrite, overwrite, view};

const FIELDS: Overwrite<'_> = Overwrite {
    lossy: false,
    sid: "PA_sender",
    identity: "sender",
};

fn user_packet() -> impl Strategy<Value = DataPacket> {
    let names = prop::collection::vec("[a-z]{0,6}", 0..3);
    let inner = prop::collection::vec("[a-z]{0,6}", 0..3);
    (any::<Vec<u8>>(), names, inner, any::<u32>()).prop_map(|(payload, outer, inner, sequence)| {
        #[expect(deprecated, reason = "clients fill the inner list")]
        let user = UserPacket {
            payload,
            destination_identities: inner,
            participant_identity: "forged".into(),
            ..UserPacket::default()
        };
        DataPacket {
            destination_identities: outer,
            participant_identity: "forged".into(),
            participant_sid: "PA_forged".into(),
            sequence,
            value: Some(Value::User(user)),
            ..DataPacket::default()
        }
    })
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
        if let Ok(seen) = view(&bytes) {
            prop_assert!(overwrite(&bytes, FIELDS, &seen.destinations).is_ok());
        }
    }

    #[test]
    fn only_the_servers_fields_change(sent in user_packet()) {
        let bytes = sent.encode_to_vec();
        let seen = view(&bytes).unwrap();
        let destinations: Vec<String> = seen.destinations.iter().map(|d| (*d).to_owned()).collect();
        let out = overwrite(&bytes, FIELDS, &seen.destinations).unwrap();
        let mut expected = sent;
        expected.participant_identity = "sender".into();
        expected.participant_sid = "PA_sender".into();
        expected.destination_identities.clone_from(&destinations);
        if let Some(Value::User(user)) = &mut expected.value {
            #[expect(deprecated, reason = "old clients read these fields")]
            {
                user.participant_identity = "sender".into();
                user.participant_sid = "PA_sender".into();
                user.destination_identities = destinations;
            }
        }
        prop_assert_eq!(DataPacket::decode(&out[..]).unwrap(), expected);
    }

    #[test]
    fn any_join_request_is_read_or_refused(text: String, limit in 0usize..10_000) {
        let _ = read_join_request(&text, limit);
    }
}
