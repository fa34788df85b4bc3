//! Reads the connection table of a namespace.

use std::io;
use std::os::fd::BorrowedFd;

use nix::errno::Errno;

use crate::kernel::{Refusal, netns};
use crate::node::{Connection, connection};

const TABLE: &str = "/proc/thread-self/net/ip_vs_conn";

/// What IPVS's connection table holds in a namespace, templates of persistence among it; none where
/// the kernel has no IPVS. Connections that come and go while a large table is read may be missing
/// or be there twice.
///
/// # Errors
/// `EPERM` without privilege, `EBADMSG` for a line that cannot be read.
pub fn connections(namespace: BorrowedFd<'_>) -> Result<Option<Vec<Connection>>, Refusal> {
    let bytes = match netns::within(namespace, || std::fs::read(TABLE))? {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    // What a persistence engine knows a client by came from that client: any bytes.
    let text = String::from_utf8_lossy(&bytes);
    let unreadable = |error: connection::ConnectionError| {
        Refusal::saying(Errno::EBADMSG, format!("IPVS's connections cannot be read: {error}"))
    };
    connection::connections(&text).map(Some).map_err(unreadable)
}
