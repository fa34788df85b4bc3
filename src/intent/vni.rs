//! The numbers that tie things together in the kernel: VNI and fwmark.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A VXLAN network identifier: 24 bits, 1 to 16,777,215.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Vni(pub u32);

impl Vni {
    /// Where allocation starts: one above the range that Docker starts at, so that a first network
    /// of each meets no other on one machine's VXLAN port.
    pub const FIRST: Vni = Vni(4097);
    /// The largest 24-bit number.
    pub const LAST: Vni = Vni(0xff_ffff);
}

impl FromStr for Vni {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse::<u32>() {
            Ok(number) if (1..=Vni::LAST.0).contains(&number) => Ok(Vni(number)),
            _ => Err(format!("`{text}` is not a VNI: a number from 1 to {}", Vni::LAST.0)),
        }
    }
}

impl fmt::Display for Vni {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A firewall mark: the number that ties a VIP to its virtual server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Fwmark(pub u32);

impl Fwmark {
    /// Marks start at 256, as libnetwork's do.
    pub const FIRST: Fwmark = Fwmark(0x100);
}

impl fmt::Display for Fwmark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{:#x}", self.0))
    }
}
