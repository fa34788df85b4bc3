//! `swarmlb agent …`, and the processes that are swarmlb itself.

use std::ffi::OsString;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::Report;
use super::session::{Session, must_be_root};
use crate::agent::last_known;
use crate::agent::status::NodeStatus;
use crate::api::{self, Membership};
use crate::cli::agent::Command;
use crate::cli::{Format, Global};
use crate::environment::variable;
use crate::failure::{Exit, Failure};
use crate::health::supervisor;
use crate::keeper::client::Client as Keeper;
use crate::keeper::daemon::Manner;
use crate::keeper::protocol::Request;
use crate::keeper::{child, daemon};
use crate::render::english::{count, duration};
use crate::runtime::echo;
use crate::runtime::whoami::{self, Identity};
use crate::store;
use crate::store::records::{self, RecordError};

pub fn run(global: &Global, command: Command) -> Result<Report, Failure> {
    match command {
        Command::Run => foreground(global),
        Command::Status => status(global),
        Command::Stop => stop(global),
    }
}

/// Becomes the keeper, for a service manager or a terminal.
fn foreground(global: &Global) -> Result<Report, Failure> {
    let what = "run the keeper";
    let session = Session::new(global, what)?;
    must_be_root(what)?;
    let notify = variable("NOTIFY_SOCKET").map(OsString::from);
    let error = daemon::become_foreground(&session.state, session.arguments(), notify);
    Err(Failure::state(&session.state, &error))
}

pub fn agent(global: &Global) -> Result<Report, Failure> {
    let session = Session::new(global, "run the agent")?;
    must_be_root("run the agent")?;
    let failed = |error: std::io::Error| Failure::io("run the agent", &error);
    super::store::remember(&session.location, &session.state).map_err(failed)?;
    std::fs::write(session.state.node_name(), format!("{}\n", session.node)).map_err(failed)?;
    crate::keeper::descriptors::raise();
    crate::memory::share_heap();
    let asking = Arc::new(super::resolve::settled);
    let (state, arguments) = (&session.state, session.arguments());
    crate::agent::run(state, &session.node, &session.location, arguments, asking)
        .map_err(failed)?;
    Ok(Report::good(""))
}

pub fn keeper(
    global: &Global,
    foreground: bool,
    notify: Option<OsString>,
) -> Result<Report, Failure> {
    let session = Session::new(global, "run the keeper")?;
    must_be_root("run the keeper")?;
    let manner = match foreground {
        true => Manner::Foreground(notify),
        false => Manner::Background,
    };
    daemon::run(&session.state, session.arguments(), &session.location, manner)
        .map_err(|error| Failure::io("run the keeper", &error))?;
    Ok(Report::good(""))
}

pub fn store_server(global: &Global) -> Result<Report, Failure> {
    let session = Session::new(global, "run the store")?;
    must_be_root("run the store")?;
    let stop = whoami::termination().map_err(|error| Failure::io("run the store", &error))?;
    let failed = |error: store::StoreError| Failure::record("run the store", &error.into());
    let socket = session.state.store_socket();
    let membership = membership(&session, "run the store")?;
    match membership.as_ref().and_then(|membership| Some((membership, membership.first?))) {
        Some((membership, first)) => {
            let listener = store::server::listen(&socket).map_err(failed)?;
            api::serve_pipe(membership, first.into(), listener, stop.as_fd())
                .map_err(|error| Failure::io("reach the store", &error))?;
            store::server::unlisten(&socket);
        }
        None => store::server::serve(&session.state.database(), &socket, stop.as_fd())
            .map_err(failed)?,
    }
    Ok(Report::good(""))
}

fn membership(session: &Session, what: &str) -> Result<Option<Membership>, Failure> {
    Membership::load(&session.state.membership()).map_err(|error| Failure::io(what, &error))
}

pub fn api_server(global: &Global) -> Result<Report, Failure> {
    let what = "listen to other nodes";
    let session = Session::new(global, what)?;
    must_be_root(what)?;
    let failed = |error: std::io::Error| Failure::io(what, &error);
    let stop = whoami::termination().map_err(failed)?;
    if let Some(membership) = membership(&session, what)? {
        api::serve(&session.state, &membership, stop.as_fd()).map_err(failed)?;
    }
    Ok(Report::good(""))
}

