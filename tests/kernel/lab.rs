//! A cluster of several nodes on one machine: it comes up and goes, and tasks spread over it.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::world::{Lab, Swarmlb, apart, shell, within};

const SOON: Duration = Duration::from_secs(30);

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
                "nsenter -t {pid} -n timeout 1 bash -c 'exec 3<>/dev/tcp/10.213.0.2/7733' 2>/dev/null && echo yes || echo no"
            );
            shell(&line)
        };
        within("node-1 reaches node-2", SOON, pinged, |told| told == "yes\n");
        lab.good("lab partition node-2");
        assert_eq!(pinged(), "no\n");
        let status = || lab.json("node ls")[1]["status"].clone();
        within("node-2 is silent", SOON, status, |status| status == "down");
        let line = "--node node-2 service ls";
        let cut_off = lab.run(line);
        assert_eq!(cut_off.status.code(), Some(3), "{cut_off:?}");
        let told = String::from_utf8_lossy(&cut_off.stderr).into_owned();
        assert!(told.contains("node-2 does not reach the store, at 10.213."), "{told}");
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
        for line in
            ["task exec web.2 cat /etc/resolv.conf", "sandbox exec web.2 cat /etc/resolv.conf"]
        {
            let told = on_first(line);
            assert!(told.contains("127.0.0.11"), "a task takes its commands to its node: {told}");
        }
        let told = on_first("diag dns web --from web.2");
        assert!(told.contains("as it should be"), "{told}");
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

/// Waits until a service runs on these nodes only, `count` tasks in all.
fn runs_on(lab: &Lab, service: &str, nodes: &[&str], count: usize) {
    let rows = || {
        let rows = lab.json(&format!("service ps {service}"));
        let told = |row: &serde_json::Value| format!("{} {}", row["node"], row["state"]);
        rows.as_array().expect("rows").iter().map(told).collect::<Vec<_>>()
    };
    let wanted: Vec<String> = nodes.iter().map(|node| format!("\"{node}\" \"running\"")).collect();
    within("the tasks are where they shall be", SOON, rows, |rows| {
        rows.len() == count && rows.iter().all(|row| wanted.contains(row))
    });
}

/// The tasks whose processes live on a node, as its keeper knows them.
fn processes(lab: &Lab, node: &str) -> usize {
    let rows = lab.json(&format!("--node {node} agent status"));
    usize::try_from(rows["tasks_running"].as_u64().expect("a number")).expect("few")
}

#[test]
fn a_dead_nodes_tasks_are_placed_anew_and_stopped_when_it_returns() {
    apart(|| {
        let lab = Lab::up(3);
        lab.good("network create blue");
        lab.good("service create --name web --network blue --replicas 6");
        lab.good("lab partition node-3");
        runs_on(&lab, "web", &["node-1", "node-2"], 6);
        assert_eq!(processes(&lab, "node-3"), 2, "a node that is cut off keeps what runs");
        lab.good("service scale web=4");
        lab.good("lab heal");
        within("what it still ran is stopped", SOON, || processes(&lab, "node-3"), |n| *n == 0);
        runs_on(&lab, "web", &["node-1", "node-2"], 4);
        let told = lab.json("service ps web");
        let addresses: BTreeSet<String> =
            told.as_array().expect("rows").iter().map(|row| row["addresses"].to_string()).collect();
        assert_eq!(addresses.len(), 4, "no address is there twice: {told}");
        lab.good("lab kill-node node-2");
        runs_on(&lab, "web", &["node-1", "node-3"], 4);
        lab.down();
    });
}

