//! Access tokens: JSON Web Tokens (RFC 7519) with HS256 and LiveKit's claims.
//!
//! Owns verifying and minting. Refuses every other algorithm, tokens without expiry, and claims beyond their limits.
//! Errors carry no part of the token, so that they can be shown and logged.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
pub use livekit_protocol::RoomConfiguration;
use livekit_protocol::TrackSource;
use livekit_protocol::participant_info::Kind;
use schalter_model::AuthorityId;
use serde::{Deserialize, Deserializer, Serialize};

use crate::authority::{ApiKey, KeyRing, KeyScopes};

/// How far clocks may differ, in seconds. Enough for machines with NTP, too little to stretch a short token.
pub const CLOCK_LEEWAY_SECS: u64 = 10;

/// Longest time between a token's issue and its expiry, in seconds: 366 days. What bounds it bounds for how long a
/// withdrawn token has to be remembered; links to appointments a year ahead are possible all the same.
pub const MAX_TOKEN_LIFETIME_SECS: u64 = 366 * 24 * 3600;

/// Longest `jti`, in bytes.
pub const MAX_JTI_LEN: usize = 256;

/// Longest identity, participant name and room name, in bytes.
pub const MAX_NAME_LEN: usize = 256;

/// Longest participant metadata, and the most that all attributes take together, in bytes.
pub const MAX_METADATA_LEN: usize = 64_000;

/// Longest token that is looked at, in bytes: metadata and attributes at their limits, in base64, with room to spare.
pub const MAX_TOKEN_LEN: usize = 256 * 1024;

/// The claims of a token, as they stand in it. Fields that a token leaves out are `None`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Claims {
    /// Name of the token itself, unique for its issuer (RFC 7519 §4.1.7). A refreshed token keeps it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jti: Option<String>,
    /// When the token was issued, in seconds since 1970. A refreshed token keeps it; others are issued when they are
    /// minted.
    #[serde(
        deserialize_with = "numeric_date",
        skip_serializing_if = "Option::is_none"
    )]
    pub iat: Option<u64>,
    /// Identity of the participant.
    #[serde(rename = "sub", skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// Display name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Metadata of the participant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<String>,
    /// Attributes of the participant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attributes: Option<BTreeMap<String, String>>,
    /// Kind of participant, lower case, e.g. `standard` or `agent`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Base64 of the SHA-256 of the body that the token goes with (webhooks).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// What the room is created with if the join creates it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub room_config: Option<RoomConfiguration>,
    /// Name of a configured room preset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub room_preset: Option<String>,
    /// What the token allows in rooms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub video: Option<VideoClaims>,
}

/// The claim `video`, as it stands in a token.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VideoClaims {
    /// Name of the room.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub room: Option<String>,
    /// May join [`Self::room`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub room_join: Option<bool>,
    /// May create and delete rooms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub room_create: Option<bool>,
    /// May list rooms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub room_list: Option<bool>,
    /// May moderate [`Self::room`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub room_admin: Option<bool>,
    /// Room that participants of [`Self::room`] may be moved to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination_room: Option<String>,
    /// May record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub room_record: Option<bool>,
    /// May publish tracks; missing means yes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub can_publish: Option<bool>,
    /// May subscribe; missing means yes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub can_subscribe: Option<bool>,
    /// May send data; missing means as [`Self::can_publish`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub can_publish_data: Option<bool>,
    /// The only sources that may be published (`camera`, `microphone`, …); missing or empty means all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub can_publish_sources: Option<Vec<String>>,
    /// May change its own name, metadata and attributes; missing means no.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub can_update_own_metadata: Option<bool>,
    /// Invisible to others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hidden: Option<bool>,
    /// Records the room.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recorder: Option<bool>,
    /// May act as agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<bool>,
    /// May manage ingress.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ingress_admin: Option<bool>,
}

