//! Getting through to the server, and what can go wrong with it.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};

use crate::store::StoreError;
use crate::store::wire::{Failure, Line, PROTOCOL, Reply};

/// Why there is no answer, or not the wanted one.
#[derive(Debug)]
pub(super) enum Fault {
    /// The connection failed.
    Lost(io::Error),
    /// The server said no.
    Refused(Failure),
    /// The other side does not speak as it should.
    Protocol(String),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::InvalidData => Self::Protocol(error.to_string()),
            io::ErrorKind::WouldBlock => {
                Self::Lost(io::Error::new(io::ErrorKind::TimedOut, "no answer in time"))
            }
            _ => Self::Lost(error),
        }
    }
}

impl Fault {
    pub(super) fn unexpected(reply: &Reply) -> Self {
        let said = serde_json::to_string(reply).unwrap_or_default();
        Self::Protocol(format!(
            "not an answer to what was asked: {}",
            said.chars().take(80).collect::<String>()
        ))
    }

    /// Whether a server that comes back could answer.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::Lost(error) => !matches!(
                error.kind(),
                io::ErrorKind::PermissionDenied
                    | io::ErrorKind::InvalidInput
                    | io::ErrorKind::InvalidFilename
            ),
            Self::Refused(Failure::Unreachable { .. }) => true,
            Self::Refused(_) | Self::Protocol(_) => false,
        }
    }

    pub(super) fn into_error(self, socket: &Path) -> StoreError {
        match self {
            Self::Lost(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                StoreError::Denied { path: socket.to_owned() }
            }
            Self::Lost(source) => StoreError::Unreachable { path: socket.to_owned(), source },
            Self::Refused(failure) => failure.into_error(socket),
            Self::Protocol(sentence) => StoreError::Protocol { sentence },
        }
    }
}

/// A connection on which the server has introduced itself.
#[derive(Debug)]
pub(super) struct Dialled {
    pub(super) line: Line,
    /// The database behind it.
    pub(super) identity: String,
}

/// Connects and hears the server out, until `deadline`.
pub(super) fn dial(path: &Path, deadline: Instant) -> Result<Dialled, Fault> {
    let mut line = Line::new(Arc::new(open(path)?));
    match line.receive_until(deadline)? {
        Reply::Welcome { protocol: PROTOCOL, identity } => Ok(Dialled { line, identity }),
        Reply::Welcome { protocol, .. } => Err(Fault::Protocol(format!(
            "it speaks version {protocol}, here it is version {PROTOCOL}"
        ))),
        Reply::Failed(failure) => Err(Fault::Refused(failure)),
        other => Err(Fault::unexpected(&other)),
    }
}

/// Connects without waiting: a server that was stopped, its queue full, would hold a blocking connect for ever.
fn open(path: &Path) -> io::Result<UnixStream> {
    let address = UnixAddr::new(path)?;
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let descriptor: OwnedFd = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    connect(descriptor.as_raw_fd(), &address)?;
    let stream = UnixStream::from(descriptor);
    stream.set_nonblocking(false)?;
    Ok(stream)
}
