//! Published ports: from the machine itself, from the outside and from tasks, to all tasks in turn or to
//! the node's own.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::time::Duration;

use crate::world::{
    Lab, Swarmlb, apart, datagram_greeting, has_sctp, inside, request_at, sctp_greeting, shell,
    within,
};

/// A neighbour of the machine, which is 192.0.2.1 to it.
const OUTSIDE: &str = "ip netns add outside && ip link add up0 type veth peer up0 netns outside && \
     ip address add 192.0.2.1/24 dev up0 && ip link set up0 up && \
     ip -n outside address add 192.0.2.2/24 dev up0 && ip -n outside link set up0 up && \
     ip -n outside link set lo up";

const AWAY: &str = "ip link del up0; ip netns del outside";

const AUDITS: Duration = Duration::from_secs(40);

/// The machine's own namespace by a name, so that requests can be made from it as from others.
fn with_outside(test: impl FnOnce(&Swarmlb)) {
    shell(OUTSIDE);
    shell("touch /run/netns/machine && mount --bind /proc/self/ns/net /run/netns/machine");
    let swarmlb = Swarmlb::new();
    test(&swarmlb);
    swarmlb.reset();
    let left = shell("ip -br link; nft list ruleset; ip netns");
    assert!(!left.contains("swlb") && !left.contains("swarmlb"), "{left}");
    assert!(!left.contains("ingress"), "{left}");
    shell("umount /run/netns/machine && rm /run/netns/machine");
    shell(AWAY);
}

/// How often each task answered.
fn turns(from: &str, address: &str, port: u16, requests: usize) -> BTreeMap<String, usize> {
    let mut turns = BTreeMap::new();
    for _ in 0..requests {
        let reply = request_at(from, address, port);
        let reply = reply.unwrap_or_else(|error| panic!("{from} to {address}:{port}: {error}"));
        *turns.entry(reply.task).or_default() += 1;
    }
    turns
}

fn each(tasks: &[&str], count: usize) -> BTreeMap<String, usize> {
    tasks.iter().map(|task| ((*task).to_owned(), count)).collect()
}

#[test]
fn a_published_port_answers_from_all_tasks_in_turn_wherever_it_is_asked() {
    apart(|| {
        with_outside(|swarmlb| {
            swarmlb.good("service create --replicas 3 --name web -p 8080:80");
            let all = each(&["web.1", "web.2", "web.3"], 2);
            for (from, address) in [
                ("machine", "127.0.0.1"),
                ("machine", "192.0.2.1"),
                ("outside", "192.0.2.1"),
                ("web.1", "192.0.2.1"),
            ] {
                assert_eq!(turns(from, address, 8080, 6), all, "from {from} to {address}");
            }
            assert!(swarmlb.good("service ls").contains("*:8080->80/tcp"));
            assert_eq!(swarmlb.json("service inspect web")[0]["ports"][0]["published"], 8080);
            swarmlb.good("inspect vip");
            let told = swarmlb.good("inspect vip web");
            assert!(told.contains("A packet to *:8080->80/tcp:"), "{told}");
            // What is scaled away gets nothing more; what comes is met.
            swarmlb.good("service scale web=2");
            assert_eq!(turns("outside", "192.0.2.1", 8080, 6), each(&["web.1", "web.2"], 3));
            swarmlb.good("service scale web=4");
            let four = each(&["web.1", "web.2", "web.3", "web.4"], 2);
            assert_eq!(turns("outside", "192.0.2.1", 8080, 8), four);
            swarmlb.good("service scale web=0");
            assert!(request_at("outside", "192.0.2.1", 8080).is_err(), "nobody is there");
            swarmlb.good("service rm web");
            let left = shell("nft list ruleset; ip netns");
            assert!(!left.contains("8080") && !left.contains("ingress.sandbox"), "{left}");
            swarmlb.good("network rm ingress");
            assert!(!shell("ip netns").contains("ingress"));
        })
    });
}

