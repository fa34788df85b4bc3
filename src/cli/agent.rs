//! `swarmlb agent …`

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run keeper, agent and store of this node in the foreground, for a service manager
    ///
    /// Takes over from a keeper that a command started in the background. SIGTERM or Ctrl-C ends all
    /// three; tasks and kernel tables stay as they are, and the next start adopts them. With systemd,
    /// it says when the node is up (Type=notify).
    Run,
    /// Show keeper, agent and store of this node; exits 1 when one is missing
    Status,
    /// End keeper, agent and store; tasks and kernel tables stay as they are
    ///
    /// Connections go on being balanced, but nobody answers DNS in the sandboxes or mends anything.
    /// The next command that needs them starts them again.
    Stop,
}
