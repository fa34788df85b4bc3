//! A change of the intent, from the edit to the wait: what every command that changes something
//! does alike.

use std::time::Instant;

use super::Report;
use super::convergence::{Wait, Waited, pending};
use super::interrupt;
use super::narration::tell;
use super::session::Session;
use crate::cli::Global;
use crate::failure::Failure;
use crate::intent::{Intent, IntentError, Mode, ServiceName};
use crate::orchestrate::placement;

/// How far a command goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// It prints what it would do.
    DryRun,
    /// It commits and ends.
    Commit,
    /// It waits until what was asked for is so.
    Converged,
}

impl Reach {
    pub fn of(dry_run: bool, detach: bool) -> Self {
        match (dry_run, detach) {
            (true, _) => Self::DryRun,
            (false, true) => Self::Commit,
            (false, false) => Self::Converged,
        }
    }
}

/// What is changed, and for whom it is waited.
pub struct Change<'a> {
    pub global: &'a Global,
    pub session: &'a Session,
    pub what: &'a str,
    pub services: &'a [ServiceName],
    pub reach: Reach,
}

impl Change<'_> {
    /// Makes a change; `told` is what the command prints when it is done.
    ///
    /// # Errors
    /// What the edit or the kernel refused, or when a task does not start.
    pub fn make(
        &self,
        told: String,
        edit: impl Fn(&mut Intent) -> Result<(), IntentError>,
    ) -> Result<Report, Failure> {
        if self.reach == Reach::DryRun {
            return self.session.dry_run(edit);
        }
        // Where nothing ever was, nothing is started only to refuse.
        if self.session.is_fresh() {
            self.session.dry_run(&edit)?;
        }
        let store = self.session.store()?;
        if self.reach == Reach::Converged {
            // What is committed goes on, so from here on Ctrl-C only ends the waiting.
            interrupt::listen();
        }
        let committed = self.session.edit(&store, edit)?;
        self.tell_of_no_node(&committed.after);
        if self.reach == Reach::Commit {
            self.tell_what_waits(&committed.after);
            return Ok(Report::good(told));
        }
        let wait = Wait {
            session: self.session,
            store: &store,
            what: self.what,
            quiet: self.global.quiet,
            services: self.services,
        };
        let begun = Instant::now();
        match wait.until(&committed)? {
            Waited::Done => {
                self.session
                    .narration()
                    .step(|| format!("it is so after {:.1} s", begun.elapsed().as_secs_f64()));
                Ok(Report::good(told))
            }
            Waited::LeftGoing => Ok(Report::good("")),
        }
    }

    /// Who does not wait learns here which tasks have no place yet.
    fn tell_what_waits(&self, after: &Intent) {
        for (name, pending) in pending(after, self.services) {
            tell(&format!("{name} waits for a place: {}", pending.reason));
        }
    }

    /// A global service has what was asked for when no node may run it, but hardly what was meant.
    fn tell_of_no_node(&self, after: &Intent) {
        let services = self.services.iter().filter_map(|name| after.services.get(name));
        for service in services.filter(|service| service.mode == Mode::Global) {
            if service.replicas == 0 {
                let why = placement::obstacles(after, service);
                tell(&format!("no node may run `{}` yet: {why}", service.name));
            }
        }
    }
}
