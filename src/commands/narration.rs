//! `--verbose`: what a command does, said on stderr while it does it.

use std::io::{self, Write};

/// How much is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Narration {
    Silent,
    /// Each step.
    Steps,
    /// Each operation on kernel objects too.
    Operations,
}

impl Narration {
    /// As often as `-v` was typed.
    pub fn of(verbose: u8) -> Self {
        match verbose {
            0 => Self::Silent,
            1 => Self::Steps,
            _ => Self::Operations,
        }
    }

    /// Says one step.
    pub fn step(self, say: impl FnOnce() -> String) {
        if self >= Self::Steps {
            tell(&say());
        }
    }

    /// Says one operation.
    pub fn operation(self, say: impl FnOnce() -> String) {
        if self >= Self::Operations {
            tell(&format!("  {}", say()));
        }
    }
}

/// Says it on stderr. Where nobody listens, that is no reason to panic.
pub fn tell(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}