/// The wire form: [`Claims`] and the registered claims of RFC 7519 §4.1 that this module owns.
#[derive(Serialize, Deserialize)]
struct Payload {
    iss: String,
    #[serde(default, deserialize_with = "numeric_date")]
    exp: Option<u64>,
    #[serde(default, deserialize_with = "numeric_date")]
    nbf: Option<u64>,
    #[serde(flatten)]
    claims: Claims,
}

/// The one claim that is read before the signature is checked, to find the key.
#[derive(Deserialize)]
struct Issuer {
    iss: Option<String>,
}

/// Reads a `NumericDate` (RFC 7519 §2): whole seconds, but libraries that write fractions exist.
fn numeric_date<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let number = Option::<serde_json::Number>::deserialize(deserializer)?;
    Ok(number.map(|n| {
        // The cast saturates: dates before 1970 become 0, which is long over.
        n.as_u64()
            .unwrap_or_else(|| n.as_f64().unwrap_or(0.0) as u64)
    }))
}

/// What a verified token allows, defaults filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct Grants {
    /// Name of the key that signed.
    pub key: Arc<str>,
    /// The tenant whose rooms are meant.
    pub authority: AuthorityId,
    /// What the key's tokens may do at most.
    pub scopes: KeyScopes,
    /// When the token was issued, in seconds since 1970: its `iat`, else its `nbf`, else 0.
    pub issued_at: u64,
    /// When the token ends, in seconds since 1970.
    pub expires_at: u64,
    /// Identity; empty where the token names none.
    pub identity: String,
    /// Display name, maybe empty.
    pub name: String,
    /// Metadata, maybe empty.
    pub metadata: String,
    /// Attributes, maybe none.
    pub attributes: BTreeMap<String, String>,
    /// Kind of participant.
    pub kind: Kind,
    /// What the room is created with if the join creates it.
    pub room_config: Option<RoomConfiguration>,
    /// What the token allows in rooms; `None` where the claim `video` is missing.
    pub video: Option<VideoGrants>,
    /// The claims as signed, with [`Self::issued_at`] as `iat`, e.g. to mint a refresh token with.
    pub claims: Claims,
}

/// The claim `video` with its defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VideoGrants {
    /// Name of the room, maybe empty.
    pub room: String,
    /// May join [`Self::room`].
    pub room_join: bool,
    /// May create and delete rooms.
    pub room_create: bool,
    /// May list rooms.
    pub room_list: bool,
    /// May moderate [`Self::room`].
    pub room_admin: bool,
    /// Room that participants of [`Self::room`] may be moved to, maybe empty.
    pub destination_room: String,
    /// May record.
    pub room_record: bool,
    /// May publish tracks.
    pub can_publish: bool,
    /// May subscribe to tracks.
    pub can_subscribe: bool,
    /// May send data.
    pub can_publish_data: bool,
    /// The only sources that may be published; empty means all.
    pub can_publish_sources: Vec<TrackSource>,
    /// May change its own name, metadata and attributes.
    pub can_update_own_metadata: bool,
    /// Invisible to others.
    pub hidden: bool,
    /// Records the room.
    pub recorder: bool,
    /// Acts as agent.
    pub agent: bool,
}

impl VideoGrants {
    /// Whether tracks of `source` may be published.
    pub fn may_publish(&self, source: TrackSource) -> bool {
        self.can_publish
            && (self.can_publish_sources.is_empty() || self.can_publish_sources.contains(&source))
    }

