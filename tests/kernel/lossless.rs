//! Nothing is lost while a service changes: counted by a client that asks for the name and connects anew
//! for each request, 250 times a second, and tries nothing twice.

use std::time::Duration;

use crate::in_place;
use crate::world::{Counting, Lab, Swarmlb, within};

pub const SOON: Duration = Duration::from_secs(60);

/// Six tasks of `web`, and a client beside them.
pub fn world(options: &str) -> Swarmlb {
    let swarmlb = Swarmlb::new();
    swarmlb.good("network create --subnet 10.0.3.0/24 net");
    swarmlb.good(&format!("service create --replicas 6 --name web --network net {options}"));
    swarmlb.good("service create --name box --network net host sleep 1000");
    swarmlb
}

fn lab(nodes: u8) -> Lab {
    let lab = Lab::up(nodes);
    lab.good("network create --subnet 10.0.3.0/24 net");
    lab.good("service create --replicas 6 --name web --network net --update-monitor 1s");
    lab.good(
        "service create --name box --network net --constraint node.name==node-1 host sleep 1000",
    );
    lab
}

pub fn ids(swarmlb: &Swarmlb) -> Vec<String> {
    let rows = swarmlb.json("service ps web");
    let id = |row: &serde_json::Value| row["id"].as_str().expect("an id").to_owned();
    rows.as_array().expect("rows").iter().map(id).collect()
}

pub fn update_state(swarmlb: &Swarmlb) -> String {
    let service = swarmlb.json("service inspect web");
    service[0]["update_status"]["state"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn a_rolling_update_of_six_tasks_loses_nothing() {
    in_place(|| {
        let swarmlb = world("--update-monitor 0s");
        let before = ids(&swarmlb);
        let client = Counting::begin("box.1", "web");
        swarmlb.good("service update --env-add A=1 web");
        swarmlb.good(
            "service update --env-add A=2 --update-order start-first --update-parallelism 3 web",
        );
        let counted = client.end();
        counted.assert_none_lost();
        assert!(ids(&swarmlb).iter().all(|id| !before.contains(id)), "all are new");
        swarmlb.reset();
    });
}

#[test]
fn scaling_down_and_up_loses_nothing() {
    in_place(|| {
        let swarmlb = world("");
        let client = Counting::begin("box.1", "web");
        swarmlb.good("service scale web=2");
        swarmlb.good("service scale web=6");
        let counted = client.end();
        counted.assert_none_lost();
        assert_eq!(counted.tasks.len(), 6);
        swarmlb.reset();
    });
}

#[test]
fn an_agent_that_is_killed_while_tasks_are_replaced_loses_nothing() {
    in_place(|| {
        let swarmlb = world("--update-monitor 0s --update-delay 300ms");
        let client = Counting::begin("box.1", "web");
        swarmlb.good("service update --detach --force web");
        for _ in 0..3 {
            let done = client.done();
            within("requests go on", SOON, || client.done(), |now| *now > done + 120);
            swarmlb.kill("agent");
        }
        let state = || update_state(&swarmlb);
        within("the update is over", SOON, state, |state| state == "completed");
        client.end().assert_none_lost();
        swarmlb.reset();
    });
}

#[test]
fn draining_a_node_loses_nothing() {
    in_place(|| {
        let lab = lab(3);
        let client = Counting::within(lab.namespace("node-1", "box.1"), "web");
        lab.good("node drain node-2");
        lab.good("node activate node-2");
        lab.good("node drain node-3");
        lab.good("service scale web=4");
        client.end().assert_none_lost();
        lab.down();
    });
}

#[test]
fn an_update_over_nodes_loses_nothing_though_its_leader_is_killed() {
    in_place(|| {
        let lab = lab(3);
        let client = Counting::within(lab.namespace("node-1", "box.1"), "web");
        lab.good("service update --detach --force --update-delay 200ms web");
        let state = |row: &serde_json::Value| row["leader"] == true;
        for _ in 0..2 {
            let nodes = lab.json("node ls");
            let mut nodes = nodes.as_array().expect("nodes").iter();
            let leader = nodes.find(|row| state(row)).expect("a leader");
            let node = leader["hostname"].as_str().expect("a name");
            let agent = lab.json(&format!("--node {node} agent status"))["agent"].as_i64();
            let pid = lab.json("lab status");
            let mut rows = pid.as_array().expect("nodes").iter();
            let first = &rows.find(|row| row["node"] == node).expect("the node")["pid"];
            let agent = agent.expect("an agent");
            crate::world::shell(&format!("nsenter -t {first} -p -m kill -9 {agent}"));
            let done = client.done();
            within("requests go on", SOON, || client.done(), |now| *now > done + 250);
        }
        let state = || update_state(&lab);
        within("the update is over", SOON, state, |state| state == "completed");
        client.end().assert_none_lost();
        lab.down();
    });
}
