//! The server as a process of its own: killed, stopped, and asked by strangers.

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, Permissions};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use swarmlb::store::client::Client;
use swarmlb::store::server;
use swarmlb::store::{Commit, Event, Object, Revision, Store, StoreError, Transaction};
use tempfile::TempDir;

use crate::conformance::{LONG, put, replay};
use crate::is_root;

const DIRECTORY: &str = "SWARMLB_TEST_STORE_DIRECTORY";
const NOBODY: u32 = 65534;

fn asked() -> Option<PathBuf> {
    env::var_os(DIRECTORY).map(PathBuf::from)
}

#[test]
#[ignore = "the server process of the other tests"]
fn serve_when_asked() {
    let Some(directory) = asked() else { return };
    let served = server::serve(
        &directory.join("store"),
        &directory.join("socket"),
        std::io::stdin().as_fd(),
    );
    served.expect("it serves until its standard input ends");
}

#[test]
#[ignore = "the stranger of the other tests"]
fn be_denied_when_asked() {
    let Some(directory) = asked() else { return };
    let denied = Client::connect(&directory.join("socket")).expect_err("a stranger");
    assert!(matches!(denied, StoreError::Denied { .. }), "{denied:?}");
}

fn this_program(role: &str, directory: &Path) -> Command {
    let mut command = Command::new(env::current_exe().expect("it has a path"));
    command.args(["--ignored", "--exact", role]).env(DIRECTORY, directory);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

struct Server {
    child: Child,
}

impl Server {
    fn start(directory: &Path) -> Self {
        let child =
            this_program("process::serve_when_asked", directory).spawn().expect("it starts");
        Self { child }
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).expect("a pid"));
        kill(pid, signal).expect("it is there");
    }

    fn kill(mut self) {
        self.child.kill().expect("it is there");
        self.child.wait().expect("it is dead");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _dead = self.child.kill();
        let _reaped = self.child.wait();
    }
}

#[test]
fn what_was_acknowledged_outlives_kill_9_and_clients_go_on() {
    const CLIENTS: usize = 4;
    const KILLS: u64 = 8;
    let directory = TempDir::new().expect("a directory");
    let mut server = Server::start(directory.path());
    let client = || {
        let client =
            Client::connect_within(&directory.path().join("socket"), LONG).expect("it is served");
        client.with_patience(LONG)
    };
    put(&client(), "counter", "0");
    let (acknowledged, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        let (watcher, stop_word) = (client(), &stop);
        let watching = scope.spawn(move || follow(&watcher, stop_word));
        let writers: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let (client, acknowledged, stop) = (client(), &acknowledged, &stop);
                scope.spawn(move || count(&client, number, acknowledged, stop))
            })
            .collect();
        for kill in 1..=KILLS {
            await_count(&acknowledged, kill * 40);
            server.kill();
            server = Server::start(directory.path());
        }
        await_count(&acknowledged, (KILLS + 1) * 40);
        stop.store(true, Ordering::SeqCst);
        let written: Vec<String> =
            writers.into_iter().flat_map(|writer| writer.join().expect("it went on")).collect();
        let snapshot = client().load("").expect("it loads");
        let objects: BTreeMap<String, Object> =
            snapshot.objects.into_iter().map(|object| (object.key.clone(), object)).collect();
        assert!(written.iter().all(|key| objects.contains_key(key)));
        assert_eq!(objects["counter"].value, written.len().to_string(), "each was counted once");
        assert_eq!(objects.len(), written.len() + 1);
        put(&client(), "end", "0");
        let (watched, end) = watching.join().expect("it went on");
        assert_eq!(end, snapshot.revision.next());
        assert_eq!(watched, objects);
    });
}

pub fn await_count(acknowledged: &AtomicU64, count: u64) {
    let deadline = Instant::now() + LONG;
    while acknowledged.load(Ordering::SeqCst) < count {
        assert!(Instant::now() < deadline, "the clients did not go on");
        thread::yield_now();
    }
}

/// Counts in the store, leaving a key for each number, and returns the keys that were acknowledged.
pub fn count(
    client: &dyn Store,
    number: usize,
    acknowledged: &AtomicU64,
    stop: &AtomicBool,
) -> Vec<String> {
    let mut written = Vec::new();
    while !stop.load(Ordering::SeqCst) {
        let counter = client.load("counter").expect("it loads").objects.remove(0);
        let value: u64 = counter.value.parse().expect("a number");
        let key = format!("w{number}/{}", written.len());
        let change = Transaction::new()
            .require("counter", counter.modified)
            .require_absent(&key)
            .put("counter", (value + 1).to_string())
            .put(&key, "1");
        match client.commit(&change).expect("it answers") {
            Commit::Done(_) => {
                written.push(key);
                acknowledged.fetch_add(1, Ordering::SeqCst);
            }
            Commit::Conflict { key, .. } => {
                assert_eq!(key, "counter", "only another counts in between")
            }
        }
    }
    written
}

