//! Linux as it is here, without IPVS or with it: what the program makes of links, addresses, routes
//! and nftables, and how it stands up to those who change them, kill it, or were there first.
//!
//! Each test needs root and runs in a world of its own (see `world`).

mod agreement;
mod attachments;
mod balancers;
mod check;
mod comparison;
mod connected;
mod containers;
mod dry_run;
mod egress;
mod encryption;
#[cfg(feature = "etcd")]
mod etcd;
#[cfg(feature = "etcd")]
#[allow(dead_code, reason = "each tier uses its part of it")]
#[path = "../etcd_server/mod.rs"]
mod etcd_server;
mod evenness;
mod events;
mod foreground;
mod foreign;
mod forgotten;
mod healing;
mod health;
mod images;
mod kills;
mod lab;
mod lab_kills;
mod leaving;
mod logs;
mod lossless;
mod lossless_too;
mod mesh;
mod metrics;
mod networks;
mod nftables;
mod overlay;
mod placing;
mod resolver;
mod restarts;
mod sandboxes;
mod state_dir;
mod story;
mod survival;
mod tasks;
mod terminal;
mod updating;
mod weights;

#[allow(dead_code, unused_imports, reason = "each tier uses its part of the world")]
#[path = "../world/mod.rs"]
mod world;

/// Where tests run that the virtual machine runs too.
use world::apart as in_place;
