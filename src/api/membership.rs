//! What a node keeps of its cluster: who it is there, whom it trusts, and where the store is.

use std::fmt;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Token;
use super::identity::{Authority, IdentityError, fingerprint, node_key};
use super::token::SECRET_LENGTH;
use crate::intent::{ClusterId, NodeName};

/// Kept in the state directory, for root only; it goes when the node leaves.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    pub cluster: ClusterId,
    /// Where this node is reached by others.
    pub address: Ipv4Addr,
    pub port: u16,
    /// Where the store is; none on the node that has it.
    pub first: Option<SocketAddrV4>,
    /// The authority's certificate, and this node's own with its key. PEM.
    pub authority: String,
    pub certificate: String,
    pub key: String,
    /// On the node that lets others in.
    pub founder: Option<Founder>,
}

/// What lets others in.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Founder {
    /// The authority's private key. PEM.
    pub key: String,
    /// What a node that joins must know.
    pub secret: String,
}

/// Keys are for no log.
impl fmt::Debug for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Membership of {} at {}:{}", self.cluster, self.address, self.port)
    }
}

impl Membership {
    /// That of a cluster's first node, with an authority of its own.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn found(
        cluster: &ClusterId,
        node: &NodeName,
        address: Ipv4Addr,
        port: u16,
    ) -> Result<Self, IdentityError> {
        let authority = Authority::new(cluster)?;
        let (key, public_key) = node_key()?;
        Ok(Self {
            cluster: cluster.clone(),
            address,
            port,
            first: None,
            authority: authority.certificate()?,
            certificate: authority.sign(node, &public_key)?,
            key,
            founder: Some(Founder {
                key: authority.key(),
                secret: crate::random::id(SECRET_LENGTH),
            }),
        })
    }

    /// What a node joins with; none where nobody is let in.
    ///
    /// # Errors
    /// When the authority's certificate cannot be read.
    pub fn token(&self) -> Result<Option<Token>, IdentityError> {
        let Some(founder) = &self.founder else { return Ok(None) };
        let authority = fingerprint(&self.authority)?;
        Ok(Some(Token { authority, secret: founder.secret.clone() }))
    }

    /// Makes tokens that were given out so far worth nothing.
    pub fn rotate_secret(&mut self) {
        if let Some(founder) = &mut self.founder {
            founder.secret = crate::random::id(SECRET_LENGTH);
        }
    }

    /// None for a node that is in no cluster of several.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub fn load(path: &Path) -> io::Result<Option<Self>> {
        match std::fs::read(path) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Keeps it, whole or not at all.
    ///
    /// # Errors
    /// What the file system answered.
    pub fn save(&self, path: &Path) -> io::Result<()> {
        let unseen = path.with_extension("new");
        let _absent = std::fs::remove_file(&unseen);
        let mut file =
            std::fs::File::options().write(true).create_new(true).mode(0o600).open(&unseen)?;
        file.write_all(&serde_json::to_vec_pretty(self)?)?;
        file.sync_all()?;
        std::fs::rename(&unseen, path)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn it_is_kept_for_root_only_and_shown_to_nobody() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("membership.json");
        assert_eq!(Membership::load(&path).unwrap(), None);
        let node = "node-1".parse().unwrap();
        let made =
            Membership::found(&ClusterId("c1".into()), &node, Ipv4Addr::LOCALHOST, 7733).unwrap();
        made.save(&path).unwrap();
        assert_eq!(Membership::load(&path).unwrap().as_ref(), Some(&made));
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!format!("{made:?}").contains("PRIVATE"));
    }

    #[test]
    fn a_rotated_secret_makes_another_token_of_the_same_authority() {
        let node = "node-1".parse().unwrap();
        let cluster = ClusterId("c1".into());
        let mut made = Membership::found(&cluster, &node, Ipv4Addr::LOCALHOST, 7733).unwrap();
        let before = made.token().unwrap().unwrap();
        made.rotate_secret();
        let after = made.token().unwrap().unwrap();
        assert_eq!(before.authority, after.authority);
        assert_ne!(before.secret, after.secret);
    }
}
