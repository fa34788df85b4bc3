//! What is said to a task over the network and what it must answer: bytes only.

use std::net::Ipv4Addr;

use super::{MOST_OUTPUT, Outcome, text};
use crate::intent::health::{DnsTest, HttpTest, Test};

/// How the task is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    Stream,
    Datagram,
}

/// One conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conversation {
    pub transport: Transport,
    pub address: Ipv4Addr,
    pub port: u16,
    /// What is said once it is connected.
    pub words: Vec<u8>,
    expected: Expected,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    /// To be connected is all.
    Connection,
    Page,
    Anything,
    /// To the question of that number.
    Address(u16),
}

impl Conversation {
    /// With a task that has this address; `number` is any, to tell answers apart. None for a test that
    /// does not go over the network.
    pub fn of(test: &Test, own: Ipv4Addr, number: u16) -> Option<Self> {
        let (transport, address, port, words, expected) = match test {
            Test::Command(_) => return None,
            Test::Tcp(port) => (Transport::Stream, own, *port, Vec::new(), Expected::Connection),
            Test::Http(test) => {
                let address = test.address(own);
                (Transport::Stream, address, test.port, request(test, own), Expected::Page)
            }
            Test::Udp(test) => {
                let words = test.text.clone().into_bytes();
                (Transport::Datagram, own, test.port, words, Expected::Anything)
            }
            Test::Dns(test) => {
                let expected = Expected::Address(number);
                (Transport::Datagram, own, test.port, question(test, number), expected)
            }
        };
        Some(Self { transport, address, port: port.number(), words, expected })
    }

    /// What follows from what was heard so far; none while more must be heard. When it `is_over`, nothing
    /// more will be.
    pub fn judge(&self, heard: &[u8], is_over: bool) -> Option<Outcome> {
        match self.expected {
            Expected::Connection => Some(Ok("connected".to_owned())),
            Expected::Page => page(heard, is_over),
            Expected::Anything if !heard.is_empty() => Some(Ok(text(heard))),
            Expected::Anything => is_over.then(|| Err("no answer".to_owned())),
            Expected::Address(number) => match answer(heard, number) {
                None => is_over.then(|| Err("no answer".to_owned())),
                told => told,
            },
        }
    }

    /// Whether a datagram may be that of another conversation, and has to be read over.
    pub fn is_strange(&self, heard: &[u8]) -> bool {
        matches!(self.expected, Expected::Address(number) if answer(heard, number).is_none())
    }
}

fn request(test: &HttpTest, own: Ipv4Addr) -> Vec<u8> {
    let host = test.host.clone().unwrap_or_else(|| own.to_string());
    let port = match test.port.number() {
        80 => String::new(),
        port => format!(":{port}"),
    };
    let version = env!("CARGO_PKG_VERSION");
    format!(
        "GET {} HTTP/1.1\r\nHost: {host}{port}\r\nUser-Agent: swarmlb/{version}\r\nAccept: */*\r\n\
         Connection: close\r\n\r\n",
        test.path
    )
    .into_bytes()
}

/// Whether a page is good. Of one that is not, as much is heard as there is: it may say why.
fn page(heard: &[u8], is_over: bool) -> Option<Outcome> {
    let is_over = is_over || heard.len() >= MOST_OUTPUT;
    let Some(end) = heard.iter().position(|byte| *byte == b'\n') else {
        let unfit = || match heard {
            [] => Err("the connection ended without an answer".to_owned()),
            _ => Err(format!("no HTTP: {}", text(heard))),
        };
        return is_over.then(unfit);
    };
    let line = String::from_utf8_lossy(heard.get(..end).unwrap_or_default()).trim().to_owned();
    let status = line.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1));
    match status.and_then(|status| status.parse::<u16>().ok()) {
        Some(200..=399) => Some(Ok(line)),
        _ if !is_over => None,
        Some(_) => Some(Err(text(format!("{line}{}", body(heard)).as_bytes()))),
        None => Some(Err(format!("no HTTP: {}", text(heard)))),
    }
}

/// What comes after the headers, set off.
fn body(heard: &[u8]) -> String {
    let end = heard.windows(4).position(|four| four == b"\r\n\r\n");
    let body = end.and_then(|end| heard.get(end + 4..)).unwrap_or_default();
    match text(body).trim() {
        "" => String::new(),
        body => format!(": {body}"),
    }
}

/// A question for an IPv4 address (RFC 1035, 4.1).
fn question(test: &DnsTest, number: u16) -> Vec<u8> {
    let mut bytes = number.to_be_bytes().to_vec();
    // Recursion desired; one question.
    bytes.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in test.name.split('.') {
        // That it fits was seen when it was typed.
        bytes.push(label.len() as u8);
        bytes.extend(label.as_bytes());
    }
    // The root; type A, class IN.
    bytes.extend([0, 0, 1, 0, 1]);
    bytes
}

