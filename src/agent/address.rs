//! Where other nodes reach this one, when nobody said it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs, UdpSocket};

use crate::store::Location;

/// The address that this machine speaks to its etcd from: who reaches that etcd too is there to answer. None where the store
/// is embedded, or all of it is on this machine.
pub fn towards(location: &Location) -> Option<Ipv4Addr> {
    let Location::Etcd(etcd) = location else { return None };
    etcd.address.endpoints.iter().find_map(|endpoint| {
        let host = endpoint.host.trim_matches(['[', ']']);
        let mut addresses = (host, endpoint.port).to_socket_addrs().ok()?;
        addresses.find_map(source)
    })
}

/// What the kernel would send from. Nothing is sent.
fn source(peer: SocketAddr) -> Option<Ipv4Addr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect(peer).ok()?;
    match socket.local_addr().ok()?.ip() {
        IpAddr::V4(address) if !address.is_loopback() => Some(address),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::location::{Address, EtcdLocation};

    #[test]
    fn an_etcd_on_this_machine_alone_tells_no_address() {
        assert_eq!(towards(&Location::Embedded), None);
        let Ok(Address::Etcd(address)) = "etcd://127.0.0.1:2379".parse() else { panic!() };
        assert_eq!(towards(&Location::Etcd(EtcdLocation { address, tls: None })), None);
    }
}
