//! What encrypts between nodes, in the kernel's words: states, each a key for one direction between
//! two nodes, and policies, which tell what is sent under which state.

use std::cmp::Ordering;
use std::fmt;
use std::net::Ipv4Addr;

use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::intent::{ClusterId, Fwmark, Hexadecimal, Spi, Vni};

/// What packets of encrypted networks are marked with on their way out, so that policies see them. It
/// touches no bit that kube-proxy, Tailscale or Cilium take for theirs, and is not Docker's 0xd0c4e3.
pub const ENCRYPTION_MARK: Fwmark = Fwmark(108 << 24);
/// A key of AES-128 and the salt of its counter: 16 and 4 bytes.
pub const KEY_LENGTH: usize = 20;
/// How many packets may overtake one another, by their numbers.
pub const REPLAY_WINDOW: u32 = 256;

/// What the kernel knows a cluster's states and policies by. From the upper range that no key daemon
/// counts up to; 30 bits follow from the cluster's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Reqid(pub u32);

impl Reqid {
    pub fn of(cluster: &ClusterId) -> Self {
        let words = format!("swarmlb reqid {cluster}");
        let hash = digest(&SHA256, words.as_bytes());
        let number = hash.as_ref().first_chunk::<4>().map_or(0, |bytes| u32::from_be_bytes(*bytes));
        Self(number & 0x3fff_ffff | 0x4000_0000)
    }
}

/// The first bytes of a key's SHA-256, which tell nothing about it.
pub type KeyDigest = Hexadecimal<8>;

/// A key of a state. Two are equal when their digests are. Nothing prints or writes the key itself, but
/// [`Key::reveal`].
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(from = "Option<KeyDigest>", into = "Option<KeyDigest>")]
pub struct Key {
    digest: Option<KeyDigest>,
    secret: Option<Zeroizing<[u8; KEY_LENGTH]>>,
}

impl Key {
    pub fn new(secret: [u8; KEY_LENGTH]) -> Self {
        Self { digest: Some(Self::digest_of(&secret)), secret: Some(Zeroizing::new(secret)) }
    }

    /// One of which is known which it is, and no more.
    pub fn known_as(secret: &[u8]) -> Self {
        Self { digest: Some(Self::digest_of(secret)), secret: None }
    }

    fn digest_of(secret: &[u8]) -> KeyDigest {
        let words = [b"swarmlb key ", secret].concat();
        let hash = digest(&SHA256, &Zeroizing::new(words));
        Hexadecimal(hash.as_ref().first_chunk().copied().unwrap_or_default())
    }

    /// Whether nothing is known of it.
    pub fn is_unknown(&self) -> bool {
        self.digest.is_none()
    }

    /// The key itself, where it is held: for the kernel, and for who asks with `--show-keys`.
    pub fn reveal(&self) -> Option<&[u8; KEY_LENGTH]> {
        self.secret.as_deref()
    }

    /// Holds on to which key it is only.
    pub fn forget(&mut self) {
        self.secret = None;
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for Key {}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        self.digest.cmp(&other.digest)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.digest {
            Some(digest) => write!(f, "key {digest}…"),
            None => f.write_str("a key"),
        }
    }
}

impl From<Option<KeyDigest>> for Key {
    fn from(digest: Option<KeyDigest>) -> Self {
        Self { digest, secret: None }
    }
}

impl From<Key> for Option<KeyDigest> {
    fn from(key: Key) -> Self {
        key.digest
    }
}

/// Whether it is as swarmlb makes it.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// A state: ESP in transport mode, AES-GCM with a check value of 128 bits, 64-bit numbers and a
    /// window of [`REPLAY_WINDOW`]. A policy: outgoing, of UDP, with such a state.
    #[default]
    Ours,
    /// How it differs.
    Other(String),
}

/// A key for what one node sends to another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SecurityState {
    pub source: Ipv4Addr,
    pub destination: Ipv4Addr,
    pub spi: Spi,
    pub reqid: Reqid,
    #[serde(default)]
    pub form: Form,
    #[serde(default)]
    pub key: Key,
}

/// Under which state the marked packets from one node to another are sent.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SecurityPolicy {
    pub source: Ipv4Addr,
    pub destination: Ipv4Addr,
    /// The UDP port of VXLAN.
    pub port: u16,
    pub mark: Fwmark,
    pub spi: Spi,
    pub reqid: Reqid,
    #[serde(default)]
    pub form: Form,
}

impl SecurityPolicy {
    /// Which packets it is for: from, to, port and mark.
    pub fn packets(&self) -> (Ipv4Addr, Ipv4Addr, u16, Fwmark) {
        (self.source, self.destination, self.port, self.mark)
    }
}

impl SecurityState {
    /// Whether a policy sends under it.
    pub fn serves(&self, policy: &SecurityPolicy) -> bool {
        (self.source, self.destination, self.spi, self.reqid)
            == (policy.source, policy.destination, policy.spi, policy.reqid)
    }
}

/// The packets of one network between nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Carrier {
    /// The UDP port of VXLAN.
    pub port: u16,
    pub vni: Vni,
}

impl super::Node {
    /// Holds on to which keys there are, not to the keys.
    pub fn forget_keys(&mut self) {
        for sandbox in self.sandboxes.values_mut() {
            let states = std::mem::take(&mut sandbox.states);
            sandbox.states = states
                .into_iter()
                .map(|mut state| {
                    state.key.forget();
                    state
                })
                .collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_told_from_others_and_never_told() {
        let (one, other) = (Key::new([0x5a; KEY_LENGTH]), Key::new([0x5b; KEY_LENGTH]));
        assert_ne!(one, other);
        assert_eq!(one, Key::known_as(&[0x5a; KEY_LENGTH]));
        let state = SecurityState {
            source: [192, 0, 2, 1].into(),
            destination: [192, 0, 2, 2].into(),
            spi: Spi(0x4000_0001),
            reqid: Reqid(7),
            form: Form::Ours,
            key: one.clone(),
        };
        let written = serde_json::to_string(&state).unwrap();
        let told = format!("{state:?} {state:#?} {written}");
        assert!(!told.contains("5a5a") && !told.contains("90, 90"), "{told}");
        let read: SecurityState = serde_json::from_str(&written).unwrap();
        assert_eq!(read, state);
        assert_eq!(read.key.reveal(), None);
        let mut forgotten = one.clone();
        forgotten.forget();
        assert_eq!((forgotten.reveal(), one.reveal().is_some()), (None, true));
    }
}
