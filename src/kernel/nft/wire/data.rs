//! What a register, an element or an immediate holds: bytes, or what becomes of a packet.

use super::attribute::{Attributes, DecodeError, Writer};

const VALUE: u16 = 1;
const VERDICT: u16 = 2;
const CODE: u16 = 1;
const CHAIN: u16 = 2;

const WHAT: &str = "a verdict";

/// A value or a verdict.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Data {
    /// Bytes as the packet or the kernel has them: an address in network order, a mark in the
    /// machine's own.
    Value(Vec<u8>),
    /// What becomes of the packet.
    Verdict(Verdict),
}

/// What becomes of a packet.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// The packet is dropped.
    Drop,
    /// The packet passes this hook.
    Accept,
    /// The next rule judges.
    Continue,
    /// Back to the rule behind the jump.
    Return,
    /// To a chain, and back when it is at its end.
    Jump(String),
    /// To a chain, and not back.
    Goto(String),
    /// One that this codec has no name for.
    Other(i32),
}

impl Verdict {
    fn code(&self) -> i32 {
        match self {
            Self::Drop => 0,
            Self::Accept => 1,
            Self::Continue => -1,
            Self::Jump(_) => -3,
            Self::Goto(_) => -4,
            Self::Return => -5,
            Self::Other(code) => *code,
        }
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.i32(CODE, self.code());
        if let Self::Jump(chain) | Self::Goto(chain) = self {
            writer.text(CHAIN, chain);
        }
    }

    fn decode(attributes: Attributes<'_>) -> Result<Self, DecodeError> {
        let (mut code, mut chain) = (None, None);
        for attribute in attributes {
            let attribute = attribute?;
            match attribute.number {
                CODE => code = Some(attribute.i32("verdict")?),
                CHAIN => chain = Some(attribute.text()),
                _ => {}
            }
        }
        let missing = |attribute| DecodeError::Missing { what: WHAT, attribute };
        Ok(match code.ok_or(missing("code"))? {
            0 => Self::Drop,
            1 => Self::Accept,
            -1 => Self::Continue,
            -3 => Self::Jump(chain.ok_or(missing("chain"))?),
            -4 => Self::Goto(chain.ok_or(missing("chain"))?),
            -5 => Self::Return,
            other => Self::Other(other),
        })
    }
}

impl Data {
    pub(super) fn write(&self, writer: &mut Writer<'_>) {
        match self {
            Self::Value(bytes) => writer.raw(VALUE, bytes),
            Self::Verdict(verdict) => writer.nested(VERDICT, |inside| verdict.write(inside)),
        }
    }

    pub(super) fn decode(attributes: Attributes<'_>) -> Result<Self, DecodeError> {
        for attribute in attributes {
            let attribute = attribute?;
            match attribute.number {
                VALUE => return Ok(Self::Value(attribute.value.to_vec())),
                VERDICT => return Verdict::decode(attribute.nested()).map(Self::Verdict),
                _ => {}
            }
        }
        Err(DecodeError::Missing { what: "data", attribute: "value or verdict" })
    }
}
