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

/// Writes settings, and tells what came of each. One without a value is left as it is.
///
/// # Errors
/// When the namespace cannot be entered.
pub fn write(
    namespace: BorrowedFd<'_>,
    settings: &[(Sysctl, Option<u32>)],
) -> io::Result<Vec<Outcome>> {
    netns::within(namespace, || {
        settings
            .iter()
            .map(|(sysctl, value)| {
                let Some(value) = value else { return Ok(()) };
                std::fs::write(path(*sysctl), value.to_string()).map_err(|error| {
                    let refusal = Refusal::from(error);
                    Refusal::saying(refusal.errno, format!("{sysctl}: {}", refusal.sentence))
                })
            })
            .collect()
    })
}

/// Those of some settings that differ from the kernel's default. One that the kernel does not have (those
/// of IPVS where it is missing) is left out.
///
/// # Errors
/// When the namespace cannot be entered.
pub fn read(namespace: BorrowedFd<'_>, settings: &[Sysctl]) -> io::Result<BTreeMap<Sysctl, u32>> {
    netns::within(namespace, || {
        settings
            .iter()
            .copied()
            .filter_map(|sysctl| {
                let value = std::fs::read_to_string(path(sysctl)).ok()?.trim().parse().ok()?;
                (value != sysctl.default_value()).then_some((sysctl, value))
            })
            .collect()
    })
}
