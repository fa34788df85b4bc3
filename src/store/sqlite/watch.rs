//! Reading on from a place in the history.

use std::borrow::Borrow;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Engine;
use crate::store::feed::News;
use crate::store::{Batch, Event, Revision, StoreError, Watch, clock};

/// A place in the history and what is looked for from there on.
#[derive(Debug)]
pub(in crate::store) struct Cursor {
    engine: Arc<Engine>,
    prefix: String,
    place: Revision,
    ready: VecDeque<Batch>,
}

impl Cursor {
    pub(super) fn new(engine: Arc<Engine>, prefix: &str, place: Revision) -> Self {
        Self { engine, prefix: prefix.to_owned(), place, ready: VecDeque::new() }
    }

    /// Up to here everything has been handed out.
    pub(in crate::store) fn place(&self) -> Revision {
        self.place
    }

    /// What comes next under the prefix, perhaps nothing: then the place has moved on, or it is past the deadline.
    pub(in crate::store) fn advance(
        &mut self,
        deadline: Instant,
    ) -> Result<Vec<Batch>, StoreError> {
        match self.engine.feed.after(self.place, deadline) {
            News::Batches(batches) => Ok(self.hand_out(&batches)),
            News::Behind => {
                let batches = self.engine.replay(self.place)?;
                Ok(self.hand_out(&batches))
            }
            News::Quiet => Ok(Vec::new()),
            News::Closed => Err(StoreError::Unreachable {
                path: self.engine.path.clone(),
                source: io::ErrorKind::NotConnected.into(),
            }),
        }
    }

    /// Moves on behind `batches`; answers with what of them is under the prefix.
    fn hand_out<B: Borrow<Batch>>(&mut self, batches: &[B]) -> Vec<Batch> {
        self.place = batches.last().map_or(self.place, |batch| batch.borrow().revision);
        let batches = batches.iter().map(Borrow::borrow);
        batches.filter_map(|batch| self.seen(&batch.events, batch.revision)).collect()
    }

    fn seen(&self, events: &[Event], revision: Revision) -> Option<Batch> {
        let watched = events.iter().filter(|event| event.key().starts_with(&self.prefix));
        let events: Vec<Event> = watched.cloned().collect();
        (!events.is_empty()).then_some(Batch { revision, events })
    }
}

impl Watch for Cursor {
    fn next(&mut self, timeout: Duration) -> Result<Option<Batch>, StoreError> {
        let now = clock::now();
        let deadline = now.checked_add(timeout).unwrap_or(now + crate::store::lease::MAX_TTL);
        while self.ready.is_empty() {
            let batches = self.advance(deadline)?;
            self.ready.extend(batches);
            if self.ready.is_empty() && clock::now() >= deadline {
                return Ok(None);
            }
        }
        Ok(self.ready.pop_front())
    }
}
