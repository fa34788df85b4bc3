//! Worlds for tests that need root: a process, mount and network namespace of their own, in which
//! swarmlb is at home and of which the machine sees nothing, neither during nor after.

pub mod agreement;
pub mod between;
mod counting;
pub mod evenness;
pub mod images;
pub mod intents;
mod lab;
pub mod machines;
mod node;
mod query;
pub mod registry;
mod swarmlb_command;
mod traffic;

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use swarmlb::environment::variable;
use swarmlb::kernel::program;

pub use counting::{Counted, Counting};
pub use lab::Lab;
pub use node::{Settled, assert_same, settled, without_processes};
pub use query::{answers, answers_by_stream};
pub use swarmlb_command::{Swarmlb, inside, kill};
pub use traffic::{
    Asking, Echo, Reply, Stream, datagram_greeting, echo, has_sctp, replies, request, request_at,
    sctp_greeting,
};

/// Says that this process is in a world of its own already.
const APART: &str = "SWARMLB_TEST_APART";
/// How long one test may take, on a slow machine that is busy.
const LONGEST: Duration = Duration::from_secs(240);
/// How long what ends may take to be gone.
const AFTERMATH: Duration = Duration::from_secs(10);

/// Whether this is the virtual machine: it is a world of its own.
pub fn in_vm() -> bool {
    variable("SWARMLB_IN_VM").is_some()
}

/// Whether a tier that cannot run is a failure.
pub fn required(facility: &str) -> bool {
    let required = variable("SWARMLB_TEST_REQUIRE").unwrap_or_default();
    required.split(',').any(|word| word.trim() == facility)
}

/// Runs a test in a world of its own, and sees to it that the test leaves nothing in it. Without
/// root the test is skipped.
pub fn apart<F: FnOnce()>(test: F) {
    if in_vm() || variable(APART).is_some() {
        let before = Remains::seen();
        let begun = Instant::now();
        if let Err(panic) = std::panic::catch_unwind(std::panic::AssertUnwindSafe(test)) {
            before.restore();
            std::panic::resume_unwind(panic);
        }
        println!("took {:.1} s", begun.elapsed().as_secs_f64());
        let left = || Remains::seen().beyond(&before);
        within("nothing is left by the test", AFTERMATH, left, Remains::is_empty);
        return;
    }
    if !nix::unistd::geteuid().is_root() {
        assert!(!required("root"), "this test needs root");
        println!("skipped: needs root");
        return;
    }
    run_again(&test_name::<F>());
}

/// The test's name, from the type of the closure that is its body: a closure written in the test,
/// for a function has a name of its own.
fn test_name<F>() -> String {
    let path = std::any::type_name::<F>();
    let path = path.trim_end_matches("::{{closure}}");
    path.split_once("::").map_or(path, |(_, name)| name).to_owned()
}

/// The shell stays the world's first process: it reaps what is left to it.
const ENTRY: &str = "mount -t tmpfs -o mode=755 tmpfs /run && ip link set lo up && \"$@\"; exit $?";

fn run_again(name: &str) {
    let me = std::env::current_exe().expect("this executable's path");
    let child = program::command("unshare")
        .args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"])
        .args(["sh", "-c", ENTRY, "sh"])
        .arg(me)
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(APART, "yes")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("unshare starts");
    let output = ended(child, LONGEST);
    let said = String::from_utf8_lossy(&output.stdout);
    // A name that fits no test would be a test that cannot fail.
    if output.status.success() && said.contains("test result: ok. 1 passed") {
        let own = |line: &&str| !line.starts_with("running ") && !line.starts_with("test ");
        said.lines().filter(own).for_each(|line| println!("{line}"));
        return;
    }
    // Set off, so that nobody takes its result for one of this run's.
    let errors = String::from_utf8_lossy(&output.stderr);
    said.lines().chain(errors.lines()).for_each(|line| println!("  | {line}"));
    panic!("`{name}` failed in its world ({})", output.status);
}

