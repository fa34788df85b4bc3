//! `swarmlb diag …`

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Ask a sandbox's resolver for a name, and compare with what it should answer
    ///
    /// Exits 1 when they differ.
    Dns {
        /// The name: a service, tasks.SERVICE, a task, any of these with .NETWORK, or any other
        #[arg(value_name = "SERVICE|TASK|NAME")]
        name: String,
        /// The sandbox to ask in [default: every task's sandbox]
        #[arg(long, value_name = "SANDBOX")]
        from: Option<String>,
    },
    /// Measure round-robin DNS against the VIP
    ///
    /// Sends the same number of requests both ways from inside one sandbox, each with a resolution
    /// and a connection of its own, and counts who answers. The service must run builtin:whoami,
    /// whose replies name the task; the kernel's own counters are compared with them.
    #[command(name = "compare-dns-ipvs")]
    Compare(Compare),
}

#[derive(Debug, Args)]
pub struct Compare {
    /// The service to ask
    #[arg(value_name = "SERVICE")]
    pub service: crate::intent::ServiceName,
    /// Requests each way, 1 to 25000: each needs a client port of its own
    #[arg(long, default_value_t = 300, value_name = "N")]
    #[arg(value_parser = super::number::number(1..=25_000u32))]
    pub requests: u32,
    /// Requests at a time, 1 to 256
    #[arg(long, default_value_t = 1, value_name = "N")]
    #[arg(value_parser = super::number::number(1..=256u32))]
    pub concurrency: u32,
    /// The sandbox to ask from [default: another service's task on the same network, else the
    /// service's own first task]
    #[arg(long, value_name = "SANDBOX")]
    pub from: Option<String>,
}
