//! Asking the resolvers of many sandboxes many questions at once: one socket for each sandbox, on
//! which the next questions are under way while the first are answered. Synchronous, on one thread.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, MessageType};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::resolution::Resolution;
use super::resolve::{RecordType, question, resolve};
use crate::dns::request::Transport;
use crate::kernel::netns;
use crate::node::SandboxName;

/// Questions under way on one socket: their answers surely fit its buffer.
const WINDOW: usize = 64;
const LARGEST_DATAGRAM: usize = 4096;

/// What a resolver answered to each name that it was asked, or why it did not.
pub type Answered = BTreeMap<String, Result<Vec<IpAddr>, String>>;

/// Asks each sandbox's resolver at `server` for the addresses of names; what is not answered after half
/// of `patience` is asked once more. Sandboxes that are not there are left out.
pub fn survey(
    asked: &BTreeMap<SandboxName, Vec<&str>>,
    server: SocketAddr,
    patience: Duration,
) -> BTreeMap<SandboxName, Answered> {
    let mut questions = BTreeMap::new();
    for name in asked.values().flatten() {
        questions.entry(*name).or_insert_with(|| encoded(name));
    }
    let mut lines = open(asked, server);
    let started = Instant::now();
    let mut again = false;
    let mut buffer = vec![0; LARGEST_DATAGRAM];
    let mut read = Read::default();
    while lines.iter().any(Line::is_open) {
        let until = started + if again { patience } else { patience / 2 };
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() && again {
            break;
        }
        if left.is_zero() {
            again = true;
            lines.iter_mut().for_each(Line::begin_again);
        }
        for line in &mut lines {
            line.send(&questions);
        }
        wait(&mut lines, left, &mut buffer, &mut read);
    }
    lines.into_iter().map(|line| line.told(server, patience)).collect()
}

fn encoded(name: &str) -> Result<Vec<u8>, String> {
    let question = question(name, RecordType::A).map_err(|error| error.to_string())?;
    question.to_vec().map_err(|error| error.to_string())
}

/// What a datagram says.
#[derive(Clone)]
enum Said {
    /// It is no reply.
    Nothing,
    /// The reply has no room in it.
    Truncated,
    Addresses(Result<Vec<IpAddr>, String>),
}

/// What was read: most sandboxes are told the same, which is read once.
#[derive(Default)]
struct Read {
    /// By the datagram behind its number.
    said: HashMap<Vec<u8>, Said>,
}

impl Read {
    fn reply(&mut self, bytes: &[u8]) -> Said {
        let behind = bytes.get(2..).unwrap_or_default();
        if let Some(said) = self.said.get(behind) {
            return said.clone();
        }
        let said = match Message::from_vec(bytes) {
            Ok(reply) if reply.metadata.message_type != MessageType::Response => Said::Nothing,
            Ok(reply) if reply.metadata.truncation => Said::Truncated,
            Ok(reply) => {
                Said::Addresses(Ok(
                    Resolution::read(&reply, Transport::Udp, Duration::ZERO).addresses
                ))
            }
            Err(error) => Said::Addresses(Err(format!("its answer cannot be read: {error}"))),
        };
        self.said.insert(behind.to_vec(), said.clone());
        said
    }
}

/// The questions to one sandbox.
struct Line<'a> {
    sandbox: SandboxName,
    namespace: File,
    socket: UdpSocket,
    names: &'a [&'a str],
    /// In the order of the names; what is there is not asked any more.
    answers: Vec<Option<Result<Vec<IpAddr>, String>>>,
    next: usize,
    under_way: usize,
}