/// Waits for a process; one that takes too long is killed, and its world with it.
fn ended(child: std::process::Child, longest: Duration) -> Output {
    let pid = nix::unistd::Pid::from_raw(child.id() as i32);
    let (sender, receiver) = std::sync::mpsc::channel::<()>();
    let watchman = std::thread::spawn(move || {
        let over = std::sync::mpsc::RecvTimeoutError::Timeout;
        if receiver.recv_timeout(longest) == Err(over) {
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
        }
    });
    let output = child.wait_with_output().expect("its end is seen");
    drop(sender);
    watchman.join().expect("the watchman ends");
    output
}

/// Looks until what is seen is as it should be, and returns that; panics with the last look.
pub fn within<T: Debug>(
    what: &str,
    longest: Duration,
    mut look: impl FnMut() -> T,
    good: impl Fn(&T) -> bool,
) -> T {
    let deadline = Instant::now() + longest;
    loop {
        let seen = look();
        if good(&seen) {
            return seen;
        }
        assert!(Instant::now() < deadline, "not within {longest:?}: {what}; last seen: {seen:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Runs a shell line and returns what it printed. Not by `sh`: busybox's takes its own `ip` for
/// the machine's.
pub fn shell(line: &str) -> String {
    let output = program::command("bash").args(["-ec", line]).output().expect("a shell");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "`{line}` failed: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What a test could leave behind.
#[derive(Debug)]
struct Remains {
    namespaces: BTreeSet<String>,
    processes: BTreeSet<String>,
    mounts: BTreeSet<String>,
    links: BTreeSet<String>,
}

impl Remains {
    fn seen() -> Self {
        let names = |directory: &str| -> BTreeSet<String> {
            let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
            entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
        };
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let bound = mounts.lines().filter(|line| line.contains(" - nsfs "));
        // This thread's, for /sys shows the links of the namespace that it was mounted in.
        let links = std::fs::read_to_string("/proc/thread-self/net/dev").unwrap_or_default();
        let links = links.lines().skip(2).filter_map(|line| line.split(':').next());
        Self {
            namespaces: names("/run/netns"),
            processes: processes(),
            mounts: bound.map(str::to_owned).collect(),
            links: links.map(|name| name.trim().to_owned()).collect(),
        }
    }

    /// Ends and removes what a failed test left, so that the next one in the same machine is not
    /// blamed for it.
    fn restore(&self) {
        let left = Self::seen().beyond(self);
        for process in &left.processes {
            let pid = process.split(' ').next().and_then(|pid| pid.parse().ok());
            if let Some(pid) = pid.map(nix::unistd::Pid::from_raw) {
                let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
            }
        }
        for name in &left.namespaces {
            let _ = swarmlb::kernel::netns::remove(name);
        }
    }

    fn beyond(self, before: &Self) -> Self {
        let new = |now: BTreeSet<String>, then: &BTreeSet<String>| &now - then;
        Self {
            namespaces: new(self.namespaces, &before.namespaces),
            processes: new(self.processes, &before.processes),
            mounts: new(self.mounts, &before.mounts),
            links: new(self.links, &before.links),
        }
    }

    fn is_empty(&self) -> bool {
        [&self.namespaces, &self.processes, &self.mounts, &self.links]
            .iter()
            .all(|set| set.is_empty())
    }
}

/// Every process but this one and the kernel's own, by number and command.
fn processes() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.parse::<u32>().is_ok_and(|pid| pid != std::process::id()) {
            let command = std::fs::read(Path::new("/proc").join(&name).join("cmdline"));
            let command = String::from_utf8_lossy(&command.unwrap_or_default()).replace('\0', " ");
            // A kernel thread has none, and neither has what ended and is about to be reaped.
            if !command.is_empty() {
                found.insert(format!("{name} {command}"));
            }
        }
    }
    found
}
