//! Name resolution for sandboxes: what a task's `127.0.0.11` answers.
//!
//! `answer` decides from a zone and bytes alone, `server` carries bytes on sockets it is given
//! (`datagrams` by the batch), and `forwarder` asks the machine's own name servers what the zone does not know. Nothing here opens a
//! socket inside a sandbox, decides what a zone holds, or caches an answer.

pub mod answer;
mod connection;
mod datagrams;
pub mod forwarder;
pub mod name;
mod reply;
pub mod request;
pub mod server;
mod upstream;
