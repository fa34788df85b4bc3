//! Serving one sandbox's resolver on sockets that someone else opened inside it.
//!
//! One task reads datagrams, one accepts connections, one runs per connection and per forwarded
//! query; none waits for another. A server that waits holds no buffer, so that hundreds fit on one
//! thread. It opens no socket and enters no namespace.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hickory_proto::op::ResponseCode;
use nix::sys::socket::{MsgFlags, SockaddrStorage, sendto};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet, yield_now};
use tokio::time::sleep;

use super::answer::{Answer, Family, Reason, answer, refuse};
use super::connection;
pub use super::datagrams::MEMORY;
use super::datagrams::{Datagrams, Place};
use super::forwarder::Forwarder;
use super::request::Transport;
use crate::node::zone::Zone;

/// Forwarded queries of one sandbox at a time; libnetwork's resolver has the same limit.
pub const MOST_FORWARDS: usize = 1024;
/// TCP connections to one sandbox's resolver at a time.
pub const MOST_CONNECTIONS: usize = 256;

/// How long to leave a socket alone that answered with an error, such as EMFILE on accept.
const PAUSE: Duration = Duration::from_millis(100);

/// What the resolvers of one thread share: who is asked for what no zone knows, and the memory that
/// datagrams are read into.
#[derive(Debug)]
pub struct Shared {
    forwarder: Forwarder,
    datagrams: Mutex<Datagrams>,
}

impl Shared {
    /// # Errors
    /// When there is no memory.
    pub fn new(forwarder: Forwarder) -> io::Result<Self> {
        Ok(Self { forwarder, datagrams: Mutex::new(Datagrams::new()?) })
    }

    /// In memory of [`MEMORY`] bytes that outlives this process. What a former process had read
    /// from a socket and not answered is answered when that socket is served.
    ///
    /// # Errors
    /// When it cannot be mapped.
    pub fn within(forwarder: Forwarder, memory: &OwnedFd) -> io::Result<Self> {
        Ok(Self { forwarder, datagrams: Mutex::new(Datagrams::within(memory)?) })
    }

    fn datagrams(&self) -> MutexGuard<'_, Datagrams> {
        self.datagrams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The sockets and the standing of one sandbox.
#[derive(Debug)]
pub struct Seat {
    /// Bound.
    pub udp: UdpSocket,
    /// Listening.
    pub tcp: std::net::TcpListener,
    /// What tells the UDP socket from others, also to a later process.
    pub owner: u64,
    /// Where the rotation of every name begins.
    pub first_turn: u32,
}

/// A running resolver. It stops when this is dropped, and whoever else holds the sockets keeps them:
/// queries then wait in the kernel for the next server.
#[derive(Debug)]
pub struct Resolver {
    counters: Arc<Counters>,
    tasks: [JoinHandle<()>; 2],
}

impl Resolver {
    /// Serves on a sandbox's sockets, answering from the newest zone and forwarding the rest. When
    /// the zones' sender goes, the last zone stays.
    ///
    /// Runs on the calling runtime, which must have its I/O and time drivers on (tokio panics when
    /// it has not).
    ///
    /// # Errors
    /// When no runtime is running, or it does not take the sockets.
    pub fn serve(
        seat: Seat,
        zones: watch::Receiver<Arc<Zone>>,
        shared: Arc<Shared>,
    ) -> io::Result<Self> {
        let runtime = Handle::try_current().map_err(io::Error::other)?;
        seat.udp.set_nonblocking(true)?;
        seat.tcp.set_nonblocking(true)?;
        // Not tokio's own socket: that one is woken after each reply too, when it could send more.
        // SAFETY: a socket's descriptor is the same as long as the socket lives.
        let udp = unsafe { AsyncFd::register_with_interest(seat.udp, Interest::READABLE) };
        let udp = Arc::new(udp.map_err(io::Error::from)?);
        let tcp = TcpListener::from_std(seat.tcp)?;
        let sandbox = Arc::new(Sandbox::new(zones, shared, seat.owner, seat.first_turn));
        let counters = Arc::clone(&sandbox.counters);
        let datagrams = runtime.spawn(serve_datagrams(udp, Arc::clone(&sandbox)));
        let connections = runtime.spawn(serve_connections(tcp, sandbox));
        Ok(Self { counters, tasks: [datagrams, connections] })
    }

