//! `swarmlb node …`: making a cluster of several nodes, and coming into it.

mod change;
mod show;

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::time::{Duration, Instant};

use super::agent::end_keeper;
use super::session::{Session, must_be_root};
use super::{Report, system};
use crate::api::{self, ApiError, Membership, Token};
use crate::cli::Global;
use crate::cli::node::{Command, Init, Join, Listen, TokenSource};
use crate::clock;
use crate::failure::{Exit, Failure};
use crate::intent::{Availability, IntentError, Newcomer};
use crate::keeper::daemon;
use crate::kernel::route::RouteSocket;

/// How long a node that was let in may take to be there.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long one attempt to reach it may take.
const LOOK: Duration = Duration::from_secs(1);

pub fn run(global: &Global, command: Command) -> Result<Report, Failure> {
    match command {
        Command::Init(asked) => init(global, &asked),
        Command::Join(asked) => join(global, &asked),
        Command::Token { rotate } => token(global, rotate),
        Command::Leave { force } => leave(global, force),
        Command::Ls { filters } => show::ls(global, &filters),
        Command::Ps { names, list } => show::ps(global, &names, &list),
        Command::Inspect { pretty, names } => show::inspect(global, &names, pretty),
        Command::Drain { names } => change::availability(global, &names, Availability::Drain),
        Command::Activate { names } => change::availability(global, &names, Availability::Active),
        Command::Update(asked) => change::update(global, &asked),
        Command::Rm { force, names } => change::rm(global, &names, force),
    }
}

/// What this node keeps of its cluster; none for one that is alone.
///
/// # Errors
/// When it cannot be read.
pub fn membership(session: &Session, what: &str) -> Result<Option<Membership>, Failure> {
    Membership::load(&session.state.membership()).map_err(|error| Failure::io(what, &error))
}

fn init(global: &Global, asked: &Init) -> Result<Report, Failure> {
    let what = "make this node the first of a cluster";
    let session = Session::new(global, what)?;
    must_be_root(what)?;
    must_hold_store(&session, what)?;
    if let Some(membership) = membership(&session, what)? {
        let problem = format!("it is in a cluster already, at {}", membership.address);
        return Err(Failure::new(Exit::Usage, what, problem)
            .hint("`swarmlb node token` prints how others join"));
    }
    let address = own_address(&asked.listen, None, what)?;
    must_be_free(address, asked.listen.port, what)?;
    let store = session.store()?;
    let cluster = session.loaded_intent(&store)?.cluster.id;
    let failed = |error| Failure::api(what, &ApiError::Identity(error));
    let port = asked.listen.port;
    let founded = Membership::found(&cluster, &session.node, address, port).map_err(failed)?;
    let first = newcomer(&session, &founded, what)?;
    founded.save(&session.state.membership()).map_err(|error| Failure::io(what, &error))?;
    let edited = session.edit(&store, |intent| intent.found_cluster(&first, asked.data_path_port));
    if let Err(failure) = edited {
        let _undone = std::fs::remove_file(session.state.membership());
        return Err(failure);
    }
    // Only a keeper that finds the membership listens to others.
    end_keeper(&session)?;
    await_node(&session, what)?;
    await_listener(&session, &founded, what)?;
    let token = founded.token().map_err(failed)?;
    let command = token.map(|token| command(&token, &founded)).unwrap_or_default();
    Ok(match global.quiet {
        true => Report::good(command + "\n"),
        false => Report::good(format!(
            "Node {} is the first of cluster {cluster}. On each other node, type:\n\n    {command}\n",
            session.node
        )),
    })
}

/// Nodes whose store is elsewhere need not join each other.
fn must_hold_store(session: &Session, what: &str) -> Result<(), Failure> {
    if session.location.is_embedded() {
        return Ok(());
    }
    let problem = format!("this node's store is {}", session.location.address());
    Err(Failure::new(Exit::Usage, what, problem)
        .hint("nodes that share a store are of one cluster already"))
}

fn newcomer(session: &Session, membership: &Membership, what: &str) -> Result<Newcomer, Failure> {
    let certificate = api::fingerprint(&membership.certificate)
        .map_err(|error| Failure::api(what, &ApiError::Identity(error)))?;
    Ok(Newcomer {
        name: session.node.clone(),
        // It has one already.
        id: String::new(),
        address: membership.address,
        port: membership.port,
        certificate,
    })
}

fn command(token: &Token, membership: &Membership) -> String {
    let port = match membership.port {
        api::API_PORT => String::new(),
        port => format!(":{port}"),
    };
    format!("swarmlb node join --token {token} {}{port}", membership.address)
}

