//! Networks of several subnets, services on several networks, and what is told of them.

use crate::world::{Swarmlb, answers, apart, replies, request};

#[test]
fn tasks_of_one_network_reach_each_other_across_its_subnets() {
    apart(|| {
        let swarmlb = Swarmlb::new();
        swarmlb.good(
            "network create --subnet 10.0.3.0/29 --subnet 10.0.5.0/24 --gateway 10.0.5.9 blue",
        );
        swarmlb.good("service create --replicas 6 --name web --network blue");
        // web.4 is the last in the first subnet, web.5 the first in the second.
        for (client, seen) in [("web.4", "10.0.3.6"), ("web.5", "10.0.5.1")] {
            for address in ["10.0.3.3", "10.0.5.2"] {
                let reply = request(client, address).expect("an answer");
                assert_eq!(reply.client, seen, "{client} to {address}");
            }
            let all: Vec<(String, usize)> = (1..=6).map(|n| (format!("web.{n}"), 1)).collect();
            assert_eq!(replies(client, "10.0.3.2", 6), all, "{client} to the VIP");
        }
        let told = swarmlb.good("network inspect blue");
        assert!(
            told.contains("subnet     10.0.3.0/29, gateway 10.0.3.1, 0 addresses left"),
            "{told}"
        );
        assert!(
            told.contains("subnet     10.0.5.0/24, gateway 10.0.5.9, 251 addresses left"),
            "{told}"
        );
        swarmlb.good("inspect vip");
        swarmlb.reset();
    });
}

#[test]
fn a_service_on_two_networks_has_a_vip_and_aliases_on_each() {
    apart(|| {
        let swarmlb = Swarmlb::new();
        swarmlb.good("network create --subnet 10.0.3.0/24 one");
        swarmlb.good("network create --subnet 10.0.4.0/24 two");
        swarmlb.good(
            "service create --name db --network one,alias=store --network name=two,alias=ledger",
        );
        swarmlb.good("service create --name left --network one");
        swarmlb.good("service create --name right --network two");
        assert_eq!(answers("left.1", "store").expect("an answer"), ["10.0.3.2"]);
        assert_eq!(answers("right.1", "ledger.two").expect("an answer"), ["10.0.4.2"]);
        assert!(answers("left.1", "ledger").is_err() && answers("right.1", "store").is_err());
        assert_eq!(request("left.1", "10.0.3.2").expect("an answer").client, "10.0.3.5");
        assert_eq!(request("right.1", "10.0.4.2").expect("an answer").client, "10.0.4.5");
        let told = swarmlb.good("service inspect --pretty db");
        assert!(
            told.contains(
                "two, VIP 10.0.4.2, fwmark 0x101, scheduler rr, balanced by nftables, alias ledger"
            ),
            "{told}"
        );
        swarmlb.reset();
    });
}

#[test]
fn networks_are_found_by_label_and_pruned_when_nothing_is_on_them() {
    apart(|| {
        let swarmlb = Swarmlb::new();
        swarmlb.good("network create --label stage=test --label mine one");
        swarmlb.good("network create --label stage=live two");
        swarmlb.good("network create three");
        swarmlb.good("service create --replicas 0 --name web --network two");
        let found = |filter: &str| {
            let listed = swarmlb.json(&format!("network ls --filter {filter}"));
            let names = listed.as_array().expect("networks").iter();
            names.map(|n| n["name"].as_str().expect("a name").to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(found("label=stage"), ["one", "two"]);
        assert_eq!(found("label=stage=live"), ["two"]);
        assert_eq!(found("label=stage --filter label=mine"), ["one"]);
        assert_eq!(found("name=t"), ["three", "two"]);
        let (_, said) = swarmlb.ending("network prune", 2);
        assert!(said.contains("stdin is no terminal") && said.contains("--force"), "{said}");
        let runbook = swarmlb.good("network prune --dry-run");
        assert!(runbook.contains("ip netns del one") && !runbook.contains("del two"), "{runbook}");
        assert_eq!(swarmlb.good("network prune --force"), "one\nthree\n");
        assert_eq!(found("driver=overlay"), ["two"]);
        assert_eq!(swarmlb.good("network prune -f"), "");
        swarmlb.reset();
    });
}