#[test]
fn a_drained_nodes_tasks_go_elsewhere_and_it_gets_none_until_it_is_active() {
    apart(|| {
        let lab = Lab::up(2);
        lab.good("network create blue");
        lab.good("service create --name web --network blue --replicas 4");
        lab.good("node drain node-2");
        runs_on(&lab, "web", &["node-1"], 4);
        lab.good("service scale web=5");
        runs_on(&lab, "web", &["node-1"], 5);
        lab.good("node activate node-2");
        lab.good("service scale web=6");
        assert!(lab.nodes_of("web").contains(&"node-2".to_owned()));
        lab.good("node update --label-add disk=ssd node-2");
        assert_eq!(lab.json("node inspect node-2")[0]["labels"]["disk"], "ssd");
        let listed =
            |filters: &str| lab.good(&format!("node ls --format {{{{.Hostname}}}} {filters}"));
        assert_eq!(listed("--filter label=disk"), "node-2\n");
        assert_eq!(listed("--filter node.label=disk=hdd"), "");
        assert_eq!(listed("--filter name=node-1 --filter name=node-2"), "node-1\nnode-2\n");
        lab.ending("node ls --filter role=manager", 2);
        let told = lab.good("node inspect --pretty node-2");
        assert!(told.contains("Hostname:      node-2\nLabel:         disk=ssd\n"), "{told}");
        let there = lab.good("node ps --format {{.Node}} node-2");
        assert!(!there.is_empty() && there.lines().all(|line| line == "node-2"), "{there}");
        let here = lab.good("node ps -q");
        assert_eq!(here, lab.good("node ps -q self"));
        assert_eq!(here.lines().count() + there.lines().count(), 6);
        lab.ending("node ps node-9", 2);
        lab.down();
    });
}

#[test]
fn a_node_that_left_is_shut_out_and_may_come_again() {
    apart(|| {
        let lab = Lab::up(3);
        let membership = lab.state().join("nodes/node-3/membership.json");
        let kept = std::fs::read(&membership).expect("its certificate");
        lab.good("network create blue");
        lab.good("service create --name web --network blue --replicas 3");
        lab.good("--node node-3 node leave");
        assert_eq!(lab.json("node ls").as_array().map(Vec::len), Some(2));
        runs_on(&lab, "web", &["node-1", "node-2"], 3);
        // What it showed to others is worth nothing any more.
        let directory = lab.state().join("nodes/node-3");
        std::fs::create_dir_all(&directory).expect("a directory");
        std::fs::write(&membership, kept).expect("written");
        std::fs::write(directory.join("node"), "node-3\n").expect("written");
        let (_, told) = lab.ending("--node node-3 node ls", 3);
        assert!(!told.contains("node-1"), "{told}");
        lab.good("--node node-3 agent stop");
        std::fs::remove_dir_all(&directory).expect("removed");
        let token = lab.good("node token -q");
        lab.good(&format!("--node node-3 node join --token {} 10.213.0.1", token.trim()));
        assert_eq!(lab.json("node ls").as_array().map(Vec::len), Some(3));
        lab.down();
    });
}

#[test]
fn a_task_that_ends_is_out_of_every_nodes_tables_until_it_is_there_again() {
    apart(|| {
        let lab = Lab::up(3);
        lab.good("network create blue");
        lab.good("service create --name box --network blue --mode global");
        let gate = lab.state().join("gate");
        // The first task stays away while the gate is shut.
        let script = format!(
            "[ $SWARMLB_TASK = frail.1 ] && [ -e {} ] && exit 1; exec sleep 7004",
            gate.display()
        );
        let mut create = lab.command("service create --name frail --network blue --replicas 2");
        create.args(["--data-plane", "nftables", "host", "sh", "-c", &script]);
        assert!(create.status().expect("it runs").success());
        let first = &lab.json("service ps frail")[0];
        let word = |value: &serde_json::Value| value.as_str().expect("a word").to_owned();
        let (address, node) = (word(&first["addresses"][0]), word(&first["node"]));
        let boxes = lab.json("service ps box");
        let held = || {
            let rows = boxes.as_array().expect("tasks");
            let table = |row: &serde_json::Value| {
                let (node, name) = (word(&row["node"]), word(&row["name"]));
                let line = "nft list table ip swarmlb";
                lab.good(&format!("--node {node} sandbox exec {name} {line}"))
            };
            rows.iter().filter(|row| table(row).contains(&address)).count()
        };
        within("it is in all tables", SOON, held, |count| *count == 3);
        std::fs::write(&gate, "").expect("written");
        lab.good(&format!("--node {node} task kill -s KILL frail.1"));
        within("it is in no table", SOON, held, |count| *count == 0);
        let told = || lab.run("inspect vip frail").status.code();
        within("the VIP is whole without it", SOON, told, |code| *code == Some(0));
        std::fs::remove_file(&gate).expect("removed");
        within("it is in all tables", SOON, held, |count| *count == 3);
        lab.down();
    });
}

