//! The switch that joins a lab's nodes: a bridge for each group of nodes that reach each other.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use ipnet::Ipv4Net;

use super::{Lab, Member};
use crate::kernel::route::{RouteSocket, Seen};
use crate::kernel::{Refusal, netns};
use crate::node::object::Port;
use crate::node::{Address, Link, LinkKind, LinkName, PeerName, SandboxName};

/// That of Ethernet, in bytes.
const MTU: u32 = 1500;
/// A node's link to the switch, as it is called there.
pub const UPLINK: &str = "eth0";

/// What the file below the namespace of a lab's switch holds.
fn mark(lab: &Lab) -> String {
    format!("swarmlb-lab:{}", lab.id)
}

fn bridge() -> Link {
    Link { kind: LinkKind::Bridge, mac: None, mtu: MTU, master: None, isolated: false, up: true }
}

/// Makes the switch, and this machine's link to it.
///
/// # Errors
/// The kernel's refusal.
pub fn make(lab: &Lab) -> Result<(), Refusal> {
    let switch = netns::create(&lab.switch(), &mark(lab), || {
        let mut socket = RouteSocket::open_here()?;
        let made = socket.set_up(&"lo".into(), true);
        made.and_then(|()| socket.add_bridge(&Lab::bridge(0), &bridge()))
            .map_err(|refusal| io::Error::from(refusal.errno))
    })?;
    let machine = netns::node()?;
    plug(&switch, &machine, &lab.machine_link(), &LinkName("machine".into()), 0)?;
    address(&machine, &lab.machine_link(), lab, lab.machine_address())
}

/// Joins a node's namespace to the switch.
///
/// # Errors
/// The kernel's refusal.
pub fn join(lab: &Lab, member: &Member, node: &File) -> Result<(), Refusal> {
    let switch = netns::open(&lab.switch())?;
    let Some(port) = lab.port(&member.name) else { return Ok(()) };
    RouteSocket::open(node.as_fd())?.set_up(&"lo".into(), true)?;
    plug(&switch, node, &UPLINK.into(), &port, member.group)?;
    address(node, &UPLINK.into(), lab, member.address)
}

fn plug(
    switch: &File,
    end: &File,
    link: &LinkName,
    port: &LinkName,
    group: u32,
) -> Result<(), Refusal> {
    let mut socket = RouteSocket::open(switch.as_fd())?;
    let links = socket.links()?;
    ensure_bridge(&mut socket, &links, group)?;
    // One that a killed node left goes by itself, but not at once.
    let _gone = socket.del_link(port);
    let peer = PeerName { sandbox: SandboxName("".into()), link: port.clone() };
    let master = Some(Lab::bridge(group));
    let port = Port { peer, master, mtu: MTU, isolated: false, up: true };
    socket.add_veth_from(end.as_fd(), link, None, MTU, &port)
}

fn address(
    namespace: &File,
    link: &LinkName,
    lab: &Lab,
    address: std::net::Ipv4Addr,
) -> Result<(), Refusal> {
    let mut socket = RouteSocket::open(namespace.as_fd())?;
    socket.set_up(link, true)?;
    let net = Ipv4Net::new(address, lab.subnet.prefix_len())
        .map_err(|_| Refusal::from(nix::errno::Errno::EINVAL))?;
    socket.add_address(&Address { link: link.clone(), net })
}

fn ensure_bridge(socket: &mut RouteSocket, links: &[Seen], group: u32) -> Result<(), Refusal> {
    let wanted = Lab::bridge(group);
    match links.iter().any(|seen| seen.name == wanted) {
        true => Ok(()),
        false => socket.add_bridge(&wanted, &bridge()),
    }
}

/// Puts a node's port on the bridge of its group.
///
/// # Errors
/// The kernel's refusal.
pub fn regroup(lab: &Lab, member: &Member) -> Result<(), Refusal> {
    let mut socket = RouteSocket::open(netns::open(&lab.switch())?.as_fd())?;
    let links = socket.links()?;
    ensure_bridge(&mut socket, &links, member.group)?;
    let wanted = Lab::bridge(member.group);
    match lab.port(&member.name).filter(|port| links.iter().any(|seen| seen.name == *port)) {
        Some(port) => socket.change_link(&port, None, MTU, Some(&wanted), true),
        // A node that is down is on no bridge.
        None => Ok(()),
    }
}

/// Takes the switch away, and this machine's link with it.
///
/// # Errors
/// The kernel's refusal.
pub fn remove(lab: &Lab) -> Result<(), Refusal> {
    let ours = |seen: &Seen| seen.name == lab.machine_link();
    let mut machine = RouteSocket::open(netns::node()?.as_fd())?;
    if machine.links()?.iter().any(ours) {
        machine.del_link(&lab.machine_link())?;
    }
    match netns::remove(&lab.switch()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // One whose making was cut off has a name and no namespace.
            netns::remove_unbound(&mark(lab))?;
            Ok(())
        }
        removed => Ok(removed?),
    }
}
