//! Commands: what was typed becomes what was meant, is done, and is told.

mod agent;
mod attachment;
mod change;
mod confirmation;
mod convergence;
mod diag;
mod documents;
mod inspect;
mod interrupt;
mod logs;
mod network;
mod sandbox;
mod service;
mod session;
mod system;

use crate::cli::{Builtin, Cli, Command};
use crate::failure::{Exit, Failure};

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
pub fn run(cli: Cli) -> Result<Report, Failure> {
    let global = cli.global;
    match cli.command {
        Command::Network(command) => network::run(&global, command),
        Command::Service(command) => service::run(&global, command),
        Command::Inspect(command) => inspect::run(&global, command),
        Command::Sandbox(command) => sandbox::run(&global, command),
        Command::Diag(command) => diag::run(&global, command),
        Command::Agent(command) => agent::run(&global, command),
        Command::System(command) => system::run(&global, command),
        Command::Completions { shell } => Ok(documents::completions(shell)),
        Command::Man { directory } => documents::manual(directory.as_deref()),
        Command::Keeper => agent::keeper(&global),
        Command::StoreServer => agent::store_server(&global),
        Command::Builtin(Builtin::Whoami { port }) => agent::whoami(port),
    }
}
