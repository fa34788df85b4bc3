//! The store on etcd: nodes on several machines, an etcd that goes away, and one that never was there.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Child, Command, Output};
use std::time::{Duration, Instant};

use serde_json::Value;
use swarmlb::environment::variable;
use swarmlb::kernel::program;
use swarmlb::killpoint::VARIABLE;
use swarmlb::store::Store;
use swarmlb::store::etcd::Etcd;
use swarmlb::store::location::{Address, EtcdLocation};
use swarmlb::store::records::load_intent;

use crate::etcd_server::{self, Cluster, Manner};
use crate::world::{answers, apart, kill, replies, request, required, shell, within};

const SOON: Duration = Duration::from_secs(30);
/// Longer than a node's lease.
const AWAY: Duration = Duration::from_secs(6);

/// A world of its own, in which there is an etcd to be started.
fn with_etcd(test: impl FnOnce()) {
    if etcd_server::is_installed() {
        return test();
    }
    assert!(!required("etcd"), "this test needs etcd");
    println!("skipped: needs etcd");
}

/// A machine with a node on it: this world, or another one that a cable joins to it.
struct Machine {
    node: &'static str,
    store: String,
    state: PathBuf,
    elsewhere: Option<(Child, String)>,
    /// Where its processes may be killed is told there.
    points: Option<PathBuf>,
}

impl Machine {
    fn here(store: &str) -> Self {
        let state = format!("/run/swarmlb-etcd-{}", std::process::id()).into();
        Self { node: "node-1", store: store.to_owned(), state, elsewhere: None, points: None }
    }

    /// With `here` and `there` at the ends of the cable.
    fn joined(node: &'static str, here: Ipv4Addr, there: Ipv4Addr) -> Self {
        let entry =
            "mount -t tmpfs -o mode=755 tmpfs /run && ip link set lo up && exec sleep infinity";
        let child = program::command("unshare")
            .args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"])
            .args(["sh", "-c", entry])
            .spawn()
            .expect("unshare starts");
        let children = format!("/proc/{0}/task/{0}/children", child.id());
        let read = || std::fs::read_to_string(&children).unwrap_or_default().trim().to_owned();
        let pid = within("the machine is there", SOON, read, |pid| !pid.is_empty());
        let asleep = || std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        within("the machine is up", SOON, asleep, |comm| comm.trim() == "sleep");
        shell(&format!(
            "ip link add cable type veth peer name cable netns {pid}
             ip addr add {here}/24 dev cable; ip link set cable up
             nsenter -t {pid} -n ip addr add {there}/24 dev cable
             nsenter -t {pid} -n ip link set cable up"
        ));
        let state = format!("/run/swarmlb-etcd-{}", std::process::id()).into();
        Self { node, store: String::new(), state, elsewhere: Some((child, pid)), points: None }
    }

    fn command(&self, line: &str) -> Command {
        let binary =
            variable("SWARMLB_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_swarmlb").to_owned());
        let mut command = match &self.elsewhere {
            None => program::command(binary),
            Some((_, pid)) => {
                let mut command = program::command("nsenter");
                command.args(["-t", pid, "--net", "--mount", "--pid", "--", &binary]);
                command
            }
        };
        command.arg("--state-dir").arg(&self.state).args(line.split_whitespace());
        command.env("SWARMLB_NODE", self.node).env("SWARMLB_STORE", &self.store);
        command.envs(self.points.as_ref().map(|points| (VARIABLE, points)));
        command
    }

    fn run(&self, line: &str) -> Output {
        self.command(line).output().expect("the program starts")
    }

    #[track_caller]
    fn ending(&self, line: &str, code: i32) -> (String, String) {
        let output = self.run(line);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "`swarmlb {line}`\n{out}\n{err}");
        (out, err)
    }

    #[track_caller]
    fn good(&self, line: &str) -> String {
        self.ending(line, 0).0
    }

    fn json(&self, line: &str) -> Value {
        let output = self.run(&format!("--format json {line}"));
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
            panic!("`swarmlb {line}`: {error}: {}", String::from_utf8_lossy(&output.stderr))
        })
    }

    fn whole(&self) {
        let status = || {
            let output = self.run("agent status");
            (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
        };
        within("`agent status` is good", SOON, status, |(code, _)| *code == Some(0));
    }

    /// How many tasks of a service each node runs.
    fn tasks(&self, service: &str) -> BTreeMap<String, usize> {
        let mut nodes = BTreeMap::new();
        for row in self.json(&format!("service ps {service}")).as_array().expect("rows") {
            assert_eq!(row["state"], "running", "{row}");
            *nodes.entry(row["node"].as_str().expect("a node").to_owned()).or_default() += 1;
        }
        nodes
    }

    fn pids(&self, service: &str) -> Vec<i64> {
        let rows = self.json(&format!("service ps {service}"));
        let pid = |row: &Value| row["pid"].as_i64().expect("a running task");
        rows.as_array().expect("rows").iter().map(pid).collect()
    }

    fn role(&self, role: &str) -> Option<i64> {
        self.json("agent status")[role].as_i64()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() && self.elsewhere.is_none() {
            for log in ["agent.log", "keeper.log"] {
                let text = std::fs::read_to_string(self.state.join(log)).unwrap_or_default();
                text.lines().for_each(|line| println!("{} {log}: {line}", self.node));
            }
        }
        if let Some((child, pid)) = &mut self.elsewhere {
            if std::thread::panicking() {
                let log = format!("cat {}/*.log", self.state.display());
                println!("{}", shell(&format!("nsenter -t {pid} --mount {log} || true")));
            }
            let _ended = (child.kill(), child.wait());
        }
    }
}

