//! What is refused: in which words, with which exit code.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;

use serde_json::Value;

use crate::fixture::{Lab, is_harmless, said, swarmlb};

#[track_caller]
fn refused(words: &[&str], code: i32, expected: &str) {
    let lab = Lab::new();
    let told = lab.run(words).failed(code);
    assert_eq!(told, expected, "{words:?}");
}

#[test]
fn an_unknown_name_is_answered_with_the_one_that_was_meant() {
    refused(
        &["service", "ps", "colabweb"],
        2,
        "error: cannot list the tasks of service `colabweb`: there is no service `colabweb`\n\
         hint: did you mean `collabweb`?\n",
    );
    refused(
        &["service", "scale", "collab-bx=2", "--dry-run"],
        2,
        "error: cannot scale service `collab-bx`: there is no service `collab-bx`\n\
         hint: did you mean `collab-box`?\n",
    );
    refused(
        &["network", "inspect", "colabnet"],
        2,
        "error: cannot inspect network `colabnet`: there is no network `colabnet`\n\
         hint: did you mean `collabnet`?\n",
    );
    refused(
        &["inspect", "vip", "collabwob"],
        2,
        "error: cannot inspect VIP `collabwob`: no service has that name and no VIP that address\n\
         hint: did you mean `collabweb`?\n",
    );
    refused(
        &["sandbox", "dump", "collabweb.7"],
        2,
        "error: cannot dump sandbox `collabweb.7`: there is no such sandbox\n\
         hint: did you mean `collabweb.1`?\n",
    );
    refused(
        &["task", "inspect", "collabweb.7"],
        2,
        "error: cannot inspect task `collabweb.7`: there is no task `collabweb.7`\n\
         hint: did you mean `collabweb.1`?\n",
    );
    refused(
        &["task", "logs", "rr"],
        2,
        "error: cannot show the output of task `rr`: there is no task `rr`\n\
         hint: did you mean `rr.1`?\n",
    );
    refused(
        &["task", "kill", "9999"],
        2,
        "error: cannot kill task `9999`: there is no task `9999`\n\
         hint: see `swarmlb task ls`\n",
    );
    refused(
        &["service", "logs", "colabweb"],
        2,
        "error: cannot show the output of `colabweb`: there is no service `colabweb`\n\
         hint: did you mean `collabweb`?\n",
    );
    refused(
        &["service", "create", "--dry-run", "--name=web", "--network=colabnet"],
        2,
        "error: cannot create service `web`: there is no network `colabnet`\n\
         hint: did you mean `collabnet`?\n",
    );
    refused(
        &["network", "rm", "green", "--dry-run"],
        2,
        "error: cannot remove network `green`: there is no network `green`\n\
         hint: see `swarmlb network ls`\n",
    );
    refused(
        &["service", "rm", "nginx", "--dry-run"],
        2,
        "error: cannot remove service `nginx`: there is no service `nginx`\n\
         hint: see `swarmlb service ls`\n",
    );
}

#[test]
fn a_name_that_is_given_twice_is_refused() {
    refused(
        &["service", "rm", "rr", "collabweb", "rr"],
        2,
        "error: cannot remove service `rr`, `collabweb`, `rr`: `rr` is named twice\n",
    );
    refused(
        &["service", "scale", "rr=2", "rr=4", "--dry-run"],
        2,
        "error: cannot scale service `rr`, `rr`: `rr` is named twice\n",
    );
    refused(
        &["network", "rm", "bare", "bare"],
        2,
        "error: cannot remove network `bare`, `bare`: `bare` is named twice\n",
    );
}

#[test]
fn a_service_without_a_vip_is_told_from_an_unknown_one() {
    refused(
        &["inspect", "vip", "rr"],
        2,
        "error: cannot inspect VIP `rr`: service `rr` has endpoint mode dnsrr and no VIP\n\
         hint: see what its name resolves to: `swarmlb diag dns rr`\n",
    );
}

