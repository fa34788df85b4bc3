//! How much of what a task writes is kept.

use std::fmt;
use std::num::{NonZeroU32, NonZeroU64};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// As Docker's options of `json-file`: so many parts of a task's output, each so large. The oldest
/// part goes when another begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LogLimits {
    /// Bytes of a part; none where nothing ever goes.
    pub max_size: Option<NonZeroU64>,
    /// How many parts.
    pub max_file: NonZeroU32,
}

const MEBIBYTE: u64 = 1 << 20;
/// The smallest part: with less, a log would be cut with about every line, and hold none.
const LEAST: u64 = 4 << 10;

impl Default for LogLimits {
    /// Three times 10 MiB.
    fn default() -> Self {
        let (max_size, parts) = (NonZeroU64::new(10 * MEBIBYTE), NonZeroU32::new(3));
        Self { max_size, max_file: parts.unwrap_or(NonZeroU32::MIN) }
    }
}

impl LogLimits {
    /// From which byte on a log of this length is kept.
    pub fn floor(&self, length: u64) -> u64 {
        let Some(size) = self.max_size else { return 0 };
        let begun = length.div_ceil(size.get());
        begun.saturating_sub(u64::from(self.max_file.get())).saturating_mul(size.get())
    }

    /// Applies an option.
    #[must_use]
    pub fn with(self, option: LogOption) -> Self {
        match option {
            LogOption::MaxSize(max_size) => Self { max_size, ..self },
            LogOption::MaxFile(max_file) => Self { max_file, ..self },
        }
    }
}

/// `max-size=10m, max-file=3`
impl fmt::Display for LogLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.max_size {
            None => f.pad("max-size=-1"),
            Some(size) => {
                f.pad(&format!("max-size={}, max-file={}", size_words(size.get()), self.max_file))
            }
        }
    }
}

fn size_words(bytes: u64) -> String {
    let units = [("g", MEBIBYTE << 10), ("m", MEBIBYTE), ("k", 1 << 10)];
    let whole = units.into_iter().find(|(_, unit)| bytes.is_multiple_of(*unit));
    whole.map_or_else(|| bytes.to_string(), |(letter, unit)| format!("{}{letter}", bytes / unit))
}

/// One of them, as it is typed: `max-size=10m` or `max-file=3`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogOption {
    MaxSize(Option<NonZeroU64>),
    MaxFile(NonZeroU32),
}

impl FromStr for LogOption {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some(("max-size", "-1")) => Ok(Self::MaxSize(None)),
            Some(("max-size", size)) => {
                let bytes = bytes(size).and_then(NonZeroU64::new);
                if bytes.is_some_and(|bytes| bytes.get() < LEAST) {
                    return Err(format!(
                        "`{}` is too small: a part is of 4k at least, or a log would not hold its last lines",
                        size.escape_debug()
                    ));
                }
                bytes.map(|size| Self::MaxSize(Some(size))).ok_or_else(|| {
                    format!(
                        "`{}` is not a size: say it as 10m, 500k or 1g, or -1 for any",
                        size.escape_debug()
                    )
                })
            }
            Some(("max-file", count)) => count.parse().map(Self::MaxFile).map_err(|_| {
                format!("`{}` is not a number of parts, 1 or more", count.escape_debug())
            }),
            _ => Err(format!(
                "`{}` is not known: there are max-size= and max-file=",
                text.escape_debug()
            )),
        }
    }
}

/// A number of bytes with one of Docker's units, each 1024 of the one before.
fn bytes(text: &str) -> Option<u64> {
    let text = text.to_ascii_lowercase();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = match unit {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(options: &[&str]) -> LogLimits {
        let options = options.iter().map(|option| option.parse().unwrap());
        options.fold(LogLimits::default(), LogLimits::with)
    }

    #[test]
    fn whole_parts_go_and_never_the_one_that_is_being_written() {
        let of = |parts| LogLimits { max_size: NonZeroU64::new(10), max_file: parts };
        let three = of(NonZeroU32::new(3).unwrap());
        for (length, floor) in
            [(0, 0), (10, 0), (30, 0), (31, 10), (40, 10), (41, 20), (1_000_001, 999_980)]
        {
            assert_eq!(three.floor(length), floor, "{length}");
        }
        let one = of(NonZeroU32::MIN);
        assert_eq!([one.floor(10), one.floor(11), one.floor(25)], [0, 10, 20]);
        assert_eq!(limits(&["max-size=-1"]).floor(u64::MAX), 0);
        assert_eq!(limits(&[]).floor(30 << 20), 0);
        assert_eq!(limits(&[]).floor((30 << 20) + 1), 10 << 20);
    }

    #[test]
    fn sizes_have_dockers_units() {
        for (text, bytes) in
            [("4096", 4096), ("5000b", 5000), ("4k", 4096), ("10m", 10 << 20), ("1GB", 1 << 30)]
        {
            let expected = LogOption::MaxSize(NonZeroU64::new(bytes));
            assert_eq!(format!("max-size={text}").parse(), Ok(expected));
        }
        for (text, said) in [
            ("max-size=0", "`0` is not a size"),
            ("max-size=1", "`1` is too small: a part is of 4k at least"),
            ("max-size=3k", "`3k` is too small"),
            ("max-size=10x", "`10x` is not a size"),
            ("max-size=-5", "`-5` is not a size"),
            ("max-size=99999999999999999999g", "is not a size"),
            ("max-file=0", "`0` is not a number of parts"),
            ("max-files=3", "`max-files=3` is not known"),
            ("10m", "`10m` is not known"),
        ] {
            let error = text.parse::<LogOption>().unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
        assert_eq!(limits(&[]).to_string(), "max-size=10m, max-file=3");
        assert_eq!(limits(&["max-size=5001"]).to_string(), "max-size=5001, max-file=3");
    }
}
