//! `swarmlb sandbox …`

use clap::{Subcommand, ValueEnum};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// List sandboxes, with what each belongs to
    #[command(visible_alias = "list")]
    Ls {
        /// Named network namespaces of others too
        #[arg(long)]
        all: bool,
    },
    /// Show what a sandbox holds, with the services and tasks that it belongs to
    Dump {
        /// A sandbox: a task (web.1), a network (its overlay), or any named network namespace
        #[arg(value_name = "SANDBOX")]
        name: String,
        /// Only this part; may be given several times [default: all]
        #[arg(long = "table", value_enum, value_name = "TABLE")]
        tables: Vec<Table>,
    },
    /// Run a command in a sandbox: its network, its resolv.conf, this machine's files
    Exec {
        /// A sandbox: a task (web.1), a network (its overlay), or any named network namespace
        #[arg(value_name = "SANDBOX")]
        name: String,
        /// The command, with its arguments
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
}

/// A part of a sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Table {
    /// Which packets are marked
    Mangle,
    /// Which packets are rewritten
    Nat,
    /// Which packets are refused
    Filter,
    /// Virtual and real servers with their counters
    Ipvs,
    /// Links and addresses
    Links,
    /// Local routes to VIPs
    Routes,
    /// Kernel settings that differ from their default
    Sysctl,
}
