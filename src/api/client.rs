//! What a command asks of another node.

use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use thiserror::Error;

use super::errand::{self, Sink};
use super::identity::{IdentityError, fingerprint_of, node_key};
use super::message::{Answer, Candidate, Request, hear, say};
use super::tls::OtherCluster;
use super::{Membership, Token, server, tls};
use crate::intent::NodeName;

/// Why another node did not do it.
#[derive(Debug, Error)]
pub enum ApiError {
    #[error("{0} does not answer: {1}")]
    Unreachable(SocketAddr, io::Error),
    /// Somebody else answers there, or the token is of another cluster.
    #[error("{0} is not of the token's cluster")]
    OtherCluster(SocketAddr),
    /// Another node answers at the address.
    #[error("{0} is not the node that was meant")]
    OtherNode(SocketAddr),
    #[error("{problem}")]
    Refused { problem: String, hint: Option<String> },
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error("the system does not let this run: {0}")]
    System(io::Error),
}

fn unreachable(at: SocketAddr, error: io::Error) -> ApiError {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    if let Some(rustls::Error::InvalidCertificate(rustls::CertificateError::Other(other))) = tls
        && other.0.is::<OtherCluster>()
    {
        return ApiError::OtherCluster(at);
    }
    ApiError::Unreachable(at, error)
}

/// Asks to be let into the cluster that has a node at `to`.
///
/// # Errors
/// Why not; this machine is as it was then.
pub fn join(
    to: SocketAddrV4,
    token: &Token,
    node: &NodeName,
    address: Ipv4Addr,
    port: u16,
) -> Result<Membership, ApiError> {
    let at = SocketAddr::from(to);
    let config = tls::stranger(&token.authority)?;
    let (key, public_key) = node_key()?;
    let candidate =
        Candidate { secret: token.secret.clone(), node: node.clone(), address, port, public_key };
    let answer = server::runtime().map_err(ApiError::System)?.block_on(async {
        let mut stream = tls::connect(config, at).await?;
        say(&mut stream, &Request::Join(candidate)).await?;
        hear(&mut stream).await
    });
    match answer.map_err(|error| unreachable(at, error))? {
        Answer::Joined { cluster, certificate, authority, first } => Ok(Membership {
            cluster,
            address,
            port,
            first: Some(first),
            authority,
            certificate,
            key,
            founder: None,
        }),
        Answer::Refused { problem, hint } => Err(ApiError::Refused { problem, hint }),
        Answer::Granted => {
            Err(ApiError::Unreachable(at, io::Error::other("it answers something else")))
        }
    }
}

/// What a command of another node prints goes where this one's would.
pub struct Streams;

impl Sink for Streams {
    fn output(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(bytes).and_then(|()| stdout.flush())
    }

    fn complaint(&mut self, bytes: &[u8]) -> io::Result<()> {
        io::stderr().lock().write_all(bytes)
    }
}

/// Has the node at `to`, whose certificate has this fingerprint, run a command, and gives its exit
/// code. With `input`, it reads this process's standard input.
///
/// # Errors
/// When it does not run there.
pub fn run_errand(
    membership: &Membership,
    to: SocketAddrV4,
    fingerprint: &str,
    words: Vec<String>,
    input: bool,
    sink: &mut impl Sink,
) -> Result<u8, ApiError> {
    let at = SocketAddr::from(to);
    let config = tls::member(membership)?;
    let runtime = server::runtime().map_err(ApiError::System)?;
    let code = runtime.block_on(async {
        let mut stream = tls::connect(config, at).await.map_err(|error| unreachable(at, error))?;
        let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        if shown.is_none_or(|shown| fingerprint_of(shown) != fingerprint) {
            return Err(ApiError::OtherNode(at));
        }
        let lost = |error| ApiError::Unreachable(at, error);
        say(&mut stream, &Request::Errand { words }).await.map_err(lost)?;
        match hear(&mut stream).await.map_err(lost)? {
            Answer::Granted => errand::ask(stream, input, sink).await.map_err(lost),
            Answer::Refused { problem, hint } => Err(ApiError::Refused { problem, hint }),
            Answer::Joined { .. } => Err(lost(io::Error::other("it answers something else"))),
        }
    });
    // What waits for input would be waited for.
    runtime.shutdown_background();
    code
}
