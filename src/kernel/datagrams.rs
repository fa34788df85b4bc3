//! Datagrams that others send to the UDP servers of a namespace. The kernel counts datagrams of a
//! whole namespace only, its own questions and their answers among them; so they are listened to.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;

use super::netns;

/// The loopback of every namespace (net/core/dev.c: it is the first link of each).
const LOOPBACK: u32 = 1;
/// Enough of a packet for the longest IPv4 header and the ports behind it.
const BEGINNING: u32 = 64;
/// More than a socket holds: what comes after so many is heard at the next look.
const MOST: usize = 10_000;

/// Hears the datagrams that reach a namespace from outside.
#[derive(Debug)]
pub struct Datagrams {
    socket: OwnedFd,
}

impl Datagrams {
    /// Begins to listen: IPv4, as the networks are, and not on the loopback, where a sandbox's
    /// resolver answers.
    ///
    /// # Errors
    /// When the namespace cannot be entered, or without `CAP_NET_RAW`.
    pub fn of(namespace: BorrowedFd<'_>) -> io::Result<Self> {
        netns::within(namespace, || Ok(Self { socket: listening()? }))?
    }

    /// How many came to one of these ports since the last look.
    ///
    /// # Errors
    /// What the kernel answered.
    pub fn came_to(&self, ports: &BTreeSet<u16>) -> io::Result<usize> {
        let mut came = 0;
        let mut packet = [0; BEGINNING as usize];
        for _ in 0..MOST {
            match nix::unistd::read(&self.socket, &mut packet) {
                Ok(length) => {
                    let port = port(packet.get(..length).unwrap_or_default());
                    came += usize::from(port.is_some_and(|port| ports.contains(&port)));
                }
                Err(Errno::EAGAIN) => break,
                // A link that went down says so once.
                Err(Errno::EINTR | Errno::ENETDOWN) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(came)
    }
}

/// The port to which a UDP packet goes; none for a later fragment, and what is cut off.
fn port(packet: &[u8]) -> Option<u16> {
    let header = usize::from(packet.first()? & 0x0f) * 4;
    let fragment = u16::from_be_bytes([*packet.get(6)?, *packet.get(7)?]) & 0x1fff;
    let udp = packet.get(header..)?;
    (fragment == 0).then_some(u16::from_be_bytes([*udp.get(2)?, *udp.get(3)?]))
}

/// A packet socket (packet(7)) that gets nothing before its filter stands.
fn listening() -> io::Result<OwnedFd> {
    let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: it takes no pointers; what it answers is checked.
    let socket = unsafe { libc::socket(libc::AF_PACKET, kind, 0) };
    if socket < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it was just opened, and nobody else has it.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    let mut program = filter();
    let attached = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: the kernel reads `len` instructions, which `program` has; it keeps a copy.
    let answer = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            std::ptr::from_ref(&attached).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    };
    if answer < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: all zeros are a valid address.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = (libc::ETH_P_IP as u16).to_be();
    // SAFETY: the kernel reads as many bytes as `address` has.
    let answer = unsafe {
        libc::bind(
            socket.as_raw_fd(),
            std::ptr::from_ref(&address).cast(),
            size_of::<libc::sockaddr_ll>() as libc::socklen_t,
        )
    };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(socket) }
}

/// UDP that did not come over the loopback, in the kernel's packet language
/// (Documentation/networking/filter.rst).
fn filter() -> [libc::sock_filter; 6] {
    let load = |size: u32, at: u32| instruction(libc::BPF_LD | size | libc::BPF_ABS, 0, 0, at);
    let equals = |value: u32, yes: u8, no: u8| {
        instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, yes, no, value)
    };
    let pass = |length: u32| instruction(libc::BPF_RET | libc::BPF_K, 0, 0, length);
    let link = (libc::SKF_AD_OFF + libc::SKF_AD_IFINDEX) as u32;
    [
        load(libc::BPF_W, link),
        equals(LOOPBACK, 3, 0),
        // The protocol of an IPv4 header.
        load(libc::BPF_B, 9),
        equals(libc::IPPROTO_UDP as u32, 0, 1),
        pass(BEGINNING),
        pass(0),
    ]
}

fn instruction(code: u32, jt: u8, jf: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt, jf, k }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_of_a_datagram_stands_behind_whatever_options() {
        let mut packet = vec![0; 28];
        packet[0] = 0x45;
        packet[22..24].copy_from_slice(&53u16.to_be_bytes());
        assert_eq!(port(&packet), Some(53));
        packet[7] = 1;
        assert_eq!(port(&packet), None, "a later fragment has no ports");
        packet[7] = 0;
        packet[0] = 0x46;
        packet[26..28].copy_from_slice(&7u16.to_be_bytes());
        assert_eq!(port(&packet), Some(7));
        assert_eq!(port(&packet[..22]), None);
        assert_eq!(port(&[]), None);
    }
}
