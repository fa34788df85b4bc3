//! Connections from inside sandboxes.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use super::swarmlb_command::inside;

const PATIENCE: Duration = Duration::from_secs(5);

/// What a whoami task answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    pub task: String,
    /// The source address that the task saw.
    pub client: String,
}

/// One request to port 80 of an address, from inside a sandbox, over a connection of its own.
pub fn request(from: &str, address: &str) -> std::io::Result<Reply> {
    request_at(from, address, 80)
}

pub fn request_at(from: &str, address: &str, port: u16) -> std::io::Result<Reply> {
    let server = SocketAddr::new(address.parse::<IpAddr>().expect("an address"), port);
    let text = inside(from, || {
        let mut stream = TcpStream::connect_timeout(&server, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok::<_, std::io::Error>(text)
    })?;
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("no `{name}` in: {text}")).trim().to_owned()
    };
    let client = value("RemoteAddr: ");
    let client = client.parse::<SocketAddr>().map_or(client, |client| client.ip().to_string());
    Ok(Reply { task: value("Task: "), client })
}

/// Which tasks answered so many requests, sorted by name, with how often each did.
pub fn replies(from: &str, address: &str, requests: usize) -> Vec<(String, usize)> {
    let mut counts = std::collections::BTreeMap::new();
    for _ in 0..requests {
        let reply = request(from, address).unwrap_or_else(|error| panic!("from {from}: {error}"));
        *counts.entry(reply.task).or_default() += 1;
    }
    counts.into_iter().collect()
}

/// Answers datagrams at a port of a sandbox with the sandbox's name, until it is dropped.
pub struct Echo {
    thread: Option<std::thread::JoinHandle<()>>,
    stop: std::sync::Arc<std::sync::atomic::AtomicBool>,
}

