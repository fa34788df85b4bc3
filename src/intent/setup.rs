//! How a task is set up beside what it runs: as whom, where, with which rights, files and limits.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Capability, Image, IntentError, Mount, Span};

/// How long a task may take to end after its stop signal when nothing is said, as in Docker.
pub const GRACE: Span = Span::from_secs(10);
/// Least memory that a task may be limited to, in bytes: Docker's 6 MiB, for the runtime itself needs some.
pub const LEAST_MEMORY: u64 = 6 << 20;
/// Least part of a processor, in billionths: the kernel hands out no less than 1 ms of each 100.
const LEAST_CPU: u64 = 10_000_000;
/// Signals that Linux has.
const SIGNALS: std::ops::RangeInclusive<i32> = 1..=64;
/// The first real-time signal that programs may use; glibc keeps two for itself.
const RTMIN: i32 = 34;

/// What may be said of a task beside its image and command. What is not said is as the image has it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct Setup {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserName>,
    /// Absolute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workdir: Option<PathBuf>,
    /// Instead of the image's; with it the image's own arguments are left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<Mount>,
    /// Whether its root file system is.
    #[serde(default, skip_serializing_if = "is_false")]
    pub read_only: bool,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub cap_add: BTreeSet<Capability>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub cap_drop: BTreeSet<Capability>,
    /// Whether its first process is one that only passes signals on and buries the dead.
    #[serde(default, skip_serializing_if = "is_false")]
    pub init: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<StopSignal>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_grace_period: Option<Span>,
    #[serde(default, skip_serializing_if = "Limits::is_none")]
    pub limits: Limits,
    /// Which OCI runtime shall run it: a name on PATH, or a path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<String>,
}

fn is_false(value: &bool) -> bool {
    !value
}

/// The most that a task may have of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct Limits {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Cpus>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Bytes>,
    /// Processes and threads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pids: Option<u32>,
}

impl Limits {
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

impl Setup {
    /// How long a task may take to end after its stop signal.
    pub fn grace(&self) -> Duration {
        self.stop_grace_period.unwrap_or(GRACE).duration()
    }

    /// Refuses what tasks of an image cannot have.
    pub(super) fn check(&self, image: &Image) -> Result<(), IntentError> {
        if !matches!(image, Image::Oci(_))
            && let Some(option) = self.only_in_containers()
        {
            return Err(IntentError::OnlyContainers { option, image: image.clone() });
        }
        if let Some(asked) = self.limits.memory.filter(|asked| asked.0 < LEAST_MEMORY) {
            return Err(IntentError::LittleMemory { asked, least: Bytes(LEAST_MEMORY) });
        }
        let twice = |(place, mount): (usize, &Mount)| {
            self.mounts[..place].iter().any(|other| other.target == mount.target)
        };
        match self.mounts.iter().enumerate().find(|entry| twice(*entry)) {
            Some((_, mount)) => Err(IntentError::MountTwice { target: mount.target.clone() }),
            None => Ok(()),
        }
    }

    /// The first option of those that are set that only containers can have.
    fn only_in_containers(&self) -> Option<&'static str> {
        let options = [
            (self.entrypoint.is_some(), "--entrypoint"),
            (!self.mounts.is_empty(), "--mount"),
            (self.read_only, "--read-only"),
            (!self.cap_add.is_empty(), "--cap-add"),
            (!self.cap_drop.is_empty(), "--cap-drop"),
            (self.init, "--init"),
            (self.runtime.is_some(), "--runtime"),
        ];
        options.into_iter().find(|(is_set, _)| *is_set).map(|(_, option)| option)
    }
}

/// `USER`, `UID`, `USER:GROUP`: as whom a task runs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UserName(String);

impl UserName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for UserName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_name = |name: &str| {
            !name.is_empty()
                && !name.contains([':', '/'])
                && !name.contains(char::is_whitespace)
                && !name.contains(char::is_control)
        };
        let (user, group) = match text.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (text, None),
        };
        match is_name(user) && group.is_none_or(is_name) {
            true => Ok(Self(text.to_owned())),
            false => Err(format!(
                "`{}` is not a user: USER or UID, with :GROUP or :GID behind it",
                text.escape_debug()
            )),
        }
    }
}

/// A signal by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StopSignal(pub i32);

impl StopSignal {
    pub const TERM: Self = Self(15);
}

/// Names of Linux's signals, from 1 on.
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

