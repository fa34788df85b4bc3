//! Keys of associations: what two nodes derive, each from its own private key and what the other
//! published, and nobody else can.

use ring::hkdf::{HKDF_SHA256, KeyType, Salt};
use x25519_dalek::{PublicKey as Point, StaticSecret};
use zeroize::Zeroizing;

use super::encryption::{Association, End, associations};
use crate::intent::{Hexadecimal, Intent, NodeName, PublicKey};
use crate::node::encryption::{KEY_LENGTH, Key};
use crate::node::{Node, SandboxName};

/// A node's private X25519 key.
pub struct Keyring {
    secret: StaticSecret,
}

/// Of so many bytes is a key.
struct Length;

impl KeyType for Length {
    fn len(&self) -> usize {
        KEY_LENGTH
    }
}

impl Keyring {
    pub fn new(secret: [u8; 32]) -> Self {
        Self { secret: StaticSecret::from(secret) }
    }

    /// What others may know.
    pub fn public_key(&self) -> PublicKey {
        Hexadecimal(Point::from(&self.secret).to_bytes())
    }

    /// The key of an association; none for one that this node is no end of, or with a public key that
    /// would make the secret known to all.
    pub fn key(&self, association: &Association<'_>) -> Option<Key> {
        let own = self.public_key();
        let (sender, receiver) = (&association.sender, &association.receiver);
        let other = match (sender.public_key == own, receiver.public_key == own) {
            (true, false) => receiver.public_key,
            (false, true) => sender.public_key,
            _ => return None,
        };
        let shared = self.secret.diffie_hellman(&Point::from(other.0));
        if !shared.was_contributory() {
            return None;
        }
        let salt = Salt::new(HKDF_SHA256, &[sender.life.nonce.0, receiver.life.nonce.0].concat());
        let context = context(association);
        let context: [&[u8]; 1] = [context.as_bytes()];
        let mut key = Zeroizing::new([0; KEY_LENGTH]);
        let expanded = salt.extract(shared.as_bytes());
        expanded.expand(&context, Length).and_then(|okm| okm.fill(&mut *key)).ok()?;
        Some(Key::new(*key))
    }

    /// Gives the states of this node's own namespace their keys.
    pub fn complete(&self, intent: &Intent, name: &NodeName, node: &mut Node) {
        let home = SandboxName::of_node(&intent.cluster.id);
        let Some(sandbox) = node.sandboxes.get_mut(&home).filter(|held| !held.states.is_empty())
        else {
            return;
        };
        let associations = associations(intent, name);
        let states = std::mem::take(&mut sandbox.states);
        let complete = states.into_iter().filter_map(|mut state| {
            let of = |a: &&Association<'_>| {
                (a.receiver.address, a.spi) == (state.destination, state.spi)
            };
            // Without a key there is nothing to make, and what needs it is dropped.
            state.key = self.key(associations.iter().find(of)?)?;
            Some(state)
        });
        sandbox.states = complete.collect();
        let (states, policies) = (&sandbox.states, &mut sandbox.policies);
        policies.retain(|policy| states.iter().any(|state| state.serves(policy)));
    }
}

/// Everything that makes a key another one.
fn context(association: &Association<'_>) -> String {
    let end = |end: &End<'_>| {
        format!("{} {} {} {}", end.name, end.public_key, end.life.number, end.life.nonce)
    };
    let (sender, receiver) = (end(&association.sender), end(&association.receiver));
    format!("swarmlb esp 1 {} {sender} {receiver} {}", association.cluster, association.spi)
}
