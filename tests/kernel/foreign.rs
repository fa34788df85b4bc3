//! Namespaces that others made: found, named, read, entered, and left as they were.

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt;

use serde_json::Value;
use swarmlb::kernel::linux::{Linux, NoProcesses};
use swarmlb::kernel::{Kernel, Scope, program};
use swarmlb::node::{Node, SandboxName};

use crate::world::{Swarmlb, apart, shell};

const DOCKER: &str = "/run/docker/netns";
/// As Docker names the sandbox that balances network ukva5yq4i….
const BALANCER: &str = "lb_ukva5yq4i";
const CONTAINER: &str = "b2bfa013ce3a";
const ID: &str = "78098b732bae4ce0a1b2c3d4e5f60718293a4b5c6d7e8f90112233445566ab12";

/// Whether the tools are there with which rules are made by hand.
fn has_iptables() -> bool {
    let missing =
        ["iptables-legacy", "iptables-nft"].into_iter().find(|name| program::find(name).is_none());
    let Some(missing) = missing else { return true };
    assert!(!crate::world::required("root"), "this test needs `{missing}`");
    println!("skipped: needs `{missing}`");
    false
}

/// Sandboxes in Docker's directory, gone when it is dropped.
struct Docker;

impl Docker {
    fn new() -> Self {
        shell(&format!("mkdir -p {DOCKER}"));
        for name in [BALANCER, CONTAINER] {
            let bind = format!("mount --bind /proc/self/ns/net {DOCKER}/{name}");
            shell(&format!("touch {DOCKER}/{name} && unshare --net sh -c '{bind}'"));
        }
        // Docker's own data, where this world alone sees it.
        shell("mount -t tmpfs tmpfs /var/lib");
        shell(&format!("mkdir -p /var/lib/docker/containers/{ID}"));
        let config = serde_json::json!({
            "ID": ID,
            "Name": "/web.1.jakczmkwdgv4bdhn0v4vqp0xk",
            "Config": { "Labels": {
                "com.docker.swarm.service.name": "web",
                "com.docker.swarm.task.name": "web.1.jakczmkwdgv4bdhn0v4vqp0xk",
            }},
            "NetworkSettings": {
                "SandboxKey": format!("/var/run/docker/netns/{CONTAINER}"),
                "Networks": { "blue": {
                    "NetworkID": "ukva5yq4iyyb8nohxe7ohvk9o", "IPAddress": "10.0.3.3",
                }},
            },
            "ResolvConfPath": format!("/var/lib/docker/containers/{ID}/resolv.conf"),
        });
        let directory = format!("/var/lib/docker/containers/{ID}");
        std::fs::write(format!("{directory}/config.v2.json"), config.to_string()).expect("a file");
        std::fs::write(format!("{directory}/resolv.conf"), "nameserver 127.0.0.11\n")
            .expect("a file");
        Self
    }

    /// Runs a line in one of its sandboxes.
    fn within(name: &str, line: &str) -> String {
        shell(&format!("nsenter --net={DOCKER}/{name} bash -ec '{line}'"))
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        for name in [BALANCER, CONTAINER] {
            shell(&format!("umount {DOCKER}/{name} && rm {DOCKER}/{name}"));
        }
        shell("umount /var/lib");
    }
}

/// Everything that a look could change: rules, tables that the kernel makes when asked, links, settings.
fn fingerprint(name: &str) -> BTreeSet<String> {
    let state = Docker::within(
        name,
        "nft -s list ruleset; \
         cat /proc/net/ip_tables_names /proc/net/ip6_tables_names /proc/net/arp_tables_names; \
         ip -d link; ip address; ip route show table all; ip -6 route show table all; ip rule; \
         ip neigh; bridge fdb; ip xfrm state; ip xfrm policy; sysctl -a -r ^net[.] 2>/dev/null",
    );
    let modules = std::fs::read_to_string("/proc/modules").unwrap_or_default();
    // Timers of bridges, and what counts by itself.
    let timeless = |line: &str| -> String {
        let mut words: Vec<&str> = line.split_whitespace().collect();
        while let Some(at) = words.iter().position(|word| word.ends_with("_timer")) {
            words.drain(at..(at + 2).min(words.len()));
        }
        words.join(" ")
    };
    let counts = |line: &&str| line.contains("nf_conntrack_count");
    let lines = state.lines().filter(|line| !counts(line)).map(timeless);
    lines.chain(modules.lines().map(str::to_owned)).collect()
}

