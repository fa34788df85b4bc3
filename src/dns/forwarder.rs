//! Forwarding what a zone does not know to the name servers of the machine.
//!
//! Queries and replies travel as bytes, so every record type, EDNS option and DNSSEC bit survives.
//! That is why hickory-resolver only reads `resolv.conf` here: its resolver would answer from
//! parsed records and a cache of its own, and would lose the rest. Nothing is cached.
//!
//! Sockets are opened in the network namespace of the runtime's thread: the node's, never a
//! sandbox's.

use std::collections::HashMap;
use std::fs::Metadata;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hickory_proto::op::ResponseCode;
use hickory_resolver::system_conf::parse_resolv_conf;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use super::request::Transport;
use super::upstream::{Asked, Received, ask_datagram, ask_stream};

/// How many name servers are asked at most, one after the other: as many as glibc reads (MAXNS).
pub const MOST_UPSTREAMS: usize = 3;
/// How long one name server has, its TCP retry included.
pub const UPSTREAM_TIMEOUT: Duration = Duration::from_secs(2);
/// How long all of them have together: less than a client waits (glibc: 5 s), so that it hears of it.
pub const TIMEOUT: Duration = Duration::from_millis(4500);
/// How long a name server that was silent is asked after all others.
pub const REST: Duration = Duration::from_secs(10);

/// Exchanges at a time over all sandboxes: each holds one file descriptor.
const MOST_EXCHANGES: usize = 1024;
/// How often the file is looked at, at most.
const FILE_CHECK: Duration = Duration::from_secs(5);
const SYSTEM_FILE: &str = "/etc/resolv.conf";
/// Where sandboxes ask us. Forwarding there would be asking ourselves.
const OURSELVES: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 11));

/// Why a query was not forwarded, or brought nothing back.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    /// The bytes are no query with one question.
    #[error("not a query with one question")]
    Malformed,
    /// There is no name server to ask.
    #[error("no upstream name server is configured")]
    NoUpstream,
    /// Too many queries wait for name servers already.
    #[error("{MOST_EXCHANGES} forwarded queries are already waiting")]
    Busy,
    /// Every name server was asked.
    #[error("none of {asked} upstream name servers answered; the last, {upstream}: {last}")]
    NoAnswer {
        /// How many were asked.
        asked: usize,
        /// The last of them.
        upstream: SocketAddr,
        /// What was wrong with it.
        last: UpstreamError,
    },
}

/// What was wrong with one name server.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// No reply, or none that could be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A reply that says to ask someone else: SERVFAIL or REFUSED.
    #[error("it replied {0}")]
    Declined(ResponseCode),
}

/// Asks the name servers of the machine. One serves all sandboxes.
#[derive(Debug)]
pub struct Forwarder {
    file: Option<PathBuf>,
    known: Mutex<Known>,
    /// Name servers that were silent, and until when they are asked last.
    silent: Mutex<HashMap<SocketAddr, Instant>>,
    exchanges: Semaphore,
}

/// The name servers as last read.
#[derive(Debug, Default)]
struct Known {
    upstreams: Arc<[SocketAddr]>,
    stamp: Option<Stamp>,
    checked: Option<Instant>,
}

