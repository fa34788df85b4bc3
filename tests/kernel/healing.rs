//! What somebody changed by hand is named by `inspect vip` and mended by the audit.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::world::{Swarmlb, answers, apart, replies, request, shell, within};

/// An audit comes every 15 s; this is long enough for two and what they take.
const AUDITS: Duration = Duration::from_secs(40);

/// A sandbox, what is done in it, and the step of the ladder that must be named.
type Damage = (&'static str, &'static str, &'static str);

/// Each in a sandbox of its own, so that one audit mends them all.
const DAMAGES: [Damage; 15] = [
    ("client.1", "nft delete element ip swarmlb vip-mark '{ 10.0.3.2 }'", "mark"),
    ("client.2", "ip route del local 10.0.3.2 dev lo table local", "route"),
    ("client.3", "nft flush chain ip swarmlb filter-in", "fail-closed"),
    ("client.4", "nft delete table ip swarmlb", "mark"),
    ("client.5", "nft delete element ip swarmlb vips '{ 10.0.3.2 }'", "fail-closed"),
    ("client.6", "nft flush chain ip swarmlb mangle-out", "mark"),
    ("client.7", "nft flush chain ip swarmlb nat-out", "virtual-server"),
    ("client.8", "nft delete element ip swarmlb mark-chain '{ 0x100 }'", "virtual-server"),
    ("client.9", "nft flush chain ip swarmlb vs-0x100", "virtual-server"),
    ("client.10", "nft flush chain ip swarmlb rs-0x100-10.0.3.4", "virtual-server"),
    ("client.11", "sysctl -qw net.ipv4.conf.all.arp_ignore=0", "settings"),
    ("client.12", "nft insert rule ip swarmlb filter-in accept", "fail-closed"),
    (
        "client.13",
        "nft 'flush chain ip swarmlb mangle-out; delete chain ip swarmlb mangle-out; \
         add chain ip swarmlb mangle-out { type filter hook output priority 0; }; \
         add rule ip swarmlb mangle-out meta mark set ip daddr map @vip-mark'",
        "mark",
    ),
    (
        "client.14",
        "nft 'flush chain ip swarmlb vs-0x100; \
         add rule ip swarmlb vs-0x100 numgen inc mod 1 vmap { 0 : jump rs-0x100-10.0.3.4 }'",
        "real-servers",
    ),
    ("client.15", "nft flush ruleset", "mark"),
];

fn crowd() -> Swarmlb {
    let swarmlb = Swarmlb::new();
    swarmlb.good("network create --subnet 10.0.3.0/24 collabnet");
    swarmlb.good("service create --replicas 3 --name collabweb --network collabnet");
    swarmlb.good("service create --replicas 15 --name client --network collabnet");
    swarmlb
}

/// Damages, and looks at once. When the audit came in between, it is damaged again.
fn damaged(swarmlb: &Swarmlb, damages: &[Damage]) -> BTreeMap<String, Vec<String>> {
    within(
        "every damage is named",
        AUDITS,
        || {
            for (sandbox, command, _) in damages {
                // What is damaged still cannot be damaged again.
                shell(&format!("ip netns exec {sandbox} {command} 2>/dev/null || :"));
            }
            swarmlb.broken("collabweb")
        },
        |broken| damages.iter().all(|(sandbox, ..)| broken.contains_key(*sandbox)),
    )
}

#[test]
fn every_rung_broken_by_hand_is_named_and_mended() {
    apart(|| {
        let swarmlb = crowd();
        let broken = damaged(&swarmlb, &DAMAGES);
        for (sandbox, command, step) in DAMAGES {
            assert_eq!(broken[sandbox].first().map(String::as_str), Some(step), "{command}");
        }
        assert_eq!(broken.len(), DAMAGES.len(), "{broken:?}");
        swarmlb.mended("collabweb", AUDITS);
        for (sandbox, ..) in DAMAGES {
            assert_eq!(replies(sandbox, "10.0.3.2", 3).len(), 3, "from {sandbox}");
        }
        let log = std::fs::read_to_string(swarmlb.state().join("agent.log")).expect("its log");
        for (sandbox, command, _) in DAMAGES {
            let mends = |line: &str| {
                line.contains("mending what somebody changed: ")
                    && line.split(' ').any(|word| word == sandbox)
            };
            assert!(log.lines().any(mends), "{sandbox}, `{command}`: {log}");
        }
        swarmlb.good("inspect vip collabweb");
        swarmlb.reset();
    });
}

#[test]
fn an_agent_that_is_held_up_is_a_name_that_does_not_resolve() {
    apart(|| {
        let swarmlb = Swarmlb::with_story();
        let agent = swarmlb.role("agent").expect("it runs");
        let send = |signal: &str| shell(&format!("kill -{signal} {agent}"));
        send("STOP");
        let output = swarmlb.run("inspect vip collabweb");
        send("CONT");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("`collabweb` does not resolve: "), "{said}");
        swarmlb.mended("collabweb", AUDITS);
        swarmlb.reset();
    });
}

