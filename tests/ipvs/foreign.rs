//! Virtual servers that others made, as a dump shows them.

use swarmlb::dump::Dump;
use swarmlb::node::SandboxName;

use crate::with_ipvs;
use crate::world::{Swarmlb, shell};

#[test]
fn virtual_servers_of_others_are_dumped_as_ipvsadm_saves_them() {
    with_ipvs(|| {
        let swarmlb = Swarmlb::new();
        shell(
            "ip netns add balancer; ip -n balancer link set lo up; ip netns exec balancer ipvsadm -R <<-'END'
		-A -f 268 -s rr
		-a -f 268 -r 10.0.3.3:0 -m -w 1
		-a -f 268 -r 10.0.3.4:0 -m -w 0 -x 7 -y 3
		-A -f 269 -6 -s wlc
		-a -f 269 -6 -r [fd00:3::3]:0 -m -w 5
		-A -t 192.0.2.9:80 -s sh -p 300 -M 255.255.255.0
		-a -t 192.0.2.9:80 -r 127.0.0.1:8080 -m -w 1
		-A -u 192.0.2.9:53 -s rr -o
		END",
        );
        let sorted = |text: &str| -> Vec<String> {
            let mut lines: Vec<String> = text.lines().map(|line| line.trim().to_owned()).collect();
            lines.sort();
            lines
        };
        let saved = sorted(&shell("ip netns exec balancer ipvsadm -Sn"));
        let raw = swarmlb.good("sandbox dump balancer --raw --table ipvs");
        // ipvsadm itself leaves thresholds out, though it reads them.
        assert!(raw.contains("-r 10.0.3.4:0 -m -w 0 -x 7 -y 3\n"), "{raw}");
        assert_eq!(sorted(&raw.replace(" -x 7 -y 3", "")), saved);
        assert_eq!(saved.len(), 8, "{saved:?}");
        // What is asked of it stands in the table of connections, though nobody answers.
        shell("ip -n balancer address add 192.0.2.9 dev lo");
        shell("ip netns exec balancer curl -s -m 1 http://192.0.2.9/ || true");
        let text = swarmlb.good("sandbox dump balancer --table ipvs --table conn --table sysctl");
        for words in [
            "FWM  268 rr  # 0x10c",
            "TCP  192.0.2.9:80 sh persistent 300  # foreign",
            " -> 192.0.2.9:80 => 127.0.0.1:8080",
            "net.ipv4.vs.expire_nodest_conn = 0",
        ] {
            assert!(text.contains(words), "no `{words}` in {text}");
        }
        let dump: Dump =
            serde_json::from_value(swarmlb.json("sandbox dump balancer")).expect("a dump");
        let node = dump.node().expect("all of it");
        let servers = &node.sandboxes[&SandboxName("balancer".into())].virtual_servers;
        assert_eq!(servers.len(), 4);
        shell("ip netns del balancer");
    });
}
