//! `swarmlb export …`

use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::str::FromStr;

use clap::{Args, Subcommand};

use crate::intent::{ServiceName, Transport};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print a configuration of HAProxy, in TCP mode
    ///
    /// It connects to every node that answers at a published port, and checks each once a second; one
    /// that fails three times gets nothing until it is back. With `--inside`, to every task. Made for HAProxy 2.2
    /// and newer.
    Haproxy(Options),
    /// Print a configuration of nginx, with its module `stream`
    ///
    /// nginx itself makes no checks: a connection that fails at a node goes to another, and a node at
    /// which three fail is left out for two seconds at a time. It carries UDP too. Made for nginx 1.20 and newer; Debian has
    /// the module in the package libnginx-mod-stream.
    Nginx(Options),
    /// Print what Prometheus asks for, or answer it
    ///
    /// Of this node: for each VIP whether the way to it is whole in every sandbox, and for each task
    /// behind it weight, connections and packets as its sandboxes count them. Of the cluster: nodes,
    /// services, tasks, their health and failures, as the nodes report them. Run it on every node and sum
    /// what has the label `node` of a target: each node counts what its own sandboxes send.
    ///
    /// Without `--listen` it is printed once, as for the text file collector of node_exporter, and totals
    /// are what the kernel counts now, which begins anew when tasks change. With it they go on.
    Prometheus {
        /// Answer at http://ADDRESS:PORT/metrics until Ctrl-C, instead of printing it
        ///
        /// Whoever reaches it may read it; nothing can be changed there.
        #[arg(long, value_name = "ADDRESS:PORT")]
        listen: Option<SocketAddr>,
    },
}

#[derive(Debug, Args)]
pub struct Options {
    /// Which services; without one, all that publish ports
    ///
    /// PORT is the one port of several: a published one, or with `--inside` any that the tasks listen
    /// on. LISTEN is where the balancer listens, when it is another port than that.
    #[arg(value_name = "SERVICE[:[LISTEN:]PORT[/PROTOCOL]]")]
    pub services: Vec<Asked>,
    /// For a balancer that runs as a task on the services' networks
    ///
    /// It asks the resolver at 127.0.0.11 again and again who the tasks are (`tasks.SERVICE`), and follows
    /// `service scale`. Without this it is for one outside, which has the nodes' addresses.
    #[arg(long)]
    pub inside: bool,
}

/// `SERVICE[:[LISTEN:]PORT[/PROTOCOL]]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    pub name: ServiceName,
    pub port: Option<AskedPort>,
}

/// `[LISTEN:]PORT[/PROTOCOL]`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AskedPort {
    pub listen: Option<u16>,
    pub port: u16,
    pub transport: Transport,
}

impl FromStr for Asked {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, port) = match text.split_once(':') {
            None => (text, None),
            Some((name, port)) => (name, Some(port.parse()?)),
        };
        let name =
            name.parse().map_err(|error: crate::intent::name::NameError| error.to_string())?;
        Ok(Self { name, port })
    }
}

impl FromStr for AskedPort {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (ports, transport) = match text.split_once('/') {
            Some((ports, transport)) => (ports, transport.parse()?),
            None => (text, Transport::default()),
        };
        let (listen, port) = match ports.split_once(':') {
            Some((listen, port)) => (Some(number(listen)?), number(port)?),
            None => (None, number(ports)?),
        };
        Ok(Self { listen, port, transport })
    }
}

fn number(text: &str) -> Result<u16, String> {
    let number: Result<NonZeroU16, _> = text.parse();
    number
        .map(NonZeroU16::get)
        .map_err(|_| format!("`{}` is not a port: 1 to 65535", text.escape_debug()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_may_be_said_with_its_port_and_where_to_listen() {
        for (text, expected) in [
            ("web", None),
            ("web:80", Some((None, 80, Transport::Tcp))),
            ("web:8080:80", Some((Some(8080), 80, Transport::Tcp))),
            ("web:53/udp", Some((None, 53, Transport::Udp))),
        ] {
            let asked: Asked = text.parse().unwrap();
            assert_eq!(asked.name.as_str(), "web");
            let port = asked.port.map(|port| (port.listen, port.port, port.transport));
            assert_eq!(port, expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_service_or_port_is_refused_with_its_value() {
        for (text, said) in [
            ("web:", "`` is not a port"),
            ("web:0", "`0` is not a port"),
            ("web:80:", "`` is not a port"),
            ("web:1:2:3", "`2:3` is not a port"),
            ("web:80/icmp", "`icmp` is not a protocol"),
            ("we b", "`we b` is not valid"),
            ("web\n:80", "`web\\n` is not valid"),
            ("", "service name is empty"),
        ] {
            let error = text.parse::<Asked>().unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
