//! How many files a process may have open. Keeper and agent hold a few for every sandbox; a task
//! gets the limit back that the keeper was started with.

use std::sync::OnceLock;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

static BEFORE: OnceLock<(u64, u64)> = OnceLock::new();

/// Raises the soft limit to the hard one.
pub fn raise() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = BEFORE.set((soft, hard));
        // Where it cannot be raised, a machine of few sandboxes never notices.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

/// Sets the limits as they were before [`raise`]. Only system calls: it runs between fork and exec.
pub fn restore() {
    if let Some((soft, hard)) = BEFORE.get() {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, *soft, *hard);
    }
}
