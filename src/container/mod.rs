//! What an OCI runtime is told of a container: pure.

pub mod accounts;
pub mod config;
pub mod seccomp;

pub use accounts::Accounts;
pub use config::{ConfigError, Facilities, Outline, Place, config, hostname, hosts};
