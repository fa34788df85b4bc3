//! Encrypted networks: what each node publishes, so that every two nodes that share one agree on
//! keys of their own, and the edits that begin, turn over and end the lives of these keys.
//!
//! No key stands here. A node has lives, each with a nonce; the keys between two nodes follow from
//! their X25519 keys and a life of each. A node turns its lives over by itself: the next one is
//! published and everybody can receive under it, then everybody sends under it, then the old one
//! goes. Each step waits until every node has done the one before.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use super::{Intent, IntentError, NetworkName, NodeName, NodeRecord, Service};

/// How old a life may get: Docker's keys are twelve hours old at most.
pub const LONGEST_LIFE: Duration = Duration::from_secs(12 * 60 * 60);
/// How long what was sent under an old life may be on its way, in milliseconds.
pub const IN_FLIGHT: u64 = 2000;

/// So many bytes, in hexadecimal where they are written.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Hexadecimal<const N: usize>(pub [u8; N]);

/// A node's public X25519 key.
pub type PublicKey = Hexadecimal<32>;
/// What makes a life's keys its own.
pub type Nonce = Hexadecimal<16>;

impl<const N: usize> fmt::Display for Hexadecimal<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl<const N: usize> fmt::Debug for Hexadecimal<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<const N: usize> FromStr for Hexadecimal<N> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("these are not {N} bytes in hexadecimal");
        let digits = text.as_bytes();
        let digit = |at: usize| char::from(*digits.get(at)?).to_digit(16);
        if digits.len() != 2 * N {
            return Err(wrong());
        }
        let mut bytes = [0; N];
        for (place, byte) in bytes.iter_mut().enumerate() {
            let value = digit(2 * place).zip(digit(2 * place + 1)).ok_or_else(wrong)?;
            *byte = (value.0 * 16 + value.1) as u8;
        }
        Ok(Self(bytes))
    }
}

impl<const N: usize> TryFrom<String> for Hexadecimal<N> {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl<const N: usize> From<Hexadecimal<N>> for String {
    fn from(bytes: Hexadecimal<N>) -> Self {
        bytes.to_string()
    }
}

/// Whether a node's kernel encrypts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Esp {
    /// Its agent has not looked yet.
    #[default]
    Unknown,
    /// It does not, and why.
    Impossible(String),
    Possible,
}

/// One life of the keys between a node and all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Life {
    /// Counted from 1, for each node.
    pub number: u64,
    pub nonce: Nonce,
    /// When it began: milliseconds since 1970.
    pub since: u64,
}

/// What a node publishes for encrypted networks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Encryption {
    pub esp: Esp,
    /// Its private half never leaves the node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_key: Option<PublicKey>,
    /// How many lives it had.
    pub lives: u64,
    /// What is sent under.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current: Option<Life>,
    /// What can be received under, and will be sent under next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<Life>,
    /// What was sent under before; packets may still be on their way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous: Option<Life>,
}

impl Encryption {
    /// The lives under which packets may come.
    pub fn held(&self) -> impl Iterator<Item = Life> + '_ {
        [self.previous, self.current, self.next].into_iter().flatten()
    }

    /// Whether its keys are being turned over.
    pub fn is_turning(&self) -> bool {
        self.next.is_some() || self.previous.is_some()
    }
}

/// The number by which a receiver knows under which key a packet comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Spi(pub u32);

impl Spi {
    /// That of what `sender` sends to `receiver`, in a life of each. From a range in which neither the
    /// reserved ones lie (RFC 4303: up to 255) nor those that strongSwan takes (from 0xc0000000).
    pub fn between(
        cluster: &str,
        sender: (&NodeName, &Life),
        receiver: (&NodeName, &Life),
    ) -> Self {
        let mut words = format!("swarmlb spi {cluster}");
        for (name, life) in [sender, receiver] {
            words.push_str(&format!(" {name} {} {}", life.number, life.nonce));
        }
        let hash = digest(&SHA256, words.as_bytes());
        let number = hash.as_ref().first_chunk::<4>().map_or(0, |bytes| u32::from_be_bytes(*bytes));
        Self(number & 0x3fff_ffff | 0x4000_0000)
    }
}

impl fmt::Display for Spi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{:#010x}", self.0))
    }
}

