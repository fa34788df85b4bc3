//! Real servers that many sandboxes have alike, each list held once.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use crate::intent::Fwmark;
use crate::node::RealServers;

/// What balances a VIP under one of its marks is the same in every sandbox, but for the rotation. So a
/// list of real servers is made once for a node; and one that is as it was in the lowering before is
/// that very list, which is found to be equal without a look into it.
#[derive(Debug, Default)]
pub struct Shared {
    before: HashMap<(Ipv4Addr, Fwmark), RealServers>,
    now: HashMap<(Ipv4Addr, Fwmark), RealServers>,
}

impl Shared {
    /// Begins another lowering: what the one before did not use is forgotten.
    pub fn begin(&mut self) {
        self.before = std::mem::take(&mut self.now);
    }

    /// The real servers of a VIP under a mark; `made` is asked once in a lowering.
    pub fn real_servers(
        &mut self,
        vip: Ipv4Addr,
        fwmark: Fwmark,
        made: impl FnOnce() -> RealServers,
    ) -> RealServers {
        let at = (vip, fwmark);
        if let Some(known) = self.now.get(&at) {
            return known.clone();
        }
        let made = made();
        let reals = self.before.remove(&at).filter(|before| *before == made).unwrap_or(made);
        self.now.insert(at, reals.clone());
        reals
    }
}

#[cfg(test)]
mod tests {
    use crate::intent::tests::story;
    use crate::lower::{lower, lower_sharing};
    use crate::node::{Node, RealServers};

    use super::*;

    fn lists(node: &Node) -> Vec<&RealServers> {
        let sandboxes = node.sandboxes.values();
        let servers = sandboxes.flat_map(|sandbox| sandbox.virtual_servers.values());
        servers.map(|server| &server.real_servers).collect()
    }

    #[test]
    fn sandboxes_share_a_list_and_so_do_lowerings_until_it_changes() {
        let (mut intent, node_1) = (story(), "node-1".parse().unwrap());
        let mut shared = Shared::default();
        let first = lower_sharing(&intent, &node_1, &mut shared);
        let second = lower_sharing(&intent, &node_1, &mut shared);
        assert!(lists(&first).len() > 4 && first == lower(&intent, &node_1));
        for (one, other) in lists(&first).into_iter().zip(lists(&second)) {
            assert!(one.is_shared_with(other), "{one:?}");
        }
        intent.scale_service(&"collabweb".parse().unwrap(), 2).unwrap();
        let third = lower_sharing(&intent, &node_1, &mut shared);
        assert_eq!(third, lower(&intent, &node_1), "what changed is not taken as it was");
        let kept = |list: &&&RealServers| lists(&second).iter().any(|old| old.is_shared_with(list));
        let kept = lists(&third).iter().filter(kept).count();
        assert!(kept > 0 && kept < lists(&third).len(), "{kept} lists kept");
    }

    #[test]
    fn what_was_read_shares_what_is_equal_and_keeps_what_is_not() {
        let (mut intent, node_1) = (story(), "node-1".parse().unwrap());
        let mut read = lower(&intent, &node_1);
        intent.scale_service(&"collabweb".parse().unwrap(), 2).unwrap();
        let desired = lower(&intent, &node_1);
        let before = read.clone();
        read.share_with(&desired);
        assert_eq!(read, before);
        let shares = |list: &&RealServers| lists(&desired).iter().any(|d| d.is_shared_with(list));
        let all = lists(&read);
        let shared = all.iter().filter(|list| shares(list)).count();
        assert!(shared > 0 && shared < all.len(), "{shared} of {}", all.len());
    }
}
