//! Published ports: what is asked for in either of Docker's forms, and the choice of what is left open.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{EndpointMode, Intent, IntentError, NodeName, ServiceName};

mod spec;

pub use spec::Ports;

/// The ports that are chosen from when none is asked for, as Docker's.
pub const CHOSEN: std::ops::RangeInclusive<u16> = 30000..=32767;

/// A transport protocol that has ports.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    #[default]
    Tcp,
    Udp,
    Sctp,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Transport::Tcp => "tcp",
            Transport::Udp => "udp",
            Transport::Sctp => "sctp",
        })
    }
}

impl FromStr for Transport {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "tcp" => Ok(Self::Tcp),
            "udp" => Ok(Self::Udp),
            "sctp" => Ok(Self::Sctp),
            _ => Err(format!("`{}` is not a protocol: tcp, udp or sctp", text.escape_debug())),
        }
    }
}

/// Who answers at a published port.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum PublishMode {
    /// All tasks in turn, on every node: the routing mesh.
    #[default]
    Ingress,
    /// The node's own task, on nodes that have one.
    Host,
}

impl fmt::Display for PublishMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            PublishMode::Ingress => "ingress",
            PublishMode::Host => "host",
        })
    }
}

impl FromStr for PublishMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "ingress" => Ok(Self::Ingress),
            "host" => Ok(Self::Host),
            _ => Err(format!("`{}` is not a mode: ingress or host", text.escape_debug())),
        }
    }
}

/// Whose address a task in the mesh sees as its client's.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// That of the ingress sandbox by which the client came.
    #[default]
    Mesh,
    /// The client's own.
    Client,
}

impl Source {
    /// Whether it is what a port has that says nothing of it.
    pub fn is_default(&self) -> bool {
        *self == Source::default()
    }
}

impl FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "mesh" => Ok(Self::Mesh),
            "client" => Ok(Self::Client),
            _ => Err(format!("`{}` is not a source: mesh or client", text.escape_debug())),
        }
    }
}

/// What was asked for: `[[IP:]PUBLISHED:]TARGET[/PROTOCOL]`, or
/// `[published=N,]target=N[,protocol=P][,mode=M][,ip=IP][,source=S]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortSpec {
    /// Chosen when none.
    pub published: Option<u16>,
    pub target: u16,
    pub transport: Transport,
    pub mode: PublishMode,
    /// The one address of nodes at which it is answered; all when none.
    pub address: Option<Ipv4Addr>,
    /// Only a port of the mesh by TCP has another than the default.
    pub source: Source,
}

/// A published port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PublishedPort {
    pub published: u16,
    pub target: u16,
    #[serde(rename = "protocol")]
    pub transport: Transport,
    pub mode: PublishMode,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<Ipv4Addr>,
    #[serde(default, skip_serializing_if = "Source::is_default")]
    pub source: Source,
}

impl fmt::Display for PublishedPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.address.map_or_else(|| "*".to_owned(), |address| address.to_string());
        let Self { published, target, transport, .. } = self;
        f.pad(&format!("{address}:{published}->{target}/{transport}"))
    }
}

/// A socket of some program on a node, at a port that is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    /// The node; none for the one where the command runs.
    #[serde(default)]
    pub node: Option<NodeName>,
    pub transport: Transport,
    /// None for every address.
    pub address: Option<Ipv4Addr>,
    pub port: u16,
    /// Its program and process, where they can be seen.
    pub program: Option<String>,
}

impl Listener {
    fn is_met_by(&self, transport: Transport, port: u16, at: Option<Ipv4Addr>) -> bool {
        let same_address = match (self.address, at) {
            (Some(one), Some(other)) => one == other,
            _ => true,
        };
        self.transport == transport && self.port == port && same_address
    }
}

impl Intent {
    /// Published ports as they were asked for, those that were left open chosen.
    ///
    /// # Errors
    /// When one is taken, by a service or by a program of a node, or none is left to choose.
    pub fn choose_ports(
        &self,
        asked: &[PortSpec],
        listeners: &[Listener],
    ) -> Result<Vec<PublishedPort>, IntentError> {
        let mut chosen: Vec<PublishedPort> = Vec::new();
        // What is asked for goes before what is chosen.
        let (fixed, open): (Vec<&PortSpec>, Vec<_>) =
            asked.iter().partition(|s| s.published.is_some());
        for spec in fixed.into_iter().chain(open) {
            let at = |published| PublishedPort {
                published,
                target: spec.target,
                transport: spec.transport,
                mode: spec.mode,
                address: spec.address,
                source: spec.source,
            };
            let heard = |port: &PublishedPort| {
                let met = |l: &&Listener| l.is_met_by(port.transport, port.published, port.address);
                listeners.iter().find(met)
            };
            let port = match spec.published {
                Some(published) => at(published),
                None => CHOSEN
                    .map(at)
                    .find(|port| {
                        self.check_ports(&[&chosen[..], &[*port]].concat()).is_ok()
                            && heard(port).is_none()
                    })
                    .ok_or(IntentError::NoFreePort { transport: spec.transport })?,
            };
            if let Some(listener) = heard(&port) {
                let (program, node) = (listener.program.clone(), listener.node.clone());
                return Err(IntentError::PortListening { port, program, node });
            }
            chosen.push(port);
        }
        self.check_ports(&chosen)?;
        Ok(chosen)
    }

