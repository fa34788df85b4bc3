//! The built-in image `builtin:whoami`: an HTTP server that says which task it is.
//!
//! One thread and one `poll` loop, whatever the number of clients: a hundred of these run on one
//! machine, and neither a thread's stack nor an allocator's arena per client is paid for. It is
//! there to be asked by a probe or by hand; it serves no files and reads no bodies.

mod address;
mod connection;
mod reply;
mod request;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use self::address::Addresses;
use self::connection::{Connection, Fate, Host};
use self::reply::After;

/// More clients than this wait in the kernel's backlog.
pub const MOST_CONNECTIONS: usize = 256;

/// How long requests in flight may take after the stop.
pub const GRACE: Duration = Duration::from_secs(5);

/// How long to leave clients waiting when a descriptor for them cannot be had.
const PAUSE: Duration = Duration::from_millis(100);

/// Who a task is, as it tells everyone who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub task: String,
    pub service: String,
    pub node: String,
}

/// A descriptor that becomes readable when the process is asked to end (`SIGTERM`, `SIGINT`).
///
/// Blocks both signals for the calling thread: call it before any other thread is started. Blocked
/// signals reach even the first process of a PID namespace, where unhandled ones are dropped.
///
/// # Errors
/// What the kernel answered.
pub fn termination() -> io::Result<SignalFd> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGTERM);
    signals.add(Signal::SIGINT);
    signals.thread_block()?;
    Ok(SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?)
}

/// Serves on `listen`, in the network namespace of the calling thread, until `stop` is readable or
/// its other end is closed. Then requests in flight are finished, for at most [`GRACE`].
///
/// `ready` is called once connections are accepted, with the address that was bound.
///
/// # Errors
/// When the address cannot be bound (`AddrInUse`, `PermissionDenied` below port 1024), or polling
/// fails. Nothing that a client does is an error.
pub fn serve(
    identity: &Identity,
    listen: SocketAddr,
    stop: BorrowedFd<'_>,
    ready: impl FnOnce(SocketAddr),
) -> io::Result<()> {
    let listener = TcpListener::bind(listen)?;
    listener.set_nonblocking(true)?;
    let bound = listener.local_addr()?;
    let hostname = nix::unistd::gethostname()?.to_string_lossy().into_owned();
    let host =
        Host { identity, hostname, addresses: Addresses::default(), after: After::KeepAlive };
    let mut server = Server {
        host,
        listener: Some(listener),
        connections: Vec::new(),
        accept_from: None,
        end: None,
    };
    ready(bound);
    while !server.is_done() {
        server.turn(stop)?;
    }
    Ok(())
}

struct Server<'a> {
    host: Host<'a>,
    /// None after the stop.
    listener: Option<TcpListener>,
    connections: Vec<Connection>,
    /// Set while a shortage keeps it from accepting.
    accept_from: Option<Instant>,
    /// When what is in flight is given up; set by the stop.
    end: Option<Instant>,
}

/// What one `poll` found.
struct Events {
    stop: bool,
    accept: bool,
    /// One for each connection, in order.
    connections: Vec<bool>,
}