impl FromStr for StopSignal {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        let named = NAMES.iter().position(|known| *known == name).map(|place| place as i32 + 1);
        let realtime = || match name.strip_prefix("RTMIN")? {
            "" => Some(RTMIN),
            rest => Some(RTMIN.checked_add(rest.strip_prefix('+')?.parse().ok()?)?),
        };
        let number = named.or_else(|| text.parse().ok()).or_else(realtime);
        match number {
            Some(number) if SIGNALS.contains(&number) => Ok(Self(number)),
            _ => Err(format!("there is no signal `{}`", text.escape_debug())),
        }
    }
}

impl fmt::Display for StopSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = usize::try_from(self.0 - 1).ok();
        match (place.and_then(|place| NAMES.get(place)), self.0 - RTMIN) {
            (Some(name), _) => write!(f, "SIG{name}"),
            (None, 0) => f.write_str("SIGRTMIN"),
            (None, more) if more > 0 => write!(f, "SIGRTMIN+{more}"),
            _ => self.0.fmt(f),
        }
    }
}

/// An amount of memory; typed as Docker has it: `64m`, `1.5g`, with units of 1024.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Bytes(pub u64);

const UNITS: [(&str, u64); 5] =
    [("b", 1), ("k", 1 << 10), ("m", 1 << 20), ("g", 1 << 30), ("t", 1 << 40)];

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || {
            format!(
                "`{}` is not an amount of memory: write it as 64m, 512k or 1.5g",
                text.escape_debug()
            )
        };
        let digits = text.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
        let (number, unit) = text.split_at(digits);
        let unit = unit.trim_start().to_ascii_lowercase();
        let factor = match unit.as_str() {
            "" => 1,
            unit => {
                let short = |(name, factor): &(&str, u64)| {
                    let rest = unit.strip_prefix(name)?;
                    let is_byte = *name == "b" && rest.is_empty();
                    (is_byte || (*name != "b" && ["", "b", "ib"].contains(&rest)))
                        .then_some(*factor)
                };
                UNITS.iter().find_map(short).ok_or_else(refused)?
            }
        };
        let number: f64 = number.parse().map_err(|_| refused())?;
        let bytes = number * factor as f64;
        // What no machine has is no amount either, and would not be exact.
        match bytes.is_finite() && (1.0..=(1_u64 << 53) as f64).contains(&bytes) {
            true => Ok(Self(bytes as u64)),
            false => Err(refused()),
        }
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = |(_, factor): &&(&str, u64)| self.0.is_multiple_of(*factor);
        match UNITS.iter().rev().find(whole) {
            Some((unit, factor)) if self.0 > 0 => write!(f, "{}{unit}", self.0 / factor),
            _ => write!(f, "{}b", self.0),
        }
    }
}

/// A number of processors, in billionths; typed as `0.5`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cpus(pub u64);

const ONE_CPU: u64 = 1_000_000_000;

impl Cpus {
    /// How many microseconds it may run of each 100,000.
    pub fn quota(self) -> u64 {
        self.0 / 10_000
    }
}

impl FromStr for Cpus {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused =
            |why: &str| format!("`{}` is not a number of processors{why}", text.escape_debug());
        let (whole, part) = text.split_once('.').unwrap_or((text, ""));
        let is_number = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
        if (whole.is_empty() && part.is_empty())
            || !is_number(whole)
            || !is_number(part)
            || part.len() > 9
        {
            return Err(refused(": write it as 0.5 or 2"));
        }
        let number = |digits: &str| if digits.is_empty() { Ok(0) } else { digits.parse::<u64>() };
        let all = number(whole).ok().and_then(|whole| {
            let part = number(&format!("{part:0<9}")).ok()?;
            whole.checked_mul(ONE_CPU)?.checked_add(part)
        });
        match all {
            Some(all) if all >= LEAST_CPU => Ok(Self(all)),
            Some(_) => Err(refused(" that can be had: 0.01 is the least")),
            None => Err(refused(": write it as 0.5 or 2")),
        }
    }
}

impl fmt::Display for Cpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.0 / ONE_CPU, self.0 % ONE_CPU);
        match part {
            0 => whole.fmt(f),
            _ => write!(f, "{whole}.{}", format!("{part:09}").trim_end_matches('0')),
        }
    }
}

/// What is stored as it is typed.
macro_rules! stored_as_text {
    ($($name:ident),*) => {$(
        impl TryFrom<String> for $name {
            type Error = String;

            fn try_from(text: String) -> Result<Self, String> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> String {
                value.to_string()
            }
        }
    )*};
}

