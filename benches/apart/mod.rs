//! A world for benches that run the program itself: a process, mount and network namespace of its
//! own, which ends with the bench.
// Each bench uses what it needs.
#![allow(dead_code)]

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use swarmlb::environment::variable;
use swarmlb::kernel::program;

use crate::report::{self, Row};

/// Says that this process is in a world of its own already.
const APART: &str = "SWARMLB_BENCH_APART";
/// The shell stays the world's first process: it reaps what is left to it.
const ENTRY: &str = "mount -t tmpfs -o mode=755 tmpfs /run && ip link set lo up && \"$@\"; exit $?";

pub type Failure = Box<dyn std::error::Error>;

/// A program that must be there, and the Debian package that has it.
pub type Need = (&'static str, &'static str);

/// Whether this process is in a world of its own.
pub fn is_apart() -> bool {
    variable(APART).is_some()
}

/// Runs this program again, in a world of its own.
///
/// # Errors
/// When a program is missing that it needs, or root.
pub fn go_apart(needs: &[Need]) -> Result<ExitCode, Failure> {
    if !nix::unistd::geteuid().is_root() {
        return Err("it needs root, for a network namespace".into());
    }
    for (name, package) in needs.iter().chain(&[("nft", "nftables"), ("ip", "iproute2")]) {
        program::find(name)
            .ok_or_else(|| format!("{name} is missing; Debian has it as {package}"))?;
    }
    let status = program::command("unshare")
        .args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"])
        .args(["sh", "-c", ENTRY, "sh"])
        .arg(std::env::current_exe()?)
        .args(std::env::args_os().skip(1))
        .env(APART, "yes")
        .status()?;
    Ok(ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(3)))
}

/// A bench's whole life: measures in a world of its own, prints the rows, and tells how it ended.
pub fn run(needs: &[Need], measure: fn() -> Result<Vec<Row>, Failure>) -> ExitCode {
    let measured = match () {
        () if !std::env::args().any(|word| word == "--bench") => {
            println!("measures only for `cargo bench`");
            return ExitCode::SUCCESS;
        }
        () if is_apart() => measure().map(|rows| report::report(&rows)),
        () => go_apart(needs),
    };
    measured.unwrap_or_else(|failure| report::cannot(&failure.to_string(), "see CONTRIBUTING.md"))
}

/// One node of one cluster. Dropped, it is reset.
pub struct Swarmlb {
    pub state: PathBuf,
}

impl Swarmlb {
    pub fn new() -> Self {
        Self { state: "/run/swarmlb-bench".into() }
    }

    /// The program, with `line`'s words, ready to start.
    pub fn command(&self, line: &str) -> Command {
        let mut command = program::command(env!("CARGO_BIN_EXE_swarmlb"));
        command.args(["--state-dir".as_ref(), self.state.as_os_str()]);
        command.args(line.split_whitespace()).env("SWARMLB_NODE", "node-1");
        command
    }

    /// What it prints.
    ///
    /// # Errors
    /// When it does not end well.
    pub fn run(&self, line: &str) -> Result<String, Failure> {
        let output = self.command(line).output()?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(format!("`swarmlb {line}`: {said}").into());
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    /// The process number of `keeper`, `agent` or `store`.
    ///
    /// # Errors
    /// When it is not there.
    pub fn role(&self, role: &str) -> Result<i32, Failure> {
        let status: serde_json::Value =
            serde_json::from_str(&self.run("--format json agent status")?)?;
        let pid = status[role].as_i64().ok_or_else(|| format!("there is no {role}"))?;
        Ok(pid.try_into()?)
    }
}

impl Drop for Swarmlb {
    fn drop(&mut self) {
        let _ = self.run("system reset --yes");
    }
}
