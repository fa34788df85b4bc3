//! What keeper, agent and store say in their logs: with the time before each line.

use std::fmt::Display;
use std::io::Write;
use std::time::UNIX_EPOCH;

use crate::render::time::Moment;

/// Says it on stderr, which is this process's log. Where nobody listens, that is no reason to panic.
pub fn say(words: impl Display) {
    let nanos = UNIX_EPOCH.elapsed().map_or(0, |since| since.as_nanos() as u64);
    let time = Moment(nanos).with_digits(3);
    let lines: String = words.to_string().lines().map(|line| format!("{time} {line}\n")).collect();
    let _ = std::io::stderr().write_all(lines.as_bytes());
}

/// A line of a log without its time.
pub fn words(line: &str) -> &str {
    match line.split_once(' ') {
        Some((time, words)) if time.ends_with('Z') && time.parse::<Moment>().is_ok() => words,
        _ => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_found_behind_its_time() {
        assert_eq!(words("2026-11-24T02:40:52.120Z the keeper is gone"), "the keeper is gone");
        for line in ["error: cannot run", "2026 was a year", "word", ""] {
            assert_eq!(words(line), line);
        }
    }
}
