//! Docker's containers, as its own files on this machine tell of them (`config.v2.json`), so that
//! neither its daemon nor its client has to be there.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Where Docker binds the namespaces of its sandboxes.
pub const DIRECTORIES: [&str; 2] = ["/var/run/docker/netns", "/run/docker/netns"];

/// A container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    pub id: String,
    pub name: String,
    /// The file name of its sandbox in Docker's directory; none when it has none.
    pub sandbox: Option<String>,
    /// Swarm's service, where it is a task.
    pub service: Option<String>,
    /// Swarm's name of it: service, slot and id.
    pub task: Option<String>,
    pub networks: Vec<Attachment>,
    /// Its resolv.conf as this machine sees it.
    pub resolv_conf: Option<String>,
}

/// A container's place on a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    pub network: String,
    pub id: String,
    pub addresses: Vec<IpAddr>,
}

impl Container {
    /// Its task without the id behind it, `collabweb.1`, or its name.
    pub fn short(&self) -> &str {
        match &self.task {
            Some(task) => task.rsplit_once('.').map_or(task, |(slot, _)| slot),
            None => &self.name,
        }
    }
}

/// Reads a container's `config.v2.json`; none when it is none. What is not known is passed over.
pub fn parse(text: &str) -> Option<Container> {
    let document: Value = serde_json::from_str(text).ok()?;
    let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let labels = &document["Config"]["Labels"];
    let settings = &document["NetworkSettings"];
    let key = settings["SandboxKey"].as_str().unwrap_or_default();
    let networks = settings["Networks"].as_object().into_iter().flatten();
    let attachment = |(name, value): (&String, &Value)| {
        let address = |field: &str| value[field].as_str()?.parse::<IpAddr>().ok();
        Attachment {
            network: name.clone(),
            id: value["NetworkID"].as_str().unwrap_or_default().to_owned(),
            addresses: ["IPAddress", "GlobalIPv6Address"].into_iter().filter_map(address).collect(),
        }
    };
    Some(Container {
        id: text(&document["ID"])?,
        name: text(&document["Name"])?.trim_start_matches('/').to_owned(),
        sandbox: key.rsplit_once('/').map(|(_, name)| name.to_owned()),
        service: text(&labels["com.docker.swarm.service.name"]),
        task: text(&labels["com.docker.swarm.task.name"]),
        networks: networks.map(attachment).collect(),
        resolv_conf: text(&document["ResolvConfPath"]),
    })
}

/// What a file in Docker's directory is by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind<'a> {
    /// `1-ukva5yq4iy`: an overlay's own sandbox, by the first digits of the network's id.
    Overlay(&'a str),
    /// `lb_ukva5yq4i`: what balances on a network.
    Balancer(&'a str),
    /// `ingress_sbox`: what balances published ports.
    Ingress,
    /// A container's.
    Container,
}

impl<'a> Kind<'a> {
    pub fn of(name: &'a str) -> Self {
        let counted = name.split_once('-').filter(|(number, _)| {
            !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
        });
        match (name, name.strip_prefix("lb_"), counted) {
            ("ingress_sbox", ..) => Kind::Ingress,
            (_, Some(network), _) => Kind::Balancer(network),
            (_, _, Some((_, network))) => Kind::Overlay(network),
            _ => Kind::Container,
        }
    }
}

/// The name of the network whose id begins so, as far as containers tell.
pub fn network<'a>(containers: &'a [Container], prefix: &str) -> Option<&'a str> {
    let all = containers.iter().flat_map(|container| &container.networks);
    let known = |attachment: &&Attachment| !prefix.is_empty() && attachment.id.starts_with(prefix);
    all.into_iter().find(known).map(|attachment| attachment.network.as_str())
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// As dockerd writes it for a task of `collabweb`, shortened.
    pub fn config(id: &str, slot: &str, sandbox: &str, address: &str) -> String {
        serde_json::json!({
            "ID": id,
            "Name": format!("/{slot}.jakczmkwdgv4bdhn0v4vqp0xk"),
            "Config": { "Labels": {
                "com.docker.swarm.service.name": slot.split('.').next(),
                "com.docker.swarm.task.name": format!("{slot}.jakczmkwdgv4bdhn0v4vqp0xk"),
            }},
            "NetworkSettings": {
                "SandboxKey": format!("/var/run/docker/netns/{sandbox}"),
                "Networks": {
                    "collabnet": {
                        "NetworkID": "ukva5yq4iyyb8nohxe7ohvk9o",
                        "IPAddress": address,
                        "GlobalIPv6Address": "",
                    },
                },
            },
            "ResolvConfPath": "/var/lib/docker/containers/x/resolv.conf",
        })
        .to_string()
    }

    #[test]
    fn a_containers_file_tells_its_task_addresses_and_sandbox() {
        let container =
            parse(&config("78098b732bae", "collabweb.1", "b2bfa013ce3a", "10.0.3.3")).unwrap();
        assert_eq!(container.short(), "collabweb.1");
        assert_eq!(container.service.as_deref(), Some("collabweb"));
        assert_eq!(container.sandbox.as_deref(), Some("b2bfa013ce3a"));
        let [attachment] = container.networks.as_slice() else { panic!("{container:?}") };
        assert_eq!(attachment.addresses, [IpAddr::from([10, 0, 3, 3])]);
        assert_eq!(network(&[container], "ukva5yq4iy"), Some("collabnet"));
        assert_eq!(parse("{}"), None);
        assert_eq!(parse("not JSON"), None);
    }

    #[test]
    fn what_runs_by_itself_has_no_task() {
        let text = r#"{"ID":"ab","Name":"/db","Config":{"Labels":null},"NetworkSettings":{}}"#;
        let container = parse(text).unwrap();
        assert_eq!((container.short(), container.sandbox.as_deref()), ("db", None));
    }

    #[test]
    fn files_in_dockers_directory_are_told_apart_by_their_names() {
        assert_eq!(Kind::of("1-ukva5yq4iy"), Kind::Overlay("ukva5yq4iy"));
        assert_eq!(Kind::of("lb_ukva5yq4i"), Kind::Balancer("ukva5yq4i"));
        assert_eq!(Kind::of("ingress_sbox"), Kind::Ingress);
        assert_eq!(Kind::of("b2bfa013ce3a"), Kind::Container);
        assert_eq!(Kind::of("-x"), Kind::Container);
    }
}
