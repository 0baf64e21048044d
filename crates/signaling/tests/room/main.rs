//! The room state machine, driven without sockets.

mod data;
mod data_tracks;
mod join;
mod limits;
mod permissions;
mod publish;
mod resume;
mod speakers;
mod subscribe;
mod support;
mod transcripts;
