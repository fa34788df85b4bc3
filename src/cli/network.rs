//! `swarmlb network …`

use std::net::Ipv4Addr;

use clap::{Args, Subcommand};

use super::DryRun;
use super::service::Label;
use crate::intent::{Alias, NetworkName, Subnet, Vni};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make an overlay network
    ///
    /// Without --subnet, the next /24 of 10.0.0.0/8 is taken that neither a route of this machine
    /// nor another network overlaps. Prints the network's id.
    Create(Create),
    /// List networks
    #[command(visible_alias = "list")]
    Ls {
        /// Only those that fit: `name=PART`, `id=PART`, `driver=overlay`, `label=KEY` or
        /// `label=KEY=VALUE`; may be given several times
        #[arg(short, long = "filter", value_name = "KEY=VALUE")]
        filters: Vec<Filter>,
    },
    /// Show all of one or more networks, with services, tasks and addresses left
    Inspect {
        #[arg(required = true, value_name = "NETWORK")]
        names: Vec<NetworkName>,
    },
    /// Remove all networks that nothing is on, and print their names
    Prune {
        /// Do not ask
        #[arg(short, long)]
        force: bool,
        #[command(flatten)]
        dry_run: DryRun,
    },
    /// Join a namespace that swarmlb did not make to an attachable network
    ///
    /// It gets a link with an address, every VIP of the network (balanced by nftables), and a
    /// resolver at 127.0.0.11. Its own resolv.conf is not changed: name 127.0.0.11 there to have the
    /// network's names resolved; a Docker container has Docker's resolver at that address and keeps
    /// it. `sandbox ls` lists it, `inspect vip` and `diag` look into it. All of it is taken back by
    /// `network disconnect`; nothing else in the namespace is touched.
    Connect(Connect),
    /// Take back all that `network connect` made in a namespace
    Disconnect {
        #[arg(value_name = "NETWORK")]
        name: NetworkName,
        /// What was said to `network connect`
        #[arg(value_name = "NAMESPACE|PATH|PID")]
        target: String,
        #[command(flatten)]
        dry_run: DryRun,
    },
    /// Give the nodes of an encrypted network new keys, and lose no packet
    ///
    /// First every node comes to receive under the new keys, then all send under them, then the old
    /// ones go. Keys are for pairs of nodes: other encrypted networks between the same nodes get them
    /// too. The same happens by itself to keys that are twelve hours old.
    RotateKeys {
        #[arg(value_name = "NETWORK")]
        name: NetworkName,
        #[command(flatten)]
        dry_run: DryRun,
    },
    /// Remove networks that nothing is on
    #[command(visible_alias = "remove")]
    Rm {
        #[arg(required = true, value_name = "NETWORK")]
        names: Vec<NetworkName>,
        #[command(flatten)]
        dry_run: DryRun,
    },
}

#[derive(Debug, Args)]
pub struct Create {
    /// Its name
    #[arg(value_name = "NETWORK")]
    pub name: NetworkName,
    /// What kind of network; there is one kind
    #[arg(short, long, default_value = "overlay", value_parser = ["overlay"])]
    pub driver: String,
    /// A range from which VIPs and tasks get their addresses; may be given several times, and
    /// the first with room is taken from [default: a free one]
    #[arg(long = "subnet", value_name = "CIDR")]
    pub subnets: Vec<Subnet>,
    /// The address of a subnet's bridge, which no task gets; may be given once for each subnet
    /// [default: a subnet's first]
    #[arg(long = "gateway", value_name = "ADDRESS")]
    pub gateways: Vec<Ipv4Addr>,
    /// Its tasks reach each other and nothing outside, by packet or by DNS
    #[arg(long)]
    pub internal: bool,
    /// Let namespaces that swarmlb did not make be joined to it, with `network connect`
    #[arg(long)]
    pub attachable: bool,
    /// A label of the network; may be given several times
    #[arg(long = "label", value_name = "KEY=VALUE")]
    pub labels: Vec<Label>,
    /// A driver's option: `encrypted` (between nodes, by ESP), `vni=N` (VXLAN network identifier),
    /// `mtu=N` (bytes; otherwise what the narrowest of the nodes' links leaves)
    #[arg(short, long = "opt", value_name = "KEY=VALUE")]
    pub options: Vec<DriverOption>,
    #[command(flatten)]
    pub dry_run: DryRun,
}

#[derive(Debug, Args)]
pub struct Connect {
    #[arg(value_name = "NETWORK")]
    pub name: NetworkName,
    /// A name below /run/netns, the path of a namespace's file, or a process's number
    #[arg(value_name = "NAMESPACE|PATH|PID")]
    pub target: String,
    /// Its address on the network [default: the next free one]
    #[arg(long, value_name = "ADDRESS")]
    pub ip: Option<Ipv4Addr>,
    /// Another name for it on the network, beside that of the namespace; may be given several times
    #[arg(long = "alias", value_name = "NAME")]
    pub aliases: Vec<Alias>,
    #[command(flatten)]
    pub dry_run: DryRun,
}

/// An option of the overlay driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DriverOption {
    Encrypted,
    Vni(Vni),
    Mtu(u32),
}

impl std::str::FromStr for DriverOption {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let unknown =
            || format!("`{text}` is not known: there are `encrypted`, `vni=N` and `mtu=N`");
        if ["encrypted", "encrypted=", "encrypted=true"].contains(&text) {
            return Ok(Self::Encrypted);
        }
        let (key, value) = text.split_once('=').ok_or_else(unknown)?;
        match key {
            "vni" => Ok(Self::Vni(value.parse()?)),
            "mtu" => {
                Ok(Self::Mtu(value.parse().map_err(|_| format!("`{value}` is not a number"))?))
            }
            _ => Err(unknown()),
        }
    }
}

/// What a network must have to be listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    Name(String),
    Id(String),
    Driver(String),
    Label(String, Option<String>),
}

impl std::str::FromStr for Filter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let unknown = || {
            let text = text.escape_debug();
            format!("`{text}` is not known: there are `name=`, `id=`, `driver=` and `label=`")
        };
        let (key, value) = text.split_once('=').ok_or_else(unknown)?;
        let owned = value.to_owned();
        match key {
            "name" => Ok(Self::Name(owned)),
            "id" => Ok(Self::Id(owned)),
            "driver" => Ok(Self::Driver(owned)),
            "label" => Ok(match value.split_once('=') {
                Some((key, value)) => Self::Label(key.to_owned(), Some(value.to_owned())),
                None => Self::Label(owned, None),
            }),
            _ => Err(unknown()),
        }
    }
}
