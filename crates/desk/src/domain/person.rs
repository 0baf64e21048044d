//! Somebody in an appointment: role, needs, link, and the browser that has the seat.

use serde::{Deserialize, Serialize};

use super::ids::{Digest, PersonId};
use super::text::{LanguageTag, MessageText, Name};
use super::time::Timestamp;

/// What somebody is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Of the authority; needs no admission.
    Official,
    /// Whom the appointment is for.
    Citizen,
    /// Interprets for the one they are linked to.
    Interpreter,
    /// Came with the one they are linked to.
    Companion,
    /// Writes captions; publishes no picture.
    Captioner,
    /// Watches and listens.
    Observer,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 6] = [
        Self::Official,
        Self::Citizen,
        Self::Interpreter,
        Self::Companion,
        Self::Captioner,
        Self::Observer,
    ];

    /// The word in JSON.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Official => "official",
            Self::Citizen => "citizen",
            Self::Interpreter => "interpreter",
            Self::Companion => "companion",
            Self::Captioner => "captioner",
            Self::Observer => "observer",
        }
    }

    /// Whether it belongs to somebody else, and is admitted with them.
    pub const fn is_linked(self) -> bool {
        matches!(self, Self::Interpreter | Self::Companion)
    }

    /// Whether it may send sound and pictures.
    pub const fn publishes(self) -> bool {
        !matches!(self, Self::Captioner | Self::Observer)
    }
}

/// What somebody needs to take part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Needs {
    /// Signs.
    pub signing: bool,
    /// Real-time text.
    pub live_text: bool,
    /// An interpreter comes, or is asked for.
    pub interpreter: bool,
    /// A companion comes.
    pub companion: bool,
}

/// How media reached the server in the test on the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    /// Directly.
    Udp,
    /// By ICE-TCP or TURN over TCP.
    Tcp,
    /// By TURN over TLS.
    Tls,
    /// Not at all.
    None,
}

/// What the check of devices found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Devices {
    /// Whether a camera worked.
    pub camera: bool,
    /// Whether a microphone worked.
    pub microphone: bool,
    /// The path.
    pub network: Network,
    /// Whether the browser can encrypt between browsers. Where it can't and the office requires it, nothing else was tried.
    #[serde(default = "yes")]
    pub encryption: bool,
}

/// What nobody said otherwise of: checks of before it was told.
const fn yes() -> bool {
    true
}

/// What an official told somebody who waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// The words.
    pub text: MessageText,
    /// When.
    pub at: Timestamp,
}

/// What a link is good for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkState {
    /// Nobody opened it.
    Unused,
    /// A browser has the seat; others ask for admission.
    Bound,
    /// For nobody any more.
    Revoked,
}

impl LinkState {
    /// The word in JSON.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Unused => "unused",
            Self::Bound => "bound",
            Self::Revoked => "revoked",
        }
    }
}

/// A join link, without the token itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Of the token.
    pub digest: Digest,
    /// What it is good for.
    pub state: LinkState,
    /// Opens one browser only, and no other ever.
    pub one_time: bool,
    /// Opens none from then on.
    pub expires_at: Option<Timestamp>,
}

/// Where somebody is on their way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// No browser opened the link.
    Invited,
    /// The link is open; notice, devices and needs come now.
    Opened,
    /// In the waiting room.
    Waiting {
        /// Since when.
        since: Timestamp,
    },
    /// Back in the waiting room.
    Held {
        /// Since when.
        since: Timestamp,
    },
    /// May take the seat.
    Admitted,
    /// Has media in the room.
    InCall,
    /// Was in the room, and may return.
    Left,
    /// Was told no.
    Denied,
    /// The appointment is over, for this person at least.
    Ended,
}

