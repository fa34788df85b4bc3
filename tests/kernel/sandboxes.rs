//! Looking into sandboxes, those of others, and the end of everything.

use std::os::unix::fs::MetadataExt;

use crate::world::{Swarmlb, apart, replies, shell};

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
fn twenty_services_made_at_once_all_come_up_with_addresses_of_their_own() {
    apart(|| {
        let swarmlb = Swarmlb::new();
        swarmlb.good("network create --subnet 10.0.3.0/24 collabnet");
        let children: Vec<_> = (0..20)
            .map(|number| {
                let line = format!("service create --name svc-{number} --network collabnet");
                let mut command = swarmlb.command(&line);
                let piped = || std::process::Stdio::piped();
                command.stdout(piped()).stderr(piped()).spawn().expect("it starts")
            })
            .collect();
        for child in children {
            let output = child.wait_with_output().expect("it ends");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        let services = swarmlb.json("service ls");
        let services = services.as_array().expect("rows");
        let mut addresses: Vec<String> = Vec::new();
        for service in services {
            assert_eq!(service["running"], 1, "{service}");
            addresses.push(service["vips"]["collabnet"].as_str().expect("a VIP").to_owned());
            let name = service["name"].as_str().expect("a name");
            for task in swarmlb.json(&format!("service ps {name}")).as_array().expect("rows") {
                addresses.push(task["addresses"][0].as_str().expect("an address").to_owned());
            }
        }
        assert_eq!(addresses.len(), 40);
        addresses.sort();
        addresses.dedup();
        assert_eq!(addresses.len(), 40, "an address twice");
        swarmlb.good("inspect vip");
        swarmlb.reset();
    });
}
