//! Writing a reply, record by record, up to a limit that is never passed.
//!
//! Written by hand because a reply that is cut must be cut exactly between two records, keep its
//! OPT record and say TC; hickory's encoder drops the OPT record first and stops compressing owner
//! names after a fixed number of records. It writes behind what the caller's buffer holds already,
//! and allocates nothing when there is room.

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{DNSClass, RecordType};

use super::request::{Edns, HEADER, Request};

/// What we accept by UDP, in bytes: fits any path without fragments (DNS flag day 2020).
const OUR_PAYLOAD: u16 = 1232;
/// An OPT record without options, in bytes.
const OPT_LENGTH: usize = 11;
/// What a record has beside its owner's name and its data, in bytes.
const FIXED: usize = 10;
/// TTLs have 31 bits (RFC 2181, 8).
const LONGEST_TTL: u32 = 0x7fff_ffff;
/// Where a compression pointer can point at most (RFC 1035, 4.1.4).
const FARTHEST: usize = 0x3fff;

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
    /// It is not, and neither may any later one of its section be.
    Full,
}

/// Where a record stands. Sections are written in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Section {
    /// What was asked for: when it does not fit, the reply says TC.
    Answer,
    /// Who says that there is nothing.
    Authority,
    /// What the client would ask next; left out when it does not fit (RFC 2181, 9).
    Additional,
}

/// Whom a record is about: a name that stands in the reply already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner(usize);

impl Owner {
    /// The name asked for.
    pub(super) const ASKED: Self = Self(HEADER);

    /// The name asked for without its first labels, which have so many bytes, their dots included.
    pub(super) fn above(bytes: usize) -> Self {
        // On the wire each label has one byte for its length, as in text it has one for its dot.
        Self(HEADER + bytes)
    }
}

/// An extended error (RFC 8914): its number, and words for people.
#[derive(Clone, Copy, Debug)]
pub struct Reason<'a> {
    /// As IANA numbers them.
    pub number: u16,
    /// What happened; cut when it is long.
    pub words: &'a str,
}

/// The longest words of a reason, in bytes: a reply without records fits 512 bytes with them.
const WORDS: usize = 200;

/// A reply being written.
#[derive(Debug)]
pub(super) struct Reply<'a> {
    request: &'a Request<'a>,
    code: ResponseCode,
    authority: Authority,
    reason: Option<Reason<'a>>,
    truncation: Room,
    counts: [u16; 3],
    out: &'a mut Vec<u8>,
    /// Where it begins in `out`.
    begin: usize,
    /// How long it may be without its OPT record, in bytes.
    room: usize,
}

impl<'a> Reply<'a> {
    /// A reply of at most `limit` bytes (at least 512; header, question and OPT always fit), written
    /// behind what `out` holds.
    pub(super) fn new(
        request: &'a Request<'a>,
        code: ResponseCode,
        authority: Authority,
        limit: usize,
        out: &'a mut Vec<u8>,
    ) -> Self {
        let begin = out.len();
        out.extend([0; HEADER]);
        out.extend(request.question_bytes());
        let opt = request.edns.map_or(0, |_| OPT_LENGTH);
        let room = limit.saturating_sub(opt);
        let counts = [0; 3];
        let (reason, truncation) = (None, Room::Fits);
        Self { request, code, authority, reason, truncation, counts, out, begin, room }
    }

    /// Says why, if the client speaks EDNS. For replies without records: its room is not reserved.
    pub(super) fn because(&mut self, reason: Reason<'a>) {
        self.reason = Some(reason);
    }

    /// Adds a record. `ttl` is in seconds.
    pub(super) fn push(
        &mut self,
        section: Section,
        owner: Owner,
        kind: RecordType,
        ttl: u32,
        data: &[u8],
    ) -> Room {
        let pointer = u16::try_from(owner.0).ok().filter(|_| owner.0 <= FARTHEST);
        let parts = pointer.zip(u16::try_from(data.len()).ok());
        let Some((pointer, length)) =
            parts.filter(|_| self.take(section, 2 + FIXED + data.len()).is_some())
        else {
            return self.full(section);
        };
        let pointer = 0xc000 | pointer;
        self.out.extend(pointer.to_be_bytes());
        self.out.extend(u16::from(kind).to_be_bytes());
        self.out.extend(u16::from(DNSClass::IN).to_be_bytes());
        self.out.extend(ttl.min(LONGEST_TTL).to_be_bytes());
        self.out.extend(length.to_be_bytes());
        self.out.extend(data);
        Room::Fits
    }

