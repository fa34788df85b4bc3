//! The resolver, the forwarder and the probe over real sockets.

mod fixture;
mod forwarder;
mod probe;
mod server;
