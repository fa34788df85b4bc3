//! One client's connection: either something waits to be echoed, or it is read from.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::poll::PollFlags;

use super::{GRACE, IDLE};

/// How often one client is read from before the others get their turn.
const TURNS: usize = 16;

/// How long what a client still sends is read and dropped after this side's last byte.
const LINGER: Duration = Duration::from_millis(250);

/// A connection of a stream protocol: TCP, or SCTP, whose sockets take the same calls.
pub struct Connection {
    stream: TcpStream,
    /// What the client has not taken yet.
    pending: Vec<u8>,
    stage: Stage,
    deadline: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Echoing,
    /// The client sends no more: what is pending is the last.
    HalfClosed,
    /// This side sends no more, and drops what still comes: closing with unread bytes would reset
    /// the connection, and what was echoed last could be lost with it.
    Draining,
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
    pub fn new(stream: TcpStream, greeting: &[u8], now: Instant) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        // TCP's alone: an SCTP socket refuses it.
        let _ = stream.set_nodelay(true);
        let pending = greeting.to_vec();
        Ok(Self { stream, pending, stage: Stage::Echoing, deadline: now + IDLE })
    }

    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// What to wait for.
    pub fn interest(&self) -> PollFlags {
        if self.pending.is_empty() { PollFlags::POLLIN } else { PollFlags::POLLOUT }
    }

    /// When it is closed unless something moves.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Goes as far as it can without waiting.
    pub fn advance(&mut self, buffer: &mut [u8], now: Instant) -> Fate {
        for _ in 0..TURNS {
            match self.step(buffer, now) {
                Ok(true) => {}
                Ok(false) => return Fate::Open,
                Err(_) => return Fate::Over,
            }
        }
        Fate::Open
    }

    /// Echoes what has come, and then ends.
    pub fn finish(&mut self, buffer: &mut [u8], now: Instant) -> Fate {
        if self.advance(buffer, now) == Fate::Over {
            return Fate::Over;
        }
        if self.stage == Stage::Echoing {
            self.stage = Stage::HalfClosed;
        }
        self.deadline = now + GRACE;
        self.advance(buffer, now)
    }

    /// One write or one read; false when it would have to wait. The connection's end is an error
    /// like any other.
    fn step(&mut self, buffer: &mut [u8], now: Instant) -> io::Result<bool> {
        if !self.pending.is_empty() {
            return self.write(now);
        }
        if self.stage == Stage::HalfClosed {
            self.stream.shutdown(Shutdown::Write)?;
            self.stage = Stage::Draining;
            self.deadline = now + LINGER;
        }
        let read = match self.stream.read(buffer) {
            Err(error) if is_transient(&error) => return Ok(false),
            read => read?,
        };
        match (self.stage, read) {
            (Stage::Draining, 0) => Err(io::ErrorKind::UnexpectedEof.into()),
            (Stage::Draining, _) => Ok(true),
            (_, 0) => {
                self.stage = Stage::HalfClosed;
                Ok(true)
            }
            (_, read) => {
                self.pending.extend_from_slice(buffer.get(..read).unwrap_or_default());
                self.deadline = now + IDLE;
                Ok(true)
            }
        }
    }

    fn write(&mut self, now: Instant) -> io::Result<bool> {
        match self.stream.write(&self.pending) {
            Err(error) if is_transient(&error) => Ok(false),
            Ok(0) => Err(io::ErrorKind::WriteZero.into()),
            Err(error) => Err(error),
            Ok(written) if written >= self.pending.len() => {
                // A client that is idle costs nothing but its socket.
                self.pending = Vec::new();
                self.deadline = self.deadline.max(now + IDLE);
                Ok(true)
            }
            Ok(written) => {
                self.pending.drain(..written);
                Ok(true)
            }
        }
    }
}

fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
