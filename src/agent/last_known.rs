//! What was asked for, as this node last knew it: where the store is on another machine, a copy lies in the
//! state directory, and an agent that cannot reach the store when it starts goes on from there.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Sender, channel};

use serde::{Deserialize, Serialize};

use super::associations::replace;
use crate::api::Membership;
use crate::intent::Intent;
use crate::keeper::journal::say;
use crate::killpoint;
use crate::state_dir::StateDir;
use crate::store::records::Loaded;
use crate::store::{Location, Revision};

/// Of this form; what another one wrote is not read.
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Written {
    version: u32,
    /// Of which store it is.
    store: String,
    revision: Revision,
    edited: Revision,
    intent: Intent,
}

/// Whichever part of it has to be known first.
#[derive(Deserialize)]
struct Form {
    version: u32,
}

/// Where the copy is, and of which store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastKnown {
    path: PathBuf,
    store: String,
}

impl LastKnown {
    /// None on a node that has the store itself: what it lost, a copy beside it would not bring back.
    ///
    /// # Errors
    /// When it cannot be read where the store is.
    pub fn of(state: &StateDir, location: &Location) -> io::Result<Option<Self>> {
        let membership = Membership::load(&state.membership())?;
        let store = match location {
            Location::Etcd(etcd) => etcd.address.to_string(),
            Location::Embedded => match membership.filter(|held| held.first.is_some()) {
                Some(membership) => membership.cluster.to_string(),
                None => return Ok(None),
            },
        };
        Ok(Some(Self { path: state.intent_copy(), store }))
    }

    /// What is kept; none where there is nothing, or nothing that is of use.
    pub fn load(&self) -> Option<Loaded> {
        match self.read() {
            Ok(written) if written.store == self.store => Some(Loaded {
                revision: written.revision,
                edited: written.edited,
                intent: written.intent,
            }),
            Ok(_) => None,
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                say(format!("{} is of no use: {error}", self.path.display()));
                None
            }
        }
    }

    fn read(&self) -> io::Result<Written> {
        let text = std::fs::read(&self.path)?;
        let form: Form = serde_json::from_slice(&text)?;
        if form.version != VERSION {
            let said = format!("it is of version {}, and {VERSION} is known here", form.version);
            return Err(io::Error::new(io::ErrorKind::InvalidData, said));
        }
        Ok(serde_json::from_slice(&text)?)
    }

    fn write(&self, loaded: Loaded) -> io::Result<()> {
        let Loaded { revision, edited, intent } = loaded;
        let store = self.store.clone();
        let written = Written { version: VERSION, store, revision, edited, intent };
        let text = serde_json::to_vec(&written)?;
        killpoint::pass(|| "before what was asked for is kept".into());
        replace(&self.path, &text)?;
        killpoint::pass(|| "what was asked for is kept".into());
        Ok(())
    }

    /// Keeps what is sent there, on a thread of its own: nobody waits for it. Of several the last.
    ///
    /// # Errors
    /// When no thread can be made.
    pub fn keeper(self) -> io::Result<Sender<Loaded>> {
        let (sender, receiver) = channel::<Loaded>();
        std::thread::Builder::new().name("copy".into()).spawn(move || {
            let mut complained = false;
            while let Ok(loaded) = receiver.recv() {
                let last = receiver.try_iter().last().unwrap_or(loaded);
                match self.write(last) {
                    Ok(()) => complained = false,
                    Err(error) if !complained => {
                        say(format!("what was asked for cannot be kept: {error}"));
                        complained = true;
                    }
                    Err(_) => {}
                }
            }
        })?;
        Ok(sender)
    }
}

/// The revision that an agent goes on from as long as the store is out of reach; none where none is kept.
pub fn revision(path: &Path) -> Option<Revision> {
    let written: Written = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
    (written.version == VERSION).then_some(written.revision)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::intent::tests::story;

    fn kept(directory: &Path) -> LastKnown {
        LastKnown { path: directory.join("intent.json"), store: "etcd://10.0.0.1:2379".into() }
    }

    fn loaded() -> Loaded {
        Loaded { revision: Revision(9), edited: Revision(7), intent: story() }
    }

    #[test]
    fn what_is_kept_is_for_root_only_and_read_back_whole() {
        let directory = tempfile::tempdir().unwrap();
        let kept = kept(directory.path());
        assert!(kept.load().is_none());
        kept.write(loaded()).unwrap();
        let read = kept.load().unwrap();
        assert_eq!((read.revision, read.edited, read.intent), (Revision(9), Revision(7), story()));
        assert_eq!(revision(&kept.path), Some(Revision(9)));
        let mode = std::fs::metadata(&kept.path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn what_was_cut_off_or_is_of_another_store_or_version_is_not_used() {
        let directory = tempfile::tempdir().unwrap();
        let kept = kept(directory.path());
        kept.write(loaded()).unwrap();
        let whole = std::fs::read_to_string(&kept.path).unwrap();
        std::fs::write(kept.path.with_extension("part"), &whole[..40]).unwrap();
        assert!(kept.load().is_some(), "what a killed agent left is not looked at");
        kept.write(loaded()).unwrap();
        let other = LastKnown { store: "another".into(), ..kept.clone() };
        assert!(other.load().is_none());
        std::fs::write(&kept.path, whole.replace("\"version\":1", "\"version\":2")).unwrap();
        assert!(kept.load().is_none());
        std::fs::write(&kept.path, &whole[..whole.len() / 2]).unwrap();
        assert!(kept.load().is_none());
    }

    #[test]
    fn the_last_of_several_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let kept = kept(directory.path());
        let sender = kept.clone().keeper().unwrap();
        for number in 1..=50 {
            sender.send(Loaded { revision: Revision(number), ..loaded() }).unwrap();
        }
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while revision(&kept.path) != Some(Revision(50)) {
            assert!(std::time::Instant::now() < deadline, "{:?}", revision(&kept.path));
            std::thread::yield_now();
        }
    }
}