#[test]
fn what_is_taken_is_refused_with_its_owner() {
    refused(
        &["network", "create", "blue", "--subnet", "10.0.3.128/25", "--dry-run"],
        2,
        "error: cannot create network `blue`: subnet 10.0.3.128/25 overlaps 10.0.3.0/24 of network `collabnet`\n\
         hint: leave out `--subnet` to have a free one chosen\n",
    );
    refused(
        &["network", "create", "blue", "--opt", "vni=4097", "--dry-run"],
        2,
        "error: cannot create network `blue`: VNI 4097 is already used by network `collabnet`\n\
         hint: leave out `--opt vni`; the next free one is 4100\n",
    );
    refused(
        &["network", "create", "bare", "--dry-run"],
        2,
        "error: cannot create network `bare`: network `bare` exists already\n\
         hint: see `swarmlb network inspect bare`\n",
    );
    refused(
        &["service", "create", "--name", "rr", "--dry-run"],
        2,
        "error: cannot create service `rr`: service `rr` exists already\n\
         hint: change how many tasks it has with `swarmlb service scale rr=N`\n",
    );
    refused(
        &["network", "rm", "collabnet", "--dry-run"],
        2,
        "error: cannot remove network `collabnet`: network `collabnet` is in use by services collab-box, collabweb, rr\n\
         hint: remove what is on it first: `swarmlb service rm collab-box collabweb rr`\n",
    );
}

#[test]
fn a_subnet_or_gateway_that_does_not_fit_the_others_is_refused_with_its_reason() {
    refused(
        &[
            "network",
            "create",
            "--subnet",
            "10.8.0.0/16",
            "--subnet",
            "10.8.9.0/24",
            "--dry-run",
            "blue",
        ],
        2,
        "error: cannot create network `blue`: subnet 10.8.9.0/24 overlaps 10.8.0.0/16, which was given too\n",
    );
    refused(
        &[
            "network",
            "create",
            "--subnet",
            "10.8.0.0/24",
            "--gateway",
            "10.9.0.1",
            "--dry-run",
            "blue",
        ],
        2,
        "error: cannot create network `blue`: gateway 10.9.0.1 is outside subnet 10.8.0.0/24\n",
    );
    refused(
        &["network", "create", "--gateway", "10.9.0.1", "--dry-run", "blue"],
        2,
        "error: cannot create network `blue`: gateway 10.9.0.1 is in no subnet, for none was given\n\
         hint: give its subnet too, with `--subnet`\n",
    );
}

#[test]
fn too_many_replicas_are_refused_with_what_there_is_room_for() {
    let create = |replicas, network| {
        [
            "service",
            "create",
            "--dry-run",
            "--name=web",
            "--replicas",
            replicas,
            "--network",
            network,
        ]
    };
    refused(
        &create("5", "small"),
        2,
        "error: cannot create service `web`: subnet 10.0.9.0/29 of network `small` has too few addresses: 6 needed, 5 free of 5\n\
         hint: ask for 1 replica fewer, or make a network with a larger `--subnet`\n",
    );
    Lab::new().run(&create("4", "small")).good();
    refused(
        &create("1001", "collabnet"),
        2,
        "error: cannot create service `web`: 1001 replicas are more than one service may have (1000)\n",
    );
    refused(
        &["service", "scale", "rr=4294967295", "--dry-run"],
        2,
        "error: cannot scale service `rr`: 4294967295 replicas are more than one service may have (1000)\n",
    );
}

#[test]
fn what_is_for_containers_is_refused_for_others_and_what_no_container_can_be_for_all() {
    refused(
        &[
            "service",
            "create",
            "--dry-run",
            "--name=web",
            "--network=bare",
            "--read-only",
            "host",
            "x",
        ],
        2,
        "error: cannot create service `web`: `--read-only` is for containers, and `host` is none\n\
         hint: leave `--read-only` out, or give an image of containers\n",
    );
    refused(
        &[
            "service",
            "create",
            "--dry-run",
            "--name=web",
            "--network=bare",
            "--limit-memory=1m",
            "nginx",
        ],
        2,
        "error: cannot create service `web`: a limit of 1m of memory is too little: 6m is the least\n",
    );
}

