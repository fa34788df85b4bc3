//! swarmlb: Docker Swarm mode's load balancing as one inspectable binary.
//!
//! ARCHITECTURE.md says how the parts fit together. The modules under "pure" import no effects.

// ── pure ──
pub mod check;
pub mod container;
pub mod dump;
pub mod events;
pub mod intent;
pub mod ipvsadm;
pub mod lower;
pub mod metrics;
pub mod node;
pub mod orchestrate;
pub mod plan;
pub mod render;
pub mod trace;

// ── effects ──
pub mod clock;
pub mod dns;
pub mod environment;
pub mod health;
pub mod image;
pub mod kernel;
pub mod killpoint;
pub mod memory;
pub mod probe;
pub mod random;
pub mod runtime;
pub mod state_dir;
pub mod store;

// ── glue ──
pub mod agent;
pub mod api;
pub mod cli;
pub mod commands;
pub mod failure;
pub mod keeper;
pub mod lab;
