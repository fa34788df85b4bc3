//! Attachments: namespaces of others that were joined to a network, and the edits that do it.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::{Alias, Endpoint, Intent, IntentError, NetworkName, NodeName};

/// A namespace that swarmlb did not make, as it was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespace {
    /// What the operator called it: a name below /run/netns, a path or a process's number.
    pub target: String,
    /// The file that names it, on its node.
    pub path: String,
    /// What it is known by, the number that its kernel gave it: another one under the same path is
    /// another.
    pub identity: u64,
}

/// A namespace on a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    pub node: NodeName,
    pub namespace: Namespace,
    /// The name of its link to the network: one that was free there.
    pub link: String,
    pub endpoint: Endpoint,
    pub aliases: BTreeSet<Alias>,
    /// Whether it was disconnected, and its node has yet to take back what it made.
    pub leaving: bool,
}

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttachmentSpec {
    pub network: NetworkName,
    pub node: NodeName,
    pub namespace: Namespace,
    pub link: String,
    /// None to have one chosen.
    pub address: Option<Ipv4Addr>,
    pub aliases: BTreeSet<Alias>,
}

impl Attachment {
    /// The names that it has on its network: its aliases, and its own name where that can be one.
    pub fn names(&self) -> BTreeSet<Alias> {
        let own = self.namespace.target.parse::<Alias>().ok();
        // A number is a process, and no name that means something.
        let own = own.filter(|name| !name.as_str().bytes().all(|byte| byte.is_ascii_digit()));
        self.aliases.iter().cloned().chain(own).collect()
    }
}

fn key(network: &NetworkName, identity: u64) -> String {
    format!("{network}/{identity}")
}

impl Intent {
    /// Joins a namespace to a network.
    ///
    /// # Errors
    /// When the network is missing or not attachable, the namespace is on it already, or the address
    /// cannot be given.
    pub fn connect(&mut self, spec: AttachmentSpec) -> Result<(), IntentError> {
        let network = self.network(&spec.network)?;
        let (name, target) = (network.name.clone(), spec.namespace.target.clone());
        if !network.attachable {
            return Err(IntentError::NotAttachable { name });
        }
        let key = key(&name, spec.namespace.identity);
        if self.attachments.get(&key).is_some_and(|held| !held.leaving) {
            return Err(IntentError::Connected { target, name });
        }
        let mut edited = self.clone();
        // What is still leaving is taken up again, with other values.
        edited.attachments.remove(&key);
        let address = match spec.address {
            Some(address) => edited.free_address(&name, address)?,
            None => edited.next_addresses(&name, 1)?[0],
        };
        let endpoint = Endpoint { network: name.clone(), address, rank: edited.next_rank(&name) };
        let AttachmentSpec { node, namespace, link, aliases, .. } = spec;
        let attachment = Attachment { node, namespace, link, endpoint, aliases, leaving: false };
        edited.attachments.insert(key, attachment);
        *self = edited;
        Ok(())
    }

