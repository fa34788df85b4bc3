//! The head of an HTTP reply, as far as a measuring client needs it: whether it is whole, how much
//! body is to come, and which task sent it.

/// The header in which a task tells its name.
pub const TASK_HEADER: &str = "Swarmlb-Task";

/// The most bytes a reply's head may have.
pub const LONGEST_HEAD: usize = 8 * 1024;

/// The most bytes of body that are read.
const LONGEST_BODY: u64 = 1024 * 1024;

/// The longest task name that is believed.
const LONGEST_TASK: usize = 255;

/// How far a reply has come.
#[derive(Debug, PartialEq, Eq)]
pub enum Progress {
    /// The head is not whole yet.
    Partial,
    /// The head is whole; `missing` bytes of the body are still to come.
    Whole { task: String, missing: u64 },
    /// This is not the reply of a task.
    Malformed,
}

/// Looks at all that has come so far.
pub fn parse(seen: &[u8]) -> Progress {
    let Some(end) = seen.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Progress::Partial;
    };
    let head = seen.get(..end).unwrap_or_default();
    let body = (seen.len() - end - 4) as u64;
    match head_of(head) {
        Some((task, length)) if body <= length => Progress::Whole { task, missing: length - body },
        _ => Progress::Malformed,
    }
}

/// The task and the length of the body; none unless it is a 200 with both.
fn head_of(head: &[u8]) -> Option<(String, u64)> {
    let head = std::str::from_utf8(head).ok()?;
    let mut lines = head.split("\r\n");
    let mut status = lines.next()?.splitn(3, ' ');
    if !status.next()?.starts_with("HTTP/1.") || status.next()? != "200" {
        return None;
    }
    let (mut task, mut length) = (None, None);
    for line in lines {
        let (name, value) = line.split_once(':')?;
        let value = value.trim();
        if name.eq_ignore_ascii_case(TASK_HEADER) {
            task = Some(value);
        } else if name.eq_ignore_ascii_case("Content-Length") {
            length = value.parse().ok().filter(|length| *length <= LONGEST_BODY);
        }
    }
    let task = task.filter(|name| is_name(name))?;
    Some((task.to_owned(), length?))
}

/// Names end up on terminals: nothing invisible is taken from the network.
fn is_name(text: &str) -> bool {
    let visible = text.bytes().all(|byte| byte.is_ascii_graphic());
    visible && !text.is_empty() && text.len() <= LONGEST_TASK
}

/// A path that a request line can hold: it begins with `/`, and what is neither visible ASCII nor
/// allowed is percent-encoded.
pub fn escape_path(path: &str) -> String {
    let mut escaped = String::with_capacity(path.len() + 1);
    if !path.starts_with('/') {
        escaped.push('/');
    }
    for byte in path.bytes() {
        if byte.is_ascii_graphic() && byte != b'#' {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const REPLY: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nswarmlb-task: web.1\r\n\r\nabc";

    #[test]
    fn a_reply_is_partial_until_its_head_is_whole() {
        for length in 0..REPLY.len() - 3 {
            assert_eq!(parse(&REPLY[..length]), Progress::Partial, "{length} bytes");
        }
        for missing in 0..=3 {
            let seen = &REPLY[..REPLY.len() - missing];
            let whole = Progress::Whole { task: "web.1".to_owned(), missing: missing as u64 };
            assert_eq!(parse(seen), whole);
        }
    }

    #[test]
    fn what_no_task_sent_is_malformed() {
        for reply in [
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nSwarmlb-Task: a\r\n\r\n",
            "HTTP/1.1 200 OK\r\nSwarmlb-Task: a\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: -1\r\nSwarmlb-Task: a\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\nSwarmlb-Task: a\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nSwarmlb-Task:  \r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nSwarmlb-Task: a\r\n\r\nab",
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nSwarmlb-Task: a\x1b[2J\r\n\r\n",
            "SSH-2.0-OpenSSH\r\n\r\n",
        ] {
            assert_eq!(parse(reply.as_bytes()), Progress::Malformed, "{reply:?}");
        }
    }

    #[test]
    fn a_path_cannot_leave_its_line() {
        assert_eq!(escape_path("/a b\r\nEvil: 1"), "/a%20b%0D%0AEvil:%201");
        assert_eq!(escape_path(""), "/");
        assert_eq!(escape_path("api?x=1"), "/api?x=1");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            parse(&bytes);
            let mut reply = b"HTTP/1.1 200 ".to_vec();
            reply.extend(bytes);
            reply.extend(b"\r\n\r\n");
            parse(&reply);
        }
    }
}
