//! Who is connected to what listens in a namespace, as its own sockets tell.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::BorrowedFd;

use super::netns;

/// How busy the servers of a namespace are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Activity {
    /// TCP connections and SCTP associations that somebody else opened to what listens here.
    pub connections: usize,
    /// The ports at which anybody's UDP datagrams are received. UDP knows no connections: silence
    /// there is all that can be seen. A socket that is connected is the task's own question to
    /// somebody, unless another one at its port receives from all.
    pub datagrams: BTreeSet<u16>,
}

/// Reads it from /proc/net.
///
/// # Errors
/// When the namespace cannot be entered or its sockets cannot be listed.
pub fn activity(namespace: BorrowedFd<'_>) -> io::Result<Activity> {
    netns::within(namespace, || {
        let tcp = list("tcp")? + &list("tcp6")?;
        let udp = list("udp")? + &list("udp6")?;
        Ok(Activity {
            connections: connections(&tcp) + associations(&list("sctp/assocs")?),
            datagrams: served(&udp),
        })
    })?
}

/// A protocol that the kernel lacks has no sockets.
fn list(name: &str) -> io::Result<String> {
    match std::fs::read_to_string(format!("/proc/thread-self/net/{name}")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        other => other,
    }
}

/// The local address, its port and the state of a line of /proc/net/tcp or udp, as hexadecimal words.
fn socket(line: &str) -> Option<(&str, &str, &str)> {
    let mut words = line.split_ascii_whitespace().skip(1);
    let (address, port) = words.next()?.split_once(':')?;
    let state = words.nth(1)?;
    Some((address, port, state))
}

/// States of include/net/tcp_states.h in which somebody may still send or wait for data.
const ALIVE: [&str; 7] = ["01", "03", "04", "05", "08", "09", "0C"];
const LISTEN: &str = "0A";
const CLOSE: &str = "07";

/// Connections to ports that are listened on. Where nothing listens any more, every one counts.
fn connections(text: &str) -> usize {
    let sockets: Vec<_> = text.lines().filter_map(socket).collect();
    let listening = sockets.iter().filter(|(_, _, state)| *state == LISTEN);
    let ports: BTreeSet<&str> =
        listening.filter(|(address, ..)| !is_loopback(address)).map(|(_, port, _)| *port).collect();
    let alive = |(address, port, state): &&(&str, &str, &str)| {
        ALIVE.contains(state) && !is_loopback(address) && (ports.is_empty() || ports.contains(port))
    };
    sockets.iter().filter(alive).count()
}

/// The ports of UDP sockets that receive from anybody, not from the loopback only. The state of one
/// that is connected is that of TCP: established.
fn served(text: &str) -> BTreeSet<u16> {
    let sockets = text.lines().filter_map(socket);
    let open = sockets.filter(|(address, _, state)| *state == CLOSE && !is_loopback(address));
    open.filter_map(|(_, port, _)| u16::from_str_radix(port, 16).ok()).collect()
}

/// 127.0.0.0/8 as the kernel prints it: in the byte order of the machine.
fn is_loopback(address: &str) -> bool {
    let v4 = address.get(address.len().saturating_sub(8)..).unwrap_or_default();
    let Ok(word) = u32::from_str_radix(v4, 16) else { return false };
    let mapped = address.len() == 8 || address.starts_with("0000000000000000FFFF0000");
    let v6 = address.len() == 32 && address.starts_with("000000000000000000000000");
    (mapped && word.to_ne_bytes()[0] == 127) || (v6 && word.to_ne_bytes() == [0, 0, 0, 1])
}

/// Lines of /proc/net/sctp/assocs, whose fifth column is the association's state; 0 is closed.
fn associations(text: &str) -> usize {
    let state = |line: &str| line.split_ascii_whitespace().nth(4).map(|state| state != "0");
    text.lines().skip(1).filter(|line| state(line) == Some(true)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TCP: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1
   1: 0B00007F:A123 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 2 1
   2: 0303000A:0050 0703000A:C001 01 00000000:00000000 00:00000000 00000000     0        0 3 1
   3: 0303000A:0050 0703000A:C002 06 00000000:00000000 03:00001770 00000000     0        0 0 3
   4: 0303000A:0050 0703000A:C003 08 00000000:00000000 00:00000000 00000000     0        0 4 1
   5: 0303000A:D001 0203000A:1538 01 00000000:00000000 00:00000000 00000000     0        0 5 1
   6: 0100007F:0050 0100007F:C004 01 00000000:00000000 00:00000000 00000000     0        0 6 1
";

    #[test]
    fn only_connections_from_elsewhere_to_what_listens_count() {
        // Not TIME_WAIT, not the task's own connection to a database, not loopback.
        assert_eq!(connections(TCP), 2);
    }

    #[test]
    fn a_server_that_has_stopped_listening_still_serves() {
        let text: Vec<&str> = TCP.lines().filter(|line| !line.contains("0A 0")).collect();
        assert_eq!(connections(&text.join("\n")), 3);
    }

    #[test]
    fn a_dual_stack_server_is_seen_too() {
        let text = "\
  0: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A
  1: 0000000000000000FFFF00000303000A:0050 0000000000000000FFFF00000703000A:C001 01
  2: 0000000000000000FFFF00000100007F:0050 0000000000000000FFFF00000100007F:C001 01
  3: 00000000000000000000000001000000:0050 00000000000000000000000001000000:C001 01
";
        assert_eq!(connections(text), 1);
    }

    #[test]
    fn neither_a_resolver_on_loopback_nor_a_question_is_a_udp_server() {
        let line = |address: &str, peer: &str, state: &str| {
            format!("  5: {address}:0035 {peer} {state} 0 0\n")
        };
        let (nobody, somebody) = ("00000000:0000", "0203000A:1F40");
        assert!(served(&line("0B00007F", nobody, "07")).is_empty());
        assert!(served(&line("0303000A", somebody, "01")).is_empty());
        assert_eq!(served(&line("00000000", nobody, "07")), [53].into());
        let both = line("0303000A", somebody, "01") + &line("00000000", nobody, "07");
        assert_eq!(served(&both), [53].into());
        assert!(served("  sl  local_address rem_address   st\n").is_empty());
    }

    #[test]
    fn what_is_no_socket_is_no_connection() {
        assert_eq!(connections("\n1\n x: y z\n 1: a:b c:d 0A\n\u{fffd}"), 0);
        assert_eq!(associations("ASSOC SOCK\n 1 2 3 4 3 6\n 1 2 3 4 0 6\n x\n"), 1);
    }
}
