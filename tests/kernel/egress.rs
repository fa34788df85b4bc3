//! The way out: masquerading, isolation, and what is left of it afterwards. The outside is another
//! namespace of the test's own world; nothing leaves that.

use std::net::{SocketAddr, TcpStream};
use std::process::Child;
use std::time::Duration;

use swarmlb::kernel::program;

use crate::world::{Swarmlb, apart, inside, request_at, shell, within};

/// A neighbour of the machine at 192.0.2.2 that serves on port 8080 and has no route to tasks.
struct Outside {
    server: Child,
}

impl Outside {
    fn new() -> Self {
        shell(
            "ip netns add outside && ip link add up0 type veth peer up0 netns outside && \
             ip address add 192.0.2.1/24 dev up0 && ip link set up0 up && \
             ip -n outside address add 192.0.2.2/24 dev up0 && ip -n outside link set up0 up",
        );
        let mut command = program::command("ip");
        command.args(["netns", "exec", "outside", &binary(), "builtin", "whoami"]);
        let server = command.args(["--port", "8080"]).spawn().expect("a server");
        let outside = Self { server };
        within("the outside serves", Duration::from_secs(10), connects, |connects| *connects);
        outside
    }
}

fn connects() -> bool {
    connect(None, "192.0.2.2", 8080).is_ok()
}

impl Drop for Outside {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
        shell("ip link del up0; ip netns del outside");
    }
}

fn binary() -> String {
    swarmlb::environment::variable("SWARMLB_BIN")
        .unwrap_or_else(|| env!("CARGO_BIN_EXE_swarmlb").to_owned())
}

/// A connection from a sandbox, or from the machine itself, in half a second.
fn connect(from: Option<&str>, address: &str, port: u16) -> std::io::Result<()> {
    let server = SocketAddr::new(address.parse().expect("an address"), port);
    let attempt = || TcpStream::connect_timeout(&server, Duration::from_millis(500)).map(drop);
    match from {
        Some(sandbox) => inside(sandbox, attempt),
        None => attempt(),
    }
}

/// A task's address on the gateway bridge.
fn egress_of(task: &str, link: &str) -> String {
    let line = shell(&format!("ip -n {task} -br -4 address show dev {link}"));
    let net = line.split_whitespace().nth(2).expect("an address");
    net.split('/').next().expect("without its length").to_owned()
}

#[test]
fn a_task_reaches_the_outside_by_the_address_of_the_machine() {
    apart(|| {
        let outside = Outside::new();
        let swarmlb = Swarmlb::new();
        swarmlb.good("network create --subnet 10.0.3.0/24 blue");
        swarmlb.good("network create --subnet 10.0.4.0/24 --internal hidden");
        swarmlb.good("service create --replicas 2 --name web --network blue");
        swarmlb.good("service create --name both --network hidden --network blue");
        for task in ["web.1", "web.2", "both.1"] {
            let reply = request_at(task, "192.0.2.2", 8080).expect("an answer");
            assert_eq!(reply.client, "192.0.2.1", "{task}");
        }
        assert!(shell("ip -n both.1 route").contains("dev eth2 proto 108 src"));
        // Whoever is only on an internal network finds no way at all.
        swarmlb.good("service create --name inner --network hidden");
        let error = connect(Some("inner.1"), "192.0.2.2", 8080).expect_err("no way");
        assert_eq!(error.kind(), std::io::ErrorKind::NetworkUnreachable);
        assert_eq!(shell("ip -n inner.1 route show default"), "");
        swarmlb.good("inspect vip");
        swarmlb.reset();
        let left = shell("ip -br link; nft list tables; ip route");
        assert!(!left.contains("swlb") && !left.contains("swarmlb"), "{left}");
        assert_eq!(shell("sysctl -n net.ipv4.ip_forward"), "1\n", "others may rely on it");
        drop(outside);
    });
}

