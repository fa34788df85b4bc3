//! `swarmlb agent …`

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the agent in the foreground; the keeper does this
    #[command(hide = true)]
    Run,
    /// Show keeper, agent and store of this node; exits 1 when one is missing
    Status,
    /// End keeper, agent and store; tasks and kernel tables stay as they are
    ///
    /// Connections go on being balanced, but nobody answers DNS in the sandboxes or mends anything.
    /// The next command that needs them starts them again.
    Stop,
}
