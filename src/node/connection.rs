//! A connection that IPVS balances, as `/proc/net/ip_vs_conn` tells it. Reading is total: any text
//! gives connections or errors, for what it reads came from outside.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::{FromStr, SplitAsciiWhitespace};

use serde::{Deserialize, Serialize};

use super::Protocol;
use crate::intent::Fwmark;

/// How the table's heading begins.
const HEADING: &str = "Pro ";
/// `IPPROTO_IP`: the persistence of a mark is of no protocol.
const ANY: Protocol = Protocol::Other(0);

/// One entry of IPVS's connection table: a client's connection, or the template by which a
/// persistent virtual server sends a client to the same real server again.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Connection {
    pub protocol: Protocol,
    /// Who asks; the port is 0 in a template.
    pub client: SocketAddr,
    /// What was asked for. The template of a virtual server by mark has the mark in the place of
    /// the address, see [`Connection::fwmark`].
    pub target: SocketAddr,
    /// Who answers.
    pub real_server: SocketAddr,
    /// By the kernel's name: `ESTABLISHED`, `FIN_WAIT`, `UDP`, `NONE`.
    pub state: String,
    /// When it is forgotten unless packets pass, in seconds.
    pub expires: u64,
    /// What a persistence engine knows a client by, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<EngineData>,
}

/// What a persistence engine says of a connection.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EngineData {
    /// The engine: `sip`.
    pub name: String,
    /// By what it knows a client again, for `sip` the Call-ID.
    pub data: String,
}

/// A line that is no connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} in {line:?}")]
pub struct ConnectionError {
    /// What is wrong: `no state`, `not a port: "xyz"`.
    pub what: String,
    pub line: String,
}

impl Connection {
    /// Whether it is the template of a persistent virtual server and no connection of its own.
    pub fn is_template(&self) -> bool {
        self.client.port() == 0
    }

    /// The mark in a template of a virtual server by mark; every other entry has an address there.
    pub fn fwmark(&self) -> Option<Fwmark> {
        if !self.is_template() || self.protocol != ANY {
            return None;
        }
        let [a, b, c, d] = match self.target.ip() {
            IpAddr::V4(address) => address.octets(),
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.octets();
                [a, b, c, d]
            }
        };
        Some(Fwmark(u32::from_be_bytes([a, b, c, d])))
    }
}

/// The connections in a text as the kernel gives it, less its heading.
///
/// # Errors
/// The first line that is none.
pub fn connections(text: &str) -> Result<Vec<Connection>, ConnectionError> {
    let lines = text.lines().filter(|line| !line.starts_with(HEADING) && !line.trim().is_empty());
    lines.map(str::parse).collect()
}

/// `TCP 0A000309 C350 0A000302 0050 0A000303 0050 ESTABLISHED     898`, and behind it the engine's
/// name and data. IPv6 addresses are written out with all their zeros.
impl FromStr for Connection {
    type Err = ConnectionError;

    fn from_str(line: &str) -> Result<Self, ConnectionError> {
        let wrong = |what: String| ConnectionError { what, line: line.to_owned() };
        let mut words = line.split_ascii_whitespace();
        let mut word = |name| words.next().ok_or_else(|| wrong(format!("no {name}")));
        let bad = |name: &str, text: &str| wrong(format!("not {name}: {text:?}"));
        let text = word("protocol")?;
        let protocol = protocol(text).ok_or_else(|| bad("a protocol", text))?;
        let mut ends = [SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)); 3];
        for end in &mut ends {
            let (at, port) = (word("address")?, word("port")?);
            end.set_ip(address(at).ok_or_else(|| bad("an address", at))?);
            end.set_port(hexadecimal(port).ok_or_else(|| bad("a port", port))?);
        }
        let state = word("state")?.to_owned();
        let text = word("seconds")?;
        let expires = text.parse().map_err(|_| bad("seconds", text))?;
        let [client, target, real_server] = ends;
        let engine = engine(words);
        Ok(Self { protocol, client, target, real_server, state, expires, engine })
    }
}

/// `ip_vs_proto_name`: the few that have a name, and `IP_50`.
fn protocol(text: &str) -> Option<Protocol> {
    Some(match text {
        "TCP" => Protocol::Tcp,
        "UDP" => Protocol::Udp,
        "SCTP" => Protocol::Sctp,
        "IP" => ANY,
        "ICMP" => Protocol::Other(1),
        "ICMPv6" => Protocol::Other(58),
        other => Protocol::Other(other.strip_prefix("IP_")?.parse().ok()?),
    })
}

fn address(text: &str) -> Option<IpAddr> {
    if text.contains(':') {
        return text.parse::<Ipv6Addr>().ok().map(IpAddr::V6);
    }
    let number = (text.len() == 8).then(|| hexadecimal::<u32>(text))??;
    Some(IpAddr::V4(Ipv4Addr::from_bits(number)))
}

/// Digits only: `from_str_radix` would take a sign.
fn hexadecimal<T: TryFrom<u32>>(text: &str) -> Option<T> {
    let digits = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = digits.then(|| u32::from_str_radix(text, 16).ok())??;
    T::try_from(number).ok()
}

/// What an engine knows a client by may be empty, or several words.
fn engine(mut words: SplitAsciiWhitespace<'_>) -> Option<EngineData> {
    let name = words.next()?.to_owned();
    let data = words.collect::<Vec<_>>().join(" ");
    Some(EngineData { name, data })
}

#[cfg(test)]
mod tests;
