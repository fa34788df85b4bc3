//! What of root's rights a task may have.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// One of root's rights (capabilities(7)), or all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Capability(u8);

/// Linux's, by number.
const ALL: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// Those that Docker gives a container.
const USUAL: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SYS_CHROOT",
    "MKNOD",
    "AUDIT_WRITE",
    "SETFCAP",
];

/// Behind all others: every one of them.
const EVERY: Capability = Capability(ALL.len() as u8);

impl Capability {
    /// The kernel's name for it.
    pub fn kernel_name(self) -> String {
        format!("CAP_{self}")
    }
}

/// What a container may do: Docker's usual rights without those that are dropped and with those that are
/// added; who drops all gets only what is added.
pub fn granted(add: &BTreeSet<Capability>, drop: &BTreeSet<Capability>) -> BTreeSet<Capability> {
    let usual = || ALL.iter().zip(0..).filter(|(name, _)| USUAL.contains(name));
    let mut granted: BTreeSet<Capability> = match (add.contains(&EVERY), drop.contains(&EVERY)) {
        (true, _) => (0..EVERY.0).map(Capability).collect(),
        (false, true) => BTreeSet::new(),
        (false, false) => usual().map(|(_, number)| Capability(number)).collect(),
    };
    granted.retain(|right| !drop.contains(right));
    granted.extend(add.iter().filter(|right| **right != EVERY));
    granted
}

impl FromStr for Capability {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("CAP_").unwrap_or(&upper);
        let known = ALL.iter().chain([&"ALL"]).zip(0..).find(|(known, _)| **known == name);
        known.map(|(_, number)| Self(number)).ok_or_else(|| {
            format!(
                "there is no capability `{}`: see capabilities(7), or say ALL",
                text.escape_debug()
            )
        })
    }
}

impl TryFrom<String> for Capability {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Capability> for String {
    fn from(right: Capability) -> String {
        right.to_string()
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(ALL.get(usize::from(self.0)).unwrap_or(&"ALL"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> BTreeSet<Capability> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    #[test]
    fn rights_are_dropped_and_added_to_the_usual_ones() {
        let count = |add: &[&str], drop: &[&str]| granted(&set(add), &set(drop)).len();
        assert_eq!(count(&[], &[]), 14);
        assert_eq!(count(&["net_admin"], &["CAP_NET_RAW", "MKNOD"]), 13);
        assert_eq!(count(&["ALL"], &[]), 41);
        assert_eq!(count(&["ALL"], &["SYS_ADMIN"]), 40);
        assert_eq!(granted(&set(&["CHOWN"]), &set(&["ALL"])), set(&["CHOWN"]));
        assert_eq!(count(&["CHOWN"], &["CHOWN"]), 14, "what is added is there");
    }

    #[test]
    fn what_is_no_right_is_refused() {
        for bad in ["", "CAP_", "NET", "CAP_CAP_CHOWN"] {
            assert!(bad.parse::<Capability>().is_err(), "{bad}");
        }
        assert_eq!("cap_Sys_Time".parse::<Capability>().unwrap().kernel_name(), "CAP_SYS_TIME");
    }
}
