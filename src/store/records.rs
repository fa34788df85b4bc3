//! The intent and the status of nodes, as objects of the store.

use std::collections::{BTreeMap, BTreeSet};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{Commit, LeaseId, Object, Revision, Store, StoreError, Transaction};
use crate::intent::{Attachment, Cluster, Intent, NodeName, NodeRecord};
use crate::killpoint;

/// Everything that was asked for stands below this.
pub const INTENT: &str = "intent/";
/// Everything that nodes report stands below this.
pub const STATUS: &str = "status/";
/// The nodes among it.
pub const NODES: &str = "intent/node/";
const CLUSTER: &str = "intent/cluster";
/// Who decides for all. It stands among what nodes report, so that one watch tells of both; no node
/// can have such a name.
const LEADER: &str = "status/@leader";

/// Why the intent was not read or written.
#[derive(Debug, Error)]
pub enum RecordError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("object `{key}` of the store cannot be read: {source}")]
    Unreadable { key: String, source: serde_json::Error },
}

/// The intent as it was at a revision.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The revision of the whole store.
    pub revision: Revision,
    /// The revision of the last edit: what a commit must still find.
    pub edited: Revision,
    pub intent: Intent,
}

/// Reads the intent; none when there is no cluster yet.
///
/// # Errors
/// When the store cannot be reached or holds what cannot be read.
pub fn load_intent(store: &dyn Store) -> Result<Option<Loaded>, RecordError> {
    let snapshot = store.load(INTENT)?;
    let Some(object) = snapshot.objects.iter().find(|object| object.key == CLUSTER) else {
        return Ok(None);
    };
    let cluster: Cluster = parse(object)?;
    let mut intent = Intent::new(cluster.id.clone());
    intent.cluster = cluster;
    for object in &snapshot.objects {
        let Some((kind, _)) = object.key.strip_prefix(INTENT).and_then(|key| key.split_once('/'))
        else {
            continue;
        };
        match kind {
            "node" => insert(&mut intent.nodes, object, |node| node.name.clone())?,
            "network" => insert(&mut intent.networks, object, |network| network.name.clone())?,
            "service" => insert(&mut intent.services, object, |service| service.name.clone())?,
            "attachment" => insert(&mut intent.attachments, object, |held: &Attachment| {
                format!("{}/{}", held.endpoint.network, held.namespace.identity)
            })?,
            "task" => insert(&mut intent.tasks, object, |task| task.name.clone())?,
            _ => {}
        }
    }
    let edited = object.modified;
    Ok(Some(Loaded { revision: snapshot.revision, edited, intent }))
}

/// What came of committing an edit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edit {
    Done(Revision),
    /// Somebody else edited in between: load and edit again.
    Overtaken,
}

/// Writes what differs between two intents, unless somebody edited since `edited`.
///
/// # Errors
/// When the store cannot be reached.
pub fn commit_intent(
    store: &dyn Store,
    edited: Revision,
    before: Option<&Intent>,
    after: &Intent,
) -> Result<Edit, RecordError> {
    let transaction = difference(before, after)?.require(CLUSTER, edited);
    Ok(match committed(store, &transaction)? {
        Commit::Done(revision) => Edit::Done(revision),
        Commit::Conflict { .. } => Edit::Overtaken,
    })
}

/// The same for the leader; none when another one leads by now, and nothing was done.
///
/// # Errors
/// When the store cannot be reached.
pub fn commit_as_leader(
    store: &dyn Store,
    leadership: &Leadership,
    before: &Loaded,
    after: &Intent,
) -> Result<Option<Edit>, RecordError> {
    let transaction = difference(Some(&before.intent), after)?
        .require(LEADER, leadership.taken)
        .require(CLUSTER, before.edited);
    Ok(match committed(store, &transaction)? {
        Commit::Done(revision) => Some(Edit::Done(revision)),
        Commit::Conflict { key, .. } if key == LEADER => None,
        Commit::Conflict { .. } => Some(Edit::Overtaken),
    })
}

fn committed(store: &dyn Store, transaction: &Transaction) -> Result<Commit, RecordError> {
    killpoint::pass(|| "before the intent is committed".into());
    let committed = store.commit(transaction)?;
    killpoint::pass(|| "after the intent was committed".into());
    Ok(committed)
}

