//! The routing mesh with IPVS in its ingress sandbox: by all protocols, from outside and from here.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::with_ipvs;
use crate::world::{
    Swarmlb, datagram_greeting, has_sctp, request_at, sctp_greeting, shell, within,
};

/// A neighbour of the machine, which is 192.0.2.1 to it; and the machine's own namespace by a name.
const OUTSIDE: &str = "ip netns add outside && ip link add up0 type veth peer up0 netns outside && \
     ip address add 192.0.2.1/24 dev up0 && ip link set up0 up && \
     ip -n outside address add 192.0.2.2/24 dev up0 && ip -n outside link set up0 up && \
     touch /run/netns/machine && mount --bind /proc/self/ns/net /run/netns/machine";

const AWAY: &str = "umount /run/netns/machine; rm /run/netns/machine; ip link del up0; \
     ip netns del outside";

const WAYS: [(&str, &str); 3] =
    [("outside", "192.0.2.1"), ("machine", "127.0.0.1"), ("web.1", "192.0.2.1")];

fn turns(from: &str, address: &str, requests: usize) -> BTreeMap<String, usize> {
    let mut turns = BTreeMap::new();
    for _ in 0..requests {
        let reply = request_at(from, address, 8080);
        let reply = reply.unwrap_or_else(|error| panic!("{from} to {address}: {error}"));
        *turns.entry(reply.task).or_default() += 1;
    }
    turns
}

fn each(tasks: &[&str], count: usize) -> BTreeMap<String, usize> {
    tasks.iter().map(|task| ((*task).to_owned(), count)).collect()
}

#[test]
fn published_ports_are_balanced_by_ipvs_whoever_asks() {
    with_ipvs(|| {
        shell(OUTSIDE);
        let swarmlb = Swarmlb::new();
        swarmlb.good("service create --replicas 3 --name web -p 8080:80");
        let web = ["web.1", "web.2", "web.3"];
        for (from, address) in WAYS {
            assert_eq!(turns(from, address, 6), each(&web, 2), "from {from}");
        }
        let walks = swarmlb.json("inspect vip web");
        let mesh =
            walks.as_array().expect("walks").iter().find(|walk| walk["network"] == "ingress");
        let mesh = mesh.expect("the mesh's walk");
        assert_eq!((&mesh["data_plane"], &mesh["scheduler"]), (&"ipvs".into(), &"rr".into()));
        swarmlb.good("inspect vip");
        // What leaves gets nothing more, what comes is met, and turns begin anew for all.
        swarmlb.good("service scale web=2");
        assert_eq!(turns("outside", "192.0.2.1", 6), each(&web[..2], 3));
        swarmlb.good("service scale web=4");
        let four = each(&["web.1", "web.2", "web.3", "web.4"], 2);
        assert_eq!(turns("outside", "192.0.2.1", 8), four);
        swarmlb.good("service scale web=0");
        assert!(request_at("outside", "192.0.2.1", 8080).is_err(), "nobody is there");
        swarmlb.good("service scale web=2");
        // Damage is named and mended.
        shell("ip netns exec ingress.sandbox ipvsadm -C");
        let broken = || swarmlb.run("inspect vip web").status.code();
        within("it is mended", Duration::from_secs(60), broken, |code| *code == Some(0));
        assert_eq!(turns("machine", "127.0.0.1", 4), each(&web[..2], 2));
        swarmlb.reset();
        shell(AWAY);
    });
}

#[test]
fn udp_sctp_and_host_ports_answer_where_ipvs_balances() {
    with_ipvs(|| {
        shell(OUTSIDE);
        let swarmlb = Swarmlb::new();
        let ports = "-p 7000:7/udp -p 7002:7/sctp";
        swarmlb
            .good(&format!("service create --replicas 2 --name echo {ports} builtin:echo --greet"));
        for (from, address) in &WAYS[..2] {
            let asked = |_| datagram_greeting(from, address, 7000).expect("an answer");
            let mut seen: Vec<String> = (0..4).map(asked).collect();
            seen.sort();
            assert_eq!(seen, ["echo.1", "echo.1", "echo.2", "echo.2"], "from {from}");
        }
        if has_sctp() {
            let greeting = |_| sctp_greeting("outside", "192.0.2.1:7002").expect("a greeting");
            let mut seen: Vec<String> = (0..2).map(greeting).collect();
            seen.sort();
            assert!(seen[0].starts_with("echo.1") && seen[1].starts_with("echo.2"), "{seen:?}");
        } else {
            println!("skipped in part: this kernel has no SCTP");
        }
        swarmlb.good("service create --name own -p mode=host,published=8080,target=80");
        let reply = request_at("outside", "192.0.2.1", 8080).expect("an answer");
        assert_eq!((reply.task.as_str(), reply.client.as_str()), ("own.1", "192.0.2.2"));
        swarmlb.good("inspect vip");
        swarmlb.reset();
        shell(AWAY);
    });
}

#[test]
fn a_kept_source_is_the_clients_own_address_where_ipvs_balances() {
    with_ipvs(|| {
        shell(OUTSIDE);
        let swarmlb = Swarmlb::new();
        let port = "published=8080,target=80,source=client";
        swarmlb.good(&format!("service create --replicas 2 --name web -p {port}"));
        for (from, address, client) in [
            ("outside", "192.0.2.1", Some("192.0.2.2")),
            ("machine", "192.0.2.1", Some("192.0.2.1")),
            ("machine", "127.0.0.1", None),
            ("web.1", "192.0.2.1", None),
        ] {
            let mut seen = BTreeMap::new();
            for _ in 0..4 {
                let reply = request_at(from, address, 8080).expect("an answer");
                if let Some(client) = client {
                    assert_eq!(reply.client, client, "from {from} to {address}");
                }
                *seen.entry(reply.task).or_default() += 1;
            }
            assert_eq!(seen, each(&["web.1", "web.2"], 2), "from {from} to {address}");
        }
        swarmlb.good("inspect vip");
        swarmlb.reset();
        shell(AWAY);
    });
}