    /// Whether ports can be published beside each other and beside those of the services there are.
    pub(super) fn check_ports(&self, ports: &[PublishedPort]) -> Result<(), IntentError> {
        for (number, port) in ports.iter().enumerate() {
            let same = |other: &PublishedPort| {
                other.published == port.published && other.transport == port.transport
            };
            if ports[..number].iter().any(same) {
                return Err(IntentError::PortTwice { port: *port });
            }
            // Two services that publish for their own nodes may share a port: on different nodes.
            let takes = |other: &PublishedPort| {
                let apart = [port.mode, other.mode] == [PublishMode::Host; 2];
                same(other) && !apart
            };
            let by = self.services.values().find(|service| service.ports.iter().any(takes));
            if let Some(by) = by {
                return Err(IntentError::PortTaken { port: *port, by: by.name.clone() });
            }
        }
        Ok(())
    }

    /// What publishing asks of a service beside free ports.
    pub(super) fn check_publishing(
        &self,
        ports: &[PublishedPort],
        mode: EndpointMode,
        is_outward: bool,
    ) -> Result<(), IntentError> {
        let first = |mode| ports.iter().find(|port| port.mode == mode).copied();
        if let (Some(port), EndpointMode::Dnsrr) = (first(PublishMode::Ingress), mode) {
            return Err(IntentError::MeshWithoutVip { port });
        }
        if let (Some(port), false) = (first(PublishMode::Host), is_outward) {
            return Err(IntentError::HostPortInternal { port });
        }
        if !ports.is_empty() {
            self.check_egress()?;
        }
        self.check_ports(ports)
    }