    /// What was done so far.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// What a resolver did since it started.
#[derive(Debug, Default)]
pub struct Counters {
    answered: AtomicU64,
    forwarded: AtomicU64,
    refused: AtomicU64,
    malformed: AtomicU64,
}

/// The counters at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Queries answered from the zone.
    pub answered: u64,
    /// Queries passed on, whatever came back.
    pub forwarded: u64,
    /// Queries refused and connections closed because there were too many.
    pub refused: u64,
    /// Messages that were no query to be answered.
    pub malformed: u64,
}

impl Counters {
    /// Reads them.
    pub fn read(&self) -> Counts {
        Counts {
            answered: self.answered.load(Ordering::Relaxed),
            forwarded: self.forwarded.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            malformed: self.malformed.load(Ordering::Relaxed),
        }
    }
}

/// What the tasks of one resolver share.
#[derive(Debug)]
pub(super) struct Sandbox {
    known: Mutex<Known>,
    shared: Arc<Shared>,
    owner: u64,
    forwards: Arc<Semaphore>,
    counters: Arc<Counters>,
}

/// The newest zone, and whose turn it is under each of its names.
#[derive(Debug)]
struct Known {
    zones: watch::Receiver<Arc<Zone>>,
    first_turn: u32,
    turns: HashMap<String, Turns>,
}

/// The next turn of a name, by family.
#[derive(Clone, Copy, Debug)]
struct Turns {
    v4: u32,
    v6: u32,
    services: u32,
}

/// What becomes of a message.
#[derive(Debug)]
pub(super) enum Decision {
    /// Send what was written.
    Reply,
    /// Forward it while holding this.
    Forward(OwnedSemaphorePermit),
    /// It is noise.
    Drop,
}

impl Sandbox {
    fn new(
        zones: watch::Receiver<Arc<Zone>>,
        shared: Arc<Shared>,
        owner: u64,
        first_turn: u32,
    ) -> Self {
        Self {
            known: Mutex::new(Known { zones, first_turn, turns: HashMap::new() }),
            shared,
            owner,
            forwards: Arc::new(Semaphore::new(MOST_FORWARDS)),
            counters: Arc::default(),
        }
    }

    /// Decides about one message, and counts it. A reply is written behind what `out` holds.
    pub(super) fn decide(
        &self,
        message: &[u8],
        transport: Transport,
        out: &mut Vec<u8>,
    ) -> Decision {
        let begin = out.len();
        match self.answer(message, transport, out) {
            Answer::Reply => {
                count(match is_complaint(out.get(begin..).unwrap_or_default()) {
                    true => &self.counters.malformed,
                    false => &self.counters.answered,
                });
                Decision::Reply
            }
            Answer::Forward => self.admit(message, transport, out),
            Answer::Drop => {
                count(&self.counters.malformed);
                Decision::Drop
            }
        }
    }

    fn answer(&self, message: &[u8], transport: Transport, out: &mut Vec<u8>) -> Answer {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let Known { zones, first_turn, turns } = &mut *known;
        let renewed = zones.has_changed().unwrap_or(false);
        let zone = zones.borrow_and_update();
        if renewed {
            turns.retain(|name, _| zone.named(name).is_some());
        }
        let rotation = |name: &str, family| next_turn(turns, *first_turn, name, family);
        answer(&zone, rotation, message, transport, out)
    }

    fn admit(&self, message: &[u8], transport: Transport, out: &mut Vec<u8>) -> Decision {
        if let Ok(permit) = Arc::clone(&self.forwards).try_acquire_owned() {
            count(&self.counters.forwarded);
            return Decision::Forward(permit);
        }
        count(&self.counters.refused);
        let words = format!("{MOST_FORWARDS} queries of this sandbox are being forwarded already");
        // 14: not ready.
        let reason = Reason { number: 14, words: &words };
        match refuse(message, ResponseCode::Refused, Some(reason), transport, out) {
            true => Decision::Reply,
            false => Decision::Drop,
        }
    }

