//! Values become words here, and nowhere else.

pub mod comparison;
pub mod figure;
pub mod verdict;
