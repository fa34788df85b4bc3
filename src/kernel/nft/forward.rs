//! What of others in the node's own namespace stands in the way of what is forwarded, as the program
//! `nft` tells.

use std::os::fd::BorrowedFd;

use nix::errno::Errno;
use serde_json::Value;

use super::missing;
use crate::kernel::{Refusal, program};

/// Chains of others that drop what is forwarded unless somebody accepts it, by table and chain. An
/// accept of ours would not make them.
///
/// # Errors
/// When `nft` is missing or refuses.
pub fn drops(namespace: BorrowedFd<'_>) -> Result<Vec<String>, Refusal> {
    let output = program::run(namespace, "nft", &["-j", "list", "chains"], "").map_err(missing)?;
    if !output.status.success() {
        return Err(Refusal::saying(Errno::EIO, super::said(&output.stderr)));
    }
    let document: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let chains = document["nftables"].as_array().into_iter().flatten().map(|item| &item["chain"]);
    let drops = chains.filter(|chain| {
        let family = chain["family"].as_str();
        chain["hook"] == "forward"
            && chain["policy"] == "drop"
            && family.is_some_and(|family| ["ip", "inet"].contains(&family))
    });
    let words = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Ok(drops.map(|c| format!("{} {}", words(&c["table"]), words(&c["name"]))).collect())
}
