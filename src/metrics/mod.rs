//! What is measured for Prometheus: from the intent, what the nodes report, and what one node's kernel
//! and resolvers say. Pure: who looks, and how often, is another's.

pub mod exposition;
mod families;
pub mod totals;

pub use families::{Look, families};