#[test]
fn a_command_belongs_to_image_host_only() {
    refused(
        &["service", "create", "--dry-run", "--name=web", "--network=bare", "host"],
        2,
        "error: cannot create service `web`: image `host` needs a command to run\n\
         hint: write the command behind the image: `swarmlb service create host nc -lk 80`\n",
    );
    refused(
        &["service", "create", "--dry-run", "--name=web", "--network=bare", "builtin:whoami", "x"],
        2,
        "error: cannot create service `web`: image `builtin:whoami` takes no command\n",
    );
    let host = ["service", "create", "--dry-run", "--name=web", "host", "sh", "-c", "exit 3"];
    Lab::new().run(&host).good();
}

/// Refused by what was typed alone; the rest of clap's words may change with its versions.
#[test]
fn what_cannot_be_parsed_is_refused_with_its_reason() {
    let cases: [(&[&str], &str); 41] = [
        (&["network", "create", "a", "--subnet", "x"], "`x` is not an IPv4 subnet"),
        (&["network", "create", "a", "--subnet", "10.0.3.5/24"], "the subnet is 10.0.3.0/24"),
        (&["network", "create", "a", "--subnet", "10.0.3.0/30"], "too small"),
        (&["network", "create", "a", "--subnet", "127.0.0.0/24"], "loopback"),
        (&["network", "create", "a", "--subnet", "fd00::/64"], "not an IPv4 subnet"),
        (&["network", "create", "a", "--gateway", "10.0.3"], "invalid IPv4 address"),
        (&["network", "create", "a", "--label", "=x"], "has no key"),
        (&["network", "ls", "--filter", "scope=swarm"], "`scope=swarm` is not known"),
        (&["network", "connect", "a", "b", "--alias", "a b"], "alias name `a b` is not valid"),
        (&["service", "create", "--network", "a,b"], "`b` is not known: write NETWORK, then"),
        (&["service", "create", "--network", "alias=x"], "names no network"),
        (&["service", "create", "--network", "a,alias=-x"], "alias name `-x` is not valid"),
        (&["service", "create", "--network", "name=a,name=b"], "`name=b` is not known"),
        (&["network", "create", "a", "--driver", "bridge"], "overlay"),
        (&["network", "create", "a", "--opt", "vni=0"], "a number from 1 to 16777215"),
        (&["network", "create", "a", "--opt", "vni=16777216"], "a number from 1 to 16777215"),
        (&["network", "create", "a", "--opt", "mtu=x"], "`x` is not a number"),
        (
            &["network", "create", "a", "--opt", "color=red"],
            "there are `encrypted`, `vni=N` and `mtu=N`",
        ),
        (&["network", "create", "-a-"], "`swarmlb network create` has no option `-a`"),
        (&["network", "create", "a b"], "only letters, digits"),
        (&["service", "create", "builtin:web"], "there are `builtin:whoami` and `builtin:echo`"),
        (&["service", "create", "Nginx"], "`Nginx` in its name has capital letters"),
        (&["service", "create", "--replicas=-1"], "--replicas: `-1` is not a number of tasks"),
        (&["service", "create", "--replicas", "many"], "`many` is not a number of tasks"),
        (&["service", "create", "--replicas", "9999999999"], "is not a number of tasks"),
        (&["service", "create", "--replicas"], "--replicas needs a value"),
        (&["service", "rm"], "`swarmlb service rm` needs <SERVICE>..."),
        (&["service", "ls", "web"], "`swarmlb service ls` takes no `web`"),
        (&["service", "ls", "--node", "a", "--node", "b"], "--node is given twice"),
        (&["service", "create", "--data-plane", "ebpf"], "auto, ipvs or nftables"),
        (&["service", "scale", "web"], "`web` is not SERVICE=REPLICAS"),
        (&["service", "scale", "web=lots"], "`lots` is not a number of tasks"),
        (&["task", "kill", "-s", "SIGNONE", "a.1"], "there is no signal `SIGNONE`"),
        (&["task", "kill", "--signal", "0", "a.1"], "there is no signal `0`"),
        (&["task", "ls", "--filter", "colour=red"], "there is no `colour` to filter by"),
        (&["task", "ls", "-f", "web"], "say KEY=VALUE, as in name=web"),
        (&["task", "exec", "web.1"], "<COMMAND>..."),
        (&["task", "logs", "web.1", "--tail", "few"], "say a number of lines, or all"),
        (&["service", "logs", "web", "--since", "lunch"], "seconds since 1970"),
        (&["service", "logs", "web", "-f", "--until", "1m"], "does not go with"),
        (&["service", "logs", "web", "--raw", "--no-trunc"], "does not go with"),
    ];
    let lab = Lab::new();
    for (words, reason) in cases {
        let told = lab.run(words).failed(2);
        assert!(told.starts_with("error: "), "{words:?}: {told}");
        assert!(told.contains(reason), "{words:?}: {told}");
    }
    assert!(
        lab.run(&["nework", "ls"]).failed(2).contains("did you mean `network`?"),
        "did you mean"
    );
    assert!(lab.run(&["service", "lss"]).failed(2).contains("did you mean `ls`?"), "did you mean");
}

