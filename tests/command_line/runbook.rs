//! `--dry-run`: the story of the examples as commands.

use crate::fixture::{Lab, empty, is_missing, node_1};

#[test]
fn creating_the_network_is_these_commands() {
    let lab = Lab::of(empty());
    let words = ["network", "create", "collabnet", "--subnet", "10.0.3.0/24", "--dry-run"];
    insta::assert_snapshot!(lab.run(&words).good());
}

#[test]
fn creating_a_service_is_these_commands() {
    let mut lab = Lab::new();
    lab.intent.remove_service(&"collabweb".parse().expect("a name")).expect("it is there");
    lab.intent.remove_service(&"rr".parse().expect("a name")).expect("it is there");
    let lab = Lab::of(lab.intent);
    let words = ["service", "create", "--dry-run", "--name", "web", "--network", "collabnet"];
    insta::assert_snapshot!(
        "on_ipvs",
        lab.run(&[&words[..], &["--replicas", "2"]].concat()).good()
    );
    let plane = ["--data-plane", "nftables"];
    insta::assert_snapshot!("on_nftables", lab.run(&[&words[..], &plane].concat()).good());
}

#[test]
fn scaling_is_these_commands() {
    let lab = Lab::new();
    insta::assert_snapshot!(
        "up",
        lab.run(&["service", "scale", "collabweb=4", "--dry-run"]).good()
    );
    insta::assert_snapshot!(
        "down",
        lab.run(&["service", "scale", "collabweb=2", "--dry-run"]).good()
    );
}

#[test]
fn removing_a_service_is_these_commands() {
    let lab = Lab::new();
    insta::assert_snapshot!(lab.run(&["service", "rm", "collab-box", "--dry-run"]).good());
}

#[test]
fn removing_a_network_is_these_commands() {
    let lab = Lab::new();
    insta::assert_snapshot!(lab.run(&["network", "rm", "bare", "--dry-run"]).good());
}

#[test]
fn what_is_so_already_is_no_command() {
    let lab = Lab::new();
    let said = lab.run(&["service", "scale", "collabweb=3", "--dry-run"]).good();
    assert_eq!(said, "# on node node-1\n# nothing to do\n");
}

#[test]
fn what_is_broken_is_mended_by_the_next_change() {
    let lab = Lab::changed("collabweb.2", |sandbox| sandbox.routes.clear());
    let said = lab.run(&["service", "scale", "collabweb=3", "--dry-run"]).good();
    let lines: Vec<&str> = said.lines().skip(1).collect();
    assert_eq!(
        lines,
        [
            "ip -n collabweb.2 route add local 10.0.3.6/32 dev lo src 10.0.3.4 table local proto 108",
            "ip -n collabweb.2 route add local 10.0.3.2/32 dev lo src 10.0.3.4 table local proto 108",
        ]
    );
}

#[test]
fn a_dry_run_leaves_no_state_behind() {
    let lab = Lab::new();
    lab.run(&["service", "create", "--name", "web", "--dry-run"]).good();
    lab.run(&["system", "reset", "--dry-run"]).good();
    assert!(is_missing(&lab.path("state")));
}

#[test]
fn a_reset_removes_all_that_the_node_holds() {
    let lab = Lab::new();
    let said = lab.run(&["system", "reset", "--dry-run"]).good();
    for name in lab.node.sandboxes.keys() {
        assert!(said.lines().any(|line| line == format!("ip netns del {name}")), "{name}: {said}");
    }
    assert_eq!(said.lines().next(), Some(format!("# on node {}", node_1()).as_str()));
}
