//! How an agent comes into its cluster: by the store, or, where that is out of reach, by what it last knew.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use super::address;
use super::associations::{self, Associations};
use super::last_known::LastKnown;
use super::lease::Lease;
use super::reconcile::{can_encrypt, way_out};
use super::status::NodeStatus;
use crate::clock;
use crate::intent::{ClusterId, Intent, NodeName, NodeRecord};
use crate::keeper::journal::say;
use crate::kernel::ipvs::{self, Ipvs};
use crate::kernel::underlay;
use crate::state_dir::StateDir;
use crate::store::records::{self, Edit, Loaded};
use crate::store::{self, Handle, Later, Location, Patience, Revision, Store, StoreError};

/// How long to wait for the store at the start.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a store that is elsewhere may take later: what else there is to do waits meanwhile.
const LATER: Duration = Duration::from_secs(2);

/// How an agent comes to what was asked for.
pub(super) struct Entry<'a> {
    pub(super) state: &'a StateDir,
    pub(super) name: &'a NodeName,
    pub(super) location: &'a Location,
    pub(super) associations: &'a Associations,
}

/// What an agent begins with.
pub(super) struct Begun {
    pub(super) store: Handle,
    pub(super) lease: Lease,
    pub(super) loaded: Loaded,
    /// Whether the store knows this node and what its kernel can. If not, it could not be reached.
    pub(super) is_known: bool,
}

impl Entry<'_> {
    /// From the store, or from the copy where the store is out of reach.
    pub(super) fn begin(&self, copy: Option<&LastKnown>) -> io::Result<Begun> {
        let kept = copy.and_then(LastKnown::load);
        // Who can go on without it does not make tasks wait for names.
        let patience = if kept.is_some() { LATER } else { PATIENCE };
        let (error, kept) = match (self.begin_with_store(patience), kept) {
            (Err(error), Some(kept)) if is_away(&error) => (error, kept),
            (begun, _) => return begun,
        };
        let revision = kept.revision;
        say(format!("{error}; going on from what was asked for at revision {revision}"));
        let socket = self.state.store_socket();
        let store = Arc::new(Later::new(self.location.clone(), socket, LATER));
        Ok(Begun { store, lease: Lease::none(), loaded: kept, is_known: false })
    }

    fn begin_with_store(&self, first: Duration) -> io::Result<Begun> {
        let patience = Patience { first, later: Some(LATER) };
        let store = store::open(self.location, &self.state.store_socket(), patience)
            .map_err(io::Error::other)?;
        let lease = Lease::take(&*store).map_err(io::Error::other)?;
        let address = address::towards(self.location);
        let loaded = enter(&*store, self.name, &lease, address, self.associations)?;
        Ok(Begun { store, lease, loaded, is_known: true })
    }
}

/// Whether the store could not be reached, and nothing else is wrong.
fn is_away(error: &io::Error) -> bool {
    let inner = error.get_ref();
    let store = inner.and_then(|inner| inner.downcast_ref::<StoreError>());
    let record = inner.and_then(|inner| inner.downcast_ref::<records::RecordError>());
    let of_record = match record {
        Some(records::RecordError::Store(error)) => Some(error),
        _ => None,
    };
    let away = |error: &StoreError| {
        matches!(error, StoreError::Unreachable { .. } | StoreError::Uncertain { .. })
    };
    store.or(of_record).is_some_and(away)
}

/// Comes into the cluster: reports, and makes the node known.
pub(super) fn enter(
    store: &dyn Store,
    name: &NodeName,
    lease: &Lease,
    address: Option<Ipv4Addr>,
    associations: &Associations,
) -> io::Result<Loaded> {
    greet(store, name, lease).map_err(io::Error::other)?;
    register(store, name, address, associations)
}

/// Reports that this node is there, before it says so in the intent: who leads believes the reports.
fn greet(store: &dyn Store, name: &NodeName, lease: &Lease) -> Result<(), records::RecordError> {
    if records::load_reports(store)?.nodes.contains(name) {
        return Ok(());
    }
    let status = NodeStatus { agent: std::process::id() as i32, ..NodeStatus::default() };
    records::save_status(store, name, lease.id()?, &status)
}

/// Makes this node known, and the cluster when it is the first.
fn register(
    store: &dyn Store,
    name: &NodeName,
    address: Option<Ipv4Addr>,
    associations: &Associations,
) -> io::Result<Loaded> {
    let found = Ipvs::open_here().map(|ipvs| ipvs.is_some());
    let schedulers = ipvs::schedulers();
    let machine = way_out();
    let esp = can_encrypt();
    let (key, nonce) = (associations.keyring.public_key(), associations::nonce()?);
    loop {
        let loaded = records::load_intent(store).map_err(io::Error::other)?;
        let known = loaded.as_ref().and_then(|loaded| loaded.intent.nodes.get(name));
        // What cannot be told this time is as it was: it decides what balances every VIP.
        let has_ipvs = found.clone().unwrap_or(known.is_some_and(|record| record.ipvs));
        let mut intent = match &loaded {
            Some(loaded) => loaded.intent.clone(),
            None => Intent::new(ClusterId(crate::random::id(8))),
        };
        let record = NodeRecord::new(name.clone(), has_ipvs);
        let record = intent.nodes.entry(name.clone()).or_insert(record);
        record.ipvs = has_ipvs;
        record.schedulers = schedulers.clone().filter(|_| has_ipvs);
        if record.id.is_empty() {
            record.id = crate::random::id(25);
        }
        record.address = record.address.or(address);
        settle_underlay(&mut intent, name);
        intent.settle_egress(name, machine.as_ref().map_err(Clone::clone));
        intent.settle_encryption(name, esp.clone(), key, nonce, clock::millis());
        // What its kernel can may have changed, and it is here.
        intent.node_is_up(name, crate::clock::millis());
        intent.evacuate(crate::clock::millis());
        let edit = match &loaded {
            Some(loaded) if loaded.intent == intent => return Ok(loaded.clone()),
            Some(loaded) => {
                records::commit_intent(store, loaded.edited, Some(&loaded.intent), &intent)
            }
            None => records::commit_intent(store, Revision::NEVER, None, &intent),
        };
        let edit = edit.map_err(io::Error::other)?;
        if edit == Edit::Overtaken {
            continue;
        }
    }
}

/// Notes what this node's links carry to the others. What cannot be told this time is as it was.
fn settle_underlay(intent: &mut Intent, name: &NodeName) {
    let others = intent.nodes.values().filter(|record| record.name != *name);
    let peers: Vec<_> = others.filter_map(|record| record.address).collect();
    let Some(record) = intent.nodes.get_mut(name) else { return };
    match record.address.map(|own| underlay::mtu(own, &peers)) {
        None => record.underlay_mtu = None,
        Some(Ok(mtu)) => record.underlay_mtu = mtu,
        Some(Err(refusal)) => say(format!("cannot read the routes to other nodes: {refusal}")),
    }
}
