//! Reading a query: header, question, and what EDNS says about the client.
//!
//! Total on any bytes. It does not look at a zone and says nothing about how to answer. Queries as
//! resolvers send them, one question with an OPT record or none, are read in place; records that
//! nobody sends in a query are left to hickory, only to tell whether they are well formed.

use hickory_proto::op::{Message, OpCode};
use hickory_proto::rr::RecordType;
use hickory_proto::serialize::binary::BinDecoder;

use super::name::Key;

/// What carried a query, and so what bounds its reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// One datagram each way.
    Udp,
    /// A length-prefixed stream.
    Tcp,
}

/// The longest query read, in bytes, over either transport. A query with a full name, EDNS and
/// padding (RFC 8467 pads to 128) stays far below.
pub const LONGEST_QUERY: usize = 4096;

/// The length of a header, in bytes: where the question begins.
pub(super) const HEADER: usize = 12;
/// The largest UDP reply given however much a client offers, in bytes (RFC 6891, 6.2.5).
const LARGEST_DATAGRAM: u16 = 4096;
/// The largest UDP reply to a client without EDNS, in bytes (RFC 1035, 4.2.1).
const PLAIN_DATAGRAM: u16 = 512;
/// An OPT record without options, in bytes.
const OPT: usize = 11;

/// A query that was read.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    bytes: &'a [u8],
    /// Its one question; `None` only in a refused one.
    pub question: Option<Question>,
    /// What the client said by EDNS.
    pub edns: Option<Edns>,
}

/// What is asked.
#[derive(Clone, Debug)]
pub struct Question {
    /// The name; `None` when it cannot be of a zone.
    pub key: Option<Key>,
    /// The record type.
    pub kind: RecordType,
    /// The class, as a number.
    pub class: u16,
    /// Where the question ends in the message.
    end: usize,
}

/// What a client says in its OPT record. Options (cookies, padding, client subnets) ask for nothing
/// that is served here, and are passed over (RFC 6891, 6.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edns {
    /// The largest datagram it takes, in bytes.
    pub payload: u16,
    /// The version that it speaks; 0 is the only one there is.
    pub version: u8,
    /// Its DO bit (RFC 3225).
    pub dnssec_ok: bool,
}

