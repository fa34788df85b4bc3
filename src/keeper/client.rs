//! The agent's side of the keeper, and every other one's.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;

use super::frame;
use super::protocol::{Reply, Request, Running, Status};
use crate::kernel::Refusal;

/// A connection to the keeper.
pub struct Client {
    stream: UnixStream,
}

impl Client {
    /// # Errors
    /// When no keeper answers.
    pub fn connect(socket: &Path) -> io::Result<Self> {
        Ok(Self { stream: UnixStream::connect(socket)? })
    }

    /// The same; an answer that takes longer than `patience` is none.
    ///
    /// # Errors
    /// When no keeper answers.
    pub fn connect_within(socket: &Path, patience: Duration) -> io::Result<Self> {
        let client = Self::connect(socket)?;
        client.stream.set_read_timeout(Some(patience))?;
        client.stream.set_write_timeout(Some(patience))?;
        Ok(client)
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// What the keeper refused, or `EPIPE` when it is gone.
    pub fn ask(&self, request: &Request) -> Result<(Reply, Vec<OwnedFd>), Refusal> {
        // Whatever the connection meets, the answer is not the keeper's.
        let gone = |error: io::Error| {
            Refusal::saying(Errno::EPIPE, format!("the keeper does not answer: {error}"))
        };
        frame::send(&self.stream, request, &[]).map_err(gone)?;
        match frame::receive(&self.stream).map_err(gone)? {
            Some((Reply::Refused { errno, sentence }, _)) => {
                Err(Refusal::saying(Errno::from_raw(errno), sentence))
            }
            Some(answer) => Ok(answer),
            None => Err(Refusal::saying(Errno::EPIPE, "the keeper is gone")),
        }
    }

    /// What runs, and what ended and was not yet forgotten.
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub fn list(&self) -> Result<Vec<Running>, Refusal> {
        processes(self.ask(&Request::List)?.0)
    }

    /// # Errors
    /// As [`Client::ask`].
    pub fn status(&self) -> Result<Status, Refusal> {
        match self.ask(&Request::Status)?.0 {
            Reply::Status(status) => Ok(status),
            _ => Err(Errno::EBADMSG.into()),
        }
    }

    /// Whether the keeper lives: it answers, or keeps the connection for `patience` without a word
    /// as one that was stopped does. One that was killed loses it as soon as it is asked.
    pub fn is_alive(self, patience: Duration) -> bool {
        let asked = self
            .stream
            .set_read_timeout(Some(patience))
            .and_then(|()| frame::send(&self.stream, &Request::Status, &[]))
            .and_then(|()| frame::receive::<Reply>(&self.stream));
        match asked {
            Ok(answer) => answer.is_some(),
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        }
    }

    /// Turns the connection into a stream of processes that changed; all of them are told first.
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub fn watch(self) -> Result<(Vec<Running>, Watch), Refusal> {
        let first = processes(self.ask(&Request::Watch)?.0)?;
        Ok((first, Watch { stream: self.stream }))
    }
}

/// A stream of processes that changed.
pub struct Watch {
    stream: UnixStream,
}

impl Watch {
    /// Waits for the next; none when the keeper is gone.
    pub fn next(&self) -> Option<Vec<Running>> {
        let (reply, _) = frame::receive::<Reply>(&self.stream).ok()??;
        processes(reply).ok()
    }
}

fn processes(reply: Reply) -> Result<Vec<Running>, Refusal> {
    match reply {
        Reply::Processes(processes) => Ok(processes),
        _ => Err(Errno::EBADMSG.into()),
    }
}
