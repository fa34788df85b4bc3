//! `swarmlb sandbox …`

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use crate::dump;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// List sandboxes, with what each belongs to
    ///
    /// Without an option: this cluster's own, on this node. Kinds are task, network, ingress (this
    /// node's end of the routing mesh), left over (ours, but needed no more), foreign (another
    /// swarmlb's), docker, named (bound to a file by somebody), anonymous (held by processes only) and
    /// host (the machine's own). Nothing is changed, and with --docker or --all no cluster is needed.
    /// Without root, what may be seen is listed.
    #[command(visible_alias = "list")]
    Ls(Which),
    /// Show what a sandbox holds: rules, virtual servers, links, routes, connections
    ///
    /// Works on any network namespace of the machine, Docker's above all. A SANDBOX is, the first that
    /// fits: a path (anything with a /, as /proc/PID/ns/net); `host`, the machine's own namespace; a
    /// name below /run/netns (web.1, a network, what `ip netns` lists); a name in Docker's directory
    /// /var/run/docker/netns (ingress_sbox); a process number; a container's name, or SERVICE.SLOT of
    /// Docker Swarm; the beginning, three characters or more, of a container's id or of a name in
    /// Docker's directory.
    ///
    /// Behind a # stands what a line belongs to: services and tasks of ours, and of Docker's, where
    /// mark, virtual server and addresses tell. Dumping only reads: it loads no module and makes no
    /// table, and a part that cannot be read says why. Where they are needed, nft, iptables-save (both
    /// back ends), ip (for xfrm) and conntrack are started inside the namespace.
    Dump(Dump),
    /// List or save a sandbox's IPVS tables, as ipvsadm does
    ///
    /// With ipvsadm's own options for it, and its output to the letter, of any network namespace of the
    /// machine: no ipvsadm has to be installed, nor entered with. Addresses are always numbers. Nothing
    /// is changed; `sandbox apply` is the way back.
    Ipvs(Ipvs),
    /// Make a sandbox's IPVS tables what a file of ipvsadm's says, by the difference
    ///
    /// The file is what `ipvsadm -Sn` or `sandbox ipvs -S` printed: virtual servers (-A) and real
    /// servers (-a). Those that are there and differ are changed in place, so that connections go on;
    /// nothing is flushed. Virtual servers that the file does not name stay unless --prune is given, and
    /// those that swarmlb keeps in sandboxes of its own stay in any case. When the kernel refuses one
    /// change, those before it are taken back.
    Apply(Apply),
    /// Run a command in a sandbox: its network, its resolv.conf, this machine's files
    ///
    /// Ends with the exit code of the command; 127 when there is no such command, 126 when it cannot be
    /// run. Signals and the terminal are the command's own. SANDBOX may be any network namespace, named
    /// as for `sandbox dump`. In a task of ours and in a Docker container's sandbox, names resolve as
    /// they do there; elsewhere by /etc/netns/SANDBOX/resolv.conf if there is one, else as on the machine.
    Exec {
        /// A sandbox: a task (web.1), a network, or any network namespace, as for `sandbox dump`
        #[arg(value_name = "SANDBOX")]
        name: String,
        /// The command, with its arguments
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
}

/// Whose sandboxes.
#[derive(Debug, Clone, Copy, Args)]
pub struct Which {
    /// Those of Docker, in /var/run/docker/netns
    #[arg(long)]
    pub docker: bool,
    /// Every network namespace of the machine: named ones, Docker's, and what only processes hold
    #[arg(long, conflicts_with = "docker")]
    pub all: bool,
}

#[derive(Debug, Args)]
pub struct Dump {
    /// Sandboxes: a task (web.1), a network, a container, a process number, a path, `host`
    #[arg(value_name = "SANDBOX", required_unless_present_any = ["docker", "all", "from"])]
    #[arg(conflicts_with_all = ["docker", "all"])]
    pub names: Vec<String>,
    #[command(flatten)]
    pub which: Which,
    /// Only this part; may be given several times [default: all]
    #[arg(long = "table", value_enum, value_name = "TABLE")]
    pub tables: Vec<Table>,
    /// As the original tools print it: iptables-save, nft list ruleset, ipvsadm -Sn, ip, bridge
    #[arg(long)]
    pub raw: bool,
    /// Read a dump that --format json printed, instead of this machine
    #[arg(long, value_name = "FILE", conflicts_with_all = ["docker", "all"])]
    pub from: Option<PathBuf>,
}

