//! Namespaces of others on a network: let in, let go, deleted meanwhile, and otherwise left alone.

use std::time::Duration;

use crate::world::{Swarmlb, answers, apart, inside, request, shell, within};

/// A namespace that has something of everything that ours would have too.
fn legacy() {
    shell(
        "ip netns add legacy && ip -n legacy link set lo up && \
         ip -n legacy link add eth0 type bridge && \
         ip -n legacy link set eth0 addrgenmode none && ip -n legacy link set eth0 up && \
         ip -n legacy address add 198.51.100.1/24 dev eth0 && \
         ip -n legacy route add 203.0.113.0/24 dev eth0 proto 108 && \
         ip -n legacy route add local 203.0.113.9 dev lo table local proto 108 && \
         ip netns exec legacy nft add table ip swarmlb && \
         ip netns exec legacy nft add chain ip swarmlb x",
    );
}

fn seen() -> String {
    shell(
        "ip -n legacy link show; ip -n legacy -4 address; \
         ip -n legacy route show table all; ip netns exec legacy nft list ruleset; \
         ip netns exec legacy sh -c 'sysctl net.ipv4.conf.all net.ipv4.ip_forward'",
    )
}

const SOON: Duration = Duration::from_secs(40);

fn story() -> Swarmlb {
    let swarmlb = Swarmlb::new();
    swarmlb.good("network create --subnet 10.0.3.0/28 --subnet 10.0.5.0/24 --attachable blue");
    swarmlb.good("network create --subnet 10.0.4.0/24 closed");
    swarmlb.good("service create --replicas 3 --name web --network blue");
    swarmlb
}

#[test]
fn a_namespace_that_is_let_in_balances_resolves_and_is_found() {
    apart(|| {
        legacy();
        let before = seen();
        let swarmlb = story();
        swarmlb.good("network connect --alias old --ip 10.0.3.9 blue legacy");
        let tasks: Vec<String> =
            (0..3).map(|_| request("legacy", "10.0.3.2").expect("an answer").task).collect();
        let mut sorted = tasks.clone();
        sorted.sort();
        assert_eq!(sorted, ["web.1", "web.2", "web.3"], "{tasks:?}");
        assert_eq!(request("legacy", "10.0.3.3").expect("an answer").client, "10.0.3.9");
        assert_eq!(answers("legacy", "web").expect("an answer"), ["10.0.3.2"]);
        for name in ["old", "legacy", "legacy.blue"] {
            assert_eq!(answers("web.1", name).expect("an answer"), ["10.0.3.9"], "{name}");
        }
        let server = inside("legacy", || std::net::TcpListener::bind("10.0.3.9:7000"));
        let server = server.expect("it has the address");
        let address = "10.0.3.9:7000".parse().expect("an address");
        let reached = inside("web.2", || {
            std::net::TcpStream::connect_timeout(&address, Duration::from_secs(5))
        });
        reached.expect("a task reaches it");
        drop(server);
        // What comes and goes on the network comes and goes there too.
        swarmlb.good("service scale web=1");
        assert_eq!(request("legacy", "10.0.3.2").expect("an answer").task, "web.1");
        let told = swarmlb.good("network inspect blue");
        assert!(told.contains("legacy: 10.0.3.9 on its eth1, named legacy, old"), "{told}");
        let (_, said) = swarmlb.ending("network connect blue legacy", 2);
        assert!(said.contains("is on network `blue` already"), "{said}");
        swarmlb.good("network disconnect blue legacy");
        assert_eq!(seen(), before);
        swarmlb.good("network connect blue legacy");
        swarmlb.reset();
        assert_eq!(seen(), before);
        shell("ip netns del legacy");
    });
}

#[test]
fn a_namespace_that_is_let_in_is_looked_into_like_a_task() {
    apart(|| {
        legacy();
        let swarmlb = story();
        swarmlb.good("network connect --alias old blue legacy");
        let told = swarmlb.good("inspect vip web");
        assert!(told.contains("It works from all 4 sandboxes."), "{told}");
        for _ in 0..3 {
            request("legacy", "10.0.3.2").expect("an answer");
        }
        let counted = |swarmlb: &Swarmlb| {
            let walks = swarmlb.json("inspect vip web");
            let targets = walks[0]["targets"].as_array().expect("targets").iter();
            targets.map(|target| target["connections"].as_u64().expect("a number")).sum::<u64>()
        };
        assert_eq!(counted(&swarmlb), 3);
        // Its resolver, from its own point of view, and with those of all tasks.
        let asked = swarmlb.json("diag dns old --from legacy");
        assert_eq!((&asked[0]["sandbox"], &asked[0]["right"]), (&"legacy".into(), &true.into()));
        assert_eq!(swarmlb.json("diag dns tasks.web").as_array().map(Vec::len), Some(4));
        let (_, said) = swarmlb.ending("diag dns web --from legaci", 2);
        assert!(said.contains("did you mean `legacy`?"), "{said}");
        // A comparison whose client it is: its own counters agree with the replies.
        let line = "diag compare-dns-ipvs web --from legacy --requests 30";
        let report = swarmlb.json(line);
        assert_eq!(report["verdict"]["agrees"], true, "{report:#}");
        let vip = &report["ways"][1]["clients"][0];
        assert_eq!((&vip["client"], &vip["counters"]["agrees"]), (&"legacy".into(), &true.into()));
        // What sandboxes there are, and what is in this one: ours by name, and all else as it is.
        let listed = swarmlb.good("sandbox ls");
        let line = listed.lines().find(|line| line.starts_with("legacy ")).expect("it is listed");
        assert!(line.contains("attached") && line.contains("network blue"), "{line}");
        let dumped = swarmlb.good("sandbox dump legacy");
        for words in ["VIP of web", "service web (network blue)", "198.51.100.1/24"] {
            assert!(dumped.contains(words), "no `{words}` in {dumped}");
        }
        let dump = swarmlb.good("sandbox dump legacy --format json");
        let file = std::path::Path::new("/run/legacy.json");
        std::fs::write(file, dump).expect("a file");
        let told = swarmlb.good(&format!("inspect vip --from {}", file.display()));
        assert!(told.contains("10.0.3.2"), "{told}");
        std::fs::remove_file(file).expect("the file");
        // Each thing of ours that somebody breaks there is named, until the agent mends it.
        for (damage, rung) in [
            ("ip -n legacy route del local 10.0.3.2 table local", "route"),
            ("ip netns exec legacy nft flush chain ip $table mangle-out", "mark"),
            ("ip netns exec legacy nft flush chain ip $table filter-in", "fail-closed"),
        ] {
            let table = "table=$(ip netns exec legacy nft list tables | grep -o 'swarmlb-.*')";
            let broken = || {
                shell(&format!("{table}; {damage} 2>/dev/null || :"));
                swarmlb.broken("web")
            };
            let seen = within(rung, SOON, broken, |broken| broken.contains_key("legacy"));
            assert_eq!(seen["legacy"][0], rung);
            swarmlb.mended("web", SOON);
        }
        swarmlb.good("network disconnect blue legacy");
        let told = swarmlb.good("inspect vip web");
        assert!(told.contains("It works from all 3 sandboxes."), "{told}");
        assert!(!swarmlb.good("sandbox ls").contains("legacy"));
        swarmlb.reset();
        shell("ip netns del legacy");
    });
}