/// What each receiver is sent under, by any node in any life.
struct Taken(BTreeSet<(NodeName, Spi)>);

impl Taken {
    fn of(intent: &Intent) -> Self {
        let mut taken = BTreeSet::new();
        for record in intent.nodes.values() {
            for life in record.encryption.held() {
                taken.extend(intent.spis_of(&record.name, &life));
            }
        }
        Self(taken)
    }
}

impl Intent {
    /// Every number that a life of a node stands for, with who receives by it.
    fn spis_of(&self, name: &NodeName, life: &Life) -> BTreeSet<(NodeName, Spi)> {
        let cluster = &self.cluster.id.0;
        let mut spis = BTreeSet::new();
        for other in self.nodes.values().filter(|other| other.name != *name) {
            for theirs in other.encryption.held() {
                let (own, theirs) = ((name, life), (&other.name, &theirs));
                spis.insert((other.name.clone(), Spi::between(cluster, own, theirs)));
                spis.insert((name.clone(), Spi::between(cluster, theirs, own)));
            }
        }
        spis
    }

    /// A new life of a node, by whose numbers nobody is sent to yet.
    fn new_life(&mut self, name: &NodeName, nonce: Nonce, now: u64, taken: &mut Taken) -> Life {
        let lived = self.nodes.get(name).map_or(0, |record| record.encryption.lives);
        let mut life = Life { number: lived + 1, nonce, since: now };
        loop {
            let spis = self.spis_of(name, &life);
            // Two of its own that are one are seen by their count.
            let others = self.nodes.values().filter(|other| other.name != *name);
            let expected: usize = others.map(|other| 2 * other.encryption.held().count()).sum();
            if spis.len() == expected && spis.is_disjoint(&taken.0) {
                taken.0.extend(spis);
                break;
            }
            life.number += 1;
        }
        if let Some(record) = self.nodes.get_mut(name) {
            record.encryption.lives = life.number;
        }
        life
    }

    /// Notes whether a node's kernel encrypts.
    pub fn note_esp(&mut self, name: &NodeName, found: Result<(), String>) {
        let Some(record) = self.nodes.get_mut(name) else { return };
        record.encryption.esp = match found {
            Ok(()) => Esp::Possible,
            Err(reason) => Esp::Impossible(reason),
        };
    }

    /// Notes whether a node's kernel encrypts, and its public key. One that has no life yet, or
    /// another key than before, begins one.
    pub fn settle_encryption(
        &mut self,
        name: &NodeName,
        found: Result<(), String>,
        key: PublicKey,
        nonce: Nonce,
        now: u64,
    ) {
        self.note_esp(name, found);
        let Some(record) = self.nodes.get_mut(name) else { return };
        let known = record.encryption.public_key.replace(key) == Some(key);
        if !known || record.encryption.current.is_none() {
            self.renew_life(name, nonce, now);
        }
    }

    /// Begins a life at once and forgets all others: what a node held under them is lost, as after its
    /// machine started anew.
    pub fn renew_life(&mut self, name: &NodeName, nonce: Nonce, now: u64) {
        if let Some(record) = self.nodes.get_mut(name) {
            let held = &mut record.encryption;
            (held.current, held.next, held.previous) = (None, None, None);
        }
        let mut taken = Taken::of(self);
        let life = self.new_life(name, nonce, now, &mut taken);
        if let Some(record) = self.nodes.get_mut(name) {
            record.encryption.current = Some(life);
        }
    }

    /// Begins a life beside the one that is sent under; false when one is coming already.
    pub fn begin_life(&mut self, name: &NodeName, nonce: Nonce, now: u64) -> bool {
        let mut taken = Taken::of(self);
        self.begin_one(name, nonce, now, &mut taken)
    }

    fn begin_one(&mut self, name: &NodeName, nonce: Nonce, now: u64, taken: &mut Taken) -> bool {
        let held = self.nodes.get(name).map(|record| &record.encryption);
        if held.is_none_or(|held| held.next.is_some() || held.current.is_none()) {
            return false;
        }
        let life = self.new_life(name, nonce, now, taken);
        if let Some(record) = self.nodes.get_mut(name) {
            record.encryption.next = Some(life);
        }
        true
    }

