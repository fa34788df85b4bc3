//! Published ports, as they are typed, refused and told.

use serde_json::Value;
use swarmlb::intent::{Machine, PortSpec, ServiceSpec};

use crate::fixture::{Lab, node_1, story};

/// The story, and `front`, which publishes a port in each way.
fn lab() -> Lab {
    let mut intent = story();
    intent.settle_egress(&node_1(), Ok(&Machine::default()));
    intent.create_ingress("ingress-id".into(), &Machine::default()).expect("a mesh");
    let ports = ["8080:80", "192.0.2.1:53:53/udp", "mode=host,published=81,target=80"];
    let ports: Vec<PortSpec> = ports.iter().map(|port| port.parse().expect("a port")).collect();
    let ports = intent.choose_ports(&ports, &[]).expect("free ports");
    let network = "collabnet".parse().expect("a name");
    let spec = ServiceSpec::new("front".parse().expect("a name"), network);
    let spec = ServiceSpec { ports, ..spec };
    intent.create_service(spec, "front-id".into(), 0).expect("a service");
    Lab::of(intent)
}

#[track_caller]
fn refused(words: &[&str], expected: &str) {
    let words = [&["service", "create", "--name", "other"], words].concat();
    assert_eq!(lab().run(&words).failed(2), expected, "{words:?}");
}

#[test]
fn ports_of_the_mesh_are_told_at_the_service_and_those_of_nodes_at_the_task() {
    let lab = lab();
    let ls = lab.run(&["service", "ls"]).good();
    assert!(ls.contains("*:8080->80/tcp, 192.0.2.1:53->53/udp"), "{ls}");
    assert!(!ls.contains("81"), "{ls}");
    let ps = lab.run(&["service", "ps", "front"]).good();
    assert!(ps.contains("*:81->80/tcp") && !ps.contains("8080"), "{ps}");
    let rows: Value = serde_json::from_str(&lab.run(&["service", "ls", "--format", "json"]).good())
        .expect("JSON");
    let rows = rows.as_array().expect("rows");
    let front = rows.iter().find(|row| row["name"] == "front").expect("its row");
    assert_eq!(front["ports"][0], "*:8080->80/tcp");
    let pretty = lab.run(&["service", "inspect", "--pretty", "front"]).good();
    assert!(pretty.contains("Port:          *:81->80/tcp, host"), "{pretty}");
    let inspected = lab.run(&["service", "inspect", "front"]).good();
    let inspected: Value = serde_json::from_str(&inspected).expect("JSON");
    let expected = serde_json::json!(
        { "published": 8080, "target": 80, "protocol": "tcp", "mode": "ingress" }
    );
    assert_eq!(inspected[0]["ports"][0], expected);
}

#[test]
fn what_cannot_be_published_is_refused_with_what_to_do() {
    let another = "hint: publish another port, or leave it out: `--publish TARGET` chooses one\n";
    refused(
        &["-p", "8080:80"],
        &format!(
            "error: cannot create service `other`: port 8080/tcp is published by service `front` \
             already\n{another}"
        ),
    );
    refused(
        &["-p", "81:80"],
        &format!(
            "error: cannot create service `other`: port 81/tcp is published by service `front` \
             already\n{another}"
        ),
    );
    refused(
        &["-p", "82:80", "--endpoint-mode", "dnsrr"],
        "error: cannot create service `other`: port 82/tcp cannot be in the routing mesh: a service \
         in endpoint mode dnsrr is not balanced\n\
         hint: publish it where tasks run, with `--publish published=82,target=80,mode=host`, or \
         leave out `--endpoint-mode`\n",
    );
    let said = lab().run(&["service", "create", "-p", "80:http"]).failed(2);
    assert!(said.contains("`http` is not a port: 1 to 65535"), "{said}");
    let said = lab().run(&["network", "create", "ingress"]).failed(2);
    assert!(said.contains("network `ingress` is the routing mesh's"), "{said}");
    let said = lab().run(&["network", "rm", "ingress"]).failed(2);
    assert!(said.contains("network `ingress` is in use by service front"), "{said}");
}

#[test]
fn a_dry_run_tells_how_a_port_is_published() {
    let words = ["service", "create", "--name", "web", "--dry-run", "-p", "82:80", "-p", "80"];
    let runbook = lab().run(&words).good();
    for line in [
        "nft 'create element ip swarmlb-c1 published { tcp . 82 : 172.16.80.8 . 82 }'",
        "ip netns exec ingress.sandbox nft 'create element ip swarmlb port-mark \
         { 172.16.80.8 . tcp . 30000 : ",
    ] {
        assert!(runbook.contains(line), "{line} is not in\n{runbook}");
    }
}

#[test]
fn inspect_vip_follows_a_published_port() {
    let said = lab().run(&["inspect", "vip", "front"]).good();
    assert!(said.contains("A packet to *:8080->80/tcp, 192.0.2.1:53->53/udp:"), "{said}");
    assert!(said.contains("ok           redirect        8080/tcp to port 80, 53/udp to port 53"));
    assert!(said.contains("It works on this node."), "{said}");
}
