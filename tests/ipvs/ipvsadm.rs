//! `sandbox ipvs` and `sandbox apply` beside `ipvsadm` itself.

use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

use crate::with_ipvs;
use crate::world::{Swarmlb, shell};

/// Every kind of line.
const TABLE: &str = "\
-A -f 268 -s wrr
-a -f 268 -r 10.0.3.3:0 -m -w 1
-a -f 268 -r 10.0.3.4:0 -m -w 3 -x 100 -y 50
-A -f 268 -6 -s wlc -p 360 -M 64
-a -f 268 -6 -r [fd00:3::3]:0 -m -w 1
-A -t 192.0.2.9:80 -s wrr
-a -t 192.0.2.9:80 -r 10.0.3.5:80 -g -w 0
-a -t 192.0.2.9:80 -r 10.0.3.6:80 -i -w 1 --tun-type ipip
-a -t 192.0.2.9:80 -r 10.0.3.7:80 -i -w 1 --tun-type gue --tun-port 6080 --tun-csum
-a -t 192.0.2.9:80 -r 10.0.3.8:80 -i -w 1 --tun-type gre --tun-nocsum
-a -t 192.0.2.9:80 -r 10.0.3.9:80 -i -w 1 --tun-type gue --tun-port 6081 --tun-remcsum
-a -t 192.0.2.9:80 -r [fd00:3::9]:80 -i -w 1 --tun-type ipip
-a -t 192.0.2.9:80 -r 192.168.0.9:80 -g -w 1
-a -t 192.0.2.9:80 -r 100.64.0.9:80 -g -w 1
-A -t 192.0.2.9:81 -s mh -b mh-fallback,mh-port
-A -t 192.0.2.9:8080 -s sh -p 300 -M 255.255.255.0
-a -t 192.0.2.9:8080 -r 127.0.0.1:8080 -m -w 1
-A -u 192.0.2.9:53 -s rr -o
-A -u 192.0.2.9:5060 -s rr -p 60 -M 255.255.255.0 --pe sip
-A --sctp-service [fd00:3::2]:9 -s sh -b sh-fallback,sh-port
-a --sctp-service [fd00:3::2]:9 -r [fd00:3::4]:9 -g -w 1
";

struct Sandbox {
    swarmlb: Swarmlb,
    directory: TempDir,
}

impl Sandbox {
    fn new() -> Self {
        shell(
            "ip netns add admin; ip -n admin link set lo up; ip -n admin address add 192.0.2.9 dev lo",
        );
        shell("modprobe ip_vs");
        let swarmlb = Swarmlb::new();
        Self { swarmlb, directory: tempfile::tempdir().expect("a directory") }
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("table")
    }

    fn write(&self, table: &str) -> String {
        fs::write(self.file(), table).expect("a table");
        format!("sandbox apply admin --ipvsadm {}", self.file().display())
    }

    fn ipvs(&self, options: &str) -> String {
        self.swarmlb.good(&format!("sandbox ipvs admin {options}"))
    }
}

fn ipvsadm(options: &str) -> String {
    shell(&format!("ip netns exec admin ipvsadm {options}"))
}

fn lines(text: &str) -> Vec<&str> {
    text.lines().map(str::trim_end).collect()
}

#[test]
fn lists_are_ipvsadms_to_the_letter() {
    with_ipvs(|| {
        let sandbox = Sandbox::new();
        assert_eq!(lines(&sandbox.ipvs("-Ln")), lines(&ipvsadm("-Ln")), "of an empty table");
        sandbox.swarmlb.good(&sandbox.write(TABLE));
        // Nobody answers, but what was asked stands in the tables.
        shell("ip netns exec admin curl -s -m 1 http://192.0.2.9:8080/ || true");
        let options = [
            "-Ln",
            "-ln --thresholds",
            "-Ln --persistent-conn",
            "-Ln --tun-info",
            "-l --timeout -n",
            "-Ln -t 192.0.2.9:8080",
            "-Ln -u 192.0.2.9:53",
            "-Ln -f 268",
            "-Ln -f 268 -6",
            "-Ln --sctp-service [fd00:3::2]:9",
        ];
        let mut differ = Vec::new();
        for options in options {
            let (ours, theirs) = (sandbox.ipvs(options), ipvsadm(options));
            if lines(&ours) != lines(&theirs) {
                differ.push(format!("{options}\n--- ours\n{ours}\n--- ipvsadm's\n{theirs}"));
            }
        }
        // Counters go on counting: what each prints at another moment may differ, in figures alone.
        for options in
            ["-Ln --stats", "-Ln --rate", "-Ln --stats --exact", "-Lnc", "-Lnc --persistent-conn"]
        {
            let figures = |text: &str| {
                let plain: String =
                    text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
                plain.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>()
            };
            let (ours, theirs) = (sandbox.ipvs(options), ipvsadm(options));
            if figures(&ours) != figures(&theirs) {
                differ.push(format!("{options}\n--- ours\n{ours}\n--- ipvsadm's\n{theirs}"));
            }
        }
        assert!(differ.is_empty(), "{}", differ.join("\n\n"));
        let json = sandbox.swarmlb.json("sandbox ipvs admin");
        assert_eq!(json.as_array().map(Vec::len), Some(8));
        let (_, told) = sandbox.swarmlb.ending("sandbox ipvs admin -f 7", 2);
        assert!(told.contains("there is no virtual server FWM  7"), "{told}");
        shell("ip netns del admin");
    });
}

