//! Every request has an answer, a forbidden one too; where the protocol has none, this table says why.

use livekit_protocol::request_response::Reason;
use livekit_protocol::signal_request::Message as Request;
use livekit_protocol::signal_response::Message as Response;
use livekit_protocol::update_data_subscription::Update;
use livekit_protocol::{
    GetDataBlobRequest, LeaveRequest, MuteTrackRequest, Ping, PublishDataTrackRequest,
    SessionDescription, SimulateScenario, StoreDataBlobRequest, SubscriptionError,
    SubscriptionPermission, SyncState, TrackPermission, TrickleRequest, UnpublishDataTrackRequest,
    UpdateDataSubscription, UpdateLocalAudioTrack, UpdateLocalVideoTrack,
    UpdateParticipantMetadata, UpdateSubscription, UpdateTrackSettings, UpdateVideoLayers,
};
use schalter_signaling::SignalingConfig;
use schalter_signaling::room::{ConnectionMode, Input, UnreadableFrame};

use crate::support::{Client, World, camera, claims, join_sections, microphone, refusal, sdp};

/// What a client hears of a request.
enum Answer {
    /// `request_response` with a reason.
    Says(Reason),
    /// A message that only this request causes.
    Gets(fn(&Response) -> bool),
    /// Nothing, and why that is right.
    Silence(&'static str),
}

use Answer::{Gets, Says, Silence};

/// A room with a publisher, one who may do everything and one who may do nothing.
struct Scene {
    world: World,
    /// Publishes a microphone and a data track with handle 1; may change its own metadata; two connections.
    publisher: Client,
    /// Subscribes to it.
    subscriber: Client,
    /// May neither publish nor subscribe.
    nobody: Client,
    track: String,
    data_track: String,
}

impl Scene {
    fn new() -> Self {
        let mut world = World::with(SignalingConfig {
            limits: schalter_signaling::config::Limits {
                participants_per_room: 3,
                ..Default::default()
            },
            ..SignalingConfig::default()
        });
        let mut token = claims("r", "publisher");
        token.video.as_mut().unwrap().can_update_own_metadata = Some(true);
        let mut publisher = world.join_as(&token, ConnectionMode::Dual);
        let mut subscriber = world.join("subscriber");
        let mut token = claims("r", "nobody");
        let video = token.video.as_mut().unwrap();
        video.can_publish = Some(false);
        video.can_subscribe = Some(false);
        video.can_publish_data = Some(false);
        let nobody = world.join_as(&token, ConnectionMode::Single);
        let track = world.publish_microphone(&mut publisher);
        world.negotiate(&mut [&mut subscriber]);
        let data = PublishDataTrackRequest {
            pub_handle: 1,
            name: "one".into(),
            ..PublishDataTrackRequest::default()
        };
        world.request(&publisher, Request::PublishDataTrackRequest(data));
        let data_track = world
            .take(&publisher)
            .iter()
            .find_map(|m| match m {
                Response::PublishDataTrackResponse(r) => Some(r.info.as_ref().unwrap().sid.clone()),
                _ => None,
            })
            .unwrap();
        Self {
            world,
            publisher,
            subscriber,
            nobody,
            track,
            data_track,
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Who {
    Publisher,
    Subscriber,
    Nobody,
}

use Who::{Nobody, Publisher, Subscriber};

/// The place of a request among all, so that a new one can't be forgotten.
fn number(request: &Request) -> usize {
    #[expect(deprecated, reason = "older clients send it")]
    match request {
        Request::Offer(_) => 0,
        Request::Answer(_) => 1,
        Request::Trickle(_) => 2,
        Request::AddTrack(_) => 3,
        Request::Mute(_) => 4,
        Request::Subscription(_) => 5,
        Request::TrackSetting(_) => 6,
        Request::Leave(_) => 7,
        Request::UpdateLayers(_) => 8,
        Request::SubscriptionPermission(_) => 9,
        Request::SyncState(_) => 10,
        Request::Simulate(_) => 11,
        Request::Ping(_) => 12,
        Request::PingReq(_) => 13,
        Request::UpdateMetadata(_) => 14,
        Request::UpdateAudioTrack(_) => 15,
        Request::UpdateVideoTrack(_) => 16,
        Request::PublishDataTrackRequest(_) => 17,
        Request::UnpublishDataTrackRequest(_) => 18,
        Request::UpdateDataSubscription(_) => 19,
        Request::StoreDataBlobRequest(_) => 20,
        Request::GetDataBlobRequest(_) => 21,
    }
}

const REQUESTS: usize = 22;

fn offer(scene: &Scene) -> Request {
    let mut sections = join_sections();
    sections.push("aud 7 sendonly mic".into());
    Request::Offer(SessionDescription {
        r#type: "offer".into(),
        sdp: sdp(&sections, &scene.nobody.ufrag, false),
        id: 9,
        ..SessionDescription::default()
    })
}

fn subscription(sid: &str, subscribe: bool) -> Request {
    Request::Subscription(UpdateSubscription {
        track_sids: vec![sid.into()],
        subscribe,
        ..UpdateSubscription::default()
    })
}

fn mute(sid: &str) -> Request {
    Request::Mute(MuteTrackRequest {
        sid: sid.into(),
        muted: true,
    })
}

fn settings(sid: &str) -> Request {
    Request::TrackSetting(UpdateTrackSettings {
        track_sids: vec![sid.into()],
        disabled: true,
        ..UpdateTrackSettings::default()
    })
}

fn layers(sid: &str) -> Request {
    #[expect(deprecated, reason = "older clients send it")]
    Request::UpdateLayers(UpdateVideoLayers {
        track_sid: sid.into(),
        ..UpdateVideoLayers::default()
    })
}

fn audience(entries: usize) -> Request {
    Request::SubscriptionPermission(SubscriptionPermission {
        all_participants: true,
        track_permissions: vec![TrackPermission::default(); entries],
    })
}

fn metadata() -> Request {
    Request::UpdateMetadata(UpdateParticipantMetadata {
        metadata: "m".into(),
        request_id: 1,
        ..UpdateParticipantMetadata::default()
    })
}

fn audio(sid: &str) -> Request {
    Request::UpdateAudioTrack(UpdateLocalAudioTrack {
        track_sid: sid.into(),
        features: vec![1],
    })
}

fn video(sid: &str) -> Request {
    Request::UpdateVideoTrack(UpdateLocalVideoTrack {
        track_sid: sid.into(),
        width: 1,
        height: 1,
    })
}

fn data_track(handle: u32) -> Request {
    Request::PublishDataTrackRequest(PublishDataTrackRequest {
        pub_handle: handle,
        name: handle.to_string(),
        ..PublishDataTrackRequest::default()
    })
}

fn no_data_track(handle: u32) -> Request {
    Request::UnpublishDataTrackRequest(UnpublishDataTrackRequest { pub_handle: handle })
}

fn data_subscription(sid: &str) -> Request {
    Request::UpdateDataSubscription(UpdateDataSubscription {
        updates: vec![Update {
            track_sid: sid.into(),
            subscribe: true,
            ..Update::default()
        }],
    })
}

type Row = (Who, fn(&Scene) -> Request, Answer);

fn table() -> Vec<Row> {
    let answer: fn(&Response) -> bool = |m| matches!(m, Response::Answer(a) if a.id == 9);
    let published: fn(&Response) -> bool = |m| matches!(m, Response::TrackPublished(_));
    let update: fn(&Response) -> bool = |m| matches!(m, Response::Update(_));
    let leave: fn(&Response) -> bool = |m| matches!(m, Response::Leave(_));
    let failed: fn(&Response) -> bool = |m| matches!(m, Response::SubscriptionResponse(r) if r.err() == SubscriptionError::SeUnknown);
    let missing: fn(&Response) -> bool = |m| matches!(m, Response::SubscriptionResponse(r) if r.err() == SubscriptionError::SeTrackNotfound);
    vec![
        (Subscriber, offer, Gets(answer)),
        // It may receive nothing and send nothing, but learns that from its answer's sections.
        (Nobody, offer, Gets(answer)),
        (
            Nobody,
            |_| Request::Offer(SessionDescription::default()),
            Says(Reason::InvalidRequest),
        ),
        (
            Publisher,
            |_| Request::Answer(SessionDescription::default()),
            Silence("no offer is out: this crossed a newer one, whose answer follows"),
        ),
        (
            Nobody,
            |_| Request::Answer(SessionDescription::default()),
            Says(Reason::InvalidRequest),
        ),
        (
            Subscriber,
            |_| Request::Trickle(TrickleRequest::default()),
            Silence("ICE-lite checks no candidate; the checks that arrive are the answer"),
        ),
        (
            Nobody,
            |_| Request::Trickle(TrickleRequest::default()),
            Silence("as above; candidates need no permission"),
        ),
        (
            Subscriber,
            |_| Request::AddTrack(microphone("mic")),
            Gets(published),
        ),
        (
            Nobody,
            |_| Request::AddTrack(camera("cam")),
            Says(Reason::NotAllowed),
        ),
        (Publisher, |s| mute(&s.track), Gets(update)),
        (Nobody, |s| mute(&s.track), Says(Reason::NotFound)),
        (
            Subscriber,
            |s| subscription(&s.track, true),
            Silence("it has the track already"),
        ),
        (
            Subscriber,
            |s| subscription(&s.track, false),
            // And where no SDP is needed to stop, nothing would be.
            Gets(|m| matches!(m, Response::MediaSectionsRequirement(_))),
        ),
        (
            Subscriber,
            |_| subscription("TR_unknown", false),
            Silence("it does not have the track, as it wants"),
        ),
        (
            Subscriber,
            |_| subscription("TR_unknown", true),
            Gets(missing),
        ),
        (Publisher, |s| subscription(&s.track, true), Gets(failed)),
        (Nobody, |s| subscription(&s.track, true), Gets(failed)),
        (
            Nobody,
            |s| subscription(&s.track, true),
            Says(Reason::NotAllowed),
        ),
        (
            Nobody,
            |_| subscription("TR_unknown", true),
            Says(Reason::NotAllowed),
        ),
        (
            Subscriber,
            |s| settings(&s.track),
            Silence("media changes; the protocol has no answer to a wish that is followed"),
        ),
        (
            Subscriber,
            |_| settings("TR_unknown"),
            Says(Reason::NotFound),
        ),
        (Nobody, |s| settings(&s.track), Says(Reason::NotFound)),
        (
            Subscriber,
            |_| Request::Leave(LeaveRequest::default()),
            Gets(leave),
        ),
        (
            Nobody,
            |_| Request::Leave(LeaveRequest::default()),
            Gets(leave),
        ),
        (
            Publisher,
            |s| layers(&s.track),
            Silence("deprecated without an answer; SDP and media say which layers there are"),
        ),
        (Nobody, |s| layers(&s.track), Says(Reason::NotFound)),
        (
            Publisher,
            |_| audience(3),
            Silence("only others hear of it, and only if it changes what they get"),
        ),
        (Nobody, |_| audience(4), Says(Reason::LimitExceeded)),
        (
            Subscriber,
            |_| Request::SyncState(SyncState::default()),
            Silence("the resume was answered by `reconnect`; this only completes it"),
        ),
        (
            Nobody,
            |_| Request::SyncState(SyncState::default()),
            Silence("as above; choices that are not allowed have no effect"),
        ),
        (
            Subscriber,
            |_| Request::Simulate(SimulateScenario::default()),
            Says(Reason::NotAllowed),
        ),
        (
            Nobody,
            |_| Request::Simulate(SimulateScenario::default()),
            Says(Reason::NotAllowed),
        ),
        (
            Subscriber,
            |_| Request::Ping(1),
            Gets(|m| matches!(m, Response::Pong(_))),
        ),
        (
            Nobody,
            |_| Request::PingReq(Ping::default()),
            Gets(|m| matches!(m, Response::PongResp(_))),
        ),
        (Publisher, |_| metadata(), Says(Reason::Ok)),
        (Nobody, |_| metadata(), Says(Reason::NotAllowed)),
        (Publisher, |s| audio(&s.track), Gets(update)),
        (Nobody, |s| audio(&s.track), Says(Reason::NotFound)),
        (Publisher, |s| video(&s.track), Gets(update)),
        (Nobody, |s| video(&s.track), Says(Reason::NotFound)),
        (
            Publisher,
            |_| data_track(2),
            Gets(|m| matches!(m, Response::PublishDataTrackResponse(_))),
        ),
        (Publisher, |_| data_track(0), Says(Reason::InvalidHandle)),
        (Nobody, |_| data_track(2), Says(Reason::NotAllowed)),
        (
            Publisher,
            |_| no_data_track(1),
            Gets(|m| matches!(m, Response::UnpublishDataTrackResponse(_))),
        ),
        (Nobody, |_| no_data_track(1), Says(Reason::NotFound)),
        (
            Subscriber,
            |s| data_subscription(&s.data_track),
            Gets(|m| matches!(m, Response::DataTrackSubscriberHandles(_))),
        ),
        (
            Subscriber,
            |_| data_subscription("DTR_unknown"),
            Says(Reason::NotFound),
        ),
        (
            Nobody,
            |s| data_subscription(&s.data_track),
            Says(Reason::NotAllowed),
        ),
        (
            Subscriber,
            |_| Request::StoreDataBlobRequest(StoreDataBlobRequest::default()),
            Says(Reason::UnsupportedType),
        ),
        (
            Nobody,
            |_| Request::StoreDataBlobRequest(StoreDataBlobRequest::default()),
            Says(Reason::UnsupportedType),
        ),
        (
            Subscriber,
            |_| Request::GetDataBlobRequest(GetDataBlobRequest::default()),
            Says(Reason::UnsupportedType),
        ),
        (
            Nobody,
            |_| Request::GetDataBlobRequest(GetDataBlobRequest::default()),
            Says(Reason::UnsupportedType),
        ),
    ]
}

#[test]
fn every_request_is_answered() {
    let mut covered = [0; REQUESTS];
    for (who, request, expected) in table() {
        let mut scene = Scene::new();
        let request = request(&scene);
        covered[number(&request)] += 1;
        let name = format!("{who:?}: {request:?}");
        let client = match who {
            Publisher => scene.publisher.clone(),
            Subscriber => scene.subscriber.clone(),
            Nobody => scene.nobody.clone(),
        };
        scene.world.take(&client);
        scene.world.request(&client, request);
        let heard = scene.world.take(&client);
        match expected {
            Says(reason) => {
                let response = refusal(&heard).unwrap_or_else(|| panic!("{name}: {heard:?}"));
                assert_eq!(response.reason(), reason, "{name}");
            }
            Gets(wanted) => assert!(heard.iter().any(wanted), "{name}: {heard:?}"),
            Silence(why) => assert!(heard.is_empty(), "{name}: {heard:?}, but {why}"),
        }
    }
    for (number, rows) in covered.iter().enumerate() {
        assert!(*rows > 0, "request {number} is not in the table");
    }
}

#[test]
fn what_is_no_request_is_answered_too() {
    let mut world = World::new();
    let alice = world.join("alice");
    for (frame, reason) in [
        (UnreadableFrame::UnknownRequest, Reason::UnsupportedType),
        (UnreadableFrame::Malformed, Reason::InvalidRequest),
    ] {
        world.take(&alice);
        world.input(Input::Unreadable {
            connection: alice.connection,
            frame,
        });
        assert_eq!(refusal(&world.take(&alice)).unwrap().reason(), reason);
    }
}

#[test]
fn a_flood_of_unknown_tracks_is_answered_in_bounds() {
    let mut world = World::new();
    let alice = world.join("alice");
    world.take(&alice);
    let request = UpdateSubscription {
        track_sids: (0..10_000).map(|n| format!("TR_{n}")).collect(),
        subscribe: true,
        ..UpdateSubscription::default()
    };
    world.request(&alice, Request::Subscription(request));
    let heard = world.take(&alice);
    assert_eq!(heard.len(), 65);
    assert_eq!(refusal(&heard).unwrap().reason(), Reason::LimitExceeded);
}