    /// From now on everybody sends under a node's next life; once every node can receive under it.
    pub fn turn_life(&mut self, name: &NodeName) -> bool {
        let Some(held) = self.nodes.get_mut(name).map(|record| &mut record.encryption) else {
            return false;
        };
        let Some(next) = held.next.take() else { return false };
        held.previous = held.current.replace(next);
        true
    }

    /// Forgets the life that was sent under before; once every node sends under the one after it.
    pub fn forget_life(&mut self, name: &NodeName) -> bool {
        let record = self.nodes.get_mut(name);
        record.is_some_and(|record| record.encryption.previous.take().is_some())
    }

    /// Begins new lives for every node that has something on a network. `seed` is random: the nonces
    /// follow from it.
    ///
    /// # Errors
    /// When there is no such network, or it is not encrypted.
    pub fn rotate_keys(
        &mut self,
        network: &NetworkName,
        seed: Nonce,
        now: u64,
    ) -> Result<(), IntentError> {
        if !self.network(network)?.encrypted {
            return Err(IntentError::NotEncrypted { name: network.clone() });
        }
        let nodes = self.nodes_on(network);
        let mut taken = Taken::of(self);
        for node in nodes {
            self.begin_one(&node, seeded(seed, &node), now, &mut taken);
        }
        Ok(())
    }

    /// The nodes that have something on a network.
    pub fn nodes_on(&self, network: &NetworkName) -> BTreeSet<NodeName> {
        let tasks = self.tasks_on(network).map(|(task, _)| task.node.clone());
        tasks.chain(self.attached_to(network).map(|held| held.node.clone())).collect()
    }

    /// The nodes with which a node shares an encrypted network.
    pub fn encrypted_peers(&self, name: &NodeName) -> BTreeMap<&NodeName, &NodeRecord> {
        let networks = self.networks.values().filter(|network| network.encrypted);
        let shared = networks.map(|network| self.nodes_on(&network.name));
        let peers: BTreeSet<NodeName> =
            shared.filter(|nodes| nodes.contains(name)).flatten().collect();
        let peers = peers.iter().filter(|peer| *peer != name);
        peers.filter_map(|peer| self.nodes.get_key_value(peer)).collect()
    }

    /// Why a node cannot have a task of a service: it would have to encrypt.
    pub fn keeps_from<'a>(&self, node: &'a NodeRecord, service: &Service) -> Option<&'a str> {
        let Esp::Impossible(reason) = &node.encryption.esp else { return None };
        let encrypted = |name| self.networks.get(name).is_some_and(|network| network.encrypted);
        service.networks.iter().any(encrypted).then_some(reason)
    }

    /// An encrypted network needs nodes that encrypt.
    pub(super) fn check_encryption(&self) -> Result<(), IntentError> {
        for node in self.nodes.values() {
            if let Esp::Impossible(reason) = &node.encryption.esp {
                let (node, reason) = (node.name.clone(), reason.clone());
                return Err(IntentError::NoEncryption { node, reason });
            }
        }
        Ok(())
    }
}

