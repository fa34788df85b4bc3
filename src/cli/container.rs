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

/// Options of `service update`: what is not said stays as it is.
#[derive(Debug, Clone, Default, Args)]
pub struct Changes {
    /// As whom its tasks run: USER or UID, with :GROUP or :GID behind it
    #[arg(short, long, value_name = "USER[:GROUP]")]
    pub user: Option<UserName>,
    /// The directory in which its tasks begin
    #[arg(short, long, value_name = "DIR", value_parser = absolute)]
    pub workdir: Option<PathBuf>,
    /// What begins the command line of its containers, as for `service create`
    #[arg(long, value_name = "COMMAND", value_parser = words)]
    pub entrypoint: Option<Words>,
    /// Something mounted in its containers, as for `service create`; it takes the place of what had the
    /// same target
    #[arg(long, value_name = "MOUNT")]
    pub mount_add: Vec<Mount>,
    /// The target of a mount that its containers shall not have any more
    #[arg(long, value_name = "TARGET", value_parser = absolute)]
    pub mount_rm: Vec<PathBuf>,
    /// Whether its containers cannot change their root file system
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    #[arg(require_equals = true)]
    pub read_only: Option<bool>,
    /// A capability that its containers get, or ALL; if it was dropped, it is not any more
    #[arg(long, value_name = "CAPABILITY")]
    pub cap_add: Vec<Capability>,
    /// A capability that its containers lose, or ALL; if it was added, it is not any more
    #[arg(long, value_name = "CAPABILITY")]
    pub cap_drop: Vec<Capability>,
    /// Whether in its containers an init is the first process
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    #[arg(require_equals = true)]
    pub init: Option<bool>,
    /// What asks its tasks to end, by name or number
    #[arg(long, value_name = "SIGNAL")]
    pub stop_signal: Option<StopSignal>,
    /// How long its tasks may take to end after that, before they are killed
    #[arg(long, value_name = "TIME")]
    pub stop_grace_period: Option<Span>,
    /// How many processors each of its tasks may use at the most; 0 for any number
    #[arg(long, value_name = "CPUS")]
    pub limit_cpu: Option<Limit<Cpus>>,
    /// How much memory each of its tasks may have; 0 for any amount
    #[arg(long, value_name = "BYTES")]
    pub limit_memory: Option<Limit<Bytes>>,
    /// How many processes and threads each of its tasks may have; 0 for any number
    #[arg(long, value_name = "N", value_parser = super::number::number(0..=4_194_304_u32))]
    pub limit_pids: Option<u32>,
    /// The OCI runtime of its containers: its name on PATH, or its path
    #[arg(long, value_name = "RUNTIME", value_parser = runtime)]
    pub runtime: Option<String>,
}

impl Changes {
    /// How tasks are set up afterwards that were set up so.
    pub fn over(&self, former: &Setup) -> Setup {
        let mut setup = former.clone();
        let rest = Setup {
            user: self.user.clone().or(setup.user),
            workdir: self.workdir.clone().or(setup.workdir),
            entrypoint: self.entrypoint.clone().map(|Words(words)| words).or(setup.entrypoint),
            read_only: self.read_only.unwrap_or(setup.read_only),
            init: self.init.unwrap_or(setup.init),
            stop_signal: self.stop_signal.or(setup.stop_signal),
            stop_grace_period: self.stop_grace_period.or(setup.stop_grace_period),
            runtime: self.runtime.clone().or(setup.runtime),
            limits: Limits {
                cpu: self.limit_cpu.map_or(setup.limits.cpu, |limit| limit.0),
                memory: self.limit_memory.map_or(setup.limits.memory, |limit| limit.0),
                pids: match self.limit_pids {
                    Some(most) => Some(most).filter(|most| *most > 0),
                    None => setup.limits.pids,
                },
            },
            mounts: Vec::new(),
            cap_add: std::mem::take(&mut setup.cap_add),
            cap_drop: std::mem::take(&mut setup.cap_drop),
        };
        self.rights_over(Setup { mounts: self.mounts_over(setup.mounts), ..rest })
    }

    fn mounts_over(&self, mut mounts: Vec<Mount>) -> Vec<Mount> {
        let added = |mount: &Mount| self.mount_add.iter().any(|one| one.target == mount.target);
        mounts.retain(|mount| !self.mount_rm.contains(&mount.target) && !added(mount));
        mounts.extend(self.mount_add.iter().cloned());
        mounts
    }

    fn rights_over(&self, mut setup: Setup) -> Setup {
        for capability in &self.cap_add {
            if !setup.cap_drop.remove(capability) {
                setup.cap_add.insert(*capability);
            }
        }
        for capability in &self.cap_drop {
            if !setup.cap_add.remove(capability) {
                setup.cap_drop.insert(*capability);
            }
        }
        setup
    }
}

/// A limit, or none, which is written 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit<T>(pub Option<T>);

impl<T: std::str::FromStr> std::str::FromStr for Limit<T> {
    type Err = T::Err;

    fn from_str(text: &str) -> Result<Self, T::Err> {
        match text {
            "0" => Ok(Self(None)),
            _ => text.parse().map(|limit| Self(Some(limit))),
        }
    }
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

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Created {
        #[command(flatten)]
        options: Options,
    }

    #[derive(Parser)]
    struct Updated {
        #[command(flatten)]
        changes: Changes,
    }

    fn updated(create: &str, update: &str) -> Setup {
        let typed = |line: &str| -> Vec<String> {
            std::iter::once("x".to_owned()).chain(shlex::split(line).unwrap()).collect()
        };
        let setup = Created::try_parse_from(typed(create)).unwrap().options.setup();
        Updated::try_parse_from(typed(update)).unwrap().changes.over(&setup)
    }

    fn created(create: &str) -> Setup {
        updated(create, "")
    }

    #[test]
    fn what_is_not_said_stays_and_what_is_said_takes_its_place() {
        let all = "--user web:web --workdir /srv --entrypoint '/run me' --mount type=tmpfs,target=/tmp \
            --read-only --cap-add NET_ADMIN --cap-drop CHOWN --init --stop-signal QUIT \
            --stop-grace-period 3s --limit-cpu 0.5 --limit-memory 64m --limit-pids 9 --runtime crun";
        assert_eq!(updated(all, ""), created(all));
        assert_eq!(updated("", &all.replace("--mount ", "--mount-add ")), created(all));
        let lifted = "--limit-cpu 0 --limit-memory 0 --limit-pids 0 --read-only=false --init=false \
            --cap-add CHOWN --cap-drop NET_ADMIN --mount-rm /tmp";
        let lifted = updated(all, lifted);
        let rest = "--user web:web --workdir /srv --entrypoint '/run me' --stop-signal QUIT \
            --stop-grace-period 3s --runtime crun";
        assert_eq!(lifted, created(rest));
    }

    #[test]
    fn a_mount_takes_the_place_of_the_one_that_had_its_target() {
        let two = "--mount type=tmpfs,target=/a --mount type=tmpfs,target=/b";
        let changed = updated(two, "--mount-add type=bind,source=/etc,target=/a,readonly");
        let expected =
            "--mount type=tmpfs,target=/b --mount type=bind,source=/etc,target=/a,readonly";
        assert_eq!(changed, created(expected));
    }
}
