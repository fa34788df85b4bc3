//! Plans: the difference between what a node holds and what it shall hold, as ordered operations.
//!
//! Setup and teardown are written once: what is too much is removed in teardown order, and what is
//! missing is the inverse of removing it, reversed.

mod encryption;
mod index;
pub mod op;
pub mod order;
mod remade;
pub mod runbook;

use crate::node::{Dispatch, Node, Object, PortTo, Publication, SandboxName};
use index::{Index, Place};
pub use op::{Change, Op};
use remade::Remade;

/// Ordered operations.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    pub ops: Vec<Op>,
}

impl Plan {
    /// What turns `observed` into `desired`. Empty when they are equal. What swarmlb does not make
    /// (a foreign sandbox, a virtual server by address in one of ours) is left alone.
    pub fn between(observed: &Node, desired: &Node) -> Plan {
        let (have, want) = index::indexes(observed, desired);
        let remade = remade::remade(&have, &want);
        let (narrowed, widened) = dispatches(&have, &want, &remade);
        let gone = removals(observed, &have, &want, &remade);
        // What is sent under is changed before the old state goes; one that is made anew goes at once.
        let (outlived, gone): (Vec<_>, Vec<_>) = gone.into_iter().partition(|(sandbox, object)| {
            order::is_state(object) && !remade.contains(&(*sandbox, object.key()))
        });
        let mut added = removals(desired, &want, &have, &remade);
        let changed = changes(&have, &want, &remade, |object| !turns_packets(object));
        let steps = narrowed.len() + gone.len() + added.len() + changed.len() + widened.len();
        let mut ops = Vec::with_capacity(steps);
        ops.extend(narrowed);
        ops.extend(gone.into_iter().map(|place| op(place, Change::Del)));
        // Setup is teardown backwards. What is changed may become the port of a bridge that is made
        // here, so links come before.
        let ground = |object| order::is_link(object) || order::is_state(object);
        let links = added.iter().rev().take_while(|(_, object)| ground(object)).count();
        let others = added.len() - links;
        ops.extend(added.drain(others..).rev().map(|place| op(place, Change::Add)));
        ops.extend(changed);
        ops.extend(added.into_iter().rev().map(|place| op(place, Change::Add)));
        ops.extend(widened);
        ops.extend(changes(&have, &want, &remade, turns_packets));
        ops.extend(outlived.into_iter().map(|place| op(place, Change::Del)));
        Plan { ops }
    }

    /// What takes this plan back: the inverse of each operation, last one first.
    pub fn inverse(&self) -> Plan {
        Plan { ops: self.ops.iter().rev().map(Op::inverse).collect() }
    }

    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// The operations on kernel objects: all but starting and stopping processes.
    pub fn kernel_ops(&self) -> impl Iterator<Item = &Op> {
        self.ops.iter().filter(|op| !op.is_process())
    }
}

fn op((sandbox, object): (&SandboxName, &Object), change: fn(Object) -> Change) -> Op {
    Op { sandbox: sandbox.clone(), change: change(object.clone()) }
}

/// What is in `have` but not in `want`, and what is `remade`, in teardown order.
fn removals<'i>(
    node: &Node,
    have: &'i Index<'_>,
    want: &Index<'_>,
    remade: &Remade<'_>,
) -> Vec<(&'i SandboxName, &'i Object)> {
    let gone = |(at, object): &(&Place<'_>, &Object)| match want.contains(at) {
        false => object.is_of_our_kind(),
        true => remade.contains(*at),
    };
    let objects = have.iter().filter(gone).map(|((sandbox, _), object)| (*sandbox, object));
    order::teardown(node, objects)
}

