//! Listening to the other nodes.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::runtime::{Builder, Runtime};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::admission::{Admitted, Roll};
use super::identity::{Authority, fingerprint, fingerprint_of};
use super::message::{Answer, Candidate, Request, hear, say};
use super::token::same;
use super::{Membership, errand, tls};
use crate::intent::{IntentError, Newcomer, NodeName};
use crate::keeper::journal;
use crate::state_dir::StateDir;
use crate::store::client::Client;
use crate::store::records::{self, Edit, RecordError};

/// How long a peer may take to say what it wants.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a node that left may take to hear the answer to what it asked last: that it left.
const LAST_WORD: Duration = Duration::from_millis(200);
/// How often an edit that others overtook is tried again.
const ATTEMPTS: usize = 100;

/// Letters and digits of a node's id, as of every other one.
const ID_LENGTH: usize = 25;

/// A runtime of one thread.
///
/// # Errors
/// When the system gives no more descriptors.
pub fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

/// Listens for other nodes until `stop` becomes readable.
///
/// # Errors
/// When the address is not this machine's or the port is another's.
pub fn serve(state: &StateDir, membership: &Membership, stop: BorrowedFd<'_>) -> io::Result<()> {
    let config = tls::server(membership).map_err(io::Error::other)?;
    runtime()?.block_on(async {
        let at = SocketAddrV4::new(membership.address, membership.port);
        let listener = TcpListener::bind(at).await?;
        // SAFETY: it is borrowed, and so stays open, for longer than this watches it.
        let stop = unsafe { AsyncFd::register(stop) }?;
        let acceptor = TlsAcceptor::from(config);
        let roll = Roll::follow(state)?;
        let state = Arc::new(state.clone());
        loop {
            tokio::select! {
                _ = stop.readable() => return Ok(()),
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        let (state, acceptor) = (Arc::clone(&state), acceptor.clone());
                        let roll = roll.clone();
                        tokio::spawn(async move {
                            // Whoever it was knows how it ended; scanners are nobody's business.
                            let _ended = attend(&state, &acceptor, &roll, stream).await;
                        });
                    }
                    // No more descriptors: some will be given back.
                    Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
                },
            }
        }
    })
}

async fn attend(
    state: &StateDir,
    acceptor: &TlsAcceptor,
    roll: &Roll,
    stream: TcpStream,
) -> io::Result<()> {
    tls::notice_silence(&stream)?;
    let opened = tokio::time::timeout(PATIENCE, async {
        let mut stream = acceptor.accept(stream).await?;
        let request = hear::<Request>(&mut stream).await?;
        Ok::<_, io::Error>((stream, request))
    });
    let (mut stream, request) = opened.await.map_err(|_| io::ErrorKind::TimedOut)??;
    match request {
        Request::Join(candidate) => {
            let node = candidate.node.clone();
            let state = state.clone();
            let answer = tokio::task::spawn_blocking(move || admit(&state, &candidate)).await?;
            journal::say(match &answer {
                Answer::Refused { problem, .. } => format!("{node} was not let in: {problem}"),
                _ => format!("{node} is let in"),
            });
            say(&mut stream, &answer).await
        }
        Request::Store => match admitted(state, roll, &stream, true).await {
            Ok((membership, node)) => forward(state, &membership, node, stream).await,
            Err(problem) => refuse(&mut stream, problem).await,
        },
        Request::Errand { words } => match admitted(state, roll, &stream, false).await {
            Ok(_) if !errand::are_allowed(&words) => {
                refuse(&mut stream, "this is nothing that one node does for another".into()).await
            }
            Ok((_, mut node)) => {
                say(&mut stream, &Answer::Granted).await?;
                tokio::select! {
                    served = errand::serve(stream, state.root(), &words) => served,
                    () = node.left() => Ok(()),
                }
            }
            Err(problem) => refuse(&mut stream, problem).await,
        },
    }
}

async fn refuse(stream: &mut TlsStream<TcpStream>, problem: String) -> io::Result<()> {
    say(stream, &Answer::Refused { problem, hint: None }).await
}

/// Sees whether the peer is a node of this cluster; one that left shows a certificate that is
/// nobody's any more.
async fn admitted(
    state: &StateDir,
    roll: &Roll,
    stream: &TlsStream<TcpStream>,
    logged: bool,
) -> Result<(Membership, Admitted), String> {
    let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let shown = shown.map(fingerprint_of).ok_or("this needs a certificate of the cluster")?;
    let (state, roll) = (state.clone(), roll.clone());
    let looked = tokio::task::spawn_blocking(move || {
        let membership = membership(&state)?;
        let store = store(&state)?;
        let loaded = records::load_certificates(&store).map_err(|error| error.to_string())?;
        let (revision, certificates) = loaded;
        match certificates.contains(&shown) {
            true => Ok((membership, roll.admit(shown, revision))),
            false => Err("this node is not of the cluster any more".to_owned()),
        }
    });
    let looked = looked.await.map_err(|error| error.to_string())?;
    if let (Err(problem), true) = (&looked, logged) {
        journal::say(format!("a node was turned away: {problem}"));
    }
    looked
}

