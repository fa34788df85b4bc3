//! `swarmlb system …`

use serde::Serialize;

use super::agent::end_keeper;
use super::convergence::{Wait, Waited};
use super::session::{Session, must_be_root};
use super::{Report, confirmation};
use crate::agent::can_encrypt;
use crate::cli::settings::Setting;
use crate::cli::system::Command;
use crate::cli::{Format, Global};
use crate::failure::{Exit, Failure};
use crate::intent::setup::{Bytes, Cpus};
use crate::intent::{ClusterId, Egress, Intent, IntentError, Limits};
use crate::keeper::client::Client as Keeper;
use crate::keeper::protocol::Request;
use crate::kernel::cgroup::{self, Version};
use crate::kernel::egress;
use crate::kernel::ipvs::Ipvs;
use crate::kernel::linux::{Linux, NoProcesses};
use crate::kernel::{Kernel, Refusal, Scope};
use crate::kernel::{oci_runtime, program};
use crate::node::{LinkName, Node, SandboxName};
use crate::plan::Plan;
use crate::render::english::count;
use crate::render::table::table;
use crate::store::records;

pub fn run(global: &Global, command: Command) -> Result<Report, Failure> {
    match command {
        Command::Info => info(global),
        Command::Reset { yes, dry_run } => reset(global, yes, dry_run.dry_run),
    }
}

/// What this machine can do.
#[derive(Serialize)]
struct Info {
    version: &'static str,
    node: String,
    state_dir: String,
    kernel: String,
    root: bool,
    ipvs: Option<String>,
    data_plane: &'static str,
    /// How tasks reach the outside.
    egress: String,
    /// How networks between nodes can be encrypted.
    encryption: String,
    /// What runs containers.
    runtime: String,
    /// By what tasks are limited.
    limiting: String,
    programs: Vec<Program>,
    /// What will not work here, and why.
    limits: Vec<String>,
    settings: Vec<Setting>,
}

#[derive(Serialize)]
struct Program {
    name: &'static str,
    path: Option<String>,
    needed_for: &'static str,
}

const PROGRAMS: [(&str, &str); 2] =
    [("nft", "the text of rules in dumps"), ("modprobe", "loading ip_vs")];

fn info(global: &Global) -> Result<Report, Failure> {
    let session = Session::new(global, "show this machine")?;
    let root = nix::unistd::geteuid().is_root();
    let mut limits = Vec::new();
    if !root {
        limits.push("not root: nothing can be made or inspected; use sudo".to_owned());
    }
    let ipvs = match ipvs_version() {
        Ok(Some(version)) => Some(version),
        Ok(None) => {
            limits.push(
                "no IPVS: this kernel has no module ip_vs; VIPs are balanced by nftables, and \
                 `--data-plane ipvs` is refused"
                    .to_owned(),
            );
            None
        }
        Err(reason) => {
            limits.push(format!("IPVS cannot be asked: {reason}"));
            None
        }
    };
    let programs = PROGRAMS.map(|(name, needed_for)| Program {
        name,
        path: program::find(name).map(|path| path.display().to_string()),
        needed_for,
    });
    for program in programs.iter().filter(|program| program.path.is_none()) {
        limits.push(format!(
            "`{}` is not installed: needed for {}",
            program.name, program.needed_for
        ));
    }
    let runtime = runtime_words(&mut limits);
    let release = nix::sys::utsname::uname()
        .map(|name| name.release().to_string_lossy().into_owned())
        .unwrap_or_else(|errno| errno.to_string());
    let info = Info {
        version: env!("CARGO_PKG_VERSION"),
        node: session.node.to_string(),
        state_dir: session.state.root().display().to_string(),
        kernel: release,
        root,
        data_plane: if ipvs.is_some() { "ipvs" } else { "nftables" },
        ipvs,
        egress: egress_words(&session, root, &mut limits),
        encryption: encryption_words(root, &mut limits),
        runtime,
        limiting: limiting_words(&mut limits),
        programs: programs.into(),
        limits,
        settings: global.typed.settings.clone(),
    };
    match global.format {
        Format::Json => Report::json(&info),
        Format::Table => Ok(Report::good(info_text(&info))),
    }
}

/// What runs containers, and among `limits` that nothing does.
fn runtime_words(limits: &mut Vec<String>) -> String {
    match oci_runtime::find(None) {
        Ok(path) => path.display().to_string(),
        Err(reason) => {
            limits.push(format!("no containers: {reason}"));
            "none".into()
        }
    }
}

