//! A cluster of several nodes on one machine: it comes up and goes, and tasks spread over it.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::world::{Lab, Swarmlb, apart, shell, within};

const SOON: Duration = Duration::from_secs(10);

#[test]
fn tasks_spread_over_the_nodes_of_a_lab_and_nothing_is_left_of_it() {
    apart(|| {
        let lab = Lab::up(3);
        let nodes = lab.json("node ls");
        let ready = |node: &serde_json::Value| node["status"] == "ready";
        assert_eq!(nodes.as_array().map(Vec::len), Some(3));
        assert!(nodes.as_array().expect("nodes").iter().all(ready), "{nodes}");
        lab.good("network create blue");
        lab.good("service create --name web --network blue --replicas 6");
        let nodes: BTreeSet<String> = lab.nodes_of("web").into_iter().collect();
        assert_eq!(nodes.len(), 3);
        for node in &nodes {
            let tasks = lab.json(&format!("--node {node} sandbox ls"));
            let kind = |row: &serde_json::Value| row["kind"] == "task";
            let count = tasks.as_array().expect("rows").iter().filter(|row| kind(row)).count();
            assert_eq!(count, 2, "{node}: {tasks}");
        }
        lab.good("service rm web");
        lab.down();
    });
}

#[test]
fn a_lab_that_was_cut_off_in_the_making_is_made_anew() {
    apart(|| {
        let lab = Lab::up(2);
        let path = lab.state().join("lab.json");
        let text = std::fs::read_to_string(&path).expect("what the lab is");
        std::fs::write(&path, text.replace("\"is_up\": true", "\"is_up\": false"))
            .expect("written");
        lab.good("lab up --nodes 2");
        let (_, told) = lab.ending("lab up --nodes 3", 2);
        assert!(told.contains("one of 2 nodes is up"), "{told}");
        lab.down();
        let other = Swarmlb::new();
        let (_, told) = other.ending("lab status", 2);
        assert!(told.contains("there is no lab"), "{told}");
    });
}

#[test]
fn a_killed_node_is_started_again_and_knows_its_cluster() {
    apart(|| {
        let lab = Lab::up(2);
        lab.good("lab kill-node node-2");
        let (told, _) = lab.ending("lab status", 1);
        assert!(told.contains("down"), "{told}");
        let (_, told) = lab.ending("--node node-2 node ls", 3);
        assert!(told.contains("node-2 is down"), "{told}");
        lab.good("lab start-node node-2");
        let ready = || lab.json("node ls")[1]["status"] == "ready";
        within("node-2 reports again", SOON, ready, |ready| *ready);
        lab.down();
    });
}

#[test]
fn a_partition_cuts_the_store_too_and_healing_joins_it_again() {
    apart(|| {
        let lab = Lab::up(2);
        let pinged = || {
            let pid = &lab.json("lab status")[0]["pid"];
            let line = format!(
                "nsenter -t {pid} -n ping -c 1 -W 1 10.213.0.2 >/dev/null && echo yes || echo no"
            );
            shell(&line)
        };
        within("node-1 reaches node-2", SOON, pinged, |told| told == "yes\n");
        lab.good("lab partition node-2");
        assert_eq!(pinged(), "no\n");
        let status = || lab.json("node ls")[1]["status"].clone();
        within("node-2 is silent", SOON, status, |status| status == "down");
        lab.good("lab heal");
        within("node-2 reports again", SOON, status, |status| status == "ready");
        lab.down();
    });
}

#[test]
fn what_looks_at_a_node_is_answered_by_that_node_over_the_api() {
    apart(|| {
        let lab = Lab::up(2);
        lab.good("network create blue");
        lab.good("service create --name web --network blue --replicas 2");
        // On the first node as on a machine: nothing leads to the other one but its API.
        let pid = &lab.json("lab status")[0]["pid"];
        let directory = lab.state().join("nodes/node-1");
        let binary = env!("CARGO_BIN_EXE_swarmlb");
        let on_first = |line: &str| {
            shell(&format!(
                "nsenter -t {pid} -n -m -p {binary} --state-dir {} {line}",
                directory.display()
            ))
        };
        let told = on_first("--node node-2 agent status");
        assert!(told.starts_with("node     node-2\n"), "{told}");
        let told = on_first("--node node-2 task exec web.2 cat /etc/resolv.conf");
        assert!(told.contains("127.0.0.11"), "{told}");
        let told = on_first("--node node-2 sandbox ls --format '{{.Name}}'");
        assert!(told.contains("web.2") && !told.contains("web.1"), "{told}");
        lab.down();
    });
}

#[test]
fn who_cannot_join_is_told_why_and_is_as_it_was() {
    apart(|| {
        let lab = Lab::up(2);
        let token = lab.good("node token -q");
        let token = token.trim();
        let first = "10.213.0.1";
        // This machine is on the underlay, and may join as a third node.
        let machine = Swarmlb::new();
        let join = |rest: &str| machine.ending(&format!("node join {rest}"), 2).1;
        let told = join(&format!("--token {token} --advertise-addr 192.0.2.9 {first}"));
        assert!(told.contains("192.0.2.9 is no address of this machine"), "{told}");
        let told = join(&format!("--token {token} --node node-2 {first}"));
        assert!(told.contains("node `node-2` is in the cluster already"), "{told}");
        let mut wrong = token.to_owned();
        let last = wrong.pop();
        wrong.push(if last == Some('a') { 'b' } else { 'a' });
        let told = join(&format!("--token {wrong} --node node-3 {first}"));
        assert!(told.contains("the token does not hold"), "{told}");
        let other = format!("{}{}", &token[..10], "0".repeat(64));
        let told = join(&format!("--token {other}{} --node node-3 {first}", &token[74..]));
        assert!(told.contains("is not of the token's cluster"), "{told}");
        lab.good("node token --rotate");
        let told = join(&format!("--token {token} --node node-3 {first}"));
        assert!(told.contains("the token does not hold"), "{told}");
        assert!(!machine.state().exists(), "a refused join left something");
        lab.down();
    });
}
