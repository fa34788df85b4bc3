//! What only a database in a file can suffer: its disk, its neighbours, its past and its future.

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};
use std::{io, thread};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use rusqlite::Connection;
use swarmlb::store::client::Client;
use swarmlb::store::server;
use swarmlb::store::sqlite::{History, Sqlite};
use swarmlb::store::{Commit, Revision, Store, StoreError, Transaction};
use tempfile::TempDir;

use crate::conformance::{LONG, done, next, put};
use crate::{Served, is_root};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("it is there").permissions().mode() & 0o777
}

#[test]
fn its_files_are_for_the_owner_only() {
    let served = Served::new();
    put(&served.client, "a", "1");
    for name in ["store", "store-wal", "store-shm", "store.lock", "socket"] {
        assert_eq!(mode(&served.directory.path().join(name)), 0o600, "{name}");
    }
}

#[test]
fn a_store_opened_again_is_where_it_was() {
    let directory = TempDir::new().expect("a directory");
    let path = directory.path().join("store");
    let (identity, before) = {
        let store = Sqlite::open(&path).expect("it opens");
        put(&store, "a", "1");
        put(&store, "a", "2");
        (store.identity().to_owned(), store.load("").expect("it loads"))
    };
    let store = Sqlite::open(&path).expect("it opens again");
    assert_eq!(store.identity(), identity);
    assert_eq!(store.load("").expect("it loads"), before);
    let mut watch = store.watch("", Revision::NEVER).expect("it remembers everything");
    assert_eq!(next(&mut *watch).revision, Revision(2));
    assert_eq!(put(&store, "b", "1"), before.revision.next());
}

#[test]
fn a_database_from_a_newer_version_is_refused_untouched() {
    let directory = TempDir::new().expect("a directory");
    let path = directory.path().join("store");
    drop(Sqlite::open(&path).expect("it opens"));
    Connection::open(&path)
        .expect("it opens")
        .pragma_update(None, "user_version", 7)
        .expect("it writes");
    let before = fs::read(&path).expect("it is there");
    let refused = Sqlite::open(&path).expect_err("it is newer");
    assert!(matches!(refused, StoreError::NewerVersion { found: 7, known: 1 }), "{refused}");
    assert_eq!(fs::read(&path).expect("it is there"), before);
}

#[test]
fn another_programs_database_is_refused() {
    let directory = TempDir::new().expect("a directory");
    let path = directory.path().join("store");
    Connection::open(&path)
        .expect("it opens")
        .execute_batch("CREATE TABLE t (c)")
        .expect("it writes");
    let refused = Sqlite::open(&path).expect_err("it is not ours");
    assert!(matches!(refused, StoreError::Database { .. }), "{refused}");
}

#[test]
fn what_is_no_database_is_corrupt() {
    let directory = TempDir::new().expect("a directory");
    let path = directory.path().join("store");
    fs::write(&path, "no database at all ".repeat(400)).expect("it writes");
    let refused = Sqlite::open(&path).expect_err("it is not one");
    assert!(matches!(refused, StoreError::Corrupt { .. }), "{refused}");
}

#[test]
fn a_directory_that_is_not_there_is_said() {
    let refused = Sqlite::open(Path::new("/nonexistent/store")).expect_err("there is no directory");
    assert!(matches!(refused, StoreError::Unreachable { .. }), "{refused}");
}

#[test]
fn a_second_owner_is_refused_by_name() {
    let served = Served::new();
    let database = served.directory.path().join("store");
    let refused = Sqlite::open(&database).expect_err("it is owned");
    let here = std::process::id();
    assert!(
        matches!(refused, StoreError::AlreadyServed { pid: Some(pid), .. } if pid == here),
        "{refused}"
    );
}

fn serve_here(database: &Path, socket: &Path) -> Result<(), StoreError> {
    let (stopped, _stop) = io::pipe().expect("a pipe");
    server::serve(database, socket, stopped.as_fd())
}