fn connected(address: &str) -> Etcd {
    let Ok(Address::Etcd(address)) = address.parse() else { panic!("no etcd: {address}") };
    Etcd::connect_within(&EtcdLocation { address, tls: None }, SOON).expect("it answers")
}

/// Everything that is in an etcd below a prefix.
fn keys(address: &str) -> Vec<String> {
    let objects = connected(address).load("").expect("it loads").objects;
    objects.into_iter().map(|object| object.key).collect()
}

/// Where the nodes say that they are.
fn addresses(address: &str) -> Vec<Option<Ipv4Addr>> {
    let loaded = load_intent(&connected(address)).expect("it is read").expect("there is one");
    loaded.intent.nodes.values().map(|node| node.address).collect()
}

#[test]
fn two_machines_with_the_same_etcd_are_nodes_of_one_cluster() {
    apart(|| with_etcd(two_machines));
}

fn two_machines() {
    let [here, there] = [1, 2].map(|last| Ipv4Addr::new(192, 0, 2, last));
    let mut second = Machine::joined("node-2", here, there);
    let etcd = Cluster::start(1, Manner { address: Some(here), ..Manner::default() });
    let address = format!("{}/test/lb", etcd.address());
    let first = Machine::here(&address);
    second.store.clone_from(&address);
    // Looking makes no node of a machine.
    assert_eq!(second.good("service ls -q"), "");
    assert_eq!(keys(&address), [""; 0]);
    first.good("network create blue");
    let mut agent = second.command("agent run").spawn().expect("it starts");
    let nodes = || keys(&address).into_iter().filter(|key| key.starts_with("intent/node/")).count();
    within("both are in the intent", SOON, nodes, |count| *count == 2);
    second.whole();
    assert_eq!(addresses(&address), [Some(here), Some(there)]);
    first.good("service create --replicas 4 --name web --network blue");
    let spread = BTreeMap::from([("node-1".to_owned(), 2), ("node-2".to_owned(), 2)]);
    assert_eq!(first.tasks("web"), spread);
    assert_eq!(second.tasks("web"), spread);
    // They know each other from the store alone, and that is said.
    let (_, told) = first.ending("--node node-2 sandbox ls", 3);
    assert!(
        told.contains("do nothing for each other") && told.contains("type it on node-2"),
        "{told}"
    );
    let (_, told) = first.ending("task exec web.2 true", 2);
    assert!(told.contains("hint: type it on node `node-2`"), "{told}");
    let (_, told) = first.ending("service logs web", 1);
    assert!(told.contains("on node node-2 is not shown"), "{told}");
    assert_eq!(second.json("task inspect web.1")[0]["process"], Value::Null);
    second.good("service scale web=6");
    assert_eq!(first.tasks("web").into_values().collect::<Vec<_>>(), [3, 3]);
    first.whole();
    // No process of ours is between.
    assert_eq!((first.role("store"), second.role("store")), (None, None));
    first.good("system reset --yes");
    assert!(keys(&address).contains(&"intent/node/node-2".to_owned()));
    second.good("system reset --yes");
    let left = keys(&address).into_iter().filter(|key| !key.starts_with("status/"));
    assert_eq!(left.collect::<Vec<_>>(), [""; 0]);
    agent.wait().expect("the keeper ends");
    drop((second, etcd));
    // The cable goes with the namespace at its other end.
    within("the cable is gone", SOON, || shell("ip link"), |links| !links.contains("cable"));
}

