//! A conversation on a socket that never makes anybody wait.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddrV4;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::poll::PollFlags;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, connect, getsockopt, socket, sockopt,
};

use super::conversation::{Conversation, Transport};
use super::{MOST_OUTPUT, Outcome};
use crate::kernel::Refusal;

/// One conversation with one task.
#[derive(Debug)]
pub struct Exchange {
    conversation: Conversation,
    socket: std::fs::File,
    is_connected: bool,
    said: usize,
    heard: Vec<u8>,
}

impl Exchange {
    /// Begins it, in the network namespace of the calling thread.
    ///
    /// # Errors
    /// Why it cannot even begin.
    pub fn begin(conversation: Conversation) -> io::Result<Self> {
        let (kind, is_connected) = match conversation.transport {
            Transport::Stream => (SockType::Stream, false),
            Transport::Datagram => (SockType::Datagram, true),
        };
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let socket: OwnedFd = socket(AddressFamily::Inet, kind, flags, None)?;
        let to = SockaddrIn::from(SocketAddrV4::new(conversation.address, conversation.port));
        match connect(socket.as_raw_fd(), &to) {
            Ok(()) | Err(Errno::EINPROGRESS) => {}
            Err(errno) => return Err(errno.into()),
        }
        let socket = std::fs::File::from(socket);
        Ok(Self { conversation, socket, is_connected, said: 0, heard: Vec::new() })
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// What it waits for.
    pub fn interest(&self) -> PollFlags {
        match self.is_connected && self.said == self.conversation.words.len() {
            true => PollFlags::POLLIN,
            false => PollFlags::POLLOUT,
        }
    }

    /// Goes on as far as it can; tells the outcome once there is one.
    pub fn go_on(&mut self) -> Option<Outcome> {
        match self.advance() {
            Ok(outcome) => outcome,
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            Err(error) => Some(Err(words(&error))),
        }
    }

    /// The outcome when there is no more time.
    pub fn late(&self) -> Outcome {
        let what = match (self.is_connected, self.heard.is_empty()) {
            (false, _) => "not connected in time",
            (true, true) => "no answer in time",
            (true, false) => match self.conversation.judge(&self.heard, true) {
                Some(Err(told)) => return Err(told),
                _ => "no whole answer in time",
            },
        };
        Err(what.to_owned())
    }

    fn advance(&mut self) -> io::Result<Option<Outcome>> {
        if !self.is_connected {
            match getsockopt(&self.socket, sockopt::SocketError)? {
                0 => {}
                number => return Err(io::Error::from_raw_os_error(number)),
            }
            self.is_connected = true;
        }
        let is_datagram = self.conversation.transport == Transport::Datagram;
        while self.said < self.conversation.words.len() {
            let rest = self.conversation.words.get(self.said..).unwrap_or_default();
            let said = self.socket.write(rest)?;
            self.said = if is_datagram { self.conversation.words.len() } else { self.said + said };
        }
        if let outcome @ Some(_) = self.conversation.judge(&self.heard, false) {
            return Ok(outcome);
        }
        loop {
            let mut buffer = [0; MOST_OUTPUT];
            let count = self.socket.read(&mut buffer)?;
            let heard = buffer.get(..count).unwrap_or_default();
            if is_datagram && self.conversation.is_strange(heard) {
                continue;
            }
            self.heard.extend(heard);
            let is_over = count == 0 || is_datagram;
            if let outcome @ Some(_) = self.conversation.judge(&self.heard, is_over) {
                return Ok(outcome);
            }
        }
    }
}

/// The kernel's words for what went wrong.
pub fn words(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => Refusal::new(Errno::from_raw(number)).to_string(),
        None => error.to_string(),
    }
}