#[test]
fn a_task_that_falls_silent_is_out_of_every_nodes_tables_until_it_answers() {
    apart(|| {
        let lab = Lab::up(2);
        lab.good("network create blue");
        lab.good("service create --name box --network blue --mode global");
        lab.good(
            "service create --name web --network blue --replicas 2 --data-plane nftables --health-http 80 \
             --health-interval 200ms --health-start-period 0 --unhealthy-action quiesce",
        );
        let rows = lab.json("service ps web");
        let word = |value: &serde_json::Value| value.as_str().expect("a word").to_owned();
        let (address, node) = (word(&rows[1]["addresses"][0]), word(&rows[1]["node"]));
        let both: BTreeSet<String> = ["node-1".to_owned(), "node-2".to_owned()].into();
        within("it is in all tables", SOON, || holders(&lab, &address), |at| *at == both);
        lab.good(&format!("--node {node} task kill -s STOP web.2"));
        within("it is in no table", SOON, || holders(&lab, &address), BTreeSet::is_empty);
        for viewer in &both {
            let row = &lab.json(&format!("--node {viewer} service ps web"))[1];
            assert_eq!(row["state"], "unhealthy");
            assert_eq!(row["error"], "unhealthy: no answer in time");
            lab.good(&format!("--node {viewer} inspect vip web"));
            // Its own node tells of each check.
            let task = lab.json(&format!("--node {viewer} task inspect web.2"));
            assert_eq!(task[0]["health"]["condition"], "unhealthy");
            assert!(task[0]["health"]["log"][0]["took"].is_number(), "{task}");
        }
        lab.good(&format!("--node {node} task kill -s CONT web.2"));
        within("it is in all tables", SOON, || holders(&lab, &address), |at| *at == both);
        lab.down();
    });
}

/// On which nodes' tables, of those that have a task of `box`, an address is a target.
fn holders(lab: &Lab, address: &str) -> BTreeSet<String> {
    let word = |value: &serde_json::Value| value.as_str().expect("a word").to_owned();
    let boxes = lab.json("service ps box");
    let mut holders = BTreeSet::new();
    for row in boxes.as_array().expect("tasks") {
        let (node, name) = (word(&row["node"]), word(&row["name"]));
        let line = format!("--node {node} sandbox exec {name} nft list table ip swarmlb");
        if lab.good(&line).contains(&format!("dnat to {address}")) {
            holders.insert(node);
        }
    }
    holders
}