#[test]
fn udp_and_sctp_are_published_as_tcp_is() {
    apart(|| {
        with_outside(|swarmlb| {
            let mut ports = "-p 7000:7/udp -p 7001:7".to_owned();
            let sctp = has_sctp();
            if sctp {
                ports.push_str(" -p 7002:7/sctp");
            } else {
                println!("skipped in part: this kernel has no SCTP");
            }
            swarmlb.good(&format!(
                "service create --replicas 2 --name echo {ports} builtin:echo --greet"
            ));
            for (from, address) in [("outside", "192.0.2.1"), ("machine", "127.0.0.1")] {
                let mut seen: Vec<String> = (0..4)
                    .map(|_| datagram_greeting(from, address, 7000).expect("an answer"))
                    .collect();
                seen.sort();
                assert_eq!(seen, ["echo.1", "echo.1", "echo.2", "echo.2"], "from {from}");
            }
            let greeting = inside("outside", || {
                let mut stream = std::net::TcpStream::connect("192.0.2.1:7001")?;
                stream.write_all(b"x\n")?;
                let mut buffer = [0; 6];
                stream
                    .read_exact(&mut buffer)
                    .map(|()| String::from_utf8_lossy(&buffer).into_owned())
            });
            assert!(greeting.expect("a greeting").starts_with("echo."));
            if sctp {
                let seen = sctp_greeting("outside", "192.0.2.1:7002");
                assert!(seen.expect("a greeting").starts_with("echo."));
            }
        })
    });
}

#[test]
fn a_host_port_leads_to_the_nodes_own_task_and_shows_it_its_client() {
    apart(|| {
        with_outside(|swarmlb| {
            swarmlb.good("service create --name web -p published=8080,target=80,mode=host");
            let reply = request_at("outside", "192.0.2.1", 8080).expect("an answer");
            assert_eq!((reply.task.as_str(), reply.client.as_str()), ("web.1", "192.0.2.2"));
            assert_eq!(turns("machine", "127.0.0.1", 8080, 2), each(&["web.1"], 2));
            assert!(swarmlb.good("service ps web").contains("*:8080->80/tcp"));
            assert!(!swarmlb.good("service ls").contains("8080"), "as in Docker, it is the tasks'");
            assert!(!shell("ip netns").contains("ingress"), "the mesh is not needed");
            swarmlb.good("service scale --detach web=2");
            let waits = swarmlb.good("service ps web");
            assert!(waits.contains("node-1 has a task of service web at port 8080/tcp"), "{waits}");
            swarmlb.good("service scale web=0");
            assert!(request_at("outside", "192.0.2.1", 8080).is_err());
        })
    });
}

#[test]
fn a_port_of_one_address_answers_only_there() {
    apart(|| {
        with_outside(|swarmlb| {
            shell("ip address add 192.0.2.9/24 dev up0");
            swarmlb.good("service create --name web -p 192.0.2.9:8080:80");
            for from in ["outside", "machine"] {
                assert_eq!(turns(from, "192.0.2.9", 8080, 1), each(&["web.1"], 1));
                assert!(request_at(from, "192.0.2.1", 8080).is_err(), "from {from}");
            }
            assert!(request_at("machine", "127.0.0.1", 8080).is_err());
            swarmlb.good("inspect vip");
            assert!(swarmlb.good("service ls").contains("192.0.2.9:8080->80/tcp"));
        })
    });
}

#[test]
fn a_port_that_is_taken_is_refused_with_its_owner() {
    apart(|| {
        with_outside(|swarmlb| {
            swarmlb.good("service create --name web -p 8080:80");
            let (_, said) = swarmlb.ending("service create --name other -p 8080:80", 2);
            assert!(said.contains("port 8080/tcp is published by service `web` already"), "{said}");
            let listener = TcpListener::bind("127.0.0.1:9000").expect("a free port");
            let (_, said) = swarmlb.ending("service create --name other -p 9000:80", 2);
            let me = format!("(pid {}) on this node", std::process::id());
            assert!(
                said.contains("port 9000/tcp is listened on by ") && said.contains(&me),
                "{said}"
            );
            drop(listener);
            let socket = UdpSocket::bind("0.0.0.0:30000").expect("a free port");
            swarmlb.good("service create --name other -p 9000:80 -p 7/udp");
            let ports = swarmlb.json("service inspect other")[0]["ports"].clone();
            assert_eq!(ports[1]["published"], 30001, "30000 is listened on: {ports}");
            drop(socket);
        })
    });
}

