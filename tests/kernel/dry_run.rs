//! `--dry-run | sh` makes the same node as the command itself.

use swarmlb::kernel::linux::{Linux, NoProcesses};
use swarmlb::kernel::{Kernel, Scope, carry_out};
use swarmlb::node::Node;
use swarmlb::plan::Plan;

use crate::world::{Swarmlb, apart, assert_same, shell};

fn observed() -> Node {
    Linux::new(NoProcesses).observe(&Scope::All).expect("Linux can be read")
}

/// Types what a dry run prints, takes that back, runs the command, and compares.
fn typed_and_done_alike(swarmlb: &Swarmlb, line: &str) {
    let before = observed();
    let script = swarmlb.good(&format!("{line} --dry-run"));
    // Its audit would take away what is typed.
    swarmlb.good("agent stop");
    assert_eq!(observed(), before, "the dry run of `{line}` changed something");
    let typed = shell(&format!("set -e\n{script}"));
    assert_eq!(typed, "");
    let by_hand = observed();
    assert_ne!(by_hand, before, "`{line}` changes nothing");
    let back = Plan::between(&by_hand, &before);
    carry_out(&mut Linux::new(NoProcesses), by_hand.clone(), &back).expect("it can be taken back");
    assert_same(&observed(), &before);
    swarmlb.good(line);
    assert_same(&observed(), &by_hand);
}

#[test]
fn typing_what_a_dry_run_prints_makes_the_same_node() {
    apart(|| {
        let swarmlb = Swarmlb::new();
        swarmlb.good("network create --subnet 10.0.9.0/24 first");
        for line in [
            "network create --subnet 10.0.3.0/24 collabnet",
            "service create --replicas 2 --name collabweb --network collabnet",
            "service create --name rr --network collabnet --endpoint-mode dnsrr",
            "service scale collabweb=3",
            "service scale collabweb=1",
        ] {
            typed_and_done_alike(&swarmlb, line);
        }
        swarmlb.reset();
    });
}

#[test]
fn typing_what_a_dry_run_of_connect_prints_lets_a_namespace_in_and_out() {
    apart(|| {
        let swarmlb = Swarmlb::new();
        swarmlb.good("network create --subnet 10.0.9.0/24 --subnet 10.0.8.0/24 --attachable first");
        swarmlb.good("service create --name web --network first");
        shell("ip netns add legacy && ip -n legacy link set lo up");
        let seen = || {
            shell(
                "ip -n legacy -br link | sed 's/@[^ ]*//'; ip -n legacy link | grep alias; \
                 ip -n legacy -br -4 address | sed 's/@[^ ]*//'; \
                 ip -n legacy -4 route show table all; \
                 ip netns exec legacy nft list ruleset",
            )
        };
        let seen = || (seen(), observed());
        shell("ip -n legacy link set lo alias theirs");
        let before = seen();
        let line = "network connect --ip 10.0.9.77 first legacy";
        let connect = swarmlb.good(&format!("{line} --dry-run"));
        swarmlb.good(line);
        let connected = seen();
        assert_ne!(connected, before);
        let disconnect = swarmlb.good("network disconnect first legacy --dry-run");
        swarmlb.good("network disconnect first legacy");
        swarmlb.good("agent stop");
        assert_eq!(seen(), before);
        shell(&format!("set -e\n{connect}"));
        assert_eq!(seen(), connected);
        shell(&format!("set -e\n{disconnect}"));
        assert_eq!(seen(), before);
        swarmlb.reset();
        shell("ip netns del legacy");
    });
}