/// Where others shall reach this node.
fn own_address(
    listen: &Listen,
    towards: Option<SocketAddrV4>,
    what: &str,
) -> Result<Ipv4Addr, Failure> {
    if let Some(address) = listen.advertise_addr {
        return match api::is_own(address) && !address.is_loopback() {
            true => Ok(address),
            false => Err(Failure::new(
                Exit::Usage,
                what,
                format!("{address} is no address of this machine"),
            )
            .hint("see `ip -4 address`; loopback's cannot be reached by others")),
        };
    }
    if let Some(towards) = towards {
        return api::address_towards(towards).map_err(|error| {
            Failure::new(
                Exit::Cannot,
                what,
                format!("there is no route to {}: {error}", towards.ip()),
            )
        });
    }
    let mut socket = RouteSocket::open_here().map_err(|error| Failure::io(what, &error))?;
    let failed = |refusal| Failure::kernel(what, &refusal);
    let links = socket.links().map_err(failed)?;
    let ours = |link: &str| link.starts_with("swlb");
    let addresses = socket.addresses(&links).map_err(failed)?;
    let mut found: Vec<Ipv4Addr> = addresses
        .iter()
        .filter(|held| held.link.as_str() != "lo" && !ours(held.link.as_str()))
        .map(|held| held.net.addr())
        .collect();
    match (found.pop(), found.as_slice()) {
        (Some(only), []) => Ok(only),
        (None, _) => {
            Err(Failure::new(Exit::Cannot, what, "this machine has no address that others reach"))
        }
        (Some(last), others) => {
            let all: Vec<String> = others.iter().chain([&last]).map(Ipv4Addr::to_string).collect();
            Err(Failure::new(Exit::Usage, what, "this machine has several addresses")
                .fact("addresses:", all.join(", "))
                .hint("say with `--advertise-addr` where the other nodes reach it"))
        }
    }
}

/// Sees whether the port can be listened on, before anything is changed.
fn must_be_free(address: Ipv4Addr, port: u16, what: &str) -> Result<(), Failure> {
    match std::net::TcpListener::bind((address, port)) {
        Ok(_) => Ok(()),
        Err(error) => Err(Failure::new(
            Exit::Usage,
            what,
            format!("{address}:{port} cannot be listened on: {error}"),
        )
        .hint("give another `--port`")),
    }
}

fn join(global: &Global, asked: &Join) -> Result<Report, Failure> {
    let what = "join a cluster";
    let session = Session::new(global, what)?;
    must_be_root(what)?;
    must_hold_store(&session, what)?;
    if let Some(membership) = membership(&session, what)? {
        let problem = format!("this node is in cluster {} already", membership.cluster);
        return Err(Failure::new(Exit::Usage, what, problem).hint("see `swarmlb node leave`"));
    }
    let is_fresh = session.is_fresh();
    if !is_fresh {
        let intent = session.intent()?;
        if !(intent.networks.is_empty() && intent.services.is_empty()) {
            return Err(Failure::new(
                Exit::Usage,
                what,
                "this node has networks or services of its own",
            )
            .hint("`swarmlb system reset` removes them"));
        }
    }
    let address = own_address(&asked.listen, Some(asked.remote), what)?;
    must_be_free(address, asked.listen.port, what)?;
    let token = told_token(&asked.token, what)?;
    let joined = api::join(asked.remote, &token, &session.node, address, asked.listen.port)
        .map_err(|error| Failure::api(what, &error))?;
    if !is_fresh {
        // What it made for itself is of another cluster.
        system::clear(global, &session, what)?;
    }
    let failed = |error: std::io::Error| Failure::state(&session.state, &error);
    session.state.create().map_err(failed)?;
    std::fs::write(session.state.node_name(), format!("{}\n", session.node)).map_err(failed)?;
    joined.save(&session.state.membership()).map_err(failed)?;
    await_node(&session, what)?;
    let text = format!("Node {} has joined cluster {}.\n", session.node, joined.cluster);
    Ok(Report::good(if global.quiet { String::new() } else { text }))
}

fn told_token(source: &TokenSource, what: &str) -> Result<Token, Failure> {
    match source {
        TokenSource::Typed(token) => Ok(token.clone()),
        TokenSource::StandardInput => {
            let mut line = String::new();
            std::io::stdin().read_line(&mut line).map_err(|error| Failure::io(what, &error))?;
            line.parse().map_err(|error| Failure::new(Exit::Usage, what, error))
        }
    }
}

