//! The node's lease: as long as it is kept alive, the node counts as alive.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::time::Duration;

use super::events::Event;
use crate::keeper::journal::say;
use crate::store::{Handle, LeaseId, Store, StoreError};

/// How long a node may be silent before it counts as gone.
const TERM: Duration = Duration::from_secs(3);
/// How long one renewal may take: those that follow it are in time yet.
pub const PATIENCE: Duration = Duration::from_secs(1);

/// The lease that is held now: another one after each that ran out.
#[derive(Debug)]
pub struct Lease(AtomicU64);

/// What no store gives.
const NONE: u64 = 0;

impl Lease {
    /// None yet: [`Lease::keep`] takes one as soon as the store answers.
    pub fn none() -> Self {
        Self(AtomicU64::new(NONE))
    }

    /// # Errors
    /// When the store cannot be reached.
    pub fn take(store: &dyn Store) -> Result<Self, StoreError> {
        Ok(Self(AtomicU64::new(store.grant(TERM)?.0)))
    }

    /// # Errors
    /// [`StoreError::LeaseGone`] as long as there never was one.
    pub fn id(&self) -> Result<LeaseId, StoreError> {
        match self.0.load(Ordering::Acquire) {
            NONE => Err(StoreError::LeaseGone { lease: LeaseId(NONE) }),
            id => Ok(LeaseId(id)),
        }
    }

    /// Keeps it alive, and takes another when it ran out, as when the machine slept or was cut off.
    ///
    /// # Errors
    /// When no thread can be made.
    pub fn keep(self: &Arc<Self>, store: Handle, events: Sender<Event>) -> io::Result<()> {
        let lease = Arc::clone(self);
        std::thread::Builder::new().name("lease".into()).spawn(move || {
            let mut is_away = lease.id().is_err();
            loop {
                std::thread::sleep(TERM / 3);
                match lease.renew(&*store) {
                    Ok(renewed) => {
                        if std::mem::take(&mut is_away) {
                            say("the store answers again");
                        }
                        if renewed == Renewed::Anew && events.send(Event::LeaseAnew).is_err() {
                            return;
                        }
                    }
                    Err(error) if !is_away => {
                        say(format!("goes on without the store: {error}"));
                        is_away = true;
                    }
                    Err(_) => {}
                }
            }
        })?;
        Ok(())
    }

    fn renew(&self, store: &dyn Store) -> Result<Renewed, StoreError> {
        match self.id().and_then(|lease| store.keep_alive(lease)) {
            Err(StoreError::LeaseGone { .. }) => {}
            kept => return kept.map(|()| Renewed::Kept),
        }
        let another = store.grant(TERM)?;
        if self.0.swap(another.0, Ordering::AcqRel) != NONE {
            say("this node's lease ran out; it has another one");
        }
        Ok(Renewed::Anew)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Renewed {
    Kept,
    Anew,
}
