//! The methods of `livekit.RoomService`: who may call each, and which room is meant. What they do is the room's.
//!
//! A token reaches rooms of its key's authority only: a name means nothing without one. Options that would have no
//! effect are refused, so that nobody relies on them.

mod forward;
mod removal;

use std::sync::Arc;

use axum::response::Response;
use livekit_protocol::{
    CreateRoomRequest, DeleteRoomRequest, DeleteRoomResponse, ListParticipantsRequest,
    ListParticipantsResponse, ListRoomsRequest, ListRoomsResponse, MoveParticipantRequest,
    MoveParticipantResponse, MuteRoomTrackRequest, MuteRoomTrackResponse, ParticipantInfo,
    RoomConfiguration, RoomParticipantIdentity, SendDataRequest, SendDataResponse,
    UpdateParticipantRequest, UpdateRoomMetadataRequest, UpdateSubscriptionsRequest,
    UpdateSubscriptionsResponse,
};

use super::http::JOIN_ATTEMPTS;
use super::twirp::{Code, Exchange, TwirpError};
use crate::error::JoinRefusal;
use crate::registry::Registry;
use crate::room::{Room, RoomKey, ServiceRefusal};
use crate::room_task::RoomHandle;
use crate::token::{Grants, VideoGrants};

/// What may be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    CreateRoom,
    ListRooms,
    DeleteRoom,
    ListParticipants,
    GetParticipant,
    RemoveParticipant,
    MutePublishedTrack,
    UpdateParticipant,
    UpdateSubscriptions,
    SendData,
    UpdateRoomMetadata,
    MoveParticipant,
    ForwardParticipant,
    PerformRpc,
}

impl Method {
    const ALL: [Self; 14] = [
        Self::CreateRoom,
        Self::ListRooms,
        Self::DeleteRoom,
        Self::ListParticipants,
        Self::GetParticipant,
        Self::RemoveParticipant,
        Self::MutePublishedTrack,
        Self::UpdateParticipant,
        Self::UpdateSubscriptions,
        Self::SendData,
        Self::UpdateRoomMetadata,
        Self::MoveParticipant,
        Self::ForwardParticipant,
        Self::PerformRpc,
    ];

    /// Its name in the definition.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::CreateRoom => "CreateRoom",
            Self::ListRooms => "ListRooms",
            Self::DeleteRoom => "DeleteRoom",
            Self::ListParticipants => "ListParticipants",
            Self::GetParticipant => "GetParticipant",
            Self::RemoveParticipant => "RemoveParticipant",
            Self::MutePublishedTrack => "MutePublishedTrack",
            Self::UpdateParticipant => "UpdateParticipant",
            Self::UpdateSubscriptions => "UpdateSubscriptions",
            Self::SendData => "SendData",
            Self::UpdateRoomMetadata => "UpdateRoomMetadata",
            Self::MoveParticipant => "MoveParticipant",
            Self::ForwardParticipant => "ForwardParticipant",
            Self::PerformRpc => "PerformRpc",
        }
    }

    /// The method that the last part of a path names.
    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.name() == name)
    }
}

/// The service as one token may use it.
pub(super) struct RoomService<'a> {
    registry: &'a Arc<Registry>,
    grants: &'a Grants,
    video: &'a VideoGrants,
}

fn denied(text: &'static str) -> TwirpError {
    // A 401 even though the token is known: what LiveKit's server answers, and its clients look for.
    TwirpError::new(Code::Unauthenticated, text)
}

fn invalid(text: &'static str) -> TwirpError {
    TwirpError::new(Code::InvalidArgument, text)
}

fn unimplemented(text: &'static str) -> TwirpError {
    TwirpError::new(Code::Unimplemented, text)
}

impl<'a> RoomService<'a> {
    /// Refuses tokens that can't be for any method.
    pub(super) fn new(registry: &'a Arc<Registry>, grants: &'a Grants) -> Result<Self, TwirpError> {
        Ok(Self {
            registry,
            grants,
            video: grants.require_admin()?,
        })
    }

    /// Carries out a call.
    pub(super) async fn serve(
        &self,
        method: Method,
        call: Exchange,
    ) -> Result<Response, TwirpError> {
        match method {
            Method::CreateRoom => call.with(|request| self.create_room(request)).await,
            Method::ListRooms => call.with(|request| self.list_rooms(request)).await,
            Method::DeleteRoom => call.with(|request| self.delete_room(request)).await,
            Method::ListParticipants => call.with(|request| self.list_participants(request)).await,
            Method::GetParticipant => call.with(|request| self.participant(request)).await,
            Method::RemoveParticipant => {
                call.with(|request| self.remove_participant(request)).await
            }
            Method::MutePublishedTrack => call.with(|request| self.mute_track(request)).await,
            Method::UpdateParticipant => {
                call.with(|request| self.update_participant(request)).await
            }
            Method::UpdateSubscriptions => {
                call.with(|request| self.update_subscriptions(request))
                    .await
            }
            Method::SendData => call.with(|request| self.send_data(request)).await,
            Method::UpdateRoomMetadata => call.with(|request| self.update_metadata(request)).await,
            Method::MoveParticipant => call.with(|request| self.move_participant(request)).await,
            Method::ForwardParticipant => {
                call.with(|request| self.forward_participant(request)).await
            }
            Method::PerformRpc => Err(unimplemented(
                "the server can't call a participant; participants call each other",
            )),
        }
    }

