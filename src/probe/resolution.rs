//! What a name server answered to one question, or why there is no answer.
//!
//! Values only: asking is in `resolve`, the sentence for the operator elsewhere.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{Name, RData};

use crate::dns::name;
use crate::dns::request::Transport;

/// What a name server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolution {
    /// The addresses, in the order received.
    pub addresses: Vec<IpAddr>,
    /// The names that PTR records gave, without trailing dot, in the order received.
    pub names: Vec<String>,
    /// The least time, in seconds, that any record of the answer may be kept; `None` without one.
    pub ttl: Option<u32>,
    /// The server's verdict.
    pub code: ResponseCode,
    /// Whether the server speaks for the name itself, as a sandbox's resolver does for its services,
    /// rather than having forwarded the question.
    pub authoritative: bool,
    /// From sending the question to having read the answer, retries included.
    pub elapsed: Duration,
    /// What brought the answer: TCP when the reply by UDP was cut.
    pub transport: Transport,
}

impl Resolution {
    /// What a reply says.
    pub(super) fn read(reply: &Message, transport: Transport, elapsed: Duration) -> Self {
        let mut addresses = Vec::new();
        let mut names = Vec::new();
        for record in &reply.answers {
            match &record.data {
                RData::A(address) => addresses.push(IpAddr::V4(address.0)),
                RData::AAAA(address) => addresses.push(IpAddr::V6(address.0)),
                RData::PTR(name) => names.push(text(&name.0)),
                _ => {}
            }
        }
        Self {
            addresses,
            names,
            ttl: reply.answers.iter().map(|record| record.ttl).min(),
            code: reply.metadata.response_code,
            authoritative: reply.metadata.authoritative,
            elapsed,
            transport,
        }
    }

    /// The verdict in the words of the protocol: `NOERROR`, `NXDOMAIN`, `SERVFAIL`.
    pub fn verdict(&self) -> String {
        verdict(self.code)
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// No name that the wire can carry.
    #[error("`{name}` is not a name")]
    Name {
        /// What was given.
        name: String,
        /// Why.
        source: hickory_proto::ProtoError,
    },
    /// The port is unreachable.
    #[error("nobody listens at {server} ({transport:?})")]
    Refused {
        /// Who was asked.
        server: SocketAddr,
        /// How.
        transport: Transport,
    },
    /// Silence.
    #[error("{server} did not answer within {} ms ({transport:?})", waited.as_millis())]
    TimedOut {
        /// Who was asked.
        server: SocketAddr,
        /// How.
        transport: Transport,
        /// How long was waited, over all tries.
        waited: Duration,
    },
    /// A reply that cannot be read, or that is to another question.
    #[error("the reply of {server} cannot be read: {reason}")]
    Malformed {
        /// Who was asked.
        server: SocketAddr,
        /// What is wrong with it.
        reason: String,
    },
    /// The kernel refused something.
    #[error("cannot {action}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// What it answered.
        source: io::Error,
    },
}

/// A name as a zone writes it, or escaped when a zone could not.
fn text(found: &Name) -> String {
    name::key(found).unwrap_or_else(|| found.to_ascii())
}

fn verdict(code: ResponseCode) -> String {
    let words = match code {
        ResponseCode::NoError => "NOERROR",
        ResponseCode::FormErr => "FORMERR",
        ResponseCode::ServFail => "SERVFAIL",
        ResponseCode::NXDomain => "NXDOMAIN",
        ResponseCode::NotImp => "NOTIMP",
        ResponseCode::Refused => "REFUSED",
        // One number, 16, for both; a signature was never part of the question.
        ResponseCode::BADVERS | ResponseCode::BADSIG => "BADVERS",
        other => return format!("RCODE{}", u16::from(other)),
    };
    words.to_owned()
}
