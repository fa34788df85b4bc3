//! What can be asked of the kernel, and what it can be told to change.

use std::net::Ipv4Addr;

use super::bytes::Writer;
use super::policy::Policy;
use super::state::{IPV4, Identity, State};

const NEW_STATE: u16 = 16;
const DEL_STATE: u16 = 17;
const GET_STATE: u16 = 18;
const NEW_POLICY: u16 = 19;
const DEL_POLICY: u16 = 20;
const GET_POLICY: u16 = 21;
const UPDATE_POLICY: u16 = 25;

const SOURCE: u16 = 13;

const REQUEST: u16 = 0x1;
const ACKNOWLEDGE: u16 = 0x4;
const DUMP: u16 = 0x300;
const HEADER: usize = 16;

/// Something to change. What is there already is EEXIST, what is missing ESRCH or ENOENT.
#[derive(Debug, Clone, Copy)]
pub enum Change<'a> {
    /// Makes a state.
    NewState(&'a State),
    /// Removes a state, of this sender.
    DelState(Identity, Ipv4Addr),
    /// Makes a policy.
    NewPolicy(&'a Policy),
    /// Puts a policy in the place of the one for the same packets, if there is one.
    UpdatePolicy(&'a Policy),
    /// Removes the policy for the same packets.
    DelPolicy(&'a Policy),
}

/// Something to ask: dumps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Query {
    /// Every state, of any protocol and family.
    States,
    /// Every policy of any kind.
    Policies,
}

impl Change<'_> {
    /// Appends the message.
    pub fn write(&self, sequence: u32, bytes: &mut Vec<u8>) {
        let number = match self {
            Self::NewState(_) => NEW_STATE,
            Self::DelState(..) => DEL_STATE,
            Self::NewPolicy(_) => NEW_POLICY,
            Self::UpdatePolicy(_) => UPDATE_POLICY,
            Self::DelPolicy(_) => DEL_POLICY,
        };
        message(number, REQUEST | ACKNOWLEDGE, sequence, bytes, |writer| match self {
            Self::NewState(state) => state.write(writer),
            Self::DelState(identity, source) => {
                writer.address(identity.destination);
                writer.be32(identity.spi);
                writer.u16(IPV4);
                writer.u8(identity.protocol);
                writer.zeros(1);
                writer.attribute(SOURCE, |inside| inside.address(*source));
            }
            Self::NewPolicy(policy) | Self::UpdatePolicy(policy) => policy.write(writer),
            Self::DelPolicy(policy) => policy.write_key(writer),
        });
    }
}

impl Query {
    /// The whole message; its sequence number is 0.
    pub fn to_bytes(self) -> Vec<u8> {
        let number = match self {
            Self::States => GET_STATE,
            Self::Policies => GET_POLICY,
        };
        let mut bytes = Vec::new();
        message(number, REQUEST | DUMP, 0, &mut bytes, |_| ());
        bytes
    }
}

fn message(
    number: u16,
    flags: u16,
    sequence: u32,
    bytes: &mut Vec<u8>,
    fill: impl FnOnce(&mut Writer<'_>),
) {
    let start = bytes.len();
    let mut writer = Writer(bytes);
    writer.zeros(4);
    writer.u16(number);
    writer.u16(flags);
    writer.u32(sequence);
    writer.u32(0);
    debug_assert_eq!(writer.0.len() - start, HEADER);
    fill(&mut writer);
    let length = u32::try_from(bytes.len() - start).unwrap_or(u32::MAX);
    if let Some(place) = bytes.get_mut(start..start + 4) {
        place.copy_from_slice(&length.to_ne_bytes());
    }
}
