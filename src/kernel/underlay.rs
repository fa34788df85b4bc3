//! The links between nodes, over which overlays go, and who else uses their port. Looking only.

use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::path::Path;

use super::route::RouteSocket;
use super::{Refusal, netns};

/// What this node's links carry to each of `peers`, at least, in bytes: by the route, which may have an
/// MTU of its own. Without peers, what the link of its own address carries; none where no link has it.
///
/// # Errors
/// The kernel's refusal.
pub fn mtu(own: Ipv4Addr, peers: &[Ipv4Addr]) -> Result<Option<u32>, Refusal> {
    let mut socket = RouteSocket::open(netns::node()?.as_fd())?;
    let links = socket.links()?;
    let mut mtus = Vec::new();
    for peer in peers {
        // One that there is no route to says nothing of the others.
        mtus.extend(socket.mtu_to(*peer, &links).ok().flatten());
    }
    if mtus.is_empty() {
        let addresses = socket.addresses(&links)?;
        let held = addresses.iter().find(|held| held.net.addr() == own).map(|held| &held.link);
        let link = links.iter().find(|link| Some(&link.name) == held);
        mtus.extend(link.map(|link| link.link.mtu));
    }
    Ok(mtus.into_iter().min())
}

/// Who holds a UDP port of the namespace that the calling thread is in, in words.
pub fn holder_of(port: u16) -> Option<String> {
    let tables = ["udp", "udp6"].map(|name| {
        std::fs::read_to_string(Path::new("/proc/thread-self/net").join(name)).unwrap_or_default()
    });
    let inode =
        tables.iter().flat_map(|table| table.lines()).find_map(|line| inode_of(line, port))?;
    let processes = std::fs::read_dir("/proc").ok()?.flatten().map(|entry| entry.path());
    let process = processes.into_iter().find(|process| holds(process, inode));
    Some(match process {
        Some(process) => {
            let name = std::fs::read_to_string(process.join("comm")).unwrap_or_default();
            let pid = process.file_name().unwrap_or_default().to_string_lossy().into_owned();
            format!("UDP port {port} is held by `{}` (process {pid})", name.trim())
        }
        // A socket of the kernel's own, or of a process that is not to be seen from here.
        None => format!("UDP port {port} is held by somebody who cannot be seen from here"),
    })
}

/// The inode of the socket that a line of /proc/net/udp is about, if it is bound to this port.
fn inode_of(line: &str, port: u16) -> Option<u64> {
    let mut words = line.split_whitespace();
    let (_, held) = words.nth(1)?.rsplit_once(':')?;
    (u16::from_str_radix(held, 16).ok()? == port).then_some(())?;
    words.nth(7)?.parse().ok()
}

fn holds(process: &Path, inode: u64) -> bool {
    let wanted = format!("socket:[{inode}]");
    let files = std::fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
    files.into_iter().any(|file| {
        std::fs::read_link(file.path()).is_ok_and(|to| to.as_os_str() == wanted.as_str())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_of_a_port_is_found() {
        let line = "  734: 00000000:12B5 00000000:0000 07 00000000:00000000 00:00000000 00000000     \
                    0        0 48573 2 0000000000000000 0";
        assert_eq!(inode_of(line, 4789), Some(48573));
        assert_eq!(inode_of(line, 4790), None);
        assert_eq!(inode_of("  sl  local_address rem_address   st", 4789), None);
    }

    #[test]
    fn whoever_holds_a_port_is_named() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        // A child that another test is just starting may have it too.
        let told = holder_of(port).expect("it is held");
        assert!(told.starts_with(&format!("UDP port {port} is held by `")), "{told}");
    }
}
