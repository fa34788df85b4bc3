//! The head of an HTTP/1.x request: where it ends, whether it is one, and what it asks for.
//!
//! Strict where leniency confuses (names, versions, folded lines), lenient about a bare line feed,
//! as RFC 9112 allows. Bodies are not read: a request that announces one is answered and its
//! connection closed.

/// The most bytes a request's head may have.
pub const LONGEST_HEAD: usize = 8 * 1024;

/// The most header lines; more are refused like too many bytes.
const MOST_HEADERS: usize = 100;

/// How far a request has come.
#[derive(Debug, PartialEq, Eq)]
pub enum Progress<'a> {
    /// The head is not whole yet.
    Partial,
    /// A request, and how many bytes of the buffer it took.
    Whole(Request<'a>, usize),
    /// Not a request that can be answered, and the status to say so with.
    Refused(Refusal),
}

/// Why a request cannot be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// 400
    Malformed,
    /// 431
    TooLarge,
    /// 505
    Version,
}

/// A request that is well formed. Its parts are bytes: a header may hold any but control ones.
#[derive(Debug, PartialEq, Eq)]
pub struct Request<'a> {
    pub method: &'a str,
    pub target: &'a str,
    pub version: Version,
    pub headers: Vec<(&'a str, &'a [u8])>,
}

/// The versions that are spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    Http10,
    Http11,
}

impl Version {
    /// As it stands in a request line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
        }
    }
}

/// Looks at all that has come so far.
pub fn parse(seen: &[u8]) -> Progress<'_> {
    // Empty lines before a request are tolerated (RFC 9112, 2.2).
    let start = seen.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).unwrap_or(seen.len());
    let rest = seen.get(start..).unwrap_or_default();
    match end_of_head(rest) {
        _ if start >= LONGEST_HEAD => Progress::Refused(Refusal::TooLarge),
        None if seen.len() >= LONGEST_HEAD => Progress::Refused(Refusal::TooLarge),
        None => Progress::Partial,
        Some(end) => match request(rest.get(..end).unwrap_or_default()) {
            Ok(request) => Progress::Whole(request, start + end),
            Err(refusal) => Progress::Refused(refusal),
        },
    }
}

/// The length of the head with the empty line that ends it.
fn end_of_head(bytes: &[u8]) -> Option<usize> {
    let mut from = 0;
    while let Some(at) = bytes.get(from..)?.iter().position(|byte| *byte == b'\n') {
        let next = from + at + 1;
        match bytes.get(next..) {
            Some([b'\n', ..]) => return Some(next + 1),
            Some([b'\r', b'\n', ..]) => return Some(next + 2),
            _ => from = next,
        }
    }
    None
}

fn request(head: &[u8]) -> Result<Request<'_>, Refusal> {
    let mut lines =
        head.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let first = lines.next().and_then(|line| std::str::from_utf8(line).ok());
    let (method, target, version) = request_line(first.ok_or(Refusal::Malformed)?)?;
    let mut headers = Vec::new();
    for line in lines.take_while(|line| !line.is_empty()) {
        if headers.len() == MOST_HEADERS {
            return Err(Refusal::TooLarge);
        }
        headers.push(header(line).ok_or(Refusal::Malformed)?);
    }
    let request = Request { method, target, version, headers };
    let hosts = request.values("Host").count();
    if hosts > 1 || (hosts == 0 && version == Version::Http11) {
        return Err(Refusal::Malformed);
    }
    Ok(request)
}

fn request_line(line: &str) -> Result<(&str, &str, Version), Refusal> {
    let mut parts = line.split(' ');
    let (Some(method), Some(target), Some(version), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Refusal::Malformed);
    };
    let visible = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_token(method) || !visible(target) {
        return Err(Refusal::Malformed);
    }
    match version {
        "HTTP/1.1" => Ok((method, target, Version::Http11)),
        "HTTP/1.0" => Ok((method, target, Version::Http10)),
        other if other.starts_with("HTTP/") && visible(other) => Err(Refusal::Version),
        _ => Err(Refusal::Malformed),
    }
}

/// A name and its value. A line that begins with a space (a folded one) has no name.
fn header(line: &[u8]) -> Option<(&str, &[u8])> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let name = std::str::from_utf8(line.get(..colon)?).ok().filter(|name| is_token(name))?;
    let value = line.get(colon + 1..)?.trim_ascii();
    let allowed = |byte: &u8| *byte == b'\t' || !byte.is_ascii_control();
    value.iter().all(allowed).then_some((name, value))
}

fn is_token(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(allowed)
}

