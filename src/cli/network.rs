//! `swarmlb network …`

use clap::{Args, Subcommand};

use super::DryRun;
use crate::intent::{NetworkName, Subnet, Vni};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make an overlay network
    ///
    /// Without --subnet, the next /24 of 10.0.0.0/8 is taken that neither a route of this machine
    /// nor another network overlaps. Prints the network's id.
    Create(Create),
    /// List networks
    #[command(visible_alias = "list")]
    Ls,
    /// Show all of one or more networks, with services, tasks and addresses left
    Inspect {
        #[arg(required = true, value_name = "NETWORK")]
        names: Vec<NetworkName>,
    },
    /// Remove networks that no service is on
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
    /// Its range, from which VIPs and tasks get their addresses [default: a free one]
    #[arg(long, value_name = "CIDR")]
    pub subnet: Option<Subnet>,
    /// A driver's option: `vni=N` (VXLAN network identifier), `mtu=N` (bytes)
    #[arg(short, long = "opt", value_name = "KEY=VALUE")]
    pub options: Vec<DriverOption>,
    #[command(flatten)]
    pub dry_run: DryRun,
}

/// An option of the overlay driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DriverOption {
    Vni(Vni),
    Mtu(u32),
}

impl std::str::FromStr for DriverOption {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let unknown = || format!("`{text}` is not known: there are `vni=N` and `mtu=N`");
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
