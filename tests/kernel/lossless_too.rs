//! Nothing is lost either where no virtual server is in the way, and where an update goes back: stories that
//! are the same whatever balances.

use crate::lossless::{ids, world};
use crate::world::{Counting, apart};

#[test]
fn clients_of_the_tasks_own_addresses_lose_nothing_either() {
    apart(|| {
        let swarmlb = world("--update-monitor 0s --endpoint-mode dnsrr --dns-ttl 0");
        let client = Counting::begin("box.1", "web");
        swarmlb.good("service update --force --update-parallelism 2 web");
        swarmlb
            .good("service update --force --update-order start-first --update-parallelism 6 web");
        swarmlb.good("service scale web=2");
        swarmlb.good("service scale web=6");
        client.end().assert_none_lost();
        swarmlb.reset();
    });
}

#[test]
fn an_update_to_what_does_not_run_goes_back_and_loses_nothing() {
    apart(|| {
        let swarmlb = world("--update-monitor 2s --update-failure-action rollback");
        let before = ids(&swarmlb);
        let client = Counting::begin("box.1", "web");
        for order in ["stop-first", "start-first"] {
            let line = format!(
                "service update --update-order {order} --rollback-monitor 0s --image host --args false web"
            );
            let (_, told) = swarmlb.ending(&line, 1);
            let reason = "update rolled back due to failure or early termination of task web.";
            assert!(told.contains(reason), "{told}");
            assert!(told.contains("exited with code 1"), "{told}");
        }
        client.end().assert_none_lost();
        let after = ids(&swarmlb);
        assert_eq!(after.len(), 6);
        assert_eq!(before.iter().filter(|id| after.contains(id)).count(), 5, "one was replaced");
        swarmlb.reset();
    });
}
