//! The built-in image `builtin:echo`: what it gets, it gives back (RFC 862), by TCP, UDP, and SCTP
//! where the kernel has it.
//!
//! One thread and one `poll` loop, as `builtin:whoami`. It keeps nothing of what it echoes, and
//! reads no more of a connection while the client takes nothing.

mod connection;
mod datagrams;
mod sctp;

use std::io;
use std::net::{SocketAddrV4, TcpListener};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use self::connection::{Connection, Fate};
use self::datagrams::Datagrams;
use super::whoami::is_of_one_client;

/// More clients than this wait in the kernel's backlog.
pub const MOST_CONNECTIONS: usize = 512;

/// A connection on which nothing moves for this long is closed.
pub const IDLE: Duration = Duration::from_secs(300);

/// How long clients may take for what is still being echoed to them after the stop.
pub const GRACE: Duration = Duration::from_secs(2);

/// How long to leave clients waiting when a descriptor for them cannot be had.
const PAUSE: Duration = Duration::from_millis(100);

/// How often a free port is looked for that both TCP and UDP can have.
const ATTEMPTS: usize = 20;

/// Serves on `listen`, in the network namespace of the calling thread, until `stop` is readable or
/// its other end is closed. `greeting` comes before what is echoed: once on each connection, and in
/// each datagram.
///
/// `ready` is called once all is bound, with the address.
///
/// # Errors
/// When the address cannot be bound, or polling fails. Nothing that a client does is an error, and
/// neither is a kernel without SCTP.
pub fn serve(
    listen: SocketAddrV4,
    greeting: &[u8],
    stop: BorrowedFd<'_>,
    ready: impl FnOnce(SocketAddrV4),
) -> io::Result<()> {
    let (tcp, datagrams) = bind(listen)?;
    let bound = SocketAddrV4::new(*listen.ip(), tcp.local_addr()?.port());
    let mut listeners = vec![tcp];
    match sctp::listen(bound) {
        Ok(sctp) => listeners.push(sctp),
        Err(error) => eprintln!("no SCTP: {error}"),
    }
    let mut server = Server {
        greeting,
        listeners,
        datagrams: Some(datagrams),
        connections: Vec::new(),
        buffer: vec![0; 16 << 10],
        accept_from: None,
        end: None,
    };
    ready(bound);
    while !server.is_done() {
        server.turn(stop)?;
    }
    Ok(())
}

/// TCP and UDP on the same port.
fn bind(listen: SocketAddrV4) -> io::Result<(TcpListener, Datagrams)> {
    let mut attempts = if listen.port() == 0 { ATTEMPTS } else { 1 };
    loop {
        let tcp = TcpListener::bind(listen)?;
        tcp.set_nonblocking(true)?;
        let port = tcp.local_addr()?.port();
        attempts -= 1;
        match Datagrams::bind(SocketAddrV4::new(*listen.ip(), port)) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && attempts > 0 => {}
            datagrams => return Ok((tcp, datagrams?)),
        }
    }
}

struct Server<'a> {
    greeting: &'a [u8],
    /// None after the stop, and so are the datagrams.
    listeners: Vec<TcpListener>,
    datagrams: Option<Datagrams>,
    connections: Vec<Connection>,
    /// What was just read, of whichever client.
    buffer: Vec<u8>,
    /// Set while a shortage keeps it from accepting.
    accept_from: Option<Instant>,
    /// When what is being echoed is given up; set by the stop.
    end: Option<Instant>,
}

/// What one `poll` found.
struct Events {
    stop: bool,
    accept: bool,
    datagrams: bool,
    /// One for each connection, in order.
    connections: Vec<bool>,
}

impl Server<'_> {
    fn is_done(&self) -> bool {
        self.end.is_some() && self.connections.is_empty()
    }

    fn turn(&mut self, stop: BorrowedFd<'_>) -> io::Result<()> {
        let events = self.wait(stop)?;
        let now = Instant::now();
        if let Some(datagrams) = self.datagrams.as_mut().filter(|_| events.datagrams) {
            datagrams.echo(self.greeting);
        }
        let buffer = &mut self.buffer;
        let mut ready = events.connections.iter();
        self.connections.retain_mut(|connection| {
            let ready = ready.next().copied().unwrap_or(false);
            !(ready && connection.advance(buffer, now) == Fate::Over) && now < connection.deadline()
        });
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
        let mut push = |descriptor| {
            polled.push(PollFd::new(descriptor, PollFlags::POLLIN));
            polled.len() - 1
        };
        let stop_at = self.end.is_none().then(|| push(stop));
        let datagrams_at = self.datagrams.as_ref().map(|datagrams| push(datagrams.as_fd()));
        let may_accept = self.connections.len() < MOST_CONNECTIONS
            && self.accept_from.is_none_or(|from| now >= from);
        let listeners = self.listeners.iter().filter(|_| may_accept);
        let accept_at: Vec<usize> = listeners.map(|listener| push(listener.as_fd())).collect();
        match poll(&mut polled, self.timeout(now)) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(io::Error::from(errno)),
        }
        let ready = |at: usize| polled.get(at).and_then(PollFd::any).unwrap_or(false);
        Ok(Events {
            stop: stop_at.is_some_and(ready),
            accept: accept_at.into_iter().any(ready),
            datagrams: datagrams_at.is_some_and(ready),
            connections: (0..self.connections.len()).map(ready).collect(),
        })
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

    fn accept(&mut self, now: Instant) {
        self.accept_from = None;
        for listener in &self.listeners {
            while self.connections.len() < MOST_CONNECTIONS {
                match listener.accept() {
                    Ok((stream, _)) => {
                        if let Ok(mut connection) = Connection::new(stream, self.greeting, now)
                            // What it shall echo has often come with the connection.
                            && connection.advance(&mut self.buffer, now) == Fate::Open
                        {
                            self.connections.push(connection);
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) if is_of_one_client(&error) => {}
                    Err(_) => {
                        self.accept_from = Some(now + PAUSE);
                        break;
                    }
                }
            }
        }
    }

    /// Takes no more clients; those there are get what they have sent so far.
    fn stop(&mut self, now: Instant) {
        self.listeners.clear();
        self.datagrams = None;
        self.end = Some(now + GRACE);
        let buffer = &mut self.buffer;
        self.connections.retain_mut(|connection| connection.finish(buffer, now) == Fate::Open);
    }
}

#[cfg(test)]
mod tests;