    fn may_moderate(&self, room: &str) -> Result<(), TwirpError> {
        if !self.video.room_admin {
            return Err(denied("the token does not grant roomAdmin"));
        }
        if room.is_empty() {
            return Err(invalid("room is missing"));
        }
        if self.video.room != room {
            return Err(denied("the token grants roomAdmin for another room"));
        }
        Ok(())
    }

    fn key(&self, room: &str) -> RoomKey {
        RoomKey {
            authority: self.grants.authority.clone(),
            name: room.into(),
        }
    }

    fn room(&self, room: &str) -> Result<RoomHandle, TwirpError> {
        let found = self.registry.room(&self.key(room));
        found.ok_or_else(TwirpError::no_room)
    }

    /// Has a room that the token may moderate do something.
    async fn moderate<T: Send + 'static>(
        &self,
        room: &str,
        call: impl FnOnce(&mut Room) -> Result<T, ServiceRefusal> + Send + 'static,
    ) -> Result<T, TwirpError> {
        self.may_moderate(room)?;
        let answer = self.room(room)?.ask(call).await;
        Ok(answer.ok_or_else(TwirpError::no_room)??)
    }

    fn check_room_name(&self, name: &str) -> Result<(), TwirpError> {
        if name.is_empty() {
            return Err(invalid("name is missing"));
        }
        if name.len() > self.registry.config.limits.name_bytes {
            return Err(invalid("name is too long"));
        }
        Ok(())
    }

    /// A room that is there already is answered as it is: its options are those that it was made with.
    async fn create_room(
        &self,
        request: CreateRoomRequest,
    ) -> Result<livekit_protocol::Room, TwirpError> {
        if !self.video.room_create {
            return Err(denied("the token does not grant roomCreate"));
        }
        self.check_room_name(&request.name)?;
        if let Some(text) = without_effect(&request) {
            return Err(unimplemented(text));
        }
        if request.metadata.len() > self.registry.config.limits.metadata_bytes {
            return Err(invalid("metadata is too long"));
        }
        let options = RoomConfiguration {
            empty_timeout: request.empty_timeout,
            departure_timeout: request.departure_timeout,
            max_participants: request.max_participants,
            metadata: request.metadata,
            ..RoomConfiguration::default()
        };
        let key = self.key(&request.name);
        for _ in 0..JOIN_ATTEMPTS {
            let room = self.registry.room_or_new(&key, Some(options.clone()))?;
            // One that ends just now is made anew.
            if let Some(info) = room.ask(|room| room.room_info()).await {
                return Ok(info);
            }
        }
        Err(JoinRefusal::Unavailable.into())
    }

    /// All rooms of the token's authority, or those named, the oldest first.
    async fn list_rooms(&self, request: ListRoomsRequest) -> Result<ListRoomsResponse, TwirpError> {
        if !self.video.room_list {
            return Err(denied("the token does not grant roomList"));
        }
        let handles: Vec<_> = if request.names.is_empty() {
            self.registry.rooms_of(&self.grants.authority)
        } else {
            let mut names = request.names;
            names.sort_unstable();
            names.dedup();
            let named = names.iter();
            named
                .filter_map(|name| self.registry.room(&self.key(name)))
                .collect()
        };
        let asked = handles.iter().map(|room| room.ask(|room| room.room_info()));
        let mut rooms: Vec<_> = futures_util::future::join_all(asked)
            .await
            .into_iter()
            .flatten()
            .collect();
        rooms.sort_by(|a, b| {
            let by_age = a.creation_time_ms.cmp(&b.creation_time_ms);
            by_age.then_with(|| a.name.cmp(&b.name))
        });
        Ok(ListRoomsResponse { rooms })
    }

    async fn delete_room(
        &self,
        request: DeleteRoomRequest,
    ) -> Result<DeleteRoomResponse, TwirpError> {
        if !self.video.room_create {
            return Err(denied("the token does not grant roomCreate"));
        }
        if request.room.is_empty() {
            return Err(invalid("room is missing"));
        }
        self.room(&request.room)?.end().await;
        Ok(DeleteRoomResponse {})
    }

    async fn list_participants(
        &self,
        request: ListParticipantsRequest,
    ) -> Result<ListParticipantsResponse, TwirpError> {
        let call = |room: &mut Room| Ok(room.participant_infos());
        let participants = self.moderate(&request.room, call).await?;
        Ok(ListParticipantsResponse { participants })
    }

    async fn participant(
        &self,
        request: RoomParticipantIdentity,
    ) -> Result<ParticipantInfo, TwirpError> {
        let identity = request.identity;
        self.moderate(&request.room, move |room| room.participant_info(&identity))
            .await
    }

    async fn mute_track(
        &self,
        request: MuteRoomTrackRequest,
    ) -> Result<MuteRoomTrackResponse, TwirpError> {
        let room = request.room.clone();
        let call = move |room: &mut Room| {
            room.mute_published_track(&request.identity, &request.track_sid, request.muted)
        };
        let track = Some(self.moderate(&room, call).await?);
        Ok(MuteRoomTrackResponse { track })
    }

    async fn update_participant(
        &self,
        request: UpdateParticipantRequest,
    ) -> Result<ParticipantInfo, TwirpError> {
        let room = request.room.clone();
        self.moderate(&room, move |room| room.update_participant(&request))
            .await
    }

    async fn update_subscriptions(
        &self,
        request: UpdateSubscriptionsRequest,
    ) -> Result<UpdateSubscriptionsResponse, TwirpError> {
        let room = request.room.clone();
        let call = move |room: &mut Room| room.update_subscriptions(&request);
        self.moderate(&room, call).await?;
        Ok(UpdateSubscriptionsResponse {})
    }

    async fn send_data(&self, request: SendDataRequest) -> Result<SendDataResponse, TwirpError> {
        let room = request.room.clone();
        let call = move |room: &mut Room| room.send_server_data(request);
        self.moderate(&room, call).await?;
        Ok(SendDataResponse {})
    }

    async fn update_metadata(
        &self,
        request: UpdateRoomMetadataRequest,
    ) -> Result<livekit_protocol::Room, TwirpError> {
        let metadata = request.metadata;
        self.moderate(&request.room, move |room| room.set_metadata(metadata))
            .await
    }

    /// The room that a participant may be taken to; it is made if there is none, and has a place.
    async fn destination(
        &self,
        room: &str,
        identity: &str,
        destination_room: &str,
    ) -> Result<RoomHandle, TwirpError> {
        self.may_moderate(room)?;
        if destination_room.is_empty() {
            return Err(invalid("destination_room is missing"));
        }
        if self.video.destination_room != destination_room {
            return Err(denied("the token does not grant this destinationRoom"));
        }
        if destination_room == room {
            return Err(invalid("the participant is in this room already"));
        }
        self.check_room_name(destination_room)?;
        let identity: Arc<str> = identity.into();
        let named = Arc::clone(&identity);
        let there = move |room: &mut Room| room.participant_info(&named).map(|_| ());
        self.moderate(room, there).await?;
        let key = self.key(destination_room);
        let destination = if self.registry.config.makes_rooms(&key.authority) {
            self.registry.room_or_new(&key, None)?
        } else {
            self.room(destination_room)?
        };
        let place = move |room: &mut Room| {
            let taken = room.participant_info(&identity).is_ok();
            (taken, room.admits(&identity))
        };
        match destination.ask(place).await {
            Some((true, _)) => {
                let text = "the destination has a participant with this identity";
                Err(TwirpError::new(Code::AlreadyExists, text))
            }
            Some((false, false)) => Err(JoinRefusal::RoomFull.into()),
            Some((false, true)) => Ok(destination),
            None => Err(JoinRefusal::Unavailable.into()),
        }
    }

    async fn move_participant(
        &self,
        request: MoveParticipantRequest,
    ) -> Result<MoveParticipantResponse, TwirpError> {
        let MoveParticipantRequest {
            room,
            identity,
            destination_room,
        } = request;
        self.destination(&room, &identity, &destination_room)
            .await?;
        let call = move |room: &mut Room| room.send_to_room(&identity, &destination_room);
        self.moderate(&room, call).await?;
        Ok(MoveParticipantResponse {})
    }
}

/// What a room was asked to have and would not get.
fn without_effect(request: &CreateRoomRequest) -> Option<&'static str> {
    let CreateRoomRequest {
        name: _,
        empty_timeout: _,
        departure_timeout: _,
        max_participants: _,
        metadata: _,
        room_preset,
        node_id,
        tags,
        egress,
        min_playout_delay,
        max_playout_delay,
        // Tracks of one participant are always in sync.
        sync_streams: _,
        replay_enabled,
        agents,
    } = request;
    if !room_preset.is_empty() {
        Some("there are no room presets here")
    } else if !node_id.is_empty() {
        Some("node_id can't be chosen")
    } else if !tags.is_empty() {
        Some("rooms have no tags here; use metadata")
    } else if egress.is_some() {
        Some("egress is no part of this server")
    } else if *min_playout_delay != 0 || *max_playout_delay != 0 {
        Some("playout delay is not supported")
    } else if *replay_enabled {
        Some("replay is not supported")
    } else if !agents.is_empty() {
        Some("agents are no part of this server")
    } else {
        None
    }
}
