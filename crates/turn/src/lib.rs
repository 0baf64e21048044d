//! A TURN server whose relays end inside the process, sans-IO (RFC 8656, without its TCP extension RFC 6062).
//!
//! Owns allocations, permissions and channels of one shard, and the credentials they are made with. A relayed transport
//! address is a made-up port on an advertised address: no socket is ever opened for it, and it reaches nothing but the
//! exact (address, port) pairs that [`TurnConfig::targets`] lists, the shard's own media sockets. So there is no open
//! relay to be had, however wrong anything else is. Refuses sockets, clocks and randomness of its own: datagrams, time and
//! seeds come in as calls.
//!
//! What a client sends through a relay is handed back by [`Turn::on_datagram`] as a range of the datagram; what is to
//! go to it is wrapped in place by a [`Wrap`]. Neither allocates.

mod allocation;
mod allocations;
mod answer;
mod channel_data;
mod config;
mod credentials;
mod grant;
mod nonce;
mod ports;
mod request;
mod server;
mod wrap;

pub use answer::{MAX_ANSWER_LEN, challenge};
pub use channel_data::{CHANNEL_HEAD, is_channel_data};
pub use config::{TurnConfig, TurnLimits};
pub use credentials::{InvalidUserName, Password, REALM, Secret, UserName, user_of};
pub use server::{Received, Turn, is_turn};
pub use wrap::{MAX_OVERHEAD, Wrap};
