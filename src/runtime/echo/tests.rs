use std::io::{PipeWriter, Read, Write, pipe};
use std::net::{Shutdown, SocketAddrV4, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::*;

/// A server on a port of loopback, stopped by closing the pipe.
struct Running {
    address: SocketAddrV4,
    stop: Option<PipeWriter>,
    server: JoinHandle<io::Result<()>>,
}

const LONG: Duration = Duration::from_secs(20);

impl Running {
    fn start(address: &str, greeting: &'static str) -> Self {
        let (reader, writer) = pipe().expect("a pipe");
        let (tell, told) = mpsc::channel();
        let listen: SocketAddrV4 = address.parse().expect("an address");
        let server = thread::spawn(move || {
            serve(listen, greeting.as_bytes(), reader.as_fd(), |bound| {
                let _ = tell.send(bound);
            })
        });
        let address = told.recv_timeout(LONG).expect("listens");
        Self { address, stop: Some(writer), server }
    }

    fn connect(&self) -> TcpStream {
        let address = SocketAddrV4::new([127, 0, 0, 1].into(), self.address.port());
        let stream = TcpStream::connect(address).expect("connects");
        stream.set_read_timeout(Some(LONG)).expect("a timeout");
        stream
    }

    fn stop(mut self) -> Duration {
        let start = Instant::now();
        drop(self.stop.take());
        self.server.join().expect("no panic").expect("no error");
        start.elapsed()
    }
}

fn client(from: &str) -> UdpSocket {
    let socket = UdpSocket::bind(from).expect("a socket");
    socket.set_read_timeout(Some(LONG)).expect("a timeout");
    socket
}

#[test]
fn a_stream_is_echoed_to_its_end_and_then_closed() {
    let server = Running::start("127.0.0.1:0", "");
    let mut stream = server.connect();
    let sent: Vec<u8> = (0..1_000_000_u32).map(|at| (at % 251) as u8).collect();
    let mut writer = stream.try_clone().expect("a clone");
    let to_send = sent.clone();
    let writing = thread::spawn(move || {
        writer.write_all(&to_send).expect("sent");
        writer.shutdown(Shutdown::Write).expect("half closed");
    });
    let mut received = Vec::new();
    stream.read_to_end(&mut received).expect("echoed");
    writing.join().expect("no panic");
    assert!(received == sent, "{} bytes of {}", received.len(), sent.len());
    server.stop();
}

#[test]
fn a_client_that_takes_nothing_keeps_nobody_else_waiting() {
    let server = Running::start("127.0.0.1:0", "");
    let mut greedy = server.connect();
    greedy.set_nonblocking(true).expect("set");
    // Until both directions are full.
    let chunk = [7; 65_536];
    while greedy.write(&chunk).is_ok() {}
    let mut other = server.connect();
    other.write_all(b"hello").expect("sent");
    let mut reply = [0; 5];
    other.read_exact(&mut reply).expect("echoed");
    assert_eq!(&reply, b"hello");
    drop(greedy);
    server.stop();
}

#[test]
fn a_greeting_comes_once_on_a_connection_and_in_each_datagram() {
    let server = Running::start("127.0.0.1:0", "web.1\n");
    let mut stream = server.connect();
    stream.write_all(b"one").expect("sent");
    stream.shutdown(Shutdown::Write).expect("half closed");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("echoed");
    assert_eq!(text, "web.1\none");
    let socket = client("127.0.0.1:0");
    for sent in ["one", "", "two"] {
        socket.send_to(sent.as_bytes(), server.address).expect("sent");
        let mut reply = [0; 64];
        let (length, _) = socket.recv_from(&mut reply).expect("echoed");
        assert_eq!(&reply[..length], format!("web.1\n{sent}").as_bytes());
    }
    server.stop();
}

#[test]
fn a_datagram_is_answered_from_the_address_that_was_asked() {
    let server = Running::start("0.0.0.0:0", "");
    let socket = client("127.0.0.1:0");
    for asked in ["127.0.0.2", "127.0.0.3"] {
        let asked = SocketAddrV4::new(asked.parse().expect("an address"), server.address.port());
        socket.send_to(b"who", asked).expect("sent");
        let (_, from) = socket.recv_from(&mut [0; 16]).expect("echoed");
        assert_eq!(from, asked.into());
    }
    let largest = vec![1; 65_507];
    let asked = SocketAddrV4::new([127, 0, 0, 1].into(), server.address.port());
    socket.send_to(&largest, asked).expect("sent");
    let mut reply = vec![0; 70_000];
    assert_eq!(socket.recv_from(&mut reply).expect("echoed").0, 65_507);
    server.stop();
}

#[test]
fn two_echo_servers_do_not_answer_each_other() {
    let server = Running::start("127.0.0.1:0", "");
    let port = server.address.port();
    let twin = client(&format!("127.0.0.9:{port}"));
    twin.send_to(b"for ever", server.address).expect("sent");
    // What came after it is answered first only if it was not.
    let other = client("127.0.0.1:0");
    other.send_to(b"once", server.address).expect("sent");
    assert_eq!(other.recv_from(&mut [0; 16]).expect("echoed").0, 4);
    twin.set_nonblocking(true).expect("set");
    assert_eq!(
        twin.recv_from(&mut [0; 16]).map_err(|error| error.kind()),
        Err(io::ErrorKind::WouldBlock)
    );
    server.stop();
}

#[test]
fn the_stop_gives_back_what_had_come_and_ends() {
    let server = Running::start("127.0.0.1:0", "");
    let address = server.address;
    let mut stream = server.connect();
    stream.write_all(b"last").expect("sent");
    let mut silent = server.connect();
    // Both are accepted once one that came later is.
    let mut later = server.connect();
    later.write_all(b"x").expect("sent");
    later.read_exact(&mut [0]).expect("echoed");
    let stopped = thread::spawn(move || server.stop());
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("echoed");
    assert_eq!(text, "last");
    assert_eq!(silent.read(&mut [0]).expect("closed"), 0);
    drop((stream, silent, later));
    assert!(stopped.join().expect("no panic") < GRACE);
    assert!(TcpStream::connect(address).is_err(), "a stopped server still listens");
}

#[test]
fn sctp_is_served_where_the_kernel_has_it() {
    let server = Running::start("127.0.0.1:0", "web.1\n");
    let kind = nix::libc::SOCK_STREAM | nix::libc::SOCK_CLOEXEC;
    // SAFETY: a plain system call; what it returns is a new descriptor that nobody else owns.
    let fd = unsafe { nix::libc::socket(nix::libc::AF_INET, kind, nix::libc::IPPROTO_SCTP) };
    if fd < 0 {
        println!("skipped: needs sctp in the kernel");
        server.stop();
        return;
    }
    use std::os::fd::{FromRawFd, OwnedFd};
    // SAFETY: see above.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    let peer = nix::sys::socket::SockaddrIn::from(server.address);
    nix::sys::socket::connect(fd, &peer).expect("connects");
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(LONG)).expect("a timeout");
    let mut greeting = [0; 6];
    stream.read_exact(&mut greeting).expect("a greeting");
    stream.write_all(b"hello").expect("sent");
    let mut reply = [0; 5];
    stream.read_exact(&mut reply).expect("echoed");
    assert_eq!((&greeting, &reply), (b"web.1\n", b"hello"));
    drop(stream);
    server.stop();
}
