//! Asking one name server one question from inside a namespace, as a task's resolver would, and
//! saying exactly what came back.
//!
//! Synchronous, without a cache, a search list or a second name server: it measures a server, it
//! does not resolve on behalf of anyone. The calling thread stays in its own namespace.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use hickory_proto::op::{Edns, Message, MessageType, Query, ResponseCode};
use hickory_proto::rr::Name;

pub use hickory_proto::rr::RecordType;

pub use super::resolution::{Resolution, ResolveError};
use crate::dns::name;
pub use crate::dns::request::Transport;
use crate::kernel::netns;

/// How often a datagram is sent before its server counts as silent.
const TRIES: u32 = 2;
/// The largest UDP reply asked for by EDNS, in bytes (DNS flag day 2020).
const PAYLOAD: u16 = 1232;
/// What a reply by UDP is read into: more than was asked for, should a server send more.
const LARGEST_DATAGRAM: usize = 4096;
/// The longest a lookup may last; a longer timeout means this.
const LONGEST: Duration = Duration::from_secs(3600);

/// Asks `server` once, from a socket opened inside `namespace`, sending a second time when the first
/// is not answered, and by TCP when the reply is cut. `timeout` bounds all of it.
///
/// An address may be given as the name of a PTR question.
///
/// # Errors
/// When there is no answer at all; an answer such as NXDOMAIN is a [`Resolution`].
pub fn resolve(
    namespace: BorrowedFd<'_>,
    server: SocketAddr,
    name: &str,
    record: RecordType,
    timeout: Duration,
) -> Result<Resolution, ResolveError> {
    Client::open(namespace, server, timeout)?.lookup(name, record)
}

/// Asks one server many times from one socket.
#[derive(Debug)]
pub struct Client {
    namespace: OwnedFd,
    server: SocketAddr,
    socket: UdpSocket,
    timeout: Duration,
    buffer: Vec<u8>,
}

impl Client {
    /// Opens a socket inside `namespace`. `timeout` bounds each lookup, retry and TCP included.
    ///
    /// # Errors
    /// [`ResolveError::Io`] when the namespace cannot be entered or the socket not opened.
    pub fn open(
        namespace: BorrowedFd<'_>,
        server: SocketAddr,
        timeout: Duration,
    ) -> Result<Self, ResolveError> {
        let socket = netns::within(namespace, || {
            let socket = UdpSocket::bind(any_port(server))?;
            socket.connect(server)?;
            Ok::<_, io::Error>(socket)
        })
        .map_err(|source| refused_by_kernel("enter the namespace", source))?
        .map_err(|source| refused_by_kernel("open a UDP socket in the namespace", source))?;
        let namespace = namespace
            .try_clone_to_owned()
            .map_err(|source| refused_by_kernel("keep the namespace", source))?;
        Ok(Self {
            namespace,
            server,
            socket,
            timeout: timeout.min(LONGEST),
            buffer: vec![0; LARGEST_DATAGRAM],
        })
    }

    /// Asks one question and waits for its answer.
    ///
    /// # Errors
    /// As [`resolve`].
    pub fn lookup(&mut self, name: &str, record: RecordType) -> Result<Resolution, ResolveError> {
        let question = question(name, record)?;
        let started = Instant::now();
        let deadline = started + self.timeout;
        let mut transport = Transport::Udp;
        let mut reply = self.ask_datagram(&question, started)?;
        if reply.metadata.truncation {
            transport = Transport::Tcp;
            reply = self.ask_stream(&question, deadline)?;
        }
        Ok(Resolution::read(&reply, transport, started.elapsed()))
    }

    fn ask_datagram(
        &mut self,
        question: &Message,
        started: Instant,
    ) -> Result<Message, ResolveError> {
        let bytes = self.encode(question)?;
        for attempt in 1..=TRIES {
            self.socket
                .send(&bytes)
                .map_err(|source| self.failed("send the question", source, Transport::Udp))?;
            let until = started + self.timeout * attempt / TRIES;
            if let Some(reply) = self.receive(question, until)? {
                return Ok(reply);
            }
        }
        Err(ResolveError::TimedOut {
            server: self.server,
            transport: Transport::Udp,
            waited: started.elapsed(),
        })
    }

