//! Client ports that nobody remembers. A connection from a port that the kernel still remembers may
//! go where the old one went, or be refused by a server that has not forgotten it, and is then no
//! fair sample; so each measured connection has a port of its own that is in no table.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, SockaddrIn6, bind, connect, getsockopt, socket,
    sockopt,
};

use crate::kernel::netns;

/// The first port given out: above those that programs are likely to listen on.
const FIRST: u16 = 10_000;
/// How many ports there are to give out.
pub const COUNT: u16 = u16::MAX - FIRST;

/// A supply of client ports for one sandbox; each is given out once.
#[derive(Debug)]
pub struct Ports {
    remembered: BTreeSet<u16>,
    start: u16,
    given: AtomicU32,
}

impl Ports {
    /// Ports that the client's sandbox does not remember, nor are among `taken`. What cannot be read
    /// there counts as nothing remembered.
    ///
    /// # Errors
    /// When the namespace cannot be entered.
    pub fn of(client: BorrowedFd<'_>, taken: &BTreeSet<u16>) -> io::Result<Self> {
        let mut remembered = netns::within(client, || {
            let mut ports = ipvs_ports(&read("ip_vs_conn"));
            ports.extend(conntrack_ports(&read("nf_conntrack")));
            ports.extend(waiting_ports(&read("tcp"), Side::Local));
            ports
        })?;
        remembered.extend(taken);
        let nanos = std::time::UNIX_EPOCH.elapsed().map_or(0, |now| now.subsec_nanos());
        let start = u16::try_from(nanos % u32::from(COUNT)).unwrap_or_default();
        Ok(Self { remembered, start, given: AtomicU32::new(0) })
    }

    fn take(&self) -> Option<u16> {
        loop {
            let given = self.given.fetch_add(1, Ordering::Relaxed);
            if given >= u32::from(COUNT) {
                return None;
            }
            let place = (u32::from(self.start) + given) % u32::from(COUNT);
            let port = FIRST + u16::try_from(place).unwrap_or_default();
            if !self.remembered.contains(&port) {
                return Some(port);
            }
        }
    }

    /// Connects from a port of its own, in the calling thread's namespace.
    ///
    /// # Errors
    /// `AddrNotAvailable` when all ports were given out, else what connecting met.
    pub fn connect(&self, target: SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
        loop {
            let port = self.take().ok_or(io::ErrorKind::AddrNotAvailable)?;
            match connect_from(port, target, timeout) {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                other => return other,
            }
        }
    }
}

/// The clients' ports that a server's sandbox remembers, whoever the clients are.
///
/// # Errors
/// When the namespace cannot be entered.
pub fn remembered_by(server: BorrowedFd<'_>) -> io::Result<BTreeSet<u16>> {
    Ok(waiting_ports(&netns::within(server, || read("tcp"))?, Side::Remote))
}

fn connect_from(port: u16, target: SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
    let family = if target.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(family, SockType::Stream, flags, None)?;
    let any: IpAddr = match target {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let begun = match (SocketAddr::new(any, port), target) {
        (SocketAddr::V4(from), SocketAddr::V4(to)) => {
            bind(fd.as_raw_fd(), &SockaddrIn::from(from))?;
            connect(fd.as_raw_fd(), &SockaddrIn::from(to))
        }
        (SocketAddr::V6(from), SocketAddr::V6(to)) => {
            bind(fd.as_raw_fd(), &SockaddrIn6::from(from))?;
            connect(fd.as_raw_fd(), &SockaddrIn6::from(to))
        }
        _ => return Err(io::ErrorKind::InvalidInput.into()),
    };
    match begun {
        Ok(()) => {}
        Err(Errno::EINPROGRESS) => wait(&fd, timeout)?,
        // In use by a connection to the same target is in use too.
        Err(Errno::EADDRNOTAVAIL) => return Err(io::ErrorKind::AddrInUse.into()),
        Err(errno) => return Err(errno.into()),
    }
    let flags = OFlag::from_bits_truncate(fcntl(&fd, FcntlArg::F_GETFL)?);
    fcntl(&fd, FcntlArg::F_SETFL(flags.difference(OFlag::O_NONBLOCK)))?;
    Ok(TcpStream::from(fd))
}

fn wait(fd: &OwnedFd, timeout: Duration) -> io::Result<()> {
    let timeout = PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX);
    let mut polled = [PollFd::new(fd.as_fd(), PollFlags::POLLOUT)];
    loop {
        match poll(&mut polled, timeout) {
            Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
            Ok(_) => break,
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    match getsockopt(fd, sockopt::SocketError)? {
        0 => Ok(()),
        errno => Err(Errno::from_raw(errno).into()),
    }
}

/// A table of the calling thread's network namespace; empty when it is not there.
fn read(table: &str) -> String {
    std::fs::read_to_string(format!("/proc/thread-self/net/{table}")).unwrap_or_default()
}

/// `TCP 0A000307 C6D2 0A000302 0050 …`: the third word is the client's port.
fn ipvs_ports(table: &str) -> BTreeSet<u16> {
    let port = |line: &str| u16::from_str_radix(line.split_whitespace().nth(2)?, 16).ok();
    table.lines().filter_map(port).collect()
}

/// `… src=10.0.3.7 dst=10.0.3.2 sport=50924 dport=80 …`: the first sport is the client's.
fn conntrack_ports(table: &str) -> BTreeSet<u16> {
    let port =
        |line: &str| line.split_whitespace().find_map(|w| w.strip_prefix("sport=")?.parse().ok());
    table.lines().filter_map(port).collect()
}

#[derive(Clone, Copy)]
enum Side {
    Local,
    Remote,
}

/// `sl local_address rem_address st …` (proc_net_tcp): every connection, waiting ones too.
fn waiting_ports(table: &str, side: Side) -> BTreeSet<u16> {
    let word = match side {
        Side::Local => 1,
        Side::Remote => 2,
    };
    let port = |line: &str| {
        let (_, port) = line.split_whitespace().nth(word)?.split_once(':')?;
        u16::from_str_radix(port, 16).ok()
    };
    table.lines().skip(1).filter_map(port).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembered_ports_are_read_from_each_table() {
        let ipvs = "Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Expires\n\
                    TCP 0A000307 C6D2 0A000302 0050 0A000303 0050 TIME_WAIT        117\n";
        assert_eq!(ipvs_ports(ipvs), [0xc6d2].into());
        let conntrack = "ipv4 2 tcp 6 119 TIME_WAIT src=10.0.3.7 dst=10.0.3.2 sport=50924 dport=80 \
                         src=10.0.3.3 dst=10.0.3.7 sport=80 dport=50924 [ASSURED]\n";
        assert_eq!(conntrack_ports(conntrack), [50924].into());
        let tcp = "  sl  local_address rem_address   st\n   0: 0300000A:0050 0703000A:C6D2 06 x\n";
        assert_eq!(waiting_ports(tcp, Side::Remote), [0xc6d2].into());
        assert_eq!(waiting_ports(tcp, Side::Local), [0x50].into());
    }

    #[test]
    fn each_port_is_given_once_and_a_remembered_one_never() {
        let remembered: BTreeSet<u16> = (10_000..40_000).collect();
        let ports = Ports { remembered, start: 9_000, given: AtomicU32::new(0) };
        let mut given = BTreeSet::new();
        while let Some(port) = ports.take() {
            assert!((40_000..u16::MAX).contains(&port));
            assert!(given.insert(port), "{port} twice");
        }
        assert_eq!(given.len(), usize::from(u16::MAX) - 40_000);
    }
}
