//! `swarmlb lab …`: bringing up a cluster of several nodes on this machine, and its mishaps.

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::Serialize;

use super::Report;
use super::session::{Session, must_be_root};
use crate::cli::lab::Command;
use crate::cli::{Format, Global};
use crate::failure::{Exit, Failure};
use crate::intent::{NodeName, name};
use crate::keeper::daemon;
use crate::kernel::egress;
use crate::kernel::netns;
use crate::killpoint;
use crate::lab::{Init, Lab, Member, node, underlay};
use crate::render::english::count;
use crate::render::table::table;
use crate::state_dir::StateDir;

/// How long a killed node may take to be gone, and a started one to have a keeper.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often it is looked.
const LOOK: Duration = Duration::from_millis(2);

pub fn run(global: &Global, command: Command) -> Result<Report, Failure> {
    match command {
        Command::Up { nodes } => up(global, nodes),
        Command::Status => status(global),
        Command::Partition { names } => partition(global, &names),
        Command::Heal => heal(global),
        Command::Kill { names } => kill_nodes(global, &names),
        Command::Start { names } => start_nodes(global, &names),
        Command::Down => down(global),
    }
}

/// As what makes the namespaces of a node.
pub fn prepare_node(global: &Global) -> Result<Report, Failure> {
    let what = "make a node";
    let session = Session::new(global, what)?;
    node::prepare(&session.state, &session.node).map_err(|error| Failure::io(what, &error))?;
    Ok(Report::good(""))
}

/// As the first process of a node.
pub fn run_init(global: &Global) -> Result<Report, Failure> {
    let what = "start a node";
    let session = Session::new(global, what)?;
    node::run_init(&session.state, session.arguments())
        .map_err(|error| Failure::io(what, &error))?;
    Ok(Report::good(""))
}

/// The directory of a lab. Its lock keeps other commands of the same lab waiting.
struct Site<'a> {
    root: PathBuf,
    what: &'a str,
    _lock: File,
}

impl<'a> Site<'a> {
    /// None where there is no such directory.
    fn open(global: &Global, what: &'a str) -> Result<Option<Self>, Failure> {
        let root = std::path::absolute(&global.state_dir);
        let root = root.map_err(|error| Failure::io(what, &error))?;
        let locked = File::open(&root).and_then(|file| file.lock().map(|()| file));
        match locked {
            Ok(lock) => Ok(Some(Self { root, what, _lock: lock })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Failure::io(what, &error)),
        }
    }

    fn io(&self, error: &io::Error) -> Failure {
        Failure::io(self.what, error)
    }

    fn lab(&self) -> Result<Option<Lab>, Failure> {
        Lab::load(&self.root).map_err(|error| self.io(&error))
    }

    fn save(&self, lab: &Lab) -> Result<(), Failure> {
        lab.save(&self.root).map_err(|error| self.io(&error))
    }

    fn state(&self, name: &NodeName) -> Result<StateDir, Failure> {
        let path = Lab::state_dir(&self.root, name);
        StateDir::new(&path).map_err(|error| {
            Failure::new(Exit::Usage, self.what, error).hint("give a shorter `--state-dir`")
        })
    }

    /// This program in a node, to its end; what it printed.
    fn within(&self, init: Init, name: &NodeName, words: &[&str]) -> Result<String, Failure> {
        let directory = Lab::state_dir(&self.root, name).display().to_string();
        let own = ["--state-dir", &directory, "--node", name.as_str()];
        let arguments = own.iter().chain(words);
        let mut entry = node::entry(init, arguments).map_err(|error| self.io(&error))?;
        entry.command().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = entry.spawn().map_err(|error| self.io(&error))?;
        let output = child.wait_with_output().map_err(|error| self.io(&error))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let line = said.lines().next().unwrap_or("it ended without a word");
        let problem = format!("{name}: {}", line.trim_start_matches("error: "));
        Err(Failure::new(Exit::Cannot, self.what, problem))
    }

