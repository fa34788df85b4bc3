//! Tables that we make as `ipvsadm` lists them, and tables that `ipvsadm` makes as we read them.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::time::Duration;

use swarmlb::kernel::ipvs::wire::{
    Change, Family, FamilyId, Flags, Forwarding, Key, Netmask, Protocol, Query, RealServer, Reply,
    Timeouts, Tunnel, TunnelKind, VirtualServer, replies,
};
use swarmlb::kernel::ipvs::{Ipvs, connections};
use swarmlb::kernel::netlink::Netlink;
use swarmlb::kernel::{netns, program};
use swarmlb::node::{Connection, Entry};

use crate::with_ipvs;
use crate::world::{inside, shell, within};

const NETLINK_GENERIC: isize = 16;

/// A namespace with a socket that speaks our codec.
struct Table {
    namespace: File,
    netlink: Netlink,
    family: FamilyId,
}

impl Table {
    fn new() -> Self {
        shell("ip netns add listing; ip -n listing link set lo up");
        let namespace = netns::open("listing").expect("it was just made");
        let netlink = Netlink::open(namespace.as_fd(), NETLINK_GENERIC).expect("netlink");
        let mut table = Self { namespace, netlink, family: FamilyId(0) };
        table.family = match table.ask(&Query::Family) {
            Reply::Family(family) => family.id,
            other => panic!("{other:?}"),
        };
        table
    }