    /// Waits for the reply; `None` when it is not there in time. What answers another question, such
    /// as an earlier one given up, is passed over.
    fn receive(
        &mut self,
        question: &Message,
        until: Instant,
    ) -> Result<Option<Message>, ResolveError> {
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.socket
                .set_read_timeout(Some(left))
                .map_err(|source| refused_by_kernel("set a timeout", source))?;
            let length = match self.socket.recv(&mut self.buffer) {
                Ok(length) => length,
                Err(error) if is_timeout(&error) => return Ok(None),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(source) => {
                    return Err(self.failed("receive the reply", source, Transport::Udp));
                }
            };
            let bytes = self.buffer.get(..length).unwrap_or_default();
            if bytes.first_chunk() != Some(&question.metadata.id.to_be_bytes()) {
                continue;
            }
            let reply = self.decode(bytes)?;
            if is_reply(&reply, question) {
                return Ok(Some(reply));
            }
        }
    }

    fn ask_stream(&self, question: &Message, deadline: Instant) -> Result<Message, ResolveError> {
        let bytes = self.encode(question)?;
        let exchanged =
            netns::within(self.namespace.as_fd(), || exchange(self.server, &bytes, deadline))
                .map_err(|source| refused_by_kernel("enter the namespace", source))?
                .map_err(|source| self.failed("ask by TCP", source, Transport::Tcp))?;
        let reply = self.decode(&exchanged)?;
        match is_reply(&reply, question) {
            true => Ok(reply),
            false => Err(self.malformed("it answers another question")),
        }
    }

    fn encode(&self, question: &Message) -> Result<Vec<u8>, ResolveError> {
        question
            .to_vec()
            .map_err(|error| refused_by_kernel("write the question", io::Error::other(error)))
    }

    fn decode(&self, bytes: &[u8]) -> Result<Message, ResolveError> {
        Message::from_vec(bytes).map_err(|error| self.malformed(error))
    }

    fn malformed(&self, reason: impl ToString) -> ResolveError {
        ResolveError::Malformed { server: self.server, reason: reason.to_string() }
    }

    fn failed(
        &self,
        action: &'static str,
        source: io::Error,
        transport: Transport,
    ) -> ResolveError {
        if source.kind() == ErrorKind::ConnectionRefused {
            return ResolveError::Refused { server: self.server, transport };
        }
        if is_timeout(&source) {
            return ResolveError::TimedOut { server: self.server, transport, waited: self.timeout };
        }
        ResolveError::Io { action, source }
    }
}

fn refused_by_kernel(action: &'static str, source: io::Error) -> ResolveError {
    ResolveError::Io { action, source }
}

/// A question under a random ID, with EDNS.
pub(super) fn question(name: &str, record: RecordType) -> Result<Message, ResolveError> {
    let asked = match (record, name.parse::<IpAddr>()) {
        (RecordType::PTR, Ok(address)) => Name::from(address),
        _ => name::absolute(name)
            .map_err(|source| ResolveError::Name { name: name.to_owned(), source })?,
    };
    let mut edns = Edns::new();
    edns.set_max_payload(PAYLOAD);
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(asked, record));
    message.set_edns(edns);
    Ok(message)
}

/// Whether a message is the reply to a question. A server that found it malformed may not repeat it.
fn is_reply(reply: &Message, question: &Message) -> bool {
    let same_question = match reply.queries.is_empty() {
        true => reply.metadata.response_code != ResponseCode::NoError,
        false => reply.queries == question.queries,
    };
    reply.metadata.message_type == MessageType::Response
        && reply.metadata.id == question.metadata.id
        && same_question
}

/// One question and its reply by TCP, on the calling thread.
fn exchange(server: SocketAddr, question: &[u8], deadline: Instant) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&server, left(deadline)?)?;
    let length = u16::try_from(question.len()).map_err(io::Error::other)?;
    let mut frame = length.to_be_bytes().to_vec();
    frame.extend(question);
    stream.set_write_timeout(Some(left(deadline)?))?;
    stream.write_all(&frame)?;
    let mut prefix = [0; 2];
    read_until(&mut stream, &mut prefix, deadline)?;
    let mut reply = vec![0; usize::from(u16::from_be_bytes(prefix))];
    read_until(&mut stream, &mut reply, deadline)?;
    Ok(reply)
}

/// Fills `buffer`, however slowly the bytes come, until `deadline`.
fn read_until(stream: &mut TcpStream, buffer: &mut [u8], deadline: Instant) -> io::Result<()> {
    let mut rest = buffer;
    while !rest.is_empty() {
        stream.set_read_timeout(Some(left(deadline)?))?;
        match stream.read(rest) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(length) => rest = rest.get_mut(length..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    match left.is_zero() {
        true => Err(ErrorKind::TimedOut.into()),
        false => Ok(left),
    }
}

/// Linux says `EAGAIN` when a socket's own timeout passes.
fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

fn any_port(server: SocketAddr) -> SocketAddr {
    let any = match server.ip() {
        IpAddr::V4(_) => IpAddr::from(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::from(Ipv6Addr::UNSPECIFIED),
    };
    SocketAddr::new(any, 0)
}