    /// Kills nodes, waits until they are gone, and forgets their processes.
    fn kill<'n>(&self, members: impl Iterator<Item = &'n mut Member>) -> Result<(), Failure> {
        let deadline = Instant::now() + PATIENCE;
        let mut killed = Vec::new();
        for member in members {
            if let Some(init) = member.alive() {
                let _gone = kill(Pid::from_raw(init.pid), Signal::SIGKILL);
                killed.push((init, member.name.clone()));
            }
            member.init = None;
        }
        while let Some((_, name)) = killed.iter().find(|(init, _)| init.is_alive()) {
            if Instant::now() > deadline {
                return Err(Failure::new(Exit::Cannot, self.what, format!("{name} does not end")));
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    /// Takes everything away that belongs to a lab.
    fn clear(&self, mut lab: Lab) -> Result<(), Failure> {
        lab.is_up = false;
        killpoint::pass(|| "before the lab counts as down".into());
        self.save(&lab)?;
        killpoint::pass(|| "before its nodes are killed".into());
        self.kill(lab.nodes.iter_mut())?;
        killpoint::pass(|| "before its switch is removed".into());
        underlay::remove(&lab).map_err(|refusal| Failure::kernel(self.what, &refusal))?;
        killpoint::pass(|| "before it is forgotten".into());
        lab.forget(&self.root).map_err(|error| self.io(&error))
    }
}

fn up(global: &Global, nodes: u8) -> Result<Report, Failure> {
    let what = "bring up a lab";
    must_be_root(what)?;
    let session =
        StateDir::new(&global.state_dir).map_err(|error| Failure::new(Exit::Usage, what, error))?;
    let is_node = session.keeper_lock().exists() || session.database().exists();
    if is_node {
        let problem = format!("{} is the state of a node already", session.root().display());
        return Err(Failure::new(Exit::Usage, what, problem).hint("give another `--state-dir`"));
    }
    make_directory(&session).map_err(|error| Failure::state(&session, &error))?;
    killpoint::pass(|| "a lab's directory is made".into());
    let Some(site) = Site::open(global, what)? else {
        return Err(Failure::new(Exit::Cannot, what, "its directory was taken away"));
    };
    match site.lab()? {
        Some(lab) if lab.is_up => return complete(&site, lab, nodes),
        // One whose making or taking down was cut off.
        Some(lab) => {
            site.clear(lab)?;
            drop(site);
            return up(global, nodes);
        }
        None => {}
    }
    let routes = egress::routes().map_err(|refusal| Failure::kernel(what, &refusal))?;
    let lab = Lab::plan(nodes, &routes).ok_or_else(|| {
        Failure::new(Exit::Cannot, what, "every range of 10.213.0.0/16 is in use here")
    })?;
    for member in &lab.nodes {
        site.state(&member.name)?;
    }
    site.save(&lab)?;
    killpoint::pass(|| "a lab is planned".into());
    let begun = Instant::now();
    let lab = Mutex::new(lab);
    if let Err(failure) = build(&site, &lab) {
        // Of what was not made whole, nothing is left.
        let _left = site.clear(lab.into_inner().unwrap_or_else(PoisonError::into_inner));
        return Err(failure);
    }
    let lab = lab.into_inner().unwrap_or_else(PoisonError::into_inner);
    let text = format!(
        "A cluster of {} is up after {:.1} s.\n",
        count(lab.nodes.len(), "node"),
        begun.elapsed().as_secs_f64()
    );
    Ok(Report::good(if global.quiet { String::new() } else { text }))
}

fn make_directory(state: &StateDir) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(state.root())
}

/// Makes all of a lab: the first node, and the others beside it, which then join.
fn build(site: &Site<'_>, lab: &Mutex<Lab>) -> Result<(), Failure> {
    let planned = lab.lock().unwrap_or_else(PoisonError::into_inner).clone();
    underlay::make(&planned).map_err(|refusal| Failure::kernel(site.what, &refusal))?;
    killpoint::pass(|| "its switch is made".into());
    let Some((first, others)) = planned.nodes.split_first() else { return Ok(()) };
    let at = first.address.to_string();
    let init = start(site, lab, &first.name)?;
    let token = std::thread::scope(|scope| {
        let ready = others.iter().map(|member| scope.spawn(|| start(site, lab, &member.name)));
        let ready: Vec<_> = ready.collect();
        site.within(init, &first.name, &["-q", "node", "init", "--advertise-addr", &at])?;
        for thread in ready {
            joined(thread.join())?;
        }
        site.within(init, &first.name, &["-q", "node", "token"])
    })?;
    std::thread::scope(|scope| {
        let join = |member: &Member| {
            let init = lab.lock().unwrap_or_else(PoisonError::into_inner);
            let init = init.node(&member.name).and_then(Member::alive);
            let Some(init) = init else {
                let problem = format!("{} has ended", member.name);
                return Err(Failure::new(Exit::Cannot, site.what, problem));
            };
            let own = member.address.to_string();
            let words =
                ["-q", "node", "join", "--token", token.trim(), "--advertise-addr", &own, &at];
            site.within(init, &member.name, &words).map(drop)
        };
        let joining: Vec<_> =
            others.iter().map(|member| scope.spawn(move || join(member))).collect();
        joining.into_iter().try_for_each(|thread| joined(thread.join()).map(drop))
    })?;
    let mut lab = lab.lock().unwrap_or_else(PoisonError::into_inner);
    lab.is_up = true;
    killpoint::pass(|| "before the lab counts as up".into());
    site.save(&lab)?;
    killpoint::pass(|| "the lab counts as up".into());
    Ok(())
}

fn joined<T>(ended: std::thread::Result<Result<T, Failure>>) -> Result<T, Failure> {
    ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Makes a node, or one anew that is down: what it is known by is kept before it goes on.
fn start(site: &Site<'_>, lab: &Mutex<Lab>, name: &NodeName) -> Result<Init, Failure> {
    let state = site.state(name)?;
    state.create().map_err(|error| site.io(&error))?;
    let waiting = node::make(&state, name).map_err(|error| site.io(&error))?;
    let init = waiting.init;
    killpoint::pass(|| format!("{name} is started and nobody knows it yet"));
    let namespace = File::open(format!("/proc/{}/ns/net", init.pid));
    let namespace = namespace.map_err(|error| site.io(&error))?;
    {
        let mut lab = lab.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(member) = lab.node_mut(name) else { return Ok(init) };
        member.init = Some(init);
        let member = member.clone();
        site.save(&lab)?;
        killpoint::pass(|| format!("{name} is known and has no link yet"));
        underlay::join(&lab, &member, &namespace)
            .map_err(|refusal| Failure::kernel(site.what, &refusal))?;
    }
    killpoint::pass(|| format!("{name} waits to go on"));
    waiting.go().map_err(|error| site.io(&error))?;
    killpoint::pass(|| format!("{name} goes on"));
    Ok(init)
}

/// Starts what a lab that was up lacks.
fn complete(site: &Site<'_>, mut lab: Lab, nodes: u8) -> Result<Report, Failure> {
    if lab.nodes.len() != usize::from(nodes) {
        let problem = format!("one of {} is up", count(lab.nodes.len(), "node"));
        return Err(
            Failure::new(Exit::Usage, site.what, problem).hint("`swarmlb lab down` takes it down")
        );
    }
    if netns::open(&lab.switch()).is_err() {
        let refused = |refusal| Failure::kernel(site.what, &refusal);
        underlay::remove(&lab).map_err(refused)?;
        // Nodes that live have lost their links with the switch.
        site.kill(lab.nodes.iter_mut())?;
        underlay::make(&lab).map_err(refused)?;
    }
    let down = lab.nodes.iter().filter(|member| member.alive().is_none());
    let down: Vec<NodeName> = down.map(|member| member.name.clone()).collect();
    start_all(site, lab, &down)?;
    Ok(Report::good(""))
}

/// Starts nodes, and waits until their keepers answer.
fn start_all(site: &Site<'_>, lab: Lab, names: &[NodeName]) -> Result<(), Failure> {
    let lab = Mutex::new(lab);
    for name in names {
        start(site, &lab, name)?;
    }
    let deadline = Instant::now() + PATIENCE;
    for name in names {
        let state = site.state(name)?;
        while state.membership().exists() && !daemon::lives(&state) {
            if Instant::now() > deadline {
                let problem = format!("the keeper of {name} does not come up");
                let log = state.log("keeper").display().to_string();
                return Err(
                    Failure::new(Exit::Cannot, site.what, problem).hint(format!("see {log}"))
                );
            }
            std::thread::sleep(LOOK);
        }
    }
    Ok(())
}

/// The lab that there is.
fn standing<'a>(global: &Global, what: &'a str) -> Result<(Site<'a>, Lab), Failure> {
    must_be_root(what)?;
    let site = Site::open(global, what)?;
    let lab = site.as_ref().map(Site::lab).transpose()?.flatten();
    match (site, lab) {
        (Some(site), Some(lab)) => Ok((site, lab)),
        _ => {
            let problem = format!("there is no lab in {}", global.state_dir.display());
            Err(Failure::new(Exit::Usage, what, problem).hint("`swarmlb lab up` makes one"))
        }
    }
}

/// Sees that a lab has nodes of these names.
fn known(lab: &Lab, names: &[NodeName], what: &str) -> Result<(), Failure> {
    let Some(name) = names.iter().find(|name| lab.node(name).is_none()) else { return Ok(()) };
    let failure = Failure::new(Exit::Usage, what, format!("the lab has no node `{name}`"));
    let all = lab.nodes.iter().map(|member| member.name.as_str());
    Err(match name::nearest(name.as_str(), all) {
        Some(meant) => failure.hint(format!("did you mean `{meant}`?")),
        None => failure.hint("see `swarmlb lab status`"),
    })
}

/// A node, as it is told.
#[derive(Serialize)]
struct Row<'a> {
    node: &'a NodeName,
    address: String,
    status: &'static str,
    /// Nodes of one number reach each other.
    group: u32,
    /// The process that its namespaces live with.
    pid: Option<i32>,
    state_dir: String,
}

