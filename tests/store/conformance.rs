//! What every store must do, whatever it is made of.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use swarmlb::store::{
    Batch, Commit, Event, LeaseId, Object, Revision, Store, StoreError, Transaction, Watch,
};

/// How long anything may take that must happen.
pub const LONG: Duration = Duration::from_secs(30);
/// How long is waited for what must not happen.
const SHORT: Duration = Duration::from_millis(50);

/// A store to be tested, empty when it is made, alone until it is dropped.
pub trait Subject {
    fn store(&self) -> Arc<dyn Store>;
    /// A TTL that the store takes as it is.
    fn ttl(&self) -> Duration;
    /// Makes the store forget revisions, the newest perhaps excepted. Keys under `forgotten/` may change for it.
    fn forget_history(&self);
}

pub fn done(commit: Result<Commit, StoreError>) -> Revision {
    match commit {
        Ok(Commit::Done(revision)) => revision,
        other => panic!("not done: {other:?}"),
    }
}

pub fn put(store: &dyn Store, key: &str, value: &str) -> Revision {
    done(store.commit(&Transaction::new().put(key, value)))
}

pub fn next(watch: &mut dyn Watch) -> Batch {
    watch.next(LONG).expect("the watch goes on").expect("something changed")
}

fn keys(objects: &[Object]) -> Vec<&str> {
    objects.iter().map(|object| object.key.as_str()).collect()
}

fn only(store: &dyn Store, key: &str) -> Object {
    let objects = store.load(key).expect("it loads").objects;
    objects.into_iter().find(|object| object.key == key).expect("the key is there")
}

/// Does to `map` what the batch says.
pub fn replay(map: &mut BTreeMap<String, Object>, batch: &Batch) {
    for event in &batch.events {
        match event {
            Event::Put(object) => drop(map.insert(object.key.clone(), object.clone())),
            Event::Delete { key, .. } => drop(map.remove(key)),
        }
    }
}

pub fn a_key_that_must_be_absent_is_made_once(subject: &dyn Subject) {
    let store = subject.store();
    let make = Transaction::new().require_absent("a").put("a", "1");
    let made = done(store.commit(&make));
    let again = store.commit(&make).expect("it answers");
    assert_eq!(again, Commit::Conflict { key: "a".to_owned(), modified: made });
}

pub fn a_stale_transaction_conflicts_and_changes_nothing(subject: &dyn Subject) {
    let store = subject.store();
    let first = put(&*store, "a", "1");
    let second = put(&*store, "a", "2");
    let stale =
        Transaction::new().put("other", "1").require("a", first).put("a", "3").delete("gone");
    let before = store.load("").expect("it loads");
    let conflict = store.commit(&stale).expect("it answers");
    assert_eq!(conflict, Commit::Conflict { key: "a".to_owned(), modified: second });
    assert_eq!(store.load("").expect("it loads"), before);
    let absent = Transaction::new().require("never", second).put("a", "3");
    let conflict = store.commit(&absent).expect("it answers");
    assert_eq!(conflict, Commit::Conflict { key: "never".to_owned(), modified: Revision::NEVER });
}

pub fn a_transaction_is_one_revision(subject: &dyn Subject) {
    let store = subject.store();
    let start = store.load("").expect("it loads").revision;
    let mut watch = store.watch("", start).expect("it watches");
    let first = done(store.commit(&Transaction::new().put("a", "1").put("b", "1").put("c", "1")));
    assert_eq!(first, start.next());
    let second =
        done(store.commit(&Transaction::new().require("a", first).put("a", "2").delete("b")));
    assert_eq!(second, first.next());
    assert_eq!(next(&mut *watch).events.len(), 3);
    let batch = next(&mut *watch);
    assert_eq!(batch.revision, second);
    let a = Object {
        key: "a".to_owned(),
        value: "2".to_owned(),
        created: first,
        modified: second,
        lease: None,
    };
    assert!(batch.events.contains(&Event::Put(a)));
    assert!(batch.events.contains(&Event::Delete { key: "b".to_owned(), revision: second }));
}

pub fn a_transaction_that_changes_nothing_makes_no_revision(subject: &dyn Subject) {
    let store = subject.store();
    let revision = put(&*store, "a", "1");
    assert_eq!(done(store.commit(&Transaction::new())), revision);
    assert_eq!(done(store.commit(&Transaction::new().delete("never"))), revision);
    assert_eq!(done(store.commit(&Transaction::new().require("a", revision))), revision);
    assert_eq!(store.load("").expect("it loads").revision, revision);
}

