//! `ForwardParticipant`: somebody of one room is shown in another.

use livekit_protocol::{ForwardParticipantRequest, ForwardParticipantResponse};
use std::sync::Arc;

use super::super::twirp::TwirpError;
use super::RoomService;
use crate::error::JoinRefusal;
use crate::forwarding::{self, ForwardRefusal};

impl RoomService<'_> {
    /// The destination is made if there is none, and must have a place.
    pub(super) async fn forward_participant(
        &self,
        request: ForwardParticipantRequest,
    ) -> Result<ForwardParticipantResponse, TwirpError> {
        let (identity, room) = (&request.identity, &request.room);
        let destination = self
            .destination(room, identity, &request.destination_room)
            .await?;
        let (registry, source) = (Arc::clone(self.registry), self.room(room)?);
        let identity = request.identity;
        // Whoever asked may hang up, and half a link would stay.
        let forwarding = tokio::spawn(async move {
            forwarding::forward(&registry, source, destination, identity).await
        });
        match forwarding.await {
            Ok(Ok(())) => Ok(ForwardParticipantResponse {}),
            Ok(Err(ForwardRefusal::NoRoom)) => Err(TwirpError::no_room()),
            Ok(Err(ForwardRefusal::Room(refusal))) => Err(refusal.into()),
            Ok(Err(ForwardRefusal::Destination(refusal))) => Err(refusal.into()),
            Err(_) => Err(JoinRefusal::Unavailable.into()),
        }
    }
}