pub fn whoami(port: u16) -> Result<Report, Failure> {
    let what = "run builtin:whoami";
    let failed = |error: std::io::Error| Failure::io(what, &error);
    let stop = whoami::termination().map_err(failed)?;
    let identity = Identity {
        task: variable("SWARMLB_TASK").unwrap_or_else(|| "none".into()),
        service: variable("SWARMLB_SERVICE").unwrap_or_else(|| "none".into()),
        node: variable("SWARMLB_NODE_NAME").unwrap_or_else(|| "none".into()),
    };
    let listen = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
    let ready = variable(child::READY_FD).and_then(|fd| fd.parse().ok());
    whoami::serve(&identity, listen, stop.as_fd(), |_| tell_ready(ready)).map_err(failed)?;
    Ok(Report::good(""))
}

pub fn echo(port: u16, greet: bool) -> Result<Report, Failure> {
    let what = "run builtin:echo";
    let failed = |error: std::io::Error| Failure::io(what, &error);
    let stop = whoami::termination().map_err(failed)?;
    let task = variable("SWARMLB_TASK").unwrap_or_else(|| "none".into());
    let greeting = if greet { format!("{task}\n") } else { String::new() };
    let listen = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port);
    let ready = variable(child::READY_FD).and_then(|fd| fd.parse().ok());
    echo::serve(listen, greeting.as_bytes(), stop.as_fd(), |_| tell_ready(ready))
        .map_err(failed)?;
    Ok(Report::good(""))
}

/// Runs one health check's command.
pub fn check() -> Result<Report, Failure> {
    supervisor::run().map_err(|error| Failure::io("run a check", &error))?;
    Ok(Report::good(""))
}

/// Closing the descriptor tells as much as writing to it.
fn tell_ready(fd: Option<i32>) {
    if let Some(fd) = fd.filter(|fd| *fd > 2) {
        // SAFETY: whoever started this process opened the descriptor for this one use.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let _ = std::fs::File::from(fd).write_all(b"ready\n");
    }
}

/// Who runs here.
#[derive(Serialize)]
struct Roles {
    node: String,
    keeper: Option<i32>,
    agent: Option<i32>,
    /// The process of an embedded store.
    store: Option<i32>,
    /// `sqlite`, or the address of an etcd.
    store_address: String,
    /// Why it does not answer.
    store_problem: Option<String>,
    /// The revision of what was asked for that the agent goes on from meanwhile.
    last_known: Option<u64>,
    keeper_seconds: u64,
    agent_restarts: u32,
    store_restarts: u32,
    tasks_running: usize,
    report: Option<NodeStatus>,
}

fn status(global: &Global) -> Result<Report, Failure> {
    let session = Session::new(global, "show the agent's status")?;
    must_be_root("show the agent's status")?;
    let mut roles = Roles {
        node: session.node.to_string(),
        keeper: None,
        agent: None,
        store: None,
        store_address: session.location.address().to_string(),
        store_problem: None,
        last_known: None,
        keeper_seconds: 0,
        agent_restarts: 0,
        store_restarts: 0,
        tasks_running: 0,
        report: None,
    };
    if let Ok(keeper) = Keeper::connect(&session.state.keeper_socket())
        && let Ok(status) = keeper.status()
    {
        roles.keeper = Some(status.keeper);
        roles.agent = status.agent;
        roles.store = status.store;
        roles.keeper_seconds = crate::keeper::server::now().saturating_sub(status.since);
        roles.agent_restarts = status.agent_restarts;
        roles.store_restarts = status.store_restarts;
        let tasks = keeper.list().unwrap_or_default();
        roles.tasks_running = tasks.iter().filter(|task| !task.has_ended()).count();
        match own_report(&session) {
            Ok(report) => roles.report = report,
            Err(failure) => {
                roles.store_problem = Some(failure.reason());
                let kept = last_known::revision(&session.state.intent_copy());
                roles.last_known = kept.map(|revision| revision.0);
            }
        }
    }
    // The report of an agent that was killed stands until its lease runs out.
    let own = |report: &NodeStatus| roles.agent == Some(report.agent) && report.settled;
    let settled = roles.report.as_ref().is_some_and(own);
    let has_store = match session.location.is_embedded() {
        true => roles.store.is_some(),
        false => roles.store_problem.is_none(),
    };
    let whole = settled && roles.keeper.is_some() && roles.agent.is_some() && has_store;
    let text = match global.format {
        Format::Json => Report::json(&roles)?.text,
        Format::Table => roles_text(&roles, &session),
    };
    Ok(if whole { Report::good(text) } else { Report::bad(text) })
}

