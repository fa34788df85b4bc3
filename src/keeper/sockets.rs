//! The DNS sockets of sandboxes. They outlive the agent, so that a query which comes while it is
//! being replaced waits in the socket and is answered.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, RawFd};

use crate::kernel::netns;
use crate::node::SandboxName;

/// Where a sandbox's resolver is, as in Docker.
pub const RESOLVER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, 11), 53);

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
                Ok::<_, io::Error>((UdpSocket::bind(RESOLVER)?, TcpListener::bind(RESOLVER)?))
            })??;
            self.pairs.insert(sandbox.clone(), Pair { inode, udp, tcp });
        }
        match self.pairs.get(sandbox) {
            Some(pair) => Ok([pair.udp.as_raw_fd(), pair.tcp.as_raw_fd()]),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    pub fn close(&mut self, sandbox: &SandboxName) {
        self.pairs.remove(sandbox);
    }
}