/// Opens a socket in each namespace, on one thread that goes from one to the next.
fn open<'a>(asked: &'a BTreeMap<SandboxName, Vec<&'a str>>, server: SocketAddr) -> Vec<Line<'a>> {
    let line = |(sandbox, names): (&SandboxName, &'a Vec<&'a str>)| {
        let namespace = netns::of(sandbox).ok()?;
        netns::enter(namespace.as_fd()).ok()?;
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
        socket.connect(server).ok()?;
        socket.set_nonblocking(true).ok()?;
        let (sandbox, answers) = (sandbox.clone(), vec![None; names.len()]);
        Some(Line { sandbox, namespace, socket, names, answers, next: 0, under_way: 0 })
    };
    let opened =
        std::thread::scope(|scope| scope.spawn(|| asked.iter().filter_map(line).collect()).join());
    opened.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Waits until there is something to read, or for `left`, and reads it.
fn wait(lines: &mut [Line<'_>], left: Duration, buffer: &mut [u8], read: &mut Read) {
    let open: Vec<usize> = (0..lines.len()).filter(|place| lines[*place].is_open()).collect();
    let mut waiting: Vec<PollFd<'_>> = open
        .iter()
        .map(|place| PollFd::new(lines[*place].socket.as_fd(), PollFlags::POLLIN))
        .collect();
    let longest =
        PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
    if poll(&mut waiting, longest).is_err() {
        return;
    }
    let ready: Vec<bool> = waiting.iter().map(|one| one.any().unwrap_or(true)).collect();
    for (place, _) in open.iter().zip(ready).filter(|(_, ready)| *ready) {
        lines[*place].receive(buffer, read);
    }
}

impl Line<'_> {
    fn is_open(&self) -> bool {
        self.answers.iter().any(Option::is_none)
    }

    fn begin_again(&mut self) {
        (self.next, self.under_way) = (0, 0);
    }

    fn send(&mut self, questions: &BTreeMap<&str, Result<Vec<u8>, String>>) {
        while self.next < self.names.len() && self.under_way < WINDOW {
            let number = self.next;
            self.next += 1;
            if self.answers[number].is_some() {
                continue;
            }
            match &questions[self.names[number]] {
                Err(reason) => self.answers[number] = Some(Err(reason.clone())),
                Ok(bytes) => {
                    let mut bytes = bytes.clone();
                    // The number of a question is its place.
                    if let Some(id) = bytes.first_chunk_mut::<2>() {
                        *id = (number as u16).to_be_bytes();
                    }
                    match self.socket.send(&bytes) {
                        Ok(_) => self.under_way += 1,
                        Err(error) => self.failed(&error),
                    }
                }
            }
        }
    }

    fn receive(&mut self, buffer: &mut [u8], read: &mut Read) {
        loop {
            match self.socket.recv(buffer) {
                Ok(length) => self.note(&buffer[..length], read),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return self.failed(&error),
            }
        }
    }

    /// Notes an answer; what answers no question of ours is passed over.
    fn note(&mut self, bytes: &[u8], read: &mut Read) {
        let Some(number) = bytes.first_chunk().map(|id| usize::from(u16::from_be_bytes(*id)))
        else {
            return;
        };
        if !matches!(self.answers.get(number), Some(None)) {
            return;
        }
        self.under_way = self.under_way.saturating_sub(1);
        self.answers[number] = Some(match read.reply(bytes) {
            Said::Nothing => return,
            Said::Truncated => self.by_stream(number),
            Said::Addresses(answer) => answer,
        });
    }

    /// Asks alone what has no room in a datagram.
    fn by_stream(&self, number: usize) -> Result<Vec<IpAddr>, String> {
        let server = self.socket.peer_addr().map_err(|error| error.to_string())?;
        let name = self.names[number];
        let patience = Duration::from_secs(1);
        let resolution = resolve(self.namespace.as_fd(), server, name, RecordType::A, patience);
        resolution.map(|r| r.addresses).map_err(|error| error.to_string())
    }

    /// Nobody is there, or the kernel refuses: that goes for every question.
    fn failed(&mut self, error: &io::Error) {
        let reason = match (error.kind(), self.socket.peer_addr()) {
            (ErrorKind::ConnectionRefused, Ok(server)) => format!("nobody listens at {server}"),
            _ => error.to_string(),
        };
        for answer in self.answers.iter_mut().filter(|answer| answer.is_none()) {
            *answer = Some(Err(reason.clone()));
        }
    }

    fn told(self, server: SocketAddr, patience: Duration) -> (SandboxName, Answered) {
        let silent = || Err(format!("{server} did not answer within {} ms", patience.as_millis()));
        let names = self.names.iter().map(|name| (*name).to_owned());
        let answers = self.answers.into_iter().map(|answer| answer.unwrap_or_else(silent));
        (self.sandbox, names.zip(answers).collect())
    }
}
