//! `swarmlb network rotate-keys`: begins new keys and waits until the old ones are gone everywhere.

use std::time::{Duration, Instant};

use super::Report;
use super::change::{Change, Reach};
use super::interrupt;
use super::narration::tell;
use super::session::Session;
use crate::agent::associations::nonce;
use crate::cli::Global;
use crate::clock;
use crate::failure::{Exit, Failure};
use crate::intent::{Intent, Life, NetworkName, NodeName};
use crate::store::Store;
use crate::store::records::{self, INTENT};

/// A rotation that makes no step for so long is not waited for.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often a wait looks up, for Ctrl-C.
const ATTENTION: Duration = Duration::from_millis(200);

pub fn run(global: &Global, name: &NetworkName, dry_run: bool) -> Result<Report, Failure> {
    let what = format!("rotate the keys of network `{name}`");
    let session = Session::new(global, what.as_str())?;
    let seed = nonce().map_err(|error| Failure::io(what.as_str(), &error))?;
    let now = clock::millis();
    let edit = |intent: &mut Intent| intent.rotate_keys(name, seed, now);
    let reach = Reach::of(dry_run, false);
    let change = Change { global, session: &session, what: &what, services: &[], reach };
    let report = change.make(format!("{name}\n"), edit)?;
    if reach == Reach::Converged && !interrupt::was_pressed() {
        follow(&session, &what, name)?;
    }
    Ok(report)
}

/// Waits until no node of the network turns its keys over any more.
fn follow(session: &Session, what: &str, name: &NetworkName) -> Result<(), Failure> {
    let store = session.store()?;
    let failed = |error: records::RecordError| Failure::record(what, &error);
    let (mut seen, mut since) = (None, Instant::now());
    loop {
        let Some(loaded) = records::load_intent(&store).map_err(failed)? else { return Ok(()) };
        let turning = turning(&loaded.intent, name);
        if turning.is_empty() {
            return Ok(());
        }
        if interrupt::was_pressed() {
            tell("Not waiting any longer: it goes on in the background.");
            return Ok(());
        }
        if seen.as_ref() != Some(&turning) {
            (seen, since) = (Some(turning), Instant::now());
        } else if since.elapsed() > PATIENCE {
            let problem =
                "a node does not come along; the old keys stay in use beside the new ones";
            return Err(Failure::new(Exit::Bad, what, problem).hint("see `swarmlb agent status`"));
        }
        let mut watch =
            store.watch(INTENT, loaded.revision).map_err(|error| failed(error.into()))?;
        // Whatever it is, the intent is read anew.
        let _ = watch.next(ATTENTION);
    }
}

/// The nodes of a network that turn their keys over, and the lives that they have.
fn turning(intent: &Intent, name: &NetworkName) -> Vec<(NodeName, Vec<Life>)> {
    let nodes = intent.nodes_on(name).into_iter();
    let turning = nodes.filter_map(|node| {
        let held = &intent.nodes.get(&node)?.encryption;
        held.is_turning().then(|| (node, held.held().collect()))
    });
    turning.collect()
}
