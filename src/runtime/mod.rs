//! What tasks run that is swarmlb's own.

pub mod echo;
pub mod whoami;
