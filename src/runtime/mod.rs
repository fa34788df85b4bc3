//! What tasks run that is swarmlb's own.

pub mod whoami;
