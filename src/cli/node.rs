//! `swarmlb node …`

use std::net::{Ipv4Addr, SocketAddrV4};
use std::str::FromStr;

use clap::{Args, Subcommand, ValueEnum};

use super::number;
use super::service::Label;
use super::task::List;
use crate::api::{API_PORT, Token, TokenError};
use crate::intent::NodeName;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make this node the first of a cluster, which others can join
    ///
    /// Makes the cluster's own certificate authority, whose key stays on this node, as the store does.
    /// Prints the command that is to be typed on each other node. Services that run go on.
    Init(Init),
    /// Join the cluster of another node
    ///
    /// This node may run nothing as yet. All that the nodes say to each other goes over mutual TLS.
    Join(Join),
    /// Print the command with which other nodes join
    Token {
        /// Make a new token first; the old one is worth nothing then
        #[arg(long)]
        rotate: bool,
    },
    /// Leave the cluster
    ///
    /// The tasks of this node go elsewhere first. What swarmlb made on this machine is taken away, and
    /// the state directory emptied.
    Leave {
        /// Leave at once, and even when the cluster cannot be reached; it places the tasks anew
        #[arg(long)]
        force: bool,
    },
    /// List the nodes of the cluster
    #[command(visible_alias = "list")]
    Ls {
        /// Only nodes that fit: id= or name= (the beginning), label= (KEY or KEY=VALUE)
        ///
        /// May be given several times: of id and of name, one must fit; of labels, each.
        #[arg(short, long = "filter", value_name = "KEY=VALUE")]
        filters: Vec<Filter>,
    },
    /// List the tasks that were placed on nodes; on this one when none is named
    Ps {
        /// `self` is this one
        #[arg(value_name = "NODE")]
        names: Vec<NodeName>,
        #[command(flatten)]
        list: List,
    },
    /// Show all of one or more nodes; `self` is this one
    Inspect {
        /// In words instead of JSON
        #[arg(long)]
        pretty: bool,
        #[arg(required = true, value_name = "NODE")]
        names: Vec<NodeName>,
    },
    /// Have nodes' tasks go elsewhere, and give them no more
    ///
    /// Each task leaves rotation first, and ends when nobody is connected to it any more, or at its
    /// service's drain timeout.
    Drain {
        #[arg(required = true, value_name = "NODE")]
        names: Vec<NodeName>,
    },
    /// Give nodes tasks again
    ///
    /// Those that went elsewhere stay there.
    Activate {
        #[arg(required = true, value_name = "NODE")]
        names: Vec<NodeName>,
    },
    /// Change a node's labels or its availability
    Update(Update),
    /// Take nodes out of the cluster that are gone for good
    ///
    /// Their certificates are worth nothing from then on, and their names can be given to others. A
    /// node that lives had better leave by itself, with `node leave`.
    #[command(visible_alias = "remove")]
    Rm {
        /// Even one that lives
        #[arg(long)]
        force: bool,
        #[arg(required = true, value_name = "NODE")]
        names: Vec<NodeName>,
    },
}

/// What a listed node must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    /// The beginning of its id.
    Id(String),
    /// The beginning of its name.
    Name(String),
    /// It has this label, with this value if one is given.
    Label(String, Option<String>),
}

impl FromStr for Filter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (key, value) =
            text.split_once('=').ok_or_else(|| "say KEY=VALUE, as in name=node-1".to_owned())?;
        let value = value.to_owned();
        match key {
            "id" => Ok(Self::Id(value)),
            "name" => Ok(Self::Name(value)),
            // Docker's engines have labels of their own; here all are the cluster's.
            "label" | "node.label" => Ok(match value.split_once('=') {
                Some((label, value)) => Self::Label(label.to_owned(), Some(value.to_owned())),
                None => Self::Label(value, None),
            }),
            _ => Err(format!(
                "there is no `{}` to filter by: there are id, name and label",
                key.escape_debug()
            )),
        }
    }
}

#[derive(Debug, Args)]
pub struct Changes {
    /// Add a label, or change it; may be given several times
    #[arg(long = "label-add", value_name = "KEY=VALUE")]
    pub label_add: Vec<Label>,
    /// Remove a label; may be given several times
    #[arg(long = "label-rm", value_name = "KEY")]
    pub label_rm: Vec<String>,
    /// Whether it takes tasks
    #[arg(long, value_enum)]
    pub availability: Option<Availability>,
}

#[derive(Debug, Args)]
pub struct Update {
    #[command(flatten)]
    pub changes: Changes,
    #[arg(value_name = "NODE")]
    pub name: NodeName,
}

/// Whether a node takes tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Availability {
    /// It does
    Active,
    /// Its tasks go elsewhere, and it gets no more
    Drain,
}

/// Where a token comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenSource {
    Typed(Token),
    StandardInput,
}

impl FromStr for TokenSource {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        match text {
            "-" => Ok(Self::StandardInput),
            text => text.parse().map(Self::Typed),
        }
    }
}

#[derive(Debug, Args)]
pub struct Listen {
    /// Where other nodes reach this one [default: its one address that is not local]
    #[arg(long, value_name = "ADDRESS")]
    pub advertise_addr: Option<Ipv4Addr>,
    /// The TCP port on which the nodes talk to each other
    #[arg(long, value_name = "PORT", default_value_t = API_PORT)]
    #[arg(value_parser = number::number(1..=u16::MAX))]
    pub port: u16,
}

#[derive(Debug, Args)]
pub struct Init {
    #[command(flatten)]
    pub listen: Listen,
    /// The UDP port of VXLAN on every node [default: 4789]
    ///
    /// Another one lets a Docker Swarm on the same machines keep its own.
    #[arg(long, value_name = "PORT", value_parser = number::number(1024_u16..=u16::MAX))]
    pub data_path_port: Option<u16>,
}

#[derive(Debug, Args)]
pub struct Join {
    /// What `swarmlb node token` prints on the first node; `-` reads it from standard input
    #[arg(long, value_name = "TOKEN", allow_hyphen_values = true)]
    pub token: TokenSource,
    #[command(flatten)]
    pub listen: Listen,
    /// The first node, with its port when that is not 7733
    #[arg(value_name = "ADDRESS[:PORT]", value_parser = remote)]
    pub remote: SocketAddrV4,
}

fn remote(text: &str) -> Result<SocketAddrV4, String> {
    let with_port = text.parse::<SocketAddrV4>();
    with_port
        .or_else(|_| text.parse().map(|address: Ipv4Addr| SocketAddrV4::new(address, API_PORT)))
        .map_err(|_| "it is no IPv4 address, with or without a port".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_of_nodes_names_what_it_filters_by() {
        let label = |value: Option<&str>| Filter::Label("disk".into(), value.map(str::to_owned));
        assert_eq!("label=disk".parse(), Ok(label(None)));
        assert_eq!("node.label=disk=ssd".parse(), Ok(label(Some("ssd"))));
        assert_eq!("name=node".parse(), Ok(Filter::Name("node".into())));
        assert!("role=manager".parse::<Filter>().unwrap_err().contains("there are id, name and"));
        assert!("disk".parse::<Filter>().is_err());
    }
}