fn fill() {
    Docker::within(
        BALANCER,
        "sysctl -qw net.ipv6.conf.default.disable_ipv6=1; ip link set lo up; ip link add br0 type bridge; ip addr add 10.0.3.1/24 dev br0; \
         ip link set br0 up; \
         ip link add vx type vxlan id 4097 dstport 4789 local 10.0.3.1 nolearning proxy; \
         ip link set vx master br0; ip link set vx up; \
         bridge fdb add 02:42:0a:00:03:03 dev vx dst 192.168.77.2 self permanent; \
         ip neigh add 10.0.3.3 lladdr 02:42:0a:00:03:03 dev vx nud permanent; \
         ip route add 192.0.2.0/24 via 10.0.3.9; ip rule add fwmark 0x7 lookup 77; \
         ip route add blackhole 198.51.100.0/24 table 77; sysctl -qw net.ipv4.ip_forward=1; \
         iptables-legacy -t mangle -A INPUT -d 10.0.3.2/32 -j MARK --set-mark 0x100; \
         iptables-nft -t nat -A OUTPUT -d 127.0.0.11/32 -p udp --dport 53 -j DNAT --to-destination 127.0.0.11:5353; \
         ip6tables-nft -A FORWARD -j DROP; nft add table inet guard; \
         nft \"add chain inet guard out { type filter hook forward priority 5; policy drop; }\"",
    );
    // A bridge takes a while to see that its port is up.
    crate::world::within(
        "the bridge is up",
        std::time::Duration::from_secs(10),
        || Docker::within(BALANCER, "ip -o link show br0"),
        |link| link.contains("state UP"),
    );
}

#[test]
fn what_others_made_is_shown_whole_and_left_as_it_was() {
    apart(|| {
        if !has_iptables() {
            return;
        }
        let swarmlb = Swarmlb::new();
        let docker = Docker::new();
        fill();
        let before = [BALANCER, CONTAINER].map(fingerprint);
        let text = swarmlb.good(&format!("sandbox dump {BALANCER}"));
        for line in [
            "# iptables-legacy",
            "[0:0] -A INPUT -d 10.0.3.2/32 -j MARK --set-xmark 0x100/0xffffffff",
            "# iptables-nft",
            "[0:0] -A OUTPUT -d 127.0.0.11/32 -p udp -m udp --dport 53 -j DNAT --to-destination 127.0.0.11:5353  # resolver",
            "# ip6tables-nft",
            "[0:0] -A FORWARD -j DROP",
            "table inet guard {",
            "\t\ttype filter hook forward priority filter + 5; policy drop;",
            "    10.0.3.1/24",
            "02:42:0a:00:03:03 dev vx dst 192.168.77.2 self permanent  # web.1",
            "10.0.3.3 dev vx lladdr 02:42:0a:00:03:03 PERMANENT  # web.1",
            "192.0.2.0/24 via 10.0.3.9 dev br0",
            "blackhole 198.51.100.0/24 table 77",
            "ip rule 32765: from all fwmark 0x7 lookup 77",
            "net.ipv4.ip_forward = 1",
        ] {
            assert!(text.lines().any(|held| held == line), "no `{line}` in:\n{text}");
        }
        assert!(
            text.contains("vxlan id 4097 local 10.0.3.1 dstport 4789 nolearning proxy"),
            "{text}"
        );
        assert!(!text.contains("table ip nat {"), "a table is shown twice:\n{text}");
        let mangle = swarmlb.good(&format!("sandbox dump {BALANCER} --table mangle"));
        assert!(mangle.contains("*mangle") && !mangle.contains("*nat"), "{mangle}");
        // What the tools themselves print, less their comments.
        let said = |line: &str| -> Vec<String> {
            let said = Docker::within(BALANCER, line);
            said.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
        };
        for (tables, tool) in [
            ("--table mangle", "iptables-legacy-save"),
            ("--table neigh", "ip neigh"),
            ("--table fdb", "bridge fdb"),
            ("--table routes", "ip route show table all; ip rule; ip -6 rule"),
            ("--table links", "ip -d address"),
        ] {
            let raw = swarmlb.good(&format!("sandbox dump {BALANCER} --raw {tables}"));
            let timer = |line: &String| line.contains("_timer");
            let mut raw: Vec<String> =
                raw.lines().filter(|l| !l.starts_with('#')).map(str::to_owned).collect();
            let mut expected = said(tool);
            raw.retain(|line| !timer(line));
            expected.retain(|line| !timer(line));
            // Packets that the kernel sends by itself are counted by policies meanwhile.
            for line in raw.iter_mut().chain(&mut expected).filter(|line| line.starts_with(':')) {
                line.truncate(line.find('[').unwrap_or(line.len()));
            }
            assert_eq!(raw, expected, "{tables}");
        }
        let raw = swarmlb.good(&format!(
            "sandbox dump {BALANCER} --raw --table mangle --table nat --table filter"
        ));
        let ruleset = said("nft list ruleset");
        let listed: Vec<&str> =
            raw.lines().skip_while(|line| *line != "# nft list ruleset").skip(1).collect();
        assert_eq!(listed, ruleset);
        // The one that holds nothing is the one where a look could make something.
        swarmlb.good(&format!("sandbox dump {CONTAINER}"));
        swarmlb.good(&format!("sandbox dump {CONTAINER} --raw"));
        swarmlb.json("sandbox dump --docker");
        swarmlb.good("sandbox ls --all");
        for (name, before) in [BALANCER, CONTAINER].into_iter().zip(before) {
            let after = fingerprint(name);
            let changed: Vec<&String> = after.symmetric_difference(&before).collect();
            assert!(changed.is_empty(), "{name} is not as it was: {changed:#?}");
        }
        drop(docker);
    });
}

