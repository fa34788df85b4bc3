//! The store of a node that has none: its socket leads to the node that has it.

use std::io;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use tokio::io::copy_bidirectional;
use tokio::io::unix::AsyncFd;
use tokio::net::UnixStream;

use super::message::{Answer, Request, hear, say};
use super::{Membership, tls};
use crate::keeper::journal;

/// Serves the store at `listener`, by way of the API, until `stop` becomes readable.
///
/// # Errors
/// When this node's certificate serves nothing, or the system gives no more of something.
pub fn serve(
    membership: &Membership,
    first: SocketAddr,
    listener: UnixListener,
    stop: BorrowedFd<'_>,
) -> io::Result<()> {
    let config = tls::member(membership).map_err(io::Error::other)?;
    super::server::runtime()?.block_on(async {
        listener.set_nonblocking(true)?;
        let listener = tokio::net::UnixListener::from_std(listener)?;
        // SAFETY: it is borrowed, and so stays open, for longer than this watches it.
        let stop = unsafe { AsyncFd::register(stop) }?;
        loop {
            tokio::select! {
                _ = stop.readable() => return Ok(()),
                accepted = listener.accept() => match accepted {
                    Ok((local, _)) if is_root(&local) => {
                        tokio::spawn(carry(local, Arc::clone(&config), first));
                    }
                    Ok(_) => {}
                    // No more descriptors: some will be given back.
                    Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
                },
            }
        }
    })
}

fn is_root(stream: &UnixStream) -> bool {
    stream.peer_cred().is_ok_and(|peer| peer.uid() == 0)
}

/// Carries one connection. Who is told nothing by a connection that closes comes again.
async fn carry(mut local: UnixStream, config: Arc<ClientConfig>, first: SocketAddr) {
    match reach(config, first).await {
        Ok(mut remote) => {
            let _ended = copy_bidirectional(&mut local, &mut remote).await;
        }
        Err(error) => journal::say(format!("the store at {first} is out of reach: {error}")),
    }
}

async fn reach(
    config: Arc<ClientConfig>,
    first: SocketAddr,
) -> io::Result<tokio_rustls::client::TlsStream<tokio::net::TcpStream>> {
    let mut remote = tls::connect(config, first).await?;
    say(&mut remote, &Request::Store).await?;
    match hear(&mut remote).await? {
        Answer::Granted => Ok(remote),
        Answer::Refused { problem, .. } => Err(io::Error::other(problem)),
        Answer::Joined { .. } => Err(io::Error::other("it answers something else")),
    }
}