/// `ipvsadm -L` and `ipvsadm -S`.
#[derive(Debug, Args)]
pub struct Ipvs {
    /// A sandbox: a task (web.1), a network, or any network namespace, as for `sandbox dump`
    #[arg(value_name = "SANDBOX")]
    pub name: String,
    /// List the tables: what is done anyway
    #[arg(short = 'L', short_alias = 'l', long, conflicts_with = "save")]
    pub list: bool,
    /// Print the tables as commands, which `sandbox apply` and `ipvsadm -R` read; thresholds, too
    #[arg(short = 'S', long, conflicts_with_all = ["list", "connection", "timeout", "shown"])]
    pub save: bool,
    /// Addresses and ports as numbers: what is done anyway
    #[arg(short = 'n', long)]
    pub numeric: bool,
    /// The connections instead of the tables
    #[arg(short = 'c', long)]
    #[arg(conflicts_with_all = ["timeout", "stats", "rate", "thresholds", "tun_info"])]
    pub connection: bool,
    /// How long connections are remembered, in seconds, instead of the tables
    #[arg(long, conflicts_with = "shown")]
    pub timeout: bool,
    #[command(flatten)]
    pub shown: Shown,
    /// With --stats and --rate: numbers in full, not shortened by K, M, G and T
    #[arg(long)]
    pub exact: bool,
    /// In the order of addresses: what is done anyway
    #[arg(long, conflicts_with = "nosort")]
    pub sort: bool,
    /// In the order in which the kernel tells them
    #[arg(long)]
    pub nosort: bool,
    #[command(flatten)]
    pub only: Only,
    /// With -f: the virtual server of IPv6
    #[arg(short = '6', long, requires = "fwmark_service")]
    pub ipv6: bool,
}

/// What stands behind each real server.
#[derive(Debug, Args)]
#[group(id = "shown", multiple = false)]
pub struct Shown {
    /// What passed since it was made or zeroed
    #[arg(long)]
    pub stats: bool,
    /// What passes in a second
    #[arg(long)]
    pub rate: bool,
    /// How many connections it may have
    #[arg(long)]
    pub thresholds: bool,
    /// How many clients stay with it; with -c, what a persistence engine knows them by
    #[arg(long)]
    pub persistent_conn: bool,
    /// What its tunnel wraps packets in
    #[arg(long)]
    pub tun_info: bool,
}

/// One virtual server.
#[derive(Debug, Args)]
#[group(id = "only", multiple = false)]
pub struct Only {
    /// Only the virtual server of TCP at this address and port
    #[arg(short = 't', long, value_name = "ADDRESS:PORT")]
    pub tcp_service: Option<String>,
    /// Only the virtual server of UDP at this address and port
    #[arg(short = 'u', long, value_name = "ADDRESS:PORT")]
    pub udp_service: Option<String>,
    /// Only the virtual server of SCTP at this address and port
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub sctp_service: Option<String>,
    /// Only the virtual server of this mark, 268 or 0x10c; with -6, that of IPv6
    #[arg(short = 'f', long, value_name = "MARK")]
    pub fwmark_service: Option<String>,
}

/// A table to be made.
#[derive(Debug, Args)]
pub struct Apply {
    /// What it shall be, as `ipvsadm -Sn` prints it; `-` is standard input
    #[arg(long, value_name = "FILE")]
    pub ipvsadm: PathBuf,
    /// Remove the virtual servers that the file does not name
    #[arg(long)]
    pub prune: bool,
    /// Print what would be done, as commands of ipvsadm, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// A sandbox: a task (web.1), a network, or any network namespace, as for `sandbox dump`
    #[arg(value_name = "SANDBOX")]
    pub name: String,
}

/// A part of a sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Table {
    /// Which packets are marked
    Mangle,
    /// Which packets are rewritten
    Nat,
    /// Which packets are refused; tables raw and security too
    Filter,
    /// Virtual and real servers with their counters
    Ipvs,
    /// Links and addresses
    Links,
    /// Routes of every table, and the rules that choose one
    Routes,
    /// Neighbours: which MAC has an address
    Neigh,
    /// Where bridges and tunnels send frames
    Fdb,
    /// States and policies of IPsec, without keys
    Xfrm,
    /// Kernel settings that matter to balancing
    Sysctl,
    /// Connections of IPVS, and those that netfilter tracks
    Conn,
}

impl From<Table> for dump::Table {
    fn from(table: Table) -> Self {
        match table {
            Table::Mangle => dump::Table::Mangle,
            Table::Nat => dump::Table::Nat,
            Table::Filter => dump::Table::Filter,
            Table::Ipvs => dump::Table::Ipvs,
            Table::Links => dump::Table::Links,
            Table::Routes => dump::Table::Routes,
            Table::Neigh => dump::Table::Neighbours,
            Table::Fdb => dump::Table::Fdb,
            Table::Xfrm => dump::Table::Xfrm,
            Table::Sysctl => dump::Table::Sysctl,
            Table::Conn => dump::Table::Connections,
        }
    }
}
