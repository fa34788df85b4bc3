//! `swarmlb service …`

use clap::{Args, Subcommand, ValueEnum};

use super::health::Health;
use super::log_options::LogOptions;
use super::restart::Restart;
use super::task::List;
use super::{DryRun, balancing, logs, update};
use crate::intent::service::DRAIN_TIMEOUT;
use crate::intent::{
    Alias, Constraint, DataPlaneChoice, Image, NetworkName, Ports, ServiceName, Span,
};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a service, and wait until its tasks run and every sandbox balances to them
    ///
    /// Prints the service's id. Its name resolves in every sandbox of its network: to its VIP, or
    /// with `--endpoint-mode dnsrr` to all its tasks.
    Create(Box<Create>),
    /// List services
    #[command(visible_alias = "list")]
    Ls,
    /// List the tasks of services
    Ps {
        #[arg(required = true, value_name = "SERVICE")]
        names: Vec<ServiceName>,
        #[command(flatten)]
        list: List,
    },
    /// Show all of one or more services
    Inspect {
        #[arg(required = true, value_name = "SERVICE")]
        names: Vec<ServiceName>,
        /// For people, rather than as JSON
        #[arg(long)]
        pretty: bool,
    },
    /// Show what the tasks of a service wrote, on whatever nodes, in the order of time
    Logs {
        /// A service, or one of its tasks: its name (web.1), or the beginning of its id
        #[arg(value_name = "SERVICE|TASK")]
        name: String,
        #[command(flatten)]
        options: logs::Options,
    },
    /// Change how many tasks services have, and wait until it is so
    ///
    /// A task that is scaled away first leaves rotation: it gets weight 0 and is out of DNS. It ends
    /// when nobody is connected to it any more, or at the service's drain timeout.
    Scale {
        /// Which service shall have how many tasks
        #[arg(required = true, value_name = "SERVICE=REPLICAS")]
        scales: Vec<Scale>,
        /// Do not wait until it is so
        #[arg(short, long)]
        detach: bool,
        #[command(flatten)]
        dry_run: DryRun,
    },
    /// Change a service, and wait until its tasks were replaced
    ///
    /// Tasks are replaced some at a time where something changes that they have for life: image,
    /// words, variables, host name, networks, ports. Anything else holds at once. The store has how far it
    /// is, so that it goes on whoever is killed; another update takes over from one that is going, as in
    /// Docker, and `service update` without options goes on with one that was paused.
    Update(Box<update::Update>),
    /// Make a service what it was before its last change, and wait until it is
    Rollback {
        #[arg(value_name = "SERVICE")]
        name: ServiceName,
        /// Do not wait until it is so
        #[arg(short, long)]
        detach: bool,
        #[command(flatten)]
        dry_run: DryRun,
    },
    /// Remove services with their tasks
    #[command(visible_alias = "remove")]
    Rm {
        #[arg(required = true, value_name = "SERVICE")]
        names: Vec<ServiceName>,
        #[command(flatten)]
        dry_run: DryRun,
    },
}

