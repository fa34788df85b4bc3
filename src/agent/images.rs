//! The images of this node's tasks, brought here in the background: no task waits for the image of
//! another.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use super::events::Event;
use crate::container::Accounts;
use crate::image::{Prepared, PullOptions, Silent, Store};
use crate::intent::Reference;
use crate::keeper::container::lower_options;
use crate::keeper::journal::say;
use crate::keeper::server::now;
use crate::state_dir::StateDir;

/// How many images are brought at once.
const AT_ONCE: usize = 3;
/// The first pause before what did not come is asked for again; it doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Longest list of users or groups that is read, in bytes.
const LONGEST_LIST: u64 = 1 << 20;

/// What a task of an image is made from.
#[derive(Debug, Clone)]
pub struct Ready {
    pub prepared: Prepared,
    pub accounts: Accounts,
    /// Where all layers are.
    pub layers: PathBuf,
}

/// How an image stands.
#[derive(Debug, Clone)]
pub enum Standing {
    Coming { since: u64 },
    Ready(Arc<Ready>),
    Failed { error: String, failures: u32, since: u64, retry: Instant },
}

struct Held {
    standing: Standing,
    /// Of one that comes anew: how often it did not.
    failures: u32,
}

/// Tells how registries are asked now, or why that cannot be told.
pub type Asking = Arc<dyn Fn() -> Result<PullOptions, String> + Send + Sync>;

/// Those that are wanted here.
pub struct Images {
    state: StateDir,
    asking: Asking,
    held: Mutex<BTreeMap<Reference, Held>>,
    events: Mutex<Sender<Event>>,
}

