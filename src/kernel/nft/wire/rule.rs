//! Rules: what is done with a packet, one expression after the other.

use super::attribute::{DecodeError, Writer};
use super::expression::Expression;
use super::frame;

const TABLE: u16 = 1;
const CHAIN: u16 = 2;
const HANDLE: u16 = 3;
const EXPRESSIONS: u16 = 4;
const LIST_ELEMENT: u16 = 1;

const WHAT: &str = "a rule";

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Rule {
    /// The table that it is in.
    pub table: String,
    /// The chain that it is in.
    pub chain: String,
    /// The kernel's number for it; none before it was added.
    pub handle: Option<u64>,
    /// What it does, in order.
    pub expressions: Vec<Expression>,
}

impl Rule {
    /// One to be added.
    pub fn new(
        table: impl Into<String>,
        chain: impl Into<String>,
        expressions: Vec<Expression>,
    ) -> Self {
        Self { table: table.into(), chain: chain.into(), handle: None, expressions }
    }

    pub(super) fn write(&self, writer: &mut Writer<'_>) {
        write_key(&self.table, &self.chain, None, writer);
        writer.nested(EXPRESSIONS, |list| {
            for expression in &self.expressions {
                list.nested(LIST_ELEMENT, |inside| expression.write(inside));
            }
        });
    }

    /// Reads one answer to [`Query::Rules`](super::Query::Rules).
    ///
    /// # Errors
    /// When the bytes are no rule.
    pub fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        let (mut table, mut chain, mut handle) = (None, None, None);
        let mut expressions = Vec::new();
        for attribute in frame::attributes(payload)? {
            let attribute = attribute?;
            match attribute.number {
                TABLE => table = Some(attribute.text()),
                CHAIN => chain = Some(attribute.text()),
                HANDLE => handle = Some(attribute.u64("handle")?),
                EXPRESSIONS => {
                    for one in attribute.nested() {
                        expressions.push(Expression::decode(one?.nested())?);
                    }
                }
                _ => {}
            }
        }
        let missing = |attribute| DecodeError::Missing { what: WHAT, attribute };
        Ok(Self {
            table: table.ok_or(missing("table"))?,
            chain: chain.ok_or(missing("chain"))?,
            handle,
            expressions,
        })
    }
}

/// Which rules: of a table, of a chain, or one of them.
pub(super) fn write_key(table: &str, chain: &str, handle: Option<u64>, writer: &mut Writer<'_>) {
    writer.text(TABLE, table);
    if !chain.is_empty() {
        writer.text(CHAIN, chain);
    }
    if let Some(handle) = handle {
        writer.u64(HANDLE, handle);
    }
}
