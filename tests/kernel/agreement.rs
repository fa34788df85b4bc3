//! Linux agrees with the rehearsal.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use swarmlb::node::Node;

use crate::world::intents::{desired, published, story};
use crate::world::{agreement, apart, settled};

#[test]
fn linux_holds_what_is_desired_and_then_nothing() {
    apart(|| {
        agreement::holds_what_is_desired_and_then_nothing();
    });
}

#[test]
fn linux_holds_what_is_desired_after_each_of_many_random_edits() {
    apart(|| agreement::follows_random_edits(0x5eed_0001, 12));
}

#[test]
fn linux_does_each_operation_as_the_rehearsal_does() {
    apart(|| {
        let nothing = Node::default();
        let both = desired(&published());
        let mut kinds = agreement::agrees_op_by_op(&nothing, &both, |_| true);
        let mut changed = both.clone();
        change_all_that_can_change(&mut changed);
        kinds.extend(agreement::agrees_op_by_op(&both, &changed, |_| true));
        kinds.extend(agreement::agrees_op_by_op(&changed, &both, |_| true));
        kinds.extend(agreement::agrees_op_by_op(&both, &nothing, |_| true));
        let expected = [
            "Add Address",
            "Add BaseRule",
            "Add Dispatch",
            "Add Forwarding",
            "Add Guard",
            "Add Link",
            "Add Mark",
            "Add Namespace",
            "Add Neighbour",
            "Add Path",
            "Add Publication",
            "Add Route",
            "Add Sysctl",
            "Add Table",
            "Add Turn",
            "Add Veth",
            "Del Address",
            "Del BaseRule",
            "Del Dispatch",
            "Del Forwarding",
            "Del Guard",
            "Del Link",
            "Del Mark",
            "Del Namespace",
            "Del Neighbour",
            "Del Path",
            "Del Publication",
            "Del Route",
            "Del Sysctl",
            "Del Table",
            "Del Turn",
            "Del Veth",
            "Set Dispatch",
            "Set Forwarding",
            "Set Link",
            "Set Mark",
            "Set Neighbour",
            "Set Publication",
            "Set Sysctl",
            "Set Veth",
        ];
        let expected: BTreeSet<String> = expected.iter().map(ToString::to_string).collect();
        assert_eq!(kinds, expected);
    });
}

/// Another value for one of each kind that is changed in place.
fn change_all_that_can_change(node: &mut Node) {
    use swarmlb::intent::Fwmark;
    use swarmlb::node::LinkName;
    use swarmlb::node::{PortTo, Publication, Sysctl};
    let overlay = node.sandboxes.get_mut(&name("second")).expect("the overlay");
    let mut entry = overlay.forwarding.pop_first().expect("a way");
    entry.vtep = Ipv4Addr::new(192, 0, 2, 77);
    overlay.forwarding.insert(entry);
    let mut neighbour = overlay.neighbours.pop_first().expect("a neighbour");
    neighbour.mac.0[5] = 0x77;
    overlay.neighbours.insert(neighbour);
    overlay.links.get_mut(&LinkName::from("br0")).expect("the bridge").up = false;
    let port = overlay.links.iter_mut().find(|(link, _)| link.as_str().starts_with("v0"));
    port.expect("a port").1.up = false;
    let plain_1 = node.sandboxes.get_mut(&name("plain.1")).expect("the task");
    plain_1.links.get_mut(&LinkName::from("eth0")).expect("its end").mtu = 1400;
    let box_1 = node.sandboxes.get_mut(&name("collab-box.1")).expect("the task");
    box_1.sysctls.insert(Sysctl::ArpIgnore, 2);
    let table = box_1.table.as_mut().expect("its table");
    let dispatch = table.dispatches.get_mut(&Fwmark(0x100)).expect("a dispatch");
    dispatch.targets.remove(0);
    let vip = *table.marks.keys().next().expect("a mark");
    table.marks.insert(vip, Fwmark(0x1ff));
    for sandbox in node.sandboxes.values_mut() {
        let Some(table) = &mut sandbox.table else { continue };
        let held = std::mem::take(&mut table.publications);
        let to = |held: &Publication| match held.to {
            PortTo::Address { address, port } => PortTo::Address { address, port: port + 1 },
            PortTo::Mark(mark) => PortTo::Mark(Fwmark(mark.0 + 1)),
        };
        let changed = held.iter().map(|held| Publication { to: to(held), ..*held });
        table.publications = changed.collect();
    }
}

fn name(text: &str) -> swarmlb::node::SandboxName {
    swarmlb::node::SandboxName(text.into())
}

#[test]
fn a_plan_refused_half_way_is_undone() {
    apart(|| {
        use crate::world::shell;
        use swarmlb::kernel::{Kernel, Scope, carry_out};
        use swarmlb::plan::Plan;
        let mut world = settled();
        let desired = desired(&story());
        let plan = Plan::between(&Node::default(), &desired);
        // The rehearsal does not know of it: only Linux refuses.
        shell("ip netns add collabweb.2");
        let before = world.kernel.observe(&Scope::All).expect("Linux can be read");
        let refused = carry_out(&mut world.kernel, Node::default(), &plan).expect_err("refused");
        assert!(!refused.rehearsed && refused.left.is_empty(), "{refused:?}");
        assert_eq!(refused.undone, refused.number - 1);
        assert_eq!(world.kernel.observe(&Scope::All).expect("Linux can be read"), before);
        shell("ip netns del collabweb.2");
    });
}
