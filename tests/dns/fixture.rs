//! A running resolver, a name server that does as it is told, and clients, all on loopback.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{RData, Record, RecordType};
use swarmlb::dns::forwarder::Forwarder;
use swarmlb::dns::name;
use swarmlb::dns::server::{Counts, Resolver, Seat, Shared};
use swarmlb::node::zone::Zone;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::watch;
use tokio::task::{JoinHandle, yield_now};
use tokio::time::timeout;

/// How long anything may take that should take no time.
pub const SOON: Duration = Duration::from_secs(5);
pub const LOCAL: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);

pub fn zone(names: &[(&str, &[&str])]) -> Zone {
    let mut zone = Zone::default();
    for (name, addresses) in names {
        let addresses: Vec<IpAddr> = addresses.iter().map(|text| text.parse().unwrap()).collect();
        zone.add(name, 2, &addresses);
    }
    zone
}

/// A zone whose `tasks.big` has 300 addresses: too many for a datagram.
pub fn crowded() -> Zone {
    let mut zone = Zone::default();
    let addresses = (0..300_u16).map(|task| {
        let [high, low] = task.to_be_bytes();
        IpAddr::from([10, 1, high, low])
    });
    zone.add("tasks.big", 2, &addresses.collect::<Vec<_>>());
    zone
}

pub fn query(text: &str, kind: RecordType) -> Message {
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(name::absolute(text).unwrap(), kind));
    message
}

pub fn addresses(reply: &Message) -> Vec<String> {
    let data = reply.answers.iter().map(|record| &record.data);
    data.filter_map(RData::ip_addr).map(|address| address.to_string()).collect()
}

/// The sockets of a sandbox that is like any other.
pub fn seat(udp: std::net::UdpSocket, tcp: std::net::TcpListener) -> Seat {
    Seat { udp, tcp, owner: 1, first_turn: 0 }
}

/// A resolver on ephemeral ports.
pub struct Serving {
    pub resolver: Resolver,
    pub zones: watch::Sender<Arc<Zone>>,
    pub udp: SocketAddr,
    pub tcp: SocketAddr,
}

impl Serving {
    pub fn start(zone: Zone, forwarder: Forwarder) -> Self {
        let seat = seat(
            std::net::UdpSocket::bind(LOCAL).unwrap(),
            std::net::TcpListener::bind(LOCAL).unwrap(),
        );
        let (zones, watched) = watch::channel(Arc::new(zone));
        let (at_udp, at_tcp) = (seat.udp.local_addr().unwrap(), seat.tcp.local_addr().unwrap());
        let shared = Arc::new(Shared::new(forwarder).unwrap());
        Self {
            resolver: Resolver::serve(seat, watched, shared).unwrap(),
            zones,
            udp: at_udp,
            tcp: at_tcp,
        }
    }

    pub fn counts(&self) -> Counts {
        self.resolver.counters().read()
    }

    /// Waits until the counters say so.
    pub async fn counted(&self, enough: impl Fn(Counts) -> bool) {
        let wait = async {
            while !enough(self.counts()) {
                yield_now().await;
            }
        };
        let waited = timeout(SOON, wait).await;
        assert!(waited.is_ok(), "stuck at {:?}", self.counts());
    }

    pub async fn datagrams(&self) -> Datagrams {
        Datagrams::to(self.udp).await
    }

    pub async fn stream(&self) -> Stream {
        Stream::to(self.tcp).await
    }
}

/// A client that asks by UDP.
pub struct Datagrams(pub UdpSocket);

impl Datagrams {
    pub async fn to(server: SocketAddr) -> Self {
        let socket = UdpSocket::bind(LOCAL).await.unwrap();
        socket.connect(server).await.unwrap();
        Self(socket)
    }

    pub async fn send(&self, message: &Message) {
        self.0.send(&message.to_vec().unwrap()).await.unwrap();
    }

    pub async fn receive_within(&self, limit: Duration) -> Option<(Message, usize)> {
        let mut buffer = vec![0; 65535];
        let length = timeout(limit, self.0.recv(&mut buffer)).await.ok()?.ok()?;
        let reply = Message::from_vec(buffer.get(..length)?).unwrap();
        Some((reply, length))
    }

    pub async fn receive(&self) -> Message {
        let received = self.receive_within(SOON).await;
        received.expect("a reply comes soon").0
    }

    /// Takes in what has come.
    pub async fn drain(&self) {
        let mut buffer = vec![0; 65535];
        while timeout(Duration::from_millis(20), self.0.recv(&mut buffer)).await.is_ok() {}
    }