/// Changes the targets of the nftables data plane in two steps: those that go are left out before
/// their tasks end, and those that come are taken in once their tasks run.
fn dispatches(have: &Index<'_>, want: &Index<'_>, remade: &Remade<'_>) -> (Vec<Op>, Vec<Op>) {
    let (mut narrowed, mut widened) = (Vec::new(), Vec::new());
    for (at, from) in have.iter().filter(|(at, _)| !remade.contains(at)) {
        let Some(to) = want.get(at).filter(|to| *to != from) else { continue };
        let (Object::Dispatch { fwmark, dispatch: old }, Object::Dispatch { dispatch: new, .. }) =
            (from, to)
        else {
            continue;
        };
        let goes = !old.each_not_of(new).is_empty();
        let come = new.each_not_of(old);
        let comes = !come.is_empty();
        let stay = new.targets.iter().filter(|target| !come.contains(target)).copied().collect();
        let middle = Object::Dispatch { fwmark: *fwmark, dispatch: Dispatch { targets: stay } };
        let step = |from: &Object, to: &Object| Op {
            sandbox: at.0.clone(),
            change: Change::Set { from: from.clone(), to: to.clone() },
        };
        match (goes, comes) {
            (true, true) => {
                narrowed.push(step(from, &middle));
                widened.push(step(&middle, to));
            }
            (true, false) => narrowed.push(step(from, to)),
            (false, _) => widened.push(step(from, to)),
        }
    }
    (narrowed, widened)
}

/// Whether it is what sends packets to a virtual server, or under a state: one that is built beside
/// the old one gets them when all of it stands.
fn turns_packets(object: &Object) -> bool {
    let marks = |held: &Publication| matches!(held.to, PortTo::Mark(_));
    match object {
        Object::Mark { .. } | Object::Policy(_) => true,
        Object::Publication(held) => marks(held),
        _ => false,
    }
}