/// By what tasks are limited, and among `limits` what they cannot be.
fn limiting_words(limits: &mut Vec<String>) -> String {
    let every = Limits { cpu: Some(Cpus(1)), memory: Some(Bytes(1)), pids: Some(1) };
    limits.extend(cgroup::lack(&every));
    match cgroup::version() {
        Some(Version::One) => "control groups of version 1".into(),
        Some(Version::Two) => "control groups of version 2".into(),
        None => "none".into(),
    }
}

/// How networks are encrypted, and among `limits` why they cannot be.
fn encryption_words(root: bool, limits: &mut Vec<String>) -> String {
    if !root {
        return "for root to see only".into();
    }
    match can_encrypt() {
        Ok(()) => "ESP with AES-GCM".into(),
        Err(reason) => {
            limits.push(format!("no encryption: {reason}; `-o encrypted` is refused"));
            "none".into()
        }
    }
}

/// How tasks reach the outside, and among `limits` what stands in the way.
fn egress_words(session: &Session, root: bool, limits: &mut Vec<String>) -> String {
    if !root {
        return "for root to see only".into();
    }
    let impossible = |reason: &str, limits: &mut Vec<String>| {
        limits.push(format!(
            "no egress: {reason}; only networks made with `--internal` are possible"
        ));
        "none".to_owned()
    };
    if let Err(refusal) = egress::can_masquerade() {
        return impossible(&format!("no masquerading: {refusal}"), limits);
    }
    limits.extend(forward_obstacle());
    let intent = match session.is_fresh() {
        true => None,
        false => session.intent().ok(),
    };
    let record = intent
        .as_ref()
        .and_then(|intent| Some((&intent.cluster.id, &intent.nodes.get(&session.node)?.egress)));
    match record {
        Some((_, Egress::Impossible(reason))) => impossible(reason, limits),
        Some((cluster, Egress::Through(pool))) => {
            let bridge = LinkName::gateway_bridge(cluster);
            format!("masqueraded, from {} over {bridge}", pool.subnet)
        }
        Some((_, Egress::Unknown)) | None => "masqueraded, over a gateway bridge".into(),
    }
}

/// What a firewall of others drops of the tasks' packets, and the cure. It is theirs to change.
pub fn forward_obstacle() -> Option<String> {
    let chains = egress::obstacles().unwrap_or_default();
    let chain = chains.first()?;
    let cure = match chain.as_str() {
        "filter FORWARD" => {
            "say `iptables -I DOCKER-USER -i swlb-+ -m comment --comment swarmlb -j ACCEPT` and \
             the same with `-o` (FORWARD instead of DOCKER-USER where Docker is not)"
        }
        _ => "accept there what comes from and goes to the links `swlb-*`",
    };
    Some(format!(
        "chain {chain} drops what nobody accepts, and tasks may not reach the outside: {cure}"
    ))
}

fn ipvs_version() -> Result<Option<String>, crate::kernel::Refusal> {
    let Some(mut ipvs) = Ipvs::open_here()? else { return Ok(None) };
    if !nix::unistd::geteuid().is_root() {
        return Ok(Some("yes (its version is for root only)".into()));
    }
    let version = ipvs.version()?.map(|info| {
        let (major, minor, patch) = info.version;
        format!("{major}.{minor}.{patch}, connection table of {}", info.connection_table_size)
    });
    Ok(Some(version.unwrap_or_else(|| "unknown version".into())))
}

fn info_text(info: &Info) -> String {
    let ipvs = info.ipvs.as_deref().unwrap_or("no");
    let mut text = format!(
        "swarmlb      {}\nnode         {}\nstate        {}\nkernel       {}\nroot         {}\nIPVS         {ipvs}\ndata plane   {} (what `auto` means here)\negress       {}\nencryption   {}\nOCI runtime  {}\nlimits       {}\n",
        info.version,
        info.node,
        info.state_dir,
        info.kernel,
        if info.root { "yes" } else { "no" },
        info.data_plane,
        info.egress,
        info.encryption,
        info.runtime,
        info.limiting,
    );
    for program in &info.programs {
        let path = program.path.as_deref().unwrap_or("missing");
        text.push_str(&format!("{:<12} {path}\n", program.name));
    }
    match info.limits[..] {
        [] => text.push_str("Nothing stands in the way of anything.\n"),
        _ => text.push_str("\nWhat will not work here, and why:\n"),
    }
    for limit in &info.limits {
        text.push_str(&format!("  - {limit}\n"));
    }
    let rows = info.settings.iter().map(|setting| {
        let value = setting.value.clone().unwrap_or_else(|| "-".into());
        [setting.name.clone(), value, setting.source.clone()]
    });
    text + "\n" + &table(["SETTING", "VALUE", "FROM"], rows.collect())
}

