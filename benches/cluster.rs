//! Six nodes as an operator meets them: a lab until it is up, what follows when a task or a node dies, many
//! networks until they converge, what the overlay costs beside the same VXLAN made by hand, and a published
//! port beside HAProxy.
//!
//! `scripts/bench.sh cluster` runs it, in a namespace of its own. It needs root. Words after `--` name
//! what to measure, all unless named: up, deaths, nodes, growth, throughput, published.

mod apart;
mod lab;
mod published;
mod report;

use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};

use apart::Failure;
use lab::{Failed, Hand, Lab, Tables, Traffic, kill, process};
use report::{Bar, Figures, Row, Unit, rounds, timed};

const NODES: usize = 6;
const RAISED: usize = 5;
const SUBNET: &str = "10.77.0.0/16";
/// A task that dies again within ten seconds rests longer each time: there are many, and they take turns.
const REPLICAS: usize = 30;
const DEATHS: usize = 100;
const DEAD_NODES: usize = 5;
/// Networks that are made, each with a service of five tasks.
const GROWTH: [usize; 3] = [6, 30, 60];
const TASKS_EACH: usize = 5;
const STREAMS: usize = 9;
const SECONDS: u32 = 2;
/// So many of the failed connections are told, the last ones.
const SHOWN: usize = 5;
/// How long anything may take before it is given up.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long traffic must be whole to count as that.
const WHOLE: Duration = Duration::from_secs(3);

fn main() -> ExitCode {
    if std::env::args().nth(1).is_some_and(|word| word == published::SERVE) {
        return match published::serve() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => report::cannot(&error.to_string(), "is its port free?"),
        };
    }
    apart::run(&[("iperf3", "iperf3"), ("nsenter", "util-linux"), ("haproxy", "haproxy")], measure)
}

fn measure() -> Result<Vec<Row>, Failure> {
    type Part = fn() -> Result<Vec<Row>, Failure>;
    let parts: [(&str, Part); 6] = [
        ("up", raised),
        ("deaths", deaths),
        ("nodes", dead_nodes),
        ("growth", growth),
        ("throughput", throughput),
        ("published", published::measure),
    ];
    let words: Vec<String> = std::env::args().skip(1).filter(|w| !w.starts_with('-')).collect();
    let mut rows = Vec::new();
    for (name, part) in parts {
        if words.is_empty() || words.iter().any(|word| word == name) {
            rows.extend(part()?);
        }
    }
    Ok(rows)
}

fn raised() -> Result<Vec<Row>, Failure> {
    let mut raise = || timed(|| Lab::up(NODES).expect("a lab")).0;
    let [times] = rounds(RAISED, [&mut raise]);
    Ok(vec![Row { what: "a lab of 6 nodes up", swarmlb: times, peer: None, bar: Bar::AtMost(3.0) }])
}

/// A lab with a client on each node, and a service that is on all.
fn settled() -> Result<Lab, Failure> {
    let lab = Lab::up(NODES)?;
    lab.run(&format!("network create --subnet {SUBNET} bench"))?;
    lab.run("service create --name client --mode global --network bench")?;
    lab.run(&format!("service create --name web --replicas {REPLICAS} --network bench"))?;
    Ok(lab)
}

/// A task's process is killed, and its address looked for in the table of a sandbox on each node.
fn deaths() -> Result<Vec<Row>, Failure> {
    let lab = settled()?;
    let tables = Tables::of(&lab, "client")?;
    let web = lab.tasks("web")?;
    let mut times = Vec::with_capacity(DEATHS);
    for task in web.iter().cycle().take(DEATHS) {
        within("a task is in all tables", || tables.have(task.address))?;
        let process = process(&task.name)?;
        let begun = Instant::now();
        kill(process)?;
        times.push(gone(&tables, task.address, begun)?);
    }
    let times = Figures::of_times(&times);
    let row = |what, bar| Row { what, swarmlb: times.clone(), peer: None, bar };
    Ok(vec![
        row("a task dies: out of every node's tables", Bar::AtMost(0.1)),
        row("the same, 99 of 100", Bar::AtMostBy99(0.3)),
    ])
}

/// When an address was in no table any more: those that lack it are not looked at again, for the task
/// comes back soon.
fn gone(tables: &Tables, address: Ipv4Addr, begun: Instant) -> Result<Duration, Failure> {
    let mut left = tables.all();
    while begun.elapsed() < PATIENCE {
        left.retain(|table| table.has(address));
        if left.is_empty() {
            return Ok(begun.elapsed());
        }
        sleep(Duration::from_millis(2));
    }
    Err(format!("{address} stays in the tables of {} nodes", left.len()).into())
}

