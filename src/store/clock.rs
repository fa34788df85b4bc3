//! The store's one clock: monotonic, so that setting the date expires no lease.

use std::time::Instant;

/// Now, on the monotonic clock.
#[allow(clippy::disallowed_methods, reason = "this is the store's one reader of the clock")]
pub(super) fn now() -> Instant {
    Instant::now()
}