pub fn what_no_store_takes_is_refused(subject: &dyn Subject) {
    let store = subject.store();
    let twice = store.commit(&Transaction::new().put("a", "1").delete("a"));
    assert!(matches!(twice, Err(StoreError::DuplicateKey { key }) if key == "a"));
    assert!(matches!(store.commit(&Transaction::new().put("", "1")), Err(StoreError::EmptyKey)));
}

pub fn a_prefix_is_compared_bytewise(subject: &dyn Subject) {
    let store = subject.store();
    let all = ["A", "a", "a/", "a/1", "a/10", "a/2", "a0", "a\u{7f}", "aé", "a\u{10ffff}", "b"];
    for key in all.iter().rev() {
        put(&*store, key, "\"é\\u0000\n\"");
    }
    let load = |prefix: &str| store.load(prefix).expect("it loads").objects;
    assert_eq!(keys(&load("")), all);
    assert_eq!(keys(&load("a/")), ["a/", "a/1", "a/10", "a/2"]);
    assert_eq!(keys(&load("a")), all[1..10]);
    assert_eq!(keys(&load("a\u{10ffff}")), ["a\u{10ffff}"]);
    assert_eq!(keys(&load("c")), [""; 0]);
    assert!(load("").iter().all(|object| object.value == "\"é\\u0000\n\""));
}

pub fn a_key_made_again_is_new(subject: &dyn Subject) {
    let store = subject.store();
    let made = put(&*store, "a", "1");
    let changed = put(&*store, "a", "2");
    let object = only(&*store, "a");
    assert_eq!((object.created, object.modified), (made, changed));
    done(store.commit(&Transaction::new().delete("a")));
    let again = put(&*store, "a", "3");
    let object = only(&*store, "a");
    assert_eq!((object.created, object.modified), (again, again));
}

pub fn a_watch_continues_where_a_load_ended(subject: &dyn Subject) {
    let store = subject.store();
    put(&*store, "a/1", "1");
    let snapshot = store.load("a/").expect("it loads");
    let mut watch = store.watch("a/", snapshot.revision).expect("it watches");
    put(&*store, "b/1", "1");
    let changed = put(&*store, "a/1", "2");
    let batch = next(&mut *watch);
    assert_eq!(batch.revision, changed);
    assert_eq!(batch.events.iter().map(Event::key).collect::<Vec<_>>(), ["a/1"]);
    assert_eq!(watch.next(SHORT).expect("the watch goes on"), None);
    assert_eq!(watch.next(Duration::ZERO).expect("the watch goes on"), None);
}

pub fn a_watch_sees_the_past(subject: &dyn Subject) {
    let store = subject.store();
    let revisions: Vec<Revision> =
        (0..300).map(|n| put(&*store, &format!("k{}", n % 7), &n.to_string())).collect();
    for start in [0, 1, 150, 299] {
        let mut watch = store.watch("", revisions[start]).expect("it watches");
        for expected in &revisions[start + 1..] {
            assert_eq!(next(&mut *watch).revision, *expected);
        }
        assert_eq!(watch.next(Duration::ZERO).expect("the watch goes on"), None);
    }
}

pub fn watches_miss_nothing_while_many_commit(subject: &dyn Subject) {
    const THREADS: usize = 8;
    const EACH: usize = 60;
    let store = subject.store();
    let start = put(&*store, "seed", "0");
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let store = &store;
            scope.spawn(move || {
                for n in 0..EACH {
                    let key = format!("t{thread}/{}", n % 5);
                    let change = match n % 4 {
                        3 => Transaction::new()
                            .delete(&key)
                            .put(format!("last/{thread}"), n.to_string()),
                        _ => Transaction::new()
                            .put(&key, n.to_string())
                            .put("shared", thread.to_string()),
                    };
                    done(store.commit(&change));
                }
            });
        }
        for prefix in ["", "", "t3/", "shared"] {
            let store = &store;
            scope.spawn(move || follow(&**store, prefix, start, THREADS * EACH));
        }
    });
}

/// Follows `prefix` over `commits` revisions, and finds what a load then finds.
fn follow(store: &dyn Store, prefix: &str, start: Revision, commits: usize) {
    let end = Revision(start.0 + commits as u64);
    let mut watch = store.watch(prefix, start).expect("it watches");
    let (mut seen, mut map) = (start, BTreeMap::new());
    let deadline = Instant::now() + LONG;
    loop {
        let Some(batch) = watch.next(SHORT).expect("the watch goes on") else {
            let snapshot = store.load(prefix).expect("it loads");
            if snapshot.revision == end
                && snapshot.objects.iter().all(|object| object.modified <= seen)
            {
                let expected: Vec<_> =
                    snapshot.objects.into_iter().filter(|object| object.key != "seed").collect();
                assert_eq!(map.into_values().collect::<Vec<_>>(), expected);
                return;
            }
            assert!(Instant::now() < deadline, "at {seen} of {end}");
            continue;
        };
        assert!(batch.revision > seen, "{} after {seen}", batch.revision);
        assert!(
            !prefix.is_empty() || batch.revision == seen.next(),
            "{} after {seen}",
            batch.revision
        );
        assert!(batch.events.iter().all(|event| event.key().starts_with(prefix)));
        seen = batch.revision;
        replay(&mut map, &batch);
    }
}

