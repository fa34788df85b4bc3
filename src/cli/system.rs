//! `swarmlb system …`

use clap::Subcommand;

use super::DryRun;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show kernel, data planes and programs, and what will not work here and why
    Info,
    /// Remove every service and network, end keeper, agent and store, and delete the state
    Reset {
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
        #[command(flatten)]
        dry_run: DryRun,
    },
}