impl Stage {
    /// The word in JSON.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Invited => "invited",
            Self::Opened => "opened",
            Self::Waiting { .. } => "waiting",
            Self::Held { .. } => "held",
            Self::Admitted => "admitted",
            Self::InCall => "in_call",
            Self::Left => "left",
            Self::Denied => "denied",
            Self::Ended => "ended",
        }
    }

    /// Since when somebody waits, first or again.
    pub const fn waiting_since(self) -> Option<Timestamp> {
        match self {
            Self::Waiting { since } | Self::Held { since } => Some(since),
            Self::Invited
            | Self::Opened
            | Self::Admitted
            | Self::InCall
            | Self::Left
            | Self::Denied
            | Self::Ended => None,
        }
    }

    /// Whether the seat may be taken.
    pub const fn may_sit(self) -> bool {
        matches!(self, Self::Admitted | Self::InCall | Self::Left)
    }

    /// Whether others in the call see this person.
    pub const fn is_present(self) -> bool {
        matches!(self, Self::Admitted | Self::InCall)
    }
}

/// One browser of a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Of the secret in its cookie.
    pub digest: Digest,
    /// 1 for the first browser that opened the link; another one whenever the room must not take tokens given out before.
    pub number: u32,
    /// Where it is on its way.
    pub stage: Stage,
}

/// Why a browser's session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bye {
    /// The person goes on in another browser.
    Moved,
    /// Link or person were removed.
    Revoked,
    /// The appointment ended or was cancelled.
    Ended,
}

impl Bye {
    /// The word in JSON.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Moved => "moved",
            Self::Revoked => "revoked",
            Self::Ended => "ended",
        }
    }
}

/// A browser whose session ended, kept so that it can be told why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gone {
    /// Of the secret in its cookie.
    pub digest: Digest,
    /// Why.
    pub why: Bye,
}

/// That somebody took note of, or consented to, the authority's notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agreed {
    /// Of the text that was shown.
    pub notice: Digest,
    /// When.
    pub at: Timestamp,
}

/// Somebody in an appointment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    /// Also the identity in the room.
    pub id: PersonId,
    /// What they are there for.
    pub role: Role,
    /// As others see it.
    pub name: Name,
    /// What they need.
    pub needs: Needs,
    /// In which the office writes to them, and the page speaks at first; the authority's first one where there is none.
    #[serde(default)]
    pub language: Option<LanguageTag>,
    /// Whom an interpreter or companion belongs to.
    pub linked_to: Option<PersonId>,
    /// The official who took a seat from the day list and has no link.
    pub official: Option<String>,
    /// None for an official who came from the day list.
    pub link: Option<Link>,
    /// The browser that has the seat.
    pub seat: Option<Session>,
    /// Another browser that showed the link and waits to be admitted instead.
    pub other: Option<Session>,
    /// Browsers whose session ended.
    pub gone: Vec<Gone>,
    /// Browsers that ever opened the link.
    pub sessions: u32,
    /// The last number that one of their sessions got.
    pub numbers: u32,
    /// Whether and to what they agreed.
    pub agreed: Option<Agreed>,
    /// What the check of devices found.
    pub devices: Option<Devices>,
    /// The last message.
    pub message: Option<Message>,
    /// Whether they ever waited or had the seat.
    pub came: bool,
}

impl Person {
    /// Where the browser with the seat is.
    pub fn stage(&self) -> Stage {
        self.seat.as_ref().map_or(Stage::Invited, |seat| seat.stage)
    }

    /// Where the person is for whoever admits: another browser that waits comes first, because somebody has to decide.
    pub fn lobby_stage(&self) -> Stage {
        match &self.other {
            Some(other) if other.stage.waiting_since().is_some() => other.stage,
            Some(_) | None => self.stage(),
        }
    }

    /// What the link is good for; revoked where there never was one.
    pub fn link_state(&self) -> LinkState {
        self.link
            .as_ref()
            .map_or(LinkState::Revoked, |link| link.state)
    }

    /// The identity in the room of a browser's session: the first has the person's id alone.
    pub fn identity(&self, number: u32) -> String {
        if number <= 1 {
            self.id.to_string()
        } else {
            format!("{}.{number}", self.id)
        }
    }

    /// The session that a cookie's digest belongs to.
    pub fn session(&self, digest: &Digest) -> Option<&Session> {
        [&self.seat, &self.other]
            .into_iter()
            .flatten()
            .find(|session| session.digest == *digest)
    }

    /// Why the browser with this digest has no session any more.
    pub fn farewell(&self, digest: &Digest) -> Option<Bye> {
        self.gone
            .iter()
            .rev()
            .find(|gone| gone.digest == *digest)
            .map(|gone| gone.why)
    }
}
