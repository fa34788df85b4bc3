//! `swarmlb task exec`: becomes the command, where the task is.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};

use super::Report;
use super::session::{Session, must_be_root};
use super::task::{found, here};
use crate::cli::Global;
use crate::cli::service::Variable;
use crate::environment::variable;
use crate::failure::{Exit, Failure};
use crate::keeper::child::World;
use crate::keeper::daemon::ENVIRONMENT;
use crate::keeper::record::Record;
use crate::kernel::program;
use crate::node::SandboxName;

/// What is run, and how.
pub struct Exec<'a> {
    pub name: &'a str,
    pub environment: &'a [Variable],
    pub workdir: Option<&'a Path>,
    pub command: &'a [String],
}

impl Exec<'_> {
    /// Becomes the command; returns only when that is not to be had.
    ///
    /// # Errors
    /// Always.
    pub fn run(&self, global: &Global) -> Result<Report, Failure> {
        let what = format!("run a command in task `{}`", self.name.escape_debug());
        let session = Session::new(global, what.as_str())?;
        let intent = session.intent()?;
        must_be_root(&what)?;
        let task = found(&intent, self.name, &what)?;
        here(&session, task, &what)?;
        let directory = session.state.task(&SandboxName::from(&task.name));
        let record = Record::read(&directory);
        let record = record.filter(|record| record.process.task == task.id && record.is_alive());
        let record = record.ok_or_else(|| super::task::not_running(task, &session, &what))?;
        if let Some(runtime) = &record.runtime {
            return super::contained::run(self, &record, runtime, &directory, &what);
        }
        let failed = |error: io::Error| Failure::io(what.as_str(), &error);
        let world = World::of(record.pid).map_err(failed)?;
        // Its number may have been given to another process before it was opened.
        if !record.is_alive() {
            return Err(super::task::not_running(task, &session, &what));
        }
        world.enter().map_err(failed)?;
        self.become_command(&record, &what)
    }

    fn become_command(&self, record: &Record, what: &str) -> Result<Report, Failure> {
        let own = record.process.environment.iter().map(|(name, value)| (&**name, value.clone()));
        let own = own.filter(|(name, _)| *name != crate::keeper::child::READY_FD);
        let asked = self.environment.iter().map(|v| (&*v.name, v.value.clone()));
        let terminal = variable("TERM").map(|terminal| ("TERM", terminal));
        let mut environment: Vec<(&str, String)> =
            ENVIRONMENT.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        environment.extend(terminal.into_iter().chain(own).chain(asked));
        let path = environment.iter().rfind(|(name, _)| *name == "PATH");
        let path = path.map_or("", |(_, path)| path.as_str());
        let workdir = Path::new("/").join(self.workdir.unwrap_or("/".as_ref()));
        std::env::set_current_dir(&workdir).map_err(|error| {
            let problem = format!("working directory {}: {}", workdir.display(), words(&error));
            Failure::new(Exit::NotRunnable, what, problem)
        })?;
        let (first, rest) = self
            .command
            .split_first()
            .ok_or_else(|| Failure::new(Exit::Usage, what, "the command is missing"))?;
        let missing = || {
            let problem = format!("there is no program `{}` in the task", first.escape_debug());
            Failure::new(Exit::NoCommand, what, problem)
        };
        let found = match first.contains('/') {
            true => PathBuf::from(first),
            false => program::find_on(path, first).ok_or_else(missing)?,
        };
        let mut command = program::command(found);
        command.args(rest).stdin(std::process::Stdio::inherit());
        let error = command.env_clear().envs(environment).exec();
        Err(match error.kind() {
            io::ErrorKind::NotFound => missing(),
            _ => {
                let problem = format!("`{}`: {}", first.escape_debug(), words(&error));
                Failure::new(Exit::NotRunnable, what, problem)
            }
        })
    }
}

fn words(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => {
            crate::kernel::Refusal::new(nix::errno::Errno::from_raw(number)).to_string()
        }
        None => error.to_string(),
    }
}
