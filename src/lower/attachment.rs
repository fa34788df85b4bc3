//! Namespaces of others on a network: an endpoint and the VIPs, and nothing that is the namespace's
//! own. So nftables balances there whatever balances in tasks: IPVS's settings and marks are one set
//! for a whole namespace.

use crate::intent::{Attachment, DataPlane, Intent};
use crate::node::{LinkName, Node, SandboxName};

pub(super) fn lower(intent: &Intent, attachment: &Attachment, node: &mut Node) {
    if attachment.leaving || !intent.networks.contains_key(&attachment.endpoint.network) {
        return;
    }
    let name = SandboxName::of_attached(&intent.cluster.id, &attachment.namespace);
    let link = LinkName(attachment.link.clone());
    super::endpoint::join(intent, &name, &link, &attachment.endpoint, node);
    let sandbox = super::sandbox(intent, node, name);
    super::vip::lower_all(intent, &attachment.endpoint, |_| DataPlane::Nftables, sandbox);
}
