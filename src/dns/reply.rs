//! Writing a reply, record by record, up to a limit that is never passed.
//!
//! Written by hand because a reply that is cut must be cut exactly between two records, keep its
//! OPT record and say TC; hickory's encoder drops the OPT record first and stops compressing owner
//! names after a fixed number of records.

use hickory_proto::op::{Edns, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RecordType};

use super::request::Request;

/// What we accept by UDP, in bytes: fits any path without fragments (DNS flag day 2020).
const OUR_PAYLOAD: u16 = 1232;
/// An OPT record without options, in bytes.
const OPT_LENGTH: usize = 11;
/// Where the question's name stands in every reply, as a compression pointer.
const OWNER: u16 = 0xc000 | 12;
/// TTLs have 31 bits (RFC 2181, 8).
const LONGEST_TTL: u32 = 0x7fff_ffff;

/// Whether we speak for the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Authority {
    /// The zone holds it: AA.
    Ours,
    /// It does not.
    None,
}

/// Whether a record was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// It is in the reply.
    Fits,
    /// It is not, and neither may any later one be: the reply says TC.
    Full,
}

/// A reply being written.
#[derive(Debug)]
pub(super) struct Reply<'a> {
    request: &'a Request,
    code: ResponseCode,
    authority: Authority,
    truncation: Room,
    answers: u16,
    records: Vec<u8>,
    /// How many bytes of records there is room for.
    room: usize,
}

impl<'a> Reply<'a> {
    /// A reply of at most `limit` bytes (at least 512; header, question and OPT always fit).
    pub(super) fn new(
        request: &'a Request,
        code: ResponseCode,
        authority: Authority,
        limit: usize,
    ) -> Self {
        let question = request.query.as_ref().map_or(0, question_length);
        let opt = request.edns.as_ref().map_or(0, |_| OPT_LENGTH);
        Self {
            request,
            code,
            authority,
            truncation: Room::Fits,
            answers: 0,
            records: Vec::new(),
            room: limit.saturating_sub(12 + question + opt),
        }
    }

    /// Adds a record about the name asked for. `ttl` is in seconds.
    pub(super) fn push(&mut self, kind: RecordType, ttl: u32, data: &[u8]) -> Room {
        let length = 12 + data.len();
        let Ok(data_length) = u16::try_from(data.len()) else {
            return self.full();
        };
        if self.truncation == Room::Full || self.records.len() + length > self.room {
            return self.full();
        }
        let Some(answers) = self.answers.checked_add(1) else {
            return self.full();
        };
        self.answers = answers;
        self.records.extend(OWNER.to_be_bytes());
        self.records.extend(u16::from(kind).to_be_bytes());
        self.records.extend(u16::from(DNSClass::IN).to_be_bytes());
        self.records.extend(ttl.min(LONGEST_TTL).to_be_bytes());
        self.records.extend(data_length.to_be_bytes());
        self.records.extend(data);
        Room::Fits
    }

    fn full(&mut self) -> Room {
        self.truncation = Room::Full;
        Room::Full
    }

    /// The bytes to send.
    pub(super) fn finish(self) -> Vec<u8> {
        let query = self.request.query.as_ref();
        let edns = self.request.edns.as_ref();
        let length = 12 + query.map_or(0, question_length) + self.records.len() + OPT_LENGTH;
        let mut bytes = Vec::with_capacity(length);
        bytes.extend(self.request.metadata.id.to_be_bytes());
        bytes.extend(self.flags());
        bytes.extend(u16::from(query.is_some()).to_be_bytes());
        bytes.extend(self.answers.to_be_bytes());
        bytes.extend(0_u16.to_be_bytes());
        bytes.extend(u16::from(edns.is_some()).to_be_bytes());
        if let Some(query) = query {
            put_question(&mut bytes, query);
        }
        bytes.extend(self.records);
        if let Some(edns) = edns {
            put_opt(&mut bytes, edns, self.code);
        }
        bytes
    }

    /// The third and fourth byte of the header (RFC 1035, 4.1.1). RA is always set: recursion by
    /// forwarding is offered, and some stub resolvers drop a server that does not offer it.
    fn flags(&self) -> [u8; 2] {
        let request = &self.request.metadata;
        let bit = |set: bool, mask: u8| if set { mask } else { 0 };
        let high = 0x80
            | (opcode(request.op_code) << 3)
            | bit(self.authority == Authority::Ours, 0x04)
            | bit(self.truncation == Room::Full, 0x02)
            | bit(request.recursion_desired, 0x01);
        let low = 0x80 | bit(request.checking_disabled, 0x10) | self.code.low();
        [high, low]
    }
}

fn opcode(code: OpCode) -> u8 {
    u8::from(code) & 0x0f
}

/// The length of a question, in bytes.
fn question_length(query: &Query) -> usize {
    name_length(&query.name) + 4
}

fn name_length(name: &Name) -> usize {
    1 + name.iter().map(|label| 1 + label.len()).sum::<usize>()
}

fn put_question(bytes: &mut Vec<u8>, query: &Query) {
    put_name(bytes, &query.name);
    bytes.extend(u16::from(query.query_type).to_be_bytes());
    bytes.extend(u16::from(query.query_class).to_be_bytes());
}

/// Writes a name without compression, its letters' case kept.
pub(super) fn put_name(bytes: &mut Vec<u8>, name: &Name) {
    for label in name.iter() {
        // A label has at most 63 bytes: hickory's Name holds no other.
        bytes.push(u8::try_from(label.len()).unwrap_or(0));
        bytes.extend(label);
    }
    bytes.push(0);
}

/// Writes our OPT record (RFC 6891, 6.1.2): our payload size, version 0, the client's DO bit
/// (RFC 3225), no options.
fn put_opt(bytes: &mut Vec<u8>, theirs: &Edns, code: ResponseCode) {
    let flags: u8 = if theirs.flags().dnssec_ok { 0x80 } else { 0 };
    bytes.push(0);
    bytes.extend(u16::from(RecordType::OPT).to_be_bytes());
    bytes.extend(OUR_PAYLOAD.to_be_bytes());
    bytes.extend([code.high(), 0, flags, 0]);
    bytes.extend(0_u16.to_be_bytes());
}
