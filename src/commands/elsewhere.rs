//! Commands that are typed in one place and run in another: in a node of a lab, or on another node
//! of the cluster.

use std::io::{self, Write};
use std::net::SocketAddrV4;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitStatus;

use super::Report;
use super::session::{Session, must_be_root};
use crate::api::{self, Membership, Sink, Streams};
use crate::cli::{Cli, Command, Global, diag, sandbox, task};
use crate::environment::variable;
use crate::failure::{Exit, Failure};
use crate::intent::{Intent, NodeName, name};
use crate::kernel::netns;
use crate::lab::{Lab, Member, node};
use crate::state_dir::{ERRAND, HERE, StateDir};

/// Runs a command where it is meant to run; none when that is here.
///
/// # Errors
/// When it cannot be run there.
pub fn run(cli: &mut Cli) -> Result<Option<Report>, Failure> {
    if !has_place(&cli.command) {
        return Ok(None);
    }
    if let Some(directory) = variable(HERE) {
        cli.global.state_dir = PathBuf::from(directory);
        cli.global.node = None;
        return on_node_of_task(cli);
    }
    if let Some(lab) = Lab::load(&cli.global.state_dir)
        .map_err(|error| Failure::io("read what the lab is", &error))?
    {
        return in_lab(&cli.global, &lab).map(Some);
    }
    match on_other_node(cli)? {
        Some(report) => Ok(Some(report)),
        None => on_node_of_task(cli),
    }
}

/// Whether a command works on a node that it could be told.
fn has_place(command: &Command) -> bool {
    matches!(
        command,
        Command::Network(_)
            | Command::Service(_)
            | Command::Task(_)
            | Command::Image(_)
            | Command::Inspect(_)
            | Command::Sandbox(_)
            | Command::Diag(_)
            | Command::Export(_)
            | Command::Events(_)
            | Command::Node(_)
            | Command::Agent(_)
            | Command::System(_)
    )
}

fn words() -> Vec<std::ffi::OsString> {
    std::env::args_os().skip(1).collect()
}

/// In the node that was named, or the first one that is up.
fn in_lab(global: &Global, lab: &Lab) -> Result<Report, Failure> {
    let what = "enter the lab";
    must_be_root(what)?;
    let member = match &global.node {
        Some(name) => lab.node(name).ok_or_else(|| no_node(name, lab, what))?,
        None => lab.nodes.first().ok_or_else(|| Failure::new(Exit::Cannot, what, "it is empty"))?,
    };
    let down = || {
        Failure::new(Exit::Cannot, what, format!("{} is down", member.name))
            .hint(format!("`swarmlb lab start-node {}` starts it", member.name))
    };
    let init = member.alive().ok_or_else(down)?;
    let root = std::path::absolute(&global.state_dir);
    let root = root.map_err(|error| Failure::io(what, &error))?;
    let mut entry = node::entry(init, words()).map_err(|error| Failure::io(what, &error))?;
    entry.command().env(HERE, Lab::state_dir(&root, &member.name));
    node::ignore_keys();
    let status = entry.run().map_err(|error| Failure::io(what, &error))?;
    Ok(Report { text: String::new(), exit: exit_code(status) })
}

fn no_node(asked: &NodeName, lab: &Lab, what: &str) -> Failure {
    let failure = Failure::new(Exit::Usage, what, format!("the lab has no node `{asked}`"));
    let names = lab.nodes.iter().map(|member: &Member| member.name.as_str());
    match name::nearest(asked.as_str(), names) {
        Some(meant) => failure.hint(format!("did you mean `{meant}`?")),
        None => failure.hint("see `swarmlb lab status`"),
    }
}

/// As a shell says it: 128 and the signal's number, for who was killed.
fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| Some(128 + status.signal()?));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(Exit::Cannot as u8)
}

/// On the node that `--node` names, when that is another one of this node's cluster.
fn on_other_node(cli: &Cli) -> Result<Option<Report>, Failure> {
    let Some(asked) = &cli.global.node else { return Ok(None) };
    if !api::is_allowed(&cli.command) {
        return Ok(None);
    }
    let what = format!("look at node `{asked}`");
    let state = StateDir::new(&cli.global.state_dir);
    let own = state.ok().and_then(|state| std::fs::read_to_string(state.node_name()).ok());
    if own.is_none_or(|own| own.trim() == asked.as_str()) {
        return Ok(None);
    }
    let global = Global { node: None, ..cli.global.clone() };
    let session = Session::new(&global, what.as_str())?;
    if super::node::membership(&session, &what)?.is_none() {
        return match session.location.is_embedded() {
            true => Ok(None),
            false => Err(apart(&session, &session.intent()?, asked, &what)),
        };
    }
    must_be_root(&what)?;
    let sent = sent(&global, &what)?;
    errand(&session, asked, sent, true, &what).map(Some)
}

/// Nodes that share an etcd know each other from there alone: no certificate lets one in at the other.
fn apart(session: &Session, intent: &Intent, asked: &NodeName, what: &str) -> Failure {
    if let Err(error) = intent.node(asked) {
        return Failure::intent(what, &error);
    }
    let problem = format!(
        "nodes that share the store {} do nothing for each other, and this is `{}`",
        session.location.address(),
        session.node
    );
    Failure::new(Exit::Cannot, what, problem).hint(format!(
        "type it on {asked}; nodes that came by `swarmlb node join` are looked at from each other"
    ))
}

