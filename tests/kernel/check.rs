//! `diag check`: nothing is found where nothing is wrong, and each thing that somebody breaks is named.

use std::time::Duration;

use crate::world::{Lab, Swarmlb, apart, shell, within};

const SOON: Duration = Duration::from_secs(60);

/// The codes of all that is found, notes left out.
fn codes(swarmlb: &Swarmlb, node: &str) -> Vec<String> {
    let output = swarmlb.run(&format!("--format json {node} diag check"));
    let told: serde_json::Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {output:?}"));
    let findings = told["findings"].as_array().expect("findings").iter();
    let findings: Vec<&serde_json::Value> =
        findings.filter(|finding| finding["severity"] != "note").collect();
    assert_eq!(output.status.code(), Some(i32::from(!findings.is_empty())), "{findings:?}");
    assert_eq!(told["healthy"], findings.is_empty());
    findings.iter().map(|finding| finding["code"].as_str().expect("a code").to_owned()).collect()
}

/// What is broken by hand, in words for a shell, and its name. NODE stands for the node's own table.
const BROKEN: [(&str, &str); 24] = [
    ("ip netns exec box.1 nft flush map ip swarmlb vip-mark", "mark-missing"),
    (
        "ip netns exec box.1 nft 'delete element ip swarmlb vip-mark { 10.0.3.2 }; \
         add element ip swarmlb vip-mark { 10.0.3.2 : 0x999 }'",
        "mark-wrong",
    ),
    ("ip netns exec box.1 nft flush chain ip swarmlb mangle-out", "mark-rule-missing"),
    ("ip netns exec web.1 nft flush chain ip swarmlb filter-in", "reject-rule-missing"),
    ("ip netns exec web.1 nft flush chain ip swarmlb nat-out", "balance-rule-missing"),
    ("ip netns exec web.1 nft flush set ip swarmlb vips", "guard-missing"),
    ("ip netns exec web.2 nft delete table ip swarmlb", "table-missing"),
    ("ip -n web.2 route del local 10.0.3.2 table local", "vip-route-missing"),
    ("ip -n web.1 link set eth0 down", "endpoint-wrong"),
    ("ip -n web.1 link set eth0 mtu 1300", "endpoint-wrong"),
    ("ip -n web.1 link del eth0", "endpoint-missing"),
    ("ip -n web.2 address flush dev eth0", "address-missing"),
    (
        "bridge -n net fdb add 02:42:0a:00:00:63 dev vxlan0 dst 192.0.2.9 self permanent",
        "fdb-left-over",
    ),
    (
        "ip -n net neigh add 10.0.3.99 lladdr 02:42:0a:00:00:63 dev vxlan0 nud permanent",
        "neighbour-left-over",
    ),
    ("ip -n net link del vxlan0", "link-missing"),
    ("ip -n net link set br0 mtu 1300", "link-wrong"),
    ("ip netns exec web.1 sysctl -qw net.ipv4.conf.all.arp_ignore=0", "sysctl-wrong"),
    ("nft flush map ip NODE published", "port-missing"),
    ("nft flush chain ip NODE publish-in", "publish-rule-missing"),
    ("nft flush chain ip NODE nat-post", "masquerade-missing"),
    ("nft flush chain ip NODE filter-forward", "outside-guard-missing"),
    ("nft flush chain ip NODE filter-local", "localhost-guard-missing"),
    (
        "ip netns exec ingress.sandbox nft flush chain ip swarmlb mangle-in",
        "mesh-mark-rule-missing",
    ),
    (
        "ip netns exec ingress.sandbox nft flush chain ip swarmlb nat-source",
        "mesh-source-rule-missing",
    ),
];

#[test]
fn what_somebody_breaks_is_named_and_nothing_where_nothing_is() {
    apart(|| {
        let swarmlb = Swarmlb::new();
        let told = swarmlb.good("diag check");
        assert!(told.contains("nothing to check"), "{told}");
        swarmlb.good("network create --subnet 10.0.3.0/24 net");
        swarmlb.good(
            "service create --replicas 2 --name web --network net -p 8080:80 --health-http /",
        );
        swarmlb.good("service create --name box --network net host sleep 1000");
        assert_eq!(codes(&swarmlb, ""), [""; 0]);
        let node = shell("nft list tables | sed -n 's/^table ip \\(swarmlb.*\\)/\\1/p'");
        for (command, code) in BROKEN {
            let command = command.replace("NODE", node.trim());
            // An audit may mend it before it is looked for.
            let broken = || {
                shell(&format!("{command} 2>/dev/null || true"));
                codes(&swarmlb, "")
            };
            within(&command, SOON, broken, |codes| codes.iter().any(|found| found == code));
        }
        within("all of it is mended", SOON, || codes(&swarmlb, ""), Vec::is_empty);
        swarmlb.good("service create --detach --name bad --network net host /nonexistent");
        let has =
            |code: &'static str| move |codes: &Vec<String>| codes.iter().any(|found| found == code);
        within("it fails", SOON, || codes(&swarmlb, ""), has("task-fails"));
        swarmlb.good("service rm bad");
        swarmlb.good(
            "service create --detach --name far --network net --constraint node.name==nowhere",
        );
        within("it waits", SOON, || codes(&swarmlb, ""), has("service-waits"));
        swarmlb.good("service rm far");
        let said = swarmlb.good("diag explain mark-missing");
        assert!(said.contains("firewall mark is missing"), "{said}");
        let (_, said) = swarmlb.ending("diag explain mark-mising", 2);
        assert!(said.contains("did you mean `mark-missing`?"), "{said}");
        assert!(swarmlb.good("-q diag explain").lines().count() >= 60);
        swarmlb.reset();
    });
}

#[test]
fn every_node_of_a_lab_is_well_and_a_lost_row_and_a_dead_node_are_named() {
    apart(|| {
        let lab = Lab::up(3);
        lab.good("network create --subnet 10.0.3.0/24 net");
        lab.good("service create --replicas 6 --name web --network net -p 8080:80");
        for node in ["node-1", "node-2", "node-3"] {
            let all = || codes(&lab, &format!("--node {node}"));
            within("nothing is wrong", SOON, all, Vec::is_empty);
        }
        let damage = "bridge fdb show dev vxlan0 | sed -n 's/^\\([^ ]*\\) dst \\([^ ]*\\) .*/\\1 dst \\2/p' \
                      | while read -r row; do bridge fdb del ${row%% *} dev vxlan0 ${row#* } self; done";
        let broken = || {
            lab.inside("node-2", "net", || shell(damage));
            codes(&lab, "--node node-2")
        };
        within("it is named", SOON, broken, |codes| codes.iter().any(|code| code == "fdb-missing"));
        lab.good("lab kill-node node-3");
        let found = || codes(&lab, "");
        within("a node is down", SOON, found, |codes| codes.iter().any(|code| code == "node-down"));
        lab.down();
    });
}