#[test]
fn a_socket_at_which_somebody_answers_is_left_alone() {
    let served = Served::new();
    let other = served.directory.path().join("other");
    let refused = serve_here(&other, &served.socket()).expect_err("the socket is taken");
    assert!(matches!(refused, StoreError::AlreadyServed { .. }), "{refused}");
    put(&served.client, "a", "1");
}

#[test]
fn a_file_that_is_no_socket_is_left_alone() {
    let directory = TempDir::new().expect("a directory");
    let socket = directory.path().join("socket");
    fs::write(&socket, "precious").expect("it writes");
    let refused =
        serve_here(&directory.path().join("store"), &socket).expect_err("something is there");
    assert!(matches!(refused, StoreError::Unreachable { .. }), "{refused}");
    assert_eq!(fs::read_to_string(&socket).expect("it is there"), "precious");
}

#[test]
fn a_stale_socket_is_replaced_and_a_stopped_server_leaves_none() {
    let directory = TempDir::new().expect("a directory");
    let (database, socket) = (directory.path().join("store"), directory.path().join("socket"));
    drop(UnixListener::bind(&socket).expect("it binds"));
    assert!(fs::metadata(&socket).expect("it stays").file_type().is_socket());
    assert!(matches!(Client::connect(&socket), Err(StoreError::Unreachable { .. })));
    let (stopped, stop) = io::pipe().expect("a pipe");
    thread::scope(|scope| {
        let server = scope.spawn(|| server::serve(&database, &socket, stopped.as_fd()));
        let client = Client::connect_within(&socket, LONG).expect("it is served");
        put(&client, "a", "1");
        drop(stop);
        server.join().expect("it does not panic").expect("it ends well");
    });
    assert!(!socket.exists());
    assert!(matches!(Client::connect(&socket), Err(StoreError::Unreachable { .. })));
}

#[test]
fn a_stopped_server_waits_for_no_idle_client() {
    let mut served = Served::new();
    let mut watch = served.client.watch("", Revision::NEVER).expect("it watches");
    let begun = Instant::now();
    served.stop().expect("it ends well");
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert_eq!(watch.next(Duration::from_millis(20)).expect("there is patience"), None);
}

#[test]
fn the_client_gives_up_when_its_patience_is_over() {
    let mut served = Served::new();
    let client = served.client.clone().with_patience(Duration::from_millis(200));
    let mut watch = client.watch("", Revision::NEVER).expect("it watches");
    served.stop().expect("it ends well");
    assert!(matches!(client.load(""), Err(StoreError::Unreachable { .. })));
    assert!(matches!(
        client.commit(&Transaction::new().put("a", "1")),
        Err(StoreError::Unreachable { .. })
    ));
    assert!(matches!(watch.next(LONG), Err(StoreError::Unreachable { .. })));
}

#[test]
fn a_slow_watch_holds_nobody_up_and_is_told_what_it_lost() {
    let served = Served::with_history(History { revisions: 10_000, bytes: 1 << 20 });
    let start = served.client.load("").expect("it loads").revision;
    let mut slow = served.client.watch("", start).expect("it watches");
    let large = format!("\"{}\"", "x".repeat(64 << 10));
    for _ in 0..400 {
        put(&served.client, "a", &large);
    }
    let mut seen = start;
    loop {
        match slow.next(LONG) {
            Ok(Some(batch)) => {
                assert_eq!(batch.revision, seen.next());
                seen = batch.revision;
            }
            Err(StoreError::Compacted { oldest }) => {
                assert!(oldest > seen);
                return;
            }
            other => panic!("neither a batch nor the loss: {other:?}"),
        }
    }
}

#[test]
fn a_large_load_comes_in_many_frames() {
    let served = Served::new();
    let large = format!("\"{}\"", "\u{1}".repeat(700 << 10));
    for n in 0..24 {
        put(&served.client, &format!("k{n:02}"), &large);
    }
    let objects = served.client.load("").expect("it loads").objects;
    assert_eq!(objects.len(), 24);
    assert!(objects.iter().all(|object| object.value == large));
}

