//! `swarmlb diag …`

mod bench;
mod check;
mod comparison;
mod outage;
mod report_file;
mod seat;
mod throwaway;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;
use std::time::Duration;

use serde::Serialize;

use super::Report;
use super::session::{Session, must_be_root};
use crate::agent::resting;
use crate::cli::diag::Command;
use crate::cli::{Format, Global};
use crate::failure::{Exit, Failure};
use crate::keeper::sockets::RESOLVER;
use crate::kernel::netns;
use crate::lower::dns::{Knowledge, expected, zones};
use crate::node::SandboxName;
use crate::probe::resolve::{RecordType, resolve};
use crate::render::figure;
use crate::render::table::table;

/// How long a resolver or a task may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

pub fn run(global: &Global, command: Command) -> Result<Report, Failure> {
    match command {
        Command::Check { short } => check::run(global, short),
        Command::Explain { code } => check::explain(global, code.as_deref()),
        Command::Dns { name, from } => dns(global, &name, from.as_deref()),
        Command::Compare(compare) => comparison::run(global, &compare),
    }
}

/// What one sandbox's resolver answered.
#[derive(Serialize)]
struct Asked {
    sandbox: String,
    /// In the order received.
    addresses: Vec<IpAddr>,
    ttl: Option<u32>,
    verdict: String,
    /// Whether the cluster answered, or the machine's own resolver was asked.
    from_cluster: bool,
    microseconds: u128,
    /// What it should have answered; none for a name that is not the cluster's.
    expected: Option<Vec<Ipv4Addr>>,
    right: bool,
}

fn dns(global: &Global, name: &str, from: Option<&str>) -> Result<Report, Failure> {
    let what = format!("resolve `{}`", name.escape_debug());
    let session = Session::new(global, what.as_str())?;
    must_be_root(&what)?;
    let (mut intent, statuses) = session.intent_and_statuses()?;
    resting::note(&mut intent, &session.node, &statuses);
    let mut zones = zones(&intent, &session.node);
    if let Some(from) = from {
        let wanted = seat::sandbox(&session, &intent, from, &what)?;
        zones.retain(|sandbox, _| *sandbox == wanted);
    }
    if zones.is_empty() {
        return Err(Failure::new(Exit::Usage, what, "there is no task's sandbox to ask in")
            .hint("make one: `swarmlb service create`"));
    }
    let mut asked = Vec::new();
    for (sandbox, known) in &zones {
        asked.push(ask(sandbox, known, name, &what)?);
    }
    let all_right = asked.iter().all(|asked| asked.right);
    let text = match global.format {
        Format::Json => Report::json(&asked)?.text,
        Format::Table => dns_text(&asked),
    };
    Ok(if all_right { Report::good(text) } else { Report::bad(text) })
}

fn ask(sandbox: &SandboxName, known: &Knowledge, name: &str, what: &str) -> Result<Asked, Failure> {
    let called = sandbox.called().to_owned();
    let namespace = netns::of(sandbox)
        .map_err(|error| Failure::io(what, &error).fact("sandbox:", called.clone()))?;
    let answer =
        resolve(namespace.as_fd(), SocketAddr::V4(RESOLVER), name, RecordType::A, PATIENCE);
    let expected = expected(known, name);
    Ok(match answer {
        Ok(resolution) => {
            let mut got: Vec<IpAddr> = resolution.addresses.clone();
            got.sort_unstable();
            let right = expected.as_ref().is_none_or(|expected| {
                let mut expected: Vec<IpAddr> = expected.iter().copied().map(IpAddr::V4).collect();
                expected.sort_unstable();
                got == expected
            });
            Asked {
                sandbox: called,
                addresses: resolution.addresses.clone(),
                ttl: resolution.ttl,
                verdict: resolution.verdict(),
                from_cluster: resolution.authoritative,
                microseconds: resolution.elapsed.as_micros(),
                expected,
                right,
            }
        }
        Err(error) => Asked {
            sandbox: called,
            addresses: Vec::new(),
            ttl: None,
            verdict: error.to_string(),
            from_cluster: false,
            microseconds: 0,
            right: false,
            expected,
        },
    })
}

fn dns_text(asked: &[Asked]) -> String {
    let rows = asked.iter().map(|asked| {
        let addresses: Vec<String> = asked.addresses.iter().map(ToString::to_string).collect();
        let source = if asked.from_cluster { "cluster" } else { "forwarded" };
        let judgement = match (&asked.expected, asked.right) {
            (None, _) if asked.right => "not the cluster's name".into(),
            (_, true) => "as it should be".into(),
            (Some(expected), false) => {
                let expected: Vec<String> = expected.iter().map(ToString::to_string).collect();
                format!("WRONG: should be {}", expected.join(" "))
            }
            (None, false) => "WRONG: no answer".into(),
        };
        [
            asked.sandbox.clone(),
            if addresses.is_empty() { "-".into() } else { addresses.join(" ") },
            asked.ttl.map_or_else(|| "-".into(), |ttl| format!("{ttl} s")),
            asked.verdict.clone(),
            source.into(),
            figure::time(asked.microseconds as f64),
            judgement,
        ]
    });
    let heading = ["ASKED IN", "ANSWER", "TTL", "CODE", "FROM", "TOOK", "JUDGEMENT"];
    table(heading, rows.collect())
}
