//! Namespaces of others on a network: an endpoint and the VIPs, and nothing that is the namespace's
//! own. So nftables balances there whatever balances in tasks: IPVS's settings and virtual servers are
//! one set for a whole namespace, and a Docker Swarm's sandbox has its own.

use std::net::Ipv4Addr;

use crate::intent::{Attachment, DataPlane, Fwmark, Intent, Service, Vip};
use crate::node::{LinkName, Node, SandboxName};

pub(super) fn lower(intent: &Intent, attachment: &Attachment, node: &mut Node) {
    if attachment.leaving || !intent.networks.contains_key(&attachment.endpoint.network) {
        return;
    }
    let name = SandboxName::of_attached(&intent.cluster.id, &attachment.namespace);
    let link = LinkName(attachment.link.clone());
    super::endpoint::join(intent, &name, &link, &attachment.endpoint, node);
    let sandbox = super::sandbox(intent, node, name);
    let how = |_: &Service, vip: &Vip| (DataPlane::Nftables, mark(vip.address));
    super::vip::lower_all(intent, &attachment.endpoint, how, sandbox);
}

/// The mark that packets to a VIP get in a namespace of others: its own number, which nobody there
/// counts up to, and which stays when the cluster's changes to have virtual servers built anew.
pub fn mark(vip: Ipv4Addr) -> Fwmark {
    Fwmark(u32::from(vip))
}
