//! Encryption: in the node's own namespace, states for both directions between it and every node that
//! it shares an encrypted network with, one policy for each of these, and rules by which nothing of
//! such a network leaves or enters in clear text.

use std::net::Ipv4Addr;

use crate::intent::{Intent, Life, NodeName, NodeRecord, PublicKey, Spi};
use crate::node::encryption::{Carrier, ENCRYPTION_MARK, Form, Key, Reqid};
use crate::node::{BaseRule, Node, Sandbox, SandboxName, SecurityPolicy, SecurityState};

/// One end of an association.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End<'a> {
    pub name: &'a NodeName,
    pub address: Ipv4Addr,
    pub public_key: PublicKey,
    pub life: Life,
}

/// What one node sends to another in a life of each: one state, on both of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Association<'a> {
    pub cluster: &'a str,
    pub sender: End<'a>,
    pub receiver: End<'a>,
    pub spi: Spi,
    /// Whether the sender sends under it now.
    pub in_use: bool,
}

/// Every association that a node is an end of.
pub fn associations<'a>(intent: &'a Intent, name: &NodeName) -> Vec<Association<'a>> {
    let Some(own) = intent.nodes.get(name) else { return Vec::new() };
    let mut found = Vec::new();
    for peer in intent.encrypted_peers(name).into_values() {
        for own_end in ends(own) {
            for their_end in ends(peer) {
                found.push(association(intent, own, own_end, peer, their_end));
                found.push(association(intent, peer, their_end, own, own_end));
            }
        }
    }
    found
}

fn ends(record: &NodeRecord) -> impl Iterator<Item = End<'_>> {
    let held = record.address.zip(record.encryption.public_key);
    held.into_iter().flat_map(move |(address, public_key)| {
        let lives = record.encryption.held();
        lives.map(move |life| End { name: &record.name, address, public_key, life })
    })
}

fn association<'a>(
    intent: &'a Intent,
    from: &NodeRecord,
    sender: End<'a>,
    to: &NodeRecord,
    receiver: End<'a>,
) -> Association<'a> {
    let cluster = intent.cluster.id.0.as_str();
    let spi = Spi::between(cluster, (sender.name, &sender.life), (receiver.name, &receiver.life));
    let in_use = from.encryption.current == Some(sender.life)
        && to.encryption.current == Some(receiver.life);
    Association { cluster, sender, receiver, spi, in_use }
}

impl Association<'_> {
    /// Its state; the key is not known here.
    pub fn state(&self, reqid: Reqid) -> SecurityState {
        SecurityState {
            source: self.sender.address,
            destination: self.receiver.address,
            spi: self.spi,
            reqid,
            form: Form::Ours,
            key: Key::default(),
        }
    }

    fn policy(&self, reqid: Reqid, port: u16) -> SecurityPolicy {
        SecurityPolicy {
            source: self.sender.address,
            destination: self.receiver.address,
            port,
            mark: ENCRYPTION_MARK,
            spi: self.spi,
            reqid,
            form: Form::Ours,
        }
    }
}

/// After all else: what is in clear text is dropped wherever there is a link of such a network.
pub(super) fn lower(intent: &Intent, name: &NodeName, node: &mut Node) {
    let encrypted = intent.networks.values().filter(|network| network.encrypted);
    let here = encrypted.filter(|n| node.sandboxes.contains_key(&SandboxName::from(&n.name)));
    let carriers: Vec<Carrier> =
        here.map(|n| Carrier { port: intent.cluster.data_port, vni: n.vni }).collect();
    if carriers.is_empty() {
        return;
    }
    let home = super::sandbox(intent, node, SandboxName::of_node(&intent.cluster.id));
    let table = home.table.get_or_insert_default();
    for carrier in carriers {
        table.rules.extend(BaseRule::of_encryption(carrier));
    }
    associate(intent, name, home);
}

fn associate(intent: &Intent, name: &NodeName, home: &mut Sandbox) {
    let reqid = Reqid::of(&intent.cluster.id);
    for association in associations(intent, name) {
        home.states.insert(association.state(reqid));
        if association.in_use && association.sender.name == name {
            home.policies.insert(association.policy(reqid, intent.cluster.data_port));
        }
    }
}