fn status(global: &Global) -> Result<Report, Failure> {
    let (site, lab) = standing(global, "show the lab")?;
    let rows = lab.nodes.iter().map(|member| {
        let alive = member.alive();
        Row {
            node: &member.name,
            address: member.address.to_string(),
            status: if alive.is_some() { "up" } else { "down" },
            group: member.group,
            pid: alive.map(|init| init.pid),
            state_dir: Lab::state_dir(&site.root, &member.name).display().to_string(),
        }
    });
    let rows: Vec<Row<'_>> = rows.collect();
    let whole = lab.is_up && rows.iter().all(|row| row.pid.is_some());
    let text = match global.format {
        Format::Json => Report::json(&rows)?.text,
        Format::Table if global.quiet => Report::lines(rows.iter().map(|row| row.node)).text,
        Format::Table => {
            let cells = rows.iter().map(|row| {
                [
                    row.node.to_string(),
                    row.address.clone(),
                    row.status.to_owned(),
                    row.group.to_string(),
                    row.pid.map_or_else(|| "-".into(), |pid| pid.to_string()),
                ]
            });
            table(["NODE", "ADDRESS", "STATUS", "GROUP", "PID"], cells.collect())
        }
    };
    Ok(if whole { Report::good(text) } else { Report::bad(text) })
}

