//! Dumps that were made elsewhere: a Docker sandbox as it was recorded, read with `--from`.

use std::collections::BTreeSet;

use serde_json::Value;
use swarmlb::dump::interface::{Address, OtherEnd, Place, Traffic};
use swarmlb::dump::{
    Contents, Dump, Interface, Iptables, Namespace, Part, Table, conntrack, docker, iptables, ipvs,
    nftables,
};
use swarmlb::kernel::ipvs::wire;
use swarmlb::node::{Entry, LinkKind, Node, SandboxName};

use crate::fixture::{Lab, is_harmless};

const BALANCER: &str = "lb_ukva5yq4i";

/// What `iptables-legacy-save -c` gave in the sandbox that balances `collabnet` (Docker 20.10).
const SAVED: &str = "\
*mangle
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [54:3240]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [54:3240]
[54:3240] -A INPUT -d 10.0.3.2/32 -j MARK --set-xmark 0x100/0xffffffff
[0:0] -A INPUT -d 10.0.3.7/32 -j MARK --set-xmark 0x102/0xffffffff
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [9:540]
:DOCKER_OUTPUT - [0:0]
:DOCKER_POSTROUTING - [0:0]
[0:0] -A OUTPUT -d 127.0.0.11/32 -j DOCKER_OUTPUT
[0:0] -A POSTROUTING -d 127.0.0.11/32 -j DOCKER_POSTROUTING
[9:540] -A POSTROUTING -d 10.0.3.0/24 -m ipvs --ipvs -j SNAT --to-source 10.0.3.6
[0:0] -A DOCKER_OUTPUT -d 127.0.0.11/32 -p tcp -m tcp --dport 53 -j DNAT --to-destination 127.0.0.11:35767
COMMIT
*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
COMMIT
";

const TRACKED: &str = "ipv4 2 tcp 6 117 TIME_WAIT src=10.0.3.8 dst=10.0.3.2 sport=41234 dport=80 \
    src=10.0.3.4 dst=10.0.3.6 sport=80 dport=41234 [ASSURED] mark=0 zone=0 use=2\n";

fn server(mark: u32, reals: &[u8]) -> ipvs::Server {
    let key = wire::Key::Fwmark { mark, family: wire::Family::V4 };
    let real = |last: &u8| {
        let mut real =
            wire::RealServer::new([10, 0, 3, *last].into(), 0, wire::Forwarding::Masquerade);
        real.statistics.connections = 3;
        real.statistics.packets_in = 18;
        real
    };
    ipvs::Server::from(&Entry {
        server: wire::VirtualServer::new(key, "rr".parse().expect("a name")),
        real_servers: reals.iter().map(real).collect(),
    })
}

/// Docker's balancing sandbox, with an answer or a reason in every part.
fn recorded() -> Dump {
    let address = |net: &str| Address {
        net: net.parse().expect("an address"),
        scope: "global".into(),
        peer: None,
    };
    let counted = Traffic { packets: 126, bytes: 9072, ..Traffic::default() };
    let end = OtherEnd {
        index: 13,
        link: Some("veth3".into()),
        place: Place::Sandbox("1-ukva5yq4iy".into()),
    };
    let eth0 = Interface {
        index: 12,
        name: "eth0".into(),
        kind: LinkKind::Veth { peer: None },
        mac: Some("02:42:0a:00:03:06".parse().expect("a MAC")),
        mtu: 1424,
        master: None,
        up: true,
        state: "up".into(),
        alias: None,
        other_end: Some(end),
        local: None,
        remote: None,
        addresses: vec![address("10.0.3.6/24"), address("10.0.3.2/32")],
        received: counted,
        sent: counted,
    };
    let mut contents = Contents {
        namespace: Namespace {
            inode: 4_026_532_248,
            paths: vec![format!("/run/docker/netns/{BALANCER}")],
            ..Namespace::default()
        },
        kind: "docker".into(),
        belongs_to: "load balancing of Docker network collabnet".into(),
        links: Some(Part::Read(vec![eth0])),
        routes: Some(Part::Read(Vec::new())),
        routing_rules: Some(Part::Read(Vec::new())),
        neighbours: Some(Part::Read(Vec::new())),
        fdb: Some(Part::unreadable("operation not permitted (EPERM)")),
        nftables: Some(Part::Read(nftables::parse("table inet own {\n\tchain c {\n\t}\n}\n"))),
        ipvs: Some(Part::Read(vec![server(0x100, &[3, 4, 5]), server(0x102, &[8])])),
        ipvs_connections: Some(Part::Read(Vec::new())),
        conntrack: Some(Part::Read(conntrack::parse(TRACKED).expect("a connection"))),
        xfrm: Some(Part::unreadable("`ip` is not installed (Debian: iproute2)")),
        sysctls: Some(Part::Read([("net.ipv4.vs.conntrack".into(), "1".into())].into())),
        ..Contents::default()
    };
    // The one container that was known where it was dumped.
    let container = r#"{"ID":"9a","Name":"/box","NetworkSettings":{"Networks":{"collabnet":{"IPAddress":"10.0.3.8"}}}}"#;
    contents.names.add_containers(&[docker::parse(container).expect("a container")]);
    contents.iptables.insert(Iptables::Legacy, Part::Read(iptables::parse(SAVED)));
    contents.iptables.insert(Iptables::Legacy6, Part::Read(Vec::new()));
    let name = SandboxName(BALANCER.into());
    let sandbox = contents.sandbox(&name, None);
    Dump { sandboxes: Some([(name.clone(), sandbox)].into()), contents: [(name, contents)].into() }
}