fn difference(before: Option<&Intent>, after: &Intent) -> Result<Transaction, RecordError> {
    let held = before.map(objects).transpose()?.unwrap_or_default();
    let wanted = objects(after)?;
    let mut transaction = Transaction::new();
    for (key, value) in &wanted {
        // The cluster's object is written each time: its revision stands for all of the intent.
        if key == CLUSTER || held.get(key) != Some(value) {
            transaction = transaction.put(key.clone(), value.clone());
        }
    }
    for key in held.keys().filter(|key| !wanted.contains_key(*key)) {
        transaction = transaction.delete(key.clone());
    }
    Ok(transaction)
}

/// How often an edit is tried to be taken back while others edit.
const ATTEMPTS: u32 = 20;

/// Takes an edit back: what it changed from `before` to `after` is changed back. None when somebody
/// changed one of these objects since: then nothing is done.
///
/// # Errors
/// When the store cannot be reached.
pub fn take_back(
    store: &dyn Store,
    before: &Intent,
    after: &Intent,
) -> Result<Option<Revision>, RecordError> {
    for _ in 0..ATTEMPTS {
        let Some(loaded) = load_intent(store)? else { return Ok(None) };
        let Some(intent) = loaded.intent.without(before, after) else { return Ok(None) };
        let edit = commit_intent(store, loaded.edited, Some(&loaded.intent), &intent)?;
        if let Edit::Done(revision) = edit {
            return Ok(Some(revision));
        }
    }
    Ok(None)
}

/// Takes a node that has nothing left to do out of the intent; with the last one everything goes.
///
/// # Errors
/// When the store cannot be reached.
pub fn forget_node(store: &dyn Store, node: &NodeName) -> Result<(), RecordError> {
    for _ in 0..ATTEMPTS {
        let Some(loaded) = load_intent(store)? else { return Ok(()) };
        let mut left = loaded.intent.clone();
        left.nodes.remove(node);
        let edit = match left.nodes.is_empty() {
            true => erase(store, &loaded)?,
            false => commit_intent(store, loaded.edited, Some(&loaded.intent), &left)?,
        };
        if let Edit::Done(_) = edit {
            return Ok(());
        }
    }
    Ok(())
}

fn erase(store: &dyn Store, loaded: &Loaded) -> Result<Edit, RecordError> {
    let required = Transaction::new().require(CLUSTER, loaded.edited);
    let transaction = objects(&loaded.intent)?.into_keys().fold(required, Transaction::delete);
    Ok(match store.commit(&transaction)? {
        Commit::Done(revision) => Edit::Done(revision),
        Commit::Conflict { .. } => Edit::Overtaken,
    })
}

/// Reads the fingerprints of all nodes' certificates.
///
/// # Errors
/// When the store cannot be reached or holds what cannot be read.
pub fn load_certificates(store: &dyn Store) -> Result<(Revision, BTreeSet<String>), RecordError> {
    let snapshot = store.load(NODES)?;
    let mut certificates = BTreeSet::new();
    for object in &snapshot.objects {
        certificates.extend(parse::<NodeRecord>(object)?.certificate);
    }
    Ok((snapshot.revision, certificates))
}

/// Reads what one node reports; none when its agent is not there.
///
/// # Errors
/// When the store cannot be reached or holds what cannot be read.
pub fn load_status<T: DeserializeOwned>(
    store: &dyn Store,
) -> Result<(Revision, BTreeMap<NodeName, T>), RecordError> {
    let snapshot = store.load(STATUS)?;
    let mut nodes = BTreeMap::new();
    for object in &snapshot.objects {
        if let Some(Ok(name)) = object.key.strip_prefix(STATUS).map(str::parse) {
            nodes.insert(name, parse(object)?);
        }
    }
    Ok((snapshot.revision, nodes))
}

/// Whose report an object is, and what it says; none when it is no report or cannot be read.
pub fn report<T: DeserializeOwned>(object: &Object) -> Option<(NodeName, T)> {
    Some((reporter(&object.key)?, parse(object).ok()?))
}

/// Whose report stands under a key.
pub fn reporter(key: &str) -> Option<NodeName> {
    key.strip_prefix(STATUS)?.parse().ok()
}

/// Who leads, and since when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leadership {
    pub node: NodeName,
    /// The revision at which it was taken.
    taken: Revision,
    lease: Option<LeaseId>,
}