#[test]
fn a_port_that_a_program_of_another_node_has_is_refused_and_a_silent_node_is_told_of() {
    apart(|| {
        let lab = Lab::up(3);
        let status = lab.json("lab status");
        let pid = status[1]["pid"].to_string();
        let binary = lab.command("").get_program().to_owned();
        let mut holder = swarmlb::kernel::program::command("nsenter")
            .args(["-t", &pid, "-n", "-m", "-p"])
            .arg(binary)
            .args(["builtin", "echo", "--port", "9000"])
            .spawn()
            .expect("nsenter");
        let is_heard = || shell(&format!("nsenter -t {pid} -n ss -Hltn 'sport = :9000'"));
        within("it listens", AUDITS, is_heard, |said| !said.is_empty());
        let (_, said) = lab.ending("service create --name web -p 9000:80", 2);
        assert!(said.contains("port 9000/tcp is listened on by swarmlb (pid "), "{said}");
        assert!(said.contains(") on node node-2\n"), "{said}");
        // Where it is: nsenter only waits for it.
        shell(&format!("nsenter -t {pid} -p -m pkill -9 -f 'builtin echo --port 9000'"));
        holder.wait().expect("its end");
        within("it is gone", AUDITS, is_heard, String::is_empty);
        lab.good("lab kill-node node-3");
        let output = lab.run("service create --detach --name web -p 9000:80");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        let told = "Whether a program listens at the port on node node-3 is not known: ";
        assert!(said.contains(told) && !said.contains("node-2"), "{said}");
        lab.down();
    });
}

#[test]
fn nobody_reaches_localhost_from_outside_because_ports_are_published() {
    apart(|| {
        with_outside(|swarmlb| {
            let _listener = TcpListener::bind("127.0.0.1:9000").expect("a free port");
            swarmlb.good("service create --replicas 2 --name web -p 8080:80");
            let both = each(&["web.1", "web.2"], 2);
            assert_eq!(turns("machine", "127.0.0.1", 8080, 4), both);
            // A neighbour that knows how sends it to the machine all the same, from an address that
            // the answer would come back to.
            shell(
                "ip -n outside route del local 127.0.0.0/8 dev lo table local; \
                 ip -n outside route del local 127.0.0.1 dev lo table local; \
                 ip -n outside route add 127.0.0.0/8 via 192.0.2.1 src 192.0.2.2; ip netns exec outside sysctl -qw net.ipv4.conf.all.route_localnet=1; \
                 nft add table ip seen; \
                 nft 'add chain ip seen in { type filter hook prerouting priority -400; }'; \
                 nft 'add rule ip seen in iifname up0 ip daddr 127.0.0.1 counter'",
            );
            for port in [8080, 9000] {
                assert!(request_at("outside", "127.0.0.1", port).is_err(), "port {port}");
            }
            let seen = shell("nft list table ip seen");
            assert!(!seen.contains("packets 0"), "nothing came to the machine: {seen}");
            shell("nft delete table ip seen");
            assert_eq!(turns("machine", "127.0.0.1", 8080, 4), both);
            let task = shell("ip -n web.1 -br link show type veth");
            let link =
                task.lines().filter_map(|line| line.split('@').next()).max().expect("a link");
            // A task that knows how sends it to its gateway all the same.
            shell(&format!(
                "ip -n web.1 link set lo down; ip -n web.1 route add 127.0.0.0/8 dev {link} \
             via $(ip -n web.1 route show default | cut -d' ' -f3) src \
             $(ip -n web.1 route show default | grep -o 'src [0-9.]*' | cut -d' ' -f2) || :"
            ));
            assert!(request_at("web.1", "127.0.0.1", 9000).is_err());
            shell("ip -n web.1 link set lo up");
        })
    });
}

