//! `swarmlb sandbox apply --ipvsadm`

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::Path;

use nix::errno::Errno;

use super::find::{Target, find};
use super::{ipvs, known_intent, sandbox_name};
use crate::cli::sandbox::Apply as Options;
use crate::cli::{Format, Global};
use crate::commands::Report;
use crate::commands::elsewhere::is_errand;
use crate::commands::session::{Session, must_be_root};
use crate::dump::choice::Machine;
use crate::dump::{Belonging, Table};
use crate::failure::{Exit, Failure};
use crate::intent::{ClusterId, Intent};
use crate::ipvsadm::{self, Difference, Step};
use crate::kernel::ipvs::Ipvs;
use crate::kernel::ipvs::wire::{Change, Key};
use crate::kernel::{Refusal, contents, namespaces};
use crate::node::{Entry, VirtualServerKey};

/// The most that is read of a file: some 2 million real servers.
const LARGEST: u64 = 128 << 20;

pub fn run(global: &Global, options: &Options) -> Result<Report, Failure> {
    let what = format!("apply a table to sandbox `{}`", options.name.escape_debug());
    let wanted = wanted(&options.ipvsadm, &what)?;
    must_be_root(&what)?;
    let machine = namespaces::machine();
    let target = find(&machine, &options.name, &what)?;
    let keeper = Keeper::of(global, &machine, &target, &what)?;
    if let Some(own) = wanted.iter().find(|entry| keeper.keeps(&entry.server.key)) {
        return Err(keeper.refusal(&own.server.key, &what));
    }
    let mut held = ipvs::read(&target, &what)?.entries;
    ipvsadm::sort(&mut held);
    let goes = |key: &Key| options.prune && !keeper.keeps(key);
    let difference = Difference::between(&held, &wanted, goes);
    if !options.dry_run {
        carry_out(&target, &difference.steps, &what)?;
    }
    told(global, options, &difference, &keeper)
}

/// What the file asks for.
fn wanted(path: &Path, what: &str) -> Result<Vec<Entry>, Failure> {
    let from_standard_input = path == Path::new("-");
    let shown =
        if from_standard_input { "standard input".into() } else { path.display().to_string() };
    if !from_standard_input && is_errand() {
        let problem = format!("the sandbox is on another node than the file {shown}");
        return Err(Failure::new(Exit::Usage, what, problem)
            .hint("give it by standard input: `--ipvsadm - < FILE`"));
    }
    let mut text = String::new();
    let read = match from_standard_input {
        true => io::stdin().take(LARGEST).read_to_string(&mut text),
        false => File::open(path).and_then(|file| file.take(LARGEST).read_to_string(&mut text)),
    };
    read.map_err(|error| Failure::io(format!("read {shown}"), &error))?;
    ipvsadm::parse(&text).map_err(|error| {
        Failure::new(Exit::Usage, format!("read {shown}"), error)
            .hint("it is what `ipvsadm -Sn` or `swarmlb sandbox ipvs -S` prints")
    })
}

/// Who keeps some of the virtual servers as they are.
struct Keeper {
    belonging: Option<Belonging>,
}

impl Keeper {
    fn of(
        global: &Global,
        machine: &Machine,
        target: &Target,
        what: &str,
    ) -> Result<Self, Failure> {
        let session = Session::new(global, what)?;
        let intent =
            known_intent(&session).unwrap_or_else(|| Intent::new(ClusterId(String::new())));
        let links = [Table::Links].into_iter().collect();
        let held = contents::read(&target.file, &target.namespace, &links, machine);
        let held = held.map_err(|refusal| Failure::kernel(what, &refusal))?;
        let marked = sandbox_name(target.namespace.named().unwrap_or(&target.name));
        let owner = held.owner(&marked);
        let belonging =
            Belonging::of(&target.namespace, owner.as_ref(), &intent, &machine.containers)
                .joined(&held, &intent);
        Ok(Self { belonging: belonging.concerns_us().then_some(belonging) })
    }

    fn keeps(&self, key: &Key) -> bool {
        self.belonging.is_some() && VirtualServerKey::from(key).is_of_our_kind()
    }

    fn refusal(&self, key: &Key, what: &str) -> Failure {
        let key = VirtualServerKey::from(key);
        let problem = format!("swarmlb itself keeps virtual server {key} there");
        Failure::new(Exit::Usage, what, problem)
            .hint("change the service that has this mark, or leave it out of the file")
    }
}

/// Does all of it or nothing.
fn carry_out(target: &Target, steps: &[Step], what: &str) -> Result<(), Failure> {
    let opened = Ipvs::open(target.file.as_fd());
    let opened = opened.map_err(|refusal| Failure::kernel(what, &refusal))?;
    let mut kernel = opened.ok_or_else(|| ipvs::no_ipvs(what))?;
    let changes: Vec<Change<'_>> = steps.iter().map(Step::change).collect();
    let outcomes = kernel.tell(&changes);
    let done = steps.iter().zip(&outcomes).filter(|(_, outcome)| outcome.is_ok());
    let done: Vec<&Step> = done.map(|(step, _)| step).collect();
    let refused = steps
        .iter()
        .zip(&outcomes)
        .find_map(|(step, outcome)| outcome.as_ref().err().map(|refusal| (step, refusal.clone())));
    let Some((step, refusal)) = refused else { return Ok(()) };
    let back: Vec<Step> = done.iter().rev().flat_map(|step| step.inverse()).collect();
    let changes: Vec<Change<'_>> = back.iter().map(Step::change).collect();
    let undone = kernel.tell(&changes);
    let left = undone.len() < back.len() || undone.iter().any(Result::is_err);
    Err(failure(step, &refusal, done.len(), left, what))
}

fn failure(step: &Step, refusal: &Refusal, done: usize, left: bool, what: &str) -> Failure {
    let (exit, undone) = match left {
        true => (Exit::Left, "not all of it could be taken back"),
        false => (Exit::Undone, "all of it was taken back"),
    };
    let plain = match step {
        Step::AddServer(server) | Step::SetServer { to: server, .. }
            if refusal.errno == Errno::ENOENT =>
        {
            Failure::new(exit, what, format!("the kernel has no scheduler `{}`", server.scheduler))
        }
        _ => Failure { exit, ..Failure::kernel(what, refusal) },
    };
    let changes = if done == 1 { "1 change" } else { &format!("{done} changes") };
    plain
        .fact("refused:", format!("ipvsadm {}", step.words()))
        .fact("before it:", format!("{changes}; {undone}"))
}

fn told(
    global: &Global,
    options: &Options,
    difference: &Difference,
    keeper: &Keeper,
) -> Result<Report, Failure> {
    let words: Vec<String> = difference.steps.iter().map(Step::words).collect();
    let kept: Vec<VirtualServerKey> = difference.kept.iter().map(VirtualServerKey::from).collect();
    if global.format == Format::Json {
        return Report::json(&serde_json::json!({ "changes": words, "kept": kept }));
    }
    let mut lines: Vec<String> = words.iter().map(|words| format!("ipvsadm {words}")).collect();
    if lines.is_empty() {
        lines.push("Nothing differs.".into());
    }
    for (key, shown) in difference.kept.iter().zip(&kept) {
        let why = match keeper.keeps(key) {
            true => "swarmlb's own",
            false => "not in the file; --prune removes it",
        };
        lines.push(format!("# stays: {shown} ({why})"));
    }
    if options.dry_run {
        lines.push("# Nothing was changed.".into());
    }
    Ok(Report::good(lines.join("\n")))
}
