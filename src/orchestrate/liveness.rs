//! Which nodes are dead, as far as the one who watches them can say.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::intent::NodeName;

/// How long a node may be silent that was never heard of, as after a power cut of all: it may be
/// starting. One that was heard of is dead as soon as its lease is gone.
pub const BENEFIT: Duration = Duration::from_secs(10);

/// What is known of the nodes' reports.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Heard {
    /// Those whose report stands, with its lease.
    pub reporting: BTreeSet<NodeName>,
    /// Those whose report was there and went.
    pub lost: BTreeSet<NodeName>,
    /// For how long it has been listened.
    pub listening: Duration,
}

impl Heard {
    /// Takes note of whose reports stand now.
    pub fn note(&mut self, reporting: BTreeSet<NodeName>) {
        self.lost.extend(self.reporting.difference(&reporting).cloned());
        self.lost.retain(|name| !reporting.contains(name));
        self.reporting = reporting;
    }

    /// Those among `nodes` that are dead. Whoever asks is not: it asks.
    pub fn dead<'a>(
        &self,
        nodes: impl Iterator<Item = &'a NodeName>,
        own: &NodeName,
    ) -> BTreeSet<NodeName> {
        let silent = |name: &&NodeName| !self.reporting.contains(*name) && *name != own;
        let given_up = |name: &&NodeName| self.lost.contains(*name) || self.listening >= BENEFIT;
        nodes.filter(silent).filter(given_up).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(numbers: &[u32]) -> BTreeSet<NodeName> {
        numbers.iter().map(|number| format!("node-{number}").parse().unwrap()).collect()
    }

    fn dead(heard: &Heard) -> BTreeSet<NodeName> {
        heard.dead(names(&[1, 2, 3]).iter(), &"node-1".parse().unwrap())
    }

    #[test]
    fn a_node_whose_lease_went_is_dead_at_once_and_lives_when_it_reports_again() {
        let mut heard = Heard::default();
        heard.note(names(&[1, 2, 3]));
        assert_eq!(dead(&heard), names(&[]));
        heard.note(names(&[1, 3]));
        assert_eq!(dead(&heard), names(&[2]));
        heard.note(names(&[1, 2, 3]));
        assert_eq!(dead(&heard), names(&[]));
    }

    #[test]
    fn a_node_that_was_never_heard_of_is_given_time_to_start() {
        let mut heard = Heard::default();
        heard.note(names(&[1]));
        assert_eq!(dead(&heard), names(&[]));
        heard.listening = BENEFIT;
        assert_eq!(dead(&heard), names(&[2, 3]));
    }

    #[test]
    fn who_asks_lives() {
        let mut heard = Heard { listening: BENEFIT, ..Heard::default() };
        heard.note(names(&[1, 2, 3]));
        heard.note(names(&[]));
        assert_eq!(dead(&heard), names(&[2, 3]));
    }
}
