//! The DNS sockets of sandboxes, and memory for what was read from them. They outlive the agent, so
//! that a query which comes while it is being replaced waits and is answered.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{setsockopt, sockopt};

use crate::kernel::netns;
use crate::killpoint;
use crate::node::SandboxName;

/// Where a sandbox's resolver is, as in Docker.
pub const RESOLVER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, 11), 53);

/// How much of the kernel's memory the queries that wait in a sandbox's socket may take, in bytes:
/// some 5,000 of them, which is a thousand a second for as long as a client waits.
const WAITING: usize = 2 << 20;

struct Pair {
    /// Of the namespace that they were opened in: one made anew under the same name needs others.
    inode: u64,
    udp: UdpSocket,
    tcp: TcpListener,
}

/// All of them.
#[derive(Default)]
pub struct Sockets {
    pairs: BTreeMap<SandboxName, Pair>,
    memory: Option<(OwnedFd, usize)>,
}

impl Sockets {
    /// The UDP and the TCP socket of a sandbox, opened when they are not yet.
    ///
    /// # Errors
    /// `NotFound` without such a sandbox, `AddrInUse` when somebody else listens there.
    pub fn of(&mut self, sandbox: &SandboxName) -> io::Result<[RawFd; 2]> {
        let namespace = netns::of(sandbox)?;
        let inode = netns::inode(&namespace)?;
        let fresh = self.pairs.get(sandbox).is_some_and(|pair| pair.inode == inode);
        if !fresh {
            let (udp, tcp) = netns::within(namespace.as_fd(), || {
                let udp = UdpSocket::bind(RESOLVER)?;
                // Past the machine's limit, which needs root; less than asked for works as well.
                let _ = setsockopt(&udp, sockopt::RcvBufForce, &WAITING);
                Ok::<_, io::Error>((udp, TcpListener::bind(RESOLVER)?))
            })??;
            killpoint::pass(|| format!("the DNS sockets of {sandbox} are open"));
            self.pairs.insert(sandbox.clone(), Pair { inode, udp, tcp });
        }
        match self.pairs.get(sandbox) {
            Some(pair) => Ok([pair.udp.as_raw_fd(), pair.tcp.as_raw_fd()]),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Memory that outlives the agent, of at least so many bytes.
    ///
    /// # Errors
    /// When there is none.
    pub fn memory(&mut self, bytes: usize) -> io::Result<RawFd> {
        if let Some((fd, _)) = self.memory.as_ref().filter(|(_, held)| *held >= bytes) {
            return Ok(fd.as_raw_fd());
        }
        let fd = memfd_create(c"swarmlb-dns", MFdFlags::MFD_CLOEXEC)?;
        nix::unistd::ftruncate(&fd, i64::try_from(bytes).map_err(io::Error::other)?)?;
        killpoint::pass(|| "memory for the resolvers is there".into());
        let (fd, _) = self.memory.insert((fd, bytes));
        Ok(fd.as_raw_fd())
    }

    pub fn close(&mut self, sandbox: &SandboxName) {
        self.pairs.remove(sandbox);
    }
}
