use tempfile::TempDir;

use super::*;
use crate::store::Event;

fn opened(history: History) -> (TempDir, Sqlite) {
    let directory = TempDir::new().expect("a directory");
    let store = Sqlite::open_with(&directory.path().join("store"), history).expect("it opens");
    (directory, store)
}

fn put(store: &Sqlite, id: &str, key: &str) -> Commit {
    let put = Transaction::new().put(key, "1");
    store.commit_once(Some(id.to_owned()), put).expect("it answers")
}

fn rows(store: &Sqlite, table: &str) -> i64 {
    let reader = held(&store.engine.reader);
    let count = format!("SELECT count(*) FROM {table}");
    reader.query_row(&count, [], |row| row.get(0)).expect("it counts")
}

#[test]
fn an_id_that_was_committed_is_not_committed_again() {
    let (_directory, store) = opened(History::default());
    let once = put(&store, "x", "a");
    put(&store, "y", "b");
    assert_eq!(put(&store, "x", "a"), once);
    assert_eq!(store.load_revision().expect("it loads"), Revision(3));
}

#[test]
fn an_id_is_remembered_over_a_restart() {
    let (directory, store) = opened(History::default());
    let once = put(&store, "x", "a");
    drop(store);
    let again = Sqlite::open(&directory.path().join("store")).expect("it opens again");
    assert_eq!(put(&again, "x", "a"), once);
}

#[test]
fn an_id_that_met_a_conflict_may_succeed_later() {
    let (_directory, store) = opened(History::default());
    put(&store, "x", "a");
    let make = || Transaction::new().require_absent("a").put("a", "2");
    let commit = || store.commit_once(Some("y".to_owned()), make()).expect("it answers");
    assert!(matches!(commit(), Commit::Conflict { .. }));
    store.commit(&Transaction::new().delete("a")).expect("it answers");
    assert_eq!(commit(), Commit::Done(Revision(4)));
}

#[test]
fn the_past_is_bounded_in_revisions() {
    let (_directory, store) = opened(History { revisions: 10, bytes: 1 << 20 });
    for n in 0..100 {
        put(&store, &n.to_string(), "a");
    }
    assert_eq!((rows(&store, "log"), rows(&store, "commits")), (10, 10));
    let now = store.load_revision().expect("it loads");
    let oldest = Revision(now.0 - 10);
    let refused = store.engine.check_remembered(Revision(oldest.0 - 1));
    assert!(matches!(refused, Err(StoreError::Compacted { oldest: found }) if found == oldest));
    store.engine.check_remembered(oldest).expect("it is remembered");
}

#[test]
fn the_past_is_bounded_in_bytes_also_after_a_restart() {
    let history = History { revisions: 1000, bytes: 10_000 };
    let (directory, store) = opened(history);
    let large = Transaction::new().put("a", "x".repeat(3000));
    for _ in 0..10 {
        store.commit(&large).expect("it answers");
    }
    assert_eq!(rows(&store, "log"), 3);
    drop(store);
    let again =
        Sqlite::open_with(&directory.path().join("store"), history).expect("it opens again");
    again.commit(&large).expect("it answers");
    assert_eq!(rows(&again, "log"), 3);
}

#[test]
fn a_long_absence_is_replayed_from_the_log_in_order() {
    let (_directory, store) = opened(History::default());
    for n in 0..3000 {
        put(&store, &n.to_string(), &format!("k{}", n % 10));
    }
    let mut cursor = store.cursor("k7", Revision::NEVER).expect("it is remembered");
    let mut seen = Vec::new();
    while let Some(batch) = cursor.next(Duration::ZERO).expect("the watch goes on") {
        assert_eq!(batch.events.iter().map(Event::key).collect::<Vec<_>>(), ["k7"]);
        seen.push(batch.revision.0);
    }
    assert_eq!(seen, (0..300).map(|n| n * 10 + 7 + 2).collect::<Vec<_>>());
}

#[test]
fn commits_that_wait_together_keep_their_own_revisions_and_fates() {
    let (_directory, store) = opened(History::default());
    let transactions = [
        Transaction::new().put("a", "1"),
        Transaction::new().require_absent("a").put("b", "1"),
        Transaction::new().put_leased("c", "1", LeaseId(7)),
        Transaction::new().put("d", "1"),
    ];
    let tickets = transactions.map(|transaction| Ticket::new(None, transaction));
    held(&store.engine.queue).extend(tickets.iter().take(3).cloned());
    let last = store.engine.commit(Arc::clone(&tickets[3])).expect("it answers");
    assert_eq!(last, Commit::Done(Revision(3)));
    assert_eq!(tickets[0].outcome().expect("it answers"), Commit::Done(Revision(2)));
    let conflict = Commit::Conflict { key: "a".to_owned(), modified: Revision(2) };
    assert_eq!(tickets[1].outcome().expect("it answers"), conflict);
    assert!(matches!(tickets[2].outcome(), Err(StoreError::LeaseGone { .. })));
    let keys: Vec<_> =
        store.load("").expect("it loads").objects.into_iter().map(|object| object.key).collect();
    assert_eq!(keys, ["a", "d"]);
}

#[test]
fn a_damaged_log_is_corrupt_and_not_a_panic() {
    let (_directory, store) = opened(History { revisions: 5000, bytes: 1 << 20 });
    for n in 0..1100 {
        put(&store, &n.to_string(), "a");
    }
    let damage = "UPDATE log SET events = '[{]' WHERE revision = 2";
    held(&store.engine.writer).connection().execute(damage, []).expect("it writes");
    let mut cursor = store.cursor("", Revision::NEVER).expect("it is remembered");
    let refused = cursor.next(Duration::ZERO);
    assert!(matches!(refused, Err(StoreError::Corrupt { .. })), "{refused:?}");
}

#[test]
fn a_place_in_the_future_is_of_no_history_here() {
    let (_directory, store) = opened(History::default());
    put(&store, "x", "a");
    let refused = store.watch("", Revision(3)).err();
    assert!(matches!(refused, Some(StoreError::Compacted { oldest: Revision(2) })), "{refused:?}");
}
