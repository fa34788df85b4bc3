//! What the kernel's tables hold, against what they shall hold and what `ipvsadm` says.

use std::collections::BTreeSet;

use swarmlb::node::{Node, Object};
use swarmlb::plan::{Change, Op, Plan};

use crate::with_ipvs;
use crate::world::intents::{crossing, desired, empty, network, service, story};
use crate::world::{Swarmlb, agreement, settled, shell};

#[test]
fn linux_holds_virtual_servers_as_desired_and_then_nothing() {
    with_ipvs(agreement::holds_what_is_desired_and_then_nothing);
}

#[test]
fn linux_holds_what_is_desired_after_each_of_some_random_edits() {
    with_ipvs(|| agreement::follows_random_edits(0x5eed_0002, 6));
}

#[test]
fn linux_does_each_operation_on_ipvs_as_the_rehearsal_does() {
    with_ipvs(|| {
        let mut intent = empty();
        network(&mut intent, "collabnet", "10.0.3.0/24");
        service(&mut intent, "collabweb", &["collabnet"], 2);
        let both = desired(&intent);
        let on_ipvs = |op: &Op| {
            matches!(op.object(), Object::VirtualServer { .. } | Object::RealServer { .. })
        };
        let mut kinds = agreement::agrees_op_by_op(&Node::default(), &both, on_ipvs);
        let mut changed = both.clone();
        let name = sandbox("collabweb.1");
        let sandbox = changed.sandboxes.get_mut(&name).expect("the task");
        for server in sandbox.virtual_servers.values_mut() {
            server.scheduler = "wlc".into();
            server.real_servers.values_mut().for_each(|real| real.weight = 7);
        }
        kinds.extend(agreement::agrees_op_by_op(&both, &changed, on_ipvs));
        kinds.extend(agreement::agrees_op_by_op(&changed, &Node::default(), on_ipvs));
        let expected = [
            "Add RealServer",
            "Add VirtualServer",
            "Del RealServer",
            "Del VirtualServer",
            "Set RealServer",
            "Set VirtualServer",
        ];
        let expected: BTreeSet<String> = expected.iter().map(ToString::to_string).collect();
        assert_eq!(kinds, expected);
    });
}

#[test]
fn what_ipvsadm_and_sysctl_say_is_what_was_asked_for() {
    with_ipvs(|| {
        let mut world = settled();
        world.become_node(&desired(&crossing()));
        // Both planes stand in one sandbox: `plain` is balanced by nftables.
        let rules = shell("ip netns exec plain.1 ipvsadm -Sn");
        let mut lines: Vec<&str> = rules.lines().collect();
        lines.sort_unstable();
        let mut expected = Vec::new();
        for (key, server) in &world.held.sandboxes[&sandbox("plain.1")].virtual_servers {
            let swarmlb::node::VirtualServerKey::Fwmark(mark) = key else { panic!("{key}") };
            expected.push(format!("-A -f {} -s rr", mark.0));
            for real in server.real_servers.keys() {
                expected.push(format!("-a -f {} -r {real} -m -w 1", mark.0));
            }
        }
        expected.sort();
        assert_eq!(lines, expected);
        assert_eq!(world.held.sandboxes[&sandbox("plain.1")].virtual_servers.len(), 2);
        for (setting, value) in &world.held.sandboxes[&sandbox("plain.1")].sysctls {
            let held = shell(&format!("ip netns exec plain.1 sysctl -n {setting}"));
            assert_eq!(held.trim(), value.to_string(), "{setting}");
        }
        let table = shell("ip netns exec plain.1 nft list table ip swarmlb");
        assert!(table.contains("numgen inc mod 2 vmap"), "{table}");
        world.become_node(&Node::default());
    });
}

#[test]
fn scaling_leaves_the_old_virtual_server_and_its_counters_until_no_connection_holds_it() {
    with_ipvs(|| {
        let swarmlb = Swarmlb::with_story();
        for _ in 0..6 {
            crate::world::request("collab-box.1", "10.0.3.2").expect("an answer");
        }
        let counted = || -> u64 {
            let name = sandbox("collab-box.1");
            let entries = swarmlb::kernel::traffic::entries(&name).expect("IPVS").expect("a table");
            let server = entries.iter().find(|entry| {
                entry.server.key
                    == swarmlb::kernel::ipvs::wire::Key::Fwmark {
                        mark: 0x100,
                        family: swarmlb::kernel::ipvs::wire::Family::V4,
                    }
            });
            server.expect("the virtual server").server.statistics.connections
        };
        // The kernel sums its counters up every two seconds.
        let longest = std::time::Duration::from_secs(10);
        crate::world::within("six connections are counted", longest, counted, |count| *count == 6);
        for replicas in [5, 2, 3] {
            swarmlb.good(&format!("service scale collabweb={replicas}"));
            let rules = shell("ip netns exec collab-box.1 ipvsadm -Sn");
            let mark = swarmlb.json("service inspect collabweb");
            let mark = mark[0]["vips"]["collabnet"]["fwmark"].as_u64().expect("a mark");
            let reals = format!("-a -f {mark} ");
            let reals = rules.lines().filter(|line| line.starts_with(&reals)).count();
            assert_eq!(reals, replicas, "{rules}");
            // TIME_WAIT is two minutes: nobody has forgotten the six.
            assert_eq!(counted(), 6, "the old virtual server was made anew");
        }
        swarmlb.reset();
    });
}

#[test]
fn a_plan_to_scale_builds_beside_what_is_there_and_then_turns_the_mark_over() {
    with_ipvs(|| {
        let mut intent = story();
        let mut world = settled();
        let before = desired(&intent);
        world.become_node(&before);
        intent.scale_service(&"collabweb".parse().expect("a name"), 2).expect("it can");
        let after = desired(&intent);
        let plan = Plan::between(&world.held, &after);
        for op in plan.ops.iter().filter(|op| op.sandbox != sandbox("collabweb.3")) {
            let allowed = match &op.change {
                Change::Del(object) => matches!(object, Object::RealServer { .. }),
                Change::Add(object) => {
                    matches!(object, Object::RealServer { .. } | Object::VirtualServer { .. })
                }
                Change::Set { to, .. } => matches!(to, Object::Mark { .. }),
            };
            assert!(allowed, "{op}");
        }
        world.become_node(&after);
        world.become_node(&Node::default());
    });
}

fn sandbox(name: &str) -> swarmlb::node::SandboxName {
    swarmlb::node::SandboxName(name.into())
}
