//! The store on etcd, version 3.4 or newer: its own gRPC calls, to one member after the other until one answers.
//!
//! Everything stands below a prefix, so that an etcd can be shared. etcd does not know which transaction is a second try of
//! another; therefore each writes its name under a key of its own, beside the prefix, and after a lost answer the name is
//! looked for in that key's past.

mod call;
mod members;
mod runtime;
mod transaction;
mod watch;
mod wire;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use prost::Message;

use super::location::{Address, EtcdLocation};
use super::{
    Commit, LeaseId, Object, Revision, Snapshot, Store, StoreError, Transaction, Watch, clock,
};
use crate::random;
use call::Fault;
use members::Members;
use runtime::Runtime;
use transaction::Outcome;
use watch::Following;
use wire::{Headed, KeyValue, RangeRequest, RangeResponse, method};

/// How long a call outlives lost members, unless told otherwise: etcd needs up to two seconds to choose another leader.
const PATIENCE: Duration = Duration::from_secs(8);
/// How long one member may take before the next is asked, and how long one has at the least.
const TURN: Duration = Duration::from_secs(2);
const LEAST: Duration = Duration::from_millis(100);
/// The pauses after all members were asked: the first, doubling up to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LAST_PAUSE: Duration = Duration::from_millis(500);

/// A client of an etcd. Clones share their connections.
#[derive(Debug, Clone)]
pub struct Etcd {
    shared: Arc<Shared>,
    patience: Duration,
}

#[derive(Debug)]
struct Shared {
    // Before the runtime, which its connections live in.
    members: Members,
    runtime: Runtime,
    address: Address,
    prefix: String,
    /// Tells this client's commits from all others'.
    name: String,
    commits: AtomicU64,
    /// The newest revision that was heard of.
    seen: AtomicI64,
}

impl Etcd {
    /// Connects as soon as a member answers, within `patience`.
    ///
    /// # Errors
    /// [`StoreError::Unreachable`] if none does, [`StoreError::Credentials`] if a file for TLS is of no use,
    /// [`StoreError::Denied`] if etcd does not let this user in.
    pub fn connect_within(location: &EtcdLocation, patience: Duration) -> Result<Self, StoreError> {
        let address = Address::Etcd(location.address.clone());
        let runtime = Runtime::start().map_err(|source| StoreError::Unreachable {
            path: address.to_string().into(),
            source,
        })?;
        let members = runtime.inside(|| Members::of(location))?;
        let shared = Shared {
            members,
            runtime,
            prefix: location.address.prefix.clone(),
            address,
            name: random::id(16),
            commits: AtomicU64::new(0),
            seen: AtomicI64::new(0),
        };
        let etcd = Self { shared: Arc::new(shared), patience };
        etcd.revision()?;
        Ok(Self { patience: PATIENCE, ..etcd })
    }

    /// How long a call outlives lost members.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// The store's revision now.
    fn revision(&self) -> Result<i64, StoreError> {
        let range = RangeRequest { count_only: true, ..self.range("") };
        let answer: RangeResponse = self.call(method::RANGE, &range)?;
        Ok(answer.header.unwrap_or_default().revision)
    }

    /// The objects whose keys begin with `prefix`.
    fn range(&self, prefix: &str) -> RangeRequest {
        let key = self.key(prefix);
        RangeRequest { range_end: end_of(&key), key, ..RangeRequest::default() }
    }

    fn key(&self, key: &str) -> Vec<u8> {
        format!("{}{key}", self.shared.prefix).into_bytes()
    }

    /// The key that every commit writes its name to: no object's, for it stands beside the prefix.
    fn marker(&self) -> Vec<u8> {
        format!("{}.commit", self.shared.prefix.trim_end_matches('/')).into_bytes()
    }

