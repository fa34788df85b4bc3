//! Whether tasks answer: what is asked of them, how often, and what follows when they do not.

use std::fmt;
use std::net::Ipv4Addr;
use std::num::NonZeroU32;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Span;

/// The shortest time between two checks, in milliseconds.
pub const SHORTEST_INTERVAL: u64 = 10;

/// What is asked of a task to see whether it serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Test {
    /// A command, run where the task is: it is healthy when that ends with 0.
    Command(Vec<String>),
    /// A page, which is answered by a status from 200 to 399.
    Http(HttpTest),
    /// A TCP port, which takes a connection.
    Tcp(Port),
    /// A UDP port, from which anything comes back.
    Udp(UdpTest),
    /// A name, for which a name server has an address.
    Dns(DnsTest),
}

impl Test {
    /// A command of one text, given to a shell: this one, or the usual one when it is empty.
    pub fn by_shell(text: &str, shell: &[String]) -> Self {
        let usual = || vec!["/bin/sh".to_owned(), "-c".to_owned()];
        let mut words = if shell.is_empty() { usual() } else { shell.to_vec() };
        words.push(text.to_owned());
        Self::Command(words)
    }
}

/// Where a task's check comes from.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Choice {
    /// From its image, when that has one.
    #[default]
    Image,
    /// It has none, whatever its image says.
    None,
    Given(Test),
}

/// How a service's tasks are checked. What is not said is the image's, or as usual.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Health {
    #[serde(default)]
    pub test: Choice,
    /// From the beginning of one check to the beginning of the next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Span>,
    /// How long one check may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// How long a task may take to be healthy for the first time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_period: Option<Span>,
    /// The interval during that time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_interval: Option<Span>,
    /// How many checks in a row make a task healthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rise: Option<NonZeroU32>,
    /// How many failed ones in a row make it unhealthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fall: Option<NonZeroU32>,
}

impl Health {
    /// Whether nothing was said.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Whether only numbers were given, for the check of an image.
    pub fn is_bare(&self) -> bool {
        self.test == Choice::Image && !self.is_default()
    }
}

/// What becomes of a task that is unhealthy. In either case it is out of rotation at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UnhealthyAction {
    /// It is ended, and started anew as the restart policy says.
    #[default]
    Replace,
    /// It is left alone, and is in rotation again when it is healthy again.
    Quiesce,
}

impl fmt::Display for UnhealthyAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Replace => "replace",
            Self::Quiesce => "quiesce",
        })
    }
}

/// What becomes of a service none of whose tasks is healthy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NoHealthy {
    /// Its VIP refuses connections, and its name has no tasks.
    #[default]
    Fail,
    /// All tasks whose processes are there are in rotation.
    All,
}

impl fmt::Display for NoHealthy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Fail => "fail",
            Self::All => "all",
        })
    }
}

/// A port of the task, from 1 to 65535.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct Port(u16);

impl Port {
    pub fn number(self) -> u16 {
        self.0
    }
}

impl TryFrom<u16> for Port {
    type Error = String;

    fn try_from(number: u16) -> Result<Self, String> {
        match number {
            0 => Err("0 is no port: they go from 1 to 65535".to_owned()),
            number => Ok(Self(number)),
        }
    }
}

impl From<Port> for u16 {
    fn from(port: Port) -> u16 {
        port.0
    }
}

impl FromStr for Port {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || format!("`{}` is no port: they go from 1 to 65535", text.escape_debug());
        text.parse::<u16>().ok().and_then(|number| Self::try_from(number).ok()).ok_or_else(refused)
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// `http://HOST:PORT/PATH`, `PORT/PATH`, `PORT` or `/PATH`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HttpTest {
    /// What the task is told that it was asked as; its address when none.
    pub host: Option<String>,
    pub port: Port,
    /// With what follows a `?`.
    pub path: String,
}

impl HttpTest {
    /// Where to connect to in a task that has this address: there, unless the URL has an address of the
    /// sandbox's loopback.
    pub fn address(&self, own: Ipv4Addr) -> Ipv4Addr {
        match self.host.as_deref() {
            Some("localhost") => Ipv4Addr::LOCALHOST,
            Some(host) => host.parse().ok().filter(Ipv4Addr::is_loopback).unwrap_or(own),
            None => own,
        }
    }
}

const HTTP: Port = Port(80);
const DNS: Port = Port(53);

impl FromStr for HttpTest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let shown = text.escape_debug();
        if text.starts_with("https:") {
            return Err(format!(
                "`{shown}` is encrypted, which no check of swarmlb's own is: use --health-cmd"
            ));
        }
        let url = text.strip_prefix("http://");
        let rest = url.unwrap_or(text);
        let (authority, path) = match rest.find(['/', '?']) {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        if let Some(strange) = path.chars().find(|c| !c.is_ascii_graphic() || *c == '#') {
            let strange = strange.escape_debug();
            return Err(format!(
                "`{shown}` has `{strange}` in its path: write it as a URL does, with %"
            ));
        }
        let (host, port) = match url {
            Some(_) => split_host(authority),
            None => (None, (!authority.is_empty()).then_some(authority)),
        };
        let port = port.map_or(Ok(HTTP), str::parse::<Port>)?;
        if host.is_some_and(|host| !is_host(host)) || (url.is_some() && host.is_none()) {
            return Err(format!(
                "`{shown}` names no host: write http://HOST:PORT/PATH or PORT/PATH"
            ));
        }
        Ok(Self { host: host.map(str::to_owned), port, path })
    }
}

