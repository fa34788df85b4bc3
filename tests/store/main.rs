//! The stores: each through the one conformance suite, and the embedded one through what only it can suffer.

#![allow(
    clippy::disallowed_methods,
    reason = "tests start themselves anew and read their own variables"
)]

mod addresses;
mod conformance;
mod embedded;
#[cfg(feature = "etcd")]
mod etcd;
#[cfg(feature = "etcd")]
#[path = "../etcd_server/mod.rs"]
mod etcd_server;
mod lost_answer;
mod process;

use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use std::{io, thread};

use conformance::{LONG, Subject};
use swarmlb::store::client::Client;
use swarmlb::store::server;
use swarmlb::store::sqlite::{History, Sqlite};
use swarmlb::store::{Store, StoreError};
use tempfile::TempDir;

const HISTORY: History = History { revisions: 1000, bytes: 64 << 20 };

fn forget(store: &dyn Store) {
    for n in 0..=HISTORY.revisions {
        conformance::put(store, "forgotten/key", &n.to_string());
    }
}

/// The embedded store in this process.
struct InProcess {
    store: Sqlite,
    leases: Option<JoinHandle<()>>,
    _directory: TempDir,
}

impl InProcess {
    fn begin() -> Option<Self> {
        Some(Self::new())
    }

    fn new() -> Self {
        let directory = TempDir::new().expect("a directory");
        let store = Sqlite::open_with(&directory.path().join("store"), HISTORY).expect("it opens");
        let leases = store.clone();
        Self {
            store,
            leases: Some(thread::spawn(move || leases.run_leases())),
            _directory: directory,
        }
    }
}

impl Drop for InProcess {
    fn drop(&mut self) {
        self.store.close();
        self.leases.take().map(JoinHandle::join);
    }
}

impl Subject for InProcess {
    fn store(&self) -> Arc<dyn Store> {
        Arc::new(self.store.clone())
    }

    fn ttl(&self) -> Duration {
        Duration::from_millis(300)
    }

    fn forget_history(&self) {
        forget(&self.store);
    }
}

/// The embedded store behind its socket, served by a thread.
struct Served {
    client: Client,
    stop: Option<io::PipeWriter>,
    server: Option<JoinHandle<Result<(), StoreError>>>,
    directory: TempDir,
}

impl Served {
    fn begin() -> Option<Self> {
        Some(Self::new())
    }

    fn new() -> Self {
        Self::with_history(HISTORY)
    }

    fn with_history(history: History) -> Self {
        let directory = TempDir::new().expect("a directory");
        let (database, socket) = (directory.path().join("store"), directory.path().join("socket"));
        let (stopped, stop) = io::pipe().expect("a pipe");
        let server = {
            let socket = socket.clone();
            thread::spawn(move || server::serve_with(&database, &socket, history, stopped.as_fd()))
        };
        let client =
            Client::connect_within(&socket, LONG).expect("it is served").with_patience(LONG);
        Self { client, stop: Some(stop), server: Some(server), directory }
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("socket")
    }

    fn stop(&mut self) -> Result<(), StoreError> {
        drop(self.stop.take());
        self.server.take().expect("it was not stopped before").join().expect("it does not panic")
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.stop.take());
        self.server.take().map(JoinHandle::join);
    }
}

impl Subject for Served {
    fn store(&self) -> Arc<dyn Store> {
        Arc::new(self.client.clone())
    }

    fn ttl(&self) -> Duration {
        Duration::from_millis(300)
    }

    fn forget_history(&self) {
        forget(&self.client);
    }
}

macro_rules! conforms {
    ($name:ident, $subject:ty, [$($check:ident),* $(,)?]) => {
        mod $name {
            $(
                #[test]
                fn $check() {
                    if let Some(subject) = <$subject>::begin() {
                        crate::conformance::$check(&subject);
                    }
                }
            )*
        }
    };
}

macro_rules! suite {
    ($($name:ident: $subject:ty),*) => {
        $(conforms!($name, $subject, [
            a_key_that_must_be_absent_is_made_once,
            a_stale_transaction_conflicts_and_changes_nothing,
            a_transaction_is_one_revision,
            a_transaction_that_changes_nothing_makes_no_revision,
            what_no_store_takes_is_refused,
            a_prefix_is_compared_bytewise,
            a_key_made_again_is_new,
            a_watch_continues_where_a_load_ended,
            a_watch_sees_the_past,
            watches_miss_nothing_while_many_commit,
            a_hundred_concurrent_increments_lose_nothing,
            a_forgotten_past_is_said_to_be,
            a_lease_runs_out_with_its_keys,
            a_lease_kept_alive_lives_on,
            a_revoked_lease_takes_its_keys_at_once,
            a_lease_that_never_was_is_gone,
            maps_agree,
        ]);)*
    };
}

suite!(in_process: crate::InProcess, served: crate::Served);
#[cfg(feature = "etcd")]
suite!(on_etcd: crate::etcd::Etcd);

/// Whether this user is root; the tests that need it say so, and fail if `SWARMLB_TEST_REQUIRE` names it.
fn is_root() -> bool {
    has("root", nix::unistd::Uid::effective().is_root())
}

/// Whether a facility is there; the same holds for it.
fn has(facility: &str, is_there: bool) -> bool {
    let required = std::env::var("SWARMLB_TEST_REQUIRE").unwrap_or_default();
    assert!(
        is_there || !required.split(',').any(|word| word.trim() == facility),
        "this test needs {facility}"
    );
    if !is_there {
        eprintln!("not run: it needs {facility}");
    }
    is_there
}
