//! How the last of some words could go on: commands and options as they are defined, names as they
//! are in the cluster. It is silent, quick, and starts nothing: where nothing runs there are no names.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use clap::{Arg, ArgMatches, Command};
use clap_complete::CompletionCandidate;
use clap_complete::engine::{ArgValueCompleter, complete};

use super::Report;
use super::typing::{file, innermost};
use crate::cli;
use crate::cli::StoreOptions;
use crate::image::Store;
use crate::intent::Intent;
use crate::kernel::netns;
use crate::node::SandboxName;
use crate::state_dir::StateDir;
use crate::store::location::Address;
use crate::store::records::load_intent;
use crate::store::{self, Patience};

/// How long a store may take to answer: longer would be felt.
const PATIENCE: Duration = Duration::from_millis(300);

/// One candidate a line, with what it is behind a tab.
pub fn run(words: Vec<OsString>) -> Report {
    let last = words.last().cloned().unwrap_or_default();
    let wants_option = last.to_string_lossy().starts_with('-');
    let names = Arc::new(Names::new(words.clone()));
    let mut command = with_names(cli::command(), &names);
    let index = words.len().saturating_sub(1);
    let here = std::env::current_dir().ok();
    let candidates = complete(&mut command, words, index, here.as_deref()).unwrap_or_default();
    let shown = candidates.iter().filter(|candidate| {
        // Options only when asked for: they would hide the names.
        wants_option || !candidate.get_value().to_string_lossy().starts_with('-')
    });
    Report::lines(shown.map(|candidate| {
        let value = candidate.get_value().to_string_lossy();
        let help = candidate.get_help().map(ToString::to_string).unwrap_or_default();
        match help.lines().next() {
            Some(help) => format!("{value}\t{help}"),
            None => value.into_owned(),
        }
    }))
}

/// What a name is of, as the placeholder of an argument says: `SERVICE|TASK`, `SANDBOX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Service,
    Network,
    Task,
    Sandbox,
    Node,
    Image,
}

fn kinds(placeholder: &str) -> Vec<Kind> {
    let words = placeholder.split(|c: char| !c.is_ascii_alphabetic());
    let kind = |word| match word {
        "SERVICE" => Some(Kind::Service),
        "NETWORK" => Some(Kind::Network),
        "TASK" => Some(Kind::Task),
        "SANDBOX" => Some(Kind::Sandbox),
        "NODE" => Some(Kind::Node),
        "IMAGE" => Some(Kind::Image),
        _ => None,
    };
    words.filter_map(kind).collect()
}

/// The words of a placeholder that are typed as they stand: `auto|ipvs|nftables`.
fn literals(placeholder: &str) -> Vec<String> {
    let words = placeholder.split('|');
    let typed =
        |word: &&str| !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c == '-');
    match placeholder.contains('|') {
        true => words.filter(typed).map(str::to_owned).collect(),
        false => Vec::new(),
    }
}

/// The command line, with completions for every argument whose placeholder names a kind of thing.
fn with_names(command: Command, names: &Arc<Names>) -> Command {
    let makes = command.get_name() == "create";
    let command = command.mut_args(|arg| match makes && arg.is_positional() {
        // What is about to be made has no name yet.
        true => arg,
        false => named(arg, names),
    });
    command.mut_subcommands(|sub| with_names(sub, names))
}

fn named(arg: Arg, names: &Arc<Names>) -> Arg {
    let placeholder = arg.get_value_names().unwrap_or_default().join(" ");
    let kinds = kinds(&placeholder);
    let values = literals(&placeholder);
    if kinds.is_empty() && values.is_empty() {
        return arg;
    }
    let behind = if placeholder.contains("SERVICE=") { "=" } else { "" };
    let names = Arc::clone(names);
    arg.add(ArgValueCompleter::new(move |typed: &std::ffi::OsStr| {
        let typed = typed.to_string_lossy();
        let values = values.iter().map(|value| (value.clone(), String::new()));
        let all = kinds.iter().flat_map(|kind| names.of(*kind)).chain(values);
        let fitting = all.filter(|(name, _)| name.starts_with(typed.as_ref()));
        fitting
            .map(|(name, what)| {
                let help = Some(what).filter(|what| !what.is_empty()).map(Into::into);
                CompletionCandidate::new(format!("{name}{behind}")).help(help)
            })
            .collect::<Vec<_>>()
    }))
}

