//! Who is of the cluster at this moment: a connection ends when its node leaves.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch::{Receiver, Sender, channel};

use crate::keeper::journal;
use crate::state_dir::StateDir;
use crate::store::client::Client;
use crate::store::records::{self, RecordError};
use crate::store::{Revision, Store};

/// How long the store may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// The pause before it is asked again where it did not.
const AGAIN: Duration = Duration::from_millis(500);
/// How long nothing is looked at when nothing is told.
const LONG: Duration = Duration::from_secs(3600);

/// The fingerprints of all nodes' certificates, and of which revision they are.
type Members = (Revision, Arc<BTreeSet<String>>);

/// Whom a connection was let in for.
#[derive(Debug)]
pub struct Admitted {
    fingerprint: String,
    revision: Revision,
    members: Receiver<Members>,
}

/// Follows who is of the cluster.
#[derive(Debug, Clone)]
pub struct Roll(Receiver<Members>);

impl Roll {
    /// # Errors
    /// When no thread can be made.
    pub fn follow(state: &StateDir) -> io::Result<Self> {
        let (sender, receiver) = channel((Revision::NEVER, Arc::default()));
        let state = state.clone();
        std::thread::Builder::new().name("roll".into()).spawn(move || {
            let mut said = String::new();
            while let Err(error) = follow(&state, &sender) {
                if sender.is_closed() {
                    return;
                }
                let error = format!("cannot see who is of the cluster: {error}");
                if error != said {
                    journal::say(&error);
                    said = error;
                }
                std::thread::sleep(AGAIN);
            }
        })?;
        Ok(Self(receiver))
    }

    /// The one that showed this certificate was of the cluster at a revision.
    pub fn admit(&self, fingerprint: String, revision: Revision) -> Admitted {
        Admitted { fingerprint, revision, members: self.0.clone() }
    }
}

impl Admitted {
    /// Ends when the node has left. What was known before it was let in does not count.
    pub async fn left(&mut self) {
        let (fingerprint, since) = (&self.fingerprint, self.revision);
        let has_left =
            |(revision, members): &Members| *revision >= since && !members.contains(fingerprint);
        if self.members.wait_for(has_left).await.is_err() {
            // Nobody follows any more: this process ends.
            std::future::pending::<()>().await;
        }
    }
}

/// Tells of each change, until the store is lost.
fn follow(state: &StateDir, members: &Sender<Members>) -> Result<(), RecordError> {
    let store = Client::connect_within(&state.store_socket(), PATIENCE)?;
    loop {
        let (revision, certificates) = records::load_certificates(&store)?;
        let mut watch = store.watch(records::NODES, revision)?;
        if members.send((revision, Arc::new(certificates))).is_err() {
            return Ok(());
        }
        while watch.next(LONG)?.is_none() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(revision: u64, fingerprints: &[&str]) -> Members {
        let fingerprints = fingerprints.iter().map(|one| (*one).to_owned()).collect();
        (Revision(revision), Arc::new(fingerprints))
    }

    async fn is_left(admitted: &mut Admitted) -> bool {
        tokio::select! {
            biased;
            () = admitted.left() => true,
            () = std::future::ready(()) => false,
        }
    }

    #[test]
    fn a_node_has_left_once_it_is_missed_after_it_was_let_in() {
        let runtime = super::super::server::runtime().unwrap();
        runtime.block_on(async {
            let (sender, receiver) = channel(members(3, &["a"]));
            let mut admitted = Roll(receiver).admit("b".into(), Revision(5));
            assert!(!is_left(&mut admitted).await, "what was known is older");
            sender.send(members(5, &["a", "b"])).unwrap();
            assert!(!is_left(&mut admitted).await);
            sender.send(members(9, &["a"])).unwrap();
            assert!(is_left(&mut admitted).await);
        });
    }
}
