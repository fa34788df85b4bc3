//! The store from another process: over the server's socket, and over its restarts.
//!
//! A call outlives a lost server for the client's patience. Every commit has an id that the server remembers, so that trying
//! it again after a lost answer does it once. The client does not start servers.

mod dial;
mod watch;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::wire::{Line, Reply, Request};
use super::{Commit, LeaseId, Revision, Snapshot, Store, StoreError, Transaction, Watch, clock};
use dial::Fault;
use watch::Following;

/// How long a call outlives a lost server, unless told otherwise.
const PATIENCE: Duration = Duration::from_secs(5);
/// Connections kept for the next call; more are made when more threads call at once.
const IDLE: usize = 4;
/// The pauses between tries: the first, growing by half up to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LAST_PAUSE: Duration = Duration::from_millis(50);

/// A client of the store served at a socket. Clones share their connections.
#[derive(Debug, Clone)]
pub struct Client {
    shared: Arc<Shared>,
    patience: Duration,
}

#[derive(Debug)]
struct Shared {
    socket: PathBuf,
    idle: Mutex<Vec<Line>>,
    /// Tells this client's commits from all others'.
    name: String,
    commits: AtomicU64,
}

impl Client {
    /// Connects, trying once.
    ///
    /// # Errors
    /// [`StoreError::Unreachable`] at once if nobody serves there, [`StoreError::Denied`] if the server does not let this
    /// user in, [`StoreError::Protocol`] if it is of another kind or day.
    pub fn connect(socket: &Path) -> Result<Self, StoreError> {
        let client = Self::unconnected(socket)?;
        let line = dial::dial(socket, clock::now() + PATIENCE)
            .map_err(|fault| fault.into_error(socket))?
            .line;
        client.put_back(line);
        Ok(client)
    }

    /// Connects as soon as somebody serves there, within `patience`.
    ///
    /// # Errors
    /// As [`Client::connect`], [`StoreError::Unreachable`] only when `patience` is over.
    pub fn connect_within(socket: &Path, patience: Duration) -> Result<Self, StoreError> {
        let client = Self::unconnected(socket)?;
        let deadline = after(clock::now(), patience);
        let line = retry(deadline, || dial::dial(socket, deadline))
            .map_err(|fault| fault.into_error(socket))?
            .line;
        client.put_back(line);
        Ok(client)
    }

