//! `swarmlb inspect vip`

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use super::recorded::{self, Recorded, Unread};
use super::session::{Session, read_json};
use super::{Report, watch};
use crate::agent::resting;
use crate::agent::status::{NodeStatus, TaskState, TaskStatus};
use crate::cli::inspect::Command;
use crate::cli::{Format, Global};
use crate::failure::{Exit, Failure};
use crate::intent::{DataPlane, Intent, NodeName, Service, TaskName, Vip, name};
use crate::keeper::descriptors;
use crate::keeper::sockets::RESOLVER;
use crate::kernel::Scope;
use crate::node::{Node, SandboxName};
use crate::probe::survey::survey;
use crate::render;
use crate::trace::expected::{Client, Expected, of_intent, of_node};
use crate::trace::vip::{Answers, Traffic, UP, Walk, walks};

/// How long a sandbox's resolver may take.
const PATIENCE: Duration = Duration::from_secs(2);

pub fn run(global: &Global, command: Command) -> Result<Report, Failure> {
    let Command::Vip { vip, from, watch: every } = command;
    let what = match &vip {
        None => "inspect VIPs".to_owned(),
        Some(vip) => format!("inspect VIP `{}`", vip.escape_debug()),
    };
    let here_only = if from.is_none() { render::vip::MENDING } else { "" };
    let look = || match &from {
        None => here(global, vip.as_deref(), &what),
        Some(dump) => dumped(global, dump, vip.as_deref(), &what),
    };
    match every {
        None => told(global, vip.as_deref(), &look()?, here_only),
        Some(seconds) => watch::every(Duration::from_secs(seconds.into()), &what, || {
            told(global, vip.as_deref(), &look()?, here_only)
        }),
    }
}

/// `mending` stands below what is broken.
fn told(
    global: &Global,
    vip: Option<&str>,
    walks: &[Walk],
    mending: &str,
) -> Result<Report, Failure> {
    if global.format == Format::Json {
        let report = Report::json(&walks)?;
        return Ok(judged(walks, report.text));
    }
    if global.quiet {
        let names: Vec<String> = walks.iter().map(|walk| format!("{}\n", walk.service)).collect();
        return Ok(judged(walks, names.concat()));
    }
    if walks.is_empty() {
        let _ = writeln!(io::stderr(), "There is no VIP: no service in endpoint mode vip.");
        return Ok(Report::good(""));
    }
    let mut text = match vip {
        None => render::vip::overview(walks),
        Some(_) => walks.iter().map(render::vip::walk).collect::<Vec<_>>().join("\n"),
    };
    if !walks.iter().all(Walk::is_whole) {
        text.push_str(mending);
    }
    Ok(judged(walks, text))
}

fn judged(walks: &[Walk], text: String) -> Report {
    if walks.iter().all(Walk::is_whole) { Report::good(text) } else { Report::bad(text) }
}

/// What was found at this machine's VIPs.
pub struct Looked {
    pub intent: Intent,
    pub statuses: BTreeMap<NodeName, NodeStatus>,
    pub expected: Vec<Expected>,
    pub traffic: Traffic,
    pub walks: Vec<Walk>,
}

/// Follows VIPs on this machine.
fn here(global: &Global, vip: Option<&str>, what: &str) -> Result<Vec<Walk>, Failure> {
    let session = Session::new(global, what)?;
    look(&session, vip, what).map(|looked| looked.walks)
}

/// Follows one VIP, or all, on a session's machine.
///
/// # Errors
/// When there is no such VIP, or the store or the kernel cannot be read.
pub fn look(session: &Session, vip: Option<&str>, what: &str) -> Result<Looked, Failure> {
    let (mut intent, statuses) = match session.is_recorded() {
        true => (session.intent()?, BTreeMap::new()),
        false => session.intent_and_statuses()?,
    };
    resting::note(&mut intent, &session.node, &statuses);
    let address: Option<Ipv4Addr> = vip.and_then(|vip| vip.parse().ok());
    let wanted = |service: &Service, held: &Vip| {
        vip.is_none_or(|vip| service.name.as_str() == vip) || Some(held.address) == address
    };
    let mut expected = of_intent(&intent, &session.node, wanted);
    if let (Some(vip), true) = (vip, expected.is_empty()) {
        return Err(unknown(&intent, vip, what));
    }
    let names = sandboxes(&expected);
    if names.is_empty() {
        let (traffic, nobodys) = (Traffic::new(), Node::default());
        let walks = walks(&expected, &nobodys, &Answers::new(), &traffic);
        return Ok(Looked { intent, statuses, expected, traffic, walks });
    }
    if !session.is_recorded() {
        hear_of_others(&statuses, &mut expected);
    }
    descriptors::raise();
    let scope = Scope::Only(names.into_iter().collect());
    // The kernel and the resolvers are asked at the same time.
    let (seen, answers) = std::thread::scope(|both| {
        let asking = (!session.is_recorded()).then(|| both.spawn(|| answers(&expected)));
        let seen = session.observe_counted(&scope);
        let answers = asking
            .map(|asking| asking.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        (seen, answers.unwrap_or_default())
    });
    let (node, traffic) = seen?;
    let walks = walks(&expected, &node, &answers, &traffic);
    Ok(Looked { intent, statuses, expected, traffic, walks })
}

/// What the checks of a task that runs here say, when they do not say that it is healthy.
fn doubted(status: &TaskStatus) -> Option<&'static str> {
    match status.state {
        TaskState::Unhealthy => Some("unhealthy"),
        TaskState::Starting if status.is_unproven() => Some("not healthy yet"),
        _ => None,
    }
}