    fn resolve(claims: &VideoClaims) -> Result<Self, TokenError> {
        let room = claims.room.clone().unwrap_or_default();
        if room.len() > MAX_NAME_LEN {
            return Err(TokenError::RoomTooLong);
        }
        let can_publish = claims.can_publish.unwrap_or(true);
        let named = claims.can_publish_sources.as_deref().unwrap_or_default();
        let can_publish_sources: Vec<_> = named.iter().filter_map(|n| source(n)).collect();
        Ok(Self {
            room,
            room_join: claims.room_join.unwrap_or(false),
            room_create: claims.room_create.unwrap_or(false),
            room_list: claims.room_list.unwrap_or(false),
            room_admin: claims.room_admin.unwrap_or(false),
            destination_room: claims.destination_room.clone().unwrap_or_default(),
            room_record: claims.room_record.unwrap_or(false),
            // A restriction to sources that all are unknown must not turn into none at all.
            can_publish: can_publish && (named.is_empty() || !can_publish_sources.is_empty()),
            can_subscribe: claims.can_subscribe.unwrap_or(true),
            can_publish_data: claims.can_publish_data.unwrap_or(can_publish),
            can_publish_sources,
            can_update_own_metadata: claims.can_update_own_metadata.unwrap_or(false),
            hidden: claims.hidden.unwrap_or(false),
            recorder: claims.recorder.unwrap_or(false),
            agent: claims.agent.unwrap_or(false),
        })
    }
}

fn source(name: &str) -> Option<TrackSource> {
    TrackSource::from_str_name(&name.to_ascii_uppercase())
        .filter(|source| *source != TrackSource::Unknown)
}

impl Grants {
    /// What a token must have to join a room, or to publish by WHIP: returns the grants and the room they are for.
    ///
    /// # Errors
    /// The first of [`TokenError::KeyMayNotJoin`], [`TokenError::NoVideoGrant`], [`TokenError::NoRoomJoin`],
    /// [`TokenError::NoRoom`] and [`TokenError::NoIdentity`] that holds.
    pub fn require_join(&self) -> Result<&VideoGrants, TokenError> {
        if !self.scopes.join {
            return Err(TokenError::KeyMayNotJoin);
        }
        let video = self.video.as_ref().ok_or(TokenError::NoVideoGrant)?;
        if !video.room_join {
            return Err(TokenError::NoRoomJoin);
        }
        if video.room.is_empty() {
            return Err(TokenError::NoRoom);
        }
        if self.identity.is_empty() {
            return Err(TokenError::NoIdentity);
        }
        Ok(video)
    }

    /// The claims without what the key never let them grant: another key that signs them must not.
    pub(crate) fn claims_for_joining(&self) -> Claims {
        let mut claims = self.claims.clone();
        if !self.scopes.admin
            && let Some(video) = &mut claims.video
        {
            *video = VideoClaims {
                room_create: None,
                room_list: None,
                room_admin: None,
                destination_room: None,
                room_record: None,
                ingress_admin: None,
                ..std::mem::take(video)
            };
        }
        claims
    }

    /// What a token must have for the server API at all; which methods it reaches is the caller's question.
    ///
    /// # Errors
    /// [`TokenError::KeyMayNotAdmin`] or [`TokenError::NoVideoGrant`].
    pub fn require_admin(&self) -> Result<&VideoGrants, TokenError> {
        if !self.scopes.admin {
            return Err(TokenError::KeyMayNotAdmin);
        }
        self.video.as_ref().ok_or(TokenError::NoVideoGrant)
    }

    fn resolve(
        key: &ApiKey,
        (issued_at, expires_at): (u64, u64),
        claims: Claims,
    ) -> Result<Self, TokenError> {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let grants = Self {
            key: Arc::clone(&key.name),
            authority: key.authority.clone(),
            scopes: key.scopes,
            issued_at,
            expires_at,
            identity: text(&claims.identity),
            name: text(&claims.name),
            metadata: text(&claims.metadata),
            attributes: claims.attributes.clone().unwrap_or_default(),
            kind: Kind::from_str_name(&text(&claims.kind).to_ascii_uppercase())
                .unwrap_or(Kind::Standard),
            room_config: claims.room_config.clone(),
            video: claims
                .video
                .as_ref()
                .map(VideoGrants::resolve)
                .transpose()?,
            claims,
        };
        if grants.identity.len() > MAX_NAME_LEN {
            return Err(TokenError::IdentityTooLong);
        }
        if grants
            .claims
            .jti
            .as_ref()
            .is_some_and(|jti| jti.len() > MAX_JTI_LEN)
        {
            return Err(TokenError::JtiTooLong);
        }
        if grants.name.len() > MAX_NAME_LEN {
            return Err(TokenError::NameTooLong);
        }
        if grants.metadata.len() > MAX_METADATA_LEN {
            return Err(TokenError::MetadataTooLong);
        }
        let attributes: usize = grants
            .attributes
            .iter()
            .map(|(k, v)| k.len() + v.len())
            .sum();
        if attributes > MAX_METADATA_LEN {
            return Err(TokenError::AttributesTooLong);
        }
        Ok(grants)
    }
}