#[test]
fn a_task_is_in_rotation_on_other_nodes_once_its_own_says_that_it_runs() {
    apart(|| {
        let lab = Lab::up(3);
        lab.good("network create blue");
        lab.good("service create --name box --network blue --mode global");
        lab.good("service create --name first --network blue --constraint node.name==node-2");
        let agent = lab.json("--node node-2 agent status")["agent"].as_i64().expect("it runs");
        let init = lab.json("lab status")[1]["pid"].as_i64().expect("it is up");
        let signal = |signal: &str| {
            shell(&format!("nsenter -t {init} -p -m kill -{signal} {agent}"));
        };
        // An agent that is held up makes nothing, and its lease goes on for three seconds.
        signal("STOP");
        lab.good(
            "service create --detach --name web --network blue --constraint node.name==node-2",
        );
        let address = || {
            let rows = lab.json("service ps web");
            rows[0]["addresses"][0].as_str().map(str::to_owned)
        };
        let address = within("it has an address", SOON, address, Option::is_some);
        let address = address.expect("an address");
        let vip = lab.json("service inspect web")[0]["vips"]["blue"]["address"].clone();
        let vip = vip.as_str().expect("an address").to_owned();
        let table = || lab.good("sandbox exec box.1 nft list table ip swarmlb");
        within("the VIP is there, without the task", SOON, table, |table| table.contains(&vip));
        assert_eq!(holders(&lab, &address), BTreeSet::new());
        let names = lab.good("task exec box.1 getent ahostsv4 tasks.first");
        assert!(!names.is_empty(), "the resolver answers");
        lab.ending("task exec box.1 getent ahostsv4 tasks.web", 2);
        signal("CONT");
        let all = ["node-1", "node-2", "node-3"].map(str::to_owned).into();
        within("it is in all tables", SOON, || holders(&lab, &address), |held| *held == all);
        lab.good("task exec box.1 getent ahostsv4 tasks.web");
        // Who waits ends when every node sends there.
        lab.good("service create --name next --network blue --constraint node.name==node-3");
        let rows = lab.json("service ps next");
        let address = rows[0]["addresses"][0].as_str().expect("an address").to_owned();
        assert_eq!(holders(&lab, &address), all);
        lab.down();
    });
}

#[test]
fn a_service_of_one_task_answers_all_the_time_while_its_node_is_drained() {
    apart(|| {
        let lab = Lab::up(3);
        lab.good("network create --subnet 10.0.3.0/24 blue");
        lab.good("service create --name box --network blue --constraint node.name==node-1");
        lab.good("service create --name web --network blue --constraint node.name!=node-1");
        let node = lab.nodes_of("web").remove(0);
        let vip = lab.json("service inspect web")[0]["vips"]["blue"]["address"].clone();
        let vip = vip.as_str().expect("an address").to_owned();
        let init = lab.json("lab status")[0]["pid"].as_i64().expect("it is up");
        let script = lab.state().join("ask");
        let ask = format!(
            "exec 3<>/dev/tcp/{vip}/80\nprintf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3\ngrep -q web <&3\n"
        );
        std::fs::write(&script, ask).expect("written");
        let (script, enough) = (script.display(), lab.state().join("enough"));
        let asking = format!(
            "while [ ! -e {} ]; do timeout 3 bash {script} || echo failed; echo asked; done",
            enough.display()
        );
        let line = format!("nsenter -t {init} -n -m ip netns exec box.1 bash -c '{asking}' 2>&1");
        std::thread::scope(|scope| {
            let asking = scope.spawn(|| shell(&line));
            let drained = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                lab.good(&format!("node drain {node}"));
                runs_elsewhere(&lab, "web", &node);
            }));
            std::fs::write(&enough, "").expect("written");
            drained.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            let told = asking.join().expect("it ends");
            assert!(told.lines().filter(|line| *line == "asked").count() > 3, "{told}");
            assert!(!told.contains("failed"), "somebody was not answered: {told}");
        });
        std::fs::remove_file(&enough).expect("removed");
        std::fs::remove_file(lab.state().join("ask")).expect("removed");
        lab.down();
    });
}

/// Waits until a service has one task, which runs, and not there.
fn runs_elsewhere(lab: &Lab, service: &str, node: &str) {
    let rows = || lab.json(&format!("service ps {service}")).as_array().expect("rows").clone();
    within("its task is elsewhere", SOON, rows, |rows| {
        rows.len() == 1 && rows[0]["node"] != node && rows[0]["state"] == "running"
    });
}

