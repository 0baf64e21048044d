//! What a backend asks, made of numbers and of names that may or may not be there.

use livekit_protocol::{
    ParticipantPermission, SendDataRequest, UpdateParticipantRequest, UpdateSubscriptionsRequest,
};

use crate::support::World;

/// Whom and what a call is about.
pub(crate) struct Names {
    pub(crate) identity: String,
    pub(crate) tracks: [String; 2],
    pub(crate) sid: String,
}

/// Calls the room service; what it answers is other tests' business.
pub(crate) fn run(world: &mut World, names: &Names, kind: usize, n: i32, flag: bool) {
    let identity = names.identity.clone();
    let [track, other] = names.tracks.clone();
    let kind = kind % 9;
    match kind {
        0 => {
            let _ = world.attempt(|room| room.remove_participant(&identity));
        }
        1 | 2 => {
            let _ = world.attempt(|room| room.mute_published_track(&identity, &track, flag));
        }
        3 | 4 => {
            let request = UpdateParticipantRequest {
                identity,
                metadata: "m".repeat(kind),
                attributes: [("schalter.signing".to_owned(), "x".repeat(kind - 3))].into(),
                permission: Some(ParticipantPermission {
                    can_subscribe: flag,
                    can_publish: n > 0,
                    can_publish_data: n > 1,
                    can_publish_sources: vec![n; kind - 3],
                    hidden: n == 4,
                    can_update_metadata: flag,
                    ..ParticipantPermission::default()
                }),
                ..UpdateParticipantRequest::default()
            };
            let _ = world.attempt(|room| room.update_participant(&request));
        }
        5 => {
            let request = UpdateSubscriptionsRequest {
                identity,
                track_sids: vec![track, other],
                subscribe: flag,
                ..UpdateSubscriptionsRequest::default()
            };
            let _ = world.attempt(|room| room.update_subscriptions(&request));
        }
        6 => {
            #[expect(deprecated, reason = "older SDKs name sessions")]
            let request = SendDataRequest {
                data: vec![1; 3],
                kind: n,
                destination_identities: if flag { vec![identity] } else { Vec::new() },
                destination_sids: if n > 2 {
                    vec![names.sid.clone()]
                } else {
                    Vec::new()
                },
                nonce: vec![n as u8; 2],
                ..SendDataRequest::default()
            };
            let _ = world.attempt(|room| room.send_server_data(request));
        }
        7 => {
            let _ = world.attempt(|room| room.set_metadata("x".to_owned()));
        }
        _ => {
            let _ = world.attempt(|room| room.send_to_room(&identity, "elsewhere"));
        }
    }
}
