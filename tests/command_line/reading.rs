//! What is shown: help, lists, VIPs.

use serde_json::Value;
use swarmlb::intent::Fwmark;
use swarmlb::node::{BaseRule, Sandbox, VirtualServerKey};

use crate::fixture::{Lab, empty, run};

#[test]
fn the_help_tells_what_there_is() {
    insta::assert_snapshot!(run(&["--help"]).good());
    insta::assert_snapshot!(run(&["service", "create", "--help"]).good());
}

#[test]
fn every_command_has_help_that_begins_with_a_sentence() {
    let mut seen = 0;
    let mut to_visit: Vec<Vec<String>> = vec![Vec::new()];
    while let Some(path) = to_visit.pop() {
        let mut words: Vec<&str> = path.iter().map(String::as_str).collect();
        words.push("--help");
        let help = run(&words).good();
        let first = help.lines().next().unwrap_or_default();
        assert!(first.chars().next().is_some_and(char::is_uppercase), "{words:?}: {first}");
        assert!(help.contains("Usage: swarmlb"), "{words:?}: {help}");
        assert!(help.contains("--state-dir <DIR>"), "{words:?}: {help}");
        assert!(!help.contains("--kernel"), "{words:?}: hidden options are shown");
        assert!(help.lines().all(|line| line.chars().count() <= 100), "{words:?}: {help}");
        let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1);
        for line in commands.take_while(|line| !line.is_empty()) {
            let name = line.split_whitespace().next().unwrap_or_default();
            // A line that continues the one before is indented further.
            if name != "help" && line.starts_with("  ") && !line.starts_with("   ") {
                to_visit.push(path.iter().cloned().chain([name.to_owned()]).collect());
            }
        }
        seen += 1;
    }
    assert!(seen >= 34, "only {seen} commands were found");
}

#[test]
fn without_arguments_the_help_is_an_error() {
    let said = run(&[]).failed(2);
    assert!(said.contains("Usage: swarmlb [OPTIONS] <COMMAND>"), "{said}");
}

