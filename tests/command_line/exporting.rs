//! Configurations for HAProxy and nginx: what is asked for, refused, and whether the programs take it.

use serde_json::Value;
use swarmlb::intent::{EndpointMode, Machine, NodeName, NodeRecord, PortSpec, ServiceSpec};

use crate::fixture::{Lab, node_1, story};

/// The story on two nodes with addresses; `front` is published by all protocols, `other` beside it.
fn lab() -> Lab {
    let mut intent = story();
    let node_2: NodeName = "node-2".parse().expect("a name");
    intent.nodes.insert(node_2.clone(), NodeRecord::new(node_2.clone(), true));
    for (name, octet) in [(node_1(), 1), (node_2, 2)] {
        if let Some(node) = intent.nodes.get_mut(&name) {
            node.address = Some([192, 0, 2, octet].into());
        }
        intent.settle_egress(&name, Ok(&Machine::default()));
    }
    intent.create_ingress("ingress-id".into(), &Machine::default()).expect("a mesh");
    let services = [
        ("front", &["8080:80", "192.0.2.1:53:53/udp", "mode=host,published=81,target=80"][..]),
        ("listen", &["8081:80"]),
        ("names", &["5353:53/udp"]),
        ("assoc", &["5000:50/sctp"]),
    ];
    for (name, ports) in services {
        let ports: Vec<PortSpec> = ports.iter().map(|p| p.parse().expect("a port")).collect();
        let ports = intent.choose_ports(&ports, &[]).expect("free ports");
        let network = "collabnet".parse().expect("a name");
        let spec = ServiceSpec::new(name.parse().expect("a name"), network);
        let endpoint_mode = EndpointMode::Vip;
        let spec = ServiceSpec { ports, replicas: 2, endpoint_mode, ..spec };
        intent.create_service(spec, format!("{name}-id"), 0).expect("a service");
    }
    Lab::of(intent)
}

#[track_caller]
fn refused(words: &[&str], expected: &str) {
    let words = [&["export"], words].concat();
    assert_eq!(lab().run(&words).failed(2), expected, "{words:?}");
}

#[test]
fn a_configuration_is_printed_whole_and_nothing_else() {
    insta::assert_snapshot!(lab().run(&["export", "haproxy", "front", "listen:80:8081"]).good());
    insta::assert_snapshot!(lab().run(&["export", "nginx", "front", "listen:80:8081"]).good());
    insta::assert_snapshot!(
        lab().run(&["export", "haproxy", "--inside", "front:80", "rr:90:80"]).good()
    );
    insta::assert_snapshot!(
        lab().run(&["export", "nginx", "--inside", "front", "rr:54:53/udp"]).good()
    );
}

#[test]
fn without_a_name_all_that_is_published_is_exported() {
    let told = lab().run(&["--format", "json", "export", "nginx"]).good();
    let rows: Value = serde_json::from_str(&told).expect("JSON");
    let rows = rows.as_array().expect("rows");
    let at: Vec<String> =
        rows.iter().map(|row| format!("{} {}", row["service"], row["listen"])).collect();
    let expected = [
        "\"assoc\" 5000",
        "\"front\" 8080",
        "\"front\" 53",
        "\"front\" 81",
        "\"listen\" 8081",
        "\"names\" 5353",
    ];
    assert_eq!(at, expected);
    let server = serde_json::json!({ "name": "node-1", "address": "192.0.2.1" });
    assert_eq!((&rows[1]["servers"][0], &rows[1]["protocol"]), (&server, &"tcp".into()));
    let rows = lab().run(&["--format", "json", "export", "nginx", "--inside", "front"]).good();
    let rows: Value = serde_json::from_str(&rows).expect("JSON");
    assert_eq!(rows[0]["tasks"], serde_json::json!({ "name": "tasks.front", "most": 20 }));
}

