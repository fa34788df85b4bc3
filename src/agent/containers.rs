//! What the keeper is told beside a process: of what its container is made, its control group, and what
//! asks it to end.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use nix::sys::resource::{Resource, getrlimit};

use super::images::Images;
use crate::container::{Facilities, Outline, Place, config, hostname, hosts};
use crate::intent::mount::Source;
use crate::intent::{ClusterId, Setup, StopSignal};
use crate::keeper::protocol::Bundle;
use crate::kernel::cgroup::{self, Version};
use crate::kernel::{netns, oci_runtime};
use crate::node::process::{Container, Program};
use crate::node::{Process, SandboxName};
use crate::state_dir::StateDir;

/// Makes it from what is known of images and of the machine.
pub struct Containers {
    pub images: Arc<Images>,
    pub state: StateDir,
    pub cluster: ClusterId,
    /// Which runtimes say which system calls a container may make.
    filters: Mutex<BTreeMap<PathBuf, bool>>,
}

/// What goes with a process.
#[derive(Debug, Clone)]
pub struct Outfit {
    pub bundle: Option<Bundle>,
    pub group: Option<String>,
    /// By its number.
    pub stop_signal: i32,
}

impl Containers {
    pub fn new(images: Arc<Images>, state: StateDir, cluster: ClusterId) -> Self {
        Self { images, state, cluster, filters: Mutex::default() }
    }

    /// # Errors
    /// Why this node cannot run it.
    pub fn outfit(&self, sandbox: &SandboxName, process: &Process) -> Result<Outfit, String> {
        let setup = &process.setup;
        if let Some(lack) = cgroup::lack(&setup.limits) {
            return Err(lack);
        }
        let group = format!("swarmlb-{}/{}", self.cluster, process.task);
        match &process.program {
            Program::Container(container) => self.contained(sandbox, process, container, group),
            _ => Ok(Outfit {
                bundle: None,
                group: (!setup.limits.is_none()).then_some(group),
                stop_signal: stop_signal(setup, None),
            }),
        }
    }

    fn contained(
        &self,
        sandbox: &SandboxName,
        process: &Process,
        container: &Container,
        group: String,
    ) -> Result<Outfit, String> {
        let image = &container.image;
        let ready = self.images.ready(image).ok_or_else(|| format!("{image} is not here"))?;
        let runtime = oci_runtime::find(process.setup.runtime.as_deref())?;
        missing_source(&process.setup).map_or(Ok(()), Err)?;
        let place = Place {
            network: netns::path(sandbox.as_str()),
            directory: self.state.task(sandbox),
            group: group.clone(),
            init: process.setup.init.then(oci_runtime::init).flatten(),
        };
        let outline = Outline {
            process,
            container,
            image: &ready.prepared.config,
            accounts: &ready.accounts,
            place: &place,
            facilities: self.facilities(&runtime),
        };
        let config = config(&outline).map_err(|error| error.to_string())?.to_string();
        self.images.claim(sandbox.as_str(), image, &ready)?;
        let signal = ready.prepared.config.stop_signal.as_deref();
        Ok(Outfit {
            bundle: Some(Bundle {
                runtime,
                config,
                hostname: format!("{}\n", hostname(process)),
                hosts: hosts(process, container),
                layers: ready.layers.clone(),
                lower: ready.prepared.lower_dirs.clone(),
            }),
            group: Some(group),
            stop_signal: stop_signal(&process.setup, signal),
        })
    }

    fn facilities(&self, runtime: &Path) -> Facilities {
        let mut filters = self.filters.lock().unwrap_or_else(PoisonError::into_inner);
        let seccomp = match filters.get(runtime) {
            Some(known) => *known,
            None => {
                let known = oci_runtime::has_seccomp(runtime);
                filters.insert(runtime.to_owned(), known);
                known
            }
        };
        Facilities {
            unified: cgroup::version() == Some(Version::Two),
            seccomp,
            processor: std::env::consts::ARCH,
            most_files: most_files(),
        }
    }
}

/// How many files a process may open whom this one starts: to give more, not even root has the right
/// everywhere.
fn most_files() -> u64 {
    getrlimit(Resource::RLIMIT_NOFILE).map_or(u64::MAX, |(_, hard)| hard)
}

/// What asks a task to end: as the service says, or the image.
fn stop_signal(setup: &Setup, image: Option<&str>) -> i32 {
    let signal = setup.stop_signal.or_else(|| image?.parse().ok());
    signal.unwrap_or(StopSignal::TERM).0
}

/// Which file or directory that shall be mounted is not there, in words.
fn missing_source(setup: &Setup) -> Option<String> {
    let sources = setup.mounts.iter().filter_map(|mount| match &mount.source {
        Source::Bind(source) => Some(source),
        Source::Tmpfs { .. } => None,
    });
    let missing = sources.into_iter().find(|source| !source.exists());
    missing
        .map(|source| format!("{}, which shall be mounted, is not on this node", source.display()))
}