pub fn a_hundred_concurrent_increments_lose_nothing(subject: &dyn Subject) {
    let store = subject.store();
    put(&*store, "counter", "0");
    thread::scope(|scope| {
        for _ in 0..10 {
            scope.spawn(|| (0..10).for_each(|_| increment(&*store)));
        }
    });
    assert_eq!(only(&*store, "counter").value, "100");
}

fn increment(store: &dyn Store) {
    loop {
        let counter = only(store, "counter");
        let value: u64 = counter.value.parse().expect("a number");
        let swap = Transaction::new()
            .require("counter", counter.modified)
            .put("counter", (value + 1).to_string());
        match store.commit(&swap).expect("it answers") {
            Commit::Done(_) => return,
            Commit::Conflict { modified, .. } => assert!(modified > counter.modified),
        }
    }
}

pub fn a_forgotten_past_is_said_to_be(subject: &dyn Subject) {
    let store = subject.store();
    let early = put(&*store, "a", "1");
    put(&*store, "a", "2");
    subject.forget_history();
    let oldest = match store.watch("a", early) {
        Err(StoreError::Compacted { oldest }) => oldest,
        Err(other) => panic!("another error: {other}"),
        Ok(mut watch) => match watch.next(LONG) {
            Err(StoreError::Compacted { oldest }) => oldest,
            other => panic!("not compacted: {other:?}"),
        },
    };
    assert!(oldest > early);
    let mut watch = store.watch("a", oldest).expect("it watches");
    let changed = put(&*store, "a", "3");
    assert_eq!(next(&mut *watch).revision, changed);
    assert_eq!(only(&*store, "a").created, early);
}

fn leased(store: &dyn Store, ttl: Duration) -> LeaseId {
    let lease = store.grant(ttl).expect("it grants");
    done(
        store.commit(
            &Transaction::new()
                .put_leased("l/1", "1", lease)
                .put_leased("l/2", "2", lease)
                .put("p", "1"),
        ),
    );
    lease
}

fn deleted(batch: &Batch) -> BTreeSet<&str> {
    let gone = batch.events.iter().map(|event| match event {
        Event::Delete { key, revision } if *revision == batch.revision => key.as_str(),
        other => panic!("not a deletion: {other:?}"),
    });
    gone.collect()
}

pub fn a_lease_runs_out_with_its_keys(subject: &dyn Subject) {
    let store = subject.store();
    let begun = Instant::now();
    let lease = leased(&*store, subject.ttl());
    assert_eq!(only(&*store, "l/1").lease, Some(lease));
    let mut watch =
        store.watch("", store.load("").expect("it loads").revision).expect("it watches");
    assert_eq!(deleted(&next(&mut *watch)), BTreeSet::from(["l/1", "l/2"]));
    assert!(begun.elapsed() >= subject.ttl());
    assert_eq!(keys(&store.load("").expect("it loads").objects), ["p"]);
    assert_gone(&*store, lease);
}

fn assert_gone(store: &dyn Store, lease: LeaseId) {
    assert!(
        matches!(store.keep_alive(lease), Err(StoreError::LeaseGone { lease: gone }) if gone == lease)
    );
    assert!(
        matches!(store.revoke(lease), Err(StoreError::LeaseGone { lease: gone }) if gone == lease)
    );
    let before = store.load("").expect("it loads");
    let put = store.commit(&Transaction::new().put("x", "1").put_leased("y", "1", lease));
    assert!(matches!(put, Err(StoreError::LeaseGone { lease: gone }) if gone == lease));
    assert_eq!(store.load("").expect("it loads"), before);
}

pub fn a_lease_kept_alive_lives_on(subject: &dyn Subject) {
    let store = subject.store();
    let lease = leased(&*store, subject.ttl());
    let mut watch =
        store.watch("", store.load("").expect("it loads").revision).expect("it watches");
    let end = Instant::now() + subject.ttl() * 4;
    while Instant::now() < end {
        store.keep_alive(lease).expect("it lives");
        assert_eq!(watch.next(subject.ttl() / 5).expect("the watch goes on"), None);
    }
    assert_eq!(deleted(&next(&mut *watch)), BTreeSet::from(["l/1", "l/2"]));
}