    /// An address that was asked for, when it can be given.
    fn free_address(&self, name: &NetworkName, address: Ipv4Addr) -> Result<Ipv4Addr, IntentError> {
        let network = self.network(name)?;
        let refused = |why: &'static str| {
            Err(IntentError::NoSuchAddress { address, name: name.clone(), why })
        };
        let Some(pool) = network.pools.iter().find(|pool| pool.subnet.contains(address)) else {
            return refused("it is in none of its subnets");
        };
        match pool.subnet.reserves(address) {
            Some("broadcast") => refused("it is a broadcast address"),
            Some(_) => refused("it is the address of a subnet itself"),
            None if pool.gateway == address => refused("it is a gateway"),
            None if self.addresses_used(name).contains(&address) => refused("it is taken"),
            None => Ok(address),
        }
    }

    /// Lets a namespace leave a network: found by its identity where it is there, else by what it was
    /// called when it was joined.
    ///
    /// # Errors
    /// When there is no such network, or the namespace is not on it.
    pub fn disconnect(
        &mut self,
        name: &NetworkName,
        target: &str,
        identity: Option<u64>,
    ) -> Result<(), IntentError> {
        self.network(name)?;
        let mut held = self.attachments.values_mut().filter(|held| {
            let meant = match identity {
                Some(identity) => held.namespace.identity == identity,
                None => held.namespace.target == target,
            };
            !held.leaving && held.endpoint.network == *name && meant
        });
        match held.next() {
            Some(attachment) => attachment.leaving = true,
            None => {
                let (target, name) = (target.to_owned(), name.clone());
                return Err(IntentError::NotConnected { target, name });
            }
        }
        Ok(())
    }

    /// Forgets what a node has taken back.
    pub fn forget_left(&mut self, node: &NodeName) {
        self.attachments.retain(|_, held| !(held.leaving && held.node == *node));
    }

    /// The namespaces of others on a network.
    pub fn attached_to<'a>(
        &'a self,
        network: &'a NetworkName,
    ) -> impl Iterator<Item = &'a Attachment> {
        let there = move |held: &&Attachment| held.endpoint.network == *network && !held.leaving;
        self.attachments.values().filter(there)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intent::tests::{one_node, service};
    use crate::intent::{Machine, NetworkSpec};

    fn net(name: &str) -> NetworkName {
        name.parse().unwrap()
    }

    fn attachable() -> Intent {
        let mut intent = one_node();
        for (name, subnet, attachable) in
            [("blue", "10.0.3.0/24", true), ("closed", "10.0.4.0/24", false)]
        {
            let spec = NetworkSpec {
                subnets: vec![subnet.parse().unwrap()],
                attachable,
                ..NetworkSpec::new(net(name))
            };
            intent.create_network(spec, format!("id-{name}"), &Machine::default()).unwrap();
        }
        intent
    }

    fn asked(network: &str, identity: u64) -> AttachmentSpec {
        let target = format!("ns-{identity}");
        AttachmentSpec {
            network: net(network),
            node: "node-1".parse().unwrap(),
            namespace: Namespace { path: format!("/run/netns/{target}"), target, identity },
            link: "eth0".into(),
            address: None,
            aliases: BTreeSet::new(),
        }
    }

    #[test]
    fn an_attachment_has_an_address_and_a_rank_like_a_task() {
        let mut intent = attachable();
        service(&mut intent, "web", "blue", 2);
        intent.connect(asked("blue", 7)).unwrap();
        let blue = net("blue");
        let held = intent.attached_to(&blue).next().unwrap();
        assert_eq!(
            (held.endpoint.address.to_string().as_str(), held.endpoint.rank),
            ("10.0.3.5", 2)
        );
        service(&mut intent, "api", "blue", 1);
        assert_eq!(intent.addresses_used(&blue).len(), 6);
        let refused = intent.remove_network(&blue).unwrap_err().to_string();
        assert_eq!(refused, "network `blue` is in use by services api, web and namespace ns-7");
    }

    #[test]
    fn what_cannot_be_connected_is_refused_with_its_reason() {
        let mut intent = attachable();
        intent.connect(asked("blue", 7)).unwrap();
        let at = |address: &str| AttachmentSpec {
            address: Some(address.parse().unwrap()),
            ..asked("blue", 8)
        };
        for (spec, said) in [
            (asked("closed", 7), "network `closed` is not attachable"),
            (asked("blue", 7), "`ns-7` is on network `blue` already"),
            (asked("bleu", 8), "there is no network `bleu`"),
            (at("10.0.9.1"), "in none of its subnets"),
            (at("10.0.3.1"), "it is a gateway"),
            (at("10.0.3.2"), "it is taken"),
            (at("10.0.3.0"), "the address of a subnet itself"),
            (at("10.0.3.255"), "a broadcast address"),
        ] {
            let before = intent.clone();
            let error = intent.connect(spec).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
            assert_eq!(intent, before);
        }
        intent.connect(at("10.0.3.77")).unwrap();
    }

    #[test]
    fn an_attachment_leaves_until_its_node_has_taken_all_back() {
        let mut intent = attachable();
        intent.connect(asked("blue", 7)).unwrap();
        let error = intent.disconnect(&net("blue"), "ns-8", None).unwrap_err().to_string();
        assert_eq!(error, "`ns-8` is not on network `blue`");
        intent.disconnect(&net("blue"), "whatever", Some(7)).unwrap();
        assert!(intent.disconnect(&net("blue"), "ns-7", None).is_err());
        assert_eq!((intent.attachments.len(), intent.attached_to(&net("blue")).count()), (1, 0));
        intent.connect(asked("blue", 7)).unwrap();
        intent.disconnect(&net("blue"), "ns-7", None).unwrap();
        intent.forget_left(&"node-1".parse().unwrap());
        assert!(intent.attachments.is_empty());
    }
}
