//! Words, streams and exit codes: the binary, run on recorded nodes. Needs nothing.

#![expect(clippy::disallowed_methods, reason = "the binary is run as an operator's shell runs it")]

mod completing;
mod dumps;
mod errors;
mod exporting;
mod fixture;
mod placing;
mod publishing;
mod reading;
mod runbook;
mod settings;
mod store;
mod streams;
mod templates;