pub fn a_revoked_lease_takes_its_keys_at_once(subject: &dyn Subject) {
    let store = subject.store();
    let lease = leased(&*store, LONG);
    let other = store.grant(LONG).expect("it grants");
    done(store.commit(&Transaction::new().put_leased("l/3", "1", other)));
    let revision = done(store.commit(&Transaction::new().put("l/2", "3")));
    let mut watch = store.watch("", revision).expect("it watches");
    store.revoke(lease).expect("it was there");
    let batch = next(&mut *watch);
    assert_eq!(batch.revision, revision.next());
    assert_eq!(
        deleted(&batch),
        BTreeSet::from(["l/1"]),
        "a plain put takes a key out of its lease"
    );
    assert_eq!(keys(&store.load("").expect("it loads").objects), ["l/2", "l/3", "p"]);
    assert_gone(&*store, lease);
    store.keep_alive(other).expect("another lease is not touched");
}

pub fn a_lease_that_never_was_is_gone(subject: &dyn Subject) {
    assert_gone(&*subject.store(), LeaseId(987_654_321));
}

#[derive(Debug, Clone, Copy)]
enum Demand {
    Nothing,
    AsItIs,
    Absent,
    Stale,
}

type Step = (Demand, usize, Vec<usize>, Vec<usize>);

/// Any sequence of transactions gives what maps give, and a watch of it the same again.
pub fn maps_agree(subject: &dyn Subject) {
    let store = subject.store();
    let demand = prop_oneof![
        Just(Demand::Nothing),
        Just(Demand::AsItIs),
        Just(Demand::Absent),
        Just(Demand::Stale)
    ];
    let steps = vec((demand, 0..6_usize, vec(0..6_usize, 0..3), vec(0..6_usize, 0..3)), 1..20);
    let config = Config { cases: 40, failure_persistence: None, ..Config::default() };
    let mut runner =
        TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &[11; 32]));
    let checked = runner.run(&steps, |steps| {
        let start = store.load("").expect("it loads");
        let mut map: BTreeMap<_, _> =
            start.objects.iter().map(|object| (object.key.clone(), object.clone())).collect();
        let (mut watched, mut now) = (map.clone(), start.revision);
        for step in &steps {
            now = check_step(&*store, &mut map, now, step)?;
        }
        let loaded = store.load("").expect("it loads");
        prop_assert_eq!(&loaded.objects, &map.values().cloned().collect::<Vec<_>>());
        prop_assert_eq!(loaded.revision, now);
        let mut watch = store.watch("", start.revision).expect("it watches");
        for revision in start.revision.0 + 1..=now.0 {
            let batch = next(&mut *watch);
            prop_assert_eq!(batch.revision, Revision(revision));
            replay(&mut watched, &batch);
        }
        prop_assert_eq!(watched, map);
        Ok(())
    });
    checked.expect("no counterexample");
}

fn check_step(
    store: &dyn Store,
    map: &mut BTreeMap<String, Object>,
    now: Revision,
    (demand, required, puts, deletes): &Step,
) -> Result<Revision, TestCaseError> {
    let name = |number: &usize| format!("k{number}");
    let current = map.get(&name(required)).map_or(Revision::NEVER, |object| object.modified);
    let puts: BTreeSet<String> = puts.iter().map(name).collect();
    let deletes: BTreeSet<String> =
        deletes.iter().map(name).filter(|key| !puts.contains(key)).collect();
    let mut transaction = Transaction::new();
    let wanted = match demand {
        Demand::Nothing => current,
        Demand::AsItIs => current,
        Demand::Absent => Revision::NEVER,
        Demand::Stale => Revision(current.0 + 1),
    };
    if !matches!(demand, Demand::Nothing) {
        transaction = transaction.require(name(required), wanted);
    }
    transaction = puts.iter().fold(transaction, |all, key| all.put(key, format!("{now}")));
    transaction = deletes.iter().fold(transaction, |all, key| all.delete(key));
    let commit = store.commit(&transaction).expect("it answers");
    if wanted != current {
        prop_assert_eq!(commit, Commit::Conflict { key: name(required), modified: current });
        return Ok(now);
    }
    let changes = !puts.is_empty() || deletes.iter().any(|key| map.contains_key(key));
    let revision = if changes { now.next() } else { now };
    prop_assert_eq!(commit, Commit::Done(revision));
    for key in puts {
        let created = map.get(&key).map_or(revision, |object| object.created);
        let value = format!("{now}");
        map.insert(key.clone(), Object { key, value, created, modified: revision, lease: None });
    }
    map.retain(|key, _| !deletes.contains(key));
    Ok(revision)
}
