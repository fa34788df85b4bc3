//! `swarmlb task …`

use std::collections::{BTreeMap, BTreeSet};

use nix::errno::Errno;
use nix::sys::signal::Signal;
use serde::Serialize;
use serde_json::value::RawValue;

use super::change::{Change, Reach};
use super::elsewhere::{Other, is_errand};
use super::exec::Exec;
use super::session::{Session, must_be_root};
use super::{Report, logs};
use crate::agent::status::{NodeStatus, TaskStatus};
use crate::api::Streams;
use crate::cli::task::{Command, Filter, Key, List};
use crate::cli::{Format, Global};
use crate::clock;
use crate::failure::{Exit, Failure};
use crate::health::chart::Chart;
use crate::intent::weight::WEIGHT;
use crate::intent::{
    Endpoint as OnNetwork, Intent, NodeName, PublishMode, Service, ServiceName, Task,
};
use crate::keeper::client::Client as Keeper;
use crate::keeper::protocol::Request;
use crate::keeper::record::Record;
use crate::keeper::server::now;
use crate::keeper::times;
use crate::lower;
use crate::node::{Mac, SandboxName};
use crate::render::english::duration;
use crate::render::table::{printable, table};
use crate::render::task::{Endpoint, Health, Inspected, LastExit, Process, Row, State, pretty};
use crate::render::time::Moment;

pub fn run(global: &Global, command: Command) -> Result<Report, Failure> {
    match command {
        Command::Ls { names, list } => ls(global, &names, &list),
        Command::Inspect { names, pretty } => inspect(global, &names, pretty),
        Command::Logs { name, options } => logs::of_task(global, &name, &options),
        Command::Exec { name, environment, workdir, command, interactive: _, tty: _ } => Exec {
            name: &name,
            environment: &environment,
            workdir: workdir.as_deref(),
            command: &command,
        }
        .run(global),
        Command::Update { weight, detach, dry_run, name } => {
            weigh(global, &name, weight, Reach::of(dry_run.dry_run, detach))
        }
        Command::Kill { signal, names } => kill(global, &names, signal.0),
    }
}

/// The task that was asked for, by name or by the beginning of its id.
pub fn found<'a>(intent: &'a Intent, name: &str, what: &str) -> Result<&'a Task, Failure> {
    intent.task(name).map_err(|error| Failure::intent(what, &error))
}

/// Refuses a task of another node.
pub fn here(session: &Session, task: &Task, what: &str) -> Result<(), Failure> {
    if task.node == session.node {
        return Ok(());
    }
    let problem =
        format!("task {} is on node `{}`, and this is `{}`", task.name, task.node, session.node);
    let hint = match session.location.is_embedded() {
        true => format!("say `--node {}`", task.node),
        // Nodes that share an etcd do nothing for each other.
        false => format!("type it on node `{}`", task.node),
    };
    Err(Failure::new(Exit::Usage, what, problem).hint(hint))
}

/// The answer to a task that has no process.
pub fn not_running(task: &Task, session: &Session, what: &str) -> Failure {
    let failure = Failure::new(Exit::Usage, what, format!("task {} is not running", task.name))
        .hint(format!("see `swarmlb service ps {}`", task.name.service));
    let statuses = session.statuses().unwrap_or_default();
    match status(&statuses, task) {
        Some(status) => {
            let error = status.error.as_ref().map(|error| format!(": {}", printable(error)));
            let since = duration(now().saturating_sub(status.since));
            let words = format!("{} {since} ago{}", status.state, error.unwrap_or_default());
            failure.fact("state:", words)
        }
        None => failure,
    }
}

/// What is reported of a task.
pub fn status<'a>(
    statuses: &'a BTreeMap<NodeName, NodeStatus>,
    task: &Task,
) -> Option<&'a TaskStatus> {
    let status = statuses.get(&task.node)?.tasks.get(&task.name)?;
    (status.task == task.id).then_some(status)
}

/// What stands where a slot that waits for a place has nothing yet.
const NONE: &str = "-";

/// Ids are shown by their first twelve letters, as Docker's.
pub fn short(id: &str, whole: bool) -> &str {
    if whole { id } else { id.get(..12).unwrap_or(id) }
}

fn ls(global: &Global, names: &[ServiceName], options: &List) -> Result<Report, Failure> {
    list(global, Which::OfServices(names), options, "list tasks".into())
}

