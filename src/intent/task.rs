//! Tasks: the copies of a service, each in a slot on a node.

use std::net::Ipv4Addr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::update::FIRST_VERSION;
use super::weight::{Ramp, WEIGHT};
use super::{Id, NetworkName, NodeName, TaskName};

/// One copy of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    pub id: Id,
    pub name: TaskName,
    /// Where it was placed.
    pub node: NodeName,
    pub endpoints: Vec<Endpoint>,
    /// Its address on its node's gateway bridge, by which it reaches the outside; none when all its
    /// networks are internal or the node cannot.
    #[serde(default)]
    pub egress: Option<Ipv4Addr>,
    /// The version of its service that it is made from.
    #[serde(default = "first_version")]
    pub version: u64,
    /// The task whose place it takes once everybody sends to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follows: Option<Id>,
    /// Its share of new connections, beside those of the others; with 0 it gets none.
    #[serde(default = "weight", skip_serializing_if = "is_usual")]
    pub weight: u32,
    /// Set while it is on its way to that share. It was not asked for and is not kept.
    #[serde(skip)]
    pub ramp: Option<Ramp>,
    /// Set while it leaves: it gets no new connections any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaving: Option<Leaving>,
    /// What its node tells of its process. It was not asked for and is not kept.
    #[serde(skip)]
    pub presence: Presence,
}

fn weight() -> u32 {
    WEIGHT
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_usual(weight: &u32) -> bool {
    *weight == WEIGHT
}

fn first_version() -> u64 {
    FIRST_VERSION
}

/// Whether a task's process is there to be connected to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Presence {
    #[default]
    Present,
    /// It ended and is not there again yet, or is new and not there yet.
    Resting,
    /// It leaves, and gets new connections as long as nobody else of its service is there.
    Standing,
    /// It leaves and did so: connections that began meanwhile are under the VIP's new mark.
    Stood,
}

/// A task on its way out: weight 0 and out of DNS, until nobody is connected to it any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leaving {
    /// When it was taken out of rotation: milliseconds since 1970.
    pub since: u64,
    /// When it goes although somebody is still connected, by the clock that `since` is of.
    pub until: u64,
    /// Whether its place is kept for another, which is made once it is gone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub handed_on: bool,
}

impl Leaving {
    /// How long it has, whatever the clocks of those who look at it say.
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.until.saturating_sub(self.since))
    }
}

/// What joins a task's sandbox to one network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    pub network: NetworkName,
    pub address: Ipv4Addr,
    /// The place of this sandbox among those on the network, from 0 and without gaps: it rotates
    /// the order of real servers, so that sandboxes do not all begin with the same one.
    pub rank: u32,
}

impl Task {
    /// Whether it gets new connections.
    pub fn in_rotation(&self) -> bool {
        match self.presence {
            Presence::Present | Presence::Stood => self.leaving.is_none(),
            Presence::Resting => false,
            Presence::Standing => true,
        }
    }

    pub fn endpoint(&self, network: &NetworkName) -> Option<&Endpoint> {
        self.endpoints.iter().find(|endpoint| endpoint.network == *network)
    }
}

/// The id of the `number`-th task that was ever made: 25 letters and digits as Docker's are, and a
/// few of the first tell it from others. It follows from the service's random id, so that an edit
/// made twice makes the same task.
pub(super) fn id(service: &str, number: u64) -> Id {
    // FNV-1a with 128 bits (offset basis and prime of its authors), stirred at the end: its last
    // byte alone would hardly reach the first letters.
    let mut hash = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d_u128;
    for byte in format!("{service}-{number}").bytes() {
        hash = (hash ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
    }
    for _ in 0..2 {
        hash = (hash ^ (hash >> 67)).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    }
    hash ^= hash >> 64;
    let letter = |place: u32| match (hash / 36_u128.pow(place) % 36) as u8 {
        digit @ 0..10 => char::from(b'0' + digit),
        letter => char::from(b'a' + letter - 10),
    };
    (0..25).map(letter).collect()
}
