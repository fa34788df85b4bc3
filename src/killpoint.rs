//! Places at which this process may be killed by a test, as the kernel or a power cut would.
//!
//! They are in the shipped binary: what is tested is what runs. Without `SWARMLB_KILLPOINTS` they cost a
//! look at a flag. With it, the directory that it names holds
//!
//! - `passed`: a line for every point that was passed, by its role and name;
//! - `kill`: `ROLE NUMBER` or `ROLE NAME`: whoever of that role passes its NUMBERth point, or the first of
//!   that name, takes the file away and is killed there.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock, PoisonError};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::environment::variable;

/// Names the directory.
pub const VARIABLE: &str = "SWARMLB_KILLPOINTS";

/// Which of swarmlb's processes this is.
static ROLE: OnceLock<&'static str> = OnceLock::new();
static DIRECTORY: OnceLock<Option<PathBuf>> = OnceLock::new();
static ONE_BY_ONE: Mutex<()> = Mutex::new(());

/// Says which of swarmlb's processes this is; `command` when nothing is said.
pub fn play(role: &'static str) {
    let _ = ROLE.set(role);
}

/// Whether a test counts points: then nothing goes in batches, so that there is a point between any
/// two operations.
pub fn is_armed() -> bool {
    directory().is_some()
}

fn directory() -> Option<&'static PathBuf> {
    DIRECTORY.get_or_init(|| variable(VARIABLE).map(PathBuf::from)).as_ref()
}

/// Passes a point, or dies there.
pub fn pass(name: impl FnOnce() -> String) {
    let Some(directory) = directory() else { return };
    let _alone = ONE_BY_ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let role = ROLE.get().copied().unwrap_or("command");
    let passed = directory.join("passed");
    let name = name().replace('\n', " ");
    let line = format!("{role} {name}\n");
    let noted = OpenOptions::new().append(true).create(true).open(&passed);
    if noted.and_then(|mut file| file.write_all(line.as_bytes())).is_err() {
        return;
    }
    let order = directory.join("kill");
    let Ok(text) = std::fs::read_to_string(&order) else { return };
    let Some((whom, which)) = text.trim().split_once(' ') else { return };
    let lines = std::fs::read_to_string(&passed).unwrap_or_default();
    let count = lines.lines().filter(|line| line.split(' ').next() == Some(role)).count();
    let is_due = match which.parse::<usize>() {
        Ok(number) => count >= number,
        Err(_) => which == name,
    };
    let due = whom == role && is_due;
    if due && std::fs::rename(&order, directory.join("killed")).is_ok() {
        let _ = kill(Pid::this(), Signal::SIGKILL);
    }
}
