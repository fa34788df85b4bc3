//! Telling a service manager how the keeper is (sd_notify(3)): a datagram to the socket it named.

use std::ffi::OsString;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Whoever wants to know.
#[derive(Debug)]
pub struct Readiness {
    socket: Option<OsString>,
    told: bool,
}

impl Readiness {
    /// Without a socket nobody is told, but that the node is up is still noticed once.
    pub fn new(socket: Option<OsString>) -> Self {
        Self { socket, told: false }
    }

    pub fn is_told(&self) -> bool {
        self.told
    }

    /// The node is up.
    pub fn ready(&mut self) {
        self.told = true;
        if let Err(error) = self.send("READY=1") {
            super::journal::say(format!(
                "cannot tell the service manager that the node is up: {error}"
            ));
        }
    }

    /// The node is about to end. A manager that is gone need not know.
    pub fn stopping(&self) {
        let _ = self.send("STOPPING=1");
    }

    fn send(&self, text: &str) -> io::Result<()> {
        let Some(socket) = &self.socket else { return Ok(()) };
        let address = address(socket.as_bytes())?;
        UnixDatagram::unbound()?.send_to_addr(text.as_bytes(), &address).map(drop)
    }
}

/// A path, or behind `@` a name that is in no file system.
fn address(socket: &[u8]) -> io::Result<SocketAddr> {
    match socket {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        path => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(path)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manager_is_told_at_a_path_and_at_a_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let name = format!("@swarmlb-test-{}", std::process::id());
        for socket in [path.as_os_str().to_owned(), OsString::from(&name)] {
            let address = address(socket.as_bytes()).unwrap();
            let manager = UnixDatagram::bind_addr(&address).unwrap();
            let mut readiness = Readiness::new(Some(socket));
            readiness.ready();
            readiness.stopping();
            let mut said = [0; 32];
            let length = manager.recv(&mut said).unwrap();
            assert_eq!(&said[..length], b"READY=1");
            let length = manager.recv(&mut said).unwrap();
            assert_eq!(&said[..length], b"STOPPING=1");
            assert!(readiness.is_told());
        }
    }
}