    fn call<Q, A>(&self, method: &'static str, question: &Q) -> Result<A, StoreError>
    where
        Q: Message + Clone + 'static,
        A: Message + Headed + Default + 'static,
    {
        let answered = self.call_telling(method, question);
        answered.map(|answered| answered.answer).map_err(|failed| self.error(failed.fault))
    }

    /// Asks until a member answers or patience is over.
    fn call_telling<Q, A>(&self, method: &'static str, question: &Q) -> Result<Answered<A>, Failed>
    where
        Q: Message + Clone + 'static,
        A: Message + Headed + Default + 'static,
    {
        let mut search = Search::beginning(self.patience);
        loop {
            let (number, channel) = self.shared.members.current();
            let asked = call::ask(channel, method, question.clone(), search.turn());
            match self.shared.runtime.wait_for(asked) {
                Ok(answer) => {
                    self.note(&answer);
                    return Ok(Answered { answer, sent_before: search.sent });
                }
                Err(fault) => search.goes_on(self, number, fault)?,
            }
        }
    }

    fn note(&self, answer: &impl Headed) {
        if let Some(header) = answer.header() {
            self.shared.seen.fetch_max(header.revision, Ordering::Relaxed);
        }
    }

    fn place(&self) -> PathBuf {
        self.shared.address.to_string().into()
    }

    fn error(&self, fault: Fault) -> StoreError {
        let path = self.place();
        match fault {
            Fault::Passing { sentence, .. } => {
                StoreError::Unreachable { path, source: std::io::Error::other(sentence) }
            }
            Fault::Denied => StoreError::Denied { path },
            Fault::Full(sentence) => StoreError::Full { path, sentence },
            Fault::OverLimit { option, sentence } => StoreError::OverLimit { option, sentence },
            Fault::Refused(sentence) => StoreError::Database { path, sentence },
            Fault::LeaseGone => StoreError::protocol("a lease is gone that nobody named"),
            Fault::Compacted => StoreError::Compacted { oldest: self.seen() },
        }
    }

    fn lease_error(&self, lease: LeaseId, fault: Fault) -> StoreError {
        match fault {
            Fault::LeaseGone => StoreError::LeaseGone { lease },
            other => self.error(other),
        }
    }

    fn seen(&self) -> Revision {
        revision(self.shared.seen.load(Ordering::Relaxed))
    }

    fn object(&self, kv: KeyValue) -> Result<Object, StoreError> {
        Ok(Object {
            key: self.own_key(kv.key)?,
            value: text(kv.value)?,
            created: revision(kv.create_revision),
            modified: revision(kv.mod_revision),
            lease: u64::try_from(kv.lease).ok().filter(|lease| *lease != 0).map(LeaseId),
        })
    }

    fn own_key(&self, key: Vec<u8>) -> Result<String, StoreError> {
        let key = text(key)?;
        match key.strip_prefix(&self.shared.prefix) {
            Some(own) => Ok(own.to_owned()),
            None => Err(StoreError::protocol("a key that was not asked for")),
        }
    }
}

/// A call that a member answered.
#[derive(Debug)]
struct Answered<A> {
    answer: A,
    /// Whether another try before may have done it already.
    sent_before: bool,
}

/// A call that no member answered.
#[derive(Debug)]
struct Failed {
    fault: Fault,
    /// Whether any of them may have done it.
    sent: bool,
}

/// The way from member to member.
#[derive(Debug)]
struct Search {
    deadline: Instant,
    pause: Duration,
    /// The members asked since the last pause.
    asked: usize,
    sent: bool,
    /// What each member last said.
    said: Vec<(usize, String)>,
}

impl Search {
    fn beginning(patience: Duration) -> Self {
        let now = clock::now();
        let deadline = now.checked_add(patience).unwrap_or(now + super::lease::MAX_TTL);
        Self { deadline, pause: FIRST_PAUSE, asked: 0, sent: false, said: Vec::new() }
    }

    /// How long the next member has.
    fn turn(&self) -> Duration {
        self.deadline.saturating_duration_since(clock::now()).clamp(LEAST, TURN)
    }

    /// To the next member, after a pause when all were asked; the end when patience is over.
    fn goes_on(&mut self, etcd: &Etcd, number: usize, fault: Fault) -> Result<(), Failed> {
        let Fault::Passing { sentence, sent } = fault else {
            return Err(Failed { fault, sent: self.sent });
        };
        self.sent |= sent;
        self.said.retain(|(known, _)| *known != number);
        self.said.push((number, sentence));
        etcd.shared.members.turn_from(number);
        self.asked += 1;
        if self.asked >= etcd.shared.members.count() {
            self.asked = 0;
            if clock::now() + self.pause >= self.deadline {
                return Err(self.failed(etcd));
            }
            thread::sleep(self.pause);
            self.pause = (self.pause * 2).min(LAST_PAUSE);
        }
        match clock::now() < self.deadline {
            true => Ok(()),
            false => Err(self.failed(etcd)),
        }
    }

    fn failed(&mut self, etcd: &Etcd) -> Failed {
        self.said.sort();
        let mut sentence = String::new();
        for (number, said) in &self.said {
            let separator = if sentence.is_empty() { "" } else { "; " };
            let endpoint = etcd.shared.members.endpoint(*number);
            let _infallible = write!(sentence, "{separator}{endpoint}: {said}");
        }
        Failed { fault: Fault::Passing { sentence, sent: self.sent }, sent: self.sent }
    }
}

/// The first key beyond those that begin with `prefix`.
fn end_of(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    // The last byte is a slash or of UTF-8, and so never the greatest.
    if let Some(last) = end.last_mut() {
        *last = last.saturating_add(1);
    }
    end
}

fn revision(number: i64) -> Revision {
    Revision(u64::try_from(number).unwrap_or_default())
}

fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn text(bytes: Vec<u8>) -> Result<String, StoreError> {
    String::from_utf8(bytes).map_err(|_| StoreError::protocol("a key or a value is no text"))
}

impl Store for Etcd {
    fn load(&self, prefix: &str) -> Result<Snapshot, StoreError> {
        let answer: RangeResponse = self.call(method::RANGE, &self.range(prefix))?;
        let objects = answer.kvs.into_iter().map(|kv| self.object(kv)).collect::<Result<_, _>>()?;
        let revision = revision(answer.header.unwrap_or_default().revision);
        Ok(Snapshot { revision, objects })
    }

    fn commit(&self, transaction: &Transaction) -> Result<Commit, StoreError> {
        transaction.validate()?;
        let number = self.shared.commits.fetch_add(1, Ordering::Relaxed);
        let id = format!("{}-{number}", self.shared.name);
        match self.try_committing(transaction, &id) {
            Outcome::Answered(commit) => commit,
            Outcome::Unknown(sentence) => Err(StoreError::Uncertain {
                path: self.place(),
                source: std::io::Error::other(sentence),
            }),
        }
    }

    fn watch(&self, prefix: &str, after: Revision) -> Result<Box<dyn Watch>, StoreError> {
        Ok(Box::new(Following::begin(self.clone(), prefix, after)?))
    }

    fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        let ttl = ttl.min(super::lease::MAX_TTL);
        let ttl = number(ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0)).max(1);
        let question = wire::LeaseGrantRequest { ttl };
        let answer: wire::LeaseGrantResponse = self.call(method::GRANT, &question)?;
        Ok(LeaseId(u64::try_from(answer.id).unwrap_or_default()))
    }

    fn keep_alive(&self, lease: LeaseId) -> Result<(), StoreError> {
        let question = wire::LeaseKeepAliveRequest { id: number(lease.0) };
        let answered: Result<Answered<wire::LeaseKeepAliveResponse>, Failed> =
            self.call_telling(method::KEEP_ALIVE, &question);
        match answered {
            Ok(answered) if answered.answer.ttl > 0 => Ok(()),
            Ok(_) => Err(StoreError::LeaseGone { lease }),
            Err(failed) => Err(self.lease_error(lease, failed.fault)),
        }
    }

    fn revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        let question = wire::LeaseRevokeRequest { id: number(lease.0) };
        let answered: Result<Answered<wire::LeaseRevokeResponse>, Failed> =
            self.call_telling(method::REVOKE, &question);
        match answered {
            Ok(_) => Ok(()),
            // Gone at a second try, it was ended by the first.
            Err(Failed { fault: Fault::LeaseGone, sent: true }) => Ok(()),
            Err(failed) => Err(self.lease_error(lease, failed.fault)),
        }
    }
}