    pub async fn ask(&self, message: &Message) -> Message {
        self.send(message).await;
        let reply = self.receive().await;
        assert_eq!(reply.metadata.id, message.metadata.id);
        reply
    }
}

/// A client that asks by TCP.
pub struct Stream(pub TcpStream);

impl Stream {
    pub async fn to(server: SocketAddr) -> Self {
        Self(TcpStream::connect(server).await.unwrap())
    }

    pub async fn send(&mut self, messages: &[Message]) {
        let frames: Vec<Vec<u8>> = messages.iter().map(frame).collect();
        self.0.write_all(&frames.concat()).await.unwrap();
    }

    /// The next reply; `None` when the server closed the connection.
    pub async fn receive_within(&mut self, limit: Duration) -> Option<Message> {
        let reply = timeout(limit, read_frame(&mut self.0)).await;
        Some(Message::from_vec(&reply.expect("a reply or an end comes soon")?).unwrap())
    }

    pub async fn receive(&mut self) -> Option<Message> {
        self.receive_within(SOON).await
    }
}

pub fn frame(message: &Message) -> Vec<u8> {
    prefixed(&message.to_vec().unwrap())
}

fn prefixed(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap();
    [length.to_be_bytes().as_slice(), bytes].concat()
}

async fn read_frame(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let length = stream.read_u16().await.ok()?;
    let mut bytes = vec![0; usize::from(length)];
    stream.read_exact(&mut bytes).await.ok()?;
    Some(bytes)
}

/// A name server that answers each query with the messages a script makes of it, in order.
pub struct Upstream {
    pub address: SocketAddr,
    tasks: [JoinHandle<()>; 2],
}

impl Upstream {
    pub async fn start(
        mut by_udp: impl FnMut(&[u8]) -> Vec<Vec<u8>> + Send + 'static,
        mut by_tcp: impl FnMut(&[u8]) -> Vec<Vec<u8>> + Send + 'static,
    ) -> Self {
        let (socket, listener) = same_port().await;
        let address = socket.local_addr().unwrap();
        let datagrams = tokio::spawn(async move {
            let mut buffer = vec![0; 4096];
            loop {
                let (length, client) = socket.recv_from(&mut buffer).await.unwrap();
                for reply in by_udp(buffer.get(..length).unwrap()) {
                    socket.send_to(&reply, client).await.unwrap();
                }
            }
        });
        let streams = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                if let Some(query) = read_frame(&mut stream).await {
                    for reply in by_tcp(&query) {
                        stream.write_all(&prefixed(&reply)).await.unwrap();
                    }
                }
            }
        });
        Self { address, tasks: [datagrams, streams] }
    }

    /// One that answers by UDP only.
    pub async fn udp(by_udp: impl FnMut(&[u8]) -> Vec<Vec<u8>> + Send + 'static) -> Self {
        Self::start(by_udp, |_| Vec::new()).await
    }

    /// One that answers every question with this address.
    pub async fn answering(address: [u8; 4]) -> Self {
        Self::udp(move |query| vec![answered(query, address)]).await
    }

    /// One that takes queries and never answers.
    pub async fn silent() -> Self {
        Self::udp(|_| Vec::new()).await
    }

    /// One that answers every question with this code.
    pub async fn declining(code: ResponseCode) -> Self {
        Self::udp(move |query| vec![coded(query, code)]).await
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

async fn same_port() -> (UdpSocket, TcpListener) {
    for _ in 0..100 {
        let listener = TcpListener::bind(LOCAL).await.unwrap();
        if let Ok(socket) = UdpSocket::bind(listener.local_addr().unwrap()).await {
            return (socket, listener);
        }
    }
    panic!("no port is free for both UDP and TCP");
}

pub fn answered(query: &[u8], address: [u8; 4]) -> Vec<u8> {
    let mut reply = Message::from_vec(query).unwrap().into_response();
    let owner = reply.queries.first().unwrap().name.clone();
    let data = RData::A(A(address.into()));
    reply.add_answer(Record::from_rdata(owner, 60, data));
    reply.to_vec().unwrap()
}

pub fn coded(query: &[u8], code: ResponseCode) -> Vec<u8> {
    let mut reply = Message::from_vec(query).unwrap().into_response();
    reply.metadata.response_code = code;
    reply.to_vec().unwrap()
}

pub fn cut(query: &[u8]) -> Vec<u8> {
    let mut reply = Message::from_vec(query).unwrap().into_response();
    reply.metadata.truncation = true;
    reply.to_vec().unwrap()
}
