//! One client's connection, driven by the server's loop: it reads when there is something to read
//! and writes when there is room, and never waits.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::poll::PollFlags;

use super::Identity;
use super::address::Addresses;
use super::reply::{self, After, Place};
use super::request::{self, LONGEST_HEAD, Progress};

/// How long a client may take for a request, for reading a reply, or idle between two requests.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// How long what a client still sends is read and dropped after the last reply: closing with
/// unread bytes would reset the connection, and the reply could be lost with it.
const LINGER: Duration = Duration::from_secs(1);

/// What all connections answer from.
pub struct Host<'a> {
    pub identity: &'a Identity,
    pub hostname: String,
    pub addresses: Addresses,
    /// Whether connections may be kept for another request.
    pub after: After,
}

/// A connection and what is in flight on it.
pub struct Connection {
    stream: TcpStream,
    remote: SocketAddr,
    local: SocketAddr,
    received: Vec<u8>,
    reply: Vec<u8>,
    written: usize,
    stage: Stage,
    deadline: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Nothing of a request has come; `served` tells a new connection from a kept one.
    Idle { served: Served },
    /// A part of a request has come.
    Receiving,
    /// More of a request has come, and has not been looked at.
    Deciding,
    /// A reply is being written.
    Replying(After),
    /// The last reply is written; the client's end is awaited.
    Closing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Served {
    Nothing,
    Something,
}

/// What comes after a step.
enum Step {
    /// The next one, at once.
    Next,
    /// Nothing, until the descriptor is ready.
    Wait,
    /// Nothing any more.
    End,
}

/// Whether a connection is still of use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Open,
    Over,
}

impl Connection {
    /// Takes over an accepted stream.
    ///
    /// # Errors
    /// When the stream is already gone.
    pub fn new(stream: TcpStream, remote: SocketAddr, now: Instant) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        // Without it, a reply to a pipelined request waits for the acknowledgement of the last.
        stream.set_nodelay(true)?;
        Ok(Self {
            local: stream.local_addr()?,
            stream,
            remote,
            received: Vec::new(),
            reply: Vec::new(),
            written: 0,
            stage: Stage::Idle { served: Served::Nothing },
            deadline: now + PATIENCE,
        })
    }

    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// What to wait for.
    pub fn interest(&self) -> PollFlags {
        match self.stage {
            Stage::Replying(_) => PollFlags::POLLOUT,
            Stage::Idle { .. } | Stage::Receiving | Stage::Deciding | Stage::Closing => {
                PollFlags::POLLIN
            }
        }
    }

    /// When [`Self::expire`] is due.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Whether nothing would be lost by closing it: it has been served and asks for nothing.
    pub fn is_between_requests(&self) -> bool {
        self.stage == Stage::Idle { served: Served::Something }
    }

    /// Goes as far as it can without waiting. It reads once at most, so that no client keeps the
    /// others waiting.
    pub fn advance(&mut self, host: &mut Host<'_>, now: Instant) -> Fate {
        loop {
            let step = match self.stage {
                Stage::Idle { .. } | Stage::Receiving => self.receive(now),
                Stage::Deciding => Ok(self.answer(host, now)),
                Stage::Replying(after) => self.send(after, now),
                Stage::Closing => self.drain(),
            };
            match step {
                Ok(Step::Next) => {}
                Ok(Step::Wait) => return Fate::Open,
                Ok(Step::End) | Err(_) => return Fate::Over,
            }
        }
    }

    /// The client has been too slow: one that has begun a request is told so, any other is cut.
    pub fn expire(&mut self, host: &mut Host<'_>, now: Instant) -> Fate {
        match self.stage {
            Stage::Receiving | Stage::Deciding => {
                self.reply_with(reply::too_slow(host.identity), After::Close, now);
                self.advance(host, now)
            }
            Stage::Idle { .. } | Stage::Replying(_) | Stage::Closing => Fate::Over,
        }
    }

    fn receive(&mut self, now: Instant) -> io::Result<Step> {
        let mut chunk = [0; 2048];
        let room = LONGEST_HEAD.saturating_sub(self.received.len()).clamp(1, chunk.len());
        let read = self.stream.read(chunk.get_mut(..room).unwrap_or_default());
        let Some(read) = without_waiting(read)? else {
            return Ok(Step::Wait);
        };
        if read == 0 {
            return Ok(Step::End);
        }
        if self.received.is_empty() {
            self.deadline = now + PATIENCE;
        }
        self.received.extend_from_slice(chunk.get(..read).unwrap_or_default());
        self.stage = Stage::Deciding;
        Ok(Step::Next)
    }

    /// Answers the request that has come, when it is whole.
    fn answer(&mut self, host: &mut Host<'_>, now: Instant) -> Step {
        let (reply, after, taken) = match request::parse(&self.received) {
            Progress::Partial => {
                self.stage = Stage::Receiving;
                return Step::Wait;
            }
            Progress::Refused(refusal) => {
                (reply::refuse(host.identity, refusal), After::Close, self.received.len())
            }
            Progress::Whole(request, taken) => {
                let after = if request.keeps_alive() { host.after } else { After::Close };
                let place = Place {
                    identity: host.identity,
                    hostname: &host.hostname,
                    addresses: host.addresses.at(now),
                    remote: self.remote,
                    local: self.local,
                };
                (reply::answer(&place, &request, after), after, taken)
            }
        };
        self.received.drain(..taken.min(self.received.len()));
        self.reply_with(reply, after, now);
        Step::Next
    }

    fn reply_with(&mut self, reply: Vec<u8>, after: After, now: Instant) {
        self.reply = reply;
        self.written = 0;
        self.stage = Stage::Replying(after);
        self.deadline = now + PATIENCE;
    }

    fn send(&mut self, after: After, now: Instant) -> io::Result<Step> {
        while let Some(rest) = self.reply.get(self.written..).filter(|rest| !rest.is_empty()) {
            match without_waiting(self.stream.write(rest))? {
                None => return Ok(Step::Wait),
                Some(0) => return Ok(Step::End),
                Some(written) => self.written += written,
            }
        }
        self.reply = Vec::new();
        match after {
            After::KeepAlive => Ok(self.await_next(now)),
            After::Close => self.close(now),
        }
    }

    /// Turns to the next request, which may have come already.
    fn await_next(&mut self, now: Instant) -> Step {
        self.deadline = now + PATIENCE;
        if self.received.is_empty() {
            self.received = Vec::new();
            self.stage = Stage::Idle { served: Served::Something };
            return Step::Wait;
        }
        self.stage = Stage::Deciding;
        Step::Next
    }

    fn close(&mut self, now: Instant) -> io::Result<Step> {
        self.stream.shutdown(Shutdown::Write)?;
        self.received = Vec::new();
        self.stage = Stage::Closing;
        self.deadline = now + LINGER;
        Ok(Step::Next)
    }

    fn drain(&mut self) -> io::Result<Step> {
        let mut dropped = [0; 2048];
        match without_waiting(self.stream.read(&mut dropped))? {
            Some(0) => Ok(Step::End),
            Some(_) | None => Ok(Step::Wait),
        }
    }
}

/// None when it would have to wait.
fn without_waiting(result: io::Result<usize>) -> io::Result<Option<usize>> {
    match result {
        Ok(count) => Ok(Some(count)),
        Err(error) if is_transient(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
