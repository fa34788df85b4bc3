//! Many changes in one buffer, each accounted for by its own sequence number.

use super::family::FamilyId;
use super::frame::Ack;
use super::request::Change;

/// Changes to be sent in one datagram. The kernel does them in order and does not stop at one that it
/// refuses; each is acknowledged.
///
/// The kernel queues all acknowledgements before the send returns. Those that do not fit the receive
/// buffer are lost, though the changes are done, and the next receive says ENOBUFS: send no more than
/// [`Batch::ROOM`] at a time, or enlarge the buffer first.
#[derive(Debug, Clone)]
pub struct Batch {
    bytes: Vec<u8>,
    family: FamilyId,
    first: u32,
    count: u32,
}

impl Batch {
    /// How many acknowledgements surely fit a receive buffer of the default size, 212,992 bytes: Linux
    /// 6.1 took 277, done or refused, and an acknowledgement that repeats a large request takes more.
    pub const ROOM: u32 = 128;

    /// An empty one whose first change has this sequence number. Two batches on one socket whose
    /// acknowledgements may meet need ranges that do not overlap.
    pub fn new(family: FamilyId, first_sequence: u32) -> Self {
        Self { bytes: Vec::new(), family, first: first_sequence, count: 0 }
    }

    /// Appends a change and says which sequence number it has.
    pub fn push(&mut self, change: &Change<'_>) -> u32 {
        let sequence = self.first.wrapping_add(self.count);
        change.write(self.family, sequence, &mut self.bytes);
        self.count = self.count.saturating_add(1);
        sequence
    }

    /// How many changes it holds.
    pub fn len(&self) -> u32 {
        self.count
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// What to send.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// A sheet on which to note the acknowledgements.
    pub fn receipts(&self) -> Receipts {
        let count = usize::try_from(self.count).unwrap_or(usize::MAX);
        Receipts { first: self.first, acks: vec![None; count], open: count }
    }
}

/// Which changes of a batch were answered, and how.
#[derive(Debug, Clone)]
pub struct Receipts {
    first: u32,
    acks: Vec<Option<Ack>>,
    open: usize,
}

impl Receipts {
    /// Notes an acknowledgement; false for one that is not of this batch or came before.
    pub fn note(&mut self, ack: Ack) -> bool {
        let place = usize::try_from(ack.sequence.wrapping_sub(self.first)).unwrap_or(usize::MAX);
        match self.acks.get_mut(place) {
            Some(slot @ None) => {
                *slot = Some(ack);
                self.open -= 1;
                true
            }
            _ => false,
        }
    }

    /// How many changes are not answered yet.
    pub fn open(&self) -> usize {
        self.open
    }

    /// One for each change, in order; none where no answer came.
    pub fn into_acks(self) -> Vec<Option<Ack>> {
        self.acks
    }
}
