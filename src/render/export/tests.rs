use super::*;
use crate::intent::tests::{network, one_node, spec};
use crate::intent::{Machine, NodeName, NodeRecord, PortSpec, ServiceSpec};

const INSIDE: Place =
    Place::Inside { resolver: std::net::SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, 11), 53) };

/// Three nodes with addresses, and `web` with one task on each of two, published as it is said.
fn web(ports: &[&str]) -> Intent {
    let mut intent = one_node();
    for (number, name) in ["node-1", "node-2", "a.example"].into_iter().enumerate() {
        let name: NodeName = name.parse().unwrap();
        let mut record = NodeRecord::new(name.clone(), true);
        record.address = Some(Ipv4Addr::new(192, 0, 2, number as u8 + 1));
        intent.nodes.insert(name.clone(), record);
        intent.settle_egress(&name, Ok(&Machine::default()));
    }
    network(&mut intent, "blue", "10.0.3.0/24");
    intent.create_ingress("id".into(), &Machine::default()).unwrap();
    publish(&mut intent, "web", ports);
    intent
}

fn publish(intent: &mut Intent, name: &str, ports: &[&str]) {
    let ports: Vec<PortSpec> = ports.iter().map(|port| port.parse().unwrap()).collect();
    let ports = intent.choose_ports(&ports, &[]).unwrap();
    let spec = ServiceSpec { ports, ..spec(name, "blue", 2) };
    intent.create_service(spec, format!("id-{name}"), 0).unwrap();
}

fn entrances(intent: &Intent) -> Vec<Entrance> {
    let services = intent.services.values();
    services.flat_map(|s| s.ports.iter().map(|port| in_front(intent, s, port))).collect()
}

fn servers_of(entrance: &Entrance) -> Vec<String> {
    match &entrance.behind {
        Behind::Servers(servers) => {
            servers.iter().map(|server| format!("{} {}", server.name, server.address)).collect()
        }
        Behind::Tasks(tasks) => panic!("{tasks:?}"),
    }
}

#[test]
fn in_front_haproxy_checks_every_node_at_the_published_port() {
    let text = configuration(Balancer::Haproxy, Place::InFront, &entrances(&web(&["8080:80"])));
    let (_, section) = text.split_once("\nlisten ").unwrap();
    assert_eq!(
        section,
        "web-8080\n    bind :8080\n    server a.example 192.0.2.3:8080\n    server node-1 \
         192.0.2.1:8080\n    server node-2 192.0.2.2:8080\n"
    );
    assert!(text.contains("default-server check inter 1s"), "{text}");
    assert!(!text.contains("resolvers"), "{text}");
}

#[test]
fn in_front_nginx_leaves_out_what_failed_for_all_its_workers() {
    let text = configuration(Balancer::Nginx, Place::InFront, &entrances(&web(&["8080:80"])));
    let (_, section) = text.split_once("    upstream ").unwrap();
    assert_eq!(
        section,
        "web-8080 {
        zone web-8080 64k;
        server 192.0.2.3:8080 max_fails=3 fail_timeout=2s; # a.example
        server 192.0.2.1:8080 max_fails=3 fail_timeout=2s; # node-1
        server 192.0.2.2:8080 max_fails=3 fail_timeout=2s; # node-2
    }
    server {
        listen 8080;
        proxy_pass web-8080;
    }
}
"
    );
}

#[test]
fn inside_haproxy_asks_the_resolver_who_the_tasks_are() {
    let intent = web(&["8080:80"]);
    let entrance = inside(&intent.services[&"web".parse().unwrap()], Transport::Tcp, 8080, 80);
    let text = configuration(Balancer::Haproxy, INSIDE, &[entrance]);
    assert!(text.contains("resolvers swarmlb\n    nameserver local 127.0.0.11:53\n"), "{text}");
    let (_, section) = text.split_once("\nlisten ").unwrap();
    assert_eq!(
        section,
        "web-8080\n    bind :8080\n    server-template task- 20 tasks.web:80 resolvers swarmlb \
         resolve-prefer ipv4 init-addr none\n"
    );
}