/// Which tasks are listed.
#[derive(Debug, Clone, Copy)]
pub enum Which<'a> {
    /// Those of these services, or of all when there are none.
    OfServices(&'a [ServiceName]),
    OnNodes(&'a [NodeName]),
}

/// Lists tasks.
pub fn list(
    global: &Global,
    which: Which<'_>,
    options: &List,
    what: String,
) -> Result<Report, Failure> {
    let session = Session::new(global, what.as_str())?;
    let intent = session.intent()?;
    let statuses = session.statuses()?;
    let (names, nodes) = match which {
        Which::OfServices(names) => (names, None),
        Which::OnNodes(nodes) => (&[][..], Some(nodes)),
    };
    for name in names {
        intent.service(name).map_err(|error| Failure::intent(what.as_str(), &error))?;
    }
    let services: Vec<&Service> = match names {
        [] => intent.services.values().collect(),
        names => names.iter().filter_map(|name| intent.services.get(name)).collect(),
    };
    let rows = services.into_iter().flat_map(|service| rows(&intent, &statuses, service));
    let there =
        |row: &Row<'_>| nodes.is_none_or(|nodes| row.node.is_some_and(|node| nodes.contains(node)));
    let rows: Vec<Row<'_>> = rows.filter(|row| there(row) && fits(row, &options.filters)).collect();
    if global.format == Format::Json {
        return Report::json(&rows);
    }
    if global.quiet {
        return Ok(Report::lines(rows.iter().filter_map(|row| row.id)));
    }
    let cells = rows.iter().map(|row| {
        [
            row.id.map_or(NONE, |id| short(id, options.no_trunc)).to_owned(),
            row.name.to_string(),
            row.image.clone(),
            row.node.map_or(NONE, NodeName::as_str).to_owned(),
            row.desired_state.to_string(),
            current_state(row),
            printable(row.error.as_deref().unwrap_or_default()),
            row.addresses.join(", "),
            row.ports.join(", "),
        ]
    });
    let heading = [
        "ID",
        "NAME",
        "IMAGE",
        "NODE",
        "DESIRED STATE",
        "CURRENT STATE",
        "ERROR",
        "ADDRESS",
        "PORTS",
    ];
    Ok(Report::good(table(heading, cells.collect())))
}

/// How a task is, since when, and what it weighs when that is not what every task does.
fn current_state(row: &Row<'_>) -> String {
    let ago = row.seconds.map(|seconds| format!(" {} ago", duration(seconds)));
    let weight = row.weight.filter(|weight| *weight != WEIGHT);
    let weight = weight.map(|weight| format!(", weight {weight}"));
    format!("{}{}{}", row.state, ago.unwrap_or_default(), weight.unwrap_or_default())
}

/// The tasks of a service and the slots that have none yet, by slot.
fn rows<'a>(
    intent: &'a Intent,
    statuses: &'a BTreeMap<NodeName, NodeStatus>,
    service: &'a Service,
) -> Vec<Row<'a>> {
    let placed = intent.tasks_of(&service.name).map(|task| row(intent, statuses, task));
    let waiting = service.pending.iter();
    let waiting = waiting.map(|(slot, pending)| Row::waiting(service, *slot, pending));
    let mut rows: Vec<Row<'a>> = placed.chain(waiting).collect();
    rows.sort_by_key(|row| row.slot);
    rows
}

fn row<'a>(
    intent: &'a Intent,
    statuses: &'a BTreeMap<NodeName, NodeStatus>,
    task: &'a Task,
) -> Row<'a> {
    let status = status(statuses, task);
    Row {
        id: Some(&task.id),
        name: task.name.clone(),
        service: &task.name.service,
        slot: task.name.slot,
        image: intent.definition_of(task).map_or_else(String::new, |d| d.image.short()),
        node: Some(&task.node),
        addresses: asked_for(intent, task).map(|e| e.address.to_string()).collect(),
        ports: host_ports(intent, task),
        desired_state: State::desired(task),
        state: state(statuses, task),
        seconds: status.map(|status| now().saturating_sub(status.since)),
        pid: status.and_then(|status| status.pid),
        failures: status.map_or(0, |status| status.failures),
        error: status.and_then(|status| status.error.as_deref()).map(Into::into),
        weight: Some(task.weight),
    }
}

/// A task's endpoints on the networks that were asked for: all but that on the mesh's.
fn asked_for<'a>(intent: &'a Intent, task: &'a Task) -> impl Iterator<Item = &'a OnNetwork> {
    task.endpoints.iter().filter(|endpoint| !intent.is_mesh(&endpoint.network))
}

/// The ports at which a task's own node is answered by it; as in Docker, those of the mesh stand at the
/// service.
fn host_ports(intent: &Intent, task: &Task) -> Vec<String> {
    let service = intent.services.get(&task.name.service);
    let ports = service.into_iter().flat_map(|service| &service.ports);
    let host = ports.filter(|port| port.mode == PublishMode::Host);
    host.map(ToString::to_string).collect()
}