    fn does(&mut self, changes: &[Change<'_>]) {
        let family = self.family;
        let outcomes = self.netlink.batch(changes, |change, bytes| {
            change.write(family, 0, bytes);
            Ok(())
        });
        assert_eq!(outcomes, vec![Ok(()); changes.len()]);
    }

    fn ask(&mut self, query: &Query<'_>) -> Reply {
        let answers = self.netlink.get(query.to_bytes(self.family, 0)).expect("an answer");
        let answer = replies(answers[0].as_bytes(), self.family).next().expect("an answer");
        answer.expect("one that can be read").reply
    }

    fn entries(&self) -> Vec<Entry> {
        let mut ipvs = Ipvs::open(self.namespace.as_fd()).expect("IPVS").expect("IPVS");
        sorted(ipvs.entries().expect("the tables"))
    }
}

fn ipvsadm(arguments: &str) -> String {
    let run = || program::command("ipvsadm").args(arguments.split_whitespace()).output();
    let output = inside("listing", run).expect("it starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "`ipvsadm {arguments}` failed: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn sorted(mut entries: Vec<Entry>) -> Vec<Entry> {
    for entry in &mut entries {
        entry.server.flags = entry.server.flags.without(Flags::HASHED);
        entry.real_servers.sort_by_key(|real| (real.address, real.port));
    }
    entries.sort_by_key(|entry| entry.server.key);
    entries
}

fn v4(last: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, 3, last).into()
}

fn v6(last: u16) -> IpAddr {
    Ipv6Addr::new(0xfd00, 3, 0, 0, 0, 0, 0, last).into()
}

fn tunnel(last: u8, kind: TunnelKind, port: u16, flags: u16) -> RealServer {
    let tunnel = Tunnel { kind, port, flags };
    RealServer { tunnel, ..RealServer::new(v4(last), 80, Forwarding::Tunnel) }
}

/// Every field of the protocol with a value of its own.
fn everything() -> Vec<Entry> {
    let server = |key, scheduler: &str| VirtualServer::new(key, scheduler.parse().expect("a name"));
    let at = |protocol, address, port| Key::Address { protocol, address, port };
    let masquerade = |address| RealServer::new(address, 0, Forwarding::Masquerade);
    let hashed = Flags::SCHEDULER_1 | Flags::SCHEDULER_2;
    let entry = |server, real_servers| Entry { server, real_servers };
    sorted(vec![
        entry(
            server(Key::Fwmark { mark: 268, family: Family::V4 }, "wrr"),
            vec![
                masquerade(v4(3)),
                RealServer {
                    weight: 3,
                    upper_threshold: 100,
                    lower_threshold: 50,
                    ..masquerade(v4(4))
                },
            ],
        ),
        entry(
            VirtualServer {
                flags: Flags::PERSISTENT,
                timeout: 360,
                netmask: Netmask::V6(64),
                ..server(Key::Fwmark { mark: 268, family: Family::V6 }, "wlc")
            },
            vec![masquerade(v6(3))],
        ),
        entry(
            server(at(Protocol::TCP, v4(2), 80), "wrr"),
            vec![
                RealServer { weight: 0, ..RealServer::new(v4(5), 80, Forwarding::Route) },
                tunnel(6, TunnelKind::Ipip, 0, 0),
                tunnel(7, TunnelKind::Gue, 6080, 1),
                tunnel(8, TunnelKind::Gre, 0, 1),
                tunnel(9, TunnelKind::Gue, 6081, 2),
                RealServer::new(v6(9), 80, Forwarding::Tunnel),
            ],
        ),
        entry(
            VirtualServer { flags: hashed, ..server(at(Protocol::TCP, v4(2), 81), "mh") },
            vec![],
        ),
        entry(
            VirtualServer {
                flags: Flags::ONE_PACKET,
                ..server(at(Protocol::UDP, v4(2), 53), "rr")
            },
            vec![],
        ),
        entry(
            VirtualServer {
                flags: Flags::PERSISTENT,
                timeout: 60,
                netmask: Netmask::V4(Ipv4Addr::new(255, 255, 255, 0)),
                persistence_engine: Some("sip".parse().expect("a name")),
                ..server(at(Protocol::UDP, v4(2), 5060), "rr")
            },
            vec![],
        ),
        entry(
            VirtualServer { flags: hashed, ..server(at(Protocol::SCTP, v6(2), 9), "sh") },
            vec![RealServer::new(v6(4), 9, Forwarding::Route)],
        ),
    ])
}

/// The virtual server in the words of `ipvsadm -Sn`.
fn key(key: &Key) -> String {
    match key {
        Key::Fwmark { mark, family: Family::V4 } => format!("-f {mark}"),
        Key::Fwmark { mark, family: Family::V6 } => format!("-f {mark} -6"),
        Key::Address { protocol, address, port } => {
            let option = match *protocol {
                Protocol::TCP => "-t",
                Protocol::UDP => "-u",
                _ => "--sctp-service",
            };
            format!("{option} {}", SocketAddr::new(*address, *port))
        }
    }
}

fn server_line(server: &VirtualServer) -> String {
    let mut line = format!("-A {} -s {}", key(&server.key), server.scheduler);
    if server.flags.contains(Flags::PERSISTENT) {
        line.push_str(&format!(" -p {}", server.timeout));
        match server.netmask {
            Netmask::V4(Ipv4Addr::BROADCAST) | Netmask::V6(128) => {}
            Netmask::V4(mask) => line.push_str(&format!(" -M {mask}")),
            Netmask::V6(length) => line.push_str(&format!(" -M {length}")),
        }
    }
    if let Some(engine) = &server.persistence_engine {
        line.push_str(&format!(" --pe {engine}"));
    }
    if server.flags.contains(Flags::ONE_PACKET) {
        line.push_str(" -o");
    }
    if server.flags.contains(Flags::SCHEDULER_1 | Flags::SCHEDULER_2) {
        line.push_str(&format!(" -b {0}-fallback,{0}-port", server.scheduler));
    }
    line
}

fn real_line(server: &Key, real: &RealServer) -> String {
    let end = SocketAddr::new(real.address, real.port);
    let forwarding = match real.forwarding {
        Forwarding::Masquerade => "-m",
        Forwarding::Tunnel => "-i",
        Forwarding::Route => "-g",
        other => panic!("{other:?}"),
    };
    let mut line = format!("-a {} -r {end} {forwarding} -w {}", key(server), real.weight);
    if real.forwarding == Forwarding::Tunnel {
        let Tunnel { kind, port, flags } = real.tunnel;
        line.push_str(match kind {
            TunnelKind::Ipip => " --tun-type ipip",
            TunnelKind::Gue => " --tun-type gue",
            TunnelKind::Gre => " --tun-type gre",
            TunnelKind::Other(_) => panic!("{kind:?}"),
        });
        if kind == TunnelKind::Gue {
            line.push_str(&format!(" --tun-port {port}"));
        }
        line.push_str(["", " --tun-csum", " --tun-remcsum"][usize::from(flags)]);
    }
    line
}

/// Lines as `ipvsadm -Sn` prints them, sorted; it leaves out thresholds.
fn saved(entries: &[Entry]) -> Vec<String> {
    let of_one = |entry: &Entry| {
        let reals = entry.real_servers.iter().map(|real| real_line(&entry.server.key, real));
        [server_line(&entry.server)].into_iter().chain(reals).collect::<Vec<_>>()
    };
    let mut lines: Vec<String> = entries.iter().flat_map(of_one).collect();
    lines.sort();
    lines
}

fn says(arguments: &str) -> Vec<String> {
    let mut lines: Vec<String> =
        ipvsadm(arguments).lines().map(|line| line.trim().into()).collect();
    lines.sort();
    lines
}

/// The words behind the first, of the line that begins with it.
fn figures(listing: &str, first: &str) -> Vec<String> {
    let line = listing.lines().find(|line| line.contains(&format!("{first} ")));
    let line = line.unwrap_or_else(|| panic!("no {first} in {listing}"));
    line.split_once(first)
        .map(|(_, rest)| rest)
        .unwrap_or_default()
        .split_whitespace()
        .map(str::to_owned)
        .collect()
}

#[test]
fn what_our_codec_makes_ipvsadm_lists_and_what_ipvsadm_makes_we_read() {
    with_ipvs(|| {
        let mut table = Table::new();
        let everything = everything();
        for Entry { server, real_servers } in &everything {
            table.does(&[Change::NewService(server)]);
            let new = real_servers.iter().map(|real| Change::NewDest(&server.key, real));
            table.does(&new.collect::<Vec<_>>());
        }
        assert_eq!(table.entries(), everything, "as we made it");
        assert_eq!(says("-Sn"), saved(&everything));
        let thresholds = ipvsadm("-Ln --thresholds");
        assert_eq!(figures(&thresholds, "10.0.3.4:0"), ["100", "50", "0", "0"]);

        table.does(&[Change::Flush]);
        assert_eq!(says("-Sn"), [""; 0]);
        for line in saved(&everything) {
            ipvsadm(&line);
        }
        ipvsadm("-e -f 268 -r 10.0.3.4 -m -w 3 -x 100 -y 50");
        assert_eq!(table.entries(), everything, "as ipvsadm made it");

        table.does(&[Change::SetConfig(Timeouts { tcp: 800, tcp_fin: 100, udp: 200 })]);
        assert_eq!(says("-l --timeout"), ["Timeout (tcp tcpfin udp): 800 100 200"]);
        ipvsadm("--set 700 90 150");
        let timeouts = Timeouts { tcp: 700, tcp_fin: 90, udp: 150 };
        assert_eq!(table.ask(&Query::Config), Reply::Config(timeouts));
        let Reply::Info(info) = table.ask(&Query::Info) else { panic!("no info") };
        let (major, minor, patch) = info.version;
        let heading = format!(
            "IP Virtual Server version {major}.{minor}.{patch} (size={})",
            info.connection_table_size
        );
        assert_eq!(ipvsadm("-Ln").lines().next(), Some(heading.as_str()));
        drop(table);
        shell("ip netns del listing");
    });
}

#[test]
fn counters_and_connections_are_those_that_ipvsadm_lists() {
    with_ipvs(|| {
        let mut table = Table::new();
        shell(
            "ip -n listing address add 10.0.3.2/32 dev lo; ip -n listing address add 10.0.3.3/32 dev lo",
        );
        ipvsadm("-A -u 10.0.3.2:53 -s rr");
        ipvsadm("-a -u 10.0.3.2:53 -r 10.0.3.3:53 -m");
        let server = inside("listing", || UdpSocket::bind("10.0.3.3:53")).expect("a free port");
        let clients: Vec<UdpSocket> = (0..3)
            .map(|_| inside("listing", || UdpSocket::bind("10.0.3.3:0")).expect("a free port"))
            .collect();
        for client in &clients {
            client.send_to(b"four", "10.0.3.2:53").expect("it is sent");
            let mut buffer = [0; 8];
            let (_, from) = server.recv_from(&mut buffer).expect("it comes");
            assert_eq!(Some(from), client.local_addr().ok());
        }
        // The kernel sums its counters up every two seconds.
        let counted = || table.entries()[0].real_servers[0].statistics.connections;
        within("three are counted", Duration::from_secs(10), counted, |count| *count == 3);
        let real = table.entries().swap_remove(0).real_servers.swap_remove(0);
        let counters = [
            real.statistics.connections,
            real.statistics.packets_in,
            real.statistics.packets_out,
            real.statistics.bytes_in,
            real.statistics.bytes_out,
        ];
        assert_eq!(counters, [3, 3, 0, 96, 0]);
        let listed = ipvsadm("-Ln --stats --exact");
        assert_eq!(figures(&listed, "10.0.3.3:53"), counters.map(|counter| counter.to_string()));
        let listed = ipvsadm("-Ln");
        let [active, inactive] = [real.active, real.inactive].map(|count| count.to_string());
        assert_eq!(figures(&listed, "10.0.3.3:53"), ["Masq", "1", &active, &inactive]);
        assert_eq!((real.active, real.inactive), (0, 3));

        let words = |connection: &Connection| {
            let Connection { protocol, client, target, real_server, state, .. } = connection;
            format!("{protocol} {state} {client} {target} {real_server}")
        };
        let held = connections(table.namespace.as_fd()).expect("a table").expect("IPVS");
        let mut ours: Vec<String> = held.iter().map(words).collect();
        ours.sort();
        let listed = ipvsadm("-Lnc");
        let mut theirs: Vec<String> = listed
            .lines()
            .skip(2)
            .map(|line| line.split_whitespace().collect::<Vec<_>>())
            .map(|words| [&words[..1], &words[2..]].concat().join(" "))
            .collect();
        theirs.sort();
        assert_eq!(ours, theirs);
        assert_eq!(ours.len(), 3);
        assert!(held.iter().all(|connection| (1..=300).contains(&connection.expires)), "{held:?}");

        table.does(&[Change::Zero(None)]);
        assert_eq!(table.entries()[0].server.statistics.connections, 0);
        drop((server, clients, table));
        shell("ip netns del listing");
    });
}
