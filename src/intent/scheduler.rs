//! The schedulers of IPVS, by which a virtual server picks a real server, and their flags.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How a virtual server picks its real server.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Scheduler {
    /// Round robin, the only one that Docker's swarm mode has.
    #[default]
    Rr,
    /// Round robin by weights.
    Wrr,
    /// Least connections.
    Lc,
    /// Least connections for their weight.
    Wlc,
    /// By a hash of the client's address.
    Sh,
    /// By Maglev's hash of the client's address.
    Mh,
    /// Shortest expected delay.
    Sed,
    /// Never queue: one that is idle, else as `Sed`.
    Nq,
    /// Fail over: the greatest weight gets all.
    Fo,
    /// Overflow: the greatest weight gets all until it has more connections than that, then the next.
    Ovf,
}

/// What a scheduler makes of weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weights {
    /// Nothing, but that 0 gets nothing new.
    Ignored,
    /// They are shares.
    Shares,
    /// They are the order of preference.
    Order,
    /// They are the order of preference, and how many connections each takes.
    Room,
}

impl Scheduler {
    pub const ALL: [Self; 10] = [
        Self::Rr,
        Self::Wrr,
        Self::Lc,
        Self::Wlc,
        Self::Sh,
        Self::Mh,
        Self::Sed,
        Self::Nq,
        Self::Fo,
        Self::Ovf,
    ];

    /// By the kernel's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rr => "rr",
            Self::Wrr => "wrr",
            Self::Lc => "lc",
            Self::Wlc => "wlc",
            Self::Sh => "sh",
            Self::Mh => "mh",
            Self::Sed => "sed",
            Self::Nq => "nq",
            Self::Fo => "fo",
            Self::Ovf => "ovf",
        }
    }

    /// The kernel module that it is in.
    pub fn module(self) -> String {
        format!("ip_vs_{}", self.name())
    }

    /// What it makes of weights.
    pub fn weights(self) -> Weights {
        match self {
            Self::Rr | Self::Lc => Weights::Ignored,
            Self::Wrr | Self::Wlc | Self::Sh | Self::Mh | Self::Sed | Self::Nq => Weights::Shares,
            Self::Fo => Weights::Order,
            Self::Ovf => Weights::Room,
        }
    }

    /// Whether it hashes the client's address, and has the flags that belong to that.
    pub fn hashes(self) -> bool {
        matches!(self, Self::Sh | Self::Mh)
    }

    /// Whether a weight that rises step by step gives a task more and more of what is new, and moves
    /// nobody.
    pub fn can_ramp(self) -> bool {
        self.weights() == Weights::Shares && !self.hashes()
    }

    /// What nftables does as well.
    pub fn is_in_nftables(self) -> bool {
        matches!(self, Self::Rr | Self::Wrr)
    }
}

impl fmt::Display for Scheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Names with commas between.
pub fn names<'a>(schedulers: impl IntoIterator<Item = &'a Scheduler>) -> String {
    let names: Vec<&str> = schedulers.into_iter().map(|scheduler| scheduler.name()).collect();
    names.join(", ")
}

/// Why the kernel's other schedulers are not offered.
fn not_offered(name: &str) -> Option<&'static str> {
    Some(match name {
        "dh" => {
            "it hashes the address that packets go to, which is one VIP here: a single task would get all"
        }
        "lblc" | "lblcr" => {
            "it keeps each address that packets go to with its own cache, and a VIP is one address: a \
             single task would get all"
        }
        "twos" => {
            "it looks at two tasks that it draws, which spares time where there are thousands; wlc looks at all"
        }
        "none" => "without a scheduler a virtual server refuses whoever comes",
        _ => return None,
    })
}

impl FromStr for Scheduler {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(found) = Self::ALL.into_iter().find(|scheduler| scheduler.name() == text) {
            return Ok(found);
        }
        Err(match not_offered(text) {
            Some(why) => format!("scheduler `{text}` is not offered: {why}"),
            None => {
                let text = text.escape_debug();
                format!("there is no scheduler `{text}`: {} and auto are known", names(&Self::ALL))
            }
        })
    }
}

/// What changes how `sh` and `mh` pick.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SchedulerFlag {
    /// A client whose task takes nobody new goes to another one, instead of being refused.
    Fallback,
    /// The client's port is part of what is hashed.
    Port,
}

impl SchedulerFlag {
    /// Its bit: `IP_VS_SVC_F_SCHED1` is the first one of `sh` and `mh`, `IP_VS_SVC_F_SCHED2` the second.
    pub fn bit(self) -> u32 {
        match self {
            Self::Fallback => 0x8,
            Self::Port => 0x10,
        }
    }

    /// As it is typed.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fallback => "fallback",
            Self::Port => "port",
        }
    }
}

impl fmt::Display for SchedulerFlag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Flags as they are typed: `port`, `fallback,port`, `sh-port` as ipvsadm has it, or `none`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SchedulerFlags(pub BTreeSet<SchedulerFlag>);

impl FromStr for SchedulerFlags {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self::default());
        }
        let flag = |word: &str| match word {
            "fallback" | "sh-fallback" | "mh-fallback" | "flag-1" => Ok(SchedulerFlag::Fallback),
            "port" | "sh-port" | "mh-port" | "flag-2" => Ok(SchedulerFlag::Port),
            _ => Err(format!(
                "`{}` is no flag: write `fallback`, `port`, both with a comma between, or `none`",
                word.escape_debug()
            )),
        };
        text.split(',').map(flag).collect::<Result<_, _>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scheduler_is_known_by_its_name() {
        for scheduler in Scheduler::ALL {
            assert_eq!(scheduler.name().parse(), Ok(scheduler));
            let written = serde_json::to_string(&scheduler).unwrap();
            assert_eq!(written, format!("\"{scheduler}\""));
        }
    }

    #[test]
    fn what_is_not_offered_is_refused_with_its_reason() {
        for (name, word) in [("dh", "one VIP"), ("lblcr", "one address"), ("twos", "wlc")] {
            let refused = name.parse::<Scheduler>().unwrap_err();
            assert!(refused.contains("is not offered") && refused.contains(word), "{refused}");
        }
        let refused = "fastest".parse::<Scheduler>().unwrap_err();
        assert!(refused.contains("rr, wrr, lc, wlc, sh, mh, sed, nq, fo, ovf"), "{refused}");
    }

    #[test]
    fn flags_are_read_in_our_words_and_in_those_of_ipvsadm() {
        let flags = |text: &str| text.parse::<SchedulerFlags>().map(|flags| flags.0);
        assert_eq!(flags("none"), Ok([].into()));
        assert_eq!(flags("port,fallback"), flags("sh-port,mh-fallback"));
        assert!(flags("ops").is_err());
    }
}
