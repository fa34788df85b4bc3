//! Which programs listen on the node's own ports: what is published there would be taken from them.

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;

use super::netns;
use crate::intent::{Listener, Transport};

/// Everything that listens in the node's namespace, by /proc/net, with its program where /proc tells.
///
/// # Errors
/// When the namespace cannot be entered or its sockets cannot be listed.
pub fn of_node() -> io::Result<Vec<Listener>> {
    let lists = netns::within(netns::node()?.as_fd(), || {
        let list = |name: &str| {
            let text = std::fs::read_to_string(format!("/proc/thread-self/net/{name}"));
            // A protocol that the kernel lacks has no sockets.
            text.or_else(|error| match error.kind() {
                io::ErrorKind::NotFound => Ok(String::new()),
                _ => Err(error),
            })
        };
        let tables = [
            (Transport::Tcp, list("tcp")? + &list("tcp6")?),
            (Transport::Udp, list("udp")? + &list("udp6")?),
        ];
        Ok::<_, io::Error>((tables, list("sctp/eps")?))
    })??;
    let (tables, endpoints) = lists;
    let mut heard: Vec<Heard> = Vec::new();
    for (transport, text) in &tables {
        heard.extend(text.lines().filter_map(|line| socket(*transport, line)));
    }
    heard.extend(endpoints.lines().filter_map(endpoint));
    let programs = programs(&heard);
    let named =
        |heard: Heard| Listener { program: programs.get(&heard.inode).cloned(), ..heard.listener };
    Ok(heard.into_iter().map(named).collect())
}

/// A listener and its socket's number.
struct Heard {
    listener: Listener,
    inode: u64,
}

/// A line of /proc/net/tcp or udp: of TCP what listens (state 0A), of UDP what is not connected (07).
fn socket(transport: Transport, line: &str) -> Option<Heard> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let (address, port) = words.get(1)?.split_once(':')?;
    let listening = if transport == Transport::Tcp { "0A" } else { "07" };
    if *words.get(3)? != listening {
        return None;
    }
    let listener = Listener {
        node: None,
        transport,
        address: local(address)?,
        port: u16::from_str_radix(port, 16).ok()?,
        program: None,
    };
    Some(Heard { listener, inode: words.get(9)?.parse().ok()? })
}

/// The address of a line: none for every one. Those of IPv6 but for every one are none of ours.
fn local(address: &str) -> Option<Option<Ipv4Addr>> {
    let v4 = match address.len() {
        8 => address,
        32 if address.bytes().all(|byte| byte == b'0') => return Some(None),
        32 => address.strip_prefix("0000000000000000FFFF0000")?,
        _ => return None,
    };
    // In the byte order of the machine.
    let address = Ipv4Addr::from(u32::from_str_radix(v4, 16).ok()?.to_ne_bytes());
    Some((!address.is_unspecified()).then_some(address))
}

/// A line of /proc/net/sctp/eps: state (10 listens) in the fourth column, port, user, number, and then
/// addresses.
fn endpoint(line: &str) -> Option<Heard> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    if *words.get(3)? != "10" {
        return None;
    }
    let address: Ipv4Addr = words.get(8).and_then(|word| word.parse().ok())?;
    let listener = Listener {
        node: None,
        transport: Transport::Sctp,
        address: (!address.is_unspecified()).then_some(address),
        port: words.get(5)?.parse().ok()?,
        program: None,
    };
    Some(Heard { listener, inode: words.get(7)?.parse().ok()? })
}

/// The program and process of each socket that some process of this machine holds.
fn programs(heard: &[Heard]) -> BTreeMap<u64, String> {
    let mut found = BTreeMap::new();
    for process in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let name = process.file_name();
        let Some(pid) = name.to_str().filter(|name| name.parse::<u32>().is_ok()) else { continue };
        let files = std::fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten();
        for file in files {
            let Some(inode) = std::fs::read_link(file.path()).ok().and_then(|to| inode(&to)) else {
                continue;
            };
            if heard.iter().any(|heard| heard.inode == inode) {
                let program = std::fs::read_to_string(process.path().join("comm"));
                let program = program.unwrap_or_default();
                found.entry(inode).or_insert(format!("{} (pid {pid})", program.trim()));
            }
        }
    }
    found
}

fn inode(to: &std::path::Path) -> Option<u64> {
    to.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(transport: Transport, line: &str) -> Option<(Option<Ipv4Addr>, u16, u64)> {
        let heard = socket(transport, line)?;
        Some((heard.listener.address, heard.listener.port, heard.inode))
    }

    #[test]
    fn what_listens_is_told_with_its_address_and_socket() {
        let rest = "00000000:00000000 00:00000000 00000000     0        0 77 1";
        let line = |local: &str, state: &str| format!(" 0: {local} 00000000:0000 {state} {rest}");
        let tcp = |local: &str| heard(Transport::Tcp, &line(local, "0A"));
        assert_eq!(tcp("00000000:1F90"), Some((None, 8080, 77)));
        assert_eq!(tcp("0100007F:1F90"), Some((Some(Ipv4Addr::LOCALHOST), 8080, 77)));
        assert_eq!(tcp(&format!("{}:0050", "0".repeat(32))), Some((None, 80, 77)));
        let mapped = "0000000000000000FFFF00000100007F:0050";
        assert_eq!(tcp(mapped), Some((Some(Ipv4Addr::LOCALHOST), 80, 77)));
        assert_eq!(tcp("00000000000000000000000001000000:0050"), None, "::1");
        assert_eq!(heard(Transport::Tcp, &line("00000000:1F90", "01")), None);
        assert_eq!(heard(Transport::Udp, &line("00000000:0035", "07")), Some((None, 53, 77)));
        assert_eq!(heard(Transport::Udp, "  sl  local_address rem_address   st"), None);
    }

    #[test]
    fn an_sctp_endpoint_that_listens_is_told() {
        let line = "ffff8b2d 1a2b3c4d 2 10 29 9 0 4711 0.0.0.0";
        let heard = endpoint(line).unwrap();
        assert_eq!((heard.listener.port, heard.inode), (9, 4711));
        assert_eq!(heard.listener.address, None);
        assert!(endpoint(" ENDPT     SOCK   STY SST HBKT LPORT   UID INODE LADDRS").is_none());
    }
}
