//! The agent: makes its node what the intent says, answers DNS, reports. Level-triggered: it acts
//! on every new revision and on a slow audit, and may be killed at any moment.

mod address;
pub mod associations;
mod checked;
pub mod containers;
mod endings;
mod entry;
mod events;
mod forgotten;
mod images;
pub mod last_known;
mod leader;
mod lease;
mod leaving;
mod misfortune;
mod mounts;
mod processes;
mod ramping;
mod reconcile;

mod resolvers;
pub mod resting;
pub mod status;
mod updates;

pub use events::follow;
pub use images::Asking;
pub use reconcile::{can_encrypt, has_ipvs, resolv_conf, run, way_out};
