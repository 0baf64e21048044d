//! The consultation: appointments, who may wait, who is admitted, and what integrators are told.
//!
//! Owns the domain ([`domain`], sans-IO), the store behind one trait ([`store`]), the service that joins both
//! ([`Desk`]), the log that proves what happened ([`ledger`]) and its HTTP ([`http`]). Refuses to know how media flows: the binary gives it [`Seats`], and tells it who
//! came and left. Refuses to log or to put into events whatever names a person.

pub mod domain;
pub mod http;
pub mod ledger;
pub mod login;
mod seats;
mod service;
pub mod store;

pub use seats::{Grants, SeatAnswer, SeatError, SeatToken, Seats};
pub use service::{
    Actor, Authorities, Caller, Changed, Clock, Desk, DeskError, Done, KEEP_ANSWERS_S, Keep,
    KeepBytes, Opened, Partner, PersonInput, Random, Record, Replayed, Standing, Sweep,
    SystemClock, SystemRandom, Terms, Visitor,
};
