//! The resolver, the forwarder and the probe over real sockets.

#![allow(clippy::disallowed_methods, reason = "the bans are for the program, not for its tests")]

mod fixture;
mod forwarder;
mod probe;
mod server;
