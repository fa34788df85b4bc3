//! What whoami answers: who it is, who asked, and what was asked, as text or as JSON.
//!
//! Everything a client sent is escaped before it is echoed.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::SocketAddr;

use serde::Serialize;

use super::Identity;
use super::request::{Refusal, Request};

/// Whether the connection lives on after the reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    KeepAlive,
    Close,
}

/// What is known of the place where a request arrived.
#[derive(Debug)]
pub struct Place<'a> {
    pub identity: &'a Identity,
    pub hostname: &'a str,
    /// Addresses with their prefix length.
    pub addresses: &'a [String],
    pub remote: SocketAddr,
    pub local: SocketAddr,
}

/// A status line's number and words.
type Status = (u16, &'static str);

/// Answers a well-formed request.
pub fn answer(place: &Place<'_>, request: &Request<'_>, after: After) -> Vec<u8> {
    let json = request.path() == "/api" || request.lists("Accept", "application/json");
    let (kind, body) = match json {
        true => ("application/json", as_json(place, request)),
        false => ("text/plain; charset=utf-8", as_text(place, request)),
    };
    match request.method {
        "GET" => whole(place.identity, (200, "OK"), "", kind, &body, after),
        "HEAD" => head(place.identity, (200, "OK"), "", kind, body.len(), after).into_bytes(),
        _ => {
            let body = "Only GET and HEAD are answered.\n";
            let kind = "text/plain; charset=utf-8";
            whole(
                place.identity,
                (405, "Method Not Allowed"),
                "Allow: GET, HEAD\r\n",
                kind,
                body,
                after,
            )
        }
    }
}

/// Answers what is no request; the connection closes after it.
pub fn refuse(identity: &Identity, refusal: Refusal) -> Vec<u8> {
    let status = match refusal {
        Refusal::Malformed => (400, "Bad Request"),
        Refusal::TooLarge => (431, "Request Header Fields Too Large"),
        Refusal::Version => (505, "HTTP Version Not Supported"),
    };
    plain(identity, status)
}

/// Answers a request that did not come to its end in time; the connection closes after it.
pub fn too_slow(identity: &Identity) -> Vec<u8> {
    plain(identity, (408, "Request Timeout"))
}

fn plain(identity: &Identity, status: Status) -> Vec<u8> {
    let body = format!("{}\n", status.1);
    whole(identity, status, "", "text/plain; charset=utf-8", &body, After::Close)
}

fn whole(
    identity: &Identity,
    status: Status,
    extra: &str,
    kind: &str,
    body: &str,
    after: After,
) -> Vec<u8> {
    let mut reply = head(identity, status, extra, kind, body.len(), after);
    reply.push_str(body);
    reply.into_bytes()
}

fn head(
    identity: &Identity,
    status: Status,
    extra: &str,
    kind: &str,
    length: usize,
    after: After,
) -> String {
    let connection = match after {
        After::KeepAlive => "keep-alive",
        After::Close => "close",
    };
    format!(
        "HTTP/1.1 {} {}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nCache-Control: no-store\r\n\
         Swarmlb-Task: {}\r\nConnection: {connection}\r\n{extra}\r\n",
        status.0,
        status.1,
        escape(identity.task.as_bytes()),
    )
}

fn as_text(place: &Place<'_>, request: &Request<'_>) -> String {
    let mut text = String::with_capacity(512);
    let mut line = |name: &str, value: &str| {
        text.extend([name, ": ", &escape(value.as_bytes()), "\n"]);
    };
    line("Task", &place.identity.task);
    line("Service", &place.identity.service);
    line("Node", &place.identity.node);
    line("Hostname", place.hostname);
    for address in place.addresses {
        line("IP", address);
    }
    line("RemoteAddr", &place.remote.to_string());
    line("LocalAddr", &place.local.to_string());
    text.extend([request.method, " ", request.target, " ", request.version.as_str(), "\n"]);
    for (name, value) in &request.headers {
        text.extend([*name, ": ", &escape(value), "\n"]);
    }
    text
}

/// The JSON form. Headers of one name are gathered under it, in order.
#[derive(Serialize)]
struct Json<'a> {
    task: &'a str,
    service: &'a str,
    node: &'a str,
    hostname: &'a str,
    ips: &'a [String],
    remote_addr: SocketAddr,
    local_addr: SocketAddr,
    method: &'a str,
    target: &'a str,
    version: &'a str,
    headers: BTreeMap<&'a str, Vec<String>>,
}

fn as_json(place: &Place<'_>, request: &Request<'_>) -> String {
    let mut headers: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (name, value) in &request.headers {
        headers.entry(name).or_default().push(escape(value));
    }
    let json = Json {
        task: &place.identity.task,
        service: &place.identity.service,
        node: &place.identity.node,
        hostname: place.hostname,
        ips: place.addresses,
        remote_addr: place.remote,
        local_addr: place.local,
        method: request.method,
        target: request.target,
        version: request.version.as_str(),
        headers,
    };
    // Strings, numbers and maps of strings: nothing here can fail to serialise.
    let mut text = serde_json::to_string_pretty(&json).unwrap_or_default();
    text.push('\n');
    text
}

/// Visible ASCII and spaces as they are, every other byte as `\xNN`.
fn escape(bytes: &[u8]) -> String {
    let mut escaped = String::with_capacity(bytes.len());
    for byte in bytes {
        if byte.is_ascii_graphic() || *byte == b' ' {
            escaped.push(char::from(*byte));
        } else {
            let _ = write!(escaped, "\\x{byte:02x}");
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_a_line_break_cannot_add_a_header() {
        let identity = Identity {
            task: "a\r\nEvil: 1".to_owned(),
            service: String::new(),
            node: String::new(),
        };
        let reply = String::from_utf8(refuse(&identity, Refusal::Malformed)).expect("text");
        assert!(reply.contains("Swarmlb-Task: a\\x0d\\x0aEvil: 1\r\n"), "{reply}");
    }

    #[test]
    fn bytes_that_are_no_text_are_escaped() {
        assert_eq!(escape(b"a\xff\t\x1b[31m b"), "a\\xff\\x09\\x1b[31m b");
    }
}