/// What another node is sent: the words that were typed here.
fn sent(global: &Global, what: &str) -> Result<Vec<String>, Failure> {
    let mut sent = settings(global);
    for word in words() {
        let word = word
            .into_string()
            .map_err(|_| Failure::new(Exit::Usage, what, "what was typed is not UTF-8"))?;
        sent.push(word);
    }
    Ok(sent)
}

/// On the node of the task that is named, for what is there and nowhere else.
fn on_node_of_task(cli: &Cli) -> Result<Option<Report>, Failure> {
    let Some(name) = task_of(&cli.command) else { return Ok(None) };
    // Most are here, and then nobody has to be asked.
    if is_errand() || !nix::unistd::geteuid().is_root() || netns::open(name).is_ok() {
        return Ok(None);
    }
    let what = format!("look at task `{}`", name.escape_debug());
    let session = Session::new(&cli.global, what.as_str())?;
    if super::node::membership(&session, &what)?.is_none() {
        return Ok(None);
    }
    let intent = session.intent()?;
    match intent.task(name) {
        Ok(task) if task.node != session.node => {
            let reads = matches!(
                cli.command,
                Command::Task(task::Command::Exec { .. })
                    | Command::Sandbox(sandbox::Command::Exec { .. } | sandbox::Command::Apply(_))
            );
            let sent = sent(&cli.global, &what)?;
            errand(&session, &task.node, sent, reads, &what).map(Some)
        }
        // Where it is wrong, the command itself says so.
        _ => Ok(None),
    }
}

/// The one task whose node a command is about.
fn task_of(command: &Command) -> Option<&str> {
    match command {
        Command::Task(task::Command::Exec { name, .. } | task::Command::Logs { name, .. })
        | Command::Sandbox(
            sandbox::Command::Exec { name, .. }
            | sandbox::Command::Ipvs(sandbox::Ipvs { name, .. })
            | sandbox::Command::Apply(sandbox::Apply { name, .. }),
        )
        | Command::Diag(diag::Command::Dns { from: Some(name), .. }) => Some(name),
        Command::Sandbox(sandbox::Command::Dump(sandbox::Dump { names, from: None, .. })) => {
            match names.as_slice() {
                [only] => Some(only),
                _ => None,
            }
        }
        _ => None,
    }
}

/// What was set for this command otherwise than by typing it.
fn settings(global: &Global) -> Vec<String> {
    let told = global.typed.settings.iter().filter(|setting| {
        let is_typed = setting.source.starts_with("--") || setting.source == "default";
        setting.name == "format" && !is_typed
    });
    told.filter_map(|setting| Some(format!("--{}={}", setting.name, setting.value.as_ref()?)))
        .collect()
}

/// Has another node run a command, whose output goes where this one's does.
fn errand(
    session: &Session,
    asked: &NodeName,
    words: Vec<String>,
    input: bool,
    what: &str,
) -> Result<Report, Failure> {
    let other = Other::find(session, &session.intent()?, asked, what)?;
    let exit = other.run(words, input, &mut Streams, what)?;
    Ok(Report { text: String::new(), exit })
}

/// Whether another node asked for this.
pub fn is_errand() -> bool {
    variable(ERRAND).is_some()
}

/// Another node of the cluster, as it is reached.
pub struct Other {
    membership: Membership,
    at: SocketAddrV4,
    certificate: String,
}

impl Other {
    /// # Errors
    /// When it is not known, or has nothing by which it is reached.
    pub fn find(
        session: &Session,
        intent: &Intent,
        asked: &NodeName,
        what: &str,
    ) -> Result<Self, Failure> {
        let record = intent.node(asked).map_err(|error| Failure::intent(what, &error))?;
        let reached = record.api().zip(record.certificate.clone());
        match (super::node::membership(session, what)?, reached) {
            (Some(membership), Some((at, certificate))) => Ok(Self { membership, at, certificate }),
            (None, _) if !session.location.is_embedded() => {
                Err(apart(session, intent, asked, what))
            }
            _ => {
                let problem = format!("node `{asked}` has no address that others reach");
                Err(Failure::new(Exit::Cannot, what, problem))
            }
        }
    }

    /// Has it run a command, and gives its exit code.
    ///
    /// # Errors
    /// When it does not answer, or refuses.
    pub fn run(
        &self,
        words: Vec<String>,
        input: bool,
        sink: &mut impl Sink,
        what: &str,
    ) -> Result<u8, Failure> {
        api::run_errand(&self.membership, self.at, &self.certificate, words, input, sink)
            .map_err(|error| Failure::api(what, &error))
    }

    /// What a command prints there.
    ///
    /// # Errors
    /// When it does not answer, or the command fails.
    pub fn printed(&self, words: Vec<String>, what: &str) -> Result<Vec<u8>, Failure> {
        let mut printed = Printed::default();
        match self.run(words, false, &mut printed, what)? {
            0 => Ok(printed.output),
            _ => {
                let told = String::from_utf8_lossy(&printed.complaint).trim().to_owned();
                Err(Failure::new(Exit::Cannot, what, told))
            }
        }
    }
}

/// Keeps what is printed.
#[derive(Default)]
struct Printed {
    output: Vec<u8>,
    complaint: Vec<u8>,
}

impl Sink for Printed {
    fn output(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.output.write_all(bytes)
    }

    fn complaint(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.complaint.write_all(bytes)
    }
}