fn membership(state: &StateDir) -> Result<Membership, String> {
    Membership::load(&state.membership())
        .map_err(|error| error.to_string())?
        .ok_or_else(|| "this node has left".to_owned())
}

fn store(state: &StateDir) -> Result<Client, String> {
    Client::connect_within(&state.store_socket(), PATIENCE).map_err(|error| error.to_string())
}

/// Carries one connection to the store, as long as its node is of the cluster.
async fn forward(
    state: &StateDir,
    membership: &Membership,
    mut node: Admitted,
    mut stream: TlsStream<TcpStream>,
) -> io::Result<()> {
    if membership.first.is_some() {
        return refuse(&mut stream, "the store is not here".into()).await;
    }
    match UnixStream::connect(state.store_socket()).await {
        Ok(store) => {
            say(&mut stream, &Answer::Granted).await?;
            let (mut asked, mut told) = tokio::io::split(stream);
            let (mut answered, mut asks) = store.into_split();
            let ended = {
                let mut answers = std::pin::pin!(copy(&mut answered, &mut told));
                tokio::select! {
                    ended = copy(&mut asked, &mut asks) => ended.map(drop),
                    ended = &mut answers => ended.map(drop),
                    () = node.left() => {
                        let _heard = tokio::time::timeout(LAST_WORD, answers).await;
                        Ok(())
                    }
                }
            };
            told.shutdown().await.and(ended)
        }
        Err(error) => refuse(&mut stream, format!("the store does not answer: {error}")).await,
    }
}

/// Lets a node in, or says why not.
fn admit(state: &StateDir, candidate: &Candidate) -> Answer {
    match try_admitting(state, candidate) {
        Ok(answer) => answer,
        Err((problem, hint)) => Answer::Refused { problem, hint },
    }
}

type Refused = (String, Option<String>);

fn try_admitting(state: &StateDir, candidate: &Candidate) -> Result<Answer, Refused> {
    let plain = |problem: String| (problem, None);
    let membership = membership(state).map_err(plain)?;
    let Some(founder) = &membership.founder else {
        let first = membership.first.map(|first| first.to_string()).unwrap_or_default();
        return Err(plain(format!("nodes are let in by the cluster's first node, at {first}")));
    };
    if !same(&founder.secret, &candidate.secret) {
        let hint = "`swarmlb node token` on the cluster's first node prints the one that holds";
        return Err(("the token does not hold (any more)".into(), Some(hint.into())));
    }
    let failed = |error: super::identity::IdentityError| plain(error.to_string());
    let authority = Authority::of(&membership.cluster, &founder.key).map_err(failed)?;
    let certificate = authority.sign(&candidate.node, &candidate.public_key).map_err(failed)?;
    let newcomer = Newcomer {
        name: candidate.node.clone(),
        id: crate::random::id(ID_LENGTH),
        address: candidate.address,
        port: candidate.port,
        certificate: fingerprint(&certificate).map_err(failed)?,
    };
    enter(state, &newcomer).map_err(|error| match error {
        Entering::Intent(error @ IntentError::DuplicateNode { .. }) => {
            let hint = rejoin_hint(&candidate.node);
            (error.to_string(), Some(hint))
        }
        Entering::Intent(error) => plain(error.to_string()),
        Entering::Store(problem) => plain(problem),
    })?;
    Ok(Answer::Joined {
        cluster: membership.cluster.clone(),
        certificate,
        authority: membership.authority.clone(),
        first: SocketAddrV4::new(membership.address, membership.port),
    })
}

fn rejoin_hint(node: &NodeName) -> String {
    format!("give another name with `--node`, or say `swarmlb node rm --force {node}` there first")
}

enum Entering {
    Intent(IntentError),
    Store(String),
}

impl From<RecordError> for Entering {
    fn from(error: RecordError) -> Self {
        Self::Store(error.to_string())
    }
}

/// Makes the node known; from now on its certificate lets it in.
fn enter(state: &StateDir, newcomer: &Newcomer) -> Result<(), Entering> {
    let store = store(state).map_err(Entering::Store)?;
    for _ in 0..ATTEMPTS {
        let loaded = records::load_intent(&store)?;
        let loaded = loaded.ok_or_else(|| Entering::Store("there is no cluster yet".into()))?;
        let mut intent = loaded.intent.clone();
        intent.admit_node(newcomer).map_err(Entering::Intent)?;
        let edit = records::commit_intent(&store, loaded.edited, Some(&loaded.intent), &intent)?;
        if matches!(edit, Edit::Done(_)) {
            return Ok(());
        }
    }
    Err(Entering::Store("others change the intent all the time".into()))
}

/// Whether an address is one of this machine's.
pub fn is_own(address: Ipv4Addr) -> bool {
    std::net::UdpSocket::bind((address, 0)).is_ok() && !address.is_unspecified()
}

/// What would be this machine's source address towards another.
pub fn address_towards(other: SocketAddrV4) -> io::Result<Ipv4Addr> {
    let socket = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    // Nothing is sent: this only looks a route up.
    socket.connect(other)?;
    match socket.local_addr()? {
        std::net::SocketAddr::V4(own) => Ok(*own.ip()),
        std::net::SocketAddr::V6(_) => Err(io::ErrorKind::AddrNotAvailable.into()),
    }
}
