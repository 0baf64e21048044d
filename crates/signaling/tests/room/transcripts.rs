//! Recorded clients against this room: what it says must have the recorded server's order and shape.
//!
//! The recordings are trimmed to shapes: sections of descriptions, and of each message the fields that clients act
//! on. Messages whose time depends on a server's intervals (speakers, qualities of connections, counts) are left out.

use std::collections::HashMap;

use livekit_protocol::participant_info::State;
use livekit_protocol::signal_request::Message as Request;
use livekit_protocol::signal_response::Message as Response;
use livekit_protocol::{
    ParticipantInfo, SessionDescription, SignalRequest, TrackSource, VideoQuality,
};
use schalter_signaling::room::{ConnectionMode, Input};
use serde_json::{Value, json};

use crate::support::{Client, World, claims, sdp, shape};

struct Replay {
    world: World,
    clients: HashMap<String, Client>,
    sources: HashMap<String, &'static str>,
    last: HashMap<(String, String), Value>,
    ours: HashMap<String, Vec<Value>>,
}

fn strings(value: &Value) -> Vec<String> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s.as_str().unwrap().to_owned())
        .collect()
}

fn sorted_keys(map: &HashMap<String, String>) -> Vec<&String> {
    let mut keys: Vec<_> = map.keys().collect();
    keys.sort();
    keys
}

impl Replay {
    fn join(&mut self, name: &str, line: &Value) {
        let dual = line["mode"] == "v0";
        let identity = name.split('#').next().unwrap();
        let mode = if dual {
            ConnectionMode::Dual
        } else {
            ConnectionMode::Single
        };
        let mut params = self.world.params(&claims("r", identity), mode);
        let ufrag = format!("{identity}0");
        let mut list = Vec::new();
        if let Some(offer) = line["offer"].as_object() {
            list = strings(&offer["sections"]);
            params.offer = Some(SessionDescription {
                r#type: "offer".into(),
                sdp: sdp(&list, &ufrag, false),
                id: offer["id"].as_u64().unwrap() as u32,
                ..SessionDescription::default()
            });
        }
        let client = Client {
            connection: self.world.ids.connection(),
            mode,
            sections: list,
            offers: 0,
            ufrag,
            sid: String::new(),
            grants: params.grants.clone(),
        };
        self.world.input(Input::Join {
            connection: client.connection,
            params: Box::new(params),
        });
        self.clients.insert(name.to_owned(), client);
    }

    fn client_says(&mut self, name: &str, line: &Value) {
        let kind = line["c2s"].as_str().unwrap();
        if kind == "join" {
            self.join(name, line);
            return;
        }
        let client = self.clients[name].clone();
        match kind {
            "offer" => {
                let offer = SessionDescription {
                    r#type: "offer".into(),
                    sdp: sdp(&strings(&line["sections"]), &client.ufrag, false),
                    id: line["id"].as_u64().unwrap() as u32,
                    ..SessionDescription::default()
                };
                self.world.request(&client, Request::Offer(offer));
                self.world.media_flows();
            }
            "answer" => {
                // Offers count from a start of the server's own.
                let id = self.world.last_offer(&client).unwrap().id;
                let answer = SessionDescription {
                    r#type: "answer".into(),
                    sdp: sdp(&strings(&line["sections"]), &client.ufrag, true),
                    id,
                    ..SessionDescription::default()
                };
                self.world.request(&client, Request::Answer(answer));
            }
            "request" => {
                let mut request = line["request"].clone();
                // The recording names the client's own tracks by their source.
                if let Some(source) = request["mute"]["sid"].as_str() {
                    request["mute"]["sid"] = self.own_track(&client, source).into();
                }
                let request: SignalRequest = serde_json::from_value(request).unwrap();
                self.world.request(&client, request.message.unwrap());
            }
            other => panic!("{other}"),
        }
    }

    fn own_track(&self, client: &Client, wanted: &str) -> String {
        let published = self.world.all(client.connection).iter().rev();
        published
            .filter_map(|m| match m {
                Response::TrackPublished(p) => p.track.as_ref(),
                _ => None,
            })
            .find(|track| source(track.source) == wanted)
            .map(|track| track.sid.clone())
            .unwrap()
    }

