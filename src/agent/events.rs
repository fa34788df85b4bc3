//! What wakes an agent: changes of the intent, processes that changed, the end of its keeper.

use std::time::{Duration, Instant};

use super::resting::Word;
use crate::keeper::journal::say;
use crate::keeper::protocol::Running;
use crate::store::{Batch, Handle, Revision, Store, StoreError};

/// The first pause after a watch was refused; it doubles, unless the watch had held for a while.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

pub enum Event {
    /// The intent may have changed.
    Intent,
    /// Processes changed.
    Processes(Vec<Running>),
    /// Other nodes say something new of their tasks.
    Elsewhere(Word),
    /// An image came, or did not.
    Image,
    /// The keeper is gone.
    KeeperGone,
    /// The lease ran out, as when the machine slept, and there is another one.
    LeaseAnew,
}

/// Calls `tell` with each change under `prefix` after `after`, until it says false: nobody hears it.
/// With none, when changes may have been missed: so it begins where `after` is none.
///
/// # Errors
/// When no thread can be made.
pub fn follow(
    store: Handle,
    prefix: &'static str,
    after: Option<Revision>,
    mut tell: impl FnMut(Option<&Batch>) -> bool + Send + 'static,
) -> std::io::Result<()> {
    std::thread::Builder::new().name(prefix.into()).spawn(move || {
        let mut pause = FIRST_PAUSE;
        let mut after = after;
        let mut said = String::new();
        loop {
            let begun = Instant::now();
            if let Some(after) = &mut after {
                match follow_until_lost(&*store, prefix, after, &mut tell) {
                    Ended::AgentGone => return,
                    Ended::Lost(error) => {
                        let error = format!("lost sight of {prefix}: {error}");
                        if error != said {
                            say(&error);
                            said = error;
                        }
                    }
                }
                if begun.elapsed() > LONGEST_PAUSE {
                    pause = FIRST_PAUSE;
                    said.clear();
                }
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
            // Too far behind: what was missed is loaded whole.
            if let Ok(snapshot) = store.load(prefix) {
                after = Some(snapshot.revision);
                if !tell(None) {
                    return;
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

fn follow_until_lost(
    store: &dyn Store,
    prefix: &str,
    after: &mut Revision,
    tell: &mut impl FnMut(Option<&Batch>) -> bool,
) -> Ended {
    let mut watch = match store.watch(prefix, *after) {
        Ok(watch) => watch,
        Err(error) => return Ended::Lost(error),
    };
    loop {
        match watch.next(Duration::from_secs(3600)) {
            Ok(None) => {}
            Ok(Some(batch)) => {
                *after = batch.revision;
                if !tell(Some(&batch)) {
                    return Ended::AgentGone;
                }
            }
            // It goes on by itself once the store is back.
            Err(StoreError::Unreachable { .. }) => {}
            Err(error) => return Ended::Lost(error),
        }
    }
}