impl KeyRing {
    /// Checks a token's signature, times and limits. `now_unix` is in seconds since 1970.
    ///
    /// # Errors
    /// [`TokenError`]; never one of those that only [`Grants::require_join`] and [`Grants::require_admin`] give, and never
    /// [`TokenError::Revoked`]: what was withdrawn the node knows.
    pub fn verify(&self, token: &str, now_unix: u64) -> Result<Grants, TokenError> {
        if token.is_empty() {
            return Err(TokenError::Missing);
        }
        if token.len() > MAX_TOKEN_LEN {
            return Err(TokenError::TooLong);
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| TokenError::NotAToken)?;
        if header.alg != Algorithm::HS256 {
            return Err(TokenError::Algorithm);
        }
        let issuer: Issuer = jsonwebtoken::dangerous::insecure_decode_claims(token)
            .map_err(|_| TokenError::NotAToken)?;
        let key = issuer
            .iss
            .and_then(|name| self.key(&name))
            .ok_or(TokenError::UnknownKey)?;

        // Times are checked below, against the caller's clock; LiveKit's tokens have no audience.
        let mut validation = Validation::new(Algorithm::HS256);
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_aud = false;
        let secret = DecodingKey::from_secret(key.secret.as_bytes());
        let Payload {
            exp,
            nbf,
            mut claims,
            ..
        } = jsonwebtoken::decode::<Payload>(token, &secret, &validation)
            .map_err(|error| blame(error.kind()))?
            .claims;

        let exp = exp.ok_or(TokenError::NoExpiry)?;
        if now_unix > exp.saturating_add(CLOCK_LEEWAY_SECS) {
            return Err(TokenError::Expired);
        }
        if nbf.is_some_and(|nbf| nbf > now_unix.saturating_add(CLOCK_LEEWAY_SECS)) {
            return Err(TokenError::NotYetValid);
        }
        // A token without any date may be as old as can be: every revocation of its kind is about it.
        let issued_at = claims.iat.or(nbf).unwrap_or(0);
        let lives_from = if issued_at == 0 { now_unix } else { issued_at };
        if exp > lives_from.saturating_add(MAX_TOKEN_LIFETIME_SECS + CLOCK_LEEWAY_SECS) {
            return Err(TokenError::LivesTooLong);
        }
        // What is refreshed from it is as old as it is.
        claims.iat = Some(issued_at);
        Grants::resolve(key, (issued_at, exp), claims)
    }

    /// Signs a token with the key called `key`, valid from `now_unix` (seconds since 1970) for `ttl`. It is issued now
    /// unless the claims say when.
    ///
    /// # Errors
    /// [`TokenError::UnknownKey`] if there is no such key.
    pub fn mint(
        &self,
        key: &str,
        claims: &Claims,
        now_unix: u64,
        ttl: Duration,
    ) -> Result<String, TokenError> {
        let key = self.key(key).ok_or(TokenError::UnknownKey)?;
        let payload = Payload {
            iss: key.name.to_string(),
            exp: Some(now_unix.saturating_add(ttl.as_secs())),
            nbf: Some(now_unix),
            claims: Claims {
                iat: claims.iat.or(Some(now_unix)),
                ..claims.clone()
            },
        };
        let secret = EncodingKey::from_secret(key.secret.as_bytes());
        Ok(
            jsonwebtoken::encode(&Header::new(Algorithm::HS256), &payload, &secret)
                .expect("claims are plain data and HS256 takes any secret"),
        )
    }
}