#[test]
fn half_a_cluster_that_is_cut_off_while_a_service_scales_has_nothing_twice_when_it_heals() {
    apart(|| {
        let lab = Lab::up(4);
        lab.good("network create blue");
        lab.good("service create --name web --network blue --replicas 8");
        lab.good("service scale --detach web=16");
        lab.good("lab partition node-3 node-4");
        runs_on(&lab, "web", &["node-1", "node-2"], 16);
        lab.good("service scale web=12");
        lab.good("service scale web=20");
        assert!(processes(&lab, "node-3") >= 2, "what is cut off keeps what runs");
        lab.good("lab heal");
        let ready = || {
            let nodes = lab.json("node ls");
            nodes.as_array().expect("nodes").iter().filter(|node| node["status"] == "ready").count()
        };
        within("all are back", SOON, ready, |count| *count == 4);
        for node in ["node-3", "node-4"] {
            within("what it still ran is stopped", SOON, || processes(&lab, node), |n| *n == 0);
        }
        lab.good("service scale web=28");
        let rows = lab.json("service ps web");
        let rows = rows.as_array().expect("rows");
        let of = |key: &str| rows.iter().map(|row| row[key].to_string()).collect::<BTreeSet<_>>();
        assert_eq!((rows.len(), of("name").len(), of("addresses").len()), (28, 28, 28));
        for node in ["node-1", "node-2", "node-3", "node-4"] {
            let wanted = rows.iter().filter(|row| row["node"] == node).count();
            within("what runs is what shall run", SOON, || processes(&lab, node), |n| *n == wanted);
        }
        lab.good("inspect vip web");
        lab.down();
    });
}

#[test]
fn open_connections_of_a_node_that_is_taken_out_are_cut() {
    apart(|| {
        let lab = Lab::up(3);
        lab.good("network create blue");
        lab.good("service create --name web --network blue --constraint node.name==node-1 host sleep 7005");
        // It follows what is written on another node, by an errand that does not end by itself.
        let mut follower = lab.command("--node node-3 service logs --follow web");
        let mut follower =
            follower.stderr(std::process::Stdio::piped()).spawn().expect("it starts");
        let pid = lab.json("lab status")[0]["pid"].as_i64().expect("it is up");
        let errands = || {
            let line =
                format!("nsenter -t {pid} -p -m ps -eo args | grep -c '[s]ervice logs' || true");
            shell(&line).trim().parse::<usize>().expect("a number")
        };
        within("the errand runs on node-1", SOON, errands, |count| *count == 1);
        lab.good("node rm --force node-3");
        within("the errand is cut off", SOON, errands, |count| *count == 0);
        let log = lab.state().join("nodes/node-3/agent.log");
        let said = || std::fs::read_to_string(&log).unwrap_or_default();
        within("its agent lost the store", SOON, said, |said| {
            said.contains("goes on without the store")
        });
        // It follows what its own node has.
        follower.kill().expect("it is a child");
        let told = follower.wait_with_output().expect("it ends").stderr;
        let told = String::from_utf8_lossy(&told);
        assert!(told.contains("on node node-1 is not shown"), "{told}");
        lab.down();
    });
}