#[test]
fn numbers_of_a_comparison_that_do_not_go_together_are_refused_before_anything_is_made() {
    let cases: [(&[&str], &str); 5] = [
        (
            &["collabweb", "--clients", "5", "--requests", "3"],
            "3 requests cannot be shared among 5 clients\nhint: say `--requests 5` or more\n",
        ),
        (
            &["collabweb", "--requests", "900000"],
            "900,000 requests of 1 client are more than one client has ports for, which is 25,000\n\
             hint: say `--clients 36` or more, or fewer requests\n",
        ),
        (
            &["collabweb", "--clients", "100", "--concurrency", "200"],
            "100 clients with 200 requests at a time are more than 256 at a time\n\
             hint: say `--concurrency 2` or less\n",
        ),
        (
            &["collabweb", "--from", "collabweb", "--requests", "2"],
            "2 requests cannot be shared among 3 clients\nhint: say `--requests 3` or more\n",
        ),
        (
            &["collabweb", "--from", "collab-box", "--from", "collab-box.1"],
            "`--from` names collab-box.1 twice\n",
        ),
    ];
    for (words, problem) in cases {
        let expected =
            format!("error: cannot compare DNS and IPVS for service `collabweb`: {problem}");
        refused(&[&["diag", "compare-dns-ipvs"], words].concat(), 2, &expected);
    }
}

#[test]
fn a_comparison_without_a_service_has_nobody_to_ask_from() {
    let lab = Lab::new();
    let compare = |words: &[&str]| {
        let told = lab.run(&[&["diag", "compare-dns-ipvs"], words].concat()).failed(2);
        assert!(told.starts_with("error: "), "{told}");
        told
    };
    assert!(compare(&["--from", "collab-box.1"]).contains("<SERVICE>"));
    assert!(compare(&["collabweb", "--from", "x", "--clients", "2"]).contains("does not go with"));
    assert!(compare(&["--kill-task-at", "1"]).contains("`1` is not a number between 0 and 1"));
    assert!(compare(&["--episode", "2s"]).contains("needs --kill-task-at <PART>"));
    let short = ["--kill-task-at", "0.5", "--episode", "1ms"];
    assert!(compare(&short).contains("`1ms` is not from 1s to 10m"));
    assert!(compare(&["--requests", "0"]).contains("`0` is not a number from 1 to 1000000"));
    assert!(compare(&["--clients", "101"]).contains("`101` is not a number from 1 to 100"));
    assert!(compare(&["--client-cache", "often"]).contains("none, ttl"));
    let pdf = compare(&["--report", "a.pdf"]);
    assert!(pdf.contains("it must end in .html, .svg, .csv or .json"), "{pdf}");
    let meant = compare(&["collabweb", "--from", "colab-box.1"]);
    assert!(meant.ends_with("hint: did you mean `collab-box.1`?\n"), "{meant}");
}

#[test]
fn a_report_that_cannot_be_written_is_told_before_anything_is_measured() {
    if !nix::unistd::geteuid().is_root() {
        return eprintln!("skipped: without root it is root that is asked for first");
    }
    let lab = Lab::new();
    let path = lab.path("no/such/directory/a.html").display().to_string();
    let told = lab.run(&["diag", "compare-dns-ipvs", "collabweb", "--report", &path]).failed(3);
    let expected = format!(
        "error: cannot write report {path}: no such file or directory (ENOENT)\n\
         hint: its directory must be there\n"
    );
    assert_eq!(told, expected);
}

