//! `swarmlb network connect` and `disconnect`: finding the namespace that is meant, and looking at
//! whether it can be let onto a network.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;

use super::Report;
use super::change::{Change, Reach};
use super::session::{Session, must_be_root};
use crate::cli::Global;
use crate::cli::network::Connect;
use crate::failure::{Exit, Failure};
use crate::intent::{AttachmentSpec, Intent, IntentError, Namespace, NetworkName, name};
use crate::kernel::netns;
use crate::kernel::route::{RouteSocket, Seen};
use crate::node::LinkKind;
use crate::node::object::ENDPOINT;

pub fn connect(global: &Global, connect: Connect) -> Result<Report, Failure> {
    let target = connect.target;
    let what = format!("connect `{}` to network `{}`", target.escape_debug(), connect.name);
    let session = Session::new(global, what.as_str())?;
    must_be_root(&what)?;
    // A mistyped network is told before a namespace is looked at.
    let intent = session.intent()?;
    intent.network(&connect.name).map_err(|error| Failure::intent(what.as_str(), &error))?;
    let (file, path) = find(&target, &what)?;
    let failed = |error: std::io::Error| Failure::io(what.as_str(), &error);
    let link = look(&intent, &file, &path, &what)?;
    let identity = netns::identity(&file).map_err(failed)?;
    let path = known_path(&intent, identity).unwrap_or(path);
    let spec = AttachmentSpec {
        network: connect.name,
        node: session.node.clone(),
        link,
        namespace: Namespace { target, path, identity },
        address: connect.ip,
        aliases: connect.aliases.into_iter().collect(),
    };
    let edit = |intent: &mut Intent| intent.connect(spec.clone());
    let reach = Reach::of(connect.dry_run.dry_run, false);
    Change { global, session: &session, what: &what, services: &[], reach }
        .make(String::new(), edit)
}

pub fn disconnect(
    global: &Global,
    name: &NetworkName,
    target: &str,
    dry_run: bool,
) -> Result<Report, Failure> {
    let what = format!("disconnect `{}` from network `{name}`", target.escape_debug());
    let session = Session::new(global, what.as_str())?;
    must_be_root(&what)?;
    // It may be gone, and is then known by what it was called.
    let identity = find(target, &what).ok().and_then(|(file, _)| netns::identity(&file).ok());
    let edit = |intent: &mut Intent| -> Result<(), IntentError> {
        match intent.disconnect(name, target, identity) {
            Err(IntentError::NotConnected { .. }) => intent.disconnect(name, target, None),
            done => done,
        }
    };
    let reach = Reach::of(dry_run, false);
    Change { global, session: &session, what: &what, services: &[], reach }
        .make(String::new(), edit)
}

/// The namespace that is meant: a name below /run/netns, a path, or a process's number.
fn find(target: &str, what: &str) -> Result<(File, String), Failure> {
    let named = netns::path(target);
    let is_number = !target.is_empty() && target.bytes().all(|byte| byte.is_ascii_digit());
    let path = match target.contains('/') {
        true => std::fs::canonicalize(target)
            .map_err(|error| Failure::new(Exit::Usage, what, format!("{target}: {error}")))?,
        false if is_number && !named.exists() => format!("/proc/{target}/ns/net").into(),
        false => named,
    };
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(_) if is_number => {
            return Err(Failure::new(Exit::Usage, what, format!("there is no process {target}")));
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let failure = Failure::new(Exit::Usage, what, "there is no such namespace");
            let names = netns::names().unwrap_or_default();
            return Err(match name::nearest(target, names.iter().map(String::as_str)) {
                Some(meant) => failure.hint(format!("did you mean `{meant}`?")),
                None => failure.hint("see `ip netns`"),
            });
        }
        Err(error) => return Err(Failure::io(what, &error)),
    };
    let is_namespace = netns::within(file.as_fd(), || ()).is_ok();
    match path.to_str() {
        Some(path) if is_namespace => Ok((file, path.to_owned())),
        _ => {
            let problem = format!("{} is no network namespace", path.display());
            Err(Failure::new(Exit::Usage, what, problem))
        }
    }
}

/// The path by which a namespace is on another network already, or is named: one namespace is one
/// sandbox, however it is called, and a name lasts longer than a process.
fn known_path(intent: &Intent, identity: u64) -> Option<String> {
    let is_it = |path: &str| {
        File::open(path)
            .and_then(|file| netns::identity(&file))
            .is_ok_and(|found| found == identity)
    };
    let attached = intent.attachments.values().filter(|held| held.namespace.identity == identity);
    let attached = attached.map(|held| held.namespace.path.clone());
    let named = netns::names().unwrap_or_default().into_iter();
    let named = named.filter_map(|name| Some(netns::path(&name).to_str()?.to_owned()));
    attached.chain(named).find(|path| is_it(path))
}

/// `ip` in a namespace, as one types it.
fn ip(path: &str) -> String {
    match Path::new(path).strip_prefix(netns::DIRECTORY) {
        Ok(name) => format!("ip -n {}", name.display()),
        Err(_) => format!("nsenter --net={path} ip"),
    }
}

/// Looks whether a namespace can be let onto a network; the name of a link that is free in it.
fn look(intent: &Intent, file: &File, path: &str, what: &str) -> Result<String, Failure> {
    let refused = |problem: &str| Err(Failure::new(Exit::Usage, what, problem));
    let failed = |refusal| Failure::kernel(what, &refusal);
    let identity = |file: std::io::Result<File>| file.and_then(|f| netns::identity(&f)).ok();
    if identity(file.try_clone()) == identity(netns::node()) {
        return refused("it is the node's own namespace, which reaches every task already");
    }
    let mut route = RouteSocket::open(file.as_fd()).map_err(|error| Failure::io(what, &error))?;
    let links = route.links().map_err(failed)?;
    let is_loopback = |link: &&Seen| link.link.kind == LinkKind::Loopback;
    let loopback = links.iter().find(is_loopback);
    let alias = loopback.and_then(|lo| lo.alias.as_deref()).unwrap_or_default();
    if alias.starts_with("swarmlb:") {
        return refused("it is a sandbox of swarmlb's own");
    }
    if !loopback.is_some_and(|lo| lo.link.up) {
        return Err(Failure::new(Exit::Usage, what, "its loopback is down, and VIPs need it")
            .hint(format!("say `{} link set lo up`", ip(path))));
    }
    // Those of its other networks may not be made yet.
    let identity = identity(file.try_clone());
    let promised =
        intent.attachments.values().filter(|held| Some(held.namespace.identity) == identity);
    let taken: Vec<&str> = links
        .iter()
        .map(|link| link.name.as_str())
        .chain(promised.map(|held| held.link.as_str()))
        .collect();
    let free = (0u32..).map(|number| format!("{ENDPOINT}{number}"));
    let mut free = free.filter(|name| !taken.contains(&name.as_str()));
    Ok(free.next().unwrap_or_default())
}
