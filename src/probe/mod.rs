//! What diagnosis uses to resolve names and to connect, from inside a sandbox.

pub mod crowd;
pub mod ports;
mod reply;
pub mod resolution;
pub mod resolve;
pub mod stub;
pub mod survey;
