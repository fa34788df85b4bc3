//! One exchange with one name server of the machine.
//!
//! The client's bytes go out as they came, with another ID; the reply comes back as it came, with the
//! client's. Sockets are opened in the network namespace of the calling thread.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use hickory_proto::op::{Header, Message, MessageType, Query, ResponseCode};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};
use nix::sys::socket::{setsockopt, sockopt};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, timeout_at};

/// When a datagram is sent a second time, so that one lost packet does not cost a name server.
const RESEND: Duration = Duration::from_secs(1);

/// A client's query, and what is needed to recognise its reply.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    bytes: &'a [u8],
    id: [u8; 2],
    query: Query,
}

/// A reply to the question that was asked, with the ID of the exchange.
#[derive(Debug)]
pub(super) struct Received {
    bytes: Vec<u8>,
    /// Whether it was cut.
    pub(super) truncated: bool,
    /// What it says, without the bits in its OPT record.
    pub(super) code: ResponseCode,
}

impl<'a> Asked<'a> {
    /// `None` when the bytes are no query with one question.
    pub(super) fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut decoder = BinDecoder::new(bytes);
        let header = Header::read(&mut decoder).ok()?;
        let query = (header.counts.queries == 1).then(|| Query::read(&mut decoder).ok());
        Some(Self { bytes, id: *bytes.first_chunk()?, query: query.flatten()? })
    }

    /// The query under an ID of its own.
    fn under(&self, id: [u8; 2]) -> Vec<u8> {
        let mut bytes = id.to_vec();
        bytes.extend(self.bytes.iter().skip(2));
        bytes
    }

    /// The reply under the client's ID.
    pub(super) fn returned(&self, received: Received) -> Vec<u8> {
        let mut bytes = received.bytes;
        if let Some(id) = bytes.first_chunk_mut() {
            *id = self.id;
        }
        bytes
    }

    /// The reply, if these bytes are one to this question under this ID.
    fn recognise(&self, id: [u8; 2], bytes: Vec<u8>) -> Option<Received> {
        let mut decoder = BinDecoder::new(&bytes);
        let Header { metadata, counts } = Header::read(&mut decoder).ok()?;
        if metadata.message_type != MessageType::Response || metadata.id.to_be_bytes() != id {
            return None;
        }
        let same_question = match counts.queries {
            // Some servers refuse without repeating the question.
            0 => metadata.response_code != ResponseCode::NoError,
            1 => Query::read(&mut decoder).is_ok_and(|query| query == self.query),
            _ => false,
        };
        same_question.then_some(Received {
            truncated: metadata.truncation,
            code: metadata.response_code,
            bytes,
        })
    }
}

/// Asks by UDP, from a fresh port, until `deadline`.
///
/// # Errors
/// `TimedOut`, or what the kernel answered: `ECONNREFUSED` when nobody listens there, `EHOSTUNREACH`
/// or `ENETUNREACH` when it is out of reach.
pub(super) async fn ask_datagram(
    asked: &Asked<'_>,
    upstream: SocketAddr,
    deadline: Instant,
) -> io::Result<Received> {
    let socket = UdpSocket::bind(any_port(upstream)).await?;
    // Without this the kernel tells of closed ports only, and not of hosts out of reach (udp(7)).
    match upstream {
        SocketAddr::V4(_) => setsockopt(&socket, sockopt::Ipv4RecvErr, &true)?,
        SocketAddr::V6(_) => setsockopt(&socket, sockopt::Ipv6RecvErr, &true)?,
    }
    socket.connect(upstream).await?;
    let id = fresh_id();
    let bytes = asked.under(id);
    socket.send(&bytes).await?;
    let resend = deadline.min(Instant::now() + RESEND);
    if let Ok(reply) = timeout_at(resend, receive(asked, id, &socket)).await {
        return reply;
    }
    socket.send(&bytes).await?;
    timeout_at(deadline, receive(asked, id, &socket)).await?
}

/// Waits for a reply to what was asked; anything else is passed over.
async fn receive(asked: &Asked<'_>, id: [u8; 2], socket: &UdpSocket) -> io::Result<Received> {
    loop {
        reachable(socket).await?;
        // Allocated only now: a query that waits holds no buffer.
        let mut bytes = Vec::with_capacity(usize::from(u16::MAX));
        match socket.try_recv_buf(&mut bytes) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        }
        bytes.shrink_to_fit();
        if let Some(received) = asked.recognise(id, bytes) {
            return Ok(received);
        }
    }
}

/// Waits until there is something to read, or the word that nobody is there: tokio does not take
/// that for readable.
async fn reachable(socket: &UdpSocket) -> io::Result<()> {
    let ready = socket.ready(Interest::READABLE.add(Interest::ERROR)).await?;
    if !ready.is_error() {
        return Ok(());
    }
    // The error may have been read by a send already; then the readiness is stale.
    let _: io::Result<()> =
        socket.try_io(Interest::ERROR, || Err(io::ErrorKind::WouldBlock.into()));
    socket.take_error()?.map_or(Ok(()), Err)
}

/// Asks by TCP until `deadline`.
///
/// # Errors
/// `TimedOut`, `InvalidData` when the reply is to something else, or what the kernel answered.
pub(super) async fn ask_stream(
    asked: &Asked<'_>,
    upstream: SocketAddr,
    deadline: Instant,
) -> io::Result<Received> {
    timeout_at(deadline, converse(asked, upstream)).await?
}

async fn converse(asked: &Asked<'_>, upstream: SocketAddr) -> io::Result<Received> {
    let mut stream = TcpStream::connect(upstream).await?;
    let id = fresh_id();
    let query = asked.under(id);
    let length = u16::try_from(query.len()).map_err(io::Error::other)?;
    let mut frame = length.to_be_bytes().to_vec();
    frame.extend(query);
    stream.write_all(&frame).await?;
    let mut bytes = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut bytes).await?;
    asked.recognise(id, bytes).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
}

/// Port 0 lets the kernel choose one at random, which with the ID is what a forger has to guess
/// (RFC 5452).
fn any_port(upstream: SocketAddr) -> SocketAddr {
    let any = match upstream.ip() {
        IpAddr::V4(_) => IpAddr::from(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::from(Ipv6Addr::UNSPECIFIED),
    };
    SocketAddr::new(any, 0)
}

/// An ID from hickory's generator, which is seeded by the system.
fn fresh_id() -> [u8; 2] {
    Message::query().metadata.id.to_be_bytes()
}
