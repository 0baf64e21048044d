//! `RemoveParticipant`: the end of a session, and of the tokens that it could begin anew with.

use std::sync::Arc;

use livekit_protocol::{RemoveParticipantResponse, RoomParticipantIdentity};

use super::super::twirp::{Code, TwirpError};
use super::{RoomService, invalid};
use crate::removal::{Asked, Removed};
use crate::room::Room;

impl RoomService<'_> {
    pub(super) async fn remove_participant(
        &self,
        request: RoomParticipantIdentity,
    ) -> Result<RemoveParticipantResponse, TwirpError> {
        self.may_moderate(&request.room)?;
        let limit = self.registry.config.limits.name_bytes;
        if request.identity.is_empty()
            || request.identity.len() > limit
            || request.room.len() > limit
        {
            return Err(invalid("identity and room have 1 to 256 bytes"));
        }
        let now = self.registry.clock.unix_secs();
        let asked = Asked::read(request.revoke_token_ts, now)
            .map_err(|error| TwirpError::new(Code::InvalidArgument, error.to_string()))?;
        let removed = Removed {
            room: self.key(&request.room),
            identity: request.identity.as_str().into(),
        };
        let revoked = match asked {
            Asked::Default => {
                self.token_of(&request).await?;
                self.registry.revoke_issued_until_now(&removed).await
            }
            Asked::Before(at) => self.registry.revoke_issued_before(&removed, at).await,
            Asked::Own => {
                let Some(jti) = self.token_of(&request).await? else {
                    let text = "the participant's token has no jti; withdraw its tokens by time";
                    return Err(TwirpError::new(Code::FailedPrecondition, text));
                };
                self.registry.revoke_token(&removed, jti).await
            }
        };
        let identity = request.identity;
        let call = move |room: &mut Room| room.remove_participant(&identity);
        let there = self.moderate(&request.room, call).await;
        revoked?;
        match (there, asked) {
            // Whoever left by itself is kept out all the same, which is what was asked for.
            (Err(error), Asked::Before(_)) if error.is_not_found() => {}
            (there, _) => there?,
        }
        Ok(RemoveParticipantResponse {})
    }

    /// The claim `jti` of the token that somebody who is there joined with.
    async fn token_of(
        &self,
        request: &RoomParticipantIdentity,
    ) -> Result<Option<Arc<str>>, TwirpError> {
        let identity = request.identity.clone();
        let call = move |room: &mut Room| room.token_of(&identity);
        self.moderate(&request.room, call).await
    }
}
