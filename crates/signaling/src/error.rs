//! Why a join is refused before the WebSocket opens. Texts go to clients: nothing of a token, name or address.

use crate::stats::JoinStage;
use crate::token::TokenError;

/// Why a join was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoinRefusal {
    /// The token doesn't allow it.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The page's origin is not on the list.
    #[error("this origin may not connect")]
    Origin,
    /// `/rtc/v1` was asked without `join_request`.
    #[error("join_request is required")]
    JoinRequestMissing,
    /// The `join_request` is too large, not base64, not gzip or no protobuf message.
    #[error("join_request can't be read: {0}")]
    JoinRequest(&'static str),
    /// The query parameter `attributes` can't be read or is too large.
    #[error("cannot decode attributes")]
    Attributes,
    /// The publisher offer can't be used.
    #[error("the publisher offer can't be used")]
    Offer,
    /// There is no such room, and a join doesn't make one. Clients look for these words.
    #[error("requested room does not exist")]
    NoSuchRoom,
    /// It would publish what is not encrypted between the participants, where nothing else is taken.
    #[error("only what is encrypted between the participants is taken in this room")]
    InClear,
    /// The room has as many participants as it may have.
    #[error("room is full")]
    RoomFull,
    /// The authority has as many rooms as it may have.
    #[error("too many rooms")]
    AuthorityRooms,
    /// This node has as many rooms as it may have.
    #[error("server has no room left")]
    ServerFull,
    /// The server is draining: it goes on with the rooms it has and makes no more.
    #[error("server is draining and makes no new room; try another one")]
    Draining,
    /// The server is shutting down, or the room ended while joining.
    #[error("server is not available")]
    Unavailable,
}

impl JoinRefusal {
    /// The HTTP status that says so. Clients take 401 and 403 as final and try again after 5xx.
    pub const fn status(&self) -> u16 {
        match self {
            Self::Token(error) => error.status(),
            Self::Origin | Self::InClear | Self::RoomFull | Self::AuthorityRooms => 403,
            Self::JoinRequestMissing | Self::JoinRequest(_) | Self::Attributes | Self::Offer => 400,
            Self::NoSuchRoom => 404,
            Self::ServerFull | Self::Draining | Self::Unavailable => 503,
        }
    }

    /// Where on the way to a session it happened.
    pub const fn stage(&self) -> JoinStage {
        match self {
            Self::Token(_) => JoinStage::Token,
            Self::Origin
            | Self::JoinRequestMissing
            | Self::JoinRequest(_)
            | Self::Attributes
            | Self::Offer
            | Self::InClear
            | Self::NoSuchRoom => JoinStage::Request,
            Self::RoomFull
            | Self::AuthorityRooms
            | Self::ServerFull
            | Self::Draining
            | Self::Unavailable => JoinStage::Capacity,
        }
    }
}
