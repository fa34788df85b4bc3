//! `swarmlb inspect vip`

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;
use std::time::Duration;

use super::Report;
use super::session::Session;
use crate::cli::inspect::Command;
use crate::cli::{Format, Global};
use crate::failure::{Exit, Failure};
use crate::intent::{Intent, NetworkName, Service, Vip, name};
use crate::keeper::sockets::RESOLVER;
use crate::kernel::{Scope, netns, traffic};
use crate::node::SandboxName;
use crate::probe::resolve::{RecordType, resolve};
use crate::render;
use crate::trace::vip::{Answers, Traffic, Walk, walks};

/// How long a sandbox's resolver may take.
const PATIENCE: Duration = Duration::from_secs(2);

pub fn run(global: &Global, command: Command) -> Result<Report, Failure> {
    let Command::Vip { vip } = command;
    match vip {
        None => all(global),
        Some(vip) => one(global, &vip),
    }
}

fn all(global: &Global) -> Result<Report, Failure> {
    let session = Session::new(global, "inspect VIPs")?;
    let intent = session.intent()?;
    let walks = follow(&session, &intent, |_, _| true)?;
    if global.format == Format::Json {
        let report = Report::json(&walks)?;
        return Ok(judged(&walks, report.text));
    }
    if walks.is_empty() {
        let _ = writeln!(io::stderr(), "There is no VIP: no service in endpoint mode vip.");
        return Ok(Report::good(""));
    }
    Ok(judged(&walks, render::vip::overview(&walks)))
}

fn one(global: &Global, vip: &str) -> Result<Report, Failure> {
    let what = format!("inspect VIP `{}`", vip.escape_debug());
    let session = Session::new(global, what.as_str())?;
    let intent = session.intent()?;
    let address: Option<Ipv4Addr> = vip.parse().ok();
    let wanted = |service: &Service, held: &Vip| {
        service.name.as_str() == vip || Some(held.address) == address
    };
    let known = intent.services.values().any(|s| s.vips.values().any(|held| wanted(s, held)));
    if !known {
        return Err(unknown(&intent, vip, what));
    }
    let walks = follow(&session, &intent, wanted)?;
    if global.format == Format::Json {
        let report = Report::json(&walks)?;
        return Ok(judged(&walks, report.text));
    }
    let texts: Vec<String> = walks.iter().map(render::vip::walk).collect();
    Ok(judged(&walks, texts.join("\n")))
}

fn judged(walks: &[Walk], text: String) -> Report {
    if walks.iter().all(Walk::is_whole) { Report::good(text) } else { Report::bad(text) }
}

fn unknown(intent: &Intent, vip: &str, what: String) -> Failure {
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

fn follow(
    session: &Session,
    intent: &Intent,
    wanted: impl Fn(&Service, &Vip) -> bool,
) -> Result<Vec<Walk>, Failure> {
    let networks: BTreeSet<&NetworkName> = intent
        .services
        .values()
        .flat_map(|service| service.vips.iter().map(move |vip| (service, vip)))
        .filter(|(service, (_, vip))| wanted(service, vip))
        .map(|(_, (network, _))| network)
        .collect();
    let mut names: Vec<SandboxName> = Vec::new();
    for network in networks {
        names.push(network.into());
        let tasks = intent.tasks_on(network).filter(|(task, _)| task.node == session.node);
        names.extend(tasks.map(|(task, _)| SandboxName::from(&task.name)));
    }
    names.sort();
    names.dedup();
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let node = session.observe(&Scope::Only(names.clone()))?;
    let mut counted = Traffic::new();
    if !session.is_recorded() {
        for (name, sandbox) in &node.sandboxes {
            // A sandbox that goes while it is read is judged by what was seen of it. An overlay's
            // counts nothing, and asking would cost a process each.
            if !sandbox.virtual_servers.is_empty() {
                let _ = traffic::count_ipvs(name, &mut counted);
            }
            if sandbox.table.as_ref().is_some_and(|table| !table.dispatches.is_empty()) {
                let _ = traffic::count_nftables(name, &mut counted);
            }
        }
    }
    let mut found = Vec::new();
    for service in intent.services.values() {
        let picked = |s: &Service, vip: &Vip| s.name == service.name && wanted(s, vip);
        if !service.vips.values().any(|vip| wanted(service, vip)) {
            continue;
        }
        let answers = answers(session, node.sandboxes.keys(), service);
        found.extend(walks(intent, &session.node, &node, &answers, &counted, picked));
    }
    Ok(found)
}

/// What each sandbox's own resolver says of a service's name.
fn answers<'a>(
    session: &Session,
    names: impl Iterator<Item = &'a SandboxName>,
    service: &Service,
) -> Answers {
    let mut answers = Answers::new();
    if session.is_recorded() {
        return answers;
    }
    for name in names {
        let Ok(namespace) = netns::open(name.as_str()) else { continue };
        let server = SocketAddr::V4(RESOLVER);
        let asked = service.name.as_str();
        let resolution = resolve(namespace.as_fd(), server, asked, RecordType::A, PATIENCE);
        let answer = resolution.map(|r| r.addresses).map_err(|error| error.to_string());
        answers.insert(name.clone(), answer);
    }
    answers
}
