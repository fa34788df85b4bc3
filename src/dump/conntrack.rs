//! Connections that netfilter tracks, as `/proc/net/nf_conntrack` and `conntrack -L` tell them:
//! with the nftables data plane, what tells which task a connection went to.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// A tracked connection.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Tracked {
    /// `tcp`, `udp`, `icmp` … or the number of one without a name.
    pub protocol: String,
    /// `ESTABLISHED`, `TIME_WAIT` …; none for protocols without states.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// When it is forgotten unless packets pass, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<u64>,
    /// As it was asked.
    pub asked: Tuple,
    /// As it is answered: where it differs, addresses are rewritten.
    pub answered: Tuple,
    pub mark: u32,
    /// `UNREPLIED`, `ASSURED` …
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<String>,
}

/// Where packets of one direction come from and go to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Tuple {
    pub from: IpAddr,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_port: Option<u16>,
    pub to: IpAddr,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_port: Option<u16>,
}

fn end(address: IpAddr, port: Option<u16>) -> String {
    match (address, port) {
        (IpAddr::V6(address), Some(port)) => format!("[{address}]:{port}"),
        (address, Some(port)) => format!("{address}:{port}"),
        (address, None) => address.to_string(),
    }
}

impl fmt::Display for Tuple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (from, to) = (end(self.from, self.from_port), end(self.to, self.to_port));
        write!(f, "{from} -> {to}")
    }
}

impl Tracked {
    /// Who answers, where that is somebody else than who was asked.
    pub fn rewritten_to(&self) -> Option<(IpAddr, Option<u16>)> {
        let asked = (self.asked.to, self.asked.to_port);
        let answers = (self.answered.from, self.answered.from_port);
        (asked != answers).then_some(answers)
    }
}

/// A line that is no connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a tracked connection: {line:?}")]
pub struct NotTracked {
    pub line: String,
}

/// Reads the table.
///
/// # Errors
/// The first line that is no connection.
pub fn parse(text: &str) -> Result<Vec<Tracked>, NotTracked> {
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    lines.map(|line| tracked(line).ok_or_else(|| NotTracked { line: line.into() })).collect()
}

/// `ipv4 2 tcp 6 431999 ESTABLISHED src=… dst=… sport=… dport=… [ASSURED] src=… mark=0 use=1`;
/// `conntrack -L` leaves out the family.
fn tracked(line: &str) -> Option<Tracked> {
    let mut words = line.split_whitespace().peekable();
    if words.peek().is_some_and(|word| word.starts_with("ipv")) {
        words.next();
        words.next();
    }
    let name = words.next()?;
    let number = words.next()?;
    let mut expires = None;
    let mut state = None;
    let mut flags = Vec::new();
    let mut mark = 0;
    let mut tuples: Vec<Tuple> = Vec::new();
    let mut source = None;
    for word in words {
        if let Some(flag) = word.strip_prefix('[').and_then(|word| word.strip_suffix(']')) {
            flags.push(flag.to_owned());
            continue;
        }
        let Some((key, value)) = word.split_once('=') else {
            match word.parse() {
                Ok(seconds) if tuples.is_empty() => expires = Some(seconds),
                _ if tuples.is_empty() => state = Some(word.to_owned()),
                _ => {}
            }
            continue;
        };
        match key {
            "src" => source = Some(value.parse().ok()?),
            "dst" => {
                let (from, to) = (source.take()?, value.parse().ok()?);
                tuples.push(Tuple { from, from_port: None, to, to_port: None });
            }
            "sport" => tuples.last_mut()?.from_port = Some(value.parse().ok()?),
            "dport" => tuples.last_mut()?.to_port = Some(value.parse().ok()?),
            "mark" => mark = value.parse().ok()?,
            _ => {}
        }
    }
    let [asked, answered] = <[Tuple; 2]>::try_from(tuples).ok()?;
    let protocol = if name == "unknown" { number } else { name }.to_owned();
    Some(Tracked { protocol, state, expires, asked, answered, mark, flags })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
ipv4     2 tcp      6 431999 ESTABLISHED src=10.0.3.7 dst=10.0.3.2 sport=41234 dport=80 src=10.0.3.4 dst=10.0.3.7 sport=80 dport=41234 [ASSURED] mark=256 zone=0 use=2
ipv4     2 unknown  2 599 src=10.0.3.1 dst=224.0.0.22 [UNREPLIED] src=224.0.0.22 dst=10.0.3.1 mark=0 zone=0 use=2
ipv6     10 udp      17 29 src=fd00::7 dst=fd00::2 sport=53 dport=5353 packets=1 bytes=60 src=fd00::2 dst=fd00::7 sport=5353 dport=53 packets=1 bytes=90 mark=0 use=1
";

    #[test]
    fn the_kernels_lines_and_those_of_conntrack_are_read_alike() {
        let rows = parse(TABLE).unwrap();
        let first = &rows[0];
        assert_eq!((first.protocol.as_str(), first.mark), ("tcp", 256));
        assert_eq!((first.state.as_deref(), first.expires), (Some("ESTABLISHED"), Some(431_999)));
        assert_eq!(first.asked.to_string(), "10.0.3.7:41234 -> 10.0.3.2:80");
        assert_eq!(first.rewritten_to(), Some(([10, 0, 3, 4].into(), Some(80))));
        assert_eq!((rows[1].protocol.as_str(), rows[1].rewritten_to()), ("2", None));
        assert_eq!(rows[1].flags, ["UNREPLIED"]);
        assert_eq!(rows[2].asked.to_string(), "[fd00::7]:53 -> [fd00::2]:5353");
        let as_conntrack = TABLE.replace("ipv4     2 ", "").replace("ipv6     10 ", "");
        assert_eq!(parse(&as_conntrack).unwrap(), rows);
        let text = serde_json::to_string(&rows).unwrap();
        assert_eq!(serde_json::from_str::<Vec<Tracked>>(&text).unwrap(), rows);
    }

    #[test]
    fn what_is_no_connection_is_told() {
        for line in ["x", "tcp 6 1 src=10.0.0.1", "tcp 6 src=a dst=b", "sport=1", "tcp 6 sport=1"] {
            assert_eq!(parse(line), Err(NotTracked { line: line.into() }));
        }
        assert_eq!(parse("\n"), Ok(Vec::new()));
    }
}