#[test]
fn a_namespace_by_its_process_on_two_networks_and_by_its_path() {
    apart(|| {
        let swarmlb = story();
        swarmlb.good("network create --subnet 10.0.6.0/24 --attachable --opt vni=7000 green");
        swarmlb.good("service create --name api --network green");
        shell("ip netns add other && ip -n other link set lo up");
        let mut process = swarmlb::kernel::program::command("ip")
            .args(["netns", "exec", "other", "sleep", "600"])
            .spawn()
            .expect("a process");
        let pid = process.id();
        let there = || {
            let own = std::fs::read_link(format!("/proc/{pid}/ns/net")).ok();
            own != std::fs::read_link("/proc/self/ns/net").ok()
        };
        within("it is in its namespace", Duration::from_secs(5), there, |there| *there);
        swarmlb.good(&format!("network connect blue {pid}"));
        swarmlb.good("network connect green /run/netns/other");
        assert!(request("other", "10.0.3.2").expect("an answer").task.starts_with("web."));
        assert_eq!(request("other", "10.0.6.2").expect("an answer").task, "api.1");
        swarmlb.good(&format!("network disconnect green {pid}"));
        assert!(request("other", "10.0.3.2").is_ok());
        assert!(request("other", "10.0.6.2").is_err());
        process.kill().and_then(|()| process.wait()).expect("it ends");
        swarmlb.good("network disconnect blue other");
        assert_eq!(shell("ip -n other -br link | grep -v ^lo || true"), "");
        assert_eq!(shell("ip netns exec other nft list ruleset"), "");
        shell("ip netns del other");
        swarmlb.reset();
    });
}

#[test]
fn a_namespace_that_is_deleted_meanwhile_is_nobodys_trouble() {
    apart(|| {
        legacy();
        let swarmlb = story();
        swarmlb.good("network connect blue legacy");
        shell("ip netns del legacy");
        swarmlb.good("service scale web=2");
        swarmlb.whole(Duration::from_secs(40));
        // Another one under the same name is another.
        shell("ip netns add legacy && ip -n legacy link set lo up");
        let (_, said) = swarmlb.ending("network rm blue", 2);
        assert!(said.contains("in use by service web and namespace legacy"), "{said}");
        swarmlb.good("network connect blue legacy");
        assert!(request("legacy", "10.0.3.2").is_ok());
        swarmlb.good("network disconnect blue legacy");
        swarmlb.good("network disconnect blue legacy");
        let (_, said) = swarmlb.ending("network disconnect blue legacy", 2);
        assert!(said.contains("is not on network `blue`"), "{said}");
        swarmlb.good("service rm web");
        swarmlb.good("network rm blue");
        shell("ip netns del legacy");
        swarmlb.reset();
    });
}

#[test]
fn what_cannot_be_let_in_is_refused_with_its_reason() {
    apart(|| {
        let swarmlb = story();
        shell("ip netns add down; touch /run/nothing");
        for (line, code, said) in [
            ("network connect closed down", 2, "its loopback is down"),
            ("network connect blue dawn", 2, "did you mean `down`?"),
            ("network connect blue 4000000", 2, "there is no process 4000000"),
            ("network connect blue /run/nothing", 2, "is no network namespace"),
            ("network connect blue /run/nowhere", 2, "No such file"),
            ("network connect blue web.1", 2, "a sandbox of swarmlb's own"),
            ("network connect blue 1", 2, "the node's own namespace"),
            ("network connect blu down", 2, "did you mean `blue`?"),
            ("network disconnect blue down", 2, "is not on network `blue`"),
        ] {
            let (_, heard) = swarmlb.ending(line, code);
            assert!(heard.contains(said), "{line}: {heard}");
        }
        shell("ip -n down link set lo up");
        let (_, heard) = swarmlb.ending("network connect closed down", 2);
        assert!(heard.contains("is not attachable") && heard.contains("--attachable"), "{heard}");
        assert_eq!(shell("ip -n down -br link | grep -v ^lo || true"), "");
        swarmlb.reset();
        shell("ip netns del down; rm /run/nothing");
    });
}