impl Server<'_> {
    fn is_done(&self) -> bool {
        self.listener.is_none() && self.connections.is_empty()
    }

    fn turn(&mut self, stop: BorrowedFd<'_>) -> io::Result<()> {
        let events = self.wait(stop)?;
        let now = Instant::now();
        self.serve_clients(&events, now);
        if events.accept || events.stop {
            self.accept(now);
        }
        if events.stop {
            self.stop(now);
        }
        if self.end.is_some_and(|end| now >= end) {
            self.connections.clear();
        }
        Ok(())
    }

    fn wait(&self, stop: BorrowedFd<'_>) -> io::Result<Events> {
        let now = Instant::now();
        let mut polled: Vec<PollFd<'_>> = self
            .connections
            .iter()
            .map(|connection| PollFd::new(connection.descriptor(), connection.interest()))
            .collect();
        let stop_at = self.end.is_none().then(|| push(&mut polled, stop));
        let listener = self.listener.as_ref().filter(|_| self.may_accept(now));
        let accept_at = listener.map(|listener| push(&mut polled, listener.as_fd()));
        match poll(&mut polled, self.timeout(now)) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(io::Error::from(errno)),
        }
        let ready = |at: usize| polled.get(at).and_then(PollFd::any).unwrap_or(false);
        Ok(Events {
            stop: stop_at.is_some_and(ready),
            accept: accept_at.is_some_and(ready),
            connections: (0..self.connections.len()).map(ready).collect(),
        })
    }

    fn may_accept(&self, now: Instant) -> bool {
        self.connections.len() < MOST_CONNECTIONS && self.accept_from.is_none_or(|from| now >= from)
    }

    /// Until the next deadline of anything, rounded up so that it is past when `poll` returns.
    fn timeout(&self, now: Instant) -> PollTimeout {
        let deadlines = self.connections.iter().map(Connection::deadline);
        let pause = self.accept_from.filter(|from| *from > now);
        match deadlines.chain(self.end).chain(pause).min() {
            None => PollTimeout::NONE,
            Some(next) => {
                let left = next.saturating_duration_since(now) + Duration::from_millis(1);
                PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
            }
        }
    }

    fn serve_clients(&mut self, events: &Events, now: Instant) {
        let host = &mut self.host;
        let mut ready = events.connections.iter();
        self.connections.retain_mut(|connection| {
            let mut fate = Fate::Open;
            if ready.next().copied().unwrap_or(false) {
                fate = connection.advance(host, now);
            }
            if fate == Fate::Open && now >= connection.deadline() {
                fate = connection.expire(host, now);
            }
            fate == Fate::Open
        });
    }

    fn accept(&mut self, now: Instant) {
        let Some(listener) = &self.listener else {
            return;
        };
        self.accept_from = None;
        while self.connections.len() < MOST_CONNECTIONS {
            match listener.accept() {
                Ok((stream, remote)) => {
                    if let Ok(mut connection) = Connection::new(stream, remote, now)
                        // The request has often come with the connection.
                        && connection.advance(&mut self.host, now) == Fate::Open
                    {
                        self.connections.push(connection);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if is_of_one_client(&error) => {}
                Err(_) => {
                    self.accept_from = Some(now + PAUSE);
                    return;
                }
            }
        }
    }

    /// Takes no more clients and closes the idle ones; those in flight have until the end.
    fn stop(&mut self, now: Instant) {
        self.listener = None;
        self.end = Some(now + GRACE);
        self.host.after = After::Close;
        let host = &mut self.host;
        self.connections.retain_mut(|connection| {
            !connection.is_between_requests()
                || (connection.advance(host, now) == Fate::Open
                    && !connection.is_between_requests())
        });
    }
}

/// Adds a descriptor that is waited for to be readable, and answers with its place.
fn push<'fd>(polled: &mut Vec<PollFd<'fd>>, descriptor: BorrowedFd<'fd>) -> usize {
    polled.push(PollFd::new(descriptor, PollFlags::POLLIN));
    polled.len() - 1
}

/// Whether `accept` failed because that client, or its network, is gone already (accept(2)).
pub(in crate::runtime) fn is_of_one_client(error: &io::Error) -> bool {
    let Some(code) = error.raw_os_error() else {
        return false;
    };
    matches!(
        Errno::from_raw(code),
        Errno::ECONNABORTED
            | Errno::EINTR
            | Errno::EPROTO
            | Errno::EPERM
            | Errno::ENETDOWN
            | Errno::ENETUNREACH
            | Errno::EHOSTDOWN
            | Errno::EHOSTUNREACH
    )
}

#[cfg(test)]
mod tests {
    use std::io::{PipeWriter, Read, Write, pipe};
    use std::net::TcpStream;
    use std::sync::mpsc;
    use std::thread::{self, JoinHandle};

    use super::*;

    /// A server on a port of loopback, stopped by closing the pipe.
    struct Running {
        address: SocketAddr,
        stop: Option<PipeWriter>,
        server: JoinHandle<io::Result<()>>,
    }

    const LONG: Duration = Duration::from_secs(20);

    impl Running {
        fn start() -> Self {
            let (reader, writer) = pipe().expect("a pipe");
            let (tell, told) = mpsc::channel();
            let server = thread::spawn(move || {
                let identity = Identity {
                    task: "collabweb.1".to_owned(),
                    service: "collabweb".to_owned(),
                    node: "node-1".to_owned(),
                };
                let any = SocketAddr::from(([127, 0, 0, 1], 0));
                serve(&identity, any, reader.as_fd(), |bound| {
                    let _ = tell.send(bound);
                })
            });
            let address = told.recv_timeout(LONG).expect("listens");
            Self { address, stop: Some(writer), server }
        }

        fn connect(&self) -> TcpStream {
            let stream = TcpStream::connect(self.address).expect("connects");
            stream.set_read_timeout(Some(LONG)).expect("a timeout");
            stream
        }

