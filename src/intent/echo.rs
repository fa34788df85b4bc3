//! How `builtin:echo` shall serve: what the words behind the image say.

use thiserror::Error;

/// The port of the echo protocol (RFC 862).
const PORT: u16 = 7;

/// What `builtin:echo` was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Echo {
    pub port: u16,
    /// Whether a line with the task's name comes before what is echoed.
    pub greets: bool,
}

impl Default for Echo {
    fn default() -> Self {
        Self { port: PORT, greets: false }
    }
}

/// A word that `builtin:echo` does not know.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EchoError {
    #[error("`builtin:echo` has no option `{}`", word.escape_debug())]
    Unknown { word: String },
    #[error("`--port` of `builtin:echo` needs a number from 1 to 65535")]
    Port,
}

impl Echo {
    /// Reads the words: `--port N`, `--greet`.
    ///
    /// # Errors
    /// The first word that is none of them.
    pub fn from_words(words: &[String]) -> Result<Self, EchoError> {
        let mut echo = Self::default();
        let mut words = words.iter().map(String::as_str);
        while let Some(word) = words.next() {
            match (word, word.strip_prefix("--port=")) {
                ("--greet", _) => echo.greets = true,
                ("--port" | "-p", _) => echo.port = port(words.next())?,
                (_, Some(number)) => echo.port = port(Some(number))?,
                (_, None) => return Err(EchoError::Unknown { word: word.to_owned() }),
            }
        }
        Ok(echo)
    }
}

fn port(word: Option<&str>) -> Result<u16, EchoError> {
    word.and_then(|word| word.parse().ok()).filter(|port| *port != 0).ok_or(EchoError::Port)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Echo, EchoError> {
        Echo::from_words(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn port_and_greeting_are_read_and_other_words_refused() {
        assert_eq!(read(""), Ok(Echo { port: 7, greets: false }));
        assert_eq!(read("--greet --port 7000"), Ok(Echo { port: 7000, greets: true }));
        assert_eq!(read("--port=9 -p 8"), Ok(Echo { port: 8, greets: false }));
        for bad in ["--port", "--port 0", "--port=x", "-p 65536"] {
            assert_eq!(read(bad), Err(EchoError::Port), "{bad}");
        }
        assert_eq!(read("hello"), Err(EchoError::Unknown { word: "hello".into() }));
    }
}