impl Request<'_> {
    /// The values of all headers of this name, in order.
    pub fn values(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.headers
            .iter()
            .filter(move |(other, _)| other.eq_ignore_ascii_case(name))
            .map(|(_, value)| *value)
    }

    /// Whether a list header, such as `Connection`, holds an element; parameters after `;` are
    /// not looked at.
    pub fn lists(&self, name: &str, element: &str) -> bool {
        self.values(name).flat_map(|value| value.split(|byte| *byte == b',')).any(|item| {
            let bare = item.split(|byte| *byte == b';').next().unwrap_or_default();
            bare.trim_ascii().eq_ignore_ascii_case(element.as_bytes())
        })
    }

    /// The target without its query, and without scheme and authority where it has them.
    pub fn path(&self) -> &str {
        let origin = match self.target.split_once("://") {
            Some((_, rest)) => rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/"),
            None => self.target,
        };
        origin.split('?').next().unwrap_or(origin)
    }

    /// Whether the client wants its next request on the same connection. It cannot have that after
    /// a body, which nobody reads.
    pub fn keeps_alive(&self) -> bool {
        match self.version {
            _ if self.announces_body() => false,
            Version::Http11 => !self.lists("Connection", "close"),
            Version::Http10 => self.lists("Connection", "keep-alive"),
        }
    }

    fn announces_body(&self) -> bool {
        self.values("Transfer-Encoding").next().is_some()
            || self.values("Content-Length").any(|length| length != b"0")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn whole(bytes: &[u8]) -> Request<'_> {
        match parse(bytes) {
            Progress::Whole(request, _) => request,
            other => panic!("not whole: {other:?}"),
        }
    }

    fn refusal(bytes: &[u8]) -> Refusal {
        match parse(bytes) {
            Progress::Refused(refusal) => refusal,
            other => panic!("not refused: {other:?}"),
        }
    }

    #[test]
    fn a_request_is_partial_until_the_empty_line() {
        let bytes = b"GET /a?b HTTP/1.1\r\nHost: x\r\nA:  b c \r\n\r\n";
        for length in 0..bytes.len() {
            assert_eq!(parse(&bytes[..length]), Progress::Partial, "{length} bytes");
        }
        let request = whole(bytes);
        assert_eq!((request.method, request.target, request.path()), ("GET", "/a?b", "/a"));
        assert_eq!(request.headers, [("Host", b"x".as_slice()), ("A", b"b c".as_slice())]);
    }

    #[test]
    fn what_follows_a_request_is_left_for_the_next() {
        let bytes = b"\r\nGET / HTTP/1.0\n\nGET /next";
        match parse(bytes) {
            Progress::Whole(_, taken) => assert_eq!(&bytes[taken..], b"GET /next"),
            other => panic!("not whole: {other:?}"),
        }
    }

    #[test]
    fn malformed_requests_are_refused() {
        for bytes in [
            "GET /\r\n\r\n",
            "GET  / HTTP/1.1\r\nHost: x\r\n\r\n",
            "G\0T / HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET / FTP/1.1\r\nHost: x\r\n\r\n",
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n",
            "GET / HTTP/1.1\r\nHost : x\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\nA: \x01\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n",
            "\u{16}\u{3}\u{1}\n\n",
        ] {
            assert_eq!(refusal(bytes.as_bytes()), Refusal::Malformed, "{bytes:?}");
        }
        assert_eq!(refusal(b"GET / HTTP/2.0\r\nHost: x\r\n\r\n"), Refusal::Version);
    }

    #[test]
    fn a_head_of_8_kib_without_an_end_is_too_large() {
        assert_eq!(refusal(&[b'a'; LONGEST_HEAD]), Refusal::TooLarge);
        assert_eq!(refusal(&[b'\n'; LONGEST_HEAD]), Refusal::TooLarge);
        let many = format!("GET / HTTP/1.0\r\n{}\r\n", "a: b\r\n".repeat(MOST_HEADERS + 1));
        assert_eq!(refusal(many.as_bytes()), Refusal::TooLarge);
    }

    #[test]
    fn a_connection_is_kept_as_its_version_and_header_say() {
        let keeps = |text: &str| whole(text.as_bytes()).keeps_alive();
        assert!(keeps("GET / HTTP/1.1\r\nHost: x\r\n\r\n"));
        assert!(!keeps("GET / HTTP/1.1\r\nHost: x\r\nConnection: TE, Close\r\n\r\n"));
        assert!(!keeps("GET / HTTP/1.0\r\n\r\n"));
        assert!(keeps("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"));
        assert!(!keeps("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n"));
        assert!(!keeps("GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"));
    }

    #[test]
    fn the_path_of_an_absolute_target_is_its_path() {
        let path = |target: &str| {
            whole(format!("GET {target} HTTP/1.0\r\n\r\n").as_bytes()).path().to_owned()
        };
        assert_eq!(path("http://web/api?x"), "/api");
        assert_eq!(path("http://web"), "/");
        assert_eq!(path("*"), "*");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            parse(&bytes);
            let mut text = b"GET / HTTP/1.0\r\n".to_vec();
            text.extend(bytes);
            text.extend(b"\r\n\r\n");
            parse(&text);
        }
    }
}