#[test]
fn an_etcd_that_is_away_stops_nothing_that_runs() {
    apart(|| with_etcd(etcd_goes_away));
}

fn etcd_goes_away() {
    let mut etcd = Cluster::start(1, Manner::default());
    let machine = Machine::here(&etcd.address());
    machine.good("network create --subnet 10.0.3.0/24 blue");
    machine.good("service create --replicas 3 --name web --network blue");
    machine.good("service create --name box --network blue");
    let (pids, agent) = (machine.pids("web"), machine.role("agent"));
    etcd.kill_member(0);
    let lost = Instant::now();
    let (said, _) = machine.ending("agent status", 1);
    assert!(said.contains("etcd://") && said.contains("is not reachable"), "{said}");
    while lost.elapsed() < AWAY {
        assert_eq!(answers("box.1", "web").expect("an answer"), ["10.0.3.2"]);
        assert_eq!(replies("box.1", "10.0.3.2", 3).len(), 3);
    }
    assert_eq!(machine.role("agent"), agent, "the agent is the same");
    // What ends meanwhile is started again meanwhile.
    let victim = *pids.last().expect("three");
    kill(victim);
    let died = Instant::now();
    let taking_turns = || -> BTreeSet<String> {
        let replies = (0..6).filter_map(|_| request("box.1", "10.0.3.2").ok());
        replies.map(|reply| reply.task).collect()
    };
    within("three take turns again", SOON, taking_turns, |tasks| tasks.len() == 3);
    println!("a task came back {:.1} s after it was killed", died.elapsed().as_secs_f64());
    etcd.start_member(0);
    machine.whole();
    assert_eq!(machine.role("agent"), agent, "the agent is the same");
    assert_eq!(machine.pids("web")[..2], pids[..2], "tasks are not started anew");
    machine.good("service scale web=4");
    assert_eq!(machine.tasks("web").into_values().sum::<usize>(), 4);
    machine.good("system reset --yes");
}

/// What an agent needs in order to begin without its store.
fn kept_revision(machine: &Machine) -> Option<u64> {
    let text = std::fs::read(machine.state.join("intent.json")).ok()?;
    serde_json::from_slice::<Value>(&text).ok()?["revision"].as_u64()
}

/// Sees that another agent than `before` is at work without its store, from what it last knew.
fn goes_on_alone(machine: &Machine, before: Option<i64>) {
    let told = || machine.json("agent status");
    let told = within("another agent goes on from what it knew", SOON, told, |told| {
        told["agent"].is_i64() && told["agent"].as_i64() != before && told["last_known"].is_u64()
    });
    assert!(told["store_problem"].as_str().is_some_and(|said| said.contains("not reachable")));
    let (said, _) = machine.ending("agent status", 1);
    assert!(said.contains("as last known, at revision"), "{said}");
    assert_eq!(answers("box.1", "web").expect("an answer"), ["10.0.3.2"]);
    assert_eq!(replies("box.1", "10.0.3.2", 3).len(), 3);
}

#[test]
fn an_agent_that_begins_without_its_etcd_goes_on_from_what_it_last_knew() {
    apart(|| with_etcd(agent_begins_alone));
}

fn agent_begins_alone() {
    let mut etcd = Cluster::start(1, Manner::default());
    let machine = Machine::here(&etcd.address());
    machine.good("network create --subnet 10.0.3.0/24 blue");
    machine.good("service create --replicas 3 --name web --network blue");
    machine.good("service create --name box --network blue");
    let pids = machine.pids("web");
    let asked = machine.json("agent status")["report"]["revision"].as_u64();
    within("what was asked for is kept", SOON, || kept_revision(&machine), |kept| *kept >= asked);
    etcd.kill_member(0);
    let agent = machine.role("agent");
    kill(agent.expect("it runs"));
    goes_on_alone(&machine, agent);
    shell("ip netns exec box.1 nft delete table ip swarmlb");
    let table = || shell("ip netns exec box.1 nft list tables");
    within("drift is mended", SOON, table, |tables| tables.contains("swarmlb"));
    kill(*pids.last().expect("three"));
    // Until its node has seen it end, what ended may still be asked.
    let answering = || {
        let asked = (0..6).map(|_| request("box.1", "10.0.3.2"));
        asked.collect::<Result<Vec<_>, _>>().map_or(0, |replies| {
            replies.iter().map(|reply| &reply.task).collect::<BTreeSet<_>>().len()
        })
    };
    within("three take turns", SOON, answering, |tasks| *tasks == 3);
    // Keeper and all, as when the machine starts anew; what starts it at boot waits for no store.
    let (agent, keeper) = (machine.role("agent"), machine.role("keeper").expect("it runs"));
    kill(agent.expect("it runs"));
    kill(keeper);
    let mut unit = machine.command("agent run").spawn().expect("it starts");
    goes_on_alone(&machine, agent);
    etcd.start_member(0);
    machine.whole();
    assert_eq!(machine.pids("web")[..2], pids[..2], "tasks are not started anew");
    machine.good("service scale web=4");
    assert_eq!(machine.tasks("web").into_values().sum::<usize>(), 4);
    machine.good("system reset --yes");
    unit.wait().expect("the keeper ends");
}