/// Notes how the tasks of other nodes are, as their agents report it, and what is doubted of this one's.
fn hear_of_others(statuses: &BTreeMap<NodeName, NodeStatus>, expected: &mut [Expected]) {
    for task in expected.iter_mut().flat_map(|one| &mut one.tasks) {
        let reported = |(name, _): &(&TaskName, &TaskStatus)| name.to_string() == task.task;
        let status = statuses.iter().find(|(node, _)| node.as_str() == task.node);
        let found = status.and_then(|(_, status)| status.tasks.iter().find(reported));
        if task.sandbox.is_some() {
            task.told = found.and_then(|(_, status)| doubted(status)).map(str::to_owned);
            continue;
        }
        task.told = Some(match found.map(|(_, status)| status.state) {
            Some(TaskState::Running | TaskState::Draining) => UP.to_owned(),
            Some(state) => format!("its node says: {}", state.to_string().to_lowercase()),
            None => "its node has not reported it".to_owned(),
        });
    }
}

/// Follows VIPs in dumped sandboxes: against a recorded intent, where there is one.
fn dumped(
    global: &Global,
    dump: &Path,
    vip: Option<&str>,
    what: &str,
) -> Result<Vec<Walk>, Failure> {
    let Recorded { node, unread } = recorded::read(dump)?;
    let mut expected = match &global.intent {
        None => of_node(&node),
        Some(intent) => {
            let session = Session::new(global, what)?;
            of_intent(&read_json(intent)?, &session.node, |_, _| true)
        }
    };
    // Of what was not dumped nothing can be said.
    for one in &mut expected {
        one.clients.iter_mut().for_each(|client| as_dumped(client, &node));
        one.clients.retain(|client| node.sandboxes.contains_key(&client.sandbox));
        one.mesh = one.mesh.take().filter(|mesh| {
            [&mesh.home, &mesh.sandbox].iter().all(|name| node.sandboxes.contains_key(*name))
        });
        for task in &mut one.tasks {
            task.sandbox = task.sandbox.take().filter(|name| node.sandboxes.contains_key(name));
        }
    }
    if let Some(vip) = vip {
        expected.retain(|one| one.service == vip || one.address.to_string() == vip);
        if expected.is_empty() {
            let problem = format!("no sandbox in {} knows of it", dump.display());
            return Err(Failure::new(Exit::Usage, what, problem)
                .hint("leave it out to see every VIP that they know of"));
        }
    }
    tell_what_is_not_known(&unread, &expected);
    Ok(walks(&expected, &node, &Answers::new(), &Traffic::new()))
}

/// A namespace of others is dumped under the name that it is called by.
fn as_dumped(client: &mut Client, node: &Node) {
    let called = SandboxName(client.sandbox.called().into());
    if !node.sandboxes.contains_key(&client.sandbox) && node.sandboxes.contains_key(&called) {
        client.sandbox = called;
    }
}

/// What could not be read when the dump was made looks as if it were missing. Where IPVS balances
/// nothing, nobody misses its table.
fn tell_what_is_not_known(unread: &[Unread], expected: &[Expected]) {
    let balances = |sandbox: &SandboxName| {
        let mut clients = expected.iter().flat_map(|one| &one.clients);
        clients.any(|client| client.sandbox == *sandbox && client.plane == DataPlane::Ipvs)
    };
    for Unread { sandbox, part, why } in unread {
        if *part != "ipvs" || balances(sandbox) {
            eprintln!("note: the dump has no {part} of sandbox {sandbox}: {why}");
        }
    }
}

fn unknown(intent: &Intent, vip: &str, what: &str) -> Failure {
    let service = intent.services.values().find(|service| service.name.as_str() == vip);
    if let Some(service) = service {
        let problem = format!("service `{}` has endpoint mode dnsrr and no VIP", service.name);
        return Failure::new(Exit::Usage, what, problem)
            .hint(format!("see what its name resolves to: `swarmlb diag dns {vip}`"));
    }
    let names = intent.services.values().map(|service| service.name.as_str());
    let failure =
        Failure::new(Exit::Usage, what, "no service has that name and no VIP that address");
    match name::nearest(vip, names) {
        Some(meant) => failure.hint(format!("did you mean `{meant}`?")),
        None => failure.hint("see `swarmlb inspect vip`"),
    }
}

/// What must be looked into: clients, tasks, and the overlays between them.
fn sandboxes(expected: &[Expected]) -> BTreeSet<SandboxName> {
    let mut names = BTreeSet::new();
    for one in expected {
        names.insert(SandboxName(one.network.as_str().into()));
        names.extend(one.clients.iter().map(|client| client.sandbox.clone()));
        names.extend(one.mesh.iter().flat_map(|mesh| [mesh.home.clone(), mesh.sandbox.clone()]));
        names.extend(one.tasks.iter().filter_map(|task| task.sandbox.clone()));
    }
    names
}

/// What each client's own resolver says of the services' names.
fn answers(expected: &[Expected]) -> Answers {
    let mut asked = BTreeMap::<SandboxName, Vec<&str>>::new();
    for one in expected {
        for client in &one.clients {
            asked.entry(client.sandbox.clone()).or_default().push(&one.service);
        }
    }
    survey(&asked, SocketAddr::V4(RESOLVER), PATIENCE)
}