#[test]
fn a_place_of_another_database_is_not_taken_up() {
    let mut served = Served::new();
    for n in 0..10 {
        put(&served.client, "a", &n.to_string());
    }
    let client = served.client.clone();
    let mut watch =
        client.watch("", client.load("").expect("it loads").revision).expect("it watches");
    served.stop().expect("it ends well");
    for name in ["store", "store-wal", "store-shm"] {
        let _absent = fs::remove_file(served.directory.path().join(name));
    }
    let (database, socket) = (served.directory.path().join("store"), served.socket());
    let (stopped, stop) = io::pipe().expect("a pipe");
    thread::scope(|scope| {
        let server = scope.spawn(|| server::serve(&database, &socket, stopped.as_fd()));
        for n in 0..20 {
            put(&client, "a", &n.to_string());
        }
        assert!(matches!(watch.next(LONG), Err(StoreError::Compacted { .. })));
        drop(stop);
        server.join().expect("it does not panic").expect("it ends well");
    });
}

#[test]
fn a_server_listens_at_once() {
    let soonest = (0..5).map(|_| {
        let begun = Instant::now();
        drop(Served::new());
        begun.elapsed()
    });
    let soonest = soonest.min().expect("five times");
    eprintln!("made, listening, answering and stopped in {soonest:?}");
    assert!(soonest < Duration::from_millis(500), "{soonest:?}");
}

/// Runs `test` where a file system of `options` is mounted at the given directory, for this thread only.
fn on_private_mount(options: &'static str, flags: MsFlags, test: impl FnOnce(&Path) + Send) {
    let directory = TempDir::new().expect("a directory");
    let path = directory.path();
    thread::scope(|scope| {
        scope.spawn(move || {
            unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_FS).expect("a mount namespace");
            let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
            mount(None::<&str>, "/", None::<&str>, private, None::<&str>).expect("it is private");
            mount(Some("tmpfs"), path, Some("tmpfs"), flags, Some(options)).expect("it mounts");
            test(path);
        });
    });
}

#[test]
fn a_read_only_directory_is_said_to_be() {
    if is_root() {
        on_private_mount("size=1m", MsFlags::MS_RDONLY, assert_read_only);
    } else {
        let directory = TempDir::new().expect("a directory");
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o555))
            .expect("it is ours");
        assert_read_only(directory.path());
    }
}

fn assert_read_only(directory: &Path) {
    let refused = Sqlite::open(&directory.join("store")).expect_err("nothing can be made there");
    assert!(matches!(refused, StoreError::ReadOnly { .. }), "{refused:?}");
}

#[test]
fn a_full_disk_refuses_and_loses_nothing() {
    if !is_root() {
        return;
    }
    on_private_mount("size=2m", MsFlags::empty(), |path| {
        let store = Sqlite::open(&path.join("store")).expect("it opens");
        let (refused, mut stored) = (mpsc::channel(), 0);
        let large = format!("\"{}\"", "x".repeat(40 << 10));
        for n in 0..100 {
            match store.commit(&Transaction::new().put(format!("k{n:03}"), large.clone())) {
                Ok(Commit::Done(_)) => stored += 1,
                other => {
                    refused.0.send(other).expect("it is received below");
                    break;
                }
            }
        }
        let refused = refused.1.try_recv().expect("2 MiB do not hold 4");
        assert!(matches!(refused, Err(StoreError::Full { .. })), "{refused:?}");
        let snapshot = store.load("").expect("it still loads");
        assert_eq!(snapshot.objects.len(), stored);
        drop(store);
        let again = Sqlite::open(&path.join("store")).expect("it opens again");
        assert_eq!(again.load("").expect("it loads"), snapshot);
        done(again.commit(&Transaction::new()));
    });
}
