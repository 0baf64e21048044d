//! The pages' HTTP: the way through it, and everything that must not go through.

mod cross_site;
mod limits;
mod logins;
mod sockets;
mod support;
mod way;
