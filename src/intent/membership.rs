//! Which nodes are in the cluster, and where they are reached.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddrV4};

use super::{Availability, Id, Intent, IntentError, Liveness, NodeName, NodeRecord, name};

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

    /// Has a node's tasks go elsewhere, each within its service's drain timeout, and gives it no more.
    /// `now` is in milliseconds since 1970.
    ///
    /// # Errors
    /// [`IntentError::NoSuchNode`].
    pub fn drain_node(&mut self, name: &NodeName, now: u64) -> Result<(), IntentError> {
        self.change_node(name, now, |record| record.availability = Availability::Drain)
    }

    /// Lets a node take tasks again. Those that are still leaving it are called back where they are
    /// missed; what runs elsewhere stays there.
    ///
    /// # Errors
    /// [`IntentError::NoSuchNode`].
    pub fn activate_node(&mut self, name: &NodeName, now: u64) -> Result<(), IntentError> {
        self.change_node(name, now, |record| record.availability = Availability::Active)
    }

    /// Gives a node labels and takes others away; tasks go where constraints want them.
    ///
    /// # Errors
    /// [`IntentError::NoSuchNode`].
    pub fn label_node(
        &mut self,
        name: &NodeName,
        set: BTreeMap<String, String>,
        removed: &BTreeSet<String>,
        now: u64,
    ) -> Result<(), IntentError> {
        self.change_node(name, now, |record| {
            record.labels.retain(|key, _| !removed.contains(key));
            record.labels.extend(set);
        })
    }

    /// Places anew what a node ran that is gone: at once, for nobody there can serve on. Tells whether
    /// that was news. `now` is in milliseconds since 1970.
    pub fn node_is_down(&mut self, name: &NodeName, now: u64) -> bool {
        self.note_liveness(name, Liveness::Down, now)
    }

    /// Lets a node that is back take tasks. Tells whether that was news.
    pub fn node_is_up(&mut self, name: &NodeName, now: u64) -> bool {
        self.note_liveness(name, Liveness::Up, now)
    }

    fn note_liveness(&mut self, name: &NodeName, liveness: Liveness, now: u64) -> bool {
        let is_news = self.nodes.get(name).is_some_and(|record| record.liveness != liveness);
        is_news && self.change_node(name, now, |record| record.liveness = liveness).is_ok()
    }

    fn change_node(
        &mut self,
        name: &NodeName,
        now: u64,
        change: impl FnOnce(&mut NodeRecord),
    ) -> Result<(), IntentError> {
        self.node(name)?;
        if let Some(record) = self.nodes.get_mut(name) {
            change(record);
        }
        self.evacuate(now);
        Ok(())
    }

    /// Takes a node out, with the namespaces that were joined there; its tasks are placed anew at
    /// once. `now` is in milliseconds since 1970.
    ///
    /// # Errors
    /// [`IntentError::NoSuchNode`].
    pub fn dismiss_node(&mut self, name: &NodeName, now: u64) -> Result<(), IntentError> {
        self.node(name)?;
        self.nodes.remove(name);
        self.attachments.retain(|_, held| held.node != *name);
        self.evacuate(now);
        Ok(())
    }

    /// Lets a node in. It is down until its agent says what its kernel can do, and gets no tasks
    /// before.
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
        record.liveness = Liveness::Down;
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