fn partition(global: &Global, names: &[NodeName]) -> Result<Report, Failure> {
    let what = "cut nodes off";
    let (site, mut lab) = standing(global, what)?;
    known(&lab, names, what)?;
    lab.partitions += 1;
    let group = lab.partitions;
    for member in lab.nodes.iter_mut().filter(|member| names.contains(&member.name)) {
        member.group = group;
    }
    regroup(&site, &lab, |member| names.contains(&member.name))
}

fn heal(global: &Global) -> Result<Report, Failure> {
    let (site, mut lab) = standing(global, "join nodes again")?;
    lab.nodes.iter_mut().for_each(|member| member.group = 0);
    regroup(&site, &lab, |_| true)
}

fn regroup(site: &Site<'_>, lab: &Lab, moved: impl Fn(&Member) -> bool) -> Result<Report, Failure> {
    site.save(lab)?;
    for member in lab.nodes.iter().filter(|member| moved(member)) {
        underlay::regroup(lab, member).map_err(|refusal| Failure::kernel(site.what, &refusal))?;
    }
    Ok(Report::good(""))
}

fn kill_nodes(global: &Global, names: &[NodeName]) -> Result<Report, Failure> {
    let what = "kill nodes";
    let (site, mut lab) = standing(global, what)?;
    known(&lab, names, what)?;
    site.kill(lab.nodes.iter_mut().filter(|member| names.contains(&member.name)))?;
    site.save(&lab)?;
    Ok(Report::good(""))
}

fn start_nodes(global: &Global, names: &[NodeName]) -> Result<Report, Failure> {
    let what = "start nodes";
    let (site, lab) = standing(global, what)?;
    known(&lab, names, what)?;
    let down = names.iter().filter(|name| lab.node(name).is_some_and(|m| m.alive().is_none()));
    let down: Vec<NodeName> = down.cloned().collect();
    start_all(&site, lab, &down)?;
    Ok(Report::good(""))
}

fn down(global: &Global) -> Result<Report, Failure> {
    let what = "take the lab down";
    must_be_root(what)?;
    let site = Site::open(global, what)?;
    let lab = site.as_ref().map(Site::lab).transpose()?.flatten();
    match (site, lab) {
        (Some(site), Some(lab)) => site.clear(lab)?,
        (site, _) => {
            // What was killed before it knew its lab, or after it had forgotten it, left that at most.
            if let Some(site) = site {
                Lab::sweep(&site.root).map_err(|error| site.io(&error))?;
            }
            let root = global.state_dir.display();
            let _ = writeln!(io::stderr(), "There is no lab in {root}.");
        }
    }
    Ok(Report::good(""))
}
