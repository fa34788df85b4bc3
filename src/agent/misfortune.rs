//! Tasks whose processes ended or could not be started, and what follows from the restart policy. It is
//! written into the task's directory, or a new agent would start anew what is to stay ended.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::status::TaskState;
use crate::intent::{Id, RestartPolicy};
use crate::keeper::protocol::Exit;
use crate::orchestrate::restart::{End, History, Verdict, Why};
use crate::render;

/// What happened to one process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// None when it could not be started.
    pub pid: Option<i32>,
    pub state: TaskState,
    /// What went wrong.
    pub error: String,
    pub exit: Option<Exit>,
    /// Whether it was ended for want of health.
    pub unhealthy: bool,
    pub lived: Duration,
    /// Milliseconds since 1970.
    pub at: u64,
}

impl Ended {
    /// How it ended, in words.
    pub fn told(exit: &Exit) -> (TaskState, String) {
        match exit {
            Exit::Code(0) => (TaskState::Complete, "exited with code 0".to_owned()),
            Exit::Code(code) => (TaskState::Failed, format!("exited with code {code}")),
            Exit::Signal(number) => {
                (TaskState::Failed, format!("killed by {}", render::task::signal(*number)))
            }
            Exit::Unseen => (TaskState::Failed, "ended while nobody watched".to_owned()),
            Exit::OutOfMemory => (TaskState::Failed, "OOM killed".to_owned()),
            Exit::NotStarted(words) => (TaskState::Rejected, words.clone()),
        }
    }
}

/// The misfortunes of one task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Misfortune {
    pub task: Id,
    pub state: TaskState,
    /// How it last ended or why it was not started, and what that led to.
    pub error: String,
    /// How its process ended; none when it could not be started.
    pub exit: Option<Exit>,
    pub unhealthy: bool,
    /// Of the process that ended.
    pid: Option<i32>,
    history: History,
    /// Why it is not started again; none when it is.
    over: Option<Why>,
    /// Seconds since 1970.
    pub since: u64,
    /// When it is started again, as far as this agent knows.
    #[serde(skip)]
    retry: Option<Instant>,
}

fn path(directory: &Path) -> PathBuf {
    directory.join("ended.json")
}

impl Misfortune {
    /// After one more end of a task.
    pub fn after(before: Option<&Self>, task: &Id, policy: &RestartPolicy, ended: Ended) -> Self {
        let before = before.filter(|before| before.task == *task);
        let mut history = before.map(|before| before.history.clone()).unwrap_or_default();
        let is_failure = ended.state != TaskState::Complete || ended.unhealthy;
        let verdict = history.ended(policy, End { is_failure, lived: ended.lived, at: ended.at });
        let (over, retry) = match verdict {
            Verdict::Again(pause) => (None, Some(Instant::now() + pause)),
            Verdict::Over(why) => (Some(why), None),
        };
        let error = match over {
            Some(Why::Attempts(most)) => {
                let attempts = render::english::count(most as usize, "attempt");
                format!("gave up after {attempts}: {}", ended.error)
            }
            Some(Why::Condition) if is_failure => format!("{}; not started again", ended.error),
            Some(Why::Condition) | None => ended.error,
        };
        Self {
            task: task.clone(),
            state: ended.state,
            error,
            exit: ended.exit,
            unhealthy: ended.unhealthy,
            pid: ended.pid,
            history,
            over,
            since: ended.at / 1000,
            retry,
        }
    }

    /// How often it ended in a row, without a steady while between.
    pub fn failures(&self) -> u32 {
        self.history.in_a_row
    }

    /// Whether the task is not started again.
    pub fn is_over(&self) -> bool {
        self.over.is_some()
    }

    /// When it is started again; none when it is not.
    pub fn retry(&self) -> Option<Instant> {
        self.retry
    }

    /// Whether its process shall not be there now.
    pub fn holds_back(&self, now: Instant) -> bool {
        self.is_over() || self.retry.is_some_and(|retry| retry > now)
    }

    /// Whether it tells of the end of this process.
    pub fn is_of(&self, pid: i32) -> bool {
        self.pid == Some(pid)
    }

    /// Reads what a former agent wrote; none when there is nothing.
    pub fn read(directory: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(path(directory)).ok()?).ok()
    }

    /// Writes it, whole or not at all.
    ///
    /// # Errors
    /// What the file system answered.
    pub fn write(&self, directory: &Path) -> std::io::Result<()> {
        std::fs::create_dir_all(directory)?;
        let new = directory.join("ended.new");
        std::fs::write(&new, serde_json::to_vec(self)?)?;
        std::fs::rename(&new, path(directory))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intent::restart::Condition;

    fn ended(exit: Exit) -> Ended {
        let (state, error) = Ended::told(&exit);
        let lived = Duration::ZERO;
        Ended { pid: Some(7), state, error, exit: Some(exit), unhealthy: false, lived, at: 5000 }
    }

    fn policy(condition: Condition, most: u32) -> RestartPolicy {
        let max_attempts = std::num::NonZeroU32::new(most);
        RestartPolicy { condition, max_attempts, ..RestartPolicy::default() }
    }

    #[test]
    fn the_words_say_what_follows() {
        let told = |policy: &RestartPolicy, code| {
            let first = Misfortune::after(None, &"t".into(), policy, ended(Exit::Code(code)));
            (first.state, first.error.clone(), first.is_over())
        };
        let again = policy(Condition::Any, 0);
        assert_eq!(told(&again, 3), (TaskState::Failed, "exited with code 3".into(), false));
        let never = policy(Condition::None, 0);
        let words = "exited with code 3; not started again";
        assert_eq!(told(&never, 3), (TaskState::Failed, words.into(), true));
        assert_eq!(told(&never, 0), (TaskState::Complete, "exited with code 0".into(), true));
        let once = policy(Condition::Any, 1);
        let first = Misfortune::after(None, &"t".into(), &once, ended(Exit::Signal(9)));
        assert!(!first.is_over() && first.holds_back(Instant::now()));
        let second = Misfortune::after(Some(&first), &"t".into(), &once, ended(Exit::Signal(9)));
        assert_eq!(second.error, "gave up after 1 attempt: killed by SIGKILL");
        assert!(second.is_over() && second.retry().is_none());
        let other = Misfortune::after(Some(&second), &"u".into(), &once, ended(Exit::Code(1)));
        assert!(!other.is_over(), "that is another task");
    }

    #[test]
    fn a_new_agent_knows_what_an_old_one_did() {
        let directory = tempfile::tempdir().unwrap();
        let never = policy(Condition::None, 0);
        let mut held = Misfortune::after(None, &"t".into(), &never, ended(Exit::Code(0)));
        let path = directory.path().join("t.1");
        held.write(&path).unwrap();
        held.retry = None;
        let read = Misfortune::read(&path).unwrap();
        assert_eq!(read, held);
        assert!(read.is_over() && read.is_of(7) && !read.is_of(8));
        assert!(read.holds_back(Instant::now()));
    }
}
