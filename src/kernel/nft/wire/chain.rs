//! Chains: lists of rules, some of which stand at a hook of the network stack.

use super::attribute::{Attribute, DecodeError, Writer};
use super::data::Verdict;
use super::frame;

const TABLE: u16 = 1;
const NAME: u16 = 3;
const HOOK: u16 = 4;
const POLICY: u16 = 5;
const TYPE: u16 = 7;
const HOOK_NUMBER: u16 = 1;
const HOOK_PRIORITY: u16 = 2;

const WHAT: &str = "a chain";

/// Where a packet of IPv4 or IPv6 is: an `NF_INET_` number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place(pub u32);

impl Place {
    /// Come in, not routed yet.
    pub const PREROUTING: Self = Self(0);
    /// For this machine.
    pub const INPUT: Self = Self(1);
    /// For another machine.
    pub const FORWARD: Self = Self(2);
    /// From this machine.
    pub const OUTPUT: Self = Self(3);
    /// About to leave.
    pub const POSTROUTING: Self = Self(4);
}

/// What makes a chain a base chain.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Hook {
    /// `filter`, `nat` or `route`.
    pub kind: String,
    /// Where it is.
    pub place: Place,
    /// The lower, the earlier.
    pub priority: i32,
    /// Whether what no rule judged is dropped; `None` leaves it to the kernel, which accepts.
    pub policy: Option<Verdict>,
}

/// A chain.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Chain {
    /// The table that it is in.
    pub table: String,
    /// Its name.
    pub name: String,
    /// Where packets come to it; without one only jumps lead there.
    pub hook: Option<Hook>,
}

impl Chain {
    /// One that only jumps lead to.
    pub fn regular(table: impl Into<String>, name: impl Into<String>) -> Self {
        Self { table: table.into(), name: name.into(), hook: None }
    }

    pub(super) fn write(&self, writer: &mut Writer<'_>) {
        write_key(&self.table, &self.name, writer);
        let Some(hook) = &self.hook else { return };
        match &hook.policy {
            Some(Verdict::Drop) => writer.u32(POLICY, 0),
            Some(_) => writer.u32(POLICY, 1),
            None => {}
        }
        writer.text(TYPE, &hook.kind);
        writer.nested(HOOK, |inside| {
            inside.u32(HOOK_NUMBER, hook.place.0);
            inside.i32(HOOK_PRIORITY, hook.priority);
        });
    }

    /// Reads one answer to [`Query::Chains`](super::Query::Chains).
    ///
    /// # Errors
    /// When the bytes are no chain.
    pub fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        let (mut table, mut name, mut kind, mut policy, mut at) = (None, None, None, None, None);
        for attribute in frame::attributes(payload)? {
            let attribute = attribute?;
            match attribute.number {
                TABLE => table = Some(attribute.text()),
                NAME => name = Some(attribute.text()),
                TYPE => kind = Some(attribute.text()),
                HOOK => at = Some(decode_hook(&attribute)?),
                POLICY => {
                    policy = Some(match attribute.u32("policy")? {
                        0 => Verdict::Drop,
                        _ => Verdict::Accept,
                    });
                }
                _ => {}
            }
        }
        let missing = |attribute| DecodeError::Missing { what: WHAT, attribute };
        let hook = at.map(|(place, priority)| Hook {
            kind: kind.unwrap_or_default(),
            place,
            priority,
            policy,
        });
        Ok(Self { table: table.ok_or(missing("table"))?, name: name.ok_or(missing("name"))?, hook })
    }
}

pub(super) fn write_key(table: &str, name: &str, writer: &mut Writer<'_>) {
    writer.text(TABLE, table);
    writer.text(NAME, name);
}

fn decode_hook(attribute: &Attribute<'_>) -> Result<(Place, i32), DecodeError> {
    let (mut place, mut priority) = (None, 0);
    for attribute in attribute.nested() {
        let attribute = attribute?;
        match attribute.number {
            HOOK_NUMBER => place = Some(Place(attribute.u32("hook")?)),
            HOOK_PRIORITY => priority = attribute.i32("priority")?,
            _ => {}
        }
    }
    let missing = DecodeError::Missing { what: "a hook", attribute: "number" };
    Ok((place.ok_or(missing)?, priority))
}
