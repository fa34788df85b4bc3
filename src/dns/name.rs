//! Names between text and the wire.
//!
//! Service names are taken byte for byte: no IDNA, no rule about which characters a host name may
//! have, because operators name services with underscores and Docker lets them.

use std::net::IpAddr;

use hickory_proto::ProtoError;
use hickory_proto::rr::Name;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// The longest name that the wire can carry, in bytes, its length bytes included (RFC 1035, 3.1).
pub const LONGEST: usize = 255;

/// A name as a zone writes it, of a query: lower case, no trailing dot. It lives on the stack.
#[derive(Clone, Debug)]
pub struct Key {
    text: [u8; LONGEST],
    length: usize,
}

impl Default for Key {
    fn default() -> Self {
        Self { text: [0; LONGEST], length: 0 }
    }
}

impl Key {
    /// Adds the next label; false when the name then cannot be of a zone (see [`key`]), or is too
    /// long for the wire.
    pub fn push(&mut self, label: &[u8]) -> bool {
        let dot = usize::from(self.length > 0);
        let begin = self.length + dot;
        let Some(room) = self.text.get_mut(begin..begin + label.len()) else {
            return false;
        };
        room.copy_from_slice(label);
        room.make_ascii_lowercase();
        if label.contains(&b'.') || std::str::from_utf8(label).is_err() {
            return false;
        }
        if let (1, Some(byte)) = (dot, self.text.get_mut(self.length)) {
            *byte = b'.';
        }
        self.length = begin + label.len();
        true
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        let text = self.text.get(..self.length).unwrap_or_default();
        // Every label was looked at when it was added.
        std::str::from_utf8(text).unwrap_or_default()
    }
}

/// The absolute name that `text` means; a trailing dot changes nothing.
///
/// # Errors
/// When a label is empty or longer than 63 bytes, or the name is longer than 255 bytes on the wire.
pub fn absolute(text: &str) -> Result<Name, ProtoError> {
    let text = text.strip_suffix('.').unwrap_or(text);
    if text.is_empty() {
        return Ok(Name::root());
    }
    if text.len() + 2 > LONGEST {
        return Err(ProtoError::Message("name is longer than 255 bytes"));
    }
    Name::from_labels(text.split('.').map(str::as_bytes))
}

/// The name as a zone writes it: lower case, no trailing dot. `None` when it cannot be of a zone: a
/// label that is not UTF-8, or that has a dot inside (`a.b` as one label is not `a` below `b`).
pub fn key(name: &Name) -> Option<String> {
    let mut key = String::with_capacity(name.len());
    for label in name.iter() {
        let label = std::str::from_utf8(label).ok()?;
        if label.contains('.') {
            return None;
        }
        if !key.is_empty() {
            key.push('.');
        }
        key.extend(label.chars().map(|letter| letter.to_ascii_lowercase()));
    }
    Some(key)
}

/// The addresses that a reverse name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reverse {
    /// All of them; one for a whole name, more for one that lacks labels on its left.
    pub range: IpNet,
    /// Whether the name has labels on the left that are no part of an address.
    pub beneath: bool,
}

impl Reverse {
    /// What a name (lower case, as [`key`] gives it) stands for; `None` when it is no reverse name.
    pub fn of(key: &str) -> Option<Self> {
        if let Some(labels) = key.strip_suffix(".in-addr.arpa") {
            let octets: Vec<u8> = labels.rsplit('.').take(4).map_while(decimal).collect();
            let mut address = [0; 4];
            address.iter_mut().zip(&octets).for_each(|(to, from)| *to = *from);
            let length = u8::try_from(octets.len() * 8).ok()?;
            let range = Ipv4Net::new(address.into(), length).ok()?.into();
            return Some(Self { range, beneath: labels.split('.').count() > octets.len() });
        }
        let labels = key.strip_suffix(".ip6.arpa")?;
        let nibbles: Vec<u32> = labels.rsplit('.').take(32).map_while(nibble).collect();
        let filled = nibbles.iter().chain(std::iter::repeat(&0)).take(32);
        let address = filled.fold(0_u128, |address, nibble| address << 4 | u128::from(*nibble));
        let length = u8::try_from(nibbles.len() * 4).ok()?;
        let range = Ipv6Net::new(address.into(), length).ok()?.into();
        Some(Self { range, beneath: labels.split('.').count() > nibbles.len() })
    }