    fn summary(&mut self, name: &str, message: &Response) -> Option<Value> {
        let value = match message {
            Response::Join(join) => json!({"join": {
                "others": join.other_participants.len(),
                "subscriberPrimary": join.subscriber_primary,
            }}),
            Response::RefreshToken(_) => json!({"refreshToken": true}),
            Response::Answer(answer) => json!({"answer": {
                "sections": shape(&answer.sdp),
                "bound": sorted_keys(&answer.mid_to_track_id),
                "id": answer.id,
            }}),
            Response::Offer(offer) => json!({"offer": {
                "sections": shape(&offer.sdp),
                "bound": sorted_keys(&offer.mid_to_track_id),
            }}),
            Response::TrackPublished(published) => {
                let track = published.track.as_ref().unwrap();
                self.sources.insert(track.sid.clone(), source(track.source));
                #[expect(deprecated, reason = "clients read it")]
                let simulcast = track.simulcast;
                let layers = track.codecs[0].layers.iter();
                json!({"trackPublished": {
                    "cid": published.cid,
                    "source": source(track.source),
                    "stream": track.stream,
                    "simulcast": simulcast,
                    "layers": layers.map(|l| match l.quality() {
                        VideoQuality::Low => "LOW",
                        VideoQuality::Medium => "MEDIUM",
                        VideoQuality::High | VideoQuality::Off => "HIGH",
                    }).collect::<Vec<_>>(),
                    "mimes": track.codecs.iter().map(|c| &c.mime_type).collect::<Vec<_>>(),
                }})
            }
            Response::Update(update) => {
                let news: Vec<_> = update
                    .participants
                    .iter()
                    .filter_map(|p| self.participant(name, p))
                    .collect();
                if news.is_empty() {
                    return None;
                }
                json!({"update": news})
            }
            Response::SubscriptionPermissionUpdate(p) => json!({"subscriptionPermissionUpdate": {
                "track": self.sources[&p.track_sid],
                "allowed": p.allowed,
            }}),
            Response::MediaSectionsRequirement(r) => {
                json!({"mediaSectionsRequirement": [r.num_audios, r.num_videos]})
            }
            Response::TrackSubscribed(t) => json!({"trackSubscribed": self.sources[&t.track_sid]}),
            Response::Leave(leave) => json!({"leave": leave.reason().as_str_name()}),
            _ => return None,
        };
        Some(value)
    }

    /// A participant as told, if it publishes and is not as it was told before.
    fn participant(&mut self, name: &str, info: &ParticipantInfo) -> Option<Value> {
        let mut tracks: Vec<_> = info
            .tracks
            .iter()
            .map(|t| json!([source(t.source), t.muted, t.mime_type, t.mid]))
            .collect();
        tracks.sort_by_key(ToString::to_string);
        if info.state() == State::Active && tracks.is_empty() {
            return None;
        }
        let value = json!({
            "who": info.identity,
            "state": info.state().as_str_name(),
            "tracks": tracks,
        });
        let known = self
            .last
            .insert((name.to_owned(), info.identity.clone()), value.clone());
        (known.as_ref() != Some(&value)).then_some(value)
    }
}

fn source(value: i32) -> &'static str {
    TrackSource::try_from(value).unwrap().as_str_name()
}

fn replay(text: &str) {
    let mut replay = Replay {
        world: World::new(),
        clients: HashMap::new(),
        sources: HashMap::new(),
        last: HashMap::new(),
        ours: HashMap::new(),
    };
    let mut theirs: HashMap<String, Vec<Value>> = HashMap::new();
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let name = line["conn"].as_str().unwrap().to_owned();
        if line["s2c"].is_null() {
            replay.client_says(&name, &line);
        } else {
            theirs.entry(name).or_default().push(line["s2c"].clone());
        }
    }
    // In the order that publishers come before their subscribers, so that sources are known.
    let mut names: Vec<_> = replay.clients.keys().cloned().collect();
    names.sort();
    for name in &names {
        let client = replay.clients[name].clone();
        for message in replay.world.all(client.connection).to_vec() {
            if let Some(summary) = replay.summary(name, &message) {
                replay.ours.entry(name.clone()).or_default().push(summary);
            }
        }
    }
    for name in &names {
        let text =
            |list: &[Value]| -> Vec<String> { list.iter().map(ToString::to_string).collect() };
        let (mut ours, theirs) = (text(&replay.ours[name]), text(&theirs[name]));
        // With two connections the recorded server sent its first offer and the token in either order.
        let token = json!({"refreshToken": true}).to_string();
        if !theirs.contains(&token) {
            ours.retain(|our| *our != token);
        }
        for (index, (our, their)) in ours.iter().zip(&theirs).enumerate() {
            assert_eq!(our, their, "{name}, message {index}; ours: {ours:#?}");
        }
        assert_eq!(ours.len(), theirs.len(), "{name}");
    }
}

#[test]
fn a_single_connection_session_is_told_as_recorded() {
    replay(include_str!("../data/js-v1-two-av.jsonl"));
}

#[test]
fn a_dual_connection_session_is_told_as_recorded() {
    replay(include_str!("../data/js-v0-two-av.jsonl"));
}
