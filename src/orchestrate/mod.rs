//! What the cluster decides by itself: pure functions from intent and status to edits.

pub mod draining;
pub mod liveness;
pub mod placement;
pub mod updating;
