//! Sets and maps: what rules look things up in.

use super::attribute::{DecodeError, Writer};
use super::frame;

const TABLE: u16 = 1;
const NAME: u16 = 2;
const FLAGS: u16 = 3;
const KEY_TYPE: u16 = 4;
const KEY_LENGTH: u16 = 5;
const DATA_TYPE: u16 = 6;
const DATA_LENGTH: u16 = 7;
const DESCRIPTION: u16 = 9;
const ID: u16 = 10;
const USER_DATA: u16 = 13;
const DESCRIPTION_SIZE: u16 = 1;

const WHAT: &str = "a set";

/// What a set is: bits of `enum nft_set_flags`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct SetFlags(pub u32);

impl SetFlags {
    /// Without a name of its own: it lives and goes with its rule.
    pub const ANONYMOUS: Self = Self(0x1);
    /// Not changed once a rule uses it.
    pub const CONSTANT: Self = Self(0x2);
    /// A map: elements have data.
    pub const MAP: Self = Self(0x8);

    /// Both.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all bits of `other` are set.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// What keys or data mean. The kernel only knows verdicts from values; the numbers are those of `nft`,
/// which prints by them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DataType(pub u32);

impl DataType {
    /// A number.
    pub const INTEGER: Self = Self(4);
    /// An IPv4 address.
    pub const IPV4: Self = Self(7);
    /// A transport protocol's number.
    pub const PROTOCOL: Self = Self(12);
    /// A port.
    pub const PORT: Self = Self(13);
    /// A packet's mark.
    pub const MARK: Self = Self(19);
    /// One after another, as `nft` numbers such keys.
    #[must_use]
    pub const fn then(self, next: Self) -> Self {
        Self((self.0 << 6) | next.0)
    }

    /// What becomes of a packet (`NFT_DATA_VERDICT`).
    pub const VERDICT: Self = Self(0xffff_ff00);
}

/// A set or a map.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Set {
    /// The table that it is in.
    pub table: String,
    /// Its name; of a new anonymous one, how the kernel shall name it (`__map%d`).
    pub name: String,
    /// What it is.
    pub flags: SetFlags,
    /// Type of the keys, and their length in bytes.
    pub key: (DataType, u32),
    /// Of a map: type of the data, and their length in bytes, 0 for verdicts.
    pub data: Option<(DataType, u32)>,
    /// By what number a rule in the same transaction means it; `None` in answers.
    pub id: Option<u32>,
    /// How many elements it will have; `None` when that is not known.
    pub size: Option<u32>,
    /// What `nft` notes for itself: byte orders and the like.
    pub user_data: Vec<u8>,
}

impl Set {
    pub(super) fn write(&self, writer: &mut Writer<'_>) {
        write_key(&self.table, &self.name, writer);
        writer.u32(FLAGS, self.flags.0);
        writer.u32(KEY_TYPE, self.key.0.0);
        writer.u32(KEY_LENGTH, self.key.1);
        if let Some((kind, length)) = self.data {
            writer.u32(DATA_TYPE, kind.0);
            writer.u32(DATA_LENGTH, length);
        }
        if let Some(id) = self.id {
            writer.u32(ID, id);
        }
        if let Some(size) = self.size {
            writer.nested(DESCRIPTION, |inside| inside.u32(DESCRIPTION_SIZE, size));
        }
        if !self.user_data.is_empty() {
            writer.raw(USER_DATA, &self.user_data);
        }
    }

    /// Reads one answer to [`Query::Sets`](super::Query::Sets).
    ///
    /// # Errors
    /// When the bytes are no set.
    pub fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        let (mut table, mut name, mut flags) = (None, None, SetFlags::default());
        let (mut key_type, mut key_length) = (None, 0);
        let (mut data_type, mut data_length) = (None, 0);
        let (mut size, mut user_data) = (None, Vec::new());
        for attribute in frame::attributes(payload)? {
            let attribute = attribute?;
            match attribute.number {
                TABLE => table = Some(attribute.text()),
                NAME => name = Some(attribute.text()),
                FLAGS => flags = SetFlags(attribute.u32("flags")?),
                KEY_TYPE => key_type = Some(DataType(attribute.u32("key type")?)),
                KEY_LENGTH => key_length = attribute.u32("key length")?,
                DATA_TYPE => data_type = Some(DataType(attribute.u32("data type")?)),
                DATA_LENGTH => data_length = attribute.u32("data length")?,
                USER_DATA => user_data = attribute.value.to_vec(),
                DESCRIPTION => {
                    for inside in attribute.nested() {
                        let inside = inside?;
                        if inside.number == DESCRIPTION_SIZE {
                            size = Some(inside.u32("size")?);
                        }
                    }
                }
                _ => {}
            }
        }
        let missing = |attribute| DecodeError::Missing { what: WHAT, attribute };
        Ok(Self {
            table: table.ok_or(missing("table"))?,
            name: name.ok_or(missing("name"))?,
            flags,
            key: (key_type.unwrap_or(DataType(0)), key_length),
            data: data_type.map(|kind| (kind, data_length)),
            id: None,
            size,
            user_data,
        })
    }
}

pub(super) fn write_key(table: &str, name: &str, writer: &mut Writer<'_>) {
    writer.text(TABLE, table);
    writer.text(NAME, name);
}