/// HOST and PORT of `HOST:PORT`.
fn split_host(authority: &str) -> (Option<&str>, Option<&str>) {
    let (host, port) = match authority.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (authority, None),
    };
    ((!host.is_empty()).then_some(host), port)
}

fn is_host(host: &str) -> bool {
    host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
}

impl fmt::Display for HttpTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match &self.host {
            Some(host) => format!("http://{host}:{}{}", self.port, self.path),
            None => format!("{}{}", self.port, self.path),
        };
        f.pad(&text)
    }
}

/// `PORT` or `PORT/TEXT`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UdpTest {
    pub port: Port,
    /// What is sent.
    pub text: String,
}

/// What is sent where nothing is said.
const DATAGRAM: &str = "swarmlb";

impl FromStr for UdpTest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (port, text) = match text.split_once('/') {
            Some((port, text)) => (port, text),
            None => (text, DATAGRAM),
        };
        if text.is_empty() {
            return Err("there is no text to send after `/`".to_owned());
        }
        Ok(Self { port: port.parse()?, text: text.to_owned() })
    }
}

impl fmt::Display for UdpTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.text.as_str() {
            DATAGRAM => f.pad(&self.port.to_string()),
            text => f.pad(&format!("{}/{text}", self.port)),
        }
    }
}

/// `NAME` or `NAME:PORT`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DnsTest {
    pub name: String,
    pub port: Port,
}

/// The longest name of DNS, in bytes as it is written.
const LONGEST_NAME: usize = 253;
/// The longest part of one between dots, in bytes.
const LONGEST_LABEL: usize = 63;

impl FromStr for DnsTest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, port) = match text.split_once(':') {
            Some((name, port)) => (name, port.parse()?),
            None => (text, DNS),
        };
        let name = name.strip_suffix('.').unwrap_or(name);
        let fits = |label: &str| {
            (1..=LONGEST_LABEL).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_graphic())
        };
        if name.len() > LONGEST_NAME || !name.split('.').all(fits) {
            return Err(format!("`{}` is no name of DNS", name.escape_debug()));
        }
        Ok(Self { name: name.to_owned(), port })
    }
}

impl fmt::Display for DnsTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            DNS => f.pad(&self.name),
            port => f.pad(&format!("{}:{port}", self.name)),
        }
    }
}

/// These are stored as they are typed.
macro_rules! as_typed {
    ($($test:ty),*) => {$(
        impl TryFrom<String> for $test {
            type Error = String;

            fn try_from(text: String) -> Result<Self, String> {
                text.parse()
            }
        }

        impl From<$test> for String {
            fn from(test: $test) -> String {
                test.to_string()
            }
        }
    )*};
}

as_typed!(HttpTest, UdpTest, DnsTest);

impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Command(words) => match words.as_slice() {
                [shell, option, text] if shell.ends_with("sh") && option == "-c" => f.pad(text),
                words => f.pad(&words.join(" ")),
            },
            Self::Http(test) => f.pad(&format!("http {test}")),
            Self::Tcp(port) => f.pad(&format!("tcp {port}")),
            Self::Udp(test) => f.pad(&format!("udp {test}")),
            Self::Dns(test) => f.pad(&format!("dns {test}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http(text: &str) -> HttpTest {
        text.parse().unwrap()
    }

    #[test]
    fn a_page_is_typed_as_a_url_or_by_port_and_path() {
        for (text, told, address) in [
            ("8080/healthz", "8080/healthz", [10, 0, 0, 3]),
            ("8080", "8080/", [10, 0, 0, 3]),
            ("/ok?deep=1", "80/ok?deep=1", [10, 0, 0, 3]),
            ("http://web:81/x", "http://web:81/x", [10, 0, 0, 3]),
            ("http://web.example", "http://web.example:80/", [10, 0, 0, 3]),
            ("http://localhost:8080/", "http://localhost:8080/", [127, 0, 0, 1]),
            ("http://127.0.0.9/", "http://127.0.0.9:80/", [127, 0, 0, 9]),
        ] {
            let test = http(text);
            assert_eq!(test.to_string(), told);
            assert_eq!(http(told), test);
            assert_eq!(test.address([10, 0, 0, 3].into()), Ipv4Addr::from(address), "{text}");
        }
        for text in [
            "https://web/",
            "http://",
            "http://:80/",
            "web/x",
            "0",
            "70000/",
            "80/a b",
            "80/#x",
            "80/\r\nX: y",
            "http://[::1]/",
        ] {
            assert!(text.parse::<HttpTest>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_others_are_stored_as_they_are_typed() {
        let udp: UdpTest = "7".parse().unwrap();
        assert_eq!((udp.text.as_str(), udp.to_string().as_str()), ("swarmlb", "7"));
        assert_eq!("514/PING/1".parse::<UdpTest>().unwrap().to_string(), "514/PING/1");
        for text in ["web.example", "_sip._udp:5353"] {
            assert_eq!(text.parse::<DnsTest>().unwrap().to_string(), text);
        }
        assert!("7/".parse::<UdpTest>().is_err());
        for text in ["", "a..b", ":53", "a b", "web:0", "web:dns", &"a".repeat(64)] {
            assert!(text.parse::<DnsTest>().is_err(), "{text}");
        }
        let health = Health {
            test: Choice::Given(Test::Http(http("80/"))),
            interval: Some("500ms".parse().unwrap()),
            ..Health::default()
        };
        let json = serde_json::to_string(&health).unwrap();
        assert_eq!(json, r#"{"test":{"given":{"http":"80/"}},"interval":"500ms"}"#);
        assert_eq!(serde_json::from_str::<Health>(&json).unwrap(), health);
        assert_eq!(serde_json::from_str::<Health>("{}").unwrap(), Health::default());
    }
}
