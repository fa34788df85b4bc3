//! One node as an operator meets it: services until they converge, what runs all the time in memory,
//! and what commands that only look take. By the `nftables` plane, or `ipvs` where the kernel has it.
//!
//! `scripts/bench.sh node` runs it, in a network namespace of its own. It needs root.

mod apart;
mod report;

use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use swarmlb::kernel::program;
use swarmlb::memory;

use apart::{Failure, Swarmlb};
use report::{Bar, Figures, Row, Unit, rounds, timed};

/// What stands on the network while services are measured.
const SUBNET: &str = "10.77.0.0/16";
const CREATED: usize = 24;
const SCALED: usize = 5;
/// The first replicas, and how many more.
const FEW: usize = 3;
const MORE: usize = 100;
const TASKS: usize = 100;
const SERVICES: usize = 100;
const STARTED: usize = 500;
const INSPECTED: usize = 100;
const CHECKED: usize = 30;
/// Memory is read so often, once all is at rest.
const WEIGHED: usize = 5;

fn main() -> ExitCode {
    apart::run(&[("true", "coreutils")], measure)
}

fn measure() -> Result<Vec<Row>, Failure> {
    // The program is built as the release is, but not stripped, and what is read from disk would
    // be measured with it.
    Ok(vec![version()?, created()?, scaled()?, weighed()?, inspected()?, checked()?])
}

/// Starting the program at all, beside the least that can be started.
fn version() -> Result<Row, Failure> {
    let peer = program::find("true").ok_or("`true` is missing")?;
    let swarmlb = PathBuf::from(env!("CARGO_BIN_EXE_swarmlb"));
    let mut ours = || started(program::command(&swarmlb).arg("--version"));
    let mut theirs = || started(&mut program::command(&peer));
    let [ours, theirs] = rounds(STARTED, [&mut ours, &mut theirs]);
    Ok(Row {
        what: "swarmlb --version",
        swarmlb: ours,
        peer: Some(("true", theirs)),
        bar: Bar::AtMost(0.002),
    })
}

/// How long a program takes from `posix_spawn` until it has ended.
fn started(command: &mut Command) -> Duration {
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let (time, status) = timed(|| command.status());
    assert!(status.is_ok_and(|status| status.success()), "{command:?} failed");
    time
}

/// A cluster with a network, and a task on it that sees whatever comes.
fn settled() -> Result<Swarmlb, Failure> {
    let swarmlb = Swarmlb::new();
    swarmlb.run(&format!("network create --subnet {SUBNET} bench"))?;
    swarmlb.run("service create --name client --network bench")?;
    Ok(swarmlb)
}

fn created() -> Result<Row, Failure> {
    let swarmlb = settled()?;
    let line = format!("service create --replicas {FEW} --name web --network bench");
    let mut create = || {
        let time = started(&mut swarmlb.command(&line));
        started(&mut swarmlb.command("service rm web"));
        time
    };
    let [times] = rounds(CREATED, [&mut create]);
    Ok(Row {
        what: "service create --replicas 3 until converged",
        swarmlb: times,
        peer: None,
        bar: Bar::AtMost(0.3),
    })
}

fn scaled() -> Result<Row, Failure> {
    let mut rates = Vec::with_capacity(SCALED);
    for _ in 0..SCALED {
        let swarmlb = settled()?;
        swarmlb.run(&format!("service create --replicas {FEW} --name web --network bench"))?;
        let time = started(&mut swarmlb.command(&format!("service scale web={}", FEW + MORE)));
        rates.push(MORE as f64 / time.as_secs_f64());
    }
    Ok(Row {
        what: "100 more replicas, tasks",
        swarmlb: Figures::new(Unit::PerSecond, rates),
        peer: None,
        bar: Bar::AtLeast(100.0),
    })
}

/// What agent and keeper hold of the memory, with 100 tasks.
fn weighed() -> Result<Row, Failure> {
    let swarmlb = settled()?;
    swarmlb.run(&format!("service create --replicas {} --name web --network bench", TASKS - 1))?;
    let pids = [swarmlb.role("agent")?, swarmlb.role("keeper")?];
    let both = || pids.iter().map(|pid| resident(*pid)).sum::<Result<f64, Failure>>();
    // Both give back what they do not need once nothing happens.
    let rested = Instant::now() + memory::REST * 3;
    let mut least = both()?;
    while Instant::now() < rested {
        std::thread::sleep(Duration::from_millis(100));
        least = least.min(both()?);
    }
    let mut held = Vec::with_capacity(WEIGHED);
    for _ in 0..WEIGHED {
        std::thread::sleep(memory::REST);
        held.push(both()?);
    }
    eprintln!("agent and keeper at 100 tasks: {held:.1?} MiB at rest, {least:.1} at the least");
    Ok(Row {
        what: "agent and keeper, RSS at 100 tasks",
        swarmlb: Figures::new(Unit::MiB, held),
        peer: None,
        bar: Bar::AtMost(16.0),
    })
}

/// What a process has in memory, in MiB.
fn resident(pid: i32) -> Result<f64, Failure> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()).ok_or("no VmRSS")?;
    Ok(kilobytes.parse::<f64>()? / 1024.0)
}

/// The walk from name to task, among many services.
fn inspected() -> Result<Row, Failure> {
    let swarmlb = settled()?;
    swarmlb.run(&format!("service create --replicas {FEW} --name web --network bench"))?;
    for number in 2..SERVICES {
        let line = format!("service create --detach --replicas 0 --network bench --name s{number}");
        swarmlb.run(&line)?;
    }
    // Waits until the agent has it all.
    swarmlb.run("service scale client=1")?;
    let mut inspect = || started(&mut swarmlb.command("inspect vip web"));
    inspect();
    let [times] = rounds(INSPECTED, [&mut inspect]);
    Ok(Row {
        what: "inspect vip, one of 100 services, 4 tasks",
        swarmlb: times,
        peer: None,
        bar: Bar::AtMost(0.015),
    })
}

/// All that is looked for, in all sandboxes.
fn checked() -> Result<Row, Failure> {
    let swarmlb = settled()?;
    swarmlb.run(&format!("service create --replicas {TASKS} --name web --network bench"))?;
    let mut check = || started(&mut swarmlb.command("diag check"));
    check();
    let [times] = rounds(CHECKED, [&mut check]);
    Ok(Row {
        what: "diag check, 100 sandboxes, more than 80 kinds",
        swarmlb: times,
        peer: None,
        bar: Bar::AtMost(0.5),
    })
}