/// What changes when a file is written or replaced.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl Forwarder {
    /// Asks the name servers that `/etc/resolv.conf` lists, and notices when the file changes.
    pub fn system() -> Self {
        Self::file(Path::new(SYSTEM_FILE))
    }

    /// Asks the name servers that a file of `resolv.conf`'s form lists, and notices when it changes.
    /// A file that cannot be read lists none.
    pub fn file(path: &Path) -> Self {
        Self::new(Some(path.to_owned()), Vec::new())
    }

    /// Asks these name servers, the first [`MOST_UPSTREAMS`] of them.
    pub fn to(upstreams: Vec<SocketAddr>) -> Self {
        Self::new(None, upstreams)
    }

    /// Asks nobody: everything that a zone does not know fails at once.
    pub fn none() -> Self {
        Self::to(Vec::new())
    }

    fn new(file: Option<PathBuf>, upstreams: Vec<SocketAddr>) -> Self {
        let known = Known { upstreams: usable(upstreams), ..Known::default() };
        let (silent, exchanges) = (Mutex::default(), Semaphore::new(MOST_EXCHANGES));
        Self { file, known: Mutex::new(known), silent, exchanges }
    }

    /// The name servers that a query would be forwarded to now, in order.
    pub fn upstreams(&self) -> Arc<[SocketAddr]> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = &self.file {
            known.refresh(file);
        }
        Arc::clone(&known.upstreams)
    }

    /// The name servers, those last that were silent a moment ago.
    fn in_order(&self) -> Vec<SocketAddr> {
        let mut upstreams = self.upstreams().to_vec();
        let now = Instant::now();
        let mut silent = self.silent();
        silent.retain(|_, until| *until > now);
        upstreams.sort_by_key(|upstream| silent.contains_key(upstream));
        upstreams
    }

    fn silent(&self) -> MutexGuard<'_, HashMap<SocketAddr, Instant>> {
        self.silent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forwards a query and waits for its reply, which carries the query's ID. A reply that was cut
    /// is asked for again by TCP when the client came by TCP, and passed on cut when not.
    ///
    /// # Errors
    /// At once when every name server is out of reach, within [`TIMEOUT`] when they are silent, and
    /// [`UPSTREAM_TIMEOUT`] later when very busy.
    pub async fn forward(
        &self,
        request: &[u8],
        transport: Transport,
    ) -> Result<Vec<u8>, ForwardError> {
        let asked = Asked::read(request).ok_or(ForwardError::Malformed)?;
        let upstreams = self.in_order();
        let _exchange = timeout(UPSTREAM_TIMEOUT, self.exchanges.acquire())
            .await
            .map_err(|_| ForwardError::Busy)?;
        let share = u32::try_from(upstreams.len()).map_or(TIMEOUT, |count| TIMEOUT / count.max(1));
        let mut failure = ForwardError::NoUpstream;
        for (before, &upstream) in upstreams.iter().enumerate() {
            match ask(&asked, upstream, transport, share.min(UPSTREAM_TIMEOUT)).await {
                Ok(received) => {
                    self.silent().remove(&upstream);
                    return Ok(asked.returned(received));
                }
                Err(last) => {
                    if last.is_silence() {
                        self.silent().insert(upstream, Instant::now() + REST);
                    }
                    failure = ForwardError::NoAnswer { asked: before + 1, upstream, last };
                }
            }
        }
        Err(failure)
    }
}

impl UpstreamError {
    fn is_silence(&self) -> bool {
        matches!(self, Self::Io(error) if error.kind() == io::ErrorKind::TimedOut)
    }
}

/// Asks one name server, which must give an answer and not decline.
async fn ask(
    asked: &Asked<'_>,
    upstream: SocketAddr,
    transport: Transport,
    longest: Duration,
) -> Result<Received, UpstreamError> {
    let deadline = Instant::now() + longest;
    let mut received = ask_datagram(asked, upstream, deadline).await?;
    if received.truncated && transport == Transport::Tcp {
        received = ask_stream(asked, upstream, deadline).await?;
    }
    match received.code {
        code @ (ResponseCode::ServFail | ResponseCode::Refused) => {
            Err(UpstreamError::Declined(code))
        }
        _ => Ok(received),
    }
}

impl Known {
    /// Reads the file again when it changed, looking at it no more often than [`FILE_CHECK`].
    fn refresh(&mut self, file: &Path) {
        if self.checked.is_some_and(|at| at.elapsed() < FILE_CHECK) {
            return;
        }
        self.checked = Some(Instant::now());
        let stamp = std::fs::metadata(file).ok().map(|found| Stamp::of(&found));
        if stamp != self.stamp || stamp.is_none() {
            self.upstreams = usable(listed(file));
            self.stamp = stamp;
        }
    }
}

impl Stamp {
    fn of(file: &Metadata) -> Self {
        Self { inode: file.ino(), size: file.size(), modified: (file.mtime(), file.mtime_nsec()) }
    }
}

/// The name servers in a file; none when it cannot be read or lists none.
fn listed(file: &Path) -> Vec<SocketAddr> {
    let Ok(text) = std::fs::read(file) else {
        return Vec::new();
    };
    let Ok((config, _)) = parse_resolv_conf(text) else {
        return Vec::new();
    };
    let servers = config.name_servers().iter();
    servers
        .filter_map(|server| {
            let port = server.connections.first()?.port;
            Some(SocketAddr::new(server.ip, port))
        })
        .collect()
}

/// Those that may be asked: not ourselves, none twice, and not too many.
fn usable(listed: Vec<SocketAddr>) -> Arc<[SocketAddr]> {
    let mut usable: Vec<SocketAddr> = Vec::new();
    for upstream in listed {
        if upstream.ip().to_canonical() != OURSELVES && !usable.contains(&upstream) {
            usable.push(upstream);
        }
    }
    usable.truncate(MOST_UPSTREAMS);
    usable.into()
}