#[test]
fn what_cannot_be_exported_is_refused_with_what_to_do() {
    refused(
        &["haproxy", "fromt"],
        "error: cannot export to HAProxy: there is no service `fromt`\nhint: did you mean `front`?\n",
    );
    refused(
        &["haproxy", "rr"],
        "error: cannot export to HAProxy: service `rr` publishes no port\n\
         hint: make it with `--publish`, or export for a balancer inside: `--inside rr:PORT`\n",
    );
    refused(
        &["nginx", "--inside", "rr"],
        "error: cannot export to nginx: service `rr` publishes no port\n\
         hint: say the port that its tasks listen on: `rr:PORT`\n",
    );
    refused(
        &["haproxy", "front:80"],
        "error: cannot export to HAProxy: service `front` does not publish port 80/tcp\n  \
         published: *:8080->80/tcp, 192.0.2.1:53->53/udp, *:81->80/tcp\n",
    );
    refused(
        &["haproxy", "--inside", "front:80", "rr:80"],
        "error: cannot export to HAProxy: it would listen on port 80/tcp for `front` and for `rr`\n\
         hint: say where else, as in `rr:LISTEN:80`, or name fewer services\n",
    );
    refused(
        &["haproxy", "names"],
        "error: cannot export to HAProxy: it carries no udp, by which `names` is reached at port \
         5353\nhint: `swarmlb export nginx` does\n",
    );
    refused(
        &["nginx", "assoc"],
        "error: cannot export to nginx: it carries no sctp, by which `assoc` is reached at port 5000\n",
    );
    let said = Lab::new().run(&["export", "nginx"]).failed(2);
    assert!(said.contains("cannot export to nginx: no service publishes a port\n"), "{said}");
    let said = lab().run(&["export", "haproxy", "front:http"]).failed(2);
    assert!(said.contains("`http` is not a port: 1 to 65535"), "{said}");
}

/// Whether a program is here; where balancers must be, its lack is a failure.
fn path_of(program: &str) -> Option<String> {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut found = path.split(':').chain(["/usr/sbin"]).map(|d| format!("{d}/{program}"));
    let found = found.find(|path| std::path::Path::new(path).exists());
    if found.is_none() {
        let required = std::env::var("SWARMLB_TEST_REQUIRE").unwrap_or_default();
        assert!(!required.split(',').any(|word| word == "front"), "{program} is missing");
        println!("skipped: {program} is missing (front)");
    }
    found
}

/// Whether the program itself takes what is exported for it.
fn is_taken(lab: &Lab, export: &[&str], program: &str, check: &[&str]) {
    let Some(program) = path_of(program) else { return };
    // nginx tries its file for the pid.
    let in_vain = program.ends_with("nginx") && !nix::unistd::geteuid().is_root();
    if in_vain {
        return println!("skipped: nginx checks only for root");
    }
    let text = lab.run(&[&["export"], export].concat()).good();
    let file = lab.path("balancer.conf");
    std::fs::write(&file, &text).expect("a file");
    let output = std::process::Command::new(program).args(check).arg(&file).output();
    let output = output.expect("it starts");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success(), "{export:?}: {said}\n{text}");
    assert!(!said.to_lowercase().contains("warn"), "{export:?}: {said}\n{text}");
}

#[test]
fn haproxy_takes_what_is_exported_without_a_warning() {
    let lab = lab();
    for export in [
        &["haproxy"][..],
        &["haproxy", "--inside"],
        &["haproxy", "--inside", "front:80", "rr:90:80", "collabweb:91:80"],
    ] {
        is_taken(&lab, export, "haproxy", &["-c", "-f"]);
    }
}

#[test]
fn nginx_takes_what_is_exported_without_a_warning() {
    let lab = lab();
    for export in [
        &["nginx"][..],
        &["nginx", "--inside"],
        &["nginx", "--inside", "front:80", "rr:90:80", "collabweb:53/udp"],
    ] {
        is_taken(&lab, export, "nginx", &["-t", "-q", "-c"]);
    }
}
