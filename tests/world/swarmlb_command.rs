//! The program itself, on a state directory of its own.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use swarmlb::environment::variable;
use swarmlb::kernel::{netns, program};

static COUNT: AtomicU32 = AtomicU32::new(0);

/// One node of one cluster. Dropped, it is reset.
pub struct Swarmlb {
    state: PathBuf,
}

impl Swarmlb {
    /// A state directory that is not there yet.
    pub fn new() -> Self {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        Self { state: format!("/run/swarmlb-test-{}-{number}", std::process::id()).into() }
    }

    /// On a state directory of the test's choice.
    pub fn at(state: &Path) -> Self {
        Self { state: state.to_owned() }
    }

    /// With the story's network and services.
    pub fn with_story() -> Self {
        let swarmlb = Self::new();
        swarmlb.good("network create --driver overlay --subnet 10.0.3.0/24 collabnet");
        swarmlb.good("service create --replicas 3 --name collabweb --network collabnet");
        swarmlb.good("service create --name collab-box --network collabnet");
        swarmlb
    }

    pub fn state(&self) -> &Path {
        &self.state
    }

    /// The program, with `line`'s words, ready to start.
    pub fn command(&self, line: &str) -> Command {
        let binary =
            variable("SWARMLB_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_swarmlb").to_owned());
        let mut command = program::command(binary);
        command.args(["--state-dir".as_ref(), self.state.as_os_str()]);
        // Where `--node` is said, it goes before the environment.
        command.args(line.split_whitespace()).env("SWARMLB_NODE", "node-1");
        command
    }

    pub fn run(&self, line: &str) -> Output {
        self.command(line).output().expect("the program starts")
    }

    /// What a command that must succeed printed.
    pub fn good(&self, line: &str) -> String {
        self.ending(line, 0).0
    }

    /// What a command that must end with `code` said: stdout and stderr.
    pub fn ending(&self, line: &str, code: i32) -> (String, String) {
        let output = self.run(line);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "`swarmlb {line}`\n{out}\n{err}");
        (out, err)
    }

    /// What a command printed as JSON, whatever its exit code.
    pub fn json(&self, line: &str) -> Value {
        let output = self.run(&format!("--format json {line}"));
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
            panic!("`swarmlb {line}`: {error}: {}", String::from_utf8_lossy(&output.stderr))
        })
    }

    /// The process numbers of a service's tasks, by slot.
    pub fn pids(&self, service: &str) -> Vec<i64> {
        let rows = self.json(&format!("service ps {service}"));
        let pid = |row: &Value| row["pid"].as_i64().expect("a running task");
        rows.as_array().expect("rows").iter().map(pid).collect()
    }

    /// The process number of `keeper`, `agent` or `store`; none while it is not there.
    pub fn role(&self, role: &str) -> Option<i64> {
        self.json("agent status")[role].as_i64()
    }

    /// Kills one of swarmlb's own processes as the kernel would when memory is short.
    pub fn kill(&self, role: &str) -> i64 {
        let pid = self.role(role).unwrap_or_else(|| panic!("there is no {role}"));
        kill(pid);
        pid
    }

    /// Waits until the node is whole: every process there, observed equals desired.
    pub fn whole(&self, longest: Duration) {
        super::within(
            "`agent status` is good",
            longest,
            || {
                let output = self.run("agent status");
                (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
            },
            |(code, _)| *code == Some(0),
        );
    }

    /// What `inspect vip` says of each sandbox's ladder: the steps that are broken.
    pub fn broken(&self, service: &str) -> std::collections::BTreeMap<String, Vec<String>> {
        let mut broken = std::collections::BTreeMap::new();
        let walks = self.json(&format!("inspect vip {service}"));
        for walk in walks.as_array().expect("walks") {
            for ladder in walk["ladders"].as_array().expect("ladders") {
                let rungs = ladder["rungs"].as_array().expect("rungs").iter();
                let faults = rungs.filter(|rung| rung["holds"] == false);
                let faults: Vec<String> =
                    faults.filter_map(|rung| rung["step"].as_str()).map(str::to_owned).collect();
                let sandbox = ladder["sandbox"].as_str().expect("a name").to_owned();
                if !faults.is_empty() {
                    broken.insert(sandbox, faults);
                }
            }
        }
        broken
    }

    /// Waits until no ladder of a service is broken.
    pub fn mended(&self, service: &str, longest: Duration) {
        let started = Instant::now();
        super::within("every rung holds", longest, || self.broken(service), |b| b.is_empty());
        println!("mended after {:.1} s", started.elapsed().as_secs_f64());
    }

    /// Ends everything and sees that the state directory is gone too.
    pub fn reset(self) {
        self.good("system reset --yes");
        assert!(!self.state.exists(), "the state directory is left");
    }
}

impl Drop for Swarmlb {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for log in ["agent.log", "keeper.log", "store.log"] {
                let text = std::fs::read_to_string(self.state.join(log)).unwrap_or_default();
                let last: Vec<&str> = text.lines().rev().take(40).collect();
                eprintln!("--- {log}, newest first\n{}", last.join("\n"));
            }
        }
        if self.state.exists() {
            self.run("system reset --yes");
            let _ = std::fs::remove_dir_all(&self.state);
        }
    }
}

/// SIGKILL.
pub fn kill(pid: i64) {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).expect("a process number"));
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).expect("the process is there");
}

/// Runs something inside a sandbox.
pub fn inside<T: Send>(sandbox: &str, work: impl FnOnce() -> T + Send) -> T {
    let namespace = netns::open(sandbox).expect("the sandbox is there");
    netns::within(namespace.as_fd(), work).expect("the sandbox can be entered")
}