fn reset(global: &Global, yes: bool, dry_run: bool) -> Result<Report, Failure> {
    let what = "reset the system";
    let session = Session::new(global, what)?;
    if dry_run {
        return session.dry_run(nothing);
    }
    must_be_root(what)?;
    if !session.is_fresh() {
        if let Some(membership) = super::node::membership(&session, what)?
            && membership.first.is_some()
        {
            let problem = "this node is in a cluster that others made";
            return Err(Failure::new(Exit::Usage, what, problem)
                .hint("`swarmlb node leave` takes it out, and removes what is on this machine"));
        }
        let intent = session.intent()?;
        if !yes {
            confirmation::ask(what, &about(&session, &intent), "--yes")?;
        }
        if clear(global, &session, what)? == Waited::LeftGoing {
            eprintln!("Once it is done, `swarmlb system reset` removes the rest.");
            return Ok(Report::good(""));
        }
    }
    session.state.remove().map_err(|error| Failure::io(what, &error))?;
    Ok(Report::good(""))
}

fn nothing(intent: &mut Intent) -> Result<(), IntentError> {
    intent.services.clear();
    intent.tasks.clear();
    intent.networks.clear();
    intent.attachments.values_mut().for_each(|held| held.leaving = true);
    Ok(())
}

/// Has everything go that was asked for, then ends the keeper, and removes its state.
///
/// # Errors
/// What the kernel refused.
pub fn clear(global: &Global, session: &Session, what: &str) -> Result<Waited, Failure> {
    let store = session.store()?;
    super::interrupt::listen();
    let committed = session.edit(&store, nothing)?;
    let wait = Wait { session, store: &store, what, quiet: global.quiet, services: &[] };
    let waited = wait.until(&committed)?;
    if waited == Waited::Done {
        end_keeper(session)?;
        if !session.location.is_embedded() {
            records::forget_node(&store, &session.node)
                .map_err(|error| Failure::record(what, &error))?;
        }
        session.state.remove().map_err(|error| Failure::io(what, &error))?;
    }
    Ok(waited)
}

/// Takes away what a cluster made on this machine, without asking the cluster: tasks, kernel objects
/// and state.
///
/// # Errors
/// What the kernel refused.
pub fn dismantle(session: &Session, cluster: &ClusterId, what: &str) -> Result<(), Failure> {
    let refused = |refusal: Refusal| Failure::kernel(what, &refusal);
    end_tasks(session);
    end_keeper(session)?;
    let mut kernel = Linux::new(NoProcesses);
    let node = SandboxName::of_node(cluster);
    let scope = Scope::Cluster(cluster.clone(), vec![node]);
    let mut held = kernel.observe(&scope).map_err(refused)?;
    held.disown_others(cluster);
    held.sandboxes.values_mut().for_each(|sandbox| sandbox.process = None);
    let plan = Plan::between(&held, &Node::default());
    for outcome in kernel.apply(&plan.ops) {
        outcome.map_err(refused)?;
    }
    session.state.remove().map_err(|error| Failure::io(what, &error))
}

/// Ends what the keeper runs.
fn end_tasks(session: &Session) {
    let Ok(keeper) = Keeper::connect(&session.state.keeper_socket()) else { return };
    let running = keeper.list().unwrap_or_default();
    for task in running.iter().filter(|task| !task.has_ended()) {
        let signal = nix::libc::SIGKILL;
        let _ =
            keeper.ask(&Request::Signal { sandbox: task.sandbox.clone(), signal, session: true });
    }
}

fn about(session: &Session, intent: &Intent) -> String {
    let others: Vec<&str> = (intent.nodes.keys().filter(|node| **node != session.node))
        .map(|node| node.as_str())
        .collect();
    let everywhere = match others.is_empty() {
        true => String::new(),
        false => format!(", on {} too", others.join(", ")),
    };
    format!(
        "This removes {}, {} and {}{everywhere}, and deletes {}.",
        count(intent.services.len(), "service"),
        count(intent.tasks.len(), "task"),
        count(intent.networks.len(), "network"),
        session.state.root().display()
    )
}
