//! Serving one sandbox's resolver on sockets that someone else opened inside it.
//!
//! One task reads datagrams, one accepts connections, one runs per connection and per forwarded
//! query; none waits for another. A server that waits holds no buffer, so that hundreds fit on one
//! thread. It opens no socket and enters no namespace.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hickory_proto::op::ResponseCode;
use tokio::net::{TcpListener, UdpSocket};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet, yield_now};
use tokio::time::sleep;

use super::answer::{Answer, Family, answer_with, refusal};
use super::connection;
use super::forwarder::Forwarder;
use super::request::{LONGEST_QUERY, Transport};
use crate::node::zone::Zone;

/// Forwarded queries of one sandbox at a time; libnetwork's resolver has the same limit.
pub const MOST_FORWARDS: usize = 1024;
/// TCP connections to one sandbox's resolver at a time.
pub const MOST_CONNECTIONS: usize = 256;

/// Datagrams answered in a row before other sandboxes have their turn.
const BURST: usize = 32;
/// How long to leave a socket alone that answered with an error, such as EMFILE on accept.
const PAUSE: Duration = Duration::from_millis(100);

/// A running resolver. It stops when this is dropped, and whoever else holds the sockets keeps them:
/// queries then wait in the kernel for the next server.
#[derive(Debug)]
pub struct Resolver {
    counters: Arc<Counters>,
    tasks: [JoinHandle<()>; 2],
}

impl Resolver {
    /// Serves on a bound UDP socket and a listening TCP socket, answering from the newest zone and
    /// asking `forwarder` for the rest. When the zones' sender goes, the last zone stays.
    ///
    /// Runs on the calling runtime, which must have its I/O and time drivers on (tokio panics when
    /// it has not).
    ///
    /// # Errors
    /// When no runtime is running, or it does not take the sockets.
    pub fn serve(
        udp: std::net::UdpSocket,
        tcp: std::net::TcpListener,
        zones: watch::Receiver<Arc<Zone>>,
        forwarder: Arc<Forwarder>,
    ) -> io::Result<Self> {
        let runtime = Handle::try_current().map_err(io::Error::other)?;
        udp.set_nonblocking(true)?;
        tcp.set_nonblocking(true)?;
        let udp = Arc::new(UdpSocket::from_std(udp)?);
        let tcp = TcpListener::from_std(tcp)?;
        let sandbox = Arc::new(Sandbox::new(zones, forwarder));
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
    forwarder: Arc<Forwarder>,
    forwards: Arc<Semaphore>,
    counters: Arc<Counters>,
}

/// The newest zone, and whose turn it is under each of its names.
#[derive(Debug)]
struct Known {
    zones: watch::Receiver<Arc<Zone>>,
    turns: HashMap<String, Turns>,
}

/// The next turn of a name, by family: a client that asks for A and AAAA together must not skip
/// every other address.
#[derive(Clone, Copy, Debug, Default)]
struct Turns {
    v4: u32,
    v6: u32,
}

/// What becomes of a message.
#[derive(Debug)]
pub(super) enum Decision {
    /// Send this back.
    Reply(Vec<u8>),
    /// Forward it while holding this.
    Forward(OwnedSemaphorePermit),
    /// It is noise.
    Drop,
}

impl Sandbox {
    fn new(zones: watch::Receiver<Arc<Zone>>, forwarder: Arc<Forwarder>) -> Self {
        Self {
            known: Mutex::new(Known { zones, turns: HashMap::new() }),
            forwarder,
            forwards: Arc::new(Semaphore::new(MOST_FORWARDS)),
            counters: Arc::default(),
        }
    }

    /// Decides about one message, and counts it.
    pub(super) fn decide(&self, message: &[u8], transport: Transport) -> Decision {
        match self.answer(message, transport) {
            Answer::Reply(reply) => {
                count(match is_complaint(&reply) {
                    true => &self.counters.malformed,
                    false => &self.counters.answered,
                });
                Decision::Reply(reply)
            }
            Answer::Forward => self.admit(message, transport),
            Answer::Drop => {
                count(&self.counters.malformed);
                Decision::Drop
            }
        }
    }

