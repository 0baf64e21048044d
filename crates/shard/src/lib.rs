//! Demultiplexing, transports, forwarding and timers of one worker, sans-IO.

pub mod control;
pub mod peer;
