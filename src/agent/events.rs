//! What wakes an agent: changes of the intent, processes that changed, the end of its keeper.

use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use crate::keeper::journal::say;
use crate::keeper::protocol::Running;
use crate::store::records::INTENT;
use crate::store::{Handle, LeaseId, Revision, Store, StoreError};

/// The first pause after a watch was refused; it doubles, unless the watch had held for a while.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

pub enum Event {
    /// The intent may have changed.
    Intent,
    /// Processes changed.
    Processes(Vec<Running>),
    /// The keeper is gone.
    KeeperGone,
    /// The lease ran out, as when the machine slept.
    LeaseGone,
}

/// Tells of each change of the intent after `after`.
///
/// # Errors
/// When no thread can be made.
pub fn follow_intent(
    store: Handle,
    mut after: Revision,
    events: Sender<Event>,
) -> std::io::Result<()> {
    std::thread::Builder::new().name("intent".into()).spawn(move || {
        let mut pause = FIRST_PAUSE;
        loop {
            let begun = Instant::now();
            match follow_until_lost(&store, &mut after, &events) {
                Ended::AgentGone => return,
                Ended::Lost(error) => {
                    say(format!("lost sight of the intent: {error}"));
                    if begun.elapsed() > LONGEST_PAUSE {
                        pause = FIRST_PAUSE;
                    }
                    std::thread::sleep(pause);
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    // Too far behind: what was missed is loaded whole.
                    if let Ok(snapshot) = store.load(INTENT) {
                        after = snapshot.revision;
                        if events.send(Event::Intent).is_err() {
                            return;
                        }
                    }
                }
            }
        }
    })?;
    Ok(())
}

enum Ended {
    AgentGone,
    Lost(StoreError),
}

fn follow_until_lost(store: &dyn Store, after: &mut Revision, events: &Sender<Event>) -> Ended {
    let mut watch = match store.watch(INTENT, *after) {
        Ok(watch) => watch,
        Err(error) => return Ended::Lost(error),
    };
    loop {
        match watch.next(Duration::from_secs(3600)) {
            Ok(None) => {}
            Ok(Some(batch)) => {
                *after = batch.revision;
                if events.send(Event::Intent).is_err() {
                    return Ended::AgentGone;
                }
            }
            // It goes on by itself once the store is back.
            Err(StoreError::Unreachable { .. }) => {}
            Err(error) => return Ended::Lost(error),
        }
    }
}

/// Keeps a lease alive.
///
/// # Errors
/// When no thread can be made.
pub fn keep_lease(
    store: Handle,
    lease: LeaseId,
    every: Duration,
    events: Sender<Event>,
) -> std::io::Result<()> {
    std::thread::Builder::new().name("lease".into()).spawn(move || {
        let mut is_away = false;
        loop {
            std::thread::sleep(every);
            match store.keep_alive(lease) {
                Err(StoreError::LeaseGone { .. }) => {
                    let _ = events.send(Event::LeaseGone);
                    return;
                }
                Err(error) if !is_away => {
                    say(format!("goes on without the store: {error}"));
                    is_away = true;
                }
                Ok(()) if is_away => {
                    say("the store answers again");
                    is_away = false;
                }
                Ok(()) | Err(_) => {}
            }
        }
    })?;
    Ok(())
}