    fn answer(&self, message: &[u8], transport: Transport) -> Answer {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let Known { zones, turns } = &mut *known;
        let renewed = zones.has_changed().unwrap_or(false);
        let zone = zones.borrow_and_update();
        if renewed {
            turns.retain(|name, _| zone.names.contains_key(name));
        }
        let rotation = |name: &str, family| next_turn(turns, name, family);
        answer_with(&zone, rotation, message, transport)
    }

    fn admit(&self, message: &[u8], transport: Transport) -> Decision {
        if let Ok(permit) = Arc::clone(&self.forwards).try_acquire_owned() {
            count(&self.counters.forwarded);
            return Decision::Forward(permit);
        }
        count(&self.counters.refused);
        refusal(message, ResponseCode::Refused, transport).map_or(Decision::Drop, Decision::Reply)
    }

    /// Forwards a query. What cannot be forwarded is answered with SERVFAIL.
    pub(super) async fn forward(&self, message: &[u8], transport: Transport) -> Option<Vec<u8>> {
        match self.forwarder.forward(message, transport).await {
            Ok(reply) => Some(reply),
            Err(_) => refusal(message, ResponseCode::ServFail, transport),
        }
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Whether a reply of ours finds fault with the query: only those have a code in their header.
fn is_complaint(reply: &[u8]) -> bool {
    reply.get(3).is_some_and(|flags| flags & 0x0f != 0)
}

fn next_turn(turns: &mut HashMap<String, Turns>, name: &str, family: Family) -> u32 {
    if !turns.contains_key(name) {
        turns.insert(name.to_owned(), Turns::default());
    }
    let Some(turns) = turns.get_mut(name) else {
        return 0;
    };
    let next = match family {
        Family::V4 => &mut turns.v4,
        Family::V6 => &mut turns.v6,
    };
    let turn = *next;
    *next = next.wrapping_add(1);
    turn
}

/// Answers datagrams for ever.
async fn serve_datagrams(socket: Arc<UdpSocket>, sandbox: Arc<Sandbox>) {
    let mut forwards = JoinSet::new();
    loop {
        tokio::select! {
            ready = socket.readable() => {
                let served = match ready {
                    Ok(()) => serve_burst(&socket, &sandbox, &mut forwards),
                    Err(error) => Err(error),
                };
                match served {
                    Ok(()) => yield_now().await,
                    Err(_) => sleep(PAUSE).await,
                }
            }
            Some(_) = forwards.join_next() => {}
        }
    }
}

/// Answers what waits in the socket, up to [`BURST`] datagrams.
fn serve_burst(
    socket: &Arc<UdpSocket>,
    sandbox: &Arc<Sandbox>,
    forwards: &mut JoinSet<()>,
) -> io::Result<()> {
    let mut buffer = [0; LONGEST_QUERY];
    for _ in 0..BURST {
        let (length, client) = match socket.try_recv_from(&mut buffer) {
            Ok(received) => received,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        let message = buffer.get(..length).unwrap_or_default();
        match sandbox.decide(message, Transport::Udp) {
            Decision::Reply(reply) => send(socket, &reply, client),
            Decision::Forward(permit) => {
                let forward = forward_datagram(
                    Arc::clone(socket),
                    Arc::clone(sandbox),
                    message.to_vec(),
                    client,
                    permit,
                );
                forwards.spawn(forward);
            }
            Decision::Drop => {}
        }
    }
    Ok(())
}

async fn forward_datagram(
    socket: Arc<UdpSocket>,
    sandbox: Arc<Sandbox>,
    message: Vec<u8>,
    client: SocketAddr,
    permit: OwnedSemaphorePermit,
) {
    if let Some(reply) = sandbox.forward(&message, Transport::Udp).await {
        send(&socket, &reply, client);
    }
    drop(permit);
}

/// Sends a reply, or loses it as a network may: a client that hears nothing asks again.
fn send(socket: &UdpSocket, reply: &[u8], client: SocketAddr) {
    let _ = socket.try_send_to(reply, client);
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