    /// The one address of a whole name.
    pub fn address(&self) -> Option<IpAddr> {
        let whole = self.range.prefix_len() == self.range.max_prefix_len() && !self.beneath;
        whole.then(|| self.range.addr())
    }
}

/// A decimal octet without sign or leading zeros, as reverse names have it.
fn decimal(label: &str) -> Option<u8> {
    let octet: u8 = label.parse().ok()?;
    let canonical = label == "0" || label.starts_with(|first| matches!(first, '1'..='9'));
    canonical.then_some(octet)
}

fn nibble(label: &str) -> Option<u32> {
    let mut letters = label.chars();
    let digit = letters.next()?.to_digit(16)?;
    letters.next().is_none().then_some(digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(text: &str) -> Option<String> {
        absolute(text).ok().and_then(|name| key(&name))
    }

    #[test]
    fn text_comes_back_lower_case_and_without_the_dot() {
        assert_eq!(round("Tasks.My_Web."), Some("tasks.my_web".to_owned()));
        assert_eq!(round("."), Some(String::new()));
        assert_eq!(round("grüße"), Some("grüße".to_owned()));
    }

    #[test]
    fn names_the_wire_cannot_carry_are_refused() {
        assert!(absolute("a..b").is_err());
        assert!(absolute(&"a".repeat(64)).is_err());
        assert!(absolute(&["a"; 127].join(".")).is_ok());
        assert!(absolute(&["a"; 128].join(".")).is_err());
    }

    #[test]
    fn a_dot_inside_a_label_is_not_a_separator() -> Result<(), ProtoError> {
        let spoofed = Name::from_labels([b"tasks.web".as_slice()])?;
        assert_eq!(key(&spoofed), None);
        let bytes = Name::from_labels([[0xff_u8, 0xfe].as_slice()])?;
        assert_eq!(key(&bytes), None);
        Ok(())
    }

    #[test]
    fn a_key_is_the_name_label_by_label() {
        for (labels, text) in [
            (&["Tasks", "My_Web"][..], Some("tasks.my_web")),
            (&[], Some("")),
            (&["gr\u{fc}\u{df}e", "x"], Some("gr\u{fc}\u{df}e.x")),
            (&["tasks.web"], None),
        ] {
            let mut key = Key::default();
            let whole = labels.iter().all(|label| key.push(label.as_bytes()));
            assert_eq!(whole.then(|| key.as_str()), text, "{labels:?}");
        }
        assert!(!Key::default().push(&[0xff, 0xfe]));
        let mut key = Key::default();
        assert!((0..127).all(|_| key.push(b"a")));
        assert_eq!(key.as_str().len(), 253);
        assert!(!key.push(&[b'a'; 63]));
    }

    #[test]
    fn reverse_names_are_addresses() {
        for text in ["10.0.1.2", "0.0.0.0", "fd00::1", "::", "2001:db8::ff"] {
            let address: Option<IpAddr> = text.parse().ok();
            let name = address.map(Name::from).and_then(|name| key(&name));
            let reverse = name.as_deref().and_then(Reverse::of);
            assert_eq!(reverse.and_then(|reverse| reverse.address()), address, "{text}");
        }
    }

    #[test]
    fn parts_of_reverse_names_are_ranges() {
        for (key, range, beneath) in [
            ("1.0.10.in-addr.arpa", "10.0.1.0/24", false),
            ("7.1.0.10.in-addr.arpa", "10.0.1.7/32", false),
            ("1.2.3.4.5.in-addr.arpa", "5.4.3.2/32", true),
            ("256.0.0.10.in-addr.arpa", "10.0.0.0/24", true),
            ("+2.1.0.10.in-addr.arpa", "10.0.1.0/24", true),
            ("02.1.0.10.in-addr.arpa", "10.0.1.0/24", true),
            ("lb._dns-sd._udp.0.1.0.10.in-addr.arpa", "10.0.1.0/32", true),
            ("0.0.d.f.ip6.arpa", "fd00::/16", false),
            ("x.0.d.f.ip6.arpa", "fd00::/12", true),
        ] {
            let range = range.parse().unwrap();
            assert_eq!(Reverse::of(key), Some(Reverse { range, beneath }), "{key}");
        }
        for key in ["in-addr.arpa", "web", "", "1.0.10.in-addr.arpa.example"] {
            assert_eq!(Reverse::of(key), None, "{key}");
        }
    }
}
