//! Reasoning over what was observed and measured. Pure.

pub mod balance;
pub mod conditions;
pub mod counters;
pub mod expected;
pub mod latency;
pub mod mesh;
pub mod order;
pub mod outage;
pub mod sample;
pub mod spread;
pub mod strata;
pub mod vip;
