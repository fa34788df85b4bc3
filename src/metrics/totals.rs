//! What was balanced to each target so far: sums that never go down, of counters that do. The kernel's
//! begin anew with each virtual server, and go with each sandbox.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use crate::intent::Fwmark;
use crate::node::SandboxName;
use crate::trace::expected::Expected;
use crate::trace::vip::{Tally, Traffic};

/// A task behind a VIP.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TargetName {
    pub service: String,
    pub network: String,
    pub task: String,
}

/// What was sent to it since counting began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Total {
    pub connections: u64,
    /// None where the data plane does not count packets per target.
    pub packets: Option<u64>,
}

/// What was seen at the last look, and the sums.
#[derive(Debug, Default)]
pub struct Totals {
    seen: BTreeMap<(SandboxName, Fwmark, Ipv4Addr), Tally>,
    sums: BTreeMap<TargetName, Total>,
}

impl Totals {
    /// Adds what was counted since the last look; at the first one, since the kernel began to. Targets
    /// that are expected no more are forgotten.
    ///
    /// What was counted between the last look at something and its removal is not seen: sums may be too
    /// small by it, and are never too large.
    pub fn look(&mut self, expected: &[Expected], traffic: &Traffic) {
        let names = targets(expected);
        for (key, tally) in traffic {
            let before = self.seen.get(key).copied().unwrap_or_default();
            let (_, mark, address) = key;
            let Some(name) = names.get(&(*mark, *address)) else { continue };
            let sum = self.sums.entry(name.clone()).or_default();
            // Under the same name, what counts less is another one.
            let anew = tally.connections < before.connections || tally.packets < before.packets;
            let before = if anew { Tally::default() } else { before };
            sum.connections += tally.connections - before.connections;
            if let Some(packets) = tally.packets {
                let more = packets - before.packets.unwrap_or_default();
                sum.packets = Some(sum.packets.unwrap_or_default() + more);
            }
        }
        self.seen.clone_from(traffic);
        self.sums.retain(|name, _| names.values().any(|other| other == name));
    }

    /// The sum of a target; nothing where none of its packets was seen.
    pub fn of(&self, target: &TargetName) -> Total {
        self.sums.get(target).copied().unwrap_or_default()
    }
}

/// Who is meant by a mark and an address.
fn targets(expected: &[Expected]) -> BTreeMap<(Fwmark, Ipv4Addr), TargetName> {
    let mut targets = BTreeMap::new();
    for one in expected {
        let clients = one.clients.iter().map(|client| client.fwmark);
        let marks: Vec<Fwmark> = clients.chain([one.fwmark]).chain(one.retired.clone()).collect();
        for task in &one.tasks {
            let name = TargetName {
                service: one.service.clone(),
                network: one.network.clone(),
                task: task.task.clone(),
            };
            targets.extend(marks.iter().map(|mark| ((*mark, task.address), name.clone())));
        }
    }
    targets
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intent::tests::story;
    use crate::trace::expected::of_intent;

    const MARK: Fwmark = Fwmark(0x10c);

    fn expected() -> Vec<Expected> {
        let intent = story();
        let node = intent.nodes.keys().next().unwrap().clone();
        let mut expected =
            of_intent(&intent, &node, |service, _| service.name.as_str() == "collabweb");
        for one in &mut expected {
            one.fwmark = MARK;
            one.clients.iter_mut().for_each(|client| client.fwmark = MARK);
        }
        expected
    }

    fn seen(counts: &[(&str, u64)], to: Ipv4Addr) -> Traffic {
        let tally =
            |connections| Tally { connections, packets: Some(connections * 6), ..Tally::default() };
        counts
            .iter()
            .map(|(sandbox, count)| ((SandboxName((*sandbox).into()), MARK, to), tally(*count)))
            .collect()
    }

    #[test]
    fn sums_go_on_when_a_sandbox_goes_and_when_the_kernel_begins_anew() {
        let expected = expected();
        let (address, name) = {
            let one = &expected[0];
            let task = &one.tasks[0];
            let (service, network) = (one.service.clone(), one.network.clone());
            (task.address, TargetName { service, network, task: task.task.clone() })
        };
        let mut totals = Totals::default();
        let mut look = |counts: &[(&str, u64)]| {
            totals.look(&expected, &seen(counts, address));
            let Total { connections, packets } = totals.of(&name);
            assert_eq!(packets, Some(connections * 6));
            connections
        };
        assert_eq!(look(&[("a", 10), ("b", 5)]), 15, "what was there before counts");
        assert_eq!(look(&[("a", 12), ("b", 5)]), 17);
        assert_eq!(look(&[("a", 12)]), 17, "a sandbox went");
        assert_eq!(look(&[("a", 3)]), 20, "it began anew");
        assert_eq!(look(&[("a", 3), ("b", 1)]), 21, "it came again");
    }

    #[test]
    fn what_is_nobodys_is_not_counted_and_who_is_gone_is_forgotten() {
        let expected = expected();
        let mut totals = Totals::default();
        totals.look(&expected, &seen(&[("a", 4)], Ipv4Addr::new(192, 0, 2, 1)));
        assert!(totals.sums.is_empty());
        totals.look(&expected, &seen(&[("a", 4)], expected[0].tasks[0].address));
        assert_eq!(totals.sums.len(), 1);
        totals.look(&[], &Traffic::new());
        assert!(totals.sums.is_empty() && totals.seen.is_empty());
    }
}
