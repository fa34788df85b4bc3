//! What an operator types. The doc comments here are the help and the manual.

pub mod agent;
pub mod diag;
pub mod inspect;
pub mod logs;
pub mod network;
pub mod sandbox;
pub mod service;
pub mod system;
pub mod task;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::intent::NodeName;

/// Docker Swarm mode's load balancing as one inspectable binary.
///
/// Make overlay networks and replicated services on plain Linux. Each service has a virtual IP that
/// the kernel's IPVS balances inside every sandbox; names resolve at 127.0.0.11; everything that the
/// kernel holds can be read with the names of what it belongs to; and round-robin DNS is measured
/// against IPVS.
#[derive(Debug, Parser)]
#[command(name = "swarmlb", version, propagate_version = true, arg_required_else_help = true)]
#[command(after_help = "Begin with:\n  swarmlb network create blue\n  swarmlb service create \
--replicas 3 --name web --network blue\n\nExit codes:\n  0  done, or the answer is good\n  1  done, and \
the answer is bad\n  2  the request is wrong; nothing was touched\n  3  this machine cannot\n  4  refused; \
everything was undone\n  5  refused, and something was left behind\n 70  a bug in swarmlb")]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Where the state is kept: one directory is one node
    #[arg(long, global = true, env = "SWARMLB_STATE_DIR", value_name = "DIR")]
    #[arg(default_value = "/var/lib/swarmlb")]
    pub state_dir: PathBuf,
    /// This node's name, at its first start [default: the host name]
    #[arg(long, global = true, env = "SWARMLB_NODE", value_name = "NAME")]
    pub node: Option<NodeName>,
    /// How to print what is asked for
    #[arg(long, global = true, env = "SWARMLB_FORMAT", value_enum, default_value_t)]
    pub format: Format,
    /// Print ids or names only, and no progress
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Look at a recorded node instead of the kernel
    #[arg(long, global = true, hide = true, value_name = "NODE.json")]
    pub kernel: Option<PathBuf>,
    /// Use a recorded intent instead of the store
    #[arg(long, global = true, hide = true, value_name = "INTENT.json")]
    pub intent: Option<PathBuf>,
}

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// For people
    #[default]
    Table,
    /// For programs
    Json,
}

/// Print what would be done instead of doing it.
#[derive(Debug, Clone, Copy, Args)]
pub struct DryRun {
    /// Print the operations on kernel objects as commands, and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Manage networks
    #[command(subcommand)]
    Network(network::Command),
    /// Manage services
    #[command(subcommand)]
    Service(service::Command),
    /// Manage tasks
    #[command(subcommand)]
    Task(task::Command),
    /// Show how something works right now
    #[command(subcommand)]
    Inspect(inspect::Command),
    /// Look into sandboxes, and run commands in them
    #[command(subcommand)]
    Sandbox(sandbox::Command),
    /// Diagnose and measure
    #[command(subcommand)]
    Diag(diag::Command),
    /// Manage this node's keeper and agent
    #[command(subcommand)]
    Agent(agent::Command),
    /// Show what this machine can do, and reset it
    #[command(subcommand)]
    System(system::Command),
    /// Print a shell's completions
    ///
    /// For bash: swarmlb completions bash > /etc/bash_completion.d/swarmlb
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or write all of them
    Man {
        /// Write a page for every command into this directory
        #[arg(long, value_name = "DIR")]
        directory: Option<PathBuf>,
    },
    /// Run as the keeper of a node
    #[command(hide = true)]
    Keeper,
    /// Run as the store of a cluster
    #[command(hide = true)]
    StoreServer,
    /// Run as a built-in image
    #[command(hide = true, subcommand)]
    Builtin(Builtin),
}

#[derive(Debug, Subcommand)]
pub enum Builtin {
    /// An HTTP server that says which task it is
    Whoami {
        /// The port to listen on
        #[arg(long, default_value_t = 80)]
        port: u16,
    },
    /// A server that gives back what it gets
    Echo {
        /// The port to listen on
        #[arg(short, long, default_value_t = 7)]
        port: u16,
        /// Begin with a line of the task's name
        #[arg(long)]
        greet: bool,
    },
}

impl Builtin {
    /// What the keeper types to start one: understood without the whole tree of commands, which would
    /// cost each task a good part of its start.
    pub fn typed_by_keeper(words: &[OsString]) -> Option<Self> {
        let words: Vec<&str> = words.iter().map(|word| word.to_str()).collect::<Option<_>>()?;
        match words[..] {
            ["builtin", "whoami"] => Some(Self::Whoami { port: 80 }),
            ["builtin", "echo", "--port", port] => {
                Some(Self::Echo { port: port.parse().ok()?, greet: false })
            }
            ["builtin", "echo", "--port", port, "--greet"] => {
                Some(Self::Echo { port: port.parse().ok()?, greet: true })
            }
            _ => None,
        }
    }
}
