//! States and policies in the words of `ip xfrm`. A key stands as a shell variable.

use super::Op;
use crate::intent::Spi;
use crate::node::encryption::REPLAY_WINDOW;
use crate::node::{Object, SecurityPolicy, SecurityState};

pub fn state_key(state: &SecurityState) -> String {
    let SecurityState { source, destination, spi, .. } = state;
    format!("src {source} dst {destination} proto esp spi {spi}")
}

pub fn state(state: &SecurityState) -> String {
    format!(
        "{} reqid {} mode transport flag esn replay-window {REPLAY_WINDOW} \
         aead 'rfc4106(gcm(aes))' \"0x${}\" 128",
        state_key(state),
        state.reqid.0,
        variable(state.spi)
    )
}

pub fn policy_key(policy: &SecurityPolicy) -> String {
    let SecurityPolicy { source, destination, port, mark, .. } = policy;
    format!("src {source}/32 dst {destination}/32 proto udp dport {port} dir out mark {mark}")
}

pub fn policy(policy: &SecurityPolicy) -> String {
    format!(
        "{} tmpl src {} dst {} proto esp spi {} reqid {} mode transport",
        policy_key(policy),
        policy.source,
        policy.destination,
        policy.spi,
        policy.reqid.0
    )
}

fn variable(spi: Spi) -> String {
    format!("KEY_{:08x}", spi.0)
}

/// A line of a runbook with the key itself, where it is held.
pub fn show_key(op: &Op) -> String {
    let line = op.to_string();
    let Object::State(state) = op.object() else { return line };
    let Some(key) = state.key.reveal() else { return line };
    let key: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    line.replace(&format!("${}", variable(state.spi)), &key)
}
