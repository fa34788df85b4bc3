//! Which nodes are in the cluster, and where they are reached.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};

use super::{Availability, Id, Intent, IntentError, NodeName, NodeRecord, name};

/// A node that comes into the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Newcomer {
    pub name: NodeName,
    pub id: Id,
    /// Where the others reach it.
    pub address: Ipv4Addr,
    /// That of its API.
    pub port: u16,
    /// The fingerprint of its certificate: the SHA-256 in hexadecimal digits.
    pub certificate: String,
}

impl NodeRecord {
    /// Where its API is; none for a node that is alone in its cluster.
    pub fn api(&self) -> Option<SocketAddrV4> {
        Some(SocketAddrV4::new(self.address?, self.port?))
    }

    fn settle(&mut self, newcomer: &Newcomer) {
        self.address = Some(newcomer.address);
        self.port = Some(newcomer.port);
        self.certificate = Some(newcomer.certificate.clone());
    }
}

impl Intent {
    /// # Errors
    /// [`IntentError::NoSuchNode`], with the name that may have been meant.
    pub fn node(&self, name: &NodeName) -> Result<&NodeRecord, IntentError> {
        self.nodes.get(name).ok_or_else(|| IntentError::NoSuchNode {
            name: name.to_string(),
            meant: name::nearest(name.as_str(), self.nodes.keys().map(NodeName::as_str))
                .map(str::to_owned),
        })
    }

    /// Makes the one node of a cluster its first: others can join it then.
    ///
    /// # Errors
    /// [`IntentError::NoSuchNode`].
    pub fn found_cluster(
        &mut self,
        first: &Newcomer,
        data_port: Option<u16>,
    ) -> Result<(), IntentError> {
        self.node(&first.name)?;
        if let Some(record) = self.nodes.get_mut(&first.name) {
            record.settle(first);
        }
        self.cluster.data_port = data_port.unwrap_or(self.cluster.data_port);
        Ok(())
    }

    /// Makes the last node of a cluster one that nobody can join.
    pub fn forget_cluster(&mut self, name: &NodeName) {
        if let Some(record) = self.nodes.get_mut(name) {
            (record.address, record.port, record.certificate) = (None, None, None);
        }
    }

    /// Says whether a node takes tasks. Those of one that does not go elsewhere.
    ///
    /// # Errors
    /// [`IntentError::NoSuchNode`].
    pub fn set_availability(
        &mut self,
        name: &NodeName,
        availability: Availability,
    ) -> Result<(), IntentError> {
        self.node(name)?;
        if let Some(record) = self.nodes.get_mut(name) {
            record.availability = availability;
        }
        Ok(())
    }

    /// Changes a node's labels.
    ///
    /// # Errors
    /// [`IntentError::NoSuchNode`].
    pub fn label_node(
        &mut self,
        name: &NodeName,
        add: &BTreeMap<String, String>,
        remove: &[String],
    ) -> Result<(), IntentError> {
        self.node(name)?;
        if let Some(record) = self.nodes.get_mut(name) {
            record.labels.retain(|key, _| !remove.contains(key));
            record.labels.extend(add.clone());
        }
        Ok(())
    }

    /// Takes a node out; its tasks are placed anew.
    ///
    /// # Errors
    /// [`IntentError::NoSuchNode`].
    pub fn dismiss_node(&mut self, name: &NodeName) -> Result<(), IntentError> {
        self.node(name)?;
        self.nodes.remove(name);
        self.attachments.retain(|_, held| held.node != *name);
        Ok(())
    }

    /// Lets a node in. What its kernel can do, its agent says.
    ///
    /// # Errors
    /// [`IntentError::DuplicateNode`] and [`IntentError::DuplicateNodeAddress`].
    pub fn admit_node(&mut self, newcomer: &Newcomer) -> Result<(), IntentError> {
        if self.nodes.contains_key(&newcomer.name) {
            return Err(IntentError::DuplicateNode { name: newcomer.name.clone() });
        }
        let same = |node: &&NodeRecord| node.address == Some(newcomer.address);
        if let Some(by) = self.nodes.values().find(same) {
            let (address, by) = (newcomer.address, by.name.clone());
            return Err(IntentError::DuplicateNodeAddress { address, by });
        }
        let mut record = NodeRecord::new(newcomer.name.clone(), false);
        record.id.clone_from(&newcomer.id);
        record.settle(newcomer);
        self.nodes.insert(newcomer.name.clone(), record);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intent::tests::one_node;

    fn newcomer(name: &str, last: u8) -> Newcomer {
        Newcomer {
            name: name.parse().unwrap(),
            id: format!("id-{name}"),
            address: Ipv4Addr::new(192, 0, 2, last),
            port: 7733,
            certificate: format!("{last:064x}"),
        }
    }

    #[test]
    fn a_name_or_an_address_is_given_once() {
        let mut intent = one_node();
        intent.found_cluster(&newcomer("node-1", 1), Some(4790)).unwrap();
        assert_eq!(intent.cluster.data_port, 4790);
        intent.admit_node(&newcomer("node-2", 2)).unwrap();
        let before = intent.clone();
        let refused = intent.admit_node(&newcomer("node-2", 3)).unwrap_err();
        assert_eq!(refused.to_string(), "node `node-2` is in the cluster already");
        let refused = intent.admit_node(&newcomer("node-3", 1)).unwrap_err();
        assert_eq!(refused.to_string(), "192.0.2.1 is the address of node `node-1`");
        assert_eq!(intent, before);
    }

    #[test]
    fn a_node_that_is_not_there_is_told_with_the_one_that_may_be_meant() {
        let intent = one_node();
        match intent.node(&"node-2".parse().unwrap()).unwrap_err() {
            IntentError::NoSuchNode { meant, .. } => assert_eq!(meant.as_deref(), Some("node-1")),
            other => panic!("{other}"),
        }
    }
}