/// What a name server said; none when it is no answer to that question.
fn answer(heard: &[u8], number: u16) -> Option<Outcome> {
    let header: [u8; 12] = heard.get(..12)?.try_into().ok()?;
    let asked = u16::from_be_bytes([header[0], header[1]]);
    if asked != number || header[2] & 0x80 == 0 {
        return None;
    }
    let answers = u16::from_be_bytes([header[6], header[7]]);
    Some(match header[3] & 0x0f {
        0 if answers > 0 => Ok("NOERROR".to_owned()),
        0 => Err("NOERROR, and no address".to_owned()),
        2 => Err("SERVFAIL".to_owned()),
        3 => Err("NXDOMAIN".to_owned()),
        5 => Err("REFUSED".to_owned()),
        code => Err(format!("response code {code}")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 3);

    fn http(test: &str) -> Conversation {
        Conversation::of(&Test::Http(test.parse().unwrap()), OWN, 0).unwrap()
    }

    #[test]
    fn a_page_is_asked_for_as_by_anybody() {
        let asked = http("http://web:8080/ok?x=1");
        assert_eq!((asked.address, asked.port), (OWN, 8080));
        let said = String::from_utf8(asked.words).unwrap();
        assert!(said.starts_with("GET /ok?x=1 HTTP/1.1\r\nHost: web:8080\r\n"), "{said}");
        assert!(said.ends_with("Connection: close\r\n\r\n"), "{said}");
        let said = String::from_utf8(http("/").words).unwrap();
        assert!(said.contains("\r\nHost: 10.0.0.3\r\n"), "{said}");
    }

    #[test]
    fn a_page_is_good_by_its_status_and_a_bad_one_says_why() {
        let page = |heard: &str, is_over| http("80").judge(heard.as_bytes(), is_over);
        assert_eq!(page("HTTP/1.1 200", false), None);
        assert_eq!(page("HTTP/1.1 200 OK\r\n", false), Some(Ok("HTTP/1.1 200 OK".into())));
        assert!(page("HTTP/1.0 302 Found\r\n\r\n", false).unwrap().is_ok());
        let bad = "HTTP/1.1 503 Service Unavailable\r\nX: y\r\n\r\ndatabase is away\n";
        assert_eq!(page(bad, false), None, "more may come");
        let told = page(bad, true).unwrap().unwrap_err();
        assert_eq!(told, "HTTP/1.1 503 Service Unavailable: database is away");
        for (heard, told) in [
            ("", "the connection ended without an answer"),
            ("SSH-2.0-x\r\n", "no HTTP: SSH-2.0-x\r\n"),
            ("HTTP/2 200\r\n", "no HTTP: HTTP/2 200\r\n"),
            ("HTTP/1.1 99999 x\n", "no HTTP: HTTP/1.1 99999 x\n"),
        ] {
            assert_eq!(page(heard, true), Some(Err(told.into())));
        }
        let flood = vec![b'x'; 1 << 20];
        let told = http("80").judge(&flood, false).unwrap().unwrap_err();
        assert!(told.len() < MOST_OUTPUT + 20, "{}", told.len());
    }

    #[test]
    fn an_address_is_asked_for_and_only_its_own_answer_counts() {
        let asked =
            Conversation::of(&Test::Dns("a.example:54".parse().unwrap()), OWN, 0x1234).unwrap();
        assert_eq!((asked.transport, asked.port), (Transport::Datagram, 54));
        assert_eq!(asked.words[..2], [0x12, 0x34]);
        assert_eq!(asked.words[12..], *b"\x01a\x07example\0\0\x01\0\x01");
        let reply = |flags: [u8; 2], answers: u8| {
            let mut bytes = vec![0x12, 0x34, flags[0], flags[1], 0, 1, 0, answers, 0, 0, 0, 0];
            bytes.extend(&asked.words[12..]);
            asked.judge(&bytes, false)
        };
        assert_eq!(reply([0x81, 0x80], 1), Some(Ok("NOERROR".into())));
        assert_eq!(reply([0x81, 0x80], 0), Some(Err("NOERROR, and no address".into())));
        assert_eq!(reply([0x81, 0x83], 0), Some(Err("NXDOMAIN".into())));
        assert_eq!(reply([0x01, 0x00], 1), None, "a question");
        assert!(asked.is_strange(b"\x99\x99\x81\x80\0\0\0\x01\0\0\0\0"));
        assert_eq!(asked.judge(b"short", true), Some(Err("no answer".into())));
    }

    #[test]
    fn of_the_others_it_is_enough_to_hear_anything() {
        let udp = Conversation::of(&Test::Udp("7/PING".parse().unwrap()), OWN, 0).unwrap();
        assert_eq!(udp.words, b"PING");
        assert_eq!(udp.judge(b"", false), None);
        assert_eq!(udp.judge(b"x", false), Some(Ok("x".into())));
        let tcp = Conversation::of(&Test::Tcp("7".parse().unwrap()), OWN, 0).unwrap();
        assert!(tcp.judge(b"", false).unwrap().is_ok());
    }
}