#[test]
fn every_way_to_name_a_namespace_leads_to_it() {
    apart(|| {
        let swarmlb = Swarmlb::new();
        let docker = Docker::new();
        shell("ip netns add mine && ip netns add mind");
        let mut sleeper = program::command("unshare")
            .args(["--net", "sleep", "1000"])
            .spawn()
            .expect("unshare starts");
        let pid = sleeper.id();
        crate::world::within(
            "it is in a namespace of its own",
            std::time::Duration::from_secs(10),
            || std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default(),
            |comm| comm == "sleep\n",
        );
        let dumped = |argument: &str| -> String {
            let dump = swarmlb.json(&format!("sandbox dump {argument} --table links"));
            let contents = dump["contents"].as_object().expect("contents");
            contents.keys().cloned().collect::<Vec<_>>().join(" ")
        };
        for (argument, expected) in [
            ("mine", "mine"),
            ("/run/netns/mine", "mine"),
            (BALANCER, BALANCER),
            ("lb_", BALANCER),
            ("/run/docker/netns/lb_ukva5yq4i", BALANCER),
            ("b2bfa", CONTAINER),
            (&ID[..10], CONTAINER),
            ("web.1", CONTAINER),
            ("host", "host"),
            ("1", "host"),
            ("/proc/1/ns/net", "host"),
            (&pid.to_string(), &pid.to_string()),
            (&format!("/proc/{pid}/ns/net"), &pid.to_string()),
        ] {
            assert_eq!(dumped(argument), expected, "{argument}");
        }
        for (argument, problem) in [
            ("4194304", "there is no process 4194304, or it ended"),
            ("minr", "there is no such sandbox\nhint: did you mean `min"),
            ("nowhere-near", "there is no such sandbox\nhint: see `swarmlb sandbox ls --all`"),
            ("/proc/1/ns/mnt", "/proc/1/ns/mnt is no network namespace"),
            ("/etc/hostname", "/etc/hostname is no network namespace"),
            ("/run/netns", "/run/netns is no network namespace"),
            ("/run/nowhere", "there is no file /run/nowhere"),
        ] {
            let (_, told) = swarmlb.ending(&format!("sandbox dump {argument}"), 2);
            assert!(told.contains(problem), "{argument}: {told}");
        }
        let rows = swarmlb.json("sandbox ls --all");
        let told = |name: &str| -> String {
            let row = rows.as_array().expect("rows").iter().find(|row| row["name"] == name);
            let row = row.unwrap_or_else(|| panic!("no {name} in {rows}"));
            format!("{}: {}", row["kind"], row["belongs_to"]).replace('"', "")
        };
        assert_eq!(told(CONTAINER), "docker: container 78098b732bae (web.1), Docker service web");
        assert_eq!(told(BALANCER), "docker: load balancing of Docker network blue");
        assert_eq!(told("mine"), "named: -");
        assert_eq!(told("host"), "host: this machine");
        assert_eq!(told(&pid.to_string()), "anonymous: user root");
        let quiet = swarmlb.good("sandbox ls --docker -q");
        assert_eq!(quiet, format!("{CONTAINER}\n{BALANCER}\n"));
        assert_eq!(swarmlb.good("sandbox ls").lines().count(), 1, "none is ours");
        sleeper.kill().expect("it is there");
        sleeper.wait().expect("it ends");
        let (_, told) = swarmlb.ending(&format!("sandbox dump {pid}"), 2);
        assert!(told.contains(&format!("there is no process {pid}")), "{told}");
        shell("ip netns del mine && ip netns del mind");
        drop(docker);
    });
}