#[test]
fn tables_go_back_and_forth_between_ipvsadm_and_us() {
    with_ipvs(|| {
        let sandbox = Sandbox::new();
        let told = sandbox.swarmlb.good(&sandbox.write(TABLE));
        assert_eq!(told.lines().count(), TABLE.lines().count(), "{told}");
        let ours = sandbox.ipvs("-S");
        // ipvsadm reads thresholds and does not save them.
        let theirs = ipvsadm("-Sn");
        let sorted = |text: &str| {
            let mut lines: Vec<String> = lines(text).into_iter().map(str::to_owned).collect();
            lines.sort();
            lines
        };
        assert_eq!(sorted(&ours.replace(" -x 100 -y 50", "")), sorted(&theirs));
        fs::write(sandbox.file(), &ours).expect("a table");
        ipvsadm("-C");
        ipvsadm(&format!("-R < {}", sandbox.file().display()));
        assert_eq!(sandbox.ipvs("-S"), ours, "after ipvsadm read it");
        assert_eq!(
            sandbox.swarmlb.good(&sandbox.write(&theirs)).lines().count(),
            1,
            "one threshold"
        );
        assert_eq!(sandbox.swarmlb.good(&sandbox.write(&theirs)), "Nothing differs.");
        shell("ip netns del admin");
    });
}

#[test]
fn a_table_is_applied_by_its_difference_or_not_at_all() {
    with_ipvs(|| {
        let sandbox = Sandbox::new();
        let first = "-A -t 192.0.2.9:80 -s rr -p 600\n-a -t 192.0.2.9:80 -r 127.0.0.1:80 -m\n-A -f 7 -s wlc\n";
        sandbox.swarmlb.good(&sandbox.write(first));
        shell("ip netns exec admin curl -s -m 1 http://192.0.2.9/ || true");
        let connections = ipvsadm("-Lnc").lines().count();
        assert!(connections >= 3, "a connection and its template");

        // Something refused in the middle: everything before it is taken back.
        let before = ipvsadm("-Sn");
        let wrong = "-A -t 192.0.2.9:80 -s wrr -p 600\n-a -t 192.0.2.9:80 -r 127.0.0.1:81 -m\n\
            -A -f 9 -s rr\n-A -f 8 -s nosuch\n-a -f 9 -r 10.0.3.3 -m\n";
        let (_, told) = sandbox.swarmlb.ending(&sandbox.write(wrong), 4);
        for words in [
            "the kernel has no scheduler `nosuch`",
            "refused:   ipvsadm -A -f 8 -s nosuch",
            "before it: 5 changes; all of it was taken back",
        ] {
            assert!(told.contains(words), "no `{words}` in {told}");
        }
        assert_eq!(ipvsadm("-Sn"), before);

        let second =
            "-A -t 192.0.2.9:80 -s wrr -p 600\n-a -t 192.0.2.9:80 -r 127.0.0.1:80 -m -w 5\n";
        let dry = format!("{} --prune --dry-run", sandbox.write(second));
        let planned = sandbox.swarmlb.good(&dry);
        assert_eq!(ipvsadm("-Sn"), before, "a dry run changes nothing");
        assert_eq!(
            planned.lines().collect::<Vec<_>>(),
            [
                "ipvsadm -E -t 192.0.2.9:80 -s wrr -p 600",
                "ipvsadm -e -t 192.0.2.9:80 -r 127.0.0.1:80 -m -w 5",
                "ipvsadm -D -f 7",
                "# Nothing was changed.",
            ]
        );
        let told = sandbox.swarmlb.good(&sandbox.write(second));
        assert!(told.ends_with("# stays: FWM  7 (not in the file; --prune removes it)"), "{told}");
        assert_eq!(ipvsadm("-Lnc").lines().count(), connections, "they go on");
        sandbox.swarmlb.good(&format!("{} --prune", sandbox.write(second)));
        assert_eq!(lines(&ipvsadm("-Sn")), lines(second));
        shell("ip netns del admin");
    });
}

#[test]
fn what_swarmlb_keeps_stays_and_what_others_made_beside_it_is_theirs() {
    with_ipvs(|| {
        let swarmlb = Swarmlb::with_story();
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("table");
        let apply = |table: &str| {
            fs::write(&file, table).expect("a table");
            format!("sandbox apply collab-box.1 --prune --ipvsadm {}", file.display())
        };
        let own = swarmlb.good("sandbox ipvs collab-box.1 -S");
        assert!(own.contains("-A -f 256 -s rr"), "{own}");
        let (_, told) = swarmlb.ending(&apply("-A -f 256 -s wrr"), 2);
        assert!(told.contains("swarmlb itself keeps virtual server FWM  256"), "{told}");
        let told = swarmlb.good(&apply("-A -f 7 -s rr\n-a -f 7 -r 10.0.3.3 -m\n"));
        assert!(told.contains("# stays: FWM  256 (swarmlb's own)"), "{told}");
        let both = swarmlb.good("sandbox ipvs collab-box.1 -S");
        assert_eq!(both.replace("-A -f 7 -s rr\n-a -f 7 -r 10.0.3.3:0 -m -w 1\n", ""), own);
        let dump = swarmlb.good("sandbox dump collab-box.1 --table ipvs");
        assert!(dump.contains("FWM  7 rr  # foreign"), "{dump}");
        swarmlb.good("sandbox apply collab-box.1 --prune --ipvsadm /dev/null");
        assert_eq!(swarmlb.good("sandbox ipvs collab-box.1 -S"), own);
        swarmlb.reset();
    });
}