        /// Sends the bytes and reads until the server closes.
        fn ask(&self, bytes: &[u8]) -> String {
            let mut stream = self.connect();
            stream.write_all(bytes).expect("sent");
            let mut reply = String::new();
            stream.read_to_string(&mut reply).expect("a reply");
            reply
        }

        fn stop(mut self) -> Duration {
            let start = Instant::now();
            drop(self.stop.take());
            self.server.join().expect("no panic").expect("no error");
            start.elapsed()
        }
    }

    /// Reads one reply of a connection that stays open: head and body.
    fn read_reply(stream: &mut TcpStream) -> String {
        let mut reply = Vec::new();
        let mut byte = [0];
        loop {
            stream.read_exact(&mut byte).expect("a whole reply");
            reply.extend(byte);
            let text = String::from_utf8_lossy(&reply);
            if let Some((head, body)) = text.split_once("\r\n\r\n")
                && head.contains(&format!("Content-Length: {}\r\n", body.len()))
            {
                return text.into_owned();
            }
        }
    }

    #[test]
    fn a_request_is_told_who_answers_and_what_it_asked() {
        let server = Running::start();
        let reply = server
            .ask(b"GET /a?b=c HTTP/1.1\r\nHost: web\r\nX-Odd: a\xff\r\nConnection: close\r\n\r\n");
        let (head, body) = reply.split_once("\r\n\r\n").expect("a head");
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert!(head.contains("\r\nSwarmlb-Task: collabweb.1\r\n"), "{head}");
        assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())), "{head}");
        let lines: Vec<&str> = body.lines().collect();
        assert_eq!(
            lines.get(..3),
            Some(&["Task: collabweb.1", "Service: collabweb", "Node: node-1"][..])
        );
        assert!(lines.contains(&format!("LocalAddr: {}", server.address).as_str()), "{body}");
        assert!(body.contains("\nRemoteAddr: 127.0.0.1:"), "{body}");
        assert!(!body.contains("IP: 127."), "{body}");
        assert!(
            body.ends_with("GET /a?b=c HTTP/1.1\nHost: web\nX-Odd: a\\xff\nConnection: close\n"),
            "{body}"
        );
        server.stop();
    }

    #[test]
    fn json_is_given_to_api_and_to_those_who_accept_it() {
        let server = Running::start();
        for request in [
            "GET /api?x HTTP/1.0\r\nA: 1\r\nA: 2\r\n\r\n",
            "GET / HTTP/1.0\r\nAccept: text/html, application/json;q=0.9\r\nA: 1\r\nA: 2\r\n\r\n",
        ] {
            let reply = server.ask(request.as_bytes());
            let (head, body) = reply.split_once("\r\n\r\n").expect("a head");
            assert!(head.contains("Content-Type: application/json"), "{head}");
            let json: serde_json::Value = serde_json::from_str(body).expect("JSON");
            assert_eq!(json["task"], "collabweb.1");
            assert_eq!(json["local_addr"], server.address.to_string());
            assert_eq!(json["headers"]["A"], serde_json::json!(["1", "2"]));
        }
        server.stop();
    }

    #[test]
    fn a_kept_connection_answers_again_and_pipelined_requests_in_order() {
        let server = Running::start();
        let mut stream = server.connect();
        for path in ["/1", "/2"] {
            write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
            let reply = read_reply(&mut stream);
            assert!(reply.contains(&format!("\nGET {path} HTTP/1.1\n")), "{reply}");
        }
        let many: String =
            (0..300).map(|at| format!("GET /{at} HTTP/1.1\r\nHost:\r\n\r\n")).collect();
        stream.write_all(many.as_bytes()).expect("sent");
        for at in 0..300 {
            let reply = read_reply(&mut stream);
            assert!(reply.contains(&format!("\nGET /{at} HTTP/1.1\n")), "{reply}");
        }
        server.stop();
    }

    #[test]
    fn head_has_the_length_of_the_body_and_no_body() {
        let server = Running::start();
        let get = server.ask(b"GET / HTTP/1.0\r\n\r\n");
        let body = get.split_once("\r\n\r\n").expect("a head").1;
        let head = server.ask(b"HEAD / HTTP/1.0\r\n\r\n");
        // The method in the echo is one letter longer, and so may be the client's port.
        let lengths =
            (body.len()..body.len() + 3).map(|length| format!("Content-Length: {length}\r\n"));
        assert!(lengths.into_iter().any(|length| head.contains(&length)), "{head}");
        assert!(head.ends_with("\r\n\r\n"), "{head}");
        server.stop();
    }

    #[test]
    fn what_cannot_be_answered_is_refused_with_its_status_and_closed() {
        let server = Running::start();
        let large = format!("GET / HTTP/1.1\r\nHost: x\r\nA: {}", "a".repeat(20_000));
        for (request, status) in [
            ("nonsense\r\n\r\n", "400 Bad Request"),
            ("GET / HTTP/1.1\r\n\r\n", "400 Bad Request"),
            (large.as_str(), "431 Request Header Fields Too Large"),
            ("GET / HTTP/3.0\r\n\r\n", "505 HTTP Version Not Supported"),
            ("DELETE / HTTP/1.0\r\n\r\n", "405 Method Not Allowed"),
        ] {
            let reply = server.ask(request.as_bytes());
            assert!(reply.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{reply}");
            assert!(reply.contains("\r\nSwarmlb-Task: collabweb.1\r\n"), "{reply}");
        }
        server.stop();
    }

    #[test]
    fn a_slow_client_is_told_and_cut_while_others_are_served() {
        let server = Running::start();
        let mut slow = server.connect();
        slow.write_all(b"GET / HT").expect("sent");
        let start = Instant::now();
        assert!(server.ask(b"GET / HTTP/1.0\r\n\r\n").contains("200 OK"));
        assert!(start.elapsed() < connection::PATIENCE);
        let mut reply = String::new();
        slow.read_to_string(&mut reply).expect("a reply");
        assert!(reply.starts_with("HTTP/1.1 408 "), "{reply}");
        let waited = start.elapsed();
        assert!(
            waited >= connection::PATIENCE - Duration::from_millis(100) && waited < LONG,
            "{waited:?}"
        );
        server.stop();
    }

    #[test]
    fn more_clients_than_the_bound_wait_and_are_served() {
        let server = Running::start();
        let mut idle: Vec<TcpStream> = (0..MOST_CONNECTIONS).map(|_| server.connect()).collect();
        let mut late = server.connect();
        late.write_all(b"GET / HTTP/1.0\r\n\r\n").expect("sent");
        late.set_read_timeout(Some(Duration::from_millis(200))).expect("a timeout");
        assert!(late.read(&mut [0; 16]).is_err(), "served beyond the bound");
        drop(idle.pop());
        late.set_read_timeout(Some(LONG)).expect("a timeout");
        let mut reply = String::new();
        late.read_to_string(&mut reply).expect("a reply");
        assert!(reply.contains("200 OK"), "{reply}");
        drop(idle);
        server.stop();
    }

    #[test]
    fn the_stop_finishes_what_is_in_flight_and_closes_what_is_idle() {
        let server = Running::start();
        let address = server.address;
        let mut idle = server.connect();
        idle.write_all(b"GET /idle HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
        read_reply(&mut idle);
        let mut flying = server.connect();
        flying.write_all(b"GET /late HTTP/1.1\r\n").expect("sent");
        let stopped = thread::spawn(move || server.stop());
        assert_eq!(idle.read(&mut [0; 1]).expect("closed"), 0);
        let refused = TcpStream::connect(address).is_err();
        flying.write_all(b"Host: x\r\n\r\n").expect("sent");
        let mut reply = String::new();
        flying.read_to_string(&mut reply).expect("a reply");
        assert!(
            reply.contains("GET /late") && reply.contains("\r\nConnection: close\r\n"),
            "{reply}"
        );
        assert!(stopped.join().expect("no panic") < GRACE);
        assert!(refused, "a stopped server still listens");
    }

    #[test]
    fn a_request_that_never_ends_delays_the_stop_by_the_grace_only() {
        let server = Running::start();
        let mut stuck = server.connect();
        stuck.write_all(b"GET /").expect("sent");
        // The server has seen it when it has answered one that came later.
        server.ask(b"GET / HTTP/1.0\r\n\r\n");
        let took = server.stop();
        assert!(took >= GRACE && took < GRACE + Duration::from_secs(3), "{took:?}");
    }

    #[test]
    fn an_address_in_use_is_an_error() {
        let server = Running::start();
        let identity =
            Identity { task: String::new(), service: String::new(), node: String::new() };
        let (stop, _writer) = pipe().expect("a pipe");
        let error = serve(&identity, server.address, stop.as_fd(), |_| {}).expect_err("in use");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        server.stop();
    }
}
