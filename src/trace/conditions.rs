//! Under what conditions a comparison was measured. Plain data.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How long a client keeps what a name resolved to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientCache {
    /// It asks anew for each connection.
    #[default]
    None,
    /// It keeps an answer as long as its TTL says, as a caching stub resolver does.
    Ttl,
    /// It asks once and stays with the first address, as a long-lived process does.
    Forever,
}

impl fmt::Display for ClientCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::None => "none",
            Self::Ttl => "ttl",
            Self::Forever => "forever",
        })
    }
}

/// What was asked of whom, by whom, how, where and when.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conditions {
    pub service: String,
    pub network: String,
    pub node: String,
    /// What balances the VIP: `ipvs` or `nftables`; none for a service without VIP.
    pub data_plane: Option<String>,
    /// The sandboxes that asked, in the order given.
    pub clients: Vec<String>,
    /// Each way, by all clients together.
    pub requests: u64,
    /// Requests at a time of each client; the clients work side by side.
    pub concurrency: u32,
    pub client_cache: ClientCache,
    /// Whether the service was made for this comparison.
    pub throwaway_service: bool,
    /// Whether the clients were.
    pub throwaway_clients: bool,
    /// Linux's release.
    pub kernel: String,
    /// swarmlb's.
    pub version: String,
    /// When the first request began: seconds since 1970.
    pub started: u64,
}
