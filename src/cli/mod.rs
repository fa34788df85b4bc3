//! What an operator types. The doc comments here are the help and the manual.

pub mod agent;
pub mod balancing;
pub mod complaint;
pub mod container;
pub mod diag;
pub mod events;
pub mod export;
pub mod health;
pub mod image;
pub mod inspect;
pub mod lab;
pub mod log_options;
pub mod logs;
pub mod manual;
pub mod network;
pub mod node;
pub mod number;
pub mod resolving;
pub mod restart;
pub mod sandbox;
pub mod service;
pub mod settings;
pub mod system;
pub mod task;
pub mod update;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::BoolishValueParser;
use clap::{ArgAction, Args, CommandFactory, Parser, Subcommand, ValueEnum};

use crate::intent::NodeName;
use crate::render::template::Template;
use crate::store::location::Address;
use settings::Setting;

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
    /// The node to look at; at a node's first start, its name [default: this one; the host name]
    ///
    /// What looks at a node or at its tasks can be asked of any node of the cluster. Where the state is
    /// that of a lab, every command goes to this node of it, or else to the first.
    #[arg(long, global = true, env = "SWARMLB_NODE", value_name = "NAME")]
    pub node: Option<NodeName>,
    #[command(flatten)]
    pub store: StoreOptions,
    /// Print what is asked for as a `table`, as `json`, or by a template
    ///
    /// A template is text with fields, `'{{.Name}} {{.ID}}'` as Docker's or `'{{ name }} {{ id }}'`,
    /// for each row. The fields are those of `json`, which the manual page of each command lists;
    /// their case does not count. `\t` and `\n` are a tab and a new line, and
    /// `'table {{.Name}}\t{{.ID}}'` prints columns with a heading.
    #[arg(long, global = true, env = "SWARMLB_FORMAT", value_name = "table|json|TEMPLATE")]
    #[arg(default_value = "table", value_parser = format)]
    pub format: Format,
    /// Colour what is wrong: `auto` does where a terminal shows it and NO_COLOR is not set
    #[arg(long, global = true, env = "SWARMLB_COLOR", value_enum, default_value_t)]
    #[arg(value_name = "WHEN")]
    pub color: Color,
    /// Print ids or names only, and no progress
    #[arg(short, long, global = true, env = "SWARMLB_QUIET", value_parser = BoolishValueParser::new())]
    pub quiet: bool,
    /// Say on stderr what is done; twice, every operation on kernel objects too
    #[arg(short, long, global = true, env = "SWARMLB_VERBOSE", action = ArgAction::Count)]
    pub verbose: u8,
    /// With --dry-run, print the keys of encrypted networks, which else stand as shell variables
    #[arg(long, global = true)]
    pub show_keys: bool,
    /// Read settings from this file [default: /etc/swarmlb/config.toml, if it is there]
    ///
    /// It is TOML; every option that has an environment variable may stand in it by its long name,
    /// as in `data-plane = "nftables"`. Flags go before the environment, and that before the file.
    #[arg(long, global = true, env = "SWARMLB_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// What follows from all of it together.
    #[arg(skip)]
    pub typed: Typed,
    /// Look at a recorded node instead of the kernel
    #[arg(long, global = true, hide = true, value_name = "NODE.json")]
    pub kernel: Option<PathBuf>,
    /// Use a recorded intent instead of the store
    #[arg(long, global = true, hide = true, value_name = "INTENT.json")]
    pub intent: Option<PathBuf>,
}

/// Where the cluster's state is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct StoreOptions {
    /// Where the cluster's state is: embedded, or in an etcd [default: sqlite]
    ///
    /// `sqlite` is a file in the state directory. `etcd://HOST:PORT,HOST:PORT` are the members of an
    /// etcd (3.4 or newer), whose every client is a node of one cluster; `/PREFIX` at the end keeps
    /// clusters that share an etcd apart (`/swarmlb` when left out). What a node was first started
    /// with holds for every later command on its state directory.
    #[arg(
        long,
        global = true,
        env = "SWARMLB_STORE",
        value_name = "sqlite|etcd://HOST:PORT[,...]"
    )]
    pub store: Option<Address>,
    /// The authority that etcd's certificates are of: a file in PEM. The connections are over TLS then
    #[arg(long, global = true, env = "SWARMLB_STORE_CACERT", value_name = "FILE")]
    pub store_cacert: Option<PathBuf>,
    /// The certificate to show to etcd: a file in PEM
    #[arg(long, global = true, env = "SWARMLB_STORE_CERT", value_name = "FILE")]
    pub store_cert: Option<PathBuf>,
    /// The key of that certificate: a file in PEM
    #[arg(long, global = true, env = "SWARMLB_STORE_KEY", value_name = "FILE")]
    pub store_key: Option<PathBuf>,
}

