//! Names between text and the wire.
//!
//! Service names are taken byte for byte: no IDNA, no rule about which characters a host name may
//! have, because operators name services with underscores and Docker lets them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hickory_proto::ProtoError;
use hickory_proto::rr::Name;

/// The longest name that the wire can carry, in bytes, its length bytes included (RFC 1035, 3.1).
const LONGEST: usize = 255;

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

/// The address that a reverse name (`2.1.0.10.in-addr.arpa`, lower case as [`key`] gives it) stands
/// for; `None` when it is none or not whole.
pub fn reverse(key: &str) -> Option<IpAddr> {
    if let Some(octets) = key.strip_suffix(".in-addr.arpa") {
        let mut address = [0_u8; 4];
        let mut labels = octets.split('.');
        for octet in address.iter_mut().rev() {
            *octet = decimal(labels.next()?)?;
        }
        return labels.next().is_none().then(|| Ipv4Addr::from(address).into());
    }
    let mut labels = key.strip_suffix(".ip6.arpa")?.split('.');
    let mut address = 0_u128;
    for position in 0..32 {
        let nibble = u128::from(nibble(labels.next()?)?);
        address |= nibble << (4 * position);
    }
    labels.next().is_none().then(|| Ipv6Addr::from(address).into())
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
    fn reverse_names_are_addresses() {
        for text in ["10.0.1.2", "0.0.0.0", "fd00::1", "::", "2001:db8::ff"] {
            let address: Option<IpAddr> = text.parse().ok();
            let name = address.map(Name::from).and_then(|name| key(&name));
            assert_eq!(name.as_deref().and_then(reverse), address, "{text}");
        }
    }

    #[test]
    fn other_names_are_no_addresses() {
        for key in [
            "in-addr.arpa",
            "1.0.10.in-addr.arpa",
            "1.2.3.4.5.in-addr.arpa",
            "256.0.0.10.in-addr.arpa",
            "+2.1.0.10.in-addr.arpa",
            "02.1.0.10.in-addr.arpa",
            "0.ip6.arpa",
            "web",
            "",
        ] {
            assert_eq!(reverse(key), None, "{key}");
        }
    }
}
