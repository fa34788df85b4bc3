//! A check by a command in a container: the runtime that started it lets the command in, as the user, with
//! the rights and in the directory that the container's own program has.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::keeper::container;
use crate::keeper::record::Record;
use crate::kernel::cgroup::Group;

/// What marks whatever a check started, so that it is found among what else runs in the container.
const MARK: &str = "SWARMLB_CHECK";

/// A command for a container. Its files are gone when this is.
pub struct Contained {
    /// As it stands in the environment.
    mark: String,
    group: Option<Group>,
    process: PathBuf,
    log: PathBuf,
}

impl Contained {
    /// Lays it out, and tells what starts it; none for a task that is no container.
    ///
    /// # Errors
    /// What the file system answered.
    pub fn of(directory: &Path, words: &[String]) -> io::Result<Option<(Self, Command)>> {
        let record = Record::read(directory);
        let Some((record, runtime)) = record.and_then(|r| Some((r.clone(), r.runtime?))) else {
            return Ok(None);
        };
        let home = container::home(directory);
        let number = std::process::id();
        let contained = Self {
            mark: format!("{MARK}={number}"),
            group: record.group.as_deref().map(Group::new),
            process: home.join(format!("check-{number}.json")),
            log: home.join(format!("check-{number}.log")),
        };
        let config: Value = serde_json::from_slice(&std::fs::read(home.join("config.json"))?)?;
        let process = process(&config, words, &contained.mark);
        std::fs::write(&contained.process, process.to_string())?;
        let mut command = container::runtime(&runtime, directory);
        command.arg("--log").arg(&contained.log).args(["--log-format", "json", "exec"]);
        command.arg("--process").arg(&contained.process).arg(record.sandbox.as_str());
        Ok(Some((contained, command)))
    }

    /// Why the runtime did not let the command in; none when it did.
    pub fn refusal(&self) -> Option<String> {
        container::complaint(&self.log)
    }

    /// Kills what the command left; true when there was something.
    pub fn purge(&self) -> bool {
        let pids = self.group.as_ref().map(Group::pids).unwrap_or_default();
        let left: Vec<i32> = pids.into_iter().filter(|pid| is_marked(*pid, &self.mark)).collect();
        for pid in &left {
            let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
        }
        !left.is_empty()
    }
}

impl Drop for Contained {
    fn drop(&mut self) {
        let files = [&self.process, &self.log];
        files.into_iter().for_each(|file| drop(std::fs::remove_file(file)));
    }
}

/// The container's own process, but for its words and the mark.
fn process(config: &Value, words: &[String], mark: &str) -> Value {
    let mut process = config["process"].clone();
    process["args"] = json!(words);
    process["terminal"] = json!(false);
    if let Some(environment) = process["env"].as_array_mut() {
        environment.push(json!(mark));
    }
    process
}

fn is_marked(pid: i32, mark: &str) -> bool {
    let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_is_as_the_containers_own_process_with_other_words() {
        let config = json!({ "process": {
            "args": ["nginx"], "cwd": "/srv", "user": { "uid": 33 }, "env": ["PATH=/bin"],
            "noNewPrivileges": true,
        }});
        let words = ["/bin/sh".to_owned(), "-c".to_owned(), "test -e x".to_owned()];
        let expected = json!({
            "args": ["/bin/sh", "-c", "test -e x"], "cwd": "/srv", "user": { "uid": 33 },
            "env": ["PATH=/bin", "SWARMLB_CHECK=7"], "noNewPrivileges": true, "terminal": false,
        });
        assert_eq!(process(&config, &words, "SWARMLB_CHECK=7"), expected);
    }

    #[test]
    fn a_process_is_known_by_its_mark() {
        let name = std::env::vars().next().map(|(name, value)| format!("{name}={value}")).unwrap();
        let own = std::process::id() as i32;
        assert!(is_marked(own, &name));
        assert!(!is_marked(own, "SWARMLB_CHECK=no"));
    }
}
