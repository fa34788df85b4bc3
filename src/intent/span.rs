//! Lengths of time, as people type them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A length of time in milliseconds; typed and stored as `1m30s` or `500ms`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Span(u64);

impl Span {
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds * 1000)
    }

    pub fn millis(self) -> u64 {
        self.0
    }

    pub fn duration(self) -> Duration {
        Duration::from_millis(self.0)
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "0" {
            return Ok(Self(0));
        }
        let refused = || {
            let text = text.escape_debug();
            format!("`{text}` is not a length of time: write it as 10s, 1m30s or 500ms")
        };
        let span = humantime::parse_duration(text).map_err(|_| refused())?;
        u64::try_from(span.as_millis()).map(Self).map_err(|_| refused())
    }
}

impl TryFrom<String> for Span {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Span> for String {
    fn from(span: Span) -> String {
        span.to_string()
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&humantime::format_duration(self.duration()).to_string().replace(' ', ""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_read_and_written_in_the_same_words() {
        for text in ["10s", "1m30s", "500ms", "2h", "0s"] {
            assert_eq!(text.parse::<Span>().unwrap().to_string(), text);
        }
        assert_eq!("0".parse::<Span>().unwrap().millis(), 0);
        for text in ["", "10", "-1s", "1 fortnight", "99999999999999999999s"] {
            let error = text.parse::<Span>().unwrap_err();
            assert!(error.contains("is not a length of time"), "{text}: {error}");
        }
    }
}
