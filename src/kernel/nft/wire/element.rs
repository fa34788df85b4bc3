//! Elements of sets and maps.

use super::attribute::{Attributes, DecodeError, Writer};
use super::data::Data;
use super::frame;

const TABLE: u16 = 1;
const SET: u16 = 2;
const ELEMENTS: u16 = 3;
const SET_ID: u16 = 4;
/// `nft` numbers the elements of a list; the kernel does not look.
const FIRST: u16 = 1;
const KEY: u16 = 1;
const DATA: u16 = 2;

/// One element.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Element {
    /// What is looked up.
    pub key: Vec<u8>,
    /// What is found, in a map.
    pub data: Option<Data>,
}

/// Elements of one set.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Elements {
    /// The table that the set is in.
    pub table: String,
    /// The set's name.
    pub set: String,
    /// The set's number, where it was made in the same transaction and has no name yet.
    pub set_id: Option<u32>,
    /// Some or all of its elements.
    pub elements: Vec<Element>,
}

impl Elements {
    /// How many elements surely fit one message, however long their chains' names: a list is an
    /// attribute, which has 64 KiB.
    pub const ROOM: usize = 200;

    pub(super) fn write(&self, writer: &mut Writer<'_>) {
        writer.text(TABLE, &self.table);
        writer.text(SET, &self.set);
        if let Some(id) = self.set_id {
            writer.u32(SET_ID, id);
        }
        writer.nested(ELEMENTS, |list| {
            for (number, element) in (FIRST..).zip(&self.elements) {
                list.nested(number, |inside| element.write(inside));
            }
        });
    }

    /// Reads one answer to [`Query::Elements`](super::Query::Elements).
    ///
    /// # Errors
    /// When the bytes are no elements.
    pub fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        let (mut table, mut set, mut elements) = (None, None, Vec::new());
        for attribute in frame::attributes(payload)? {
            let attribute = attribute?;
            match attribute.number {
                TABLE => table = Some(attribute.text()),
                SET => set = Some(attribute.text()),
                ELEMENTS => {
                    for one in attribute.nested() {
                        elements.push(Element::decode(one?.nested())?);
                    }
                }
                _ => {}
            }
        }
        let missing = |attribute| DecodeError::Missing { what: "a list of elements", attribute };
        Ok(Self {
            table: table.ok_or(missing("table"))?,
            set: set.ok_or(missing("set"))?,
            set_id: None,
            elements,
        })
    }
}

impl Element {
    fn write(&self, writer: &mut Writer<'_>) {
        // The kernel's order when it answers; `nft` writes the same.
        writer.nested(KEY, |inside| Data::Value(self.key.clone()).write(inside));
        if let Some(data) = &self.data {
            writer.nested(DATA, |inside| data.write(inside));
        }
    }

    fn decode(attributes: Attributes<'_>) -> Result<Self, DecodeError> {
        let (mut key, mut data) = (Vec::new(), None);
        for attribute in attributes {
            let attribute = attribute?;
            match attribute.number {
                // A catch-all element has no key.
                KEY => {
                    if let Data::Value(bytes) = Data::decode(attribute.nested())? {
                        key = bytes;
                    }
                }
                DATA => data = Some(Data::decode(attribute.nested())?),
                _ => {}
            }
        }
        Ok(Self { key, data })
    }
}