#[test]
fn inside_nginx_resolves_for_each_connection_and_is_a_task() {
    let intent = web(&["8080:80"]);
    let entrance = inside(&intent.services[&"web".parse().unwrap()], Transport::Udp, 53, 54);
    let text = configuration(Balancer::Nginx, INSIDE, &[entrance]);
    for line in [
        "daemon off;\n",
        "error_log stderr notice;\n",
        "    resolver 127.0.0.11:53 valid=1s ipv6=off;\n",
        "        listen 53 udp reuseport;\n        proxy_timeout 1m;\n        \
         set $tasks tasks.web:54;\n        proxy_pass $tasks;\n",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}

#[test]
fn there_is_room_for_twice_the_tasks_and_never_for_more_than_a_service_may_have() {
    let intent = web(&[]);
    let mut service = intent.services[&"web".parse().unwrap()].clone();
    let mut room = |replicas| {
        service.replicas = replicas;
        match inside(&service, Transport::Tcp, 80, 80).behind {
            Behind::Tasks(tasks) => tasks.most,
            Behind::Servers(servers) => panic!("{servers:?}"),
        }
    };
    assert_eq!([0, 3, 50, 600, 1000].map(&mut room), [20, 20, 100, 1000, 1000]);
}

#[test]
fn a_port_of_one_address_has_that_server_only() {
    let found = entrances(&web(&["192.0.2.2:80:80", "198.51.100.7:81:80"]));
    assert_eq!(servers_of(&found[0]), ["node-2 192.0.2.2"]);
    assert_eq!(servers_of(&found[1]), ["published 198.51.100.7"]);
}

#[test]
fn a_host_port_is_that_of_nodes_with_a_task_for_others_may_have_it_elsewhere() {
    let intent = web(&["mode=host,published=80,target=80"]);
    let service = &intent.services[&"web".parse().unwrap()];
    let with_task: Vec<&str> =
        intent.rotation_of(&service.name).map(|task| task.node.as_str()).collect();
    let found = servers_of(&entrances(&intent)[0]);
    assert_eq!(found.len(), 2);
    assert!(with_task.iter().all(|node| found.iter().any(|s| s.starts_with(node))), "{found:?}");
}

#[test]
fn without_a_task_anywhere_the_configuration_is_whole_and_refuses() {
    let mut intent = web(&["mode=host,published=80,target=80"]);
    intent.scale_service(&"web".parse().unwrap(), 0).unwrap();
    intent.tasks.clear();
    let found = entrances(&intent);
    let text = configuration(Balancer::Nginx, Place::InFront, &found);
    assert!(text.contains("server 127.0.0.1:9 down;"), "{text}");
    let text = configuration(Balancer::Haproxy, Place::InFront, &found);
    assert!(
        text.contains("no node has a task of it now") && text.ends_with("bind :80\n"),
        "{text}"
    );
}

#[test]
fn a_node_that_is_alone_is_reached_on_its_own_machine() {
    let mut intent = web(&["8080:80"]);
    intent.nodes.retain(|name, _| name.as_str() == "node-1");
    intent.nodes.values_mut().for_each(|node| node.address = None);
    let found = entrances(&intent);
    assert_eq!(servers_of(&found[0]), ["node-1 127.0.0.1"]);
    assert!(configuration(Balancer::Haproxy, Place::InFront, &found).contains("its node is alone"));
}

#[test]
fn what_a_balancer_does_not_carry_is_left_out_and_said() {
    let found = entrances(&web(&["80:80", "53:53/udp", "53:53", "9:9/sctp"]));
    let text = configuration(Balancer::Haproxy, Place::InFront, &found);
    assert!(text.contains("\n# Left out: udp port 53 of web, HAProxy carries no udp.\n"), "{text}");
    assert_eq!(text.matches("\nlisten ").count(), 2);
    let text = configuration(Balancer::Nginx, Place::InFront, &found);
    assert!(text.contains("# Left out: sctp port 9 of web, nginx carries no sctp.\n"), "{text}");
    assert!(text.contains("upstream web-53 {") && text.contains("upstream web-53-udp {"), "{text}");
}

/// Names that are words of the configurations themselves, as far as names may be such.
const WORDS: [&str; 8] =
    ["server", "default", "listen", "1", "a_b-80", "upstream", "resolvers", "global"];

#[test]
fn names_that_are_words_of_a_configuration_stay_names() {
    let mut intent = web(&[]);
    for (number, name) in WORDS.into_iter().enumerate() {
        publish(&mut intent, name, &[&format!("{}:80", 8000 + number)]);
    }
    let text = configuration(Balancer::Haproxy, Place::InFront, &entrances(&intent));
    assert_eq!(text.matches("\nlisten ").count(), WORDS.len());
    for line in text.lines() {
        let known = ["", "global", "defaults"].contains(&line)
            || [" ", "#", "listen "].iter().any(|begin| line.starts_with(begin));
        assert!(known, "{line}");
    }
}

#[test]
fn an_intent_with_a_name_that_would_break_a_configuration_is_not_read() {
    let text = serde_json::to_string(&web(&["80:80"])).unwrap();
    for (good, hostile) in [
        ("\"web\"", "\"web\\n    server evil 203.0.113.1:80\""),
        ("\"node-2\"", "\"node-2 203.0.113.1:80\\n#\""),
        ("\"node-2\"", "\"x;}\""),
        ("\"node-2\"", "\"${HOME}\""),
    ] {
        assert!(text.contains(good));
        let read: Result<Intent, _> = serde_json::from_str(&text.replace(good, hostile));
        assert!(read.is_err(), "{hostile}");
    }
}
