//! Where tasks may be, as it is typed, refused and told.

use serde_json::Value;
use swarmlb::intent::{Mode, Placement, ServiceSpec};

use crate::fixture::{Lab, story};

const WHY: &str = "no suitable node: node-1 does not satisfy node.label.disk==ssd";

/// The story, and `cache`, for which there is no node, and the global `probe`.
fn lab() -> Lab {
    let mut intent = story();
    let network = || "collabnet".parse().expect("a name");
    let constraints = vec!["node.label.disk==ssd".parse().expect("a constraint")];
    let cache = ServiceSpec {
        replicas: 2,
        placement: Placement { constraints, max_per_node: 1.try_into().ok() },
        ..ServiceSpec::new("cache".parse().expect("a name"), network())
    };
    let probe = ServiceSpec {
        mode: Mode::Global,
        ..ServiceSpec::new("probe".parse().expect("a name"), network())
    };
    intent.create_service(cache, "cache-id".into(), 0).expect("a service");
    intent.create_service(probe, "probe-id".into(), 0).expect("a service");
    Lab::of(intent)
}

#[track_caller]
fn refused(words: &[&str], expected: &str) {
    assert_eq!(lab().run(words).failed(2), expected, "{words:?}");
}

#[test]
fn what_waits_for_a_place_is_listed_with_its_reason() {
    let lab = lab();
    insta::assert_snapshot!(lab.run(&["service", "ps", "cache", "probe"]).good());
    insta::assert_snapshot!(lab.run(&["service", "ls"]).good());
    let rows = lab.run(&["service", "ps", "cache", "--format", "json"]).good();
    let rows: Value = serde_json::from_str(&rows).expect("JSON");
    let row = &rows[0];
    assert_eq!((&row["id"], &row["node"]), (&Value::Null, &Value::Null));
    assert_eq!((&row["state"], &row["error"]), (&"pending".into(), &WHY.into()));
    assert_eq!(lab.run(&["service", "ps", "cache", "--quiet"]).good(), "");
    let pending = lab.run(&["task", "ls", "--filter", "state=pending"]).good();
    assert_eq!(pending.lines().count(), 3, "{pending}");
    let inspected = lab.run(&["service", "inspect", "cache"]).good();
    let inspected: Value = serde_json::from_str(&inspected).expect("JSON");
    assert_eq!(inspected[0]["placement"]["constraints"][0], "node.label.disk==ssd");
    assert!(inspected[0]["pending"]["2"]["reason"]["no_node"].is_array(), "{inspected}");
}

#[test]
fn a_task_without_a_place_is_no_task_yet() {
    refused(
        &["task", "inspect", "cache.2"],
        &format!(
            "error: cannot inspect task `cache.2`: task cache.2 has no place yet: {WHY}\n\
             hint: see `swarmlb service ps cache`\n"
        ),
    );
}

#[test]
fn a_dry_run_tells_what_would_wait() {
    let lab = lab();
    let words = ["service", "create", "--dry-run", "--name=x", "--network=bare"];
    let told = lab.run(&[&words[..], &["--constraint", "node.label.disk == ssd"]].concat()).good();
    assert_eq!(
        told,
        format!("# on node node-1\n# x.1 waits for a place: {WHY}\n# nothing to do\n")
    );
}

#[test]
fn a_global_service_takes_no_number_of_tasks() {
    let hint =
        "hint: a global service has one task on every node; say which nodes with `--constraint`\n";
    for (option, name) in
        [("--replicas=2", "--replicas"), ("--replicas-max-per-node=1", "--replicas-max-per-node")]
    {
        refused(
            &["service", "create", "--dry-run", "--name=x", "--mode=global", option],
            &format!(
                "error: cannot create service `x`: `{name}` is for replicated services, and it shall be \
                 global\n{hint}"
            ),
        );
    }
    refused(
        &["service", "scale", "probe=3", "--dry-run"],
        "error: cannot scale service `probe`: service `probe` is global: how many tasks it has follows \
         from the nodes\nhint: it runs one task on every node that it may run on; see `swarmlb service \
         inspect --pretty probe`\n",
    );
}

#[test]
fn what_is_no_constraint_is_refused_with_what_could_be_one() {
    for (text, said) in [
        ("node.role==manager", "nodes have no `node.role`: there are no managers and workers"),
        ("node.id==x", "nodes have no `node.id`: they are known by their names"),
        ("node.lable.disk==ssd", "did you mean `node.label.disk`?"),
        ("node.name=one", "has one `=`: write `node.name==one` or `node.name!=one`"),
    ] {
        let words = ["service", "create", "--dry-run", "--constraint", text];
        let told = lab().run(&words).failed(2);
        assert!(told.starts_with("error: --constraint: ") && told.contains(said), "{told}");
    }
}

#[test]
fn what_a_network_could_never_hold_is_refused_and_what_others_hold_is_waited_for() {
    let small = |lab: &Lab, replicas: &str| {
        let words = ["service", "create", "--dry-run", "--name=x", "--network=small", "--replicas"];
        lab.run(&[&words[..], &[replicas]].concat())
    };
    assert_eq!(
        small(&lab(), "5").failed(2),
        "error: cannot create service `x`: subnet 10.0.9.0/29 of network `small` has too few addresses: \
         6 needed, 5 free of 5\n\
         hint: ask for 1 replica fewer, or make a network with a larger `--subnet`\n"
    );
    let mut intent = story();
    let spec = ServiceSpec::new("y".parse().expect("a name"), "small".parse().expect("a name"));
    intent
        .create_service(ServiceSpec { replicas: 2, ..spec.clone() }, "y".into(), 0)
        .expect("a service");
    let told = small(&Lab::of(intent.clone()), "2").good();
    assert!(
        told.contains(
            "# x.2 waits for a place: network small has no free address: all 5 are taken\n"
        ),
        "{told}"
    );
    intent.scale_service(&"y".parse().expect("a name"), 4).expect("it is scaled");
    assert_eq!(
        small(&Lab::of(intent), "1").failed(2),
        "error: cannot create service `x`: subnet 10.0.9.0/29 of network `small` has too few addresses: \
         1 needed, 0 free of 5\n\
         hint: `swarmlb network inspect small` tells who has them; a network with a larger `--subnet` has \
         more\n"
    );
}