/// How a task is; what a silent node's tasks do, nobody knows.
fn state(statuses: &BTreeMap<NodeName, NodeStatus>, task: &Task) -> State {
    match (statuses.get(&task.node), status(statuses, task)) {
        (_, Some(status)) => status.state.into(),
        (Some(_), None) => State::Pending,
        (None, None) => State::Unknown,
    }
}

/// Whether a task is one of those asked for: of each key one filter must fit.
fn fits(row: &Row<'_>, filters: &[Filter]) -> bool {
    let keys: BTreeSet<Key> = filters.iter().map(|filter| filter.key).collect();
    let one = |filter: &Filter| {
        let value = filter.value.as_str();
        let is = |state: State| state.to_string().eq_ignore_ascii_case(value);
        match filter.key {
            Key::Id => row.id.is_some_and(|id| id.starts_with(value)),
            Key::Name => row.name.to_string().starts_with(value),
            Key::Service => row.service.as_str().starts_with(value),
            Key::Node => row.node.is_some_and(|node| node.as_str() == value),
            Key::State => is(row.state),
            Key::DesiredState => is(row.desired_state),
        }
    };
    keys.into_iter().all(|key| filters.iter().filter(|filter| filter.key == key).any(one))
}

fn inspect(global: &Global, names: &[String], in_words: bool) -> Result<Report, Failure> {
    let what = format!("inspect task `{}`", names.join(" ").escape_debug());
    let session = Session::new(global, what.as_str())?;
    let intent = session.intent()?;
    let tasks: Vec<&Task> =
        names.iter().map(|name| found(&intent, name, &what)).collect::<Result<_, _>>()?;
    let statuses = session.statuses()?;
    let is_text = in_words && global.format != Format::Json;
    let (mut values, mut texts) = (Vec::new(), Vec::new());
    for task in tasks {
        if let Some(told) = told_there(&session, &intent, task, is_text, &what) {
            match is_text {
                true => texts.push(told),
                false => {
                    let told: Vec<Box<RawValue>> = read(&told, &what)?;
                    values.extend(told.into_iter().map(Told::There));
                }
            }
        } else if let Some(inspected) = whole(&session, &intent, &statuses, task) {
            match is_text {
                true => texts.push(pretty(&inspected)),
                false => values.push(Told::Here(Box::new(inspected))),
            }
        }
    }
    if is_text { Ok(Report::good(texts.join("\n"))) } else { Report::json(&values) }
}

/// A task as this node knows it, or as its own told, in that one's order and indentation.
#[derive(Serialize)]
#[serde(untagged)]
enum Told<'a> {
    Here(Box<Inspected<'a>>),
    There(Box<RawValue>),
}

fn read<T: serde::de::DeserializeOwned>(told: &str, what: &str) -> Result<T, Failure> {
    serde_json::from_str(told).map_err(|error| Failure::new(Exit::Cannot, what, error))
}

/// What the task's node tells of it when that is another one; none when it is this one, or does not
/// answer: then what the store has is told.
fn told_there(
    session: &Session,
    intent: &Intent,
    task: &Task,
    is_text: bool,
    what: &str,
) -> Option<String> {
    if task.node == session.node || is_errand() {
        return None;
    }
    let words = match is_text {
        true => vec!["task", "inspect", "--pretty"],
        false => vec!["--format=json", "task", "inspect"],
    };
    let words = words.into_iter().map(str::to_owned).chain([task.name.to_string()]).collect();
    let other = Other::find(session, intent, &task.node, what).ok()?;
    match other.printed(words, what) {
        Ok(told) => String::from_utf8(told).ok(),
        Err(failure) => {
            eprintln!("Task {} is on node {}: {}.", task.name, task.node, failure.problem);
            None
        }
    }
}

