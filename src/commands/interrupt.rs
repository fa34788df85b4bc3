//! Ctrl-C while waiting: the wait ends, the work goes on.

use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

static PRESSED: AtomicBool = AtomicBool::new(false);

extern "C" fn note(_: i32) {
    PRESSED.store(true, Ordering::Relaxed);
}

/// From now on Ctrl-C is noted once; a second one ends the process, as ever.
pub fn listen() {
    let flags = SaFlags::SA_RESETHAND;
    let action = SigAction::new(SigHandler::Handler(note), flags, SigSet::empty());
    // SAFETY: the handler stores to an atomic and does nothing else.
    let _ = unsafe { sigaction(Signal::SIGINT, &action) };
}

/// Whether Ctrl-C was pressed.
pub fn was_pressed() -> bool {
    PRESSED.load(Ordering::Relaxed)
}