#[derive(Debug, Args)]
pub struct Create {
    /// Its name [default: chosen]
    #[arg(long, value_name = "NAME")]
    pub name: Option<ServiceName>,
    /// How many tasks, up to 1000 [default: 1]
    #[arg(long, value_name = "N", value_parser = super::number::tasks)]
    pub replicas: Option<u32>,
    /// Whether it has a number of tasks, or one on every node
    ///
    /// A global service follows the nodes: one that comes, is activated or is labelled so that the
    /// constraints are satisfied gets a task, and one that is drained loses it.
    #[arg(long, value_enum, default_value_t)]
    pub mode: Mode,
    /// A condition that a node must satisfy to get its tasks; may be given several times, and then
    /// all must be satisfied
    ///
    /// Write node.name==NAME, node.name!=NAME, node.label.KEY==VALUE or node.label.KEY!=VALUE; Docker's
    /// node.hostname and node.labels.KEY are the same. A node that has no such label has an empty
    /// one. A task that no node satisfies waits for one: `service ps` says why.
    #[arg(long = "constraint", value_name = "EXPRESSION")]
    pub constraints: Vec<Constraint>,
    /// How many of its tasks one node may have; 0 for any number
    #[arg(long, value_name = "N", default_value_t, value_parser = super::number::tasks)]
    pub replicas_max_per_node: u32,
    /// A network that its tasks are on, and other names for the service there; may be given
    /// several times [default: `default`, made on first use]
    ///
    /// Write NETWORK[,alias=NAME]…, or name=NETWORK[,alias=NAME]… as Docker does. An alias resolves
    /// on its network only, to what the service's name resolves to; services may share one, which
    /// then resolves to all of them.
    #[arg(long = "network", value_name = "NETWORK[,alias=NAME]…")]
    pub networks: Vec<OnNetwork>,
    /// A port at which the service is reached from outside, on every node and by its localhost; may
    /// be given several times
    ///
    /// Write TARGET, PUBLISHED:TARGET or IP:PUBLISHED:TARGET, with /PROTOCOL after it if not tcp; or
    /// published=PORT, target=PORT, protocol=PROTOCOL, mode=ingress|host, ip=IP and
    /// source=mesh|client with commas between and no spaces. PUBLISHED is the port of the
    /// nodes, chosen from 30000 to 32767 when left out, TARGET the one that the tasks listen on,
    /// PROTOCOL tcp, udp or sctp. Either may be a range, FIRST-LAST: then each port of PUBLISHED is for
    /// one of TARGET, or all are for the one TARGET. With an IP, only that address of a node answers.
    ///
    /// In mode `ingress` all tasks answer in turn, wherever they run: the routing mesh; they see the
    /// mesh's address as their client's, or with source=client the client's own: by tcp only, and not
    /// for clients at localhost or in a task, who share addresses. One client that comes by two
    /// nodes from the same port of its own cannot have two connections to one task then. In mode
    /// `host` a node's own task answers, on nodes that have one, and sees its client's address. IPv4
    /// only.
    #[arg(short, long = "publish", value_name = "PORT")]
    pub ports: Vec<Ports>,
    /// How clients find the tasks
    #[arg(long, value_enum, default_value_t)]
    pub endpoint_mode: EndpointMode,
    /// A variable for its tasks; may be given several times
    #[arg(short, long = "env", value_name = "NAME=VALUE")]
    pub environment: Vec<Variable>,
    /// A label of the service; may be given several times
    #[arg(short, long = "label", value_name = "KEY=VALUE")]
    pub labels: Vec<Label>,
    /// What `hostname` says in its tasks [default: the machine's; in a container the task's id]
    #[arg(long, value_name = "NAME")]
    pub hostname: Option<crate::intent::NodeName>,
    #[command(flatten)]
    pub resolving: super::resolving::Resolving,
    #[command(flatten)]
    pub log: LogOptions,
    /// How long a task that is scaled away may still serve those who are connected to it, as 10s or
    /// 1m30s; with 0 it goes at once
    #[arg(long, default_value_t = DRAIN_TIMEOUT, value_name = "TIME")]
    pub drain_timeout: Span,
    /// How long clients may keep DNS answers about it, up to 3600; 0 for not at all
    ///
    /// With `--endpoint-mode dnsrr`, and for `tasks.NAME` in either mode, it is how long a client may
    /// go on asking for a task that is gone, and without one that is new. A VIP stays as it is.
    #[arg(long, value_name = "SECONDS", default_value_t = crate::intent::service::DNS_TTL)]
    pub dns_ttl: u32,
    /// How long a task that begins takes to come to its share of new connections [default: 0s]
    ///
    /// Its weight rises in up to 20 steps, from a twentieth on, in the tables of every node; also that of a
    /// task that ended and is there again. What resolves to the tasks' own addresses knows no weights.
    #[arg(long, value_name = "TIME")]
    pub slow_start: Option<Span>,
    #[command(flatten)]
    pub container: super::container::Options,
    #[command(flatten)]
    pub updating: update::Updating,
    /// Do not wait until the service is up
    #[arg(short, long)]
    pub detach: bool,
    /// What balances the VIP: `auto` is ipvs where the kernel has it, nftables elsewhere
    #[arg(
        long,
        env = "SWARMLB_DATA_PLANE",
        default_value = "auto",
        value_name = "auto|ipvs|nftables"
    )]
    pub data_plane: DataPlaneChoice,
    /// What the tasks run: `builtin:whoami` (an HTTP server on port 80 that says who it is),
    /// `builtin:echo` (gives back what it gets, by TCP, UDP, and SCTP where the kernel has it),
    /// `host` (a command of this machine's own files), or a container image
    ///
    /// Of an image, containers are run by an OCI runtime: runc, crun or youki. `rootfs:DIR` is a
    /// directory that is the root file system; the containers do not change it.
    #[arg(default_value = "builtin:whoami")]
    pub image: Image,
    /// The command of `host`, with its arguments; what follows a container's entrypoint, instead of
    /// what its image says; or options of `builtin:echo`: `--port N` (7
    /// unless given), `--greet` (a line with the task's name comes first: once on each connection,
    /// and in each datagram)
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub command: Vec<String>,
    #[command(flatten)]
    pub dry_run: DryRun,
    #[command(flatten)]
    pub health: Health,
    #[command(flatten)]
    pub restart: Restart,
    #[command(flatten)]
    pub balancing: balancing::Options,
}

