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

impl Lease {
    /// # Errors
    /// When the store cannot be reached.
    pub fn take(store: &dyn Store) -> Result<Self, StoreError> {
        Ok(Self(AtomicU64::new(store.grant(TERM)?.0)))
    }

    pub fn id(&self) -> LeaseId {
        LeaseId(self.0.load(Ordering::Acquire))
    }

    /// Keeps it alive, and takes another when it ran out, as when the machine slept or was cut off.
    ///
    /// # Errors
    /// When no thread can be made.
    pub fn keep(self: &Arc<Self>, store: Handle, events: Sender<Event>) -> io::Result<()> {
        let lease = Arc::clone(self);
        std::thread::Builder::new().name("lease".into()).spawn(move || {
            let mut is_away = false;
            loop {
                std::thread::sleep(TERM / 3);
                match store.keep_alive(lease.id()) {
                    Err(StoreError::LeaseGone { .. }) => {}
                    Err(error) if !is_away => {
                        say(format!("goes on without the store: {error}"));
                        is_away = true;
                        continue;
                    }
                    Ok(()) if is_away => {
                        say("the store answers again");
                        is_away = false;
                        continue;
                    }
                    Ok(()) | Err(_) => continue,
                }
                match store.grant(TERM) {
                    Ok(another) => {
                        say("this node's lease ran out; it has another one");
                        lease.0.store(another.0, Ordering::Release);
                        if events.send(Event::LeaseAnew).is_err() {
                            return;
                        }
                    }
                    Err(error) => say(format!("no lease for this node: {error}")),
                }
            }
        })?;
        Ok(())
    }
}
