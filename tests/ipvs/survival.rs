//! Killed processes: what balances does not notice.

use std::time::Duration;

use crate::with_ipvs;
use crate::world::{Swarmlb, answers, kill, replies};

const SOON: Duration = Duration::from_secs(60);

#[test]
fn agent_keeper_and_store_are_back_after_a_kill_and_tasks_notice_nothing() {
    with_ipvs(|| {
        let swarmlb = Swarmlb::with_story();
        let pids = swarmlb.pids("collabweb");
        for roles in [&["agent"][..], &["keeper"], &["store", "agent", "keeper"]] {
            let victims: Vec<i64> =
                roles.iter().map(|role| swarmlb.role(role).expect("it runs")).collect();
            victims.iter().for_each(|pid| kill(*pid));
            assert_eq!(replies("collab-box.1", "10.0.3.2", 3).len(), 3, "after {roles:?}");
            swarmlb.good("service ls");
            swarmlb.whole(SOON);
            assert_eq!(swarmlb.pids("collabweb"), pids, "after {roles:?}");
            assert_eq!(answers("collabweb.2", "collabweb").expect("an answer"), ["10.0.3.2"]);
        }
        swarmlb.good("inspect vip");
        swarmlb.good("service scale collabweb=4");
        assert_eq!(replies("collab-box.1", "10.0.3.2", 8).len(), 4);
        swarmlb.reset();
    });
}