pub fn echo(sandbox: &str, port: u16) -> Echo {
    use std::sync::atomic::{AtomicBool, Ordering};
    let socket = inside(sandbox, || UdpSocket::bind(("0.0.0.0", port))).expect("a free port");
    socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout");
    let stop = std::sync::Arc::new(AtomicBool::new(false));
    let (name, stopped) = (sandbox.to_owned(), std::sync::Arc::clone(&stop));
    let thread = std::thread::spawn(move || {
        let mut buffer = [0; 64];
        while !stopped.load(Ordering::Relaxed) {
            if let Ok((_, client)) = socket.recv_from(&mut buffer) {
                let said = format!("{name} {}", client.ip());
                let _ = socket.send_to(said.as_bytes(), client);
            }
        }
    });
    Echo { thread: Some(thread), stop }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.stop.store(true, std::sync::atomic::Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Echo {
    /// Asks an echo with one datagram from a port of its own: who answered, and whom it saw.
    pub fn ask(from: &str, address: &str, port: u16) -> std::io::Result<(String, String)> {
        inside(from, || {
            let socket = UdpSocket::bind("0.0.0.0:0")?;
            socket.set_read_timeout(Some(PATIENCE))?;
            socket.connect((address, port))?;
            socket.send(b"who")?;
            let mut buffer = [0; 128];
            let length = socket.recv(&mut buffer)?;
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            let (who, client) = text.split_once(' ').expect("two words");
            Ok((who.to_owned(), client.to_owned()))
        })
    }
}

/// A connection to port 80 of an address that stays open.
pub struct Stream {
    stream: TcpStream,
    /// The task at its other end.
    pub task: String,
}

impl Stream {
    pub fn open(from: &str, address: &str) -> Self {
        let server = SocketAddr::new(address.parse::<IpAddr>().expect("an address"), 80);
        let stream = inside(from, || TcpStream::connect_timeout(&server, PATIENCE));
        Self::on(stream.expect("it connects"))
    }

    /// A connection that was made already.
    pub fn on(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let mut stream = Self { stream, task: String::new() };
        stream.task = stream.ask();
        stream
    }

    /// Which task answers.
    pub fn ask(&mut self) -> String {
        self.try_ask().expect("an answer")
    }

    /// Which task answers; none when the connection is broken.
    pub fn try_ask(&mut self) -> Option<String> {
        self.stream.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n").ok()?;
        let mut seen = Vec::new();
        let mut buffer = [0; 512];
        while !String::from_utf8_lossy(&seen).contains("Host: test\n") {
            match self.stream.read(&mut buffer).ok()? {
                0 => return None,
                length => seen.extend_from_slice(&buffer[..length]),
            }
        }
        let text = String::from_utf8_lossy(&seen);
        Some(text.lines().find_map(|line| line.strip_prefix("Task: "))?.to_owned())
    }

    /// Ends it by a reset, of which no table keeps a memory for long.
    pub fn reset(self) {
        let linger = nix::libc::linger { l_onoff: 1, l_linger: 0 };
        nix::sys::socket::setsockopt(&self.stream, nix::sys::socket::sockopt::Linger, &linger)
            .expect("a socket option");
    }
}

/// A client that asks an [`echo`] every 25 ms from one port, until it is ended.
pub struct Asking {
    thread: std::thread::JoinHandle<()>,
    counts: std::sync::Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    answered: std::sync::atomic::AtomicU32,
    lost: std::sync::atomic::AtomicU32,
    stop: std::sync::atomic::AtomicBool,
}

impl Asking {
    pub fn begin(from: &str, address: &str, port: u16) -> Self {
        use std::sync::atomic::Ordering::Relaxed;
        let socket = inside(from, || UdpSocket::bind("0.0.0.0:0")).expect("a port");
        socket.set_read_timeout(Some(Duration::from_secs(2))).expect("a timeout");
        socket.connect((address, port)).expect("an address");
        let counts = std::sync::Arc::new(Counts::default());
        let shared = std::sync::Arc::clone(&counts);
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 128];
            while !shared.stop.load(Relaxed) {
                let answer = socket.send(b"who").and_then(|_| socket.recv(&mut buffer));
                let count = if answer.is_ok() { &shared.answered } else { &shared.lost };
                count.fetch_add(1, Relaxed);
                std::thread::sleep(Duration::from_millis(25));
            }
        });
        Self { thread, counts }
    }

    pub fn answered(&self) -> u32 {
        self.counts.answered.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Ends it and tells how many got no answer.
    pub fn end(self) -> u32 {
        self.counts.stop.store(true, std::sync::atomic::Ordering::Relaxed);
        self.thread.join().expect("it ends");
        self.counts.lost.load(std::sync::atomic::Ordering::Relaxed)
    }
}

/// The name with which an echo that greets answers a datagram.
pub fn datagram_greeting(from: &str, address: &str, port: u16) -> std::io::Result<String> {
    inside(from, || {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.connect((address, port))?;
        socket.send(b"who")?;
        let mut buffer = [0; 128];
        let length = socket.recv(&mut buffer)?;
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        Ok(text.lines().next().unwrap_or_default().to_owned())
    })
}

fn sctp_socket() -> std::io::Result<std::os::fd::OwnedFd> {
    use nix::libc;
    use std::os::fd::FromRawFd;
    // SAFETY: a plain system call; what it returns is a new descriptor that nobody else owns.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_SCTP) };
    if fd < 0 {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: see above.
    Ok(unsafe { std::os::fd::OwnedFd::from_raw_fd(fd) })
}

pub fn has_sctp() -> bool {
    sctp_socket().is_ok()
}

/// What comes first over an SCTP association from inside a sandbox.
pub fn sctp_greeting(from: &str, address: &str) -> std::io::Result<String> {
    use nix::sys::socket::{SockaddrIn, connect};
    use std::os::fd::AsRawFd;
    let server: std::net::SocketAddrV4 = address.parse().expect("an address");
    let socket = inside(from, sctp_socket)?;
    connect(socket.as_raw_fd(), &SockaddrIn::from(server))?;
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"who\n")?;
    let mut buffer = [0; 64];
    let length = stream.read(&mut buffer)?;
    Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
}
