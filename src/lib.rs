//! swarmlb: Docker Swarm mode's load balancing as one inspectable binary.
//!
//! ARCHITECTURE.md says how the parts fit together. Modules under "pure" import no effects.

// ── pure ──
pub mod intent;
pub mod lower;
pub mod node;
pub mod orchestrate;
pub mod plan;

// ── effects ──
pub mod environment;
pub mod kernel;