/// The names of the cluster, read when they are first wanted.
struct Names {
    words: Vec<OsString>,
    intent: OnceLock<Option<Intent>>,
}

impl Names {
    fn new(words: Vec<OsString>) -> Self {
        Self { words, intent: OnceLock::new() }
    }

    fn intent(&self) -> Option<&Intent> {
        self.intent.get_or_init(|| intent(&self.words)).as_ref()
    }

    /// Names with what each is.
    fn of(&self, kind: Kind) -> Vec<(String, String)> {
        match kind {
            Kind::Sandbox => return self.sandboxes(),
            Kind::Image => return images(&self.words).unwrap_or_default(),
            _ => {}
        }
        let Some(intent) = self.intent() else { return Vec::new() };
        match kind {
            Kind::Service => intent
                .services
                .values()
                .map(|service| {
                    (service.name.to_string(), format!("service of {}", service.definition.image))
                })
                .collect(),
            Kind::Network => intent
                .networks
                .values()
                .map(|n| (n.name.to_string(), format!("network {}", subnets(n))))
                .collect(),
            Kind::Task => intent
                .tasks
                .values()
                .map(|task| (task.name.to_string(), format!("task on {}", task.node)))
                .collect(),
            Kind::Node => {
                intent.nodes.keys().map(|node| (node.to_string(), "node".into())).collect()
            }
            Kind::Sandbox | Kind::Image => Vec::new(),
        }
    }

    /// Those of the cluster, and every named namespace of the machine.
    fn sandboxes(&self) -> Vec<(String, String)> {
        let mut found: Vec<(String, String)> = Vec::new();
        if let Some(intent) = self.intent() {
            let tasks = intent.tasks.values().map(|task| SandboxName::from(&task.name));
            found.extend(tasks.map(|name| (name.to_string(), "task's sandbox".into())));
            let networks = intent.networks.keys().map(SandboxName::from);
            found.extend(networks.map(|name| (name.to_string(), "network's sandbox".into())));
        }
        for name in netns::names().unwrap_or_default() {
            if !found.iter().any(|(known, _)| *known == name) {
                found.push((name, "network namespace".into()));
            }
        }
        found
    }
}

/// The images that are kept, with their ids. Nothing is made for it.
fn images(words: &[OsString]) -> Option<Vec<(String, String)>> {
    let matches = tolerant(cli::command(), words)?;
    let state = StateDir::new(innermost(&matches).1.get_one::<PathBuf>("state_dir")?).ok()?;
    let index = Store::of(&state).index().ok()?;
    let named = index.names.iter();
    Some(named.map(|(name, held)| (name.to_string(), held.id.short().to_owned())).collect())
}

/// What was asked for, when somebody who runs already can say it.
fn intent(words: &[OsString]) -> Option<Intent> {
    let matches = tolerant(cli::command(), words)?;
    let named = innermost(&matches).1.get_one::<PathBuf>("config").cloned();
    let matches = match file(named.as_ref()).ok()? {
        Some(file) => tolerant(file.applied(cli::command()), words)?,
        None => matches,
    };
    let inner = innermost(&matches).1;
    if let Some(recorded) = inner.get_one::<PathBuf>("intent") {
        return serde_json::from_slice(&std::fs::read(recorded).ok()?).ok();
    }
    let state = StateDir::new(inner.get_one::<PathBuf>("state_dir")?).ok()?;
    let path = |name: &str| inner.get_one::<PathBuf>(name).cloned();
    let typed = StoreOptions {
        store: inner.get_one::<Address>("store").cloned(),
        store_cacert: path("store_cacert"),
        store_cert: path("store_cert"),
        store_key: path("store_key"),
    };
    let location = super::store::choose(&typed, &state).ok()?;
    let patience = Patience { first: PATIENCE, later: Some(PATIENCE) };
    let store = store::open(&location, &state.store_socket(), patience).ok()?;
    Some(load_intent(&store).ok()??.intent)
}

/// What is there of options, in words that are not finished.
fn tolerant(command: Command, words: &[OsString]) -> Option<ArgMatches> {
    let finished = &words[..words.len().saturating_sub(1)];
    command.ignore_errors(true).try_get_matches_from(finished).ok()
}
fn subnets(network: &crate::intent::Network) -> String {
    let subnets: Vec<String> = network.pools.iter().map(|pool| pool.subnet.to_string()).collect();
    subnets.join(", ")
}