    /// Whose tasks hold a service's host ports on a node: one task of a node can answer at a port.
    pub fn holder_of_ports(
        &self,
        ports: &[PublishedPort],
        node: &super::NodeName,
    ) -> Option<(PublishedPort, ServiceName)> {
        let hosted = |port: &&PublishedPort| port.mode == PublishMode::Host;
        let on_node = self.tasks.values().filter(|task| task.node == *node);
        let services = on_node.filter_map(|task| self.services.get(&task.name.service));
        let held: Vec<(&ServiceName, &PublishedPort)> = services
            .flat_map(|service| service.ports.iter().filter(hosted).map(|p| (&service.name, p)))
            .collect();
        ports.iter().filter(hosted).find_map(|port| {
            let same = |(_, other): &&(&ServiceName, &PublishedPort)| {
                other.published == port.published && other.transport == port.transport
            };
            held.iter().find(same).map(|(by, _)| (*port, (*by).clone()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intent::tests::{network, one_node, spec};

    fn parsed(text: &str) -> PortSpec {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn both_of_dockers_forms_are_read() {
        use PublishMode::{Host, Ingress};
        use Transport::{Sctp, Tcp, Udp};
        let at = Some(Ipv4Addr::new(192, 0, 2, 1));
        for (text, published, target, transport, mode, address) in [
            ("8080:80", Some(8080), 80, Tcp, Ingress, None),
            ("80", None, 80, Tcp, Ingress, None),
            (":80", None, 80, Tcp, Ingress, None),
            ("53:53/udp", Some(53), 53, Udp, Ingress, None),
            ("9:7/SCTP", Some(9), 7, Sctp, Ingress, None),
            ("192.0.2.1:8080:80", Some(8080), 80, Tcp, Ingress, at),
            ("192.0.2.1::80/udp", None, 80, Udp, Ingress, at),
            ("0.0.0.0:8080:80", Some(8080), 80, Tcp, Ingress, None),
            ("published=8080,target=80", Some(8080), 80, Tcp, Ingress, None),
            ("target=80", None, 80, Tcp, Ingress, None),
            ("mode=host,target=80,published=80,protocol=udp", Some(80), 80, Udp, Host, None),
            ("target=80,ip=192.0.2.1,mode=ingress", None, 80, Tcp, Ingress, at),
        ] {
            let source = Source::Mesh;
            let expected = PortSpec { published, target, transport, mode, address, source };
            assert_eq!(parsed(text), expected, "{text}");
        }
    }

    #[test]
    fn a_port_of_the_mesh_may_keep_its_clients_address() {
        assert_eq!(parsed("target=80,source=client").source, Source::Client);
        assert_eq!(parsed("target=80,source=mesh").source, Source::Mesh);
        // A task's own port sees it anyway, by whatever protocol.
        assert_eq!(parsed("target=80,source=client,mode=host").source, Source::Mesh);
        assert!("target=80,source=client,mode=host,protocol=udp".parse::<PortSpec>().is_ok());
        let port = one_node().choose_ports(&[parsed("target=80,source=client")], &[]).unwrap()[0];
        let text = serde_json::to_string(&port).unwrap();
        assert!(text.contains(r#""source":"client""#), "{text}");
        assert_eq!(serde_json::from_str::<PublishedPort>(&text).unwrap(), port);
        let old = r#"{"published":80,"target":80,"protocol":"tcp","mode":"ingress"}"#;
        assert_eq!(serde_json::from_str::<PublishedPort>(old).unwrap().source, Source::Mesh);
    }

    #[test]
    fn what_is_no_port_is_refused_with_its_reason() {
        for (text, said) in [
            ("", "`` is not a port: 1 to 65535"),
            ("0:80", "`0` is not a port"),
            ("8080:0", "`0` is not a port"),
            ("65536:80", "`65536` is not a port"),
            ("+80:80", "`+80` is not a port"),
            ("8080:80/icmp", "`icmp` is not a protocol: tcp, udp or sctp"),
            ("[::1]:8080:80", "IPv4 addresses only"),
            ("::1:8080:80", "IPv4 addresses only"),
            ("host:8080:80", "`host` is not an IPv4 address"),
            ("published=8080", "target= is missing"),
            ("target=80,mode=mesh", "`mesh` is not a mode: ingress or host"),
            ("target=80,port=8080", "`port=8080` is not known"),
            ("target=80,8080", "`8080` is not known"),
            ("target=80,source=me", "`me` is not a source: mesh or client"),
            ("target=53,source=client,protocol=udp", "source=client is for tcp only"),
            ("source=client,target=7,protocol=sctp", "source=client is for tcp only"),
        ] {
            let error = text.parse::<PortSpec>().unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }

    fn chosen(intent: &Intent, texts: &[&str], listeners: &[Listener]) -> Result<String, String> {
        let specs: Vec<PortSpec> = texts.iter().map(|text| parsed(text)).collect();
        let ports = intent.choose_ports(&specs, listeners).map_err(|error| error.to_string())?;
        Ok(ports.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
    }

    fn with_web(ports: &[&str]) -> Intent {
        let mut intent = one_node();
        network(&mut intent, "n", "10.0.3.0/24");
        intent.create_ingress("id".into(), &Default::default()).unwrap();
        let specs: Vec<PortSpec> = ports.iter().map(|text| parsed(text)).collect();
        let ports = intent.choose_ports(&specs, &[]).unwrap();
        let spec = crate::intent::ServiceSpec { ports, ..spec("web", "n", 1) };
        intent.create_service(spec, "id".into(), 0).unwrap();
        intent
    }

    #[test]
    fn what_is_left_open_is_the_lowest_free_port_from_30000_on() {
        let intent = with_web(&["80", "30001:81"]);
        let web = intent.services.values().next().unwrap();
        let told: Vec<String> = web.ports.iter().map(ToString::to_string).collect();
        assert_eq!(told, ["*:30001->81/tcp", "*:30000->80/tcp"]);
        assert_eq!(
            chosen(&intent, &["80", "80/udp"], &[]).unwrap(),
            "*:30002->80/tcp *:30000->80/udp"
        );
        let listener = Listener {
            node: None,
            transport: Transport::Tcp,
            address: Some(Ipv4Addr::LOCALHOST),
            port: 30002,
            program: None,
        };
        assert_eq!(chosen(&intent, &["80"], &[listener]).unwrap(), "*:30003->80/tcp");
    }

    #[test]
    fn a_port_that_is_taken_is_refused_with_its_owner() {
        let intent = with_web(&["8080:80"]);
        let refused = |texts: &[&str]| chosen(&intent, texts, &[]).unwrap_err();
        let taken = "port 8080/tcp is published by service `web` already";
        assert_eq!(refused(&["8080:81"]), taken);
        assert_eq!(refused(&["192.0.2.1:8080:81"]), taken);
        assert_eq!(refused(&["published=8080,target=81,mode=host"]), taken);
        assert_eq!(refused(&["81:80", "81:82"]), "port 81/tcp is published twice");
        assert!(chosen(&intent, &["8080:80/udp"], &[]).is_ok());
    }

    #[test]
    fn a_port_that_a_program_listens_on_is_refused_with_its_name() {
        let intent = one_node();
        let listener = |address| Listener {
            node: None,
            transport: Transport::Tcp,
            address,
            port: 8080,
            program: Some("nginx (pid 812)".into()),
        };
        let everywhere = [listener(None)];
        let error = chosen(&intent, &["8080:80"], &everywhere).unwrap_err();
        assert_eq!(error, "port 8080/tcp is listened on by nginx (pid 812) on this node");
        assert!(chosen(&intent, &["8080:80/udp"], &everywhere).is_ok());
        let there = [Listener { node: Some("node-2".parse().unwrap()), ..listener(None) }];
        let error = chosen(&intent, &["8080:80"], &there).unwrap_err();
        assert_eq!(error, "port 8080/tcp is listened on by nginx (pid 812) on node node-2");
        let here = [listener(Some(Ipv4Addr::new(192, 0, 2, 1)))];
        assert!(chosen(&intent, &["8080:80"], &here).is_err());
        assert!(chosen(&intent, &["192.0.2.1:8080:80"], &here).is_err());
        assert!(chosen(&intent, &["192.0.2.2:8080:80"], &here).is_ok());
    }
}