#[test]
fn nobody_reaches_a_task_over_the_gateway_bridge_but_its_own_machine() {
    apart(|| {
        let outside = Outside::new();
        let swarmlb = Swarmlb::new();
        swarmlb.good("network create --subnet 10.0.3.0/24 blue");
        swarmlb.good("service create --replicas 2 --name web --network blue");
        let target = egress_of("web.2", "eth1");
        connect(None, &target, 80).expect("the machine itself reaches it");
        assert!(connect(Some("web.1"), &target, 80).is_err(), "over the bridge");
        let gateway = shell("ip -n web.1 route show default");
        let gateway = gateway.split_whitespace().nth(2).expect("a gateway");
        shell(&format!("ip -n web.1 route add {target} via {gateway}"));
        assert!(connect(Some("web.1"), &target, 80).is_err(), "by way of the machine");
        shell(&format!("ip -n outside route add {target} via 192.0.2.1"));
        assert!(connect(Some("outside"), &target, 80).is_err(), "from the outside");
        swarmlb.reset();
        drop(outside);
    });
}

#[test]
fn two_clusters_on_one_machine_keep_out_of_each_others_way() {
    apart(|| {
        let outside = Outside::new();
        let (one, two) = (Swarmlb::new(), Swarmlb::new());
        one.good("network create --subnet 10.0.3.0/24 blue");
        two.good("network create --subnet 10.0.4.0/24 --opt vni=5000 green");
        one.good("service create --name web --network blue");
        two.good("service create --name api --network green");
        let bridges = || shell("ip -br link").matches("swlb-").count();
        let tables = || shell("nft list tables").matches("table ip swarmlb-").count();
        assert_eq!((bridges(), tables()), (2, 2));
        for task in ["web.1", "api.1"] {
            assert_eq!(request_at(task, "192.0.2.2", 8080).expect("an answer").client, "192.0.2.1");
        }
        one.reset();
        assert_eq!((bridges(), tables()), (1, 1));
        assert_eq!(request_at("api.1", "192.0.2.2", 8080).expect("an answer").client, "192.0.2.1");
        two.reset();
        drop(outside);
    });
}

#[test]
fn what_others_have_in_the_machines_namespace_stays_as_it_is() {
    apart(|| {
        // Much like ours, and none of ours.
        shell(
            "ip link add br0 type bridge && ip link add swlbac100002 type bridge && \
             ip link add eth0 type bridge && ip link set eth0 up && \
             ip address add 198.51.100.1/24 dev eth0 && \
             ip route add 203.0.113.0/24 dev eth0 proto 108 && nft add table ip swarmlb && \
             nft add table ip swarmlb-other && nft add chain ip swarmlb-other x",
        );
        let seen = || shell("ip -br link | sort; ip -4 route; nft list ruleset");
        let before = seen();
        let swarmlb = Swarmlb::new();
        swarmlb.good("network create --subnet 10.0.3.0/24 blue");
        swarmlb.good("service create --replicas 2 --name web --network blue");
        swarmlb.good("service rm web");
        swarmlb.good("agent stop");
        swarmlb.good("network rm blue");
        assert_eq!(seen(), before);
        swarmlb.reset();
        assert_eq!(seen(), before);
        shell("ip link del br0; ip link del swlbac100002; ip link del eth0; nft flush ruleset");
    });
}

#[test]
fn a_firewall_of_others_that_drops_is_told_and_left_alone() {
    apart(|| {
        let outside = Outside::new();
        shell(
            "nft add table ip filter && nft 'add chain ip filter FORWARD \
             { type filter hook forward priority 0; policy drop; }'",
        );
        let swarmlb = Swarmlb::new();
        let made = swarmlb.run("network create --subnet 10.0.3.0/24 blue");
        let said = String::from_utf8_lossy(&made.stderr).into_owned();
        assert!(made.status.success() && said.contains("chain filter FORWARD drops"), "{said}");
        assert!(swarmlb.good("system info").contains("DOCKER-USER"));
        swarmlb.good("service create --name web --network blue");
        assert!(connect(Some("web.1"), "192.0.2.2", 8080).is_err(), "it drops");
        // The cure that was told, in the words of nft.
        for way in ["iifname", "oifname"] {
            shell(&format!("nft add rule ip filter FORWARD {way} 'swlb-*' accept"));
        }
        connect(Some("web.1"), "192.0.2.2", 8080).expect("cured");
        swarmlb.reset();
        shell("nft delete table ip filter");
        drop(outside);
    });
}
