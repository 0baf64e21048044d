//! Why the domain says no. Each reason has a stable code, which is the end of its problem type.

use super::limits::MAX_PEOPLE;
use super::time::Timestamp;

/// Why something may not be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such appointment in this authority.
    #[error("there is no such appointment")]
    NoAppointment,
    /// There is no such person in the appointment.
    #[error("there is no such person in this appointment")]
    NoPerson,
    /// No link has this token.
    #[error("this link is not known")]
    LinkUnknown,
    /// The link was withdrawn, or was good for one browser and a short time.
    #[error("this link is no longer valid")]
    LinkRevoked,
    /// The doors are not open yet.
    #[error("the appointment does not open before {opens_at}")]
    TooEarly {
        /// When they open.
        opens_at: Timestamp,
    },
    /// The doors have closed.
    #[error("the appointment is over")]
    TooLate,
    /// The appointment was cancelled.
    #[error("the appointment was cancelled")]
    Cancelled,
    /// The appointment has ended.
    #[error("the appointment has ended")]
    Ended,
    /// It goes on, or is over: its plan is not to be changed any more.
    #[error("only an appointment that has not begun can be changed so")]
    NotScheduled,
    /// Somebody has come by the link, or it leads to the page of officials or of others.
    #[error(
        "role and linked_to can be changed while nobody opened the link, and nobody becomes an official or ceases to be one: remove the person and add another"
    )]
    RoleFixed,
    /// It is not over yet: there is no record of it to give out.
    #[error("the record is complete once the appointment is over")]
    NotOver,
    /// The cookie belongs to no session that lasts.
    #[error("there is no session")]
    NoSession,
    /// More browsers than any person loses.
    #[error("this link was opened in too many browsers: ask for a new one")]
    TooManyDevices,
    /// The notice was not agreed to.
    #[error("the notice has to be read first")]
    NoticeFirst,
    /// The notice reads otherwise by now.
    #[error("the notice has changed: show it again")]
    NoticeChanged,
    /// The person may not take the seat.
    #[error("not admitted")]
    NotAdmitted,
    /// The person was told no.
    #[error("admission was denied")]
    Denied,
    /// The person does not wait, so that there is nothing to decide.
    #[error("this person is not waiting")]
    NotWaiting,
    /// The person has no seat to be held from.
    #[error("this person is not in the call")]
    NotInCall,
    /// Too many people.
    #[error("an appointment takes at most {MAX_PEOPLE} people")]
    TooManyPeople,
    /// An appointment without a person who is not an official.
    #[error("an appointment needs at least one citizen")]
    NoCitizen,
    /// An interpreter or companion is linked to nobody, or somebody else is linked.
    #[error(
        "linked_to: an interpreter or companion belongs to one citizen or official of the same appointment; nobody else is linked"
    )]
    WrongPartner,
    /// The window makes no sense.
    #[error(
        "an appointment lasts from 1 minute to 12 hours, starts at most two years ahead, and does not end in the past"
    )]
    WrongWindow,
    /// No language of the authority.
    #[error("language: none of this authority's")]
    WrongLanguage,
    /// No outcome of the authority.
    #[error("the outcome is none of this authority's")]
    WrongOutcome,
    /// The version that the client saw is not the last.
    #[error("it has changed since: look again, then decide")]
    Stale,
}

impl Refusal {
    /// The stable code.
    pub const fn code(self) -> &'static str {
        match self {
            Self::NoAppointment => "no-appointment",
            Self::NoPerson => "no-person",
            Self::LinkUnknown => "link-unknown",
            Self::LinkRevoked => "link-revoked",
            Self::TooEarly { .. } => "too-early",
            Self::TooLate => "too-late",
            Self::Cancelled => "cancelled",
            Self::Ended => "ended",
            Self::NotScheduled => "not-scheduled",
            Self::RoleFixed => "role-fixed",
            Self::NotOver => "not-over",
            Self::NoSession => "no-session",
            Self::TooManyDevices => "too-many-devices",
            Self::NoticeFirst => "notice-first",
            Self::NoticeChanged => "notice-changed",
            Self::NotAdmitted => "not-admitted",
            Self::Denied => "denied",
            Self::NotWaiting => "not-waiting",
            Self::NotInCall => "not-in-call",
            Self::TooManyPeople => "too-many-people",
            Self::NoCitizen => "no-citizen",
            Self::WrongPartner => "wrong-partner",
            Self::WrongWindow => "wrong-window",
            Self::WrongLanguage => "wrong-language",
            Self::WrongOutcome => "wrong-outcome",
            Self::Stale => "stale",
        }
    }

    /// The HTTP status that says so.
    pub const fn status(self) -> u16 {
        match self {
            Self::NoSession => 401,
            Self::NoAppointment | Self::NoPerson | Self::LinkUnknown => 404,
            Self::LinkRevoked | Self::TooLate | Self::Cancelled | Self::Ended => 410,
            Self::TooEarly { .. }
            | Self::NotScheduled
            | Self::RoleFixed
            | Self::NotOver
            | Self::TooManyDevices
            | Self::NoticeFirst
            | Self::NoticeChanged
            | Self::NotAdmitted
            | Self::Denied
            | Self::NotWaiting
            | Self::NotInCall => 409,
            Self::Stale => 412,
            Self::TooManyPeople
            | Self::NoCitizen
            | Self::WrongPartner
            | Self::WrongWindow
            | Self::WrongLanguage
            | Self::WrongOutcome => 422,
        }
    }
}
