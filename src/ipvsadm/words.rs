//! What names a virtual server, as `ipvsadm` writes it.

use std::net::{IpAddr, SocketAddr};

use crate::kernel::ipvs::wire::{Family, Key, Protocol};

/// As an option of its commands: `-t 10.0.3.2:80`, `-f 268 -6`.
pub fn typed(key: &Key) -> String {
    match *key {
        Key::Fwmark { mark, family: Family::V4 } => format!("-f {mark}"),
        Key::Fwmark { mark, family: Family::V6 } => format!("-f {mark} -6"),
        Key::Address { protocol, address, port } => {
            let option = match protocol {
                Protocol::UDP => "-u",
                Protocol::SCTP => "--sctp-service",
                _ => "-t",
            };
            format!("{option} {}", SocketAddr::new(address, port))
        }
    }
}

/// As at the beginning of a line of its lists: `TCP  10.0.3.2:80`, `FWM  268 IPv6`.
pub fn listed(key: &Key) -> String {
    match *key {
        Key::Fwmark { mark, family: Family::V4 } => format!("FWM  {mark}"),
        Key::Fwmark { mark, family: Family::V6 } => format!("FWM  {mark} IPv6"),
        Key::Address { protocol, address, port } => {
            let protocol = match protocol {
                Protocol::UDP => "UDP",
                Protocol::SCTP => "SCTP",
                _ => "TCP",
            };
            format!("{protocol:<4} {}", SocketAddr::new(address, port))
        }
    }
}

/// The key that one of the options `-t`, `-u`, `--sctp-service` names by this text.
///
/// # Errors
/// What is wrong with the text.
pub fn key_of(protocol: Protocol, text: &str) -> Result<Key, String> {
    let (address, port) = end(text)?;
    Ok(Key::Address { protocol, address, port: port.unwrap_or(0) })
}

/// The mark that `-f` names by this text.
pub(super) fn mark(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(0) | Err(_) => {
            Err(format!("`{}` is no mark, from 1 to {}", text.escape_debug(), u32::MAX))
        }
        Ok(mark) => Ok(mark),
    }
}

/// `10.0.3.2`, `10.0.3.2:80`, `fd00::2`, `[fd00::2]` or `[fd00::2]:80`.
pub(super) fn end(text: &str) -> Result<(IpAddr, Option<u16>), String> {
    if let Ok(end) = text.parse::<SocketAddr>() {
        return Ok((end.ip(), Some(end.port())));
    }
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    bare.parse().map(|address| (address, None)).map_err(|_| {
        format!(
            "`{}` is no address in numbers, as 10.0.3.2:80 or [fd00::2]:80; `ipvsadm -Sn` writes those",
            text.escape_debug()
        )
    })
}