stored_as_text!(UserName, StopSignal, Bytes, Cpus);

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_in_units_of_1024_and_written_in_the_greatest_that_is_whole() {
        for (text, bytes, again) in [
            ("64m", 64 << 20, "64m"),
            ("512K", 512 << 10, "512k"),
            ("1.5g", 3 << 29, "1536m"),
            ("1000", 1000, "1000b"),
            ("10MiB", 10 << 20, "10m"),
            ("7 mb", 7 << 20, "7m"),
        ] {
            let read: Bytes = text.parse().unwrap();
            assert_eq!((read.0, read.to_string().as_str()), (bytes, again), "{text}");
            assert_eq!(again.parse(), Ok(read));
        }
        for bad in ["", "m", "-1m", "0", "64x", "64 bb", "1.2.3m", "1e9", "99999999t", "64mm"] {
            assert!(bad.parse::<Bytes>().is_err(), "{bad}");
        }
    }

    #[test]
    fn processors_are_read_to_the_billionth() {
        for (text, quota, again) in [
            ("0.5", 50_000, "0.5"),
            ("2", 200_000, "2"),
            (".25", 25_000, "0.25"),
            ("1.000000001", 100_000, "1.000000001"),
        ] {
            let read: Cpus = text.parse().unwrap();
            assert_eq!((read.quota(), read.to_string().as_str()), (quota, again), "{text}");
        }
        for bad in ["", ".", "0", "0.001", "-1", "1e3", "0.1234567890", "99999999999999999999"] {
            assert!(bad.parse::<Cpus>().is_err(), "{bad}");
        }
    }

    #[test]
    fn signals_have_names_and_numbers_real_time_ones_too() {
        for (text, number, again) in [
            ("SIGQUIT", 3, "SIGQUIT"),
            ("term", 15, "SIGTERM"),
            ("9", 9, "SIGKILL"),
            ("SIGRTMIN+3", 37, "SIGRTMIN+3"),
            ("RTMIN", 34, "SIGRTMIN"),
            ("64", 64, "SIGRTMIN+30"),
            ("32", 32, "32"),
        ] {
            let read: StopSignal = text.parse().unwrap();
            assert_eq!((read.0, read.to_string().as_str()), (number, again), "{text}");
            assert_eq!(again.parse(), Ok(read));
        }
        for bad in ["", "0", "65", "-9", "SIG", "SIGRTMIN+99", "SIGRTMIN3", "STOPP"] {
            assert!(bad.parse::<StopSignal>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_user_is_a_name_or_a_number_and_may_have_a_group() {
        for good in ["nobody", "1000", "app:web", "1000:1000", "domain\\user"] {
            assert_eq!(good.parse::<UserName>().unwrap().to_string(), good);
        }
        for bad in ["", ":web", "app:", "a:b:c", "a b", "a\nb", "../x"] {
            assert!(bad.parse::<UserName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_only_containers_can_have_is_refused_by_its_name() {
        let setup =
            Setup { read_only: true, user: Some("nobody".parse().unwrap()), ..Setup::default() };
        let error = setup.check(&Image::Host).unwrap_err();
        assert_eq!(error.to_string(), "`--read-only` is for containers, and `host` is none");
        setup.check(&"rootfs:/x".parse().unwrap()).unwrap();
        let plain = Setup { user: setup.user, ..Setup::default() };
        plain.check(&Image::Host).unwrap();
        let twice = Setup {
            mounts: vec![
                "type=tmpfs,target=/a".parse().unwrap(),
                "type=tmpfs,target=/a/.".parse().unwrap(),
            ],
            ..Setup::default()
        };
        let error = twice.check(&"rootfs:/x".parse().unwrap()).unwrap_err();
        assert_eq!(error.to_string(), "two mounts have the target /a");
    }

    #[test]
    fn what_is_not_said_is_not_written() {
        assert_eq!(serde_json::to_string(&Setup::default()).unwrap(), "{}");
        let limits = Limits { memory: Some(Bytes(64 << 20)), ..Limits::default() };
        let setup = Setup { limits, ..Setup::default() };
        let text = serde_json::to_string(&setup).unwrap();
        assert_eq!(text, r#"{"limits":{"memory":"64m"}}"#);
        assert_eq!(serde_json::from_str::<Setup>(&text).unwrap(), setup);
    }
}
