//! How the tasks of a service are set up, in Docker's words.

use std::path::PathBuf;

use clap::Args;

use crate::intent::mount::absolute;
use crate::intent::setup::{Bytes, Cpus};
use crate::intent::{Capability, Limits, Mount, Setup, Span, StopSignal, UserName};

/// Options of `service create`. Those that only containers can have are refused by the intent for tasks
/// of other images.
#[derive(Debug, Clone, Default, Args)]
pub struct Options {
    /// A file of variables, one NAME=VALUE a line; may be given several times
    ///
    /// Lines that are empty or begin with # are nothing; NAME alone is for the value that it has here.
    /// `--env` goes before it.
    #[arg(long = "env-file", value_name = "FILE")]
    pub env_files: Vec<PathBuf>,
    /// As whom its tasks run: USER or UID, with :GROUP or :GID behind it [default: as the image
    /// says, or root]
    #[arg(short, long, value_name = "USER[:GROUP]")]
    pub user: Option<UserName>,
    /// The directory in which its tasks begin [default: as the image says, or /]
    #[arg(short, long, value_name = "DIR", value_parser = absolute)]
    pub workdir: Option<PathBuf>,
    /// What begins the command line of its containers, instead of the image's; empty for nothing
    ///
    /// It is split into words as a shell would. With it, the image's own arguments are left out.
    #[arg(long, value_name = "COMMAND", value_parser = words)]
    pub entrypoint: Option<Words>,
    /// Something mounted in its containers; may be given several times
    ///
    /// Write type=bind,source=PATH,target=PATH for a file or directory of the node, or
    /// type=tmpfs,target=PATH, with tmpfs-size=64m and tmpfs-mode=1770 if need be; `readonly` at the end
    /// makes it so. What is to be bound must be there on the task's node.
    #[arg(long = "mount", value_name = "MOUNT")]
    pub mounts: Vec<Mount>,
    /// Its containers cannot change their root file system
    #[arg(long)]
    pub read_only: bool,
    /// A capability that its containers have beside Docker's usual ones, or ALL; may be given several
    /// times
    #[arg(long, value_name = "CAPABILITY")]
    pub cap_add: Vec<Capability>,
    /// A capability that its containers do without, or ALL; may be given several times
    #[arg(long, value_name = "CAPABILITY")]
    pub cap_drop: Vec<Capability>,
    /// In its containers an init is the first process: it passes signals on and buries the dead
    ///
    /// It is the node's own `docker-init`, `tini-static` or `catatonit`, whichever is on PATH.
    #[arg(long)]
    pub init: bool,
    /// What asks its tasks to end, by name or number [default: as the image says, or SIGTERM]
    #[arg(long, value_name = "SIGNAL")]
    pub stop_signal: Option<StopSignal>,
    /// How long its tasks may take to end after that, before they are killed [default: 10s]
    #[arg(long, value_name = "TIME")]
    pub stop_grace_period: Option<Span>,
    /// How many processors each of its tasks may use at the most, as 0.5 or 2
    #[arg(long, value_name = "CPUS")]
    pub limit_cpu: Option<Cpus>,
    /// How much memory each of its tasks may have, as 64m or 1.5g; what takes more is killed
    #[arg(long, value_name = "BYTES")]
    pub limit_memory: Option<Bytes>,
    /// How many processes and threads each of its tasks may have; 0 for any number
    #[arg(long, value_name = "N", value_parser = super::number::number(0..=4_194_304_u32))]
    pub limit_pids: Option<u32>,
    /// The OCI runtime of its containers: its name on PATH, or its path [default: the first of runc,
    /// crun and youki that is there]
    #[arg(long, value_name = "RUNTIME", value_parser = runtime)]
    pub runtime: Option<String>,
}

/// A command line in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Words(pub Vec<String>);

fn words(text: &str) -> Result<Words, String> {
    shlex::split(text)
        .map(Words)
        .ok_or_else(|| format!("`{}` has a quote that does not end", text.escape_debug()))
}

fn runtime(text: &str) -> Result<String, String> {
    let is_path = text.starts_with('/');
    match !text.is_empty() && (is_path || !text.contains('/')) && !text.contains('\0') {
        true => Ok(text.to_owned()),
        false => Err(format!("`{}` is neither a name nor an absolute path", text.escape_debug())),
    }
}

impl Options {
    /// All but the variables.
    pub fn setup(&self) -> Setup {
        Setup {
            user: self.user.clone(),
            workdir: self.workdir.clone(),
            entrypoint: self.entrypoint.clone().map(|Words(words)| words),
            mounts: self.mounts.clone(),
            read_only: self.read_only,
            cap_add: self.cap_add.iter().copied().collect(),
            cap_drop: self.cap_drop.iter().copied().collect(),
            init: self.init,
            stop_signal: self.stop_signal,
            stop_grace_period: self.stop_grace_period,
            limits: Limits {
                cpu: self.limit_cpu,
                memory: self.limit_memory,
                pids: self.limit_pids.filter(|most| *most > 0),
            },
            runtime: self.runtime.clone(),
        }
    }
}
