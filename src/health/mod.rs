//! Looking whether tasks serve, each inside its own sandbox.
//!
//! One thread makes all checks (`rounds`) and never waits for a single one: what goes over the network
//! is a socket among others (`exchange`), and a command is a process of our own (`supervisor`) that ends
//! whatever the command left, also when the agent is killed meanwhile.

pub mod chart;
mod command;
mod contained;
pub mod conversation;
pub mod effective;
mod exchange;
pub mod rounds;
pub mod supervisor;

/// Most that is kept of what a check says, in bytes; as in Docker.
pub const MOST_OUTPUT: usize = 4096;

/// The outcome of one check: what it said, and whether the task passed.
pub type Outcome = Result<String, String>;

/// Text of bytes that may be anything, cut to what is kept.
fn text(bytes: &[u8]) -> String {
    let kept = bytes.get(..MOST_OUTPUT).unwrap_or(bytes);
    String::from_utf8_lossy(kept).into_owned()
}
