//! Generic netlink gives each family a number when its module is loaded; this asks which.

use super::attribute::{Attributes, DecodeError, Writer};

const WHAT: &str = "a generic netlink family";
const IPVS: &str = "IPVS";

const ID: u16 = 1;
const NAME: u16 = 2;
const VERSION: u16 = 3;

pub(super) const COMMAND_NEW: u8 = 1;
pub(super) const COMMAND_GET: u8 = 3;
pub(super) const COMMAND_VERSION: u8 = 1;

/// The number of a generic netlink family, which differs from boot to boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FamilyId(pub u16);

impl FamilyId {
    /// `GENL_ID_CTRL`: the family that knows the others.
    pub const CONTROL: Self = Self(0x10);
}

/// What the kernel says of a family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FamilyInfo {
    /// Its number.
    pub id: FamilyId,
    /// Its name, `IPVS`.
    pub name: String,
    /// The version of its protocol, 1.
    pub version: u32,
}

/// Asks for the IPVS family.
pub(super) fn write_question(writer: &mut Writer<'_>) {
    writer.text(NAME, IPVS);
}

impl FamilyInfo {
    pub(super) fn decode(attributes: Attributes<'_>) -> Result<Self, DecodeError> {
        let (mut id, mut name, mut version) = (None, None, 0);
        for attribute in attributes {
            let attribute = attribute?;
            match attribute.number {
                ID => id = Some(FamilyId(attribute.u16("family id")?)),
                NAME => name = Some(String::from_utf8_lossy(attribute.text()).into_owned()),
                VERSION => version = attribute.u32("version")?,
                _ => {}
            }
        }
        let missing = |attribute| DecodeError::Missing { what: WHAT, attribute };
        Ok(Self {
            id: id.ok_or(missing("family id"))?,
            name: name.ok_or(missing("family name"))?,
            version,
        })
    }
}