/// Changes in place what is in both with another value, of the objects that `which` picks.
fn changes(
    have: &Index<'_>,
    want: &Index<'_>,
    remade: &Remade<'_>,
    which: impl Fn(&Object) -> bool,
) -> Vec<Op> {
    let changed = |(at, from): (&Place<'_>, &Object)| {
        let to = want.get(at)?;
        let in_steps = matches!(from, Object::Dispatch { .. });
        (from != to && which(from) && !remade.contains(at) && !in_steps).then(|| Op {
            sandbox: at.0.clone(),
            change: Change::Set { from: from.clone(), to: to.clone() },
        })
    };
    let mut ops: Vec<Op> = have.iter().filter_map(changed).collect();
    ops.sort_by_key(|op| std::cmp::Reverse(order::floor(op.object())));
    ops
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intent::tests::{service, story};
    use crate::lower::lower;
    use crate::node::{SandboxName, VirtualServerKey};

    fn node_1() -> crate::intent::NodeName {
        "node-1".parse().unwrap()
    }

    #[test]
    fn equal_nodes_have_an_empty_plan() {
        let node = lower(&story(), &node_1());
        assert!(Plan::between(&node, &node).is_empty());
    }

    #[test]
    fn a_plan_and_its_inverse_are_mirror_images() {
        let node = lower(&story(), &node_1());
        let setup = Plan::between(&Node::default(), &node);
        let teardown = Plan::between(&node, &Node::default());
        assert_eq!(setup.inverse(), teardown);
    }

    #[test]
    fn scaling_builds_the_new_order_beside_the_old_one_and_then_turns_the_packets_over() {
        let mut intent = story();
        let before = lower(&intent, &node_1());
        intent.drain_service(&"collabweb".parse().unwrap(), 2, 0).unwrap();
        let after = lower(&intent, &node_1());
        let plan = Plan::between(&before, &after);
        let elsewhere: Vec<String> = plan
            .ops
            .iter()
            .filter(|op| op.sandbox.as_str() == "collab-box.1")
            .map(|op| op.to_string())
            .collect();
        let ipvsadm = |words: &str| format!("ip netns exec collab-box.1 ipvsadm {words}");
        assert_eq!(
            elsewhere[..4],
            [
                ipvsadm("-e -f 256 -r 10.0.3.5:0 -m -w 0"),
                ipvsadm("-A -f 258 -s rr"),
                ipvsadm("-a -f 258 -r 10.0.3.3:0 -m -w 1"),
                ipvsadm("-a -f 258 -r 10.0.3.4:0 -m -w 1"),
            ]
        );
        assert!(
            elsewhere[4].contains("create element ip swarmlb vip-mark { 10.0.3.2 : 0x102 }"),
            "{elsewhere:?}"
        );
        assert_eq!(elsewhere.len(), 5);
    }

    #[test]
    fn an_old_mark_that_is_idle_goes_without_touching_the_new_one() {
        let mut intent = story();
        intent.drain_service(&"collabweb".parse().unwrap(), 4, 0).unwrap();
        let before = lower(&intent, &node_1());
        intent.forget_retired(&intent.retired_marks());
        let plan = Plan::between(&before, &lower(&intent, &node_1()));
        assert!(plan.ops.iter().all(|op| op.to_string().contains("-f 256")), "{plan:?}");
        assert!(!plan.is_empty());
    }

    #[test]
    fn on_nftables_a_target_goes_before_its_task_ends_and_comes_once_it_runs() {
        let mut intent = story();
        for node in intent.nodes.values_mut() {
            node.ipvs = false;
        }
        let three = lower(&intent, &node_1());
        intent.scale_service(&"collabweb".parse().unwrap(), 2).unwrap();
        let two = lower(&intent, &node_1());
        let places = |plan: &Plan| {
            let place = |wanted: fn(&Op) -> bool| plan.ops.iter().position(wanted).unwrap();
            let set = place(|op| matches!(op.change, Change::Set { .. }));
            (set, place(Op::is_process))
        };
        let (set, process) = places(&Plan::between(&three, &two));
        assert!(set < process, "narrowed at {set}, ended at {process}");
        let (set, process) = places(&Plan::between(&two, &three));
        assert!(set > process, "widened at {set}, started at {process}");
    }

    #[test]
    fn real_servers_are_added_last_pick_first_rotated_by_rank() {
        let node = lower(&story(), &node_1());
        let plan = Plan::between(&Node::default(), &node);
        let added = |sandbox: &str| -> Vec<String> {
            plan.ops
                .iter()
                .filter(|op| op.sandbox.as_str() == sandbox)
                .filter_map(|op| match &op.change {
                    Change::Add(Object::RealServer { server, key, .. })
                        if *server == VirtualServerKey::Fwmark(crate::intent::Fwmark(256)) =>
                    {
                        Some(key.address.to_string())
                    }
                    _ => None,
                })
                .collect()
        };
        // The kernel inserts at the head: what is added last is picked first.
        assert_eq!(added("collabweb.1"), ["10.0.3.5", "10.0.3.4", "10.0.3.3"]);
        assert_eq!(added("collabweb.2"), ["10.0.3.3", "10.0.3.5", "10.0.3.4"]);
        assert_eq!(added("collabweb.3"), ["10.0.3.4", "10.0.3.3", "10.0.3.5"]);
    }

    #[test]
    fn what_is_foreign_in_our_sandboxes_is_left_alone() {
        use crate::node::{Forwarding, Protocol, RealServer, RealServerKey, VirtualServer};
        let desired = lower(&story(), &node_1());
        let mut observed = desired.clone();
        let sandbox = observed.sandboxes.get_mut(&SandboxName("collabweb.1".into())).unwrap();
        let address = "10.9.9.9".parse().unwrap();
        let server = VirtualServer {
            scheduler: "wlc".into(),
            flags: 0,
            client_bits: 0,
            persistence: 0,
            rotation: Default::default(),
            real_servers: [(
                RealServerKey { address, port: 80 },
                RealServer::new(Forwarding::Masquerade, 1),
            )]
            .into(),
        };
        let key = VirtualServerKey::Address { protocol: Protocol::Tcp, address, port: 80 };
        sandbox.virtual_servers.insert(key, server);
        assert!(Plan::between(&observed, &desired).is_empty());
    }

    #[test]
    fn a_new_service_changes_nothing_that_is_there() {
        let mut intent = story();
        let before = lower(&intent, &node_1());
        service(&mut intent, "third", "collabnet", 2);
        let plan = Plan::between(&before, &lower(&intent, &node_1()));
        assert!(plan.ops.iter().all(|op| matches!(op.change, Change::Add(_))));
    }
}