/// A lab with the dump in a file.
fn lab(dump: &Dump) -> Lab {
    let lab = Lab::new();
    std::fs::write(lab.path("dump.json"), serde_json::to_vec(dump).expect("JSON")).expect("a file");
    lab
}

fn from(lab: &Lab, words: &str) -> crate::fixture::Said {
    let file = lab.path("dump.json");
    let mut command = lab.fresh(&["sandbox", "dump", "--from"]);
    command.arg(file).args(words.split_whitespace());
    crate::fixture::said(&mut command)
}

#[test]
fn a_dump_is_shown_with_what_its_own_marks_and_servers_tell() {
    insta::assert_snapshot!(from(&lab(&recorded()), "").good());
}

#[test]
fn raw_is_what_the_original_tools_read_back() {
    let lab = lab(&recorded());
    insta::assert_snapshot!(from(&lab, "--raw --table nat --table ipvs --table xfrm").good());
    let saved = from(&lab, "--raw --table ipvs").good();
    assert!(
        saved.lines().all(|line| line.starts_with("-A ") || line.starts_with("-a ")),
        "{saved}"
    );
    let told = from(&lab, "--raw --format json").failed(2);
    assert!(told.contains("--raw is what the original tools print"), "{told}");
}

#[test]
fn a_whole_dump_is_read_back_byte_by_byte_and_is_a_node() {
    let lab = lab(&recorded());
    let text = from(&lab, "--format json").good();
    assert_eq!(serde_json::from_str::<Dump>(&text).expect("a dump"), recorded());
    let node: Node = serde_json::from_str(&text).expect("a node");
    assert_eq!(recorded().node(), Ok(node));
    std::fs::write(lab.path("dump.json"), &text).expect("a file");
    assert_eq!(from(&lab, &format!("{BALANCER} --format json")).good(), text);
}

#[test]
fn a_table_that_is_asked_for_is_all_that_json_has() {
    let lab = lab(&recorded());
    let parts = |words: &str| -> Vec<String> {
        let value: Value = serde_json::from_str(&from(&lab, words).good()).expect("JSON");
        assert!(value.get("sandboxes").is_none(), "{value}");
        let contents = value["contents"][BALANCER].as_object().expect("contents");
        let told = ["namespace", "kind", "belongs_to", "names"];
        contents.keys().filter(|key| !told.contains(&key.as_str())).cloned().collect()
    };
    assert_eq!(parts("--format json --table ipvs"), ["ipvs"]);
    assert_eq!(parts("--format json --table fdb --table links"), ["fdb", "links"]);
    assert_eq!(parts("--format json --table nat"), ["iptables", "nftables"]);
    let dump = recorded();
    let contents = &dump.contents[&SandboxName(BALANCER.into())];
    assert_eq!(contents.only(&BTreeSet::from(Table::ALL)), *contents, "all tables are everything");
    // Of a recorded node, what was asked for too.
    let node =
        Lab::new().run(&["sandbox", "dump", "collabweb.1", "--table", "ipvs", "--format", "json"]);
    let value: Value = serde_json::from_str(&node.good()).expect("JSON");
    let sandbox = &value["sandboxes"]["collabweb.1"];
    assert_eq!(sandbox["virtual_servers"].as_array().map(Vec::len), Some(2), "{sandbox}");
    assert!(sandbox.get("links").is_none(), "{sandbox}");
}

#[test]
fn several_sandboxes_stand_under_their_names() {
    let mut dump = recorded();
    let contents = dump.contents[&SandboxName(BALANCER.into())].clone();
    dump.contents.insert(SandboxName("other".into()), contents);
    let text = from(&lab(&dump), "--table sysctl").good();
    let heading = format!("## {BALANCER} (docker: load balancing of Docker network collabnet)\n");
    assert!(
        text.starts_with(&format!("{heading}net.ipv4.vs.conntrack = 1  # default 0\n\n## other (")),
        "{text}"
    );
    let one = from(&lab(&dump), "other --table sysctl").good();
    assert_eq!(one, "net.ipv4.vs.conntrack = 1  # default 0\n");
}

#[test]
fn what_is_no_dump_is_refused() {
    let lab = lab(&recorded());
    let told = from(&lab, "lb_ukva5yq4j").failed(2);
    assert!(
        told.contains("there is no such sandbox\nhint: did you mean `lb_ukva5yq4i`?"),
        "{told}"
    );
    for text in ["", "[]", "{}", "not JSON", r#"{"sandboxes":[]}"#] {
        std::fs::write(lab.path("dump.json"), text).expect("a file");
        let told = from(&lab, "").failed(2);
        assert!(
            told.contains("a dump is what `swarmlb sandbox dump --format json` prints"),
            "{told}"
        );
    }
    let told = crate::fixture::said(&mut lab.fresh(&["sandbox", "dump"])).failed(2);
    assert!(told.contains("SANDBOX"), "{told}");
}

#[test]
fn words_of_others_do_not_steer_the_terminal() {
    let mut dump = recorded();
    for contents in dump.contents.values_mut() {
        contents.sysctls = Some(Part::Read([("a\u{1b}[31m".into(), "\u{9b}x\u{7}".into())].into()));
        contents.xfrm = Some(Part::unreadable("\u{1b}[2J"));
    }
    let lab = lab(&dump);
    let text = from(&lab, "").good();
    assert!(is_harmless(&text.replace('\t', " ")), "{text:?}");
    let raw = from(&lab, "--raw").good();
    assert!(is_harmless(&raw.replace('\t', " ")), "{raw:?}");
}