#[test]
fn what_was_asked_for_is_kept_whole_wherever_the_agent_is_killed() {
    apart(|| with_etcd(killed_while_keeping));
}

fn killed_while_keeping() {
    let points = killed_while_keeping_at(None);
    assert!(points.len() >= 4, "{points:?}");
    // Those of the last edit are like those of the first.
    for number in points.into_iter().take(4) {
        killed_while_keeping_at(Some(number));
    }
}

/// A story in which the agent is killed at its point of that number; tells the numbers of the points
/// where something is being kept.
fn killed_while_keeping_at(number: Option<usize>) -> Vec<usize> {
    let mut etcd = Cluster::start(1, Manner::default());
    let mut machine = Machine::here(&etcd.address());
    let points = machine.state.with_extension("points");
    std::fs::create_dir_all(&points).expect("a directory");
    if let Some(number) = number {
        std::fs::write(points.join("kill"), format!("agent {number}")).expect("a file");
    }
    machine.points = Some(points.clone());
    machine.good("network create --subnet 10.0.3.0/24 blue");
    machine.good("service create --replicas 3 --name web --network blue");
    machine.good("service create --name box --network blue");
    machine.whole();
    let asked = machine.json("agent status")["report"]["revision"].as_u64();
    within("what was asked for is kept", SOON, || kept_revision(&machine), |kept| *kept >= asked);
    assert_eq!(points.join("killed").exists(), number.is_some(), "at {number:?}");
    etcd.kill_member(0);
    let agent = machine.role("agent");
    kill(agent.expect("it runs"));
    goes_on_alone(&machine, agent);
    etcd.start_member(0);
    machine.whole();
    machine.good("system reset --yes");
    let passed = std::fs::read_to_string(points.join("passed")).expect("points");
    std::fs::remove_dir_all(&points).expect("it is removed");
    let own = passed.lines().filter_map(|line| line.strip_prefix("agent ")).enumerate();
    own.filter(|(_, name)| name.contains("asked for is kept")).map(|(at, _)| at + 1).collect()
}

#[test]
fn the_store_that_a_node_began_with_is_remembered_and_not_changed() {
    apart(|| with_etcd(remembered));
}

fn remembered() {
    let etcd = Cluster::start(1, Manner::default());
    let mut machine = Machine::here(&etcd.address());
    machine.good("network create blue");
    let address = std::mem::replace(&mut machine.store, "sqlite".into());
    let (_, err) = machine.ending("network ls", 2);
    assert!(err.contains(&format!("has its store at {address}")), "{err}");
    assert!(err.contains("leave out `--store`"), "{err}");
    machine.store = format!("{address}/other");
    machine.ending("network ls", 2);
    let plain = |line: &str| {
        let mut command = machine.command(line);
        command.env_remove("SWARMLB_STORE");
        let output = command.output().expect("it starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert_eq!(plain("network ls -q").lines().count(), 1);
    plain("system reset --yes");
    assert!(!machine.state.exists());
}

#[test]
fn an_etcd_that_is_not_there_is_told_and_nothing_is_started() {
    apart(|| {
        let machine = Machine::here("etcd://127.0.0.1:1,127.0.0.1:2");
        let begun = Instant::now();
        for line in ["service ls", "network create blue"] {
            let (out, err) = machine.ending(line, 3);
            assert_eq!(out, "", "{line}");
            assert!(
                err.contains("the store at etcd://127.0.0.1:1,127.0.0.1:2 is not reachable"),
                "{err}"
            );
            assert!(err.contains("127.0.0.1:1: Connection refused"), "{err}");
        }
        assert!(begun.elapsed() < Duration::from_secs(20));
        assert!(!machine.state.join("keeper.sock").exists(), "nothing was started");
        // And it is no commitment: the next command may name another.
        let mut plain = machine;
        plain.store = "sqlite".into();
        plain.good("network create blue");
        plain.good("system reset --yes");
    });
}