/// Whether an object says who leads.
pub fn is_leader(object: &Object) -> bool {
    object.key == LEADER
}

/// Who reports, and who leads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reports {
    pub nodes: BTreeSet<NodeName>,
    pub leadership: Option<Leadership>,
}

/// Reads which nodes' reports stand, and who leads.
///
/// # Errors
/// When the store cannot be reached or holds what cannot be read.
pub fn load_reports(store: &dyn Store) -> Result<Reports, RecordError> {
    let snapshot = store.load(STATUS)?;
    let mut reports = Reports::default();
    for object in &snapshot.objects {
        if object.key == LEADER {
            let (taken, lease) = (object.modified, object.lease);
            reports.leadership = Some(Leadership { node: parse(object)?, taken, lease });
        } else if let Some(Ok(name)) = object.key.strip_prefix(STATUS).map(str::parse) {
            reports.nodes.insert(name);
        }
    }
    Ok(reports)
}

/// Leads, unless another node does: as long as the lease lives. `seen` is who led when it was looked.
///
/// # Errors
/// When the store cannot be reached or the lease is gone.
pub fn lead(
    store: &dyn Store,
    node: &NodeName,
    lease: LeaseId,
    seen: Option<&Leadership>,
) -> Result<Option<Leadership>, RecordError> {
    let before = match seen {
        Some(other) if other.node != *node => return Ok(None),
        Some(own) if own.lease == Some(lease) => return Ok(Some(own.clone())),
        // Of an agent that this one follows, or a lease that ran out.
        Some(own) => own.taken,
        None => Revision::NEVER,
    };
    let transaction = Transaction::new().require(LEADER, before);
    let transaction = transaction.put_leased(LEADER, json(LEADER, node)?, lease);
    Ok(match store.commit(&transaction)? {
        Commit::Done(taken) => Some(Leadership { node: node.clone(), taken, lease: Some(lease) }),
        Commit::Conflict { .. } => None,
    })
}

/// Writes what a node reports; it goes with the lease.
///
/// # Errors
/// When the store cannot be reached or the lease is gone.
pub fn save_status<T: Serialize>(
    store: &dyn Store,
    node: &NodeName,
    lease: LeaseId,
    status: &T,
) -> Result<(), RecordError> {
    let key = format!("{STATUS}{node}");
    let value = json(&key, status)?;
    store.commit(&Transaction::new().put_leased(key, value, lease))?;
    Ok(())
}

fn objects(intent: &Intent) -> Result<BTreeMap<String, String>, RecordError> {
    let mut objects = BTreeMap::new();
    let mut put = |key: String, value: Result<String, RecordError>| {
        value.map(|value| objects.insert(key, value)).map(drop)
    };
    put(CLUSTER.into(), json(CLUSTER, &intent.cluster))?;
    for (name, node) in &intent.nodes {
        put(format!("{INTENT}node/{name}"), json(name.as_str(), node))?;
    }
    for (name, network) in &intent.networks {
        put(format!("{INTENT}network/{name}"), json(name.as_str(), network))?;
    }
    for (name, service) in &intent.services {
        put(format!("{INTENT}service/{name}"), json(name.as_str(), service))?;
    }
    for (name, task) in &intent.tasks {
        put(format!("{INTENT}task/{name}"), json(&name.to_string(), task))?;
    }
    for (key, attachment) in &intent.attachments {
        put(format!("{INTENT}attachment/{key}"), json(key, attachment))?;
    }
    Ok(objects)
}

fn json<T: Serialize>(key: &str, value: &T) -> Result<String, RecordError> {
    serde_json::to_string(value)
        .map_err(|source| RecordError::Unreadable { key: key.to_owned(), source })
}

fn parse<'a, T: Deserialize<'a>>(object: &'a Object) -> Result<T, RecordError> {
    serde_json::from_str(&object.value)
        .map_err(|source| RecordError::Unreadable { key: object.key.clone(), source })
}

fn insert<K: Ord, T: DeserializeOwned>(
    map: &mut BTreeMap<K, T>,
    object: &Object,
    key: impl Fn(&T) -> K,
) -> Result<(), RecordError> {
    let value: T = parse(object)?;
    map.insert(key(&value), value);
    Ok(())
}