fn blame(kind: &jsonwebtoken::errors::ErrorKind) -> TokenError {
    if matches!(kind, jsonwebtoken::errors::ErrorKind::InvalidSignature) {
        TokenError::Signature
    } else {
        TokenError::Claims
    }
}

/// Why a token was refused. The texts are made to be shown to clients: they hold nothing of the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum TokenError {
    /// There is none.
    #[error("a token is required")]
    Missing,
    /// Longer than [`MAX_TOKEN_LEN`].
    #[error("token is too long")]
    TooLong,
    /// Not three base64 parts with JSON in them.
    #[error("not a JSON Web Token")]
    NotAToken,
    /// Signed with something else than HS256.
    #[error("token's algorithm is not HS256")]
    Algorithm,
    /// No `iss`, or none of our keys.
    #[error("token's key is not known")]
    UnknownKey,
    /// The signature is wrong.
    #[error("token's signature does not match")]
    Signature,
    /// A claim has the wrong type.
    #[error("a claim of the token has an unexpected form")]
    Claims,
    /// No `exp`.
    #[error("token has no expiry")]
    NoExpiry,
    /// `exp` has passed.
    #[error("token has expired")]
    Expired,
    /// `nbf` lies ahead.
    #[error("token is not valid yet")]
    NotYetValid,
    /// More than [`MAX_TOKEN_LIFETIME_SECS`] from issue to expiry.
    #[error("token is valid for longer than {} days", MAX_TOKEN_LIFETIME_SECS / 86_400)]
    LivesTooLong,
    /// It was withdrawn.
    #[error("token has been revoked")]
    Revoked,
    /// `jti` is longer than [`MAX_JTI_LEN`].
    #[error("jti is longer than {MAX_JTI_LEN} bytes")]
    JtiTooLong,
    /// `sub` is longer than [`MAX_NAME_LEN`].
    #[error("identity is longer than {MAX_NAME_LEN} bytes")]
    IdentityTooLong,
    /// `name` is longer than [`MAX_NAME_LEN`].
    #[error("name is longer than {MAX_NAME_LEN} bytes")]
    NameTooLong,
    /// `video.room` is longer than [`MAX_NAME_LEN`].
    #[error("room name is longer than {MAX_NAME_LEN} bytes")]
    RoomTooLong,
    /// `metadata` is longer than [`MAX_METADATA_LEN`].
    #[error("metadata is longer than {MAX_METADATA_LEN} bytes")]
    MetadataTooLong,
    /// `attributes` are longer than [`MAX_METADATA_LEN`].
    #[error("attributes are longer than {MAX_METADATA_LEN} bytes")]
    AttributesTooLong,
    /// No claim `video`.
    #[error("token grants nothing")]
    NoVideoGrant,
    /// No `roomJoin`.
    #[error("token does not allow to join a room")]
    NoRoomJoin,
    /// No `room`.
    #[error("token names no room")]
    NoRoom,
    /// `sub` is missing or empty.
    #[error("token names no identity")]
    NoIdentity,
    /// The key is not for joining.
    #[error("this API key may not be used to join rooms")]
    KeyMayNotJoin,
    /// The key is not for the server API.
    #[error("this API key may not be used for the server API")]
    KeyMayNotAdmin,
}

impl TokenError {
    /// The HTTP status that says so.
    pub const fn status(self) -> u16 {
        match self {
            Self::Missing
            | Self::TooLong
            | Self::NotAToken
            | Self::Algorithm
            | Self::UnknownKey
            | Self::Signature
            | Self::Claims
            | Self::NoExpiry
            | Self::Expired
            | Self::NotYetValid
            | Self::LivesTooLong
            | Self::Revoked
            | Self::NoVideoGrant
            | Self::NoRoomJoin => 401,
            Self::IdentityTooLong
            | Self::JtiTooLong
            | Self::NameTooLong
            | Self::RoomTooLong
            | Self::MetadataTooLong
            | Self::AttributesTooLong
            | Self::NoRoom
            | Self::NoIdentity => 400,
            Self::KeyMayNotJoin | Self::KeyMayNotAdmin => 403,
        }
    }
}
