//! As whom, where and within which limits a task begins that is no container.

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::Command;

use nix::unistd::{Gid, Group, Uid, User};

use super::protocol::Start;
use crate::container::accounts::AccountError;
use crate::intent::UserName;
use crate::kernel::cgroup;

/// What a process takes on before it becomes its program.
#[derive(Debug)]
pub struct Seat {
    /// Of its control group; `0` is written into each.
    entries: Vec<File>,
    workdir: Option<PathBuf>,
    user: Option<Account>,
}

#[derive(Debug)]
struct Account {
    uid: Uid,
    gid: Gid,
    groups: Vec<Gid>,
}

impl Seat {
    /// Makes what it needs, and tells the command what follows from it.
    ///
    /// # Errors
    /// When there is no such user, or its control group cannot be made.
    pub fn of(start: &Start, command: &mut Command) -> io::Result<Self> {
        let setup = &start.process.setup;
        let group = start.group.as_deref().map(cgroup::Group::new);
        let entries =
            group.map(|group| group.make(&setup.limits)).transpose().map_err(|error| {
                io::Error::new(error.kind(), format!("its limits cannot be set: {error}"))
            })?;
        let user = setup.user.as_ref().map(|name| account(name, start, command)).transpose()?;
        Ok(Self { entries: entries.unwrap_or_default(), workdir: setup.workdir.clone(), user })
    }

    /// Takes it, between fork and exec: only system calls.
    ///
    /// # Errors
    /// What the kernel answered.
    pub fn take(&self) -> io::Result<()> {
        self.entries.iter().try_for_each(|mut entry| entry.write_all(b"0"))?;
        if let Some(account) = &self.user {
            nix::unistd::setgroups(&account.groups)?;
            nix::unistd::setgid(account.gid)?;
            nix::unistd::setuid(account.uid)?;
        }
        self.workdir.as_ref().map_or(Ok(()), std::env::set_current_dir)
    }
}

/// Who that is on this machine, by whatever it asks (nsswitch.conf(5)).
fn account(name: &UserName, start: &Start, command: &mut Command) -> io::Result<Account> {
    const PLACE: &str = "on this machine";
    let (user, group) = match name.as_str().split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (name.as_str(), None),
    };
    let number = user.parse::<u32>().ok().map(Uid::from_raw);
    let held = match (User::from_name(user)?, number) {
        (None, Some(uid)) => User::from_uid(uid)?,
        (held, _) => held,
    };
    let unknown = || AccountError::NoUser { name: user.to_owned(), place: PLACE.to_owned() };
    let uid = held.as_ref().map(|held| held.uid).or(number);
    let uid = uid.ok_or_else(unknown).map_err(io::Error::other)?;
    let own = held.as_ref().map_or(Gid::from_raw(0), |held| held.gid);
    let gid = group.map(group_of).transpose()?;
    let groups = match (&held, gid) {
        (Some(held), None) => {
            let name = std::ffi::CString::new(held.name.as_str()).map_err(io::Error::other)?;
            nix::unistd::getgrouplist(&name, own)?
        }
        _ => Vec::new(),
    };
    let says_home = start.process.environment.iter().any(|(name, _)| name == "HOME");
    if let Some(held) = held.filter(|_| !says_home) {
        command.env("HOME", held.dir);
    }
    Ok(Account { uid, gid: gid.unwrap_or(own), groups })
}

fn group_of(name: &str) -> io::Result<Gid> {
    let number = name.parse::<u32>().ok().map(Gid::from_raw);
    let held = Group::from_name(name)?.map(|held| held.gid).or(number);
    held.ok_or_else(|| {
        let (name, place) = (name.to_owned(), "on this machine".to_owned());
        io::Error::other(AccountError::NoGroup { name, place })
    })
}
