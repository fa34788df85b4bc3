//! IPsec in one namespace: states and policies, changed in batches and read back. Only those of a
//! cluster's own number ([`Reqid`]) are seen; all others belong to somebody else.

pub mod wire;

use std::collections::BTreeSet;
use std::io;
use std::os::fd::BorrowedFd;

use nix::errno::Errno;

use super::netlink::Netlink;
use super::nft::Nft;
use super::{Outcome, Refusal, module, netns};
use crate::intent::{Fwmark, Spi, Vni};
use crate::node::encryption::{Carrier, Form, KEY_LENGTH, Key, REPLAY_WINDOW, Reqid};
use crate::node::{BaseRule, Object, SandboxName, SecurityPolicy, SecurityState};
use crate::plan::Op;
use crate::plan::op::Change;
use wire::{
    Aead, DecodeError, Direction, Identity, Mark, Mode, Numbering, Policy, PolicyAction, Query,
    Replay, Selector, State, StateFlags, Template,
};

/// AES in Galois/counter mode for ESP (RFC 4106).
const CIPHER: &str = "rfc4106(gcm(aes))";
const CHECK_BITS: u32 = 128;
const UDP: u8 = 17;

/// A socket to the kernel's IPsec inside a namespace.
pub struct Xfrm {
    netlink: Netlink,
}

impl Xfrm {
    /// Opens it inside `namespace`.
    ///
    /// # Errors
    /// `EPROTONOSUPPORT` when the kernel has none.
    pub fn open(namespace: BorrowedFd<'_>) -> Result<Self, Refusal> {
        Self::on(Netlink::open(namespace, netlink_sys::protocols::NETLINK_XFRM))
    }

    /// Opens it in the namespace of the calling thread if the kernel has it by now. For looking only:
    /// where the module is not loaded there is nothing.
    ///
    /// # Errors
    /// What the socket met.
    pub fn present_here() -> Result<Option<Self>, Refusal> {
        if module::would_load("xfrm_user") {
            return Ok(None);
        }
        match Self::on(Netlink::open_here(netlink_sys::protocols::NETLINK_XFRM)) {
            Err(refusal) if refusal.errno == Errno::EPROTONOSUPPORT => Ok(None),
            opened => opened.map(Some),
        }
    }