/// Where, what is done, and the step that must be named.
const DAMAGES: [(&str, &str, &str); 14] = [
    ("machine", "nft flush chain ip TABLE publish-in", "port"),
    ("machine", "nft delete element ip TABLE published '{ tcp . 8080 }'", "port"),
    ("machine", "nft delete table ip TABLE", "port"),
    ("machine", "sysctl -qw net.ipv4.conf.BRIDGE.route_localnet=0", "port"),
    ("ingress.sandbox", "nft flush chain ip swarmlb mangle-in", "mark"),
    ("ingress.sandbox", "nft flush chain ip swarmlb nat-source", "settings"),
    ("ingress.sandbox", "nft flush ruleset", "settings"),
    ("ingress.sandbox", "sysctl -qw net.ipv4.ip_forward=0", "settings"),
    ("web.1", "nft flush chain ip swarmlb publish-at-in", "redirect"),
    ("ingress.sandbox", "nft flush chain ip swarmlb nat-keep-8080", "settings"),
    ("web.2", "nft flush chain ip swarmlb mangle-entry", "redirect"),
    ("web.2", "ip rule flush priority 108", "redirect"),
    ("web.2", "ip route flush proto 108 table all type unicast", "redirect"),
    ("web.2", "sysctl -qw net.ipv4.tcp_fwmark_accept=0", "redirect"),
];

#[test]
fn every_rung_of_the_mesh_broken_by_hand_is_named_and_mended() {
    apart(|| {
        with_outside(|swarmlb| {
            let port = "published=8080,target=80,source=client";
            swarmlb.good(&format!("service create --replicas 2 --name web -p {port}"));
            let links = shell("ip -br link show type bridge");
            let bridge = links.split_whitespace().next().expect("a bridge").to_owned();
            let table = bridge.replace("swlb-", "swarmlb-");
            for (place, command, step) in DAMAGES {
                let command = command.replace("TABLE", &table).replace("BRIDGE", &bridge);
                within(
                    "the damage is named",
                    AUDITS,
                    || {
                        // The audit may come in between.
                        shell(&format!("ip netns exec {place} {command} 2>/dev/null || :"));
                        broken_step(swarmlb)
                    },
                    |broken| broken.as_deref() == Some(step),
                );
            }
            within("all is mended", AUDITS, || broken_step(swarmlb), Option::is_none);
            assert_eq!(turns("outside", "192.0.2.1", 8080, 4), each(&["web.1", "web.2"], 2));
            assert_eq!(turns("machine", "127.0.0.1", 8080, 4), each(&["web.1", "web.2"], 2));
        })
    });
}

fn broken_step(swarmlb: &Swarmlb) -> Option<String> {
    let walks = swarmlb.json("inspect vip web");
    let ladders =
        walks.as_array().into_iter().flatten().filter_map(|walk| walk["ladders"].as_array());
    let mut rungs = ladders.flatten().filter_map(|ladder| ladder["rungs"].as_array()).flatten();
    let broken = rungs.find(|rung| rung["holds"] == false)?;
    Some(broken["step"].as_str()?.to_owned())
}

/// How often each task answered a node of a lab.
fn turns_on(pid: &str, address: &str, requests: usize) -> BTreeMap<String, usize> {
    let line = format!("nsenter -t {pid} -n curl -sm5 http://{address}:8080/ | grep ^Task:");
    let mut turns = BTreeMap::new();
    for _ in 0..requests {
        let said = shell(&line);
        *turns.entry(said.trim_start_matches("Task:").trim().to_owned()).or_default() += 1;
    }
    turns
}

/// Whom each task saw as its client, by task, asked from a node of a lab.
fn clients_on(pid: &str, address: &str, requests: usize) -> BTreeMap<String, String> {
    let line = format!("nsenter -t {pid} -n curl -sm5 http://{address}:8080/");
    let word = |said: &str, key: &str| {
        let line = said.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
        line.unwrap_or_else(|| panic!("no {key} in {said}")).to_owned()
    };
    (0..requests)
        .map(|_| shell(&line))
        .map(|said| {
            let client = word(&said, "RemoteAddr:");
            let client = client.rsplit_once(':').map_or(client.clone(), |(at, _)| at.to_owned());
            (word(&said, "Task:"), client)
        })
        .collect()
}