/// What was typed, beyond the options' values.
#[derive(Debug, Clone, Default)]
pub struct Typed {
    /// The command: `service ls`.
    pub command: String,
    /// How to print rows. The command itself then has the format of programs.
    pub template: Option<Template>,
    /// Every option that can be set, and who set it.
    pub settings: Vec<Setting>,
}

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// For people
    #[default]
    Table,
    /// For programs, and for templates
    Json,
}

/// A template is rendered from what programs get: here it only must be one.
fn format(text: &str) -> Result<Format, String> {
    match text {
        "table" => Ok(Format::Table),
        "json" => Ok(Format::Json),
        text if Template::is_meant(text) => {
            Template::parse(text).map(|_| Format::Json).map_err(|error| error.to_string())
        }
        other => {
            let other = other.escape_debug();
            Err(format!("`{other}` is not table, json or a template such as '{{{{.Name}}}}'"))
        }
    }
}

/// When to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Color {
    #[default]
    Auto,
    Always,
    Never,
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
    /// Manage this node's container images
    #[command(subcommand)]
    Image(image::Command),
    /// Show how something works right now
    #[command(subcommand)]
    Inspect(inspect::Command),
    /// Look into sandboxes, and run commands in them
    #[command(subcommand)]
    Sandbox(sandbox::Command),
    /// Diagnose and measure
    #[command(subcommand)]
    Diag(diag::Command),
    /// Print what other programs read: balancers' configurations, Prometheus's metrics
    #[command(subcommand)]
    Export(export::Command),
    /// Tell what happens to nodes, networks, services and tasks, from now on
    ///
    /// A line for each event: time, type, action, name, and more in parentheses; with `--format json` an
    /// object for each. Nodes are created, removed, up, down, updated, drained, activated, lead, and refuse or
    /// settle when a kernel did not take a change; networks and services are created and removed, services
    /// scaled and updated, with each update_state, and wait for places; tasks are created, start, die, drain, are
    /// recalled, weighed and removed, with each health_status. What this node's agent says in its log, as when
    /// it mended something, is of type agent; `--node` gives another one's.
    ///
    /// What happens twice within a few milliseconds may be told as one, and what happened before is not kept.
    Events(events::Events),
    /// Manage the nodes of the cluster
    #[command(subcommand)]
    Node(node::Command),
    /// Manage a cluster of several nodes on this one machine
    #[command(subcommand)]
    Lab(lab::Command),
    /// Manage this node's keeper and agent
    #[command(subcommand)]
    Agent(agent::Command),
    /// Show what this machine can do, and reset it
    #[command(subcommand)]
    System(system::Command),
    /// Print a shell's completions
    ///
    /// They ask swarmlb itself, so that names of services, networks, tasks and sandboxes complete too.
    Completions {
        /// Which shell
        shell: Shell,
    },
    /// Say how the last of some words could go on
    #[command(hide = true)]
    Complete {
        /// The words up to the cursor
        #[arg(last = true)]
        words: Vec<OsString>,
    },
    /// Print the manual page, or write all of them
    Man {
        /// Write a page for every command into this directory
        #[arg(long, value_name = "DIR")]
        directory: Option<PathBuf>,
    },
    /// Say what listens in this node's own namespace, as JSON: for other nodes
    #[command(hide = true)]
    Listeners,
    /// Run as the keeper of a node
    #[command(hide = true)]
    Keeper {
        /// Stay in the caller's session and control group, and take over from a keeper that runs
        #[arg(long)]
        foreground: bool,
        /// Tell this socket when the node is up (sd_notify(3))
        #[arg(long, value_name = "SOCKET")]
        notify: Option<OsString>,
    },
    /// Run as the agent of a node
    #[command(hide = true)]
    AgentProcess,
    /// Run as the store of a cluster, or as the way to it
    #[command(hide = true)]
    StoreServer,
    /// Run as what a node's others talk to
    #[command(hide = true)]
    ApiServer,
    /// Run as what makes the namespaces of a lab's node
    #[command(hide = true)]
    LabNode,
    /// Run as the first process of a lab's node
    #[command(hide = true)]
    LabInit,
    /// Run as a built-in image
    #[command(hide = true, subcommand)]
    Builtin(Builtin),
}

/// A shell that can be completed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// The whole command line: what is derived from the types, and each command's examples.
pub fn command() -> clap::Command {
    manual::with_examples(Cli::command())
}

#[derive(Debug, Subcommand)]
pub enum Builtin {
    /// An HTTP server that says which task it is
    Whoami {
        /// The port to listen on
        #[arg(long, default_value_t = 80, value_parser = number::number(0..=u16::MAX))]
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
    /// What runs one health check's command
    Check,
}

impl Builtin {
    /// What keeper and agent type to start one: understood without the whole tree of commands, which would
    /// cost each task a good part of its start.
    pub fn typed_by_keeper(words: &[OsString]) -> Option<Self> {
        let words: Vec<&str> = words.iter().map(|word| word.to_str()).collect::<Option<_>>()?;
        match words[..] {
            ["builtin", "whoami"] => Some(Self::Whoami { port: 80 }),
            ["builtin", "check"] => Some(Self::Check),
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
