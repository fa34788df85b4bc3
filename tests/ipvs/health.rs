//! Health where IPVS balances: what does not serve has weight 0.

use std::time::Duration;

use crate::with_ipvs;
use crate::world::{Swarmlb, replies, shell, within};

/// The machine is emulated.
const SOON: Duration = Duration::from_secs(60);

#[test]
fn a_task_that_falls_silent_has_weight_0_in_every_sandbox_until_it_answers() {
    with_ipvs(|| {
        let swarmlb = Swarmlb::new();
        swarmlb.good("network create --subnet 10.0.3.0/24 net");
        swarmlb.good("service create --name box --network net host sleep 1000");
        swarmlb.good(
            "service create --name web --replicas 2 --network net --health-http 80 --health-interval 1s \
             --health-start-period 0 --unhealthy-action quiesce",
        );
        let weights = |sandbox: &str| {
            let table = shell(&format!("ip netns exec {sandbox} ipvsadm -Ln"));
            let row = |line: &str| {
                let words: Vec<&str> = line.split_whitespace().collect();
                match words[..] {
                    ["->", address, "Masq", weight, ..] if address.starts_with("10.0.3.5") => {
                        Some(weight.to_owned())
                    }
                    ["->", address, "Masq", weight, ..] if address.starts_with("10.0.3.6") => {
                        Some(weight.to_owned())
                    }
                    _ => None,
                }
            };
            let mut weights: Vec<String> = table.lines().filter_map(row).collect();
            weights.sort();
            weights
        };
        let all = || ["box.1", "web.1", "web.2"].map(weights);
        within("both have weight 1", SOON, all, |all| all.iter().all(|held| *held == ["1", "1"]));
        let pid = swarmlb.pids("web")[1];
        shell(&format!("kill -STOP {pid}"));
        within("one has weight 0", SOON, all, |all| all.iter().all(|held| *held == ["0", "1"]));
        assert_eq!(replies("box.1", "10.0.3.4", 4), [("web.1".to_owned(), 4)]);
        swarmlb.good("inspect vip web");
        shell(&format!("kill -CONT {pid}"));
        within("both have weight 1", SOON, all, |all| all.iter().all(|held| *held == ["1", "1"]));
        swarmlb.reset();
    });
}