#[test]
fn an_agent_goes_on_from_what_it_last_knew_while_the_first_node_is_away() {
    apart(|| {
        let lab = Lab::up(3);
        lab.good("network create --subnet 10.0.3.0/24 blue");
        lab.good("service create --name box --network blue --mode global");
        lab.good("service create --name web --network blue --replicas 3");
        let tasks = |rows: serde_json::Value| {
            let rows = rows.as_array().expect("rows").clone();
            let told =
                |row: &serde_json::Value| format!("{} {} {}", row["id"], row["node"], row["pid"]);
            rows.iter().map(told).collect::<BTreeSet<_>>()
        };
        let before = tasks(lab.json("service ps web"));
        let kept = lab.state().join("nodes/node-2/intent.json");
        within("what was asked for is kept", SOON, || kept.exists(), |kept| *kept);
        let inside = |node: usize, line: &str| {
            let pid = &lab.json("lab status")[node - 1]["pid"];
            let directory = lab.state().join(format!("nodes/node-{node}"));
            let binary = env!("CARGO_BIN_EXE_swarmlb");
            let line =
                line.replace("BINARY", &format!("{binary} --state-dir {}", directory.display()));
            shell(&format!("nsenter -t {pid} -n -m -p {line}"))
        };
        let own_box = lab.json("service ps box").as_array().expect("rows").iter().find_map(|row| {
            (row["node"] == "node-2").then(|| row["name"].as_str().expect("a name").to_owned())
        });
        let own_box = own_box.expect("node-2 has one");
        let agent = lab.json("--node node-2 agent status")["agent"].as_i64().expect("it runs");
        lab.good("lab kill-node node-1");
        inside(2, &format!("kill -KILL {agent}"));
        let told = || -> serde_json::Value {
            let told = inside(2, "BINARY --format json agent status 2>&1 || true");
            serde_json::from_str(&told).unwrap_or_else(|error| panic!("{error}: {told}"))
        };
        let another = |told: &serde_json::Value| {
            told["agent"].as_i64().is_some_and(|pid| pid != agent) && told["last_known"].is_u64()
        };
        within("another agent is there, and says what it goes by", SOON, told, another);
        assert!(inside(2, "BINARY agent status || true").contains("as last known, at revision"));
        let names = || {
            inside(2, &format!("ip netns exec {own_box} busybox nslookup web 127.0.0.11 || true"))
        };
        within("names are answered", SOON, names, |names| names.contains("10.0.3."));
        inside(2, &format!("ip netns exec {own_box} nft delete table ip swarmlb"));
        let table = || inside(2, &format!("ip netns exec {own_box} nft list tables"));
        within("drift is mended", Duration::from_secs(30), table, |table| {
            table.contains("swarmlb")
        });
        // A machine that starts anew, too, comes back with what it ran.
        lab.good("lab kill-node node-3");
        lab.good("lab start-node node-3");
        let running = || {
            let told = inside(3, "BINARY --format json agent status || true");
            let told: serde_json::Value = serde_json::from_str(&told).expect("JSON");
            told["tasks_running"].as_u64()
        };
        within("node-3 runs its two tasks", SOON, running, |running| *running == Some(2));
        lab.good("lab start-node node-1");
        let ready = || {
            let nodes = lab.json("node ls");
            let nodes = nodes.as_array().cloned().unwrap_or_default();
            nodes.iter().filter(|node| node["status"] == "ready").count()
        };
        within("all are back", Duration::from_secs(30), ready, |count| *count == 3);
        runs_somewhere(&lab, "web", 3);
        let after = tasks(lab.json("service ps web"));
        let on_2 = |tasks: &BTreeSet<String>| {
            tasks.iter().filter(|task| task.contains("node-2")).cloned().collect::<Vec<_>>()
        };
        assert_eq!(on_2(&before), on_2(&after), "node-2's went on all the time");
        lab.good("service scale web=4");
        lab.good("inspect vip web");
        lab.down();
    });
}

/// Waits until a service has so many tasks, which all run.
fn runs_somewhere(lab: &Lab, service: &str, count: usize) {
    let rows = || lab.json(&format!("service ps {service}")).as_array().expect("rows").clone();
    within("its tasks run", Duration::from_secs(30), rows, |rows| {
        rows.len() == count && rows.iter().all(|row| row["state"] == "running")
    });
}

