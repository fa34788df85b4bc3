//! What a lab is made of, as its directory remembers it.

use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use crate::intent::NodeName;
use crate::keeper::record::start_time;
use crate::killpoint;
use crate::node::LinkName;

/// More nodes than a switch of a /24 has addresses for make no sense on one machine.
pub const MOST_NODES: u8 = 100;
/// The ranges that are tried for an underlay, each a /24 of 10.213.0.0/16.
const RANGES: [u8; 2] = [10, 213];
/// Letters and digits of a lab's id.
const ID_LENGTH: usize = 6;
const FILE: &str = "lab.json";
/// The same before it is whole.
const UNSEEN: &str = "lab.new";

/// A cluster on one machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lab {
    pub id: String,
    /// The underlay. This machine has its last address.
    pub subnet: Ipv4Net,
    pub nodes: Vec<Member>,
    /// How many groups were ever cut off; each has a bridge of its own.
    pub partitions: u32,
    /// Set once all of it was made.
    pub is_up: bool,
}

/// One node of a lab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    pub name: NodeName,
    pub address: Ipv4Addr,
    /// The process that its namespaces live with; none while it is down.
    pub init: Option<Init>,
    /// Nodes of one number reach each other; 0 is where all are at first.
    pub group: u32,
}

/// A process, known again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Init {
    pub pid: i32,
    /// In the kernel's clock ticks since it started.
    pub started: u64,
}

impl Init {
    pub fn is_alive(&self) -> bool {
        start_time(self.pid) == Some(self.started)
    }
}

impl Member {
    /// Its process, if that lives.
    pub fn alive(&self) -> Option<Init> {
        self.init.filter(Init::is_alive)
    }
}

impl Lab {
    /// A lab of nodes `node-1` and so on, in the first range that no route overlaps; none when every
    /// range is taken.
    pub fn plan(nodes: u8, routes: &[Ipv4Net]) -> Option<Self> {
        let overlaps = |range: &Ipv4Net, route: &Ipv4Net| {
            range.contains(&route.network()) || route.contains(&range.network())
        };
        let [first, second] = RANGES;
        let mut ranges = (0..=u8::MAX)
            .filter_map(|third| Ipv4Net::new(Ipv4Addr::new(first, second, third, 0), 24).ok());
        let subnet = ranges.find(|range| !routes.iter().any(|route| overlaps(range, route)))?;
        let member = |(number, address)| {
            let name = format!("node-{number}").parse().ok()?;
            Some(Member { name, address, init: None, group: 0 })
        };
        let nodes = (1..=nodes.min(MOST_NODES)).zip(subnet.hosts()).filter_map(member).collect();
        let id = crate::random::id(ID_LENGTH);
        Some(Self { id, subnet, nodes, partitions: 0, is_up: false })
    }

    /// The address of this machine on the underlay.
    pub fn machine_address(&self) -> Ipv4Addr {
        self.subnet.hosts().last().unwrap_or(self.subnet.addr())
    }

    /// The name of the switch's namespace.
    pub fn switch(&self) -> String {
        format!("swarmlb-lab-{}", self.id)
    }

    /// This machine's link to the switch.
    pub fn machine_link(&self) -> LinkName {
        LinkName(format!("swarmlb-{}", self.id))
    }

    /// The bridge that joins the nodes of one group.
    pub fn bridge(group: u32) -> LinkName {
        LinkName(format!("br{group}"))
    }

    /// The switch's port of a node; at most `p` and three digits.
    pub fn port(&self, name: &NodeName) -> Option<LinkName> {
        let number = self.nodes.iter().position(|node| node.name == *name)?;
        Some(LinkName(format!("p{}", number.saturating_add(1))))
    }

    pub fn node(&self, name: &NodeName) -> Option<&Member> {
        self.nodes.iter().find(|node| node.name == *name)
    }

    pub fn node_mut(&mut self, name: &NodeName) -> Option<&mut Member> {
        self.nodes.iter_mut().find(|node| node.name == *name)
    }

    /// Where a lab's node keeps its state.
    pub fn state_dir(root: &Path, name: &NodeName) -> PathBuf {
        root.join("nodes").join(name.as_str())
    }

    /// None where no lab is.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub fn load(root: &Path) -> io::Result<Option<Self>> {
        match std::fs::read(root.join(FILE)) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            // Whose directory it is, and why it is none, is told by who needs it.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound
                        | io::ErrorKind::NotADirectory
                        | io::ErrorKind::PermissionDenied
                ) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Keeps it, whole or not at all.
    ///
    /// # Errors
    /// What the file system answered.
    pub fn save(&self, root: &Path) -> io::Result<()> {
        let unseen = root.join(UNSEEN);
        std::fs::write(&unseen, serde_json::to_vec_pretty(self)?)?;
        killpoint::pass(|| "what the lab is has no name yet".into());
        std::fs::rename(unseen, root.join(FILE))
    }

    /// Forgets it, with all that its nodes kept.
    ///
    /// # Errors
    /// What the file system answered.
    pub fn forget(&self, root: &Path) -> io::Result<()> {
        let gone = |result: io::Result<()>| match result {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        };
        gone(std::fs::remove_dir_all(root.join("nodes")))?;
        killpoint::pass(|| "what its nodes kept is removed".into());
        gone(std::fs::remove_file(root.join(FILE)))?;
        killpoint::pass(|| "the lab's directory has no lab any more".into());
        Self::sweep(root)
    }

    /// Removes what is left in a directory without a lab, and the directory when nothing else is in it.
    ///
    /// # Errors
    /// What the file system answered.
    pub fn sweep(root: &Path) -> io::Result<()> {
        match std::fs::remove_file(root.join(UNSEEN)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        // What others put there stays, and the directory with it.
        let _others = std::fs::remove_dir(root);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lab_is_where_no_route_leads() {
        let lab = Lab::plan(3, &[]).unwrap();
        assert_eq!(lab.subnet.to_string(), "10.213.0.0/24");
        let addresses: Vec<String> = lab.nodes.iter().map(|n| n.address.to_string()).collect();
        assert_eq!(addresses, ["10.213.0.1", "10.213.0.2", "10.213.0.3"]);
        assert_eq!(lab.machine_address().to_string(), "10.213.0.254");
        let routes = ["10.213.0.0/23".parse().unwrap()];
        assert_eq!(Lab::plan(1, &routes).unwrap().subnet.to_string(), "10.213.2.0/24");
        assert_eq!(Lab::plan(1, &["10.0.0.0/8".parse().unwrap()]), None);
    }

    #[test]
    fn links_have_names_that_linux_takes() {
        let lab = Lab::plan(MOST_NODES, &[]).unwrap();
        let last = &lab.nodes.last().unwrap().name;
        assert_eq!(last.as_str(), "node-100");
        assert_eq!(lab.port(last).unwrap().as_str(), "p100");
        assert!(lab.machine_link().as_str().len() <= 15);
    }

    #[test]
    fn it_is_kept_and_forgotten() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        assert_eq!(Lab::load(root).unwrap(), None);
        let lab = Lab::plan(2, &[]).unwrap();
        lab.save(root).unwrap();
        std::fs::create_dir_all(Lab::state_dir(root, &lab.nodes[0].name)).unwrap();
        assert_eq!(Lab::load(root).unwrap().as_ref(), Some(&lab));
        std::fs::write(root.join("mine.txt"), "x").unwrap();
        lab.forget(root).unwrap();
        let left: Vec<_> = std::fs::read_dir(root).unwrap().flatten().collect();
        assert_eq!(left.len(), 1);
        lab.forget(root).unwrap();
    }
}