/// Everything that is known of a task.
fn whole<'a>(
    session: &Session,
    intent: &'a Intent,
    statuses: &'a BTreeMap<NodeName, NodeStatus>,
    task: &'a Task,
) -> Option<Inspected<'a>> {
    let service = intent.services.get(&task.name.service)?;
    let definition = intent.definition_of(task)?;
    let status = status(statuses, task);
    let sandbox = SandboxName::from(&task.name);
    let directory = session.state.task(&sandbox);
    let record = Record::read(&directory).filter(|record| record.process.task == task.id);
    let endpoint = |endpoint: &'a crate::intent::Endpoint| Endpoint {
        network: &endpoint.network,
        address: endpoint.address,
        prefix: intent
            .networks
            .get(&endpoint.network)
            .and_then(|n| Some(n.subnet_of(endpoint.address)?.prefix_len())),
        mac: Mac::of(endpoint.address).to_string(),
        rank: endpoint.rank,
    };
    let alive = record.as_ref().filter(|record| record.is_alive());
    let process = alive.map(|record| Process {
        pid: record.pid,
        start_time: record.start_time,
        started: Moment::of_seconds(record.started).with_digits(0),
    });
    let log = times::log(&directory);
    let of =
        |chart: &Chart| record.as_ref().is_some_and(|r| chart.is_of(&task.id, r.pid, r.started));
    let chart = Chart::read(&directory).filter(|chart| alive.is_some() && of(chart));
    let reported = status.and_then(|status| status.health.as_ref());
    let health = match &chart {
        Some(chart) => Some(Health::of(chart, clock::millis())),
        None => reported.map(|status| Health::reported(status, clock::millis())),
    };
    Some(Inspected {
        id: &task.id,
        name: &task.name,
        service: &service.name,
        service_id: &service.id,
        slot: task.name.slot,
        node: &task.node,
        image: definition.image.to_string(),
        command: &definition.command,
        environment: lower::process(definition, task).environment.into_iter().collect(),
        hostname: definition.hostname.as_deref(),
        labels: &service.labels,
        endpoints: task.endpoints.iter().map(endpoint).collect(),
        desired_state: State::desired(task),
        state: state(statuses, task),
        since: status.map(|status| Moment::of_seconds(status.since).with_digits(0)),
        seconds: status.map(|status| now().saturating_sub(status.since)),
        process,
        restarts: record.as_ref().map_or(0, |record| record.starts.saturating_sub(1)),
        failures: status.map_or(0, |status| status.failures),
        error: status.and_then(|status| status.error.as_deref()),
        last_exit: status.and_then(|status| status.exit.as_ref()).map(LastExit::from),
        over: status.is_some_and(|status| status.over),
        health,
        sandbox: sandbox.to_string(),
        log: log.exists().then(|| log.display().to_string()),
    })
}

fn weigh(global: &Global, name: &str, weight: u32, reach: Reach) -> Result<Report, Failure> {
    let what = format!("update task `{}`", name.escape_debug());
    let session = Session::new(global, what.as_str())?;
    let edit = |intent: &mut Intent| {
        let task = intent.task(name)?.name.clone();
        intent.weigh_task(&task, weight)
    };
    let told = format!("{name}\n");
    Change { global, session: &session, what: &what, services: &[], reach }.make(told, edit)
}

fn kill(global: &Global, names: &[String], signal: Signal) -> Result<Report, Failure> {
    let what = format!("kill task `{}`", names.join(" ").escape_debug());
    let session = Session::new(global, what.as_str())?;
    let intent = session.intent()?;
    must_be_root(&what)?;
    let mut tasks = Vec::new();
    let mut elsewhere: BTreeMap<&NodeName, Vec<&Task>> = BTreeMap::new();
    for name in names {
        let task = found(&intent, name, &what)?;
        if task.node != session.node && !is_errand() {
            elsewhere.entry(&task.node).or_default().push(task);
            continue;
        }
        here(&session, task, &what)?;
        let record = Record::read(&session.state.task(&SandboxName::from(&task.name)));
        if !record.is_some_and(|record| record.process.task == task.id && record.is_alive()) {
            return Err(not_running(task, &session, &what));
        }
        tasks.push(task);
    }
    for (node, tasks) in elsewhere {
        let names = tasks.iter().map(|task| task.name.to_string());
        let words = ["task".into(), "kill".into(), format!("--signal={}", signal.as_str())];
        let words = words.into_iter().chain(names).collect();
        let other = Other::find(&session, &intent, node, &what)?;
        let exit = other.run(words, false, &mut Streams, &what)?;
        if exit != Exit::Good as u8 {
            return Ok(Report { text: String::new(), exit });
        }
    }
    if tasks.is_empty() {
        return Ok(Report::good(""));
    }
    let keeper = Keeper::connect(&session.state.keeper_socket())
        .map_err(|error| Failure::io(what.as_str(), &error))?;
    for task in &tasks {
        let sandbox = SandboxName::from(&task.name);
        match keeper.ask(&Request::Signal { sandbox, signal: signal as i32, session: false }) {
            Err(refusal) if refusal.errno == Errno::ESRCH => {
                return Err(not_running(task, &session, &what));
            }
            other => other.map(drop).map_err(|refusal| Failure::kernel(what.as_str(), &refusal))?,
        }
    }
    Ok(Report::lines(tasks.iter().map(|task| &task.name)))
}