#[test]
fn a_command_runs_in_anybodys_sandbox_and_ends_as_it_ends() {
    apart(|| {
        let swarmlb = Swarmlb::new();
        let docker = Docker::new();
        shell("ip netns add mine && ip -n mine link add here type bridge");
        let run = |sandbox: &str, script: &str| {
            let mut command = swarmlb.command(&format!("sandbox exec {sandbox} -- bash -c"));
            command.arg(script).output().expect("it runs")
        };
        let said = |sandbox: &str, script: &str| {
            String::from_utf8_lossy(&run(sandbox, script).stdout).into_owned()
        };
        assert_eq!(
            said("mine", "ip -br link show here | cut -c1-4; ls /sys/class/net"),
            "here\nhere\nlo\n"
        );
        assert_eq!(said("web.1", "cat /etc/resolv.conf"), "nameserver 127.0.0.11\n");
        assert_eq!(said("mine", "cat /etc/resolv.conf"), shell("cat /etc/resolv.conf"));
        assert_eq!(run("mine", "exit 42").status.code(), Some(42));
        assert_eq!(run("mine", "kill -TERM $$").status.signal(), Some(15));
        swarmlb.ending("sandbox exec mine no-such-program", 127);
        swarmlb.ending("sandbox exec mine /no/such/program", 127);
        swarmlb.ending("sandbox exec mine /etc", 126);
        swarmlb.ending("sandbox exec nowhere true", 2);
        shell("ip netns del mine");
        drop(docker);
    });
}

#[test]
fn a_dump_of_our_own_is_the_node_that_the_kernel_holds_and_can_be_read_back() {
    apart(|| {
        // Without a way out: the node's own namespace is no sandbox that could be dumped by a name.
        let swarmlb = Swarmlb::new();
        swarmlb.good("network create --internal --subnet 10.0.3.0/24 collabnet");
        swarmlb.good("service create --replicas 3 --name collabweb --network collabnet");
        swarmlb.good("service create --name collab-box --network collabnet");
        let mut held = Linux::new(NoProcesses).observe(&Scope::All).expect("a node");
        let names: Vec<String> = held.sandboxes.keys().map(ToString::to_string).collect();
        let dump = swarmlb.json(&format!("sandbox dump {}", names.join(" ")));
        let mut node: Node = serde_json::from_value(dump.clone()).expect("a node");
        let task = &node.sandboxes[&SandboxName("collabweb.1".into())];
        assert!(task.process.is_some(), "the task's process is not in the dump");
        node.sandboxes.values_mut().for_each(|sandbox| sandbox.process = None);
        held.sandboxes.values_mut().for_each(|sandbox| sandbox.process = None);
        assert_eq!(node, held);
        let file = swarmlb.state().with_extension("json");
        std::fs::write(&file, dump.to_string()).expect("a file");
        let from =
            |words: &str| swarmlb.good(&format!("sandbox dump --from {} {words}", file.display()));
        let again: Value = serde_json::from_str(&from("--format json")).expect("JSON");
        assert_eq!(again, dump);
        let text = from("collabweb.1 --table routes");
        assert!(text.contains("local 10.0.3.2 dev lo table local proto 108"), "{text}");
        std::fs::remove_file(&file).expect("the file");
        swarmlb.reset();
    });
}