#[test]
fn a_kept_source_is_the_clients_own_address_by_whichever_node_it_comes() {
    apart(|| {
        // As strict as distributions are about where packets come from.
        shell("sysctl -qw net.ipv4.conf.default.rp_filter=1 net.ipv4.conf.all.rp_filter=1");
        let lab = Lab::up(3);
        let line = "--constraint node.name!=node-3 --replicas 2 --name web";
        let port = "-p published=8080,target=80,source=client -p 8081:80";
        lab.good(&format!("service create {line} {port}"));
        let status = lab.json("lab status");
        let nodes: Vec<(String, String, String)> = status
            .as_array()
            .expect("nodes")
            .iter()
            .map(|node| {
                let text = |key: &str| node[key].as_str().expect("text").to_owned();
                (text("node"), node["pid"].to_string(), text("address"))
            })
            .collect();
        for (name, pid, own) in &nodes {
            lab.good(&format!("--node {name} inspect vip web"));
            // By each node to both tasks, wherever they run.
            for (_, _, address) in &nodes {
                let seen = clients_on(pid, address, 2);
                let both = ["web.1", "web.2"].map(|task| (task.to_owned(), own.clone()));
                assert_eq!(seen, both.into(), "{name} to {address}");
            }
            // What shares its address with other nodes' comes from the mesh, and is answered.
            assert_eq!(turns_on(pid, "127.0.0.1", 4), each(&["web.1", "web.2"], 2), "{name}");
            let seen = shell(&format!("nsenter -t {pid} -n curl -sm5 http://{own}:8081/"));
            assert!(!seen.contains(&format!("RemoteAddr: {own}")), "it is not kept: {seen}");
        }
        // Tasks that come later answer by all nodes too.
        lab.good("service scale web=4");
        let seen = clients_on(&nodes[0].1, &nodes[2].2, 4);
        assert!(seen.len() == 4 && seen.values().all(|client| *client == nodes[0].2), "{seen:?}");
        // What is large passes too, and what refuses is heard at once.
        let (pid, address) = (&nodes[2].1, &nodes[0].2);
        let large = "head -c 1000000 /dev/zero | curl -sm10 -o /dev/null -w '%{http_code}' -T -";
        let said = shell(&format!("nsenter -t {pid} -n sh -c \"{large} http://{address}:8080/\""));
        assert!(said.starts_with(['2', '4']), "{said}");
        lab.good("service rm web");
        for (_, pid, _) in &nodes {
            let left = shell(&format!("nsenter -t {pid} -n -m ip netns"));
            assert!(!left.contains("web"), "{left}");
        }
        lab.down();
    });
}

#[test]
fn a_range_is_published_port_by_port() {
    apart(|| {
        with_outside(|swarmlb| {
            swarmlb.good("service create --name web -p 8080-8081:80 -p 9000-9001:80-81");
            let ports = swarmlb.json("service inspect web")[0]["ports"].clone();
            let pair =
                |port: &serde_json::Value| (port["published"].clone(), port["target"].clone());
            let pairs: Vec<_> = ports.as_array().expect("ports").iter().map(pair).collect();
            let expected = [(8080, 80), (8081, 80), (9000, 80), (9001, 81)];
            assert_eq!(pairs, expected.map(|(one, other)| (one.into(), other.into())));
            for port in [8080, 8081, 9000] {
                assert_eq!(turns("outside", "192.0.2.1", port, 1), each(&["web.1"], 1));
            }
            let (_, said) = swarmlb.ending("service create --name x -p 8079-8080:80", 2);
            assert!(said.contains("port 8080/tcp is published by service `web` already"), "{said}");
        })
    });
}

#[test]
fn with_a_service_on_two_of_three_nodes_each_nodes_address_and_localhost_answer_from_both() {
    apart(|| {
        let lab = Lab::up(3);
        let line = "--constraint node.name!=node-3 --replicas 2 --name web -p 8080:80";
        lab.good(&format!("service create {line}"));
        assert_eq!(lab.nodes_of("web"), ["node-1", "node-2"]);
        let nodes = lab.json("lab status");
        let nodes = nodes.as_array().expect("nodes").clone();
        let both = each(&["web.1", "web.2"], 2);
        for node in &nodes {
            let (name, pid) = (node["node"].as_str().expect("a name"), node["pid"].to_string());
            lab.good(&format!("--node {name} inspect vip web"));
            assert_eq!(turns_on(&pid, "127.0.0.1", 4), both, "{name} by localhost");
            for other in &nodes {
                let address = other["address"].as_str().expect("an address");
                assert_eq!(turns_on(&pid, address, 4), both, "{name} to {address}");
            }
        }
        lab.good("service rm web");
        lab.down();
    });
}
