//! `swarmlb diag check` and `diag explain`

use std::time::Duration;

use serde::Serialize;

use crate::agent::has_ipvs;
use crate::check::{self, CODES, Code, Finding, Look, Severity};
use crate::cli::{Format, Global};
use crate::commands::Report;
use crate::commands::inspect::{self, Looked};
use crate::commands::session::{Session, must_be_root};
use crate::failure::{Exit, Failure};
use crate::intent::name::nearest;
use crate::kernel::Scope;
use crate::plan::{Op, Plan};
use crate::render;

const WHAT: &str = "check this node";
/// What is seen in so many looks is no change that is under way.
const LOOKS: usize = 3;
const BETWEEN: Duration = Duration::from_millis(200);

pub fn run(global: &Global, short: bool) -> Result<Report, Failure> {
    let session = Session::new(global, WHAT)?;
    must_be_root(WHAT)?;
    if session.is_fresh() {
        return Ok(Report::good("Nothing was asked for here yet: there is nothing to check.\n"));
    }
    let looked = inspect::look(&session, None, WHAT)?;
    let mut ops = drift(&session, &looked)?;
    for _ in 1..LOOKS {
        if ops.is_empty() {
            break;
        }
        std::thread::sleep(BETWEEN);
        let again = drift(&session, &inspect::look(&session, None, WHAT)?)?;
        ops.retain(|op| again.contains(op));
    }
    let machine = session.machine()?;
    let look = Look {
        node: &session.node,
        intent: &looked.intent,
        statuses: &looked.statuses,
        ops: &ops,
        walks: &looked.walks,
        machine: &machine,
        ipvs: has_ipvs(),
    };
    let findings = check::findings(&look);
    report(global, &session, short, &findings)
}

/// What would make the node's kernel what it should be.
fn drift(session: &Session, looked: &Looked) -> Result<Vec<Op>, Failure> {
    let desired = session.desired_with_keys(&looked.intent)?;
    let names = desired.sandboxes.keys().cloned().collect();
    let scope = Scope::Cluster(looked.intent.cluster.id.clone(), names);
    let observed = session.observe(&scope)?;
    Ok(Plan::between(&observed, &desired).kernel_ops().cloned().collect())
}

/// What is printed for programs.
#[derive(Serialize)]
struct Checked<'a> {
    node: String,
    /// Whether there is nothing but notes.
    healthy: bool,
    /// How many kinds of findings were looked for.
    looked_for: usize,
    findings: &'a [Finding],
}

fn report(
    global: &Global,
    session: &Session,
    short: bool,
    findings: &[Finding],
) -> Result<Report, Failure> {
    let healthy = findings.iter().all(|finding| finding.severity == Severity::Note);
    let node = session.node.to_string();
    let text = match global.format {
        Format::Json => {
            Report::json(&Checked { node, healthy, looked_for: CODES.len(), findings })?.text
        }
        Format::Table if global.quiet => {
            findings.iter().map(|finding| format!("{}\n", finding.code)).collect()
        }
        Format::Table => render::check::checked(&node, findings, short),
    };
    Ok(if healthy { Report::good(text) } else { Report::bad(text) })
}

/// `swarmlb diag explain`
pub fn explain(global: &Global, name: Option<&str>) -> Result<Report, Failure> {
    let codes: Vec<&Code> = match name {
        None => CODES.iter().collect(),
        Some(name) => vec![check::code(name).ok_or_else(|| unknown(name))?],
    };
    match (global.format, name) {
        (Format::Json, _) => Report::json(&codes),
        (Format::Table, _) if global.quiet => Ok(Report::lines(codes.iter().map(|code| code.name))),
        (Format::Table, None) => Ok(Report::good(render::check::codes(&codes))),
        (Format::Table, Some(_)) => Ok(Report::good(
            codes.iter().map(|code| render::check::explained(code)).collect::<String>(),
        )),
    }
}

fn unknown(name: &str) -> Failure {
    let what = format!("explain `{}`", name.escape_debug());
    let failure = Failure::new(Exit::Usage, what, "there is no such code");
    match nearest(name, CODES.iter().map(|code| code.name)) {
        Some(meant) => failure.hint(format!("did you mean `{meant}`?")),
        None => failure.hint("`swarmlb diag explain` lists them"),
    }
}