/// Follows everything until the key `end`, without a gap.
pub fn follow(client: &dyn Store, stop: &AtomicBool) -> (BTreeMap<String, Object>, Revision) {
    let mut watch = client.watch("", Revision::NEVER).expect("it watches");
    let (mut map, mut seen) = (BTreeMap::new(), Revision(1));
    let deadline = Instant::now() + LONG * 4;
    loop {
        assert!(Instant::now() < deadline, "at {seen}, stopped: {stop:?}");
        let Some(batch) = watch.next(Duration::from_millis(100)).expect("the watch goes on") else {
            continue;
        };
        assert_eq!(batch.revision, seen.next());
        seen = batch.revision;
        if batch.events.iter().any(|event| event.key() == "end") {
            return (map, seen);
        }
        replay(&mut map, &batch);
    }
}

#[test]
fn a_second_server_is_refused_by_the_first_ones_pid() {
    let directory = TempDir::new().expect("a directory");
    let first = Server::start(directory.path());
    let client =
        Client::connect_within(&directory.path().join("socket"), LONG).expect("it is served");
    let (stopped, _stop) = std::io::pipe().expect("a pipe");
    let socket = directory.path().join("second");
    let refused = server::serve(&directory.path().join("store"), &socket, stopped.as_fd())
        .expect_err("it is served");
    let pid = first.child.id();
    assert!(
        matches!(refused, StoreError::AlreadyServed { pid: Some(found), .. } if found == pid),
        "{refused}"
    );
    assert!(!socket.exists());
    put(&client, "a", "1");
}

#[test]
fn a_lease_has_its_full_term_again_after_a_restart() {
    let ttl = Duration::from_millis(1500);
    let directory = TempDir::new().expect("a directory");
    let server = Server::start(directory.path());
    let socket = directory.path().join("socket");
    let client = Client::connect_within(&socket, LONG).expect("it is served").with_patience(LONG);
    let lease = client.grant(ttl).expect("it grants");
    let put = client.commit(&Transaction::new().put_leased("l", "1", lease)).expect("it answers");
    let Commit::Done(revision) = put else { panic!("nothing was required") };
    let mut watch = client.watch("", revision).expect("it watches");
    assert_eq!(watch.next(ttl / 2).expect("the watch goes on"), None);
    server.kill();
    let restarted = Instant::now();
    let _server = Server::start(directory.path());
    client.keep_alive(lease).expect("it lives");
    let batch = watch.next(LONG).expect("the watch goes on").expect("the lease runs out");
    assert!(restarted.elapsed() >= ttl);
    assert_eq!(batch.events, [Event::Delete { key: "l".to_owned(), revision: revision.next() }]);
}

#[test]
fn a_server_that_was_stopped_leaves_commits_uncertain_and_takes_no_lease() {
    let directory = TempDir::new().expect("a directory");
    let server = Server::start(directory.path());
    let client =
        Client::connect_within(&directory.path().join("socket"), LONG).expect("it is served");
    let lease = client.grant(Duration::from_secs(2)).expect("it grants");
    server.signal(Signal::SIGSTOP);
    let hasty = client.clone().with_patience(Duration::from_secs(4));
    let uncertain = hasty.commit(&Transaction::new().put("a", "1"));
    assert!(matches!(uncertain, Err(StoreError::Uncertain { .. })), "{uncertain:?}");
    server.signal(Signal::SIGCONT);
    client.keep_alive(lease).expect("nobody could keep it alive");
}

#[test]
fn a_stranger_is_denied_whatever_the_modes_of_the_files() {
    if !is_root() {
        return;
    }
    let directory = TempDir::new().expect("a directory");
    let _server = Server::start(directory.path());
    let socket = directory.path().join("socket");
    drop(Client::connect_within(&socket, LONG).expect("root is let in"));
    fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).expect("it is ours");
    for mode in [0o600, 0o666] {
        fs::set_permissions(&socket, Permissions::from_mode(mode)).expect("it is ours");
        let mut stranger = this_program("process::be_denied_when_asked", directory.path());
        let output = stranger.uid(NOBODY).gid(NOBODY).output().expect("it starts");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "mode {mode:o}: {said}");
    }
}