/// How long the store may take before it counts as out of reach.
const LOOK: Duration = Duration::from_millis(500);

/// What this node's agent reports, if the store answers soon: it may well be out of reach.
fn own_report(session: &Session) -> Result<Option<NodeStatus>, Failure> {
    if !session.location.is_embedded() {
        return Ok(session.statuses()?.remove(&session.node));
    }
    let failed = |error: RecordError| Failure::record("show the agent's status", &error);
    let store = super::store::connect(&session.location, &session.state, LOOK)
        .map_err(|error| failed(error.into()))?;
    let (_, mut statuses) = records::load_status(&store).map_err(failed)?;
    Ok(statuses.remove(&session.node))
}

fn roles_text(roles: &Roles, session: &Session) -> String {
    let Some(keeper) = roles.keeper else {
        return format!(
            "node {}: no keeper runs for {}; the next command that needs one starts it\n",
            roles.node,
            session.state.root().display()
        );
    };
    let pid =
        |pid: Option<i32>| pid.map_or_else(|| "not running".into(), |pid| format!("pid {pid}"));
    let again = |restarts: u32| match restarts {
        0 => String::new(),
        n => format!(", restarted {}", count(n as usize, "time")),
    };
    let intent = match &roles.report {
        None => match roles.last_known {
            Some(revision) => {
                format!("as last known, at revision {revision}, until the store answers again")
            }
            None => "no report yet".to_owned(),
        },
        Some(report) => match &report.refusal {
            None if report.unreadable.is_some() => format!(
                "revision {}: the kernel cannot be read: {}",
                report.revision,
                report.unreadable.as_deref().unwrap_or_default()
            ),
            None if report.settled => format!("revision {} is done", report.revision),
            None => format!("revision {} is being done", report.revision),
            Some(refusal) => format!(
                "revision {}: operation {} of {} was refused: {}\n         {}",
                report.revision, refusal.number, refusal.of, refusal.sentence, refusal.op
            ),
        },
    };
    let store = match (session.location.is_embedded(), &roles.store_problem) {
        (true, None) => format!("{}{}", pid(roles.store), again(roles.store_restarts)),
        (true, Some(problem)) => format!("{}: {problem}", pid(roles.store)),
        (false, None) => roles.store_address.clone(),
        (false, Some(problem)) => problem.clone(),
    };
    format!(
        "node     {}\nkeeper   pid {keeper}, up {}\nagent    {}{}\nstore    {store}\ntasks    {} running\nintent   {intent}\nlogs     {}\n",
        roles.node,
        duration(roles.keeper_seconds),
        pid(roles.agent),
        again(roles.agent_restarts),
        roles.tasks_running,
        session.state.log("agent").display(),
    )
}

/// How long a keeper may take to end.
const PATIENCE: Duration = Duration::from_secs(10);

fn stop(global: &Global) -> Result<Report, Failure> {
    let session = Session::new(global, "stop the agent")?;
    must_be_root("stop the agent")?;
    if !end_keeper(&session)? {
        let root = session.state.root().display();
        let _ = writeln!(std::io::stderr(), "Nothing runs for {root}.");
    }
    Ok(Report::good(""))
}

/// Ends keeper, agent and store; true when there were any.
///
/// # Errors
/// When they do not end.
pub fn end_keeper(session: &Session) -> Result<bool, Failure> {
    let connect = || Keeper::connect(&session.state.keeper_socket());
    if connect().is_err() {
        return Ok(false);
    }
    let lock = std::fs::File::open(session.state.keeper_lock());
    let deadline = Instant::now() + PATIENCE;
    loop {
        // One that is killed on the way has a successor, which its agent starts.
        if let Ok(keeper) = connect() {
            let _ = keeper.ask(&Request::Shutdown);
        }
        // The lock goes with the process, whatever becomes of its socket.
        if !lock.as_ref().is_ok_and(|lock| lock.try_lock().is_err()) {
            return Ok(true);
        }
        if Instant::now() > deadline {
            return Err(Failure::new(Exit::Cannot, "stop the agent", "the keeper does not end"));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}