#[test]
fn a_broken_rung_is_told_in_words_and_with_exit_code_1() {
    apart(|| {
        let swarmlb = Swarmlb::with_story();
        damaged(&swarmlb, &[("collab-box.1", "nft flush map ip swarmlb vip-mark", "mark")]);
        let (said, _) = within(
            "exit code 1",
            AUDITS,
            || {
                shell("ip netns exec collab-box.1 nft flush map ip swarmlb vip-mark");
                let output = swarmlb.run("inspect vip collabweb");
                let text = String::from_utf8_lossy(&output.stdout).into_owned();
                (text, output.status.code())
            },
            |(_, code)| *code == Some(1),
        );
        assert!(said.contains("packets to 10.0.3.2 get no mark"), "{said}");
        assert!(said.contains("collab-box.1"), "{said}");
        swarmlb.reset();
    });
}

#[test]
fn an_endpoint_taken_from_its_bridge_or_deleted_is_mended() {
    apart(|| {
        let swarmlb = Swarmlb::with_story();
        let port = |address: &str| {
            let octets = address.split('.').map(|octet| octet.parse::<u8>().expect("an octet"));
            octets.fold("v".to_owned(), |name, octet| format!("{name}{octet:02x}"))
        };
        let first = port("10.0.3.3");
        let broken = within(
            "the tasks are named",
            AUDITS,
            || {
                shell(&format!("ip -n collabnet link set {first} nomaster"));
                shell("ip -n collabweb.2 link del eth0 2>/dev/null || :");
                shell("ip -n collabweb.3 link set eth0 down");
                swarmlb.json("inspect vip collabweb").to_string()
            },
            |text| {
                text.contains(&format!("port {first} is on no bridge"))
                    && text.contains("10.0.3.4 is on none of its links")
                    && text.contains("eth0 is down")
            },
        );
        println!("{} bytes of ladders", broken.len());
        swarmlb.mended("collabweb", AUDITS);
        assert_eq!(replies("collab-box.1", "10.0.3.2", 6).len(), 3);
        assert_eq!(replies("collabweb.2", "10.0.3.2", 6).len(), 3);
        swarmlb.reset();
    });
}

#[test]
fn a_namespace_deleted_under_a_task_is_made_anew() {
    apart(|| {
        let swarmlb = Swarmlb::with_story();
        shell("ip netns del collabweb.1");
        within(
            "the namespace is there, and named and balanced to",
            AUDITS,
            || std::path::Path::new("/run/netns/collabweb.1").exists(),
            |there| *there,
        );
        swarmlb.mended("collabweb", AUDITS);
        assert_eq!(answers("collabweb.1", "collabweb").expect("an answer"), ["10.0.3.2"]);
        within(
            "all three tasks answer",
            AUDITS,
            || (0..3).filter_map(|_| request("collab-box.1", "10.0.3.2").ok()).count(),
            |count| *count == 3,
        );
        assert_eq!(replies("collabweb.1", "10.0.3.2", 6).len(), 3);
        swarmlb.reset();
    });
}

#[test]
fn an_overlays_namespace_deleted_under_its_tasks_is_made_anew() {
    apart(|| {
        let swarmlb = Swarmlb::with_story();
        let pids = swarmlb.pids("collabweb");
        shell("ip netns del collabnet");
        within(
            "the overlay is there",
            AUDITS,
            || std::path::Path::new("/run/netns/collabnet").exists(),
            |there| *there,
        );
        swarmlb.mended("collabweb", AUDITS);
        assert_eq!(replies("collab-box.1", "10.0.3.2", 6).len(), 3);
        assert_eq!(swarmlb.pids("collabweb"), pids);
        swarmlb.reset();
    });
}

#[test]
fn foreign_things_in_our_sandboxes_are_left_alone() {
    apart(|| {
        let swarmlb = Swarmlb::with_story();
        let exec = "ip netns exec collabweb.1";
        shell(&format!("{exec} nft add table inet mine; {exec} nft add chain inet mine in"));
        shell(
            "ip -n collabweb.1 link add foreign type bridge && ip -n collabweb.1 addr add 192.0.2.1/24 dev foreign",
        );
        shell("ip -n collabweb.1 route add local 192.0.2.7/32 dev lo table local");
        damaged(&swarmlb, &[("collabweb.1", "nft delete table ip swarmlb", "mark")]);
        swarmlb.mended("collabweb", AUDITS);
        swarmlb.good("service scale collabweb=4");
        swarmlb.good("service scale collabweb=2");
        assert!(shell(&format!("{exec} nft list ruleset")).contains("table inet mine"));
        assert!(shell("ip -n collabweb.1 addr show foreign").contains("192.0.2.1/24"));
        assert!(
            shell("ip -n collabweb.1 route show table local").contains("local 192.0.2.7 dev lo")
        );
        // The sandbox is ours: when it goes, what others put into it goes along.
        swarmlb.good("service rm collabweb");
        swarmlb.reset();
    });
}
