//! `swarmlb task …`

use std::str::FromStr;

use clap::{Args, Subcommand};
use nix::sys::signal::Signal;

use super::service::Variable;
use super::{DryRun, logs};
use crate::intent::ServiceName;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// List tasks, of all services or of those named
    #[command(visible_alias = "list")]
    Ls {
        #[arg(value_name = "SERVICE")]
        names: Vec<ServiceName>,
        #[command(flatten)]
        list: List,
    },
    /// Show all of one or more tasks
    Inspect {
        /// A task's name (web.1), or the beginning of its id
        #[arg(required = true, value_name = "TASK")]
        names: Vec<String>,
        /// For people, rather than as JSON
        #[arg(long)]
        pretty: bool,
    },
    /// Show what a task wrote
    Logs {
        /// A task's name (web.1), or the beginning of its id
        #[arg(value_name = "TASK")]
        name: String,
        #[command(flatten)]
        options: logs::Options,
    },
    /// Run a command in a running task, as the task sees the world
    ///
    /// It has the task's network, files, resolv.conf, host name and variables. Terminal and standard
    /// input are passed on, so that `swarmlb task exec web.1 sh` is a shell in the task; to a task of
    /// another node input and output are passed on, but no terminal. The exit code is the command's; 126 when it cannot be run, 127 when there is none.
    Exec {
        /// A variable for the command; may be given several times
        #[arg(short, long = "env", value_name = "NAME=VALUE")]
        environment: Vec<Variable>,
        /// The directory to run it in [default: /]
        #[arg(short, long, value_name = "DIR")]
        workdir: Option<std::path::PathBuf>,
        // Whoever is used to Docker types -it; it is so anyhow.
        #[arg(short, long, hide = true)]
        interactive: bool,
        #[arg(short, long, hide = true)]
        tty: bool,
        /// A task's name (web.1), or the beginning of its id
        #[arg(value_name = "TASK")]
        name: String,
        /// The command, with its arguments
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// Give a task another share of new connections, and wait until every node sends so
    ///
    /// A task that is made in its place, as by an update, has weight 1 again. Who resolves the tasks' own
    /// addresses meets them evenly, but for those with weight 0.
    Update {
        /// Its share beside the others', whose weight is 1 unless told otherwise; 0 for nobody new
        ///
        /// Up to 65535. Where nftables balances, turns are taken: 4096 at most until each task
        /// of the service had its share.
        #[arg(long, value_name = "N", value_parser = super::number::number(0..=65535_u32))]
        weight: u32,
        /// Do not wait until it is so
        #[arg(short, long)]
        detach: bool,
        #[command(flatten)]
        dry_run: DryRun,
        /// A task's name (web.1), or the beginning of its id
        #[arg(value_name = "TASK")]
        name: String,
    },
    /// Send a signal to the processes of tasks
    ///
    /// One that ends is started again after a pause: in its slot and sandbox, with its addresses.
    Kill {
        /// Which signal, by name or number
        #[arg(short, long, value_name = "SIGNAL", default_value = "SIGKILL")]
        signal: SignalName,
        /// A task's name (web.1), or the beginning of its id
        #[arg(required = true, value_name = "TASK")]
        names: Vec<String>,
    },
}

/// Options of lists of tasks.
#[derive(Debug, Clone, Args)]
pub struct List {
    /// Only tasks that fit: id=, name= or service= (the beginning), node=, state= or desired-state=
    ///
    /// May be given several times: of one key, one must fit; of several keys, each.
    #[arg(short, long = "filter", value_name = "KEY=VALUE")]
    pub filters: Vec<Filter>,
    /// Do not shorten ids
    #[arg(long)]
    pub no_trunc: bool,
}

/// What a listed task must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    pub key: Key,
    pub value: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    Id,
    Name,
    Service,
    Node,
    State,
    DesiredState,
}

impl FromStr for Filter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (key, value) =
            text.split_once('=').ok_or_else(|| "say KEY=VALUE, as in name=web".to_owned())?;
        let key = match key {
            "id" => Key::Id,
            "name" => Key::Name,
            "service" => Key::Service,
            "node" => Key::Node,
            "state" | "current-state" => Key::State,
            "desired-state" => Key::DesiredState,
            _ => {
                return Err(format!(
                    "there is no `{}` to filter by: there are id, name, service, node, state and desired-state",
                    key.escape_debug()
                ));
            }
        };
        Ok(Self { key, value: value.to_owned() })
    }
}

/// A signal as `kill` takes it: `SIGTERM`, `term` or `15`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignalName(pub Signal);

impl FromStr for SignalName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let unknown = || format!("there is no signal `{}`", text.escape_debug());
        if let Ok(number) = text.parse::<i32>() {
            return Signal::try_from(number).map(Self).map_err(|_| unknown());
        }
        let name = text.to_ascii_uppercase();
        let name = name.strip_prefix("SIG").unwrap_or(&name);
        format!("SIG{name}").parse().map(Self).map_err(|_| unknown())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_has_a_name_or_a_number() {
        for text in ["SIGTERM", "sigterm", "TERM", "term", "15"] {
            assert_eq!(text.parse(), Ok(SignalName(Signal::SIGTERM)), "{text}");
        }
        for bad in ["", "0", "99", "-9", "SIG", "SIGSIGTERM", "STOPP"] {
            assert!(bad.parse::<SignalName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_filter_names_what_it_filters_by() {
        let filter = Filter { key: Key::DesiredState, value: "running".into() };
        assert_eq!("desired-state=running".parse(), Ok(filter));
        assert!("colour=red".parse::<Filter>().unwrap_err().contains("there are id, name"));
        assert!("running".parse::<Filter>().is_err());
    }
}
