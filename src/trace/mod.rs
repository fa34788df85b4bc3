//! Reasoning over what was observed and measured. Pure.

pub mod balance;
pub mod counters;
pub mod expected;
pub mod latency;
pub mod sample;
pub mod spread;
pub mod vip;