impl Images {
    pub fn new(state: StateDir, asking: Asking, events: Sender<Event>) -> Arc<Self> {
        Arc::new(Self { state, asking, held: Mutex::default(), events: Mutex::new(events) })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Reference, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How an image stands; none when it was not wanted so far.
    pub fn standing(&self, image: &Reference) -> Option<Standing> {
        self.lock().get(image).map(|held| held.standing.clone())
    }

    /// What tasks of an image are made from, once it is here.
    pub fn ready(&self, image: &Reference) -> Option<Arc<Ready>> {
        match self.standing(image) {
            Some(Standing::Ready(ready)) => Some(ready),
            _ => None,
        }
    }

    /// When one that did not come is asked for again.
    pub fn due(&self) -> Option<Instant> {
        let held = self.lock();
        let retries = held.values().filter_map(|held| match held.standing {
            Standing::Failed { retry, .. } => Some(retry),
            _ => None,
        });
        retries.min()
    }

    /// Has these come, as far as they are not here, and forgets about others.
    pub fn want(self: &Arc<Self>, wanted: &BTreeSet<Reference>) {
        let mut held = self.lock();
        held.retain(|image, held| {
            wanted.contains(image) || matches!(held.standing, Standing::Coming { .. })
        });
        let is_coming = |held: &&Held| matches!(held.standing, Standing::Coming { .. });
        let mut coming = held.values().filter(is_coming).count();
        for image in wanted {
            let failures = match held.get(image).map(|held| &held.standing) {
                None => 0,
                Some(Standing::Failed { retry, failures, .. }) if *retry <= Instant::now() => {
                    *failures
                }
                Some(_) => continue,
            };
            if coming >= AT_ONCE {
                // Whoever comes to an end wakes the agent, which asks again.
                continue;
            }
            let images = Arc::clone(self);
            let reference = image.clone();
            let started = std::thread::Builder::new()
                .name("image".into())
                .spawn(move || images.bring(&reference));
            match started {
                Ok(_) => coming += 1,
                Err(error) => {
                    say(format!("no thread for image {image}: {error}"));
                    continue;
                }
            }
            let standing = Standing::Coming { since: now() };
            held.insert(image.clone(), Held { standing, failures });
        }
    }

    fn bring(&self, image: &Reference) {
        let brought = self.brought(image);
        let mut held = self.lock();
        let failures = held.get(image).map_or(0, |held| held.failures);
        let standing = match brought {
            Ok(ready) => Standing::Ready(Arc::new(ready)),
            Err(error) => {
                say(format!("image {image} is not here: {error}"));
                let pause = FIRST_PAUSE.saturating_mul(1 << failures.min(16)).min(LONGEST_PAUSE);
                let retry = Instant::now() + pause;
                Standing::Failed { error, failures: failures + 1, since: now(), retry }
            }
        };
        held.insert(image.clone(), Held { standing, failures: 0 });
        drop(held);
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = events.send(Event::Image);
    }

    /// What lies in files is looked at each time it is wanted anew; of a registry, what is here under that
    /// name will do.
    fn brought(&self, image: &Reference) -> Result<Ready, String> {
        let words = |error: crate::image::ImageError| error.to_string();
        let store = Store::open(&self.state).map_err(words)?;
        let held = match image {
            Reference::Registry(_) => store.find(image).map_err(words)?,
            _ => None,
        };
        let id = match held {
            Some(id) => id,
            None => store.pull(image, &(self.asking)()?, &Silent).map_err(words)?,
        };
        let prepared = store.prepare(&id).map_err(words)?;
        let layers = store.layers_dir();
        let accounts = accounts(&prepared, &layers)
            .map_err(|error| format!("its users cannot be read: {error}"))?;
        Ok(Ready { prepared, accounts, layers })
    }

    /// Says that a task runs from an image, so that it stays.
    ///
    /// # Errors
    /// When it is gone already.
    pub fn claim(&self, holder: &str, image: &Reference, ready: &Ready) -> Result<(), String> {
        let words = |error: crate::image::ImageError| error.to_string();
        let store = Store::open(&self.state).map_err(words)?;
        store.claim(holder, &ready.prepared.id).map_err(|error| {
            // It is brought again.
            self.lock().remove(image);
            error.to_string()
        })
    }

    /// Takes back the claims of those who are not there any more.
    pub fn release_others(&self, holders: &BTreeSet<String>) {
        if !self.state.images().exists() {
            return;
        }
        let release = || {
            let store = Store::open(&self.state)?;
            for (holder, _) in store.claims()? {
                if !holders.contains(&holder) {
                    store.release(&holder)?;
                }
            }
            Ok::<_, crate::image::ImageError>(())
        };
        if let Err(error) = release() {
            say(format!("an image is kept for nobody: {error}"));
        }
    }
}

/// The users and groups of an image, read where its links lead nowhere else.
fn accounts(prepared: &Prepared, layers: &std::path::Path) -> io::Result<Accounts> {
    let read = |root: &File| {
        Ok(Accounts { passwd: list(root, "etc/passwd")?, group: list(root, "etc/group")? })
    };
    if let [only] = &prepared.lower_dirs[..] {
        return read(&File::open(only)?);
    }
    let options = lower_options(&prepared.lower_dirs, layers)?;
    // In a mount namespace that ends with its thread.
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            unshare(CloneFlags::CLONE_FS | CloneFlags::CLONE_NEWNS)?;
            let slave = MsFlags::MS_SLAVE | MsFlags::MS_REC;
            mount(None::<&str>, "/", None::<&str>, slave, None::<&str>)?;
            std::env::set_current_dir(layers)?;
            // On a directory that is surely there, for this thread to see only.
            let target = "/proc";
            let kind = Some("overlay");
            mount(kind, target, kind, MsFlags::MS_RDONLY, Some(options.as_c_str()))?;
            read(&File::open(target)?)
        });
        worker.join().unwrap_or_else(|_| Err(io::Error::other("the thread ended")))
    })
}

/// A file below a root, as text; empty when there is none.
fn list(root: &File, path: &str) -> io::Result<String> {
    let how = OpenHow::new().flags(OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK);
    let how = how.resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let file = match openat2(root, path, how) {
        Err(nix::errno::Errno::ENOENT | nix::errno::Errno::ENOTDIR) => return Ok(String::new()),
        opened => File::from(opened?),
    };
    if !file.metadata()?.is_file() {
        return Ok(String::new());
    }
    let mut bytes = Vec::new();
    file.take(LONGEST_LIST).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_read_in_the_image_and_nowhere_else() {
        let root = tempfile::tempdir().unwrap();
        let file = File::open(root.path()).unwrap();
        assert_eq!(list(&file, "etc/passwd").unwrap(), "");
        std::fs::create_dir(root.path().join("etc")).unwrap();
        std::fs::write(root.path().join("own"), "own").unwrap();
        std::os::unix::fs::symlink("/own", root.path().join("etc/passwd")).unwrap();
        assert_eq!(list(&file, "etc/passwd").unwrap(), "own");
        std::os::unix::fs::symlink("/proc/self/status", root.path().join("etc/group")).unwrap();
        assert_eq!(list(&file, "etc/group").unwrap(), "", "it leads out of the image");
        std::fs::create_dir(root.path().join("etc/x")).unwrap();
        assert_eq!(list(&file, "etc/x").unwrap(), "");
    }
}
