//! Appointments and everything that may happen to them; sans-IO: time and random bytes come in as values.
//!
//! An [`Appointment`] is changed as a whole: each method checks, changes it, and answers with the [`Fact`]s that
//! integrators may hear. Nothing here names a person but [`Person::name`], [`Appointment::subject`] and messages.

mod appointment;
mod authority;
mod call;
mod citizen;
mod error;
mod event;
mod ids;
mod limits;
mod official;
mod person;
mod schedule;
mod text;
mod time;

pub use appointment::{Appointment, Moved, State, When};
pub use authority::{Authority, EndToEnd, Help, Links, Notice, NoticeKind, OfficialId, Retention};
pub use call::Call;
pub use citizen::OpenedSession;
pub use error::Refusal;
pub use event::{Event, EventKind, Fact};
pub use ids::{AppointmentId, Digest, InvalidId, LinkToken, PersonId, Secret};
pub use limits::*;
pub use official::Dismissal;
pub use person::{
    Agreed, Bye, Devices, Gone, Link, LinkState, Message, Needs, Network, Person, Role, Session,
    Stage,
};
pub use schedule::{NewAppointment, NewPerson, Patch, PersonPatch};
pub use text::{
    ExternalRef, InvalidText, LanguageTag, Line, MessageText, Name, OutcomeCode, Subject, Words,
};
pub use time::{Day, InvalidTime, TimeZone, Timestamp};