    fn on(netlink: io::Result<Netlink>) -> Result<Self, Refusal> {
        match netlink {
            Ok(netlink) => Ok(Self { netlink }),
            Err(error) if error.raw_os_error() == Some(Errno::EPROTONOSUPPORT as i32) => {
                Err(no_xfrm())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Does operations on states and policies, in batches: there is one outcome for each that was tried.
    pub fn change(&mut self, ops: &[Op]) -> Vec<Outcome> {
        let mut outcomes = self.netlink.batch(ops, write);
        for outcome in &mut outcomes {
            if let Err(refusal) = outcome {
                *refusal = in_words(refusal.clone());
            }
        }
        outcomes
    }

    /// What a cluster has here.
    ///
    /// # Errors
    /// The kernel's refusal, or when what it says cannot be read.
    pub fn read(
        &mut self,
        reqid: Reqid,
    ) -> Result<(BTreeSet<SecurityState>, BTreeSet<SecurityPolicy>), Refusal> {
        let states = self.dump(Query::States, State::decode)?;
        let policies = self.dump(Query::Policies, Policy::decode)?;
        let states = states.into_iter().filter_map(|state| state_seen(&state, reqid));
        let policies = policies.iter().filter_map(|policy| policy_seen(policy, reqid));
        Ok((states.collect(), policies.collect()))
    }

    fn dump<T>(
        &mut self,
        query: Query,
        decode: fn(&[u8]) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, Refusal> {
        let messages = self.netlink.dump(&query.to_bytes())?;
        let decoded = messages.iter().map(|message| decode(message.payload()));
        decoded.collect::<Result<_, _>>().map_err(|error| {
            Refusal::saying(Errno::EBADMSG, format!("IPsec's answer cannot be read: {error}"))
        })
    }
}

/// Whether the kernel encrypts as encrypted networks need it, and tells what was encrypted: tried for
/// real, in a namespace that ends at once.
///
/// # Errors
/// Why it does not.
pub fn can_encrypt() -> Outcome {
    netns::throwaway(|namespace| {
        let mut xfrm = Xfrm::open(namespace)?;
        let (state, policy) = trial();
        let mut bytes = Vec::new();
        for change in [wire::Change::NewState(&state), wire::Change::NewPolicy(&policy)] {
            bytes.clear();
            change.write(0, &mut bytes);
            xfrm.netlink.request(&bytes).map_err(in_words)?;
        }
        let rules = BaseRule::of_encryption(Carrier { port: 1, vni: Vni::FIRST });
        let objects = [Object::Table].into_iter().chain(rules.map(Object::BaseRule));
        let sandbox = SandboxName("trial".into());
        let ops =
            objects.map(|object| Op { sandbox: sandbox.clone(), change: Change::Add(object) });
        let made = Nft::open(namespace).and_then(|mut nft| nft.change(&ops.collect::<Vec<_>>()));
        let refused = made.and_then(|outcomes| outcomes.into_iter().collect::<Outcome>());
        refused.map_err(|refusal| {
            let sentence = format!("no nftables rules on IPsec: {}", refusal.sentence);
            Refusal::saying(refusal.errno, sentence)
        })
    })?
}

fn trial() -> (State, Policy) {
    let (source, destination) = ([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
    let (spi, reqid) = (Spi(0x4000_0000), Reqid(0x4000_0000));
    let state = state_of(source, destination, spi, reqid, vec![0; KEY_LENGTH]);
    let policy = policy_of(&SecurityPolicy {
        source,
        destination,
        port: 1,
        mark: Fwmark(1),
        spi,
        reqid,
        form: Form::Ours,
    });
    (state, policy)
}

fn state_of(
    source: std::net::Ipv4Addr,
    destination: std::net::Ipv4Addr,
    spi: Spi,
    reqid: Reqid,
    key: Vec<u8>,
) -> State {
    let aead = Aead { name: CIPHER.into(), check_bits: CHECK_BITS, key };
    let identity = Identity { destination, spi: spi.0, protocol: Identity::ESP };
    State::new(identity, source, reqid.0, aead, REPLAY_WINDOW)
}

fn policy_of(policy: &SecurityPolicy) -> Policy {
    let SecurityPolicy { source, destination, port, mark, spi, reqid, .. } = policy;
    let identity = Identity { destination: *destination, spi: spi.0, protocol: Identity::ESP };
    let template =
        Template { identity, source: *source, reqid: reqid.0, mode: Mode::TRANSPORT, optional: 0 };
    Policy {
        selector: Selector::to_port(*source, *destination, UDP, *port),
        mark: Some(Mark { value: mark.0, mask: u32::MAX }),
        direction: Direction::OUT,
        action: PolicyAction::ALLOW,
        priority: 0,
        index: 0,
        templates: vec![template],
    }
}

/// Appends the message that does an operation.
///
/// # Errors
/// `EINVAL` for one that is not on IPsec; `ENOKEY` for a state whose key is not held.
pub fn write(op: &Op, bytes: &mut Vec<u8>) -> Result<(), Errno> {
    match (&op.change, op.object()) {
        (Change::Add(_), Object::State(state)) => {
            let key = state.key.reveal().ok_or(Errno::ENOKEY)?.to_vec();
            let SecurityState { source, destination, spi, reqid, .. } = &**state;
            let state = state_of(*source, *destination, *spi, *reqid, key);
            wire::Change::NewState(&state).write(0, bytes);
        }
        (Change::Del(_), Object::State(state)) => {
            let (destination, spi) = (state.destination, state.spi.0);
            let identity = Identity { destination, spi, protocol: Identity::ESP };
            wire::Change::DelState(identity, state.source).write(0, bytes);
        }
        (Change::Add(_), Object::Policy(policy)) => {
            wire::Change::NewPolicy(&policy_of(policy)).write(0, bytes);
        }
        (Change::Set { .. }, Object::Policy(policy)) => {
            wire::Change::UpdatePolicy(&policy_of(policy)).write(0, bytes);
        }
        (Change::Del(_), Object::Policy(policy)) => {
            wire::Change::DelPolicy(&policy_of(policy)).write(0, bytes);
        }
        _ => return Err(Errno::EINVAL),
    }
    Ok(())
}

/// A state in the node's words; none when it is not the cluster's.
pub fn state_seen(state: &State, reqid: Reqid) -> Option<SecurityState> {
    if state.reqid != reqid.0 || state.identity.protocol != Identity::ESP {
        return None;
    }
    Some(SecurityState {
        source: state.source,
        destination: state.identity.destination,
        spi: Spi(state.identity.spi),
        reqid,
        form: difference(state).map_or(Form::Ours, Form::Other),
        key: key_seen(state),
    })
}

fn key_seen(state: &State) -> Key {
    match &state.aead {
        // In lockdown the kernel says nothing but zeros.
        Some(aead) if aead.key.iter().any(|byte| *byte != 0) => Key::known_as(&aead.key),
        _ => Key::default(),
    }
}

/// How a state differs from one that swarmlb makes.
fn difference(state: &State) -> Option<String> {
    let Some(aead) = state.aead.as_ref().filter(|_| !state.is_otherwise) else {
        return Some("other algorithms".into());
    };
    let ours = (CIPHER, CHECK_BITS, KEY_LENGTH);
    if (aead.name.as_str(), aead.check_bits, aead.key.len()) != ours {
        return Some(format!("{aead:?}"));
    }
    if (state.mode, state.flags, state.mark) != (Mode::TRANSPORT, StateFlags::ESN, None) {
        return Some("another mode, other flags or a mark".into());
    }
    match state.numbering {
        Numbering::Long(Replay { window: REPLAY_WINDOW, .. }) => None,
        _ => Some("another replay window".into()),
    }
}

/// A policy in the node's words; none when it is not the cluster's, or for other packets than those
/// that swarmlb has policies for.
pub fn policy_seen(policy: &Policy, reqid: Reqid) -> Option<SecurityPolicy> {
    let template = policy.templates.first()?;
    let mark = policy.mark?;
    let ((source, _), (destination, _)) = (policy.selector.source, policy.selector.destination);
    let (port, _) = policy.selector.destination_port;
    let seen = SecurityPolicy {
        source,
        destination,
        port,
        mark: Fwmark(mark.value),
        spi: Spi(template.identity.spi),
        reqid: Reqid(template.reqid),
        form: Form::Ours,
    };
    let ours = policy_of(&seen);
    let same_packets = (ours.selector, ours.mark, ours.direction)
        == (policy.selector, policy.mark, policy.direction);
    if seen.reqid != reqid || !same_packets {
        return None;
    }
    let same = ours == Policy { index: 0, ..policy.clone() };
    let form = if same { Form::Ours } else { Form::Other("another template or action".into()) };
    Some(SecurityPolicy { form, ..seen })
}

/// The kernel's number alone would not tell what is missing.
fn in_words(refusal: Refusal) -> Refusal {
    let sentence = match refusal.errno {
        Errno::EPROTONOSUPPORT => "this kernel has no ESP (module esp4)",
        Errno::ENOSYS => "this kernel has no AES in Galois/counter mode (modules gcm and aes)",
        Errno::ENOKEY => "its key is not kept: a state is never made a second time",
        _ => return refusal,
    };
    Refusal::saying(refusal.errno, sentence)
}

fn no_xfrm() -> Refusal {
    Refusal::saying(Errno::EPROTONOSUPPORT, "this kernel has no IPsec (module xfrm_user)")
}
