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
