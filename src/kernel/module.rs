//! Kernel modules: whether asking the kernel for something would load one.
//!
//! Many a socket and many a request load the module that answers them. Who only reads checks here
//! first, so that a machine is the same after it was looked at.

use std::path::PathBuf;

/// Whether `name` is a module that could be loaded and is not. What is built in, is loaded already,
/// or cannot be loaded here, is none.
pub fn would_load(name: &str) -> bool {
    let Ok(loaded) = std::fs::read_to_string("/proc/modules") else {
        // A kernel that loads no modules has no such file.
        return false;
    };
    let Ok(release) = std::fs::read_to_string("/proc/sys/kernel/osrelease") else { return false };
    let there = PathBuf::from("/lib/modules").join(release.trim()).join("modules.dep");
    let loadable = std::fs::read_to_string(there).unwrap_or_default();
    !lists_loaded(&loaded, name) && lists_loadable(&loadable, name)
}

/// Whether the kernel has what is in a module of that name: loaded, built in, or loadable. None where
/// this machine has no list of modules, as in many containers.
pub fn is_there(name: &str) -> Option<bool> {
    let loaded = std::fs::read_to_string("/proc/modules").unwrap_or_default();
    if lists_loaded(&loaded, name) {
        return Some(true);
    }
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").ok()?;
    let directory = PathBuf::from("/lib/modules").join(release.trim());
    let loadable = std::fs::read_to_string(directory.join("modules.dep")).ok()?;
    let built_in = std::fs::read_to_string(directory.join("modules.builtin")).unwrap_or_default();
    Some(lists_loadable(&loadable, name) || lists_loadable(&built_in, name))
}

/// `nf_tables 180224 1 nft_compat, Live 0x0000000000000000`
fn lists_loaded(modules: &str, name: &str) -> bool {
    modules.lines().any(|line| line.split(' ').next() == Some(name))
}

/// `kernel/net/netfilter/nf_tables.ko.xz: kernel/net/netfilter/nfnetlink.ko.xz`
fn lists_loadable(dependencies: &str, name: &str) -> bool {
    let file = |line: &str| {
        let path = line.split(':').next()?;
        let file = path.rsplit('/').next()?;
        Some(file.split_once(".ko")?.0.replace('-', "_"))
    };
    dependencies.lines().any(|line| file(line).as_deref() == Some(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_loaded_and_what_could_be_are_told_by_whole_names() {
        let loaded = "nf_tables 1 1 nft_compat, Live 0x0\nip_vs_rr 1 0 - Live 0x0\n";
        assert!(lists_loaded(loaded, "nf_tables") && !lists_loaded(loaded, "ip_vs"));
        let loadable =
            "kernel/net/netfilter/ipvs/ip_vs.ko.xz: a.ko.xz\nkernel/net/xfrm/xfrm-user.ko:\n";
        assert!(lists_loadable(loadable, "ip_vs") && lists_loadable(loadable, "xfrm_user"));
        assert!(!lists_loadable(loadable, "a") && !lists_loadable(loadable, "vs"));
    }
}
