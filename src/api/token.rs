//! The token that a node joins with: which authority to trust, and the secret that it asks for.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// What every token begins with; the number is that of its form.
const PREFIX: &str = "SWARMLB-1";
/// Letters and digits of a secret: 25 of 36 kinds are 129 bits.
pub const SECRET_LENGTH: usize = 25;
/// Hexadecimal digits of a SHA-256.
const DIGEST_LENGTH: usize = 64;

/// What is in a token.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// The fingerprint of the authority's certificate.
    pub authority: String,
    pub secret: String,
}

/// What is wrong with what should be a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TokenError {
    #[error("a token begins with {PREFIX}-")]
    Prefix,
    #[error("a token has {DIGEST_LENGTH} hexadecimal digits after {PREFIX}-")]
    Digest,
    #[error("a token ends with {SECRET_LENGTH} letters and digits")]
    Secret,
}

impl FromStr for Token {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let rest = text.trim().strip_prefix(PREFIX).and_then(|rest| rest.strip_prefix('-'));
        let (authority, secret) =
            rest.ok_or(TokenError::Prefix)?.split_once('-').ok_or(TokenError::Digest)?;
        let is_hex = authority.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if authority.len() != DIGEST_LENGTH || !is_hex {
            return Err(TokenError::Digest);
        }
        let is_secret = secret.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'z'));
        if secret.len() != SECRET_LENGTH || !is_secret {
            return Err(TokenError::Secret);
        }
        Ok(Self { authority: authority.to_owned(), secret: secret.to_owned() })
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}-{}-{}", self.authority, self.secret)
    }
}

/// The secret is for whoever joins, and for no log.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}-{}-…", self.authority)
    }
}

/// Whether two secrets are the same, in a time that does not tell how much of them is.
pub fn same(one: &str, other: &str) -> bool {
    let differ = one.bytes().zip(other.bytes()).fold(0, |differ, (a, b)| differ | (a ^ b));
    one.len() == other.len() && differ == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_as_it_is_written() {
        let token = Token { authority: "0a".repeat(32), secret: "x1".repeat(12) + "z" };
        let written = token.to_string();
        assert_eq!(written.parse::<Token>().unwrap(), token);
        assert_eq!(format!(" {written}\n").parse::<Token>().unwrap(), token);
        assert!(!format!("{token:?}").contains(&token.secret));
    }

    #[test]
    fn what_is_no_token_is_told_apart() {
        let read = |text: &str| text.parse::<Token>().unwrap_err();
        assert_eq!(read("SWMTKN-1-abc-def"), TokenError::Prefix);
        assert_eq!(read("SWARMLB-1-abc"), TokenError::Digest);
        assert_eq!(
            read(&format!("SWARMLB-1-{}-{}", "G".repeat(64), "x".repeat(25))),
            TokenError::Digest
        );
        assert_eq!(
            read(&format!("SWARMLB-1-{}-{}", "a".repeat(64), "x".repeat(24))),
            TokenError::Secret
        );
    }

    #[test]
    fn secrets_are_the_same_or_not() {
        assert!(same("abc", "abc"));
        assert!(!same("abc", "abd"));
        assert!(!same("abc", "abcd"));
        assert!(!same("", "a"));
    }
}
