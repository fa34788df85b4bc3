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
