//! The newest revisions, in memory, and the waiting for newer ones. Watchers read here and each remembers its own place, so
//! that a slow one holds nothing up and costs nothing: what has left this window is read from the database's log, and what
//! has left the log is compacted.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::{Batch, Event, Revision, clock};

/// Revisions kept in memory.
const WINDOW: usize = 1024;
/// Bytes of keys and values kept in memory; the newest revision is kept whatever its size.
const WINDOW_BYTES: usize = 8 << 20;
/// Revisions handed out at once.
const HELPING: usize = 64;

/// What a watcher finds after its place.
#[derive(Debug)]
pub(super) enum News {
    /// The revisions that follow, none left out.
    Batches(Vec<Arc<Batch>>),
    /// There are newer revisions, but the next one is only in the log.
    Behind,
    /// Nothing new until the deadline.
    Quiet,
    /// Nothing will ever come again.
    Closed,
}

#[derive(Debug)]
struct Window {
    revision: Revision,
    batches: VecDeque<Arc<Batch>>,
    bytes: usize,
    closed: bool,
}

#[derive(Debug)]
pub(super) struct Feed {
    window: Mutex<Window>,
    changed: Condvar,
}

impl Feed {
    /// A feed of a store that is at `revision`.
    pub(super) fn starting(revision: Revision) -> Self {
        let window = Window { revision, batches: VecDeque::new(), bytes: 0, closed: false };
        Self { window: Mutex::new(window), changed: Condvar::new() }
    }

    /// Adds revisions, which must follow each other and what was published before.
    pub(super) fn publish(&self, batches: Vec<Batch>) {
        let mut window = self.held();
        for batch in batches {
            window.push(batch);
        }
        self.changed.notify_all();
    }

    /// Wakes every watcher for the last time.
    pub(super) fn close(&self) {
        self.held().closed = true;
        self.changed.notify_all();
    }

    /// Whether it was the last time.
    pub(super) fn is_closed(&self) -> bool {
        self.held().closed
    }

    /// What follows `place`, waiting for it until `deadline`.
    pub(super) fn after(&self, place: Revision, deadline: Instant) -> News {
        let mut window = self.held();
        loop {
            if window.closed {
                return News::Closed;
            }
            if window.revision > place {
                return window.after(place);
            }
            let left = deadline.saturating_duration_since(clock::now());
            if left.is_zero() {
                return News::Quiet;
            }
            window =
                self.changed.wait_timeout(window, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn held(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Window {
    fn push(&mut self, batch: Batch) {
        self.revision = batch.revision;
        self.bytes += bytes(&batch);
        self.batches.push_back(Arc::new(batch));
        while self.batches.len() > WINDOW || (self.bytes > WINDOW_BYTES && self.batches.len() > 1) {
            let Some(oldest) = self.batches.pop_front() else {
                return;
            };
            self.bytes -= bytes(&oldest);
        }
    }

    fn after(&self, place: Revision) -> News {
        match self.batches.front() {
            Some(oldest) if oldest.revision <= place.next() => {
                let first = self.batches.partition_point(|batch| batch.revision <= place);
                News::Batches(self.batches.iter().skip(first).take(HELPING).cloned().collect())
            }
            _ => News::Behind,
        }
    }
}

fn bytes(batch: &Batch) -> usize {
    let of = |event: &Event| match event {
        Event::Put(object) => object.key.len() + object.value.len(),
        Event::Delete { key, .. } => key.len(),
    };
    batch.events.iter().map(of).sum()
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Duration;

    use super::*;

    fn batch(revision: u64, key: &str) -> Batch {
        let revision = Revision(revision);
        Batch { revision, events: vec![Event::Delete { key: key.to_owned(), revision }] }
    }

    fn revisions(news: News) -> Vec<u64> {
        match news {
            News::Batches(batches) => batches.iter().map(|batch| batch.revision.0).collect(),
            other => panic!("no batches: {other:?}"),
        }
    }

    #[test]
    fn what_follows_a_place_comes_without_gaps() {
        let feed = Feed::starting(Revision(4));
        feed.publish(vec![batch(5, "a"), batch(6, "b"), batch(7, "c")]);
        assert_eq!(revisions(feed.after(Revision(4), clock::now())), [5, 6, 7]);
        assert_eq!(revisions(feed.after(Revision(6), clock::now())), [7]);
        assert!(matches!(feed.after(Revision(7), clock::now()), News::Quiet));
    }

    #[test]
    fn a_place_older_than_the_window_is_behind() {
        let feed = Feed::starting(Revision(4));
        assert!(matches!(feed.after(Revision(3), clock::now()), News::Behind));
        feed.publish((5..5 + WINDOW as u64 + 1).map(|revision| batch(revision, "a")).collect());
        assert!(matches!(feed.after(Revision(4), clock::now()), News::Behind));
        assert_eq!(revisions(feed.after(Revision(5), clock::now())).first(), Some(&6));
    }

    #[test]
    fn the_window_is_bounded_in_bytes() {
        let feed = Feed::starting(Revision(1));
        let long = "k".repeat(WINDOW_BYTES / 2);
        feed.publish((2..6).map(|revision| batch(revision, &long)).collect());
        assert!(matches!(feed.after(Revision(2), clock::now()), News::Behind));
        assert_eq!(revisions(feed.after(Revision(3), clock::now())), [4, 5]);
    }

    #[test]
    fn a_waiting_watcher_is_woken_by_news_and_by_the_end() {
        let feed = Feed::starting(Revision(1));
        let far = clock::now() + Duration::from_secs(60);
        thread::scope(|scope| {
            let first = scope.spawn(|| feed.after(Revision(1), far));
            feed.publish(vec![batch(2, "a")]);
            assert_eq!(revisions(first.join().expect("the watcher ends")), [2]);
            let second = scope.spawn(|| feed.after(Revision(2), far));
            feed.close();
            assert!(matches!(second.join().expect("the watcher ends"), News::Closed));
        });
    }
}
