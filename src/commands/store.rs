//! Which store a command works on: what it is told, and what the node was first started with.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cli::StoreOptions;
use crate::failure::{Exit, Failure};
use crate::state_dir::StateDir;
use crate::store::location::{Address, ClientCertificate, EtcdLocation, Tls};
use crate::store::{Handle, Location, Patience, StoreError};

const WHAT: &str = "choose the store";

/// What is typed, or else what is remembered.
///
/// # Errors
/// When they contradict each other, or what is typed is of no use.
pub fn choose(typed: &StoreOptions, state: &StateDir) -> Result<Location, Failure> {
    let held = remembered(state)?;
    let has_tls =
        typed.store_cacert.is_some() || typed.store_cert.is_some() || typed.store_key.is_some();
    let address = match (&typed.store, &held) {
        (Some(asked), Some(held)) if *asked != held.address() => {
            let problem = format!(
                "the node of {} has its store at {}",
                state.root().display(),
                held.address()
            );
            return Err(Failure::new(Exit::Usage, format!("use the store {asked}"), problem)
                .hint("leave out `--store`, or give another `--state-dir`"));
        }
        (Some(asked), _) => asked.clone(),
        (None, Some(held)) => held.address(),
        (None, None) => Address::Embedded,
    };
    match (address, held) {
        (Address::Embedded, _) if has_tls => {
            Err(Failure::new(Exit::Usage, WHAT, "TLS is for etcd, and the store is embedded")
                .hint("say where etcd is, with `--store etcd://HOST:PORT`"))
        }
        (Address::Embedded, _) => Ok(Location::Embedded),
        (Address::Etcd(_), Some(held)) if !has_tls => Ok(held),
        (Address::Etcd(address), _) => {
            Ok(Location::Etcd(EtcdLocation { address, tls: tls(typed)? }))
        }
    }
}

fn tls(typed: &StoreOptions) -> Result<Option<Tls>, Failure> {
    let absolute = |path: &Option<PathBuf>| -> Result<Option<PathBuf>, Failure> {
        let absolute = path.as_deref().map(std::path::absolute).transpose();
        absolute.map_err(|error| Failure::io(WHAT, &error))
    };
    let usage = |problem| Err(Failure::new(Exit::Usage, WHAT, problem));
    let client = match (absolute(&typed.store_cert)?, absolute(&typed.store_key)?) {
        (Some(cert), Some(key)) => Some(ClientCertificate { cert, key }),
        (None, None) => None,
        (Some(_), None) => return usage("`--store-cert` needs its key, `--store-key`"),
        (None, Some(_)) => return usage("`--store-key` needs its certificate, `--store-cert`"),
    };
    match (absolute(&typed.store_cacert)?, client) {
        (Some(cacert), client) => Ok(Some(Tls { cacert, client })),
        (None, None) => Ok(None),
        (None, Some(_)) => {
            usage("`--store-cert` needs the authority of etcd's own, `--store-cacert`")
        }
    }
}

/// With what this state directory was first used; none when it was not.
fn remembered(state: &StateDir) -> Result<Option<Location>, Failure> {
    let path = state.store_location();
    match std::fs::read(&path) {
        Ok(text) => serde_json::from_slice(&text)
            .map(Some)
            .map_err(|error| Failure::new(Exit::Usage, format!("read {}", path.display()), error)),
        // What may not be looked at is root's, who will be asked for.
        Err(_) => Ok(state.database().exists().then_some(Location::Embedded)),
    }
}

/// Remembers a store that is elsewhere, for later commands.
///
/// # Errors
/// What the file system answered.
pub fn remember(location: &Location, state: &StateDir) -> io::Result<()> {
    let path = state.store_location();
    if location.is_embedded() {
        return Ok(());
    }
    let text = serde_json::to_vec(location)?;
    if std::fs::read(&path).is_ok_and(|held| held == text) {
        return Ok(());
    }
    let unfinished = path.with_extension("json.new");
    std::fs::write(&unfinished, text)?;
    std::fs::rename(&unfinished, Path::new(&path))
}

/// Connects to the store that `location` says, waiting `first` for its first answer.
///
/// # Errors
/// What keeps it from answering.
pub fn connect(
    location: &Location,
    state: &StateDir,
    first: Duration,
) -> Result<Handle, StoreError> {
    crate::store::open(location, &state.store_socket(), Patience { first, later: None })
}
