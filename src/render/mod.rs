//! Values become words here, and nowhere else.

pub mod check;
pub mod comparison;
pub mod dump;
pub mod english;
pub mod export;
pub mod figure;
pub mod outage;
pub mod paint;
pub mod plot;
pub mod report;
pub mod service;
pub mod table;
pub mod task;
pub mod template;
pub mod time;
pub mod verdict;
pub mod vip;