    /// Where a name that ends the data of the record added last begins, of so many bytes.
    pub(super) fn last(&self, bytes: usize) -> Owner {
        Owner((self.out.len() - self.begin).saturating_sub(bytes))
    }

    /// Counts a record of so many bytes when there is room for it.
    fn take(&mut self, section: Section, length: usize) -> Option<()> {
        let written = self.out.len() - self.begin;
        let count = self.counts.get_mut(section as usize)?;
        let fits = self.truncation == Room::Fits && written + length <= self.room;
        *count = count.checked_add(1).filter(|_| fits)?;
        Some(())
    }

    fn full(&mut self, section: Section) -> Room {
        if section != Section::Additional {
            self.truncation = Room::Full;
        }
        Room::Full
    }

    /// Ends the reply.
    pub(super) fn finish(self) {
        if let Some(edns) = self.request.edns {
            put_opt(self.out, edns, self.code, self.reason);
        }
        let question = u16::from(self.request.question.is_some());
        let [answers, authorities, additionals] = self.counts;
        let additionals = additionals + u16::from(self.request.edns.is_some());
        let mut header = [0; HEADER];
        let words = [question, answers, authorities, additionals];
        let words = words.map(u16::to_be_bytes);
        let parts = [self.request.id(), self.flags()].into_iter().chain(words);
        for (to, from) in header.iter_mut().zip(parts.flatten()) {
            *to = from;
        }
        if let Some(written) = self.out.get_mut(self.begin..self.begin + HEADER) {
            written.copy_from_slice(&header);
        }
    }

    /// The third and fourth byte of the header (RFC 1035, 4.1.1). RA is always set: recursion by
    /// forwarding is offered, and some stub resolvers drop a server that does not offer it.
    fn flags(&self) -> [u8; 2] {
        let [theirs_high, theirs_low] = self.request.flags().to_be_bytes();
        let bit = |set: bool, mask: u8| if set { mask } else { 0 };
        let high = 0x80
            | (theirs_high & 0x79)
            | bit(self.authority == Authority::Ours, 0x04)
            | bit(self.truncation == Room::Full, 0x02);
        let low = 0x80 | (theirs_low & 0x10) | self.code.low();
        [high, low]
    }
}

/// Writes a name without compression; false, and nothing of it, when the wire cannot carry it.
pub(super) fn put_name(bytes: &mut Vec<u8>, name: &str) -> bool {
    let begin = bytes.len();
    for label in name.split('.') {
        match u8::try_from(label.len()) {
            Ok(length @ 1..=63) => bytes.push(length),
            _ => {
                bytes.truncate(begin);
                return false;
            }
        }
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    let fits = bytes.len() - begin <= super::name::LONGEST;
    if !fits {
        bytes.truncate(begin);
    }
    fits
}

/// Writes our OPT record (RFC 6891, 6.1.2): our payload size, version 0, the client's DO bit
/// (RFC 3225), and no option but the reason.
fn put_opt(bytes: &mut Vec<u8>, theirs: Edns, code: ResponseCode, reason: Option<Reason<'_>>) {
    let flags: u8 = if theirs.dnssec_ok { 0x80 } else { 0 };
    bytes.push(0);
    bytes.extend(u16::from(RecordType::OPT).to_be_bytes());
    bytes.extend(OUR_PAYLOAD.to_be_bytes());
    bytes.extend([code.high(), 0, flags, 0]);
    let Some(reason) = reason else {
        bytes.extend(0_u16.to_be_bytes());
        return;
    };
    let words = reason.words.get(..reason.words.floor_char_boundary(WORDS)).unwrap_or_default();
    let length = u16::try_from(2 + words.len()).unwrap_or_default();
    for word in [4 + length, 15, length, reason.number] {
        bytes.extend(word.to_be_bytes());
    }
    bytes.extend(words.as_bytes());
}