/// NETWORK[,alias=NAME]…
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnNetwork {
    pub name: NetworkName,
    pub aliases: Vec<Alias>,
}

impl std::str::FromStr for OnNetwork {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let said = |error: crate::intent::name::NameError| error.to_string();
        let mut name: Option<NetworkName> = None;
        let mut aliases = Vec::new();
        for (number, word) in text.split(',').enumerate() {
            match word.split_once('=') {
                None if number == 0 => name = Some(word.parse().map_err(said)?),
                Some(("name", word)) if name.is_none() => {
                    name = Some(word.parse().map_err(said)?);
                }
                Some(("alias", word)) => aliases.push(word.parse().map_err(said)?),
                _ => {
                    let word = word.escape_debug();
                    return Err(format!(
                        "`{word}` is not known: write NETWORK, then `alias=NAME`, with commas \
                         between"
                    ));
                }
            }
        }
        let name = name.ok_or_else(|| format!("`{}` names no network", text.escape_debug()))?;
        Ok(Self { name, aliases })
    }
}

/// NAME=VALUE, or NAME for the value that it has here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    pub name: String,
    pub value: String,
}

impl std::str::FromStr for Variable {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, value.to_owned()),
            None => {
                let here = crate::environment::variable(text);
                (text, here.ok_or_else(|| format!("`{text}` has no value here: say {text}=VALUE"))?)
            }
        };
        if name.is_empty() || text.contains('\0') {
            return Err(format!("`{}` names no variable", text.escape_debug()));
        }
        Ok(Self { name: name.to_owned(), value })
    }
}

/// KEY=VALUE, or KEY alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    pub key: String,
    pub value: String,
}

impl std::str::FromStr for Label {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        if key.is_empty() {
            return Err(format!("`{}` has no key: say KEY=VALUE", text.escape_debug()));
        }
        Ok(Self { key: key.to_owned(), value: value.to_owned() })
    }
}

/// How many tasks a service has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Mode {
    /// As many as `--replicas` says, spread over the nodes
    #[default]
    Replicated,
    /// One on every node that may run it
    Global,
}

/// How clients find the tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum EndpointMode {
    /// One virtual address, balanced by the kernel
    #[default]
    Vip,
    /// All tasks' addresses, rotated by DNS
    Dnsrr,
}

/// SERVICE=REPLICAS
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scale {
    pub name: ServiceName,
    pub replicas: u32,
}

impl std::str::FromStr for Scale {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, replicas) =
            text.split_once('=').ok_or_else(|| format!("`{text}` is not SERVICE=REPLICAS"))?;
        let name =
            name.parse().map_err(|error: crate::intent::name::NameError| error.to_string())?;
        let replicas =
            replicas.parse().map_err(|_| format!("`{replicas}` is not a number of tasks"))?;
        Ok(Self { name, replicas })
    }
}