/// A nonce of one node's own.
fn seeded(seed: Nonce, node: &NodeName) -> Nonce {
    let hash = digest(&SHA256, format!("swarmlb nonce {seed} {node}").as_bytes());
    Hexadecimal(hash.as_ref().first_chunk().copied().unwrap_or(seed.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intent::tests::{one_node, service};
    use crate::intent::{Machine, NetworkSpec};
    use crate::orchestrate::placement;

    fn node(number: usize) -> NodeName {
        format!("node-{number}").parse().unwrap()
    }

    fn nonce(seed: u8) -> Nonce {
        Hexadecimal([seed; 16])
    }

    /// Nodes that encrypt, and an encrypted network on the first `members` of them.
    fn cluster(nodes: usize, members: u32) -> Intent {
        let mut intent = one_node();
        for number in 1..=nodes {
            let mut record = NodeRecord::new(node(number), true);
            record.address = Some([192, 0, 2, number as u8].into());
            intent.nodes.insert(node(number), record);
            let key = Hexadecimal([number as u8; 32]);
            intent.settle_encryption(&node(number), Ok(()), key, nonce(number as u8), 0);
        }
        let spec = NetworkSpec { encrypted: true, ..NetworkSpec::new("blue".parse().unwrap()) };
        intent.create_network(spec, "id".into(), &Machine::default()).unwrap();
        service(&mut intent, "web", "blue", members);
        intent
    }

    #[test]
    fn hexadecimal_is_read_as_it_is_written_and_nothing_else_is() {
        let bytes = Hexadecimal([0x00, 0x9f, 0xff]);
        assert_eq!(bytes.to_string(), "009fff");
        assert_eq!("009FfF".parse(), Ok(bytes));
        for wrong in ["", "009ff", "009fffff", "00 9ff", "gggggg", "+1+1+1", "éé€"] {
            assert!(wrong.parse::<Hexadecimal<3>>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn peers_are_those_that_share_an_encrypted_network() {
        let intent = cluster(3, 2);
        let peers = |number| -> Vec<String> {
            intent.encrypted_peers(&node(number)).keys().map(ToString::to_string).collect()
        };
        assert_eq!((peers(1), peers(2)), (vec!["node-2".into()], vec!["node-1".into()]));
        assert!(peers(3).is_empty());
    }

    #[test]
    fn a_life_is_turned_over_in_three_steps() {
        let mut intent = cluster(2, 2);
        let old = intent.nodes[&node(1)].encryption.current;
        assert!(!intent.turn_life(&node(1)) && !intent.forget_life(&node(1)));
        intent.rotate_keys(&"blue".parse().unwrap(), nonce(9), 7).unwrap();
        let held = intent.nodes[&node(1)].encryption.clone();
        assert_eq!((held.current, held.previous), (old, None));
        assert!(!intent.begin_life(&node(1), nonce(10), 8), "one is coming");
        assert!(intent.turn_life(&node(1)));
        let turned = intent.nodes[&node(1)].encryption.clone();
        assert_eq!((turned.previous, turned.current, turned.next), (old, held.next, None));
        assert!(intent.forget_life(&node(1)));
        assert!(!intent.nodes[&node(1)].encryption.is_turning());
        assert!(intent.nodes[&node(2)].encryption.is_turning(), "each node turns its own");
    }

    #[test]
    fn another_private_key_is_another_life_and_the_same_one_is_not() {
        let mut intent = cluster(2, 2);
        let before = intent.clone();
        intent.settle_encryption(&node(1), Ok(()), Hexadecimal([1; 32]), nonce(8), 5);
        assert_eq!(intent, before);
        intent.settle_encryption(&node(1), Ok(()), Hexadecimal([8; 32]), nonce(8), 5);
        let held = &intent.nodes[&node(1)].encryption;
        assert_eq!((held.current.unwrap().number, held.previous), (2, None));
    }

    #[test]
    fn a_kernel_without_esp_refuses_encrypted_networks_and_no_others() {
        let mut intent = one_node();
        let key = Hexadecimal([1; 32]);
        intent.settle_encryption(&node(1), Err("no ESP".into()), key, nonce(1), 0);
        let spec = NetworkSpec { encrypted: true, ..NetworkSpec::new("blue".parse().unwrap()) };
        let error = intent.create_network(spec.clone(), "id".into(), &Machine::default());
        assert_eq!(error.unwrap_err().to_string(), "node `node-1` cannot encrypt: no ESP");
        let spec = NetworkSpec { encrypted: false, ..spec };
        intent.create_network(spec, "id".into(), &Machine::default()).unwrap();
        let error = intent.rotate_keys(&"blue".parse().unwrap(), nonce(1), 0).unwrap_err();
        assert_eq!(error.to_string(), "network `blue` is not encrypted");
    }

    #[test]
    fn a_node_without_esp_gets_no_task_of_an_encrypted_network() {
        let mut intent = cluster(2, 0);
        let mut record = NodeRecord::new(node(3), true);
        record.encryption.esp = Esp::Impossible("no ESP".into());
        intent.nodes.insert(node(3), record);
        service(&mut intent, "many", "blue", 6);
        let on: BTreeSet<NodeName> = intent.nodes_on(&"blue".parse().unwrap());
        assert_eq!(on, BTreeSet::from([node(1), node(2)]));
        for number in 1..=2 {
            let record = intent.nodes.get_mut(&node(number)).unwrap();
            record.encryption.esp = Esp::Impossible("no ESP".into());
        }
        let service = intent.services.values().next().expect("a service");
        assert_eq!(
            placement::obstacles(&intent, service).to_string(),
            "no suitable node: 3 nodes cannot encrypt (no ESP)"
        );
    }
}
