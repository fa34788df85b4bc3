//! One-shot clients of many sandboxes, with real packets, where nftables balances.

use crate::world::{Swarmlb, apart, evenness};

#[test]
fn one_shot_clients_of_24_100_and_240_sandboxes_meet_tasks_evenly_through_scaling() {
    apart(|| {
        let swarmlb = Swarmlb::new();
        evenness::is_kept_through_scaling(&swarmlb, &[24, 100, 240]);
        swarmlb.reset();
    });
}