#[test]
fn the_version_is_the_packages() {
    assert_eq!(run(&["--version"]).good(), format!("swarmlb {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn networks_are_listed_and_inspected() {
    let lab = Lab::new();
    insta::assert_snapshot!(lab.run(&["network", "ls"]).good());
    insta::assert_snapshot!(lab.run(&["network", "inspect", "collabnet", "bare"]).good());
    assert_eq!(lab.run(&["network", "list"]).good(), lab.run(&["network", "ls"]).good());
}

#[test]
fn services_and_tasks_are_listed() {
    let lab = Lab::new();
    insta::assert_snapshot!(lab.run(&["service", "ls"]).good());
    insta::assert_snapshot!(lab.run(&["service", "ps", "collabweb", "rr"]).good());
}

#[test]
fn tasks_are_listed_and_filtered() {
    let lab = Lab::new();
    insta::assert_snapshot!(lab.run(&["task", "ls"]).good());
    let names = |words: &[&str]| -> Vec<String> {
        let said = lab.run(&[&["task", "ls", "--no-trunc"], words].concat()).good();
        let rows = said.lines().skip(1);
        rows.map(|row| row.split_whitespace().nth(1).expect("a name").to_owned()).collect()
    };
    assert_eq!(names(&["rr", "collab-box"]), ["rr.1", "rr.2", "collab-box.1"]);
    assert_eq!(names(&["-f", "name=rr.2", "-f", "name=collab-"]), ["collab-box.1", "rr.2"]);
    assert_eq!(names(&["-f", "service=rr", "-f", "name=collab"]), [""; 0]);
    assert_eq!(names(&["rr", "-f", "state=unknown", "-f", "node=node-1"]), ["rr.1", "rr.2"]);
    assert_eq!(names(&["rr", "-f", "desired-state=shutdown"]), [""; 0]);
    let id = &lab.intent.tasks[&"rr.2".parse().expect("a name")].id;
    assert_eq!(names(&["-f", &format!("id={}", &id[..6])]), ["rr.2"]);
    let said = lab.run(&["task", "ls", "nowhere"]).failed(2);
    assert!(said.contains("there is no service `nowhere`"), "{said}");
}

#[test]
fn a_task_is_inspected_by_name_or_id() {
    let lab = Lab::new();
    let id = &lab.intent.tasks[&"collabweb.2".parse().expect("a name")].id;
    let said = lab.run(&["task", "inspect", "collabweb.2"]).good();
    insta::assert_snapshot!(said);
    assert_eq!(lab.run(&["task", "inspect", &id[..9]]).good(), said);
    insta::assert_snapshot!(lab.run(&["task", "inspect", "--pretty", "rr.1", &id[..12]]).good());
}

#[test]
fn quiet_lists_are_ids_or_names_only() {
    let lab = Lab::new();
    let id = |name: &str| format!("{name:x<25}\n");
    let networks = ["bare", "collabnet", "small"].map(id).concat();
    assert_eq!(lab.run(&["network", "ls", "-q"]).good(), networks);
    let services = ["collab-box", "collabweb", "rr"].map(id).concat();
    assert_eq!(lab.run(&["-q", "service", "ls"]).good(), services);
    let ids: String = ["rr.1", "rr.2"]
        .map(|name| format!("{}\n", lab.intent.tasks[&name.parse().expect("a name")].id))
        .concat();
    assert_eq!(lab.run(&["service", "ps", "rr", "--quiet"]).good(), ids);
    assert_eq!(lab.run(&["task", "ls", "--quiet", "-f", "service=rr"]).good(), ids);
}

#[test]
fn an_empty_cluster_lists_headings_and_exits_0() {
    let lab = Lab::of(empty());
    for command in [["network", "ls"], ["service", "ls"], ["sandbox", "ls"]] {
        let said = lab.run(&command).good();
        assert_eq!(said.lines().count(), 1, "{said}");
        let json = lab.run(&[command[0], command[1], "--format", "json"]).good();
        assert_eq!(json, "[]\n");
    }
}

#[test]
fn every_list_is_json_when_asked() {
    let lab = Lab::new();
    let lists: [(&[&str], usize); 10] = [
        (&["network", "ls"], 3),
        (&["network", "inspect", "small"], 1),
        (&["service", "ls"], 3),
        (&["service", "ps", "collabweb"], 3),
        (&["task", "ls"], 6),
        (&["task", "inspect", "rr.1", "rr.2"], 2),
        (&["inspect", "vip"], 2),
        (&["inspect", "vip", "collabweb"], 1),
        (&["sandbox", "ls"], 9),
        (&["sandbox", "ls", "--all"], 9),
    ];
    for (words, count) in lists {
        let text = lab.run(&[words, &["--format", "json"]].concat()).good();
        let value: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{words:?}: {e}"));
        assert_eq!(value.as_array().map(Vec::len), Some(count), "{words:?}: {text}");
        assert!(text.ends_with("]\n"), "{words:?}");
    }
}

#[test]
fn a_dumped_sandbox_is_a_node_that_can_be_looked_at_again() {
    let lab = Lab::new();
    let text = lab.run(&["sandbox", "dump", "collabweb.2", "--format", "json"]).good();
    let node: swarmlb::node::Node = serde_json::from_str(&text).expect("a node");
    let (name, sandbox) = node.sandboxes.first_key_value().expect("one sandbox");
    assert_eq!((node.sandboxes.len(), name.as_str()), (1, "collabweb.2"));
    assert_eq!(Some(sandbox), lab.node.sandboxes.get(name));
}

#[test]
fn a_whole_vip_exits_0() {
    let lab = Lab::new();
    insta::assert_snapshot!(lab.run(&["inspect", "vip", "collabweb"]).good());
    insta::assert_snapshot!(lab.run(&["inspect", "vip"]).good());
    let by_address = lab.run(&["inspect", "vip", "10.0.3.2"]).good();
    assert_eq!(by_address, lab.run(&["inspect", "vip", "collabweb"]).good());
}

#[test]
fn a_broken_vip_exits_1_and_names_the_rung() {
    let lab = Lab::changed("collabweb.2", |sandbox| sandbox.routes.clear());
    let said = lab.run(&["inspect", "vip", "collabweb"]);
    assert_eq!((said.code, said.stderr.as_str()), (Some(1), ""), "a finding is no error");
    insta::assert_snapshot!(said.stdout);
    let said = lab.run(&["inspect", "vip"]);
    assert_eq!((said.code, said.stderr.as_str()), (Some(1), ""));
    let told = "collabweb is broken in collabweb.2 at the route rung: no local route to 10.0.3.2";
    assert!(said.stdout.contains(told), "{}", said.stdout);
    let said = lab.run(&["inspect", "vip", "--format", "json"]);
    assert_eq!(said.code, Some(1));
    assert!(serde_json::from_str::<Value>(&said.stdout).is_ok(), "{}", said.stdout);
}

#[test]
fn each_rung_that_breaks_is_named() {
    type Breaking = fn(&mut Sandbox);
    fn table(sandbox: &mut Sandbox) -> &mut swarmlb::node::Table {
        sandbox.table.get_or_insert_default()
    }
    const MARK: VirtualServerKey = VirtualServerKey::Fwmark(Fwmark(256));
    let breakings: [(Breaking, &str, &str); 9] = [
        (|s| s.sysctls.clear(), "settings", "net.ipv4.conf.all.arp_ignore should be 1 and is 0"),
        (|s| s.routes.clear(), "route", "no local route to 10.0.3.2"),
        (|s| s.table = None, "mark", "nftables table `swarmlb` is missing"),
        (|s| table(s).marks.clear(), "mark", "packets to 10.0.3.2 get no mark"),
        (|s| table(s).guards.clear(), "fail closed", "10.0.3.2 is not in set `vips`"),
        (
            |s| {
                table(s).rules.remove(&BaseRule::RejectIn);
            },
            "fail closed",
            "the reject rule is missing",
        ),
        (|s| s.virtual_servers.clear(), "virtual server", "IPVS has no virtual server FWM 0x100"),
        (
            |s| {
                let server = s.virtual_servers.get_mut(&MARK);
                server.and_then(|server| server.real_servers.pop_first());
            },
            "real servers",
            "missing: 10.0.3.3",
        ),
        (|s| s.addresses.clear(), "tasks", "collabweb.2: 10.0.3.4 is on none of its links"),
    ];
    for (breaking, rung, evidence) in breakings {
        let said = Lab::changed("collabweb.2", breaking).run(&["inspect", "vip", "collabweb"]);
        assert_eq!((said.code, said.stderr.as_str()), (Some(1), ""), "{rung}");
        let broken = said.stdout.lines().find(|line| line.trim_start().starts_with("BROKEN"));
        let broken = broken.unwrap_or_else(|| panic!("{rung}: {}", said.stdout));
        assert!(broken.contains(rung) && broken.contains(evidence), "{rung}: {broken}");
    }
}

#[test]
fn rungs_behind_a_broken_one_are_not_reached() {
    let lab = Lab::changed("collabweb.2", |sandbox| sandbox.routes.clear());
    let said = lab.run(&["inspect", "vip", "collabweb"]).stdout;
    let steps = said.lines().skip_while(|line| !line.contains("BROKEN")).skip(1);
    let behind: Vec<&str> = steps.take_while(|line| !line.is_empty()).map(str::trim).collect();
    let expected = ["mark", "fail closed", "virtual server", "real servers", "tasks"];
    assert_eq!(behind, expected.map(|step| format!("not reached  {step}")));
    assert!(said.contains("It is broken from 1 of 6 sandboxes: collabweb.2"), "{said}");
}

#[test]
fn a_table_of_vips_fits_a_terminal() {
    let said = Lab::new().run(&["inspect", "vip"]).good();
    assert!(said.lines().all(|line| line.chars().count() <= 90), "{said}");
    assert_eq!(Lab::new().run(&["-q", "inspect", "vip"]).good(), "collab-box\ncollabweb\n");
}

#[test]
fn a_dump_is_inspected_without_an_intent_and_without_root() {
    let broken = Lab::changed("collabweb.2", |sandbox| {
        sandbox.routes.retain(|route| route.address.octets() != [10, 0, 3, 2]);
    });
    let dump =
        |lab: &Lab, name: &str| lab.run(&["sandbox", "dump", name, "--format", "json"]).good();
    let names = ["collabweb.1", "collabweb.2", "collabweb.3", "collab-box.1"];
    let dumps: Vec<String> = names.iter().map(|name| dump(&broken, name)).collect();
    let from = |text: &str, more: &[&str]| {
        std::fs::write(broken.path("dump.json"), text).expect("a file");
        let path = broken.path("dump.json");
        let words = [&["inspect", "vip", "--from", path.to_str().expect("UTF-8")], more].concat();
        crate::fixture::said(&mut broken.fresh(&words))
    };
    // One after the other, or as a list.
    for text in [dumps.concat(), format!("[{}]", dumps.join(","))] {
        let said = from(&text, &[]);
        assert_eq!((said.code, said.stderr.as_str()), (Some(1), ""), "{}", said.stdout);
        let told =
            "collabweb is broken in collabweb.2 at the route rung: no local route to 10.0.3.2";
        assert!(said.stdout.contains(told), "{}", said.stdout);
    }
    let said = from(&dumps.concat(), &["10.0.3.6"]).good();
    assert!(said.contains("It works from all 4 sandboxes."), "{said}");
    // One alone is judged by itself.
    let said = from(&dumps[0], &["collabweb"]).good();
    let seen = "1 endpoint is up on the bridge of `collabnet`; not looked at: 10.0.3.4 10.0.3.5";
    assert!(said.contains(seen), "{said}");
    // With an intent, against that.
    let intent = broken.path("intent.json");
    let said = from(&dumps[1], &["--intent", intent.to_str().expect("UTF-8"), "collabweb"]);
    assert!(said.stdout.contains("no local route to 10.0.3.2"), "{}", said.stdout);
    assert!(from(&dumps[0], &["nothing"]).failed(2).contains("no sandbox in"));
    for wrong in ["", "[]", "{}", "nonsense", "{\"sandboxes\": 5}"] {
        assert!(from(wrong, &[]).failed(2).contains("cannot read dump"), "{wrong}");
    }
    let missing =
        crate::fixture::said(&mut broken.fresh(&["inspect", "vip", "--from", "/nowhere"]));
    missing.failed(3);
}

#[test]
fn what_a_dump_could_not_read_is_told_where_it_matters() {
    use swarmlb::dump::{Contents, Dump, Part};
    use swarmlb::node::{Dispatch, SandboxName};
    let told = |dispatched: bool, part: &str| {
        let lab = Lab::new();
        let name = SandboxName("collabweb.1".into());
        let mut sandbox = lab.node.sandboxes[&name].clone();
        sandbox.virtual_servers.clear();
        if dispatched {
            let table = sandbox.table.as_mut().expect("a table");
            for mark in table.marks.values() {
                table.dispatches.insert(*mark, Dispatch { targets: Vec::new() });
            }
        }
        let mut contents = Contents::default();
        match part {
            "ipvs" => contents.ipvs = Some(Part::unreadable("not permitted (EPERM)")),
            _ => contents.routes = Some(Part::unreadable("not permitted (EPERM)")),
        }
        let dump = Dump {
            sandboxes: Some([(name.clone(), sandbox)].into()),
            contents: [(name, contents)].into(),
        };
        let path = lab.path("dump.json");
        std::fs::write(&path, serde_json::to_vec(&dump).expect("JSON")).expect("a file");
        let words = ["inspect", "vip", "--from", path.to_str().expect("UTF-8")];
        crate::fixture::said(&mut lab.fresh(&words)).stderr
    };
    let note = "note: the dump has no ipvs of sandbox collabweb.1: not permitted (EPERM)\n";
    assert_eq!(told(false, "ipvs"), note);
    assert_eq!(told(true, "ipvs"), "", "where nftables balances nobody misses it");
    assert_eq!(told(true, "routes"), note.replace("ipvs", "routes"));
}

#[test]
fn a_watch_prints_one_look_below_the_other_until_nobody_reads() {
    use std::io::{BufRead, BufReader};
    let lab = Lab::new();
    let mut command = lab.command(&["inspect", "vip", "collabweb", "--watch=1"]);
    let mut child = command.stdout(std::process::Stdio::piped()).spawn().expect("it starts");
    let mut output = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut looks = 0;
    while looks < 2 {
        let mut line = String::new();
        assert_ne!(output.read_line(&mut line).expect("text"), 0, "it ended after {looks} looks");
        assert!(!line.contains('\u{1b}'), "{line:?} is for a terminal");
        looks += usize::from(line.starts_with("collabweb on network collabnet"));
    }
    drop(output);
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
}

#[test]
fn no_vip_at_all_is_said_on_stderr() {
    let said = Lab::of(empty()).run(&["inspect", "vip"]);
    assert_eq!((said.code, said.stdout.as_str()), (Some(0), ""));
    assert_eq!(said.stderr, "There is no VIP: no service in endpoint mode vip.\n");
}
