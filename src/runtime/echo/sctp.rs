//! SCTP, one association a socket, as a stream: accepted, read and written as TCP is.

use std::io;
use std::net::{SocketAddrV4, TcpListener};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{Backlog, SockaddrIn, bind, listen as listen_on};

/// As many as TCP's (std's backlog).
const BACKLOG: i32 = 128;

/// A listening socket. Its type is TCP's, for there is no other in std, and all that is done with
/// it is the same for both.
///
/// # Errors
/// `Unsupported` where the kernel has no SCTP, or what binding met.
pub fn listen(address: SocketAddrV4) -> io::Result<TcpListener> {
    let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: a plain system call; what it returns is a new descriptor that nobody else owns.
    let fd = unsafe { libc::socket(libc::AF_INET, kind, libc::IPPROTO_SCTP) };
    if fd < 0 {
        return Err(match Errno::last() {
            Errno::EPROTONOSUPPORT | Errno::ESOCKTNOSUPPORT => io::Error::new(
                io::ErrorKind::Unsupported,
                "this kernel does not have it (module sctp)",
            ),
            errno => errno.into(),
        });
    }
    // SAFETY: see above.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    bind(socket.as_raw_fd(), &SockaddrIn::from(address))?;
    listen_on(&socket, Backlog::new(BACKLOG)?)?;
    Ok(socket.into())
}
