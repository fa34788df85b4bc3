//! Changes that are done together or not at all.

use super::frame::{ACKNOWLEDGE, FLAGS_AT, Family, Head};
use super::request::Change;

const BEGIN: u16 = 16;
const END: u16 = 17;

/// Changes to be sent in one datagram, between a message that begins the transaction and one that ends
/// it. The kernel tries all, tells of each that it refuses, and commits only when it refused none.
///
/// Only the last change asks for an acknowledgement, which comes last of all. What befalls the
/// transaction as a whole (no nf_tables, no memory, the commit) is told of its first message.
#[derive(Debug, Clone)]
pub struct Transaction {
    bytes: Vec<u8>,
    family: Family,
    first: u32,
    count: u32,
    /// Where the last change begins.
    last: usize,
}

impl Transaction {
    /// An empty one in tables of a family; its first message has this sequence number.
    pub fn new(family: Family, first_sequence: u32) -> Self {
        let mut bytes = Vec::new();
        Head::end(BEGIN, first_sequence).write(&mut bytes, |_| ());
        Self { bytes, family, first: first_sequence, count: 0, last: 0 }
    }

    /// Appends a change.
    pub fn push(&mut self, change: &Change<'_>) {
        self.count = self.count.saturating_add(1);
        self.last = self.bytes.len();
        change.write(self.family, self.first.wrapping_add(self.count), &mut self.bytes);
    }

    /// How many changes it holds. The number of each is that of the first message and its own
    /// place, counted from 1.
    pub fn len(&self) -> u32 {
        self.count
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// What to send; it has two messages more than changes.
    pub fn into_bytes(mut self) -> Vec<u8> {
        if !self.is_empty()
            && let Some(place) = self.bytes.get_mut(self.last + FLAGS_AT..)
            && let Some(flags) = place.first_chunk_mut::<2>()
        {
            *flags = (u16::from_ne_bytes(*flags) | ACKNOWLEDGE).to_ne_bytes();
        }
        let sequence = self.first.wrapping_add(self.count).wrapping_add(1);
        Head::end(END, sequence).write(&mut self.bytes, |_| ());
        self.bytes
    }
}