    /// How long a call outlives a lost server; 5 seconds unless told otherwise.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    fn unconnected(socket: &Path) -> Result<Self, StoreError> {
        let name = random_name()
            .map_err(|source| StoreError::Unreachable { path: socket.to_owned(), source })?;
        let shared = Shared {
            socket: socket.to_owned(),
            idle: Mutex::default(),
            name,
            commits: AtomicU64::new(0),
        };
        Ok(Self { shared: Arc::new(shared), patience: PATIENCE })
    }

    /// Asks until there is an answer or patience is over.
    fn call<T>(
        &self,
        request: &Request,
        mut answer: impl FnMut(&mut Line, Instant) -> Result<T, Fault>,
    ) -> Result<T, CallError> {
        let deadline = after(clock::now(), self.patience);
        let mut tries = Tries::default();
        let answered = retry(deadline, || {
            let mut line = self.line(deadline)?;
            tries.begun += 1;
            line.set_send_timeout(deadline.saturating_duration_since(clock::now()))?;
            if let Err(error) = line.send(request) {
                self.forget_idle();
                return Err(error.into());
            }
            tries.sent += 1;
            match answer(&mut line, deadline) {
                Ok(answer) => {
                    self.put_back(line);
                    Ok(answer)
                }
                Err(Fault::Refused(failure)) => {
                    self.put_back(line);
                    Err(Fault::Refused(failure))
                }
                Err(fault) => {
                    self.forget_idle();
                    Err(fault)
                }
            }
        });
        answered.map_err(|fault| CallError { fault, tries })
    }

    fn error(&self, failed: CallError) -> StoreError {
        failed.fault.into_error(&self.shared.socket)
    }

    fn line(&self, deadline: Instant) -> Result<Line, Fault> {
        let idle = self.idle().pop();
        match idle {
            Some(line) => Ok(line),
            None => dial::dial(&self.shared.socket, deadline).map(|dialled| dialled.line),
        }
    }

    fn put_back(&self, line: Line) {
        let mut idle = self.idle();
        if idle.len() < IDLE {
            idle.push(line);
        }
    }

    /// The others are of the same server, which is gone.
    fn forget_idle(&self) {
        self.idle().clear();
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Line>> {
        self.shared.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next_commit(&self) -> String {
        format!("{}-{}", self.shared.name, self.shared.commits.fetch_add(1, Ordering::Relaxed))
    }
}

#[derive(Debug, Default, Clone, Copy)]
struct Tries {
    begun: u32,
    /// Those whose request went out whole: the server may have done it.
    sent: u32,
}

#[derive(Debug)]
struct CallError {
    fault: Fault,
    tries: Tries,
}

/// Tries again, after growing pauses, what failed for want of a connection.
fn retry<T>(deadline: Instant, mut attempt: impl FnMut() -> Result<T, Fault>) -> Result<T, Fault> {
    let mut pause = FIRST_PAUSE;
    loop {
        match attempt() {
            Err(fault) if fault.is_passing() && clock::now() + pause < deadline => {
                thread::sleep(pause)
            }
            other => return other,
        }
        pause = (pause * 3 / 2).min(LAST_PAUSE);
    }
}

fn after(now: Instant, pause: Duration) -> Instant {
    now.checked_add(pause).unwrap_or(now + super::lease::MAX_TTL)
}

fn random_name() -> io::Result<String> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Reads one reply and takes from it what was asked for.
fn one<T>(
    line: &mut Line,
    deadline: Instant,
    wanted: impl Fn(Reply) -> Result<T, Reply>,
) -> Result<T, Fault> {
    match line.receive_until(deadline)? {
        Reply::Failed(failure) => Err(Fault::Refused(failure)),
        reply => wanted(reply).map_err(|other| Fault::unexpected(&other)),
    }
}

fn snapshot(line: &mut Line, deadline: Instant) -> Result<Snapshot, Fault> {
    let mut objects = Vec::new();
    loop {
        match line.receive_until(deadline)? {
            Reply::Objects(page) => objects.extend(page),
            Reply::Loaded(revision) => return Ok(Snapshot { revision, objects }),
            Reply::Failed(failure) => return Err(Fault::Refused(failure)),
            other => return Err(Fault::unexpected(&other)),
        }
    }
}

impl Store for Client {
    fn load(&self, prefix: &str) -> Result<Snapshot, StoreError> {
        let request = Request::Load { prefix: prefix.to_owned() };
        self.call(&request, snapshot).map_err(|failed| self.error(failed))
    }

    fn commit(&self, transaction: &Transaction) -> Result<Commit, StoreError> {
        transaction.validate()?;
        let request = Request::Commit { id: self.next_commit(), transaction: transaction.clone() };
        let answered = self.call(&request, |line, deadline| {
            one(line, deadline, |reply| match reply {
                Reply::Committed(commit) => Ok(commit),
                other => Err(other),
            })
        });
        answered.map_err(|failed| match failed {
            CallError { fault: Fault::Lost(source), tries } if tries.sent > 0 => {
                StoreError::Uncertain { path: self.shared.socket.clone(), source }
            }
            failed => self.error(failed),
        })
    }

    fn watch(&self, prefix: &str, after: Revision) -> Result<Box<dyn Watch>, StoreError> {
        let following = Following::begin(self.shared.socket.clone(), prefix, after, self.patience)?;
        Ok(Box::new(following))
    }

    fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        let request = Request::Grant { ttl_ms: u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX) };
        let answered = self.call(&request, |line, deadline| {
            one(line, deadline, |reply| match reply {
                Reply::Granted(lease) => Ok(lease),
                other => Err(other),
            })
        });
        answered.map_err(|failed| self.error(failed))
    }

    fn keep_alive(&self, lease: LeaseId) -> Result<(), StoreError> {
        let answered = self.call(&Request::KeepAlive { lease }, |line, deadline| {
            one(line, deadline, |reply| match reply {
                Reply::KeptAlive => Ok(()),
                other => Err(other),
            })
        });
        answered.map_err(|failed| self.error(failed))
    }

    fn revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        let answered = self.call(&Request::Revoke { lease }, |line, deadline| {
            one(line, deadline, |reply| match reply {
                Reply::Revoked => Ok(()),
                other => Err(other),
            })
        });
        answered.or_else(|failed| match self.error_of_revoke(failed) {
            None => Ok(()),
            Some(error) => Err(error),
        })
    }
}

impl Client {
    /// A lease that is gone at the second try was ended by the first.
    fn error_of_revoke(&self, failed: CallError) -> Option<StoreError> {
        let sent = failed.tries.sent;
        match self.error(failed) {
            StoreError::LeaseGone { .. } if sent > 1 => None,
            error => Some(error),
        }
    }
}