#[test]
fn an_mtu_out_of_range_is_refused_by_both_ends() {
    for mtu in ["575", "8951"] {
        let option = format!("mtu={mtu}");
        let expected =
            format!("error: cannot create network `a`: MTU {mtu} is out of range: 576 to 8950\n");
        refused(&["network", "create", "a", "--opt", &option, "--dry-run"], 2, &expected);
    }
}

#[test]
fn the_ipvs_plane_is_refused_where_a_kernel_has_none() {
    let mut intent = crate::fixture::story();
    intent.nodes.values_mut().for_each(|node| node.ipvs = false);
    let lab = Lab::of(intent);
    let words = ["service", "create", "--dry-run", "--name=web", "--network=bare"];
    let told = lab.run(&[&words[..], &["--data-plane", "ipvs"]].concat()).failed(3);
    assert_eq!(
        told,
        "error: cannot create service `web`: node `node-1` has no IPVS\n\
         hint: see `swarmlb system info`; nftables works on any kernel, with schedulers rr and wrr\n"
    );
    lab.run(&words).good();
}

#[test]
fn an_error_is_one_json_object_when_asked() {
    let lab = Lab::new();
    let cases: [(&[&str], i32, &str); 4] = [
        (&["service", "ps", "colabweb"], 2, "usage"),
        (&["network", "rm", "collabnet", "--dry-run"], 2, "usage"),
        (&["network", "create", "a", "--subnet", "x"], 2, "usage"),
        (&["frobnicate"], 2, "usage"),
    ];
    for (words, code, kind) in cases {
        for format in [&["--format", "json"][..], &["--format=json"]] {
            let told = lab.run(&[format, words].concat()).failed(code);
            assert_eq!(told.lines().count(), 1, "{told}");
            let value: Value =
                serde_json::from_str(&told).unwrap_or_else(|e| panic!("{told}: {e}"));
            assert_eq!(value["kind"], kind, "{told}");
            assert!(value["error"].as_str().is_some_and(|error| !error.is_empty()), "{told}");
            assert!(value["causes"].is_array() && value["hints"].is_array(), "{told}");
        }
    }
    let told = lab.run(&["--format=json", "service", "ps", "colabweb"]).failed(2);
    let value: Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!(value["hints"][0], "did you mean `collabweb`?");
}

#[test]
fn control_characters_never_reach_the_terminal() {
    let lab = Lab::new();
    let nasty = "\u{1b}[31mweb\r\u{7}\u{9b}x";
    let words: [&[&str]; 13] = [
        &["service", "ps", nasty],
        &["service", "scale", &format!("{nasty}=2")],
        &["service", "create", "--name", nasty],
        &["service", "create", nasty],
        &["service", "create", "--data-plane", nasty],
        &["network", "create", nasty],
        &["network", "create", "a", "--subnet", nasty],
        &["network", "create", "a", "--opt", nasty],
        &["inspect", "vip", nasty],
        &["sandbox", "dump", nasty],
        &[nasty],
        &["--format", nasty, "service", "ls"],
        &["--node", nasty, "service", "ls"],
    ];
    for words in words {
        for format in [&[][..], &["--format=json"]] {
            let told = lab.run(&[words, format].concat()).failed(2);
            assert!(is_harmless(&told), "{words:?}: {told:?}");
        }
    }
}

#[test]
fn a_record_that_cannot_be_read_is_told_with_its_path() {
    let lab = Lab::new();
    let path = lab.path("nowhere.json");
    let told = said(lab.fresh(&["service", "ls"]).arg("--intent").arg(&path)).failed(3);
    let expected = format!("error: cannot read {}: ", path.display());
    assert!(told.starts_with(&expected), "{told}");
    std::fs::write(&path, "{\"nodes\": 3}").expect("a file");
    let told = said(lab.fresh(&["service", "ls"]).arg("--intent").arg(&path)).failed(2);
    assert!(told.starts_with(&expected), "{told}");
}

#[test]
fn a_state_directory_that_is_a_file_is_refused() {
    let lab = Lab::new();
    std::fs::write(lab.path("state"), "").expect("a file");
    let told = said(&mut lab.fresh(&["network", "create", "a", "--subnet", "10.250.0.0/24"]));
    let told = told.failed(3);
    let expected = format!(
        "error: cannot use state directory {}: not a directory (ENOTDIR)",
        lab.path("state").display()
    );
    assert!(told.starts_with(&expected), "{told}");
}

