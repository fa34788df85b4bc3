//! Kernel settings inside a namespace, as files under /proc/sys.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;

use super::{Outcome, Refusal, netns};
use crate::node::Sysctl;

fn path(sysctl: Sysctl) -> PathBuf {
    PathBuf::from("/proc/sys").join(sysctl.name().replace('.', "/"))
}

/// Writes settings, and tells what came of each.
///
/// # Errors
/// When the namespace cannot be entered.
pub fn write(namespace: BorrowedFd<'_>, settings: &[(Sysctl, u32)]) -> io::Result<Vec<Outcome>> {
    netns::within(namespace, || {
        settings
            .iter()
            .map(|(sysctl, value)| {
                std::fs::write(path(*sysctl), value.to_string()).map_err(|error| {
                    let refusal = Refusal::from(error);
                    Refusal::saying(refusal.errno, format!("{sysctl}: {}", refusal.sentence))
                })
            })
            .collect()
    })
}

/// The settings of the calling thread's namespace that differ from the kernel's default. One that the
/// kernel does not have (those of IPVS where it is missing) is left out.
pub fn read_here() -> BTreeMap<Sysctl, u32> {
    Sysctl::ALL
        .into_iter()
        .filter_map(|sysctl| {
            let value = std::fs::read_to_string(path(sysctl)).ok()?.trim().parse().ok()?;
            (value != sysctl.default_value()).then_some((sysctl, value))
        })
        .collect()
}
