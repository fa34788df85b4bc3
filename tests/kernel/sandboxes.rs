//! Looking into sandboxes, those of others, and the end of everything.

use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use swarmlb::store::client::Client;
use swarmlb::store::records::load_intent;

use crate::world::{Swarmlb, apart, replies, shell, within};

#[test]
fn a_foreign_namespace_of_a_tasks_name_is_refused_and_untouched() {
    apart(|| {
        let swarmlb = Swarmlb::new();
        swarmlb.good("network create --subnet 10.0.3.0/24 collabnet");
        shell("ip netns add collabweb.2 && ip -n collabweb.2 link add mine type bridge");
        let inode = || std::fs::metadata("/run/netns/collabweb.2").expect("it is there").ino();
        let before = inode();
        let line = "service create --replicas 3 --name collabweb --network collabnet";
        let (_, said) = swarmlb.ending(line, 4);
        assert!(said.contains("ip netns add collabweb.2"), "{said}");
        assert_eq!(inode(), before);
        assert!(shell("ip -n collabweb.2 link").contains("mine"));
        assert_eq!(shell("ls /run/netns"), "collabnet\ncollabweb.2\n");
        assert_eq!(swarmlb.good("--quiet service ls"), "");
        // Once it is gone the same command does it.
        shell("ip netns del collabweb.2");
        swarmlb.good(line);
        assert_eq!(replies("collabweb.1", "10.0.3.2", 3).len(), 3);
        swarmlb.reset();
    });
}

#[test]
fn a_command_in_a_sandbox_ends_with_its_own_exit_code() {
    apart(|| {
        let swarmlb = Swarmlb::with_story();
        for code in [0, 1, 7, 42] {
            let script = std::env::temp_dir().join(format!("exit-{}.sh", std::process::id()));
            std::fs::write(&script, format!("exit {code}\n")).expect("a script");
            let line = format!("sandbox exec collab-box.1 -- sh {}", script.display());
            assert_eq!(swarmlb.run(&line).status.code(), Some(code));
            std::fs::remove_file(&script).expect("the script");
        }
        let seen = swarmlb.good("sandbox exec collab-box.1 -- ip -o -4 addr show eth0");
        assert!(seen.contains("10.0.3.7/24"), "{seen}");
        let bridge = swarmlb.good("sandbox exec collabnet -- ip -o link show br0");
        assert!(bridge.contains("br0"), "{bridge}");
        swarmlb.ending("sandbox exec nowhere.1 -- true", 2);
        swarmlb.ending("sandbox exec collab-box.1 -- no-such-program", 127);
        swarmlb.reset();
    });
}

#[test]
fn a_dump_names_what_addresses_and_marks_belong_to() {
    apart(|| {
        let swarmlb = Swarmlb::with_story();
        let dump = swarmlb.good("sandbox dump collabweb.1");
        for words in [
            "# mangle: which packets are marked",
            "# nat: which packets are rewritten",
            "# filter: which packets are refused",
            "10.0.3.2",
            "10.0.3.3/24",
            "local 10.0.3.2 dev lo table local proto 108 scope host src 10.0.3.3",
            "collabweb.2",
            "net.ipv4.conf.all.arp_ignore = 1",
        ] {
            assert!(dump.contains(words), "no `{words}` in:\n{dump}");
        }
        let mangle = swarmlb.good("sandbox dump collabweb.1 --table mangle");
        let line = mangle.lines().find(|line| line.contains("10.0.3.2")).expect("the mark");
        assert!(line.contains("0x00000100") && line.contains("collabweb"), "{line}");
        let recorded = swarmlb.json("sandbox dump collabweb.1");
        let node: swarmlb::node::Node = serde_json::from_value(recorded).expect("a node");
        assert_eq!(node.sandboxes.len(), 1);
        swarmlb.ending("sandbox dump collabweb.9", 2);
        swarmlb.reset();
    });
}

#[test]
fn a_reset_leaves_nothing_but_what_is_foreign() {
    apart(|| {
        let swarmlb = Swarmlb::with_story();
        shell("ip netns add foreign");
        swarmlb.good("service create --name sleeper --network collabnet host sleep 1000");
        let state = swarmlb.state().to_owned();
        swarmlb.reset();
        assert!(!state.exists());
        assert_eq!(shell("ls /run/netns"), "foreign\n");
        shell("ip netns del foreign");
    });
}

#[test]
fn a_hundred_services_made_at_once_are_all_there_and_nothing_is_given_twice() {
    apart(|| {
        let swarmlb = Swarmlb::new();
        swarmlb.good("network create --subnet 10.0.3.0/24 collabnet");
        let children: Vec<_> = (0..100)
            .map(|number| {
                // A quarter of them have a task each, which is work enough for one test.
                let replicas = u32::from(number % 4 == 0);
                let line = format!(
                    "service create -d --replicas {replicas} --name svc-{number} --network collabnet"
                );
                let mut command = swarmlb.command(&line);
                let piped = || std::process::Stdio::piped();
                command.stdout(piped()).stderr(piped()).spawn().expect("it starts")
            })
            .collect();
        for child in children {
            let output = child.wait_with_output().expect("it ends");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        within(
            "every task runs",
            Duration::from_secs(60),
            || swarmlb.json("service ls").to_string().matches("\"running\":1").count(),
            |running| *running == 25,
        );
        swarmlb.whole(Duration::from_secs(30));
        let store = Client::connect(&swarmlb.state().join("store.sock")).expect("it is served");
        let loaded = load_intent(&store).expect("it can be read").expect("there is one");
        let intent = loaded.intent;
        assert_eq!(intent.services.len(), 100);
        assert_eq!(intent.tasks.len(), 25);
        let services = || intent.services.values();
        let tasks = || intent.tasks.values();
        let vips = || services().flat_map(|service| service.vips.values());
        let endpoints = || tasks().flat_map(|task| task.endpoints.iter());
        let addresses = vips().map(|vip| vip.address);
        each_once(addresses.chain(endpoints().map(|endpoint| endpoint.address)), 125);
        each_once(vips().map(|vip| vip.fwmark), 100);
        each_once(endpoints().map(|endpoint| endpoint.rank), 25);
        each_once(services().map(|service| &service.id).chain(tasks().map(|task| &task.id)), 125);
        // And the kernel has them so: the ladders of all sandboxes hold.
        for service in ["svc-0", "svc-48", "svc-96"] {
            swarmlb.good(&format!("inspect vip {service}"));
        }
        swarmlb.reset();
    });
}

#[track_caller]
fn each_once<T: Ord + std::fmt::Debug>(values: impl Iterator<Item = T>, count: usize) {
    let mut all: Vec<T> = values.collect();
    assert_eq!(all.len(), count);
    all.sort();
    all.dedup();
    assert_eq!(all.len(), count, "one was given twice: {all:?}");
}
