//! What can be asked of the kernel, and what it can be told to change.

use super::attribute::Writer;
use super::chain::{self, Chain};
use super::element::Elements;
use super::frame::{ACKNOWLEDGE, APPEND, CREATE, DUMP, EXCLUSIVE, Family, Head};
use super::rule::{self, Rule};
use super::set::{self, Set};

const NEW_TABLE: u16 = 0;
const GET_TABLE: u16 = 1;
const DEL_TABLE: u16 = 2;
const NEW_CHAIN: u16 = 3;
const GET_CHAIN: u16 = 4;
const DEL_CHAIN: u16 = 5;
const NEW_RULE: u16 = 6;
const GET_RULE: u16 = 7;
const DEL_RULE: u16 = 8;
const NEW_SET: u16 = 9;
const GET_SET: u16 = 10;
const DEL_SET: u16 = 11;
const NEW_ELEMENTS: u16 = 12;
const GET_ELEMENTS: u16 = 13;
const DEL_ELEMENTS: u16 = 14;

const TABLE_NAME: u16 = 1;
const TABLE_FLAGS: u16 = 2;

/// What the kernel says to something new that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// EEXIST: `nft create`.
    Refused,
    /// Nothing, where it is the same: `nft add`.
    Taken,
}

impl Existing {
    fn flags(self) -> u16 {
        match self {
            Self::Refused => CREATE | EXCLUSIVE,
            Self::Taken => CREATE,
        }
    }
}

/// Something to change. Names are of tables, then of what is in them; what is missing is ENOENT.
#[derive(Debug, Clone, Copy)]
pub enum Change<'a> {
    /// Makes a table.
    NewTable(&'a str, Existing),
    /// Removes a table with all that is in it.
    DelTable(&'a str),
    /// Makes a chain.
    NewChain(&'a Chain, Existing),
    /// Removes a chain; EBUSY where something jumps to it.
    DelChain(&'a str, &'a str),
    /// Adds a rule as the last of its chain.
    NewRule(&'a Rule),
    /// Removes one rule by its handle.
    DelRule(&'a str, &'a str, u64),
    /// Removes every rule of a chain.
    Flush(&'a str, &'a str),
    /// Makes a set or a map.
    NewSet(&'a Set, Existing),
    /// Removes a set or a map; EBUSY where a rule uses it.
    DelSet(&'a str, &'a str),
    /// Adds elements.
    NewElements(&'a Elements, Existing),
    /// Removes elements. Data are not compared: the key is what counts.
    DelElements(&'a Elements),
}

/// Something to ask. All but [`Query::Table`] are dumps.
#[derive(Debug, Clone, Copy)]
pub enum Query<'a> {
    /// Whether there is a table: one answer, or ENOENT.
    Table(&'a str),
    /// Every chain of the family, whatever its table.
    Chains,
    /// Every rule of a table.
    Rules(&'a str),
    /// Every set and map of a table.
    Sets(&'a str),
    /// Every element of a set or map of a table.
    Elements(&'a str, &'a str),
}

impl Change<'_> {
    pub(super) fn write(&self, family: Family, sequence: u32, bytes: &mut Vec<u8>) {
        let (number, flags) = self.kind();
        let head = Head::tables(number, flags, sequence, family);
        head.write(bytes, |bytes| self.write_attributes(&mut Writer::new(bytes)));
    }

    fn kind(&self) -> (u16, u16) {
        match self {
            // A table is made in any case.
            Self::NewTable(_, existing) => (NEW_TABLE, existing.flags() & !CREATE),
            Self::DelTable(_) => (DEL_TABLE, 0),
            Self::NewChain(_, existing) => (NEW_CHAIN, existing.flags()),
            Self::DelChain(..) => (DEL_CHAIN, 0),
            Self::NewRule(_) => (NEW_RULE, CREATE | APPEND),
            Self::DelRule(..) | Self::Flush(..) => (DEL_RULE, 0),
            Self::NewSet(_, existing) => (NEW_SET, existing.flags()),
            Self::DelSet(..) => (DEL_SET, 0),
            Self::NewElements(_, existing) => (NEW_ELEMENTS, existing.flags()),
            Self::DelElements(_) => (DEL_ELEMENTS, 0),
        }
    }

    fn write_attributes(&self, writer: &mut Writer<'_>) {
        match self {
            Self::NewTable(name, _) => {
                writer.text(TABLE_NAME, name);
                writer.u32(TABLE_FLAGS, 0);
            }
            Self::DelTable(name) => writer.text(TABLE_NAME, name),
            Self::NewChain(chain, _) => chain.write(writer),
            Self::DelChain(table, name) => chain::write_key(table, name, writer),
            Self::NewRule(rule) => rule.write(writer),
            Self::DelRule(table, chain, handle) => {
                rule::write_key(table, chain, Some(*handle), writer);
            }
            Self::Flush(table, chain) => rule::write_key(table, chain, None, writer),
            Self::NewSet(set, _) => set.write(writer),
            Self::DelSet(table, name) => set::write_key(table, name, writer),
            Self::NewElements(elements, _) | Self::DelElements(elements) => elements.write(writer),
        }
    }
}

impl Query<'_> {
    /// The whole message; its sequence number is 0.
    pub fn to_bytes(&self, family: Family) -> Vec<u8> {
        let (number, flags) = match self {
            Self::Table(_) => (GET_TABLE, ACKNOWLEDGE),
            Self::Chains => (GET_CHAIN, DUMP),
            Self::Rules(_) => (GET_RULE, DUMP),
            Self::Sets(_) => (GET_SET, DUMP),
            Self::Elements(..) => (GET_ELEMENTS, DUMP),
        };
        let mut bytes = Vec::new();
        let head = Head::tables(number, flags, 0, family);
        head.write(&mut bytes, |bytes| self.write_attributes(&mut Writer::new(bytes)));
        bytes
    }

    fn write_attributes(&self, writer: &mut Writer<'_>) {
        match self {
            Self::Table(table) | Self::Rules(table) | Self::Sets(table) => {
                writer.text(TABLE_NAME, table);
            }
            Self::Chains => {}
            Self::Elements(table, set) => set::write_key(table, set, writer),
        }
    }
}
