//! Serving an embedded store on a unix socket, to root and to the server's own user.
//!
//! A thread a connection: a connection is a command, or one of an agent's few. It will not start itself, nor come back by
//! itself: that is for whoever runs it.

mod connection;
mod socket;

use std::collections::BTreeMap;
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Scope};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::StoreError;
use super::sqlite::{History, Sqlite};
use crate::killpoint;
use connection::Connection;

/// What a connection's thread needs: SQLite and JSON, neither of them recursive here.
const STACK: usize = 256 << 10;
/// How long connections have at the end to send what they are sending.
const FAREWELL: Duration = Duration::from_secs(1);
/// When no connection can be taken for want of descriptors or memory.
const RESPITE_MS: u16 = 100;

/// Owns `database` and serves it at `socket` (mode 0600; its directory must exist), until `stop` becomes readable or its other
/// end is closed, as a pipe's does.
///
/// # Errors
/// [`StoreError::AlreadyServed`] if another process owns the database or answers at the socket, and whatever
/// [`Sqlite::open`] says.
pub fn serve(database: &Path, socket: &Path, stop: BorrowedFd<'_>) -> Result<(), StoreError> {
    serve_with(database, socket, History::default(), stop)
}

/// Serves and remembers no more of the past than `history`.
///
/// # Errors
/// As [`serve`].
pub fn serve_with(
    database: &Path,
    socket: &Path,
    history: History,
    stop: BorrowedFd<'_>,
) -> Result<(), StoreError> {
    let store = Sqlite::open_with(database, history)?;
    killpoint::pass(|| "the database is open, not served".into());
    let listener = socket::bind(socket)?;
    killpoint::pass(|| "the database is served".into());
    let open = Open::default();
    let served = thread::scope(|scope| {
        let leases = || store.run_leases();
        let served = thread::Builder::new()
            .stack_size(STACK)
            .spawn_scoped(scope, leases)
            .and_then(|_| accept_until(scope, &listener, stop, &store, &open));
        store.close();
        open.farewell();
        served
    });
    socket::remove(socket);
    served.map_err(|source| StoreError::Unreachable { path: socket.to_owned(), source })
}

/// Listens where a store is looked for, for somebody who serves one in another way.
///
/// # Errors
/// [`StoreError::AlreadyServed`] if somebody answers there, and what the file system says.
pub fn listen(socket: &Path) -> Result<UnixListener, StoreError> {
    socket::bind(socket)
}

/// Takes away what [`listen`] made.
pub fn unlisten(socket: &Path) {
    socket::remove(socket);
}

fn accept_until<'scope>(
    scope: &'scope Scope<'scope, '_>,
    listener: &UnixListener,
    stop: BorrowedFd<'_>,
    store: &'scope Sqlite,
    open: &'scope Open,
) -> io::Result<()> {
    while !stopped(Some(listener.as_fd()), stop, PollTimeout::NONE)? {
        let begun = listener.accept().and_then(|(stream, _)| begin(scope, stream, store, open));
        if begun.is_err_and(|error| error.kind() != io::ErrorKind::WouldBlock)
            && stopped(None, stop, PollTimeout::from(RESPITE_MS))?
        {
            break;
        }
    }
    Ok(())
}

/// Waits for a connection or the end, and says whether it is the end.
fn stopped(
    listener: Option<BorrowedFd<'_>>,
    stop: BorrowedFd<'_>,
    timeout: PollTimeout,
) -> io::Result<bool> {
    let mut watched = vec![PollFd::new(stop, PollFlags::POLLIN)];
    watched.extend(listener.map(|listener| PollFd::new(listener, PollFlags::POLLIN)));
    match poll(&mut watched, timeout) {
        Ok(_) => Ok(watched.first().and_then(PollFd::any).unwrap_or(true)),
        Err(nix::Error::EINTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn begin<'scope>(
    scope: &'scope Scope<'scope, '_>,
    stream: UnixStream,
    store: &'scope Sqlite,
    open: &'scope Open,
) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    let stream = Arc::new(stream);
    let entry = open.enter(Arc::clone(&stream));
    thread::Builder::new().stack_size(STACK).spawn_scoped(scope, move || {
        let _entry = entry;
        // The connection is over either way, and its peer knows; there is nobody else to tell.
        let _ended = Connection::new(store, stream).run();
    })?;
    Ok(())
}

/// The connections there are, to end them.
#[derive(Debug, Default)]
struct Open {
    streams: Mutex<(u64, BTreeMap<u64, Arc<UnixStream>>)>,
    left: Condvar,
}

/// A connection's place among them.
struct Entry<'o> {
    open: &'o Open,
    number: u64,
}

impl Open {
    fn held(&self) -> MutexGuard<'_, (u64, BTreeMap<u64, Arc<UnixStream>>)> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, stream: Arc<UnixStream>) -> Entry<'_> {
        let mut streams = self.held();
        streams.0 += 1;
        let number = streams.0;
        streams.1.insert(number, stream);
        Entry { open: self, number }
    }

    /// Lets every connection finish what it is answering, for a while.
    fn farewell(&self) {
        self.shut(Shutdown::Read);
        let waited =
            self.left.wait_timeout_while(self.held(), FAREWELL, |streams| !streams.1.is_empty());
        drop(waited);
        self.shut(Shutdown::Both);
    }

    fn shut(&self, how: Shutdown) {
        for stream in self.held().1.values() {
            // One that is closed already is what is wanted.
            let _closed = stream.shutdown(how);
        }
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.open.held().1.remove(&self.number);
        self.open.left.notify_all();
    }
}