/// Starts the keeper, and waits until this node's agent reports.
fn await_node(session: &Session, what: &str) -> Result<(), Failure> {
    let deadline = Instant::now() + PATIENCE;
    daemon::ensure(&session.state, session.arguments(), &session.location)
        .map_err(|error| Failure::keeper(what, &session.state, &error))?;
    loop {
        let reported = session.statuses().map(|statuses| statuses.contains_key(&session.node));
        match reported {
            Ok(true) => return Ok(()),
            _ if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(5)),
            Err(failure) => return Err(failure),
            Ok(false) => {
                let problem = format!("the agent of node `{}` does not come up", session.node);
                let log = session.state.log("agent").display().to_string();
                return Err(Failure::new(Exit::Cannot, what, problem).hint(format!("see {log}")));
            }
        }
    }
}

/// Waits until this node lets others in.
fn await_listener(session: &Session, membership: &Membership, what: &str) -> Result<(), Failure> {
    let deadline = Instant::now() + PATIENCE;
    let at = SocketAddr::from((membership.address, membership.port));
    while let Err(error) = TcpStream::connect_timeout(&at, LOOK) {
        if Instant::now() > deadline {
            let problem = format!("nobody listens for other nodes at {at}: {error}");
            let log = session.state.log("api").display().to_string();
            return Err(Failure::new(Exit::Cannot, what, problem).hint(format!("see {log}")));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

fn token(global: &Global, rotate: bool) -> Result<Report, Failure> {
    let what = "print how nodes join";
    let session = Session::new(global, what)?;
    must_be_root(what)?;
    let alone = || {
        Failure::new(Exit::Usage, what, "this node is in no cluster of several")
            .hint("`swarmlb node init` makes it the first of one")
    };
    let mut membership = membership(&session, what)?.ok_or_else(alone)?;
    if rotate {
        membership.rotate_secret();
        membership
            .save(&session.state.membership())
            .map_err(|error| Failure::state(&session.state, &error))?;
    }
    let token =
        membership.token().map_err(|error| Failure::api(what, &ApiError::Identity(error)))?;
    let Some(token) = token else {
        let first = membership.first.map(|first| first.to_string()).unwrap_or_default();
        let problem = format!("nodes are let in by the cluster's first node, at {first}");
        return Err(Failure::new(Exit::Usage, what, problem).hint("type it there"));
    };
    Ok(Report::good(match global.quiet {
        true => format!("{token}\n"),
        false => command(&token, &membership) + "\n",
    }))
}

fn leave(global: &Global, force: bool) -> Result<Report, Failure> {
    let what = "leave the cluster";
    let session = Session::new(global, what)?;
    must_be_root(what)?;
    let Some(membership) = membership(&session, what)? else {
        return Err(Failure::new(Exit::Usage, what, "this node is in no cluster of several"));
    };
    let known = session.intent();
    if membership.first.is_none() {
        let others: Vec<String> = known?
            .nodes
            .keys()
            .filter(|node| **node != session.node)
            .map(ToString::to_string)
            .collect();
        if !others.is_empty() {
            return Err(Failure::new(
                Exit::Usage,
                what,
                "the store is on this node, and others need it",
            )
            .fact("nodes:", others.join(", "))
            .hint("let them leave first; `swarmlb system reset` on this node ends the cluster"));
        }
        return alone_again(&session, what);
    }
    let gone = match known {
        Ok(_) => depart(&session, force, what),
        Err(failure) => Err(failure),
    };
    if let Err(failure) = gone
        && !force
    {
        return Err(failure.hint("`--force` leaves at once, whatever the others know of it"));
    }
    system::dismantle(&session, &membership.cluster, what)?;
    Ok(Report::good(""))
}

/// Back to a cluster of one node, which nobody can join.
fn alone_again(session: &Session, what: &str) -> Result<Report, Failure> {
    let store = session.store()?;
    session.edit(&store, |intent| -> Result<(), IntentError> {
        intent.forget_cluster(&session.node);
        Ok(())
    })?;
    std::fs::remove_file(session.state.membership())
        .map_err(|error| Failure::state(&session.state, &error))?;
    end_keeper(session)?;
    await_node(session, what)?;
    Ok(Report::good(""))
}

/// Leaves the intent; its tasks first, unless forced.
fn depart(session: &Session, force: bool, what: &str) -> Result<(), Failure> {
    let store = session.store()?;
    if !force {
        session.edit(&store, |intent| intent.drain_node(&session.node, clock::millis()))?;
        let deadline = Instant::now() + Duration::from_secs(600);
        loop {
            let intent = session.loaded_intent(&store)?;
            let left = intent.tasks.values().filter(|task| task.node == session.node).count();
            if left == 0 {
                break;
            }
            if Instant::now() > deadline {
                let problem = format!("{left} of its tasks do not find another node");
                return Err(Failure::new(Exit::Bad, what, problem));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    session.edit(&store, |intent| intent.dismiss_node(&session.node, clock::millis()))?;
    Ok(())
}