fn within(what: &str, mut holds: impl FnMut() -> bool) -> Result<(), Failure> {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        if Instant::now() > deadline {
            return Err(format!("it does not come about that {what}").into());
        }
        sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// A node is killed while clients on the others connect to a VIP all the time.
fn dead_nodes() -> Result<Vec<Row>, Failure> {
    let lab = settled()?;
    let vip = lab.vip("web")?;
    let mut times = Vec::with_capacity(DEAD_NODES);
    for number in 0..DEAD_NODES {
        // The first node has the store.
        let victim = format!("node-{}", NODES - number % (NODES - 1));
        let traffic = Traffic::from_all_but(&lab, "client", &victim, vip)?;
        let begun = Instant::now();
        lab.run(&format!("lab kill-node {victim}"))?;
        let failed = traffic.failures(WHOLE, PATIENCE)?;
        let after = |failed: &Failed| failed.begun.saturating_duration_since(begun);
        let late = failed.iter().rev().take(SHOWN);
        for one in late.collect::<Vec<_>>().into_iter().rev() {
            eprintln!(
                "{victim} died: a connection failed that began {:.3?} later, {}",
                after(one),
                one.how
            );
        }
        times.push(failed.last().map_or(Duration::ZERO, after));
        lab.run(&format!("lab start-node {victim}"))?;
        lab.run(&format!("service scale web={REPLICAS}"))?;
        within("all clients are back", || lab.tasks("client").is_ok_and(|t| t.len() == NODES))?;
        within("the node has its client", || Tables::of(&lab, "client").is_ok())?;
    }
    Ok(vec![Row {
        what: "a node dies: traffic is whole again",
        swarmlb: Figures::of_times(&times),
        peer: None,
        bar: Bar::AtMost(3.3),
    }])
}

/// Networks and services are made one after the other by commands, until all their tasks run.
fn growth() -> Result<Vec<Row>, Failure> {
    let mut last = Duration::ZERO;
    for networks in GROWTH {
        last = grown(networks)?;
        let tasks = networks * TASKS_EACH;
        eprintln!("{networks} networks, {tasks} tasks on {NODES} nodes: {last:.2?}");
    }
    Ok(vec![Row {
        what: "60 networks, 300 tasks on 6 nodes, from empty",
        swarmlb: Figures::of_times(&[last]),
        peer: None,
        bar: Bar::AtMost(15.0),
    }])
}

fn grown(networks: usize) -> Result<Duration, Failure> {
    let lab = Lab::up(NODES)?;
    let begun = Instant::now();
    for number in 1..=networks {
        lab.run(&format!("network create net-{number}"))?;
        lab.run(&format!(
            "service create --detach --replicas {TASKS_EACH} --name s{number} --network net-{number}"
        ))?;
    }
    eprintln!("asked for after {:.2?}", begun.elapsed());
    // Waits until every node has done this revision too.
    lab.run(&format!("service scale s{networks}={TASKS_EACH}"))?;
    within("all tasks run", || lab.running().is_ok_and(|n| n == networks * TASKS_EACH))?;
    Ok(begun.elapsed())
}

/// One stream of TCP between tasks on two nodes, and one between two namespaces that are joined by hand.
fn throughput() -> Result<Vec<Row>, Failure> {
    let lab = Lab::up(2)?;
    lab.run(&format!("network create --subnet {SUBNET} bench"))?;
    for number in 1..=2 {
        lab.run(&format!(
            "service create --name t{number} --network bench --constraint node.name==node-{number}"
        ))?;
    }
    let hand = Hand::make(&lab)?;
    let (server, client) = (lab.task("t2")?, "t1.1");
    let _servers = [
        lab.serve("node-2", "t2.1", server.address)?,
        lab.serve("node-2", lab::NAMESPACE, hand.server)?,
    ];
    let [mut ours, mut theirs] = [Vec::new(), Vec::new()];
    for round in 1..=STREAMS {
        ours.push(lab.stream("node-1", client, server.address, SECONDS)?);
        theirs.push(lab.stream("node-1", lab::NAMESPACE, hand.server, SECONDS)?);
        let [one, other] = [&ours, &theirs].map(|rates| rates[round - 1]);
        eprintln!("round {round} of {STREAMS}: {one:.2} and {other:.2} Gbit/s");
    }
    Ok(vec![Row {
        what: "TCP between tasks on two nodes",
        swarmlb: Figures::new(Unit::Gigabits, ours),
        peer: Some(("by hand", Figures::new(Unit::Gigabits, theirs))),
        bar: Bar::OfThePeer(0.95),
    }])
}
