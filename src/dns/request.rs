//! Reading a query: header, question, and what EDNS says about the client.
//!
//! Total on any bytes. It does not look at a zone and says nothing about how to answer.

use hickory_proto::op::{Edns, Header, Message, MessageType, Metadata, OpCode, Query};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};

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

/// The largest UDP reply given however much a client offers, in bytes (RFC 6891, 6.2.5).
const LARGEST_DATAGRAM: u16 = 4096;
/// The largest UDP reply to a client without EDNS, in bytes (RFC 1035, 4.2.1).
const PLAIN_DATAGRAM: u16 = 512;

/// A query that was read.
#[derive(Clone, Debug)]
pub struct Request {
    /// Its header.
    pub metadata: Metadata,
    /// Its one question; `None` only in the header of a refused one.
    pub query: Option<Query>,
    /// What the client said by EDNS.
    pub edns: Option<Edns>,
}

/// Bytes that are no query to be answered.
#[derive(Clone, Debug)]
pub enum Unreadable {
    /// Shorter than a header, or itself a reply: answering could start a loop.
    Noise,
    /// Not an opcode that is served (RFC 1035: NOTIMP).
    NotImplemented(Box<Request>),
    /// Not one question, or not parsable behind the header (RFC 1035: FORMERR).
    Malformed(Box<Request>),
}

impl Request {
    /// Reads a query.
    ///
    /// # Errors
    /// What the bytes are instead.
    pub fn read(bytes: &[u8]) -> Result<Self, Unreadable> {
        let mut decoder = BinDecoder::new(bytes);
        let Ok(Header { metadata, counts }) = Header::read(&mut decoder) else {
            return Err(Unreadable::Noise);
        };
        if metadata.message_type == MessageType::Response {
            return Err(Unreadable::Noise);
        }
        let header = Self { metadata, query: None, edns: None };
        if metadata.op_code != OpCode::Query {
            return Err(Unreadable::NotImplemented(Box::new(header)));
        }
        if counts.queries != 1 {
            return Err(Unreadable::Malformed(Box::new(header)));
        }
        let Ok(query) = Query::read(&mut decoder) else {
            return Err(Unreadable::Malformed(Box::new(header)));
        };
        let before = u32::from(counts.answers) + u32::from(counts.authorities);
        let edns = read_edns(&mut decoder, before, counts.additionals);
        let mut request = Self { query: Some(query), ..header };
        match edns {
            Ok(edns) => request.edns = edns,
            Err(()) => return Err(Unreadable::Malformed(Box::new(request))),
        }
        Ok(request)
    }

    /// The largest reply that may go back over `transport`, in bytes.
    pub fn limit(&self, transport: Transport) -> usize {
        match transport {
            Transport::Tcp => usize::from(u16::MAX),
            Transport::Udp => {
                let offered = self.edns.as_ref().map_or(PLAIN_DATAGRAM, Edns::max_payload);
                usize::from(offered.clamp(PLAIN_DATAGRAM, LARGEST_DATAGRAM))
            }
        }
    }
}

/// The OPT record among what follows the question.
fn read_edns(
    decoder: &mut BinDecoder<'_>,
    before: u32,
    additionals: u16,
) -> Result<Option<Edns>, ()> {
    let before = usize::try_from(before).map_err(|_| ())?;
    Message::read_records(decoder, before, false, OpCode::Query).map_err(|_| ())?;
    let (_, edns, _) =
        Message::read_records(decoder, usize::from(additionals), true, OpCode::Query)
            .map_err(|_| ())?;
    Ok(edns)
}
