//! Ctrl-C while waiting: the wait ends, the work goes on. What must be taken back first listens to
//! other wishes to end as well.

use std::sync::atomic::{AtomicI32, Ordering};

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

/// The signal that was noted last; 0 before any.
static NOTED: AtomicI32 = AtomicI32::new(0);

extern "C" fn note(signal: i32) {
    NOTED.store(signal, Ordering::Relaxed);
}

/// From now on Ctrl-C is noted once; a second one ends the process, as ever.
pub fn listen() {
    let _ = handle(Signal::SIGINT, SaFlags::SA_RESETHAND);
}

/// From now on every wish to end is noted: Ctrl-C, SIGTERM, and the terminal's hanging up. What the
/// caller had ignored, as `nohup` does, stays ignored.
pub fn listen_to_all() {
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let before = handle(signal, SaFlags::SA_RESTART);
        if let Some(before) = before.filter(|before| matches!(before.handler(), SigHandler::SigIgn))
        {
            // SAFETY: to ignore a signal runs no code of ours.
            let _ = unsafe { sigaction(signal, &before) };
        }
    }
}

/// Notes a signal; returns what was done about it before.
fn handle(signal: Signal, flags: SaFlags) -> Option<SigAction> {
    let action = SigAction::new(SigHandler::Handler(note), flags, SigSet::empty());
    // SAFETY: the handler stores to an atomic and does nothing else.
    unsafe { sigaction(signal, &action) }.ok()
}

/// Whether somebody wished an end.
pub fn was_pressed() -> bool {
    signal().is_some()
}

/// The signal by which it was wished.
pub fn signal() -> Option<Signal> {
    Signal::try_from(NOTED.load(Ordering::Relaxed)).ok()
}

/// Takes the wish as done with, so that the next one is noticed.
pub fn forget() {
    NOTED.store(0, Ordering::Relaxed);
}