#[test]
fn a_state_directory_with_too_long_a_path_is_refused() {
    let long = "x".repeat(200);
    let told = said(swarmlb().args(["--state-dir", &long, "service", "ls"])).failed(2);
    assert!(told.contains("too long for a socket below it"), "{told}");
}

#[test]
fn another_name_for_a_node_that_has_one_is_refused() {
    let lab = Lab::new();
    std::fs::create_dir(lab.path("state")).expect("a directory");
    std::fs::write(lab.path("state").join("node"), "node-7\n").expect("a file");
    let told = lab.run(&["service", "ls"]).failed(2);
    assert!(told.starts_with("error: cannot be node `node-1`: the node of "), "{told}");
    assert!(told.contains(" is `node-7`\nhint: leave out `--node`"), "{told}");
}

#[test]
fn without_root_it_is_said_what_is_needed() {
    let lab = Lab::new();
    let root = nix::unistd::geteuid().is_root();
    // Somebody else than root must be able to get at the binary and the lab.
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(lab.path("."), open).expect("the lab opens");
    let binary = lab.path("swarmlb");
    if root {
        copy_binary(&binary);
    }
    let run = |words: &[&str]| {
        let mut command = lab.fresh(words);
        if root {
            let mut other = std::process::Command::new(&binary);
            other.args(command.get_args().map(ToOwned::to_owned).collect::<Vec<_>>());
            command = other;
            command.env_clear().uid(65534).gid(65534);
        }
        said(&mut command)
    };
    for words in [
        &["network", "create", "a", "--subnet", "10.250.0.0/24"][..],
        &["service", "create", "--name", "web", "--dry-run"],
        &["system", "reset", "--yes"],
        &["diag", "dns", "web"],
        &["sandbox", "ls"],
    ] {
        let told = run(words).failed(3);
        assert!(told.contains(": this needs root\nhint: "), "{words:?}: {told}");
    }
    let told = run(&["--format=json", "sandbox", "ls"]).failed(3);
    let value: Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!(value["kind"], "cannot");
    // What needs no root needs none.
    run(&["service", "ls"]).good();
    run(&["system", "info"]).good();
}

#[test]
fn without_root_what_may_be_seen_is_listed_and_dumped() {
    let lab = Lab::new();
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: needs root, to become somebody else");
        return;
    }
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(lab.path("."), open).expect("the lab opens");
    let binary = lab.path("swarmlb");
    copy_binary(&binary);
    let run = |words: &[&str]| {
        let mut other = std::process::Command::new(&binary);
        other.args(lab.fresh(words).get_args());
        said(other.env_clear().uid(65534).gid(65534))
    };
    let listed = run(&["sandbox", "ls", "--all", "--format", "json"]);
    assert_eq!(listed.code, Some(0), "{}", listed.stderr);
    assert!(listed.stderr.contains("are not shown: this needs root"), "{}", listed.stderr);
    let rows: Value = serde_json::from_str(&listed.stdout).expect("JSON");
    let own = std::fs::read_link("/proc/self/ns/net").expect("a namespace");
    let inode = |row: &Value| format!("net:[{}]", row["inode"]);
    let rows = rows.as_array().expect("rows");
    let row = rows.iter().find(|row| inode(row) == own.display().to_string()).expect("its own");
    assert!(row["addresses"].is_array(), "{row}");
    let dumped = run(&["sandbox", "dump", "/proc/self/ns/net", "--table", "links"]).good();
    assert!(dumped.contains("127.0.0.1/8 scope host"), "{dumped}");
    let rules = run(&["sandbox", "dump", "/proc/self/ns/net", "--table", "mangle"]).good();
    assert!(rules.contains("(not read: "), "{rules}");
}

/// By a process of its own: a file that this one has open for writing is inherited by whatever other
/// tests start meanwhile, and cannot be run as long as it is.
fn copy_binary(to: &std::path::Path) {
    let mut copy = std::process::Command::new("cp");
    let copied = copy.arg(env!("CARGO_BIN_EXE_swarmlb")).arg(to).status().expect("cp starts");
    assert!(copied.success(), "{copied}");
}