    /// Forwards a query. What cannot be forwarded is answered with SERVFAIL.
    pub(super) async fn forward(&self, message: &[u8], transport: Transport) -> Option<Vec<u8>> {
        match self.shared.forwarder.forward(message, transport).await {
            Ok(reply) => Some(reply),
            Err(error) => {
                let mut reply = Vec::new();
                // 22: no reachable authority.
                let reason = Reason { number: 22, words: &error.to_string() };
                let code = ResponseCode::ServFail;
                refuse(message, code, Some(reason), transport, &mut reply).then_some(reply)
            }
        }
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Whether a reply of ours finds fault with the query: FORMERR or NOTIMP.
fn is_complaint(reply: &[u8]) -> bool {
    reply.get(3).is_some_and(|flags| matches!(flags & 0x0f, 1 | 4))
}

fn next_turn(turns: &mut HashMap<String, Turns>, first: u32, name: &str, family: Family) -> u32 {
    if !turns.contains_key(name) {
        turns.insert(name.to_owned(), Turns { v4: first, v6: first, services: first });
    }
    let Some(turns) = turns.get_mut(name) else {
        return 0;
    };
    let next = match family {
        Family::V4 => &mut turns.v4,
        Family::V6 => &mut turns.v6,
        Family::Services => &mut turns.services,
    };
    let turn = *next;
    *next = next.wrapping_add(1);
    turn
}

/// Answers datagrams for ever, those first that a former process left behind.
async fn serve_datagrams(socket: Arc<AsyncFd<UdpSocket>>, sandbox: Arc<Sandbox>) {
    let mut forwards = JoinSet::new();
    serve_left(&socket, &sandbox, &mut forwards);
    loop {
        tokio::select! {
            biased;
            ready = socket.readable() => {
                let served = ready.and_then(|mut ready| {
                    let more = serve_batch(&socket, &sandbox, &mut forwards)?;
                    if more == More::Nothing {
                        // The kernel tells of the next one; asking would cost a system call.
                        ready.clear_ready();
                    }
                    Ok(more)
                });
                match served {
                    Ok(More::Waits) => yield_now().await,
                    Ok(More::Nothing) => {}
                    Err(_) => sleep(PAUSE).await,
                }
            }
            Some(_) = forwards.join_next() => {}
        }
    }
}

/// Whether a socket may still have something to read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum More {
    Waits,
    Nothing,
}

/// Answers what waits in the socket, up to a batch; then other sandboxes have their turn.
fn serve_batch(
    socket: &Arc<AsyncFd<UdpSocket>>,
    sandbox: &Arc<Sandbox>,
    forwards: &mut JoinSet<()>,
) -> io::Result<More> {
    let mut datagrams = sandbox.shared.datagrams();
    let read = match datagrams.receive(socket.as_fd(), sandbox.owner) {
        Ok(read) => read,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(More::Nothing),
        Err(error) => return Err(error),
    };
    for number in 0..read {
        let (query, out) = datagrams.query(number);
        match sandbox.decide(query, Transport::Udp, out) {
            Decision::Reply => datagrams.reply(number),
            Decision::Forward(permit) => {
                let query = query.to_vec();
                let place = datagrams.keep(number, sandbox.owner);
                if let Some(client) = datagrams.client(number) {
                    let (socket, sandbox) = (Arc::clone(socket), Arc::clone(sandbox));
                    let forward = Forward { socket, sandbox, query, client, place, permit };
                    forwards.spawn(forward.run());
                }
            }
            Decision::Drop => {}
        }
    }
    datagrams.send(socket.as_fd());
    datagrams.finish(read);
    Ok(if Datagrams::drained(read) { More::Nothing } else { More::Waits })
}

/// Answers what a former process had read from this socket and not answered.
fn serve_left(
    socket: &Arc<AsyncFd<UdpSocket>>,
    sandbox: &Arc<Sandbox>,
    forwards: &mut JoinSet<()>,
) {
    let left = sandbox.shared.datagrams().left_by(sandbox.owner);
    for left in left {
        let mut reply = Vec::new();
        match sandbox.decide(&left.query, Transport::Udp, &mut reply) {
            Decision::Forward(permit) => {
                let forward = Forward {
                    socket: Arc::clone(socket),
                    sandbox: Arc::clone(sandbox),
                    query: left.query,
                    client: left.client,
                    place: Some(left.place),
                    permit,
                };
                forwards.spawn(forward.run());
            }
            decision => {
                if let Decision::Reply = decision {
                    send(socket, &reply, left.client);
                }
                sandbox.shared.datagrams().release(left.place);
            }
        }
    }
}

/// Sends a reply, or loses it as a network may: a client that hears nothing asks again.
fn send(socket: &AsyncFd<UdpSocket>, reply: &[u8], client: SocketAddr) {
    let _ =
        sendto(socket.as_raw_fd(), reply, &SockaddrStorage::from(client), MsgFlags::MSG_DONTWAIT);
}

/// A datagram that is being forwarded.
struct Forward {
    socket: Arc<AsyncFd<UdpSocket>>,
    sandbox: Arc<Sandbox>,
    query: Vec<u8>,
    client: SocketAddr,
    place: Option<Place>,
    permit: OwnedSemaphorePermit,
}

impl Forward {
    async fn run(self) {
        if let Some(reply) = self.sandbox.forward(&self.query, Transport::Udp).await {
            send(&self.socket, &reply, self.client);
        }
        if let Some(place) = self.place {
            self.sandbox.shared.datagrams().release(place);
        }
        drop(self.permit);
    }
}

/// Accepts connections for ever; those beyond the limit are closed at once.
async fn serve_connections(listener: TcpListener, sandbox: Arc<Sandbox>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(_) if connections.len() >= MOST_CONNECTIONS => {
                    count(&sandbox.counters.refused);
                }
                Ok((stream, _)) => {
                    connections.spawn(connection::serve(stream, Arc::clone(&sandbox)));
                }
                Err(_) => sleep(PAUSE).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}