/// Bytes that are no query to be answered.
#[derive(Clone, Debug)]
pub enum Unreadable<'a> {
    /// Shorter than a header, or itself a reply: answering could start a loop.
    Noise,
    /// Not an opcode that is served (RFC 1035: NOTIMP).
    NotImplemented(Box<Request<'a>>),
    /// Not one question, or not parsable behind the header (RFC 1035: FORMERR).
    Malformed(Box<Request<'a>>),
}

impl<'a> Request<'a> {
    /// Reads a query.
    ///
    /// # Errors
    /// What the bytes are instead.
    pub fn read(bytes: &'a [u8]) -> Result<Self, Unreadable<'a>> {
        let header = Self { bytes, question: None, edns: None };
        if bytes.len() < HEADER || header.flags() & 0x8000 != 0 {
            return Err(Unreadable::Noise);
        }
        if header.opcode() != u8::from(OpCode::Query) {
            return Err(Unreadable::NotImplemented(Box::new(header)));
        }
        let question = match word(bytes, 4) {
            Some(1) => Question::read(bytes),
            _ => None,
        };
        let Some(question) = question else {
            return Err(Unreadable::Malformed(Box::new(header)));
        };
        let edns = read_edns(bytes, question.end);
        let mut request = Self { question: Some(question), ..header };
        match edns {
            Ok(edns) => request.edns = edns,
            Err(Unparsable) => return Err(Unreadable::Malformed(Box::new(request))),
        }
        Ok(request)
    }

    /// The largest reply that may go back over `transport`, in bytes.
    pub fn limit(&self, transport: Transport) -> usize {
        match transport {
            Transport::Tcp => usize::from(u16::MAX),
            Transport::Udp => {
                let offered = self.edns.map_or(PLAIN_DATAGRAM, |edns| edns.payload);
                usize::from(offered.clamp(PLAIN_DATAGRAM, LARGEST_DATAGRAM))
            }
        }
    }

    /// Its ID, as bytes.
    pub(super) fn id(&self) -> [u8; 2] {
        self.bytes.first_chunk().copied().unwrap_or_default()
    }

    /// The third and fourth byte of its header.
    pub(super) fn flags(&self) -> u16 {
        word(self.bytes, 2).unwrap_or_default()
    }

    /// Its opcode, four bits.
    pub(super) fn opcode(&self) -> u8 {
        self.bytes.get(2).map_or(0, |flags| flags >> 3 & 0x0f)
    }

    /// The question's bytes, the letters' case as the client wrote it.
    pub(super) fn question_bytes(&self) -> &'a [u8] {
        let end = self.question.as_ref().map_or(HEADER, |question| question.end);
        self.bytes.get(HEADER..end).unwrap_or_default()
    }
}

impl Question {
    fn read(bytes: &[u8]) -> Option<Self> {
        let mut key = Some(Key::default());
        let mut at = HEADER;
        loop {
            let length = usize::from(*bytes.get(at)?);
            // Above 63 it is a compression pointer, and there is nothing yet to point at.
            let label = match length {
                0 => break,
                1..=63 => bytes.get(at + 1..at + 1 + length)?,
                _ => return None,
            };
            at += 1 + length;
            if at + 1 - HEADER > super::name::LONGEST {
                return None;
            }
            if key.as_mut().is_some_and(|key| !key.push(label)) {
                key = None;
            }
        }
        let kind = RecordType::from(word(bytes, at + 1)?);
        let class = word(bytes, at + 3)?;
        Some(Self { key, kind, class, end: at + 5 })
    }
}

/// Records that cannot be read.
struct Unparsable;

/// The OPT record among what follows the question, which ends at `end`.
fn read_edns(bytes: &[u8], end: usize) -> Result<Option<Edns>, Unparsable> {
    let counts = [6, 8, 10].map(|at| word(bytes, at).unwrap_or_default());
    let rest = bytes.get(end..).unwrap_or_default();
    match counts {
        [0, 0, 0] => Ok(None),
        // The root's name and type 41.
        [0, 0, 1] if rest.starts_with(&[0, 0, 41]) => read_opt(rest).map(Some),
        _ => read_records(bytes, end, counts),
    }
}

/// An OPT record that is the last of a message (RFC 6891, 6.1.2).
fn read_opt(record: &[u8]) -> Result<Edns, Unparsable> {
    let (fixed, rest) = record.split_at_checked(OPT).ok_or(Unparsable)?;
    let &[_, _, _, high, low, _, version, flags, _, long, short] = fixed else {
        return Err(Unparsable);
    };
    let length = usize::from(u16::from_be_bytes([long, short]));
    let mut options = rest.get(..length).ok_or(Unparsable)?;
    while !options.is_empty() {
        let length = usize::from(word(options, 2).ok_or(Unparsable)?);
        options = options.get(4 + length..).ok_or(Unparsable)?;
    }
    Ok(Edns { payload: u16::from_be_bytes([high, low]), version, dnssec_ok: flags & 0x80 != 0 })
}

/// Any records, by hickory.
fn read_records(bytes: &[u8], end: usize, counts: [u16; 3]) -> Result<Option<Edns>, Unparsable> {
    let mut decoder = BinDecoder::new(bytes);
    decoder.read_slice(end).map_err(|_| Unparsable)?;
    let [answers, authorities, additionals] = counts.map(usize::from);
    Message::read_records(&mut decoder, answers + authorities, false, OpCode::Query)
        .map_err(|_| Unparsable)?;
    let (_, edns, _) = Message::read_records(&mut decoder, additionals, true, OpCode::Query)
        .map_err(|_| Unparsable)?;
    Ok(edns.map(|edns| Edns {
        payload: edns.max_payload(),
        version: edns.version(),
        dnssec_ok: edns.flags().dnssec_ok,
    }))
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    let pair = bytes.get(at..)?.first_chunk()?;
    Some(u16::from_be_bytes(*pair))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A query for `web.` A with this OPT record.
    fn with_opt(opt: &[u8]) -> Vec<u8> {
        let head = [9, 9, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1, 3, b'w', b'e', b'b', 0, 0, 1, 0, 1];
        [&head, opt].concat()
    }

    #[test]
    fn options_are_passed_over_and_must_be_whole() {
        // A cookie of 8 bytes (RFC 7873), then padding of none.
        let cookie = [0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8, 0, 12, 0, 0];
        let whole = [&[0, 0, 41, 16, 0, 0, 0, 0x80, 0, 0, 16][..], &cookie].concat();
        let bytes = with_opt(&whole);
        let edns = Request::read(&bytes).unwrap().edns.unwrap();
        assert_eq!(edns, Edns { payload: 4096, version: 0, dnssec_ok: true });
        for length in 0..whole.len() {
            let bytes = with_opt(&whole[..length]);
            assert!(matches!(Request::read(&bytes), Err(Unreadable::Malformed(_))), "{length}");
        }
        let mut lying = whole;
        lying[14] = 13;
        assert!(matches!(Request::read(&with_opt(&lying)), Err(Unreadable::Malformed(_))));
    }

    #[test]
    fn the_short_way_and_hickory_read_the_same() {
        let opt = [0, 0, 41, 4, 208, 0, 0, 0x80, 0, 0, 4, 0, 12, 0, 0];
        let mut bytes = with_opt(&opt);
        let short = Request::read(&bytes).unwrap().edns;
        // A second additional record, `. TXT`, takes the other way.
        bytes[11] = 2;
        bytes.extend([0, 0, 16, 0, 1, 0, 0, 0, 0, 0, 1, 0]);
        assert_eq!(Request::read(&bytes).unwrap().edns, short);
        assert_eq!(short, Some(Edns { payload: 1232, version: 0, dnssec_ok: true }));
    }

    #[test]
    fn a_question_with_a_pointer_or_a_name_too_long_is_malformed() {
        let header = [9, 9, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for name in [&[0xc0, 0][..], &[1, b'a', 0xc0, 12], &[64; 70], &[0x41, 1, 0]] {
            let bytes = [&header, name, &[0, 1, 0, 1]].concat();
            assert!(matches!(Request::read(&bytes), Err(Unreadable::Malformed(_))), "{name:?}");
        }
        for (labels, readable) in [(127, true), (128, false)] {
            let bytes = [&header, &[1, b'a'].repeat(labels)[..], &[0, 0, 1, 0, 1]].concat();
            assert_eq!(Request::read(&bytes).is_ok(), readable, "{labels} labels");
        }
    }
}