#[test]
fn what_is_said_of_a_task_finds_its_node() {
    apart(|| {
        let lab = Lab::up(3);
        lab.good("network create blue");
        lab.good("service create --name web --network blue --replicas 3");
        let nodes = lab.nodes_of("web");
        for (number, node) in (1..).zip(&nodes) {
            let task = format!("web.{number}");
            let told = lab.good(&format!("--node node-1 task exec {task} cat /etc/hostname"));
            assert!(!told.is_empty(), "{task} on {node}");
            let told = lab.json(&format!("task inspect {task}"));
            assert!(told[0]["process"]["pid"].is_u64(), "{task} on {node}: {told}");
        }
        let fields = |task: &str| {
            let told = lab.good(&format!("--format json task inspect {task}"));
            let field =
                |line: &str| Some(line.strip_prefix("    \"")?.split('"').next()?.to_owned());
            told.lines().filter_map(field).collect::<Vec<_>>()
        };
        let own = fields("web.1");
        assert!(own.len() > 5, "{own:?}");
        assert_eq!(own, fields("web.2"), "in one order, wherever it is");
        let ended = lab.command("task exec web.3 sh -c").arg("exit 7").status();
        assert_eq!(ended.expect("the program starts").code(), Some(7));
        lab.ending("task exec web.2 no-such-program", 127);
        let both = lab.json("task inspect web.1 web.2 web.3");
        assert_eq!(both.as_array().map(Vec::len), Some(3));
        let create = "service create --name job --network blue --replicas 3 host /bin/sh -c";
        let made = lab.command(create).arg("echo begun; exec sleep 600").status();
        assert!(made.expect("the program starts").success());
        let written = || lab.good("service logs --timestamps --no-task-ids job");
        let told =
            within("each node tells its part", SOON, written, |told| told.lines().count() == 3);
        for node in ["node-1", "node-2", "node-3"] {
            assert!(told.contains(&format!("@{node} ")), "{told}");
        }
        let mut sorted: Vec<&str> = told.lines().collect();
        sorted.sort_unstable();
        assert!(told.lines().eq(sorted), "in the order of time: {told}");
        for number in 1..=3 {
            assert_eq!(lab.good(&format!("task logs --raw job.{number}")), "begun\n");
        }
        let told = lab.good("task kill job.1 job.2 job.3");
        let killed: BTreeSet<&str> = told.lines().collect();
        assert_eq!(killed, BTreeSet::from(["job.1", "job.2", "job.3"]));
        let again = || lab.good("service logs --raw job");
        within("each was started again", SOON, again, |told| told.lines().count() == 6);
        lab.good("lab kill-node node-3");
        let (told, complaint) = lab.ending("service logs --raw --tail 1 job", 1);
        assert_eq!(told, "begun\nbegun\n");
        assert!(complaint.contains("on node node-3 is not shown"), "{complaint}");
        lab.down();
    });
}

#[test]
fn a_node_killed_while_a_service_is_made_ends_with_all_of_it_and_nothing_twice() {
    apart(|| {
        let lab = Lab::up(3);
        lab.good("network create blue");
        lab.good("service create --detach --name web --network blue --replicas 45");
        let begun = || processes(&lab, "node-2");
        within("node-2 has begun", SOON, begun, |count| *count > 0);
        lab.good("lab kill-node node-2");
        lab.good("lab start-node node-2");
        let wait = Duration::from_secs(60);
        let rows = || {
            let rows = lab.json("service ps web");
            rows.as_array().expect("rows").clone()
        };
        // Where node-2 took long to come back, what it said last stands for a while, and then its tasks
        // are elsewhere.
        let nodes = ["node-1", "node-2", "node-3"];
        let look = || {
            let rows = rows();
            let placed = |node| rows.iter().filter(|row| row["node"] == node).count();
            let counts = nodes.map(|node| (placed(node), processes(&lab, node)));
            (rows, counts)
        };
        let (rows, counts) = within("what runs is what shall run", wait, look, |(rows, counts)| {
            rows.len() == 45
                && rows.iter().all(|row| row["state"] == "running")
                && counts.iter().all(|(placed, running)| placed == running)
        });
        let addresses: BTreeSet<String> =
            rows.iter().map(|row| row["addresses"].to_string()).collect();
        assert_eq!(addresses.len(), 45, "an address is there twice");
        for (node, (wanted, _)) in nodes.into_iter().zip(counts) {
            let sandboxes = || {
                let told = lab.json(&format!("--node {node} sandbox ls"));
                let rows = told.as_array().expect("rows").clone();
                rows.iter().filter(|row| row["kind"] == "task").count()
            };
            within("no sandbox is left over", SOON, sandboxes, |n| *n == wanted);
        }
        lab.good("service rm web");
        lab.down();
    });
}
