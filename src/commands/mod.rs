//! Commands: what was typed becomes what was meant, is done, and is told.

mod agent;
mod attachment;
mod change;
mod complete;
mod confirmation;
mod contained;
mod container;
mod convergence;
mod diag;
mod documents;
mod elsewhere;
mod events;
mod exec;
mod export;
mod image;
mod inspect;
mod interrupt;
mod lab;
mod listening;
mod logs;
mod metrics;
mod narration;
mod network;
mod node;
mod output;
mod progress;
mod recorded;
mod remote_logs;
mod resolve;
mod rotation;
mod sandbox;
mod service;
mod session;
mod store;
mod system;
mod task;
pub mod typing;
mod update;
mod watch;

use crate::cli::{Builtin, Cli, Command, manual};
use crate::failure::{Exit, Failure};
use crate::killpoint;
use crate::render::template::{Template, Words};

/// What a command has to say on stdout, and its exit code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    pub text: String,
    pub exit: u8,
}

impl Report {
    pub fn good(text: impl Into<String>) -> Self {
        Self { text: text.into(), exit: Exit::Good as u8 }
    }

    /// The answer is bad, but it was found and told.
    pub fn bad(text: impl Into<String>) -> Self {
        Self { text: text.into(), exit: Exit::Bad as u8 }
    }

    /// One item a line.
    pub fn lines<T: std::fmt::Display>(items: impl IntoIterator<Item = T>) -> Self {
        Self::good(items.into_iter().map(|item| format!("{item}\n")).collect::<String>())
    }

    /// A value as JSON, for programs.
    pub fn json(value: &impl serde::Serialize) -> Result<Self, Failure> {
        let text = serde_json::to_string_pretty(value)
            .map_err(|error| Failure::new(Exit::Cannot, "print as JSON", error))?;
        Ok(Self::good(text + "\n"))
    }
}

/// Does a command.
///
/// # Errors
/// Why it was not done.
pub fn run(mut cli: Cli) -> Result<Report, Failure> {
    if let Some(report) = elsewhere::run(&mut cli)? {
        return Ok(report);
    }
    let template = cli.global.typed.template.clone();
    let page = manual::page(&cli.global.typed.command);
    let report = done(cli)?;
    match template {
        Some(template) => filled(&report, &template, page.map_or(&[], |page| page.words)),
        None => Ok(report),
    }
}

/// Prints what programs would get by a template.
fn filled(report: &Report, template: &Template, words: Words) -> Result<Report, Failure> {
    let data = serde_json::from_str(&report.text)
        .map_err(|error| Failure::new(Exit::Cannot, "read what there is to print", error))?;
    let text = template.render(&data, words).map_err(|error| typing::misfit(template, &error))?;
    Ok(Report { text, exit: report.exit })
}

fn done(cli: Cli) -> Result<Report, Failure> {
    let global = cli.global;
    killpoint::play(role(&cli.command));
    match cli.command {
        Command::Network(command) => network::run(&global, command),
        Command::Service(command) => service::run(&global, command),
        Command::Task(command) => task::run(&global, command),
        Command::Image(command) => image::run(&global, command),
        Command::Inspect(command) => inspect::run(&global, command),
        Command::Sandbox(command) => sandbox::run(&global, command),
        Command::Diag(command) => diag::run(&global, command),
        Command::Events(command) => events::run(&global, &command),
        Command::Export(command) => export::run(&global, command),
        Command::Node(command) => node::run(&global, command),
        Command::Lab(command) => lab::run(&global, command),
        Command::Agent(command) => agent::run(&global, command),
        Command::System(command) => system::run(&global, command),
        Command::Completions { shell } => Ok(documents::completions(shell)),
        Command::Man { directory } => documents::manual(directory.as_deref()),
        Command::Complete { words } => Ok(complete::run(words)),
        Command::Listeners => listening::here(),
        Command::Keeper { foreground, notify } => agent::keeper(&global, foreground, notify),
        Command::AgentProcess => agent::agent(&global),
        Command::StoreServer => agent::store_server(&global),
        Command::ApiServer => agent::api_server(&global),
        Command::LabNode => lab::prepare_node(&global),
        Command::LabInit => lab::run_init(&global),
        Command::Builtin(image) => builtin(image),
    }
}

/// Runs as a built-in image.
///
/// # Errors
/// Why it cannot.
pub fn builtin(image: Builtin) -> Result<Report, Failure> {
    match image {
        Builtin::Whoami { port } => agent::whoami(port),
        Builtin::Echo { port, greet } => agent::echo(port, greet),
        Builtin::Check => agent::check(),
    }
}

/// Which of swarmlb's processes a command makes of this one.
fn role(command: &Command) -> &'static str {
    match command {
        Command::Keeper { .. } => "keeper",
        Command::StoreServer => "store",
        Command::ApiServer => "api",
        Command::AgentProcess => "agent",
        Command::LabNode | Command::LabInit => "lab",
        _ => "command",
    }
}
