//! Datagrams: each is answered by itself, from the address that it was sent to.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{SocketAddrV4, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::libc::in_pktinfo;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn, recvmsg, sendmsg, setsockopt,
    sockopt,
};

/// Longest UDP datagram.
const LONGEST: usize = 65_535;
/// How many are answered before the other clients get their turn.
const TURNS: usize = 64;

/// The socket, and room for one datagram behind the greeting.
pub struct Datagrams {
    socket: UdpSocket,
    port: u16,
    buffer: Vec<u8>,
}

impl Datagrams {
    /// # Errors
    /// When the address cannot be bound.
    pub fn bind(listen: SocketAddrV4) -> io::Result<Self> {
        let socket = UdpSocket::bind(listen)?;
        socket.set_nonblocking(true)?;
        // Of several addresses of a sandbox, the one that was asked must answer.
        setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
        Ok(Self { socket, port: listen.port(), buffer: vec![0; LONGEST] })
    }

    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Answers those that have come. What cannot be sent is lost, as datagrams are.
    pub fn echo(&mut self, greeting: &[u8]) {
        for _ in 0..TURNS {
            let Ok((length, from, asked)) = self.receive() else { return };
            // Two echo servers would answer each other for ever.
            let Some(from) = from.filter(|from| from.port() != self.port) else { continue };
            let body = self.buffer.get(..length).unwrap_or_default();
            let parts = [IoSlice::new(greeting), IoSlice::new(body)];
            let source = asked.map(|asked| in_pktinfo { ipi_ifindex: 0, ..asked });
            let control: Vec<ControlMessage<'_>> =
                source.iter().map(ControlMessage::Ipv4PacketInfo).collect();
            let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
            let _ = sendmsg(self.socket.as_raw_fd(), &parts, &control, flags, Some(&from));
        }
    }

    fn receive(&mut self) -> nix::Result<(usize, Option<SockaddrIn>, Option<in_pktinfo>)> {
        let mut space = nix::cmsg_space!(in_pktinfo);
        let mut slices = [IoSliceMut::new(&mut self.buffer)];
        let flags = MsgFlags::MSG_DONTWAIT;
        let fd = self.socket.as_raw_fd();
        let message = recvmsg::<SockaddrIn>(fd, &mut slices, Some(&mut space), flags)?;
        let asked = message.cmsgs()?.find_map(|control| match control {
            ControlMessageOwned::Ipv4PacketInfo(info) => Some(info),
            _ => None,
        });
        Ok((message.bytes, message.address, asked))
    }
}
