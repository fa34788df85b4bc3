//! State directories that cannot be used: for reading only, full, of a newer swarmlb, or no
//! directory. Each is told at once, with exit code 3, and nothing is left running.

use std::path::Path;
use std::time::Instant;

use crate::world::{Swarmlb, apart, shell};

/// What a command that this machine cannot do said, and that it said so at once.
#[track_caller]
fn cannot(swarmlb: &Swarmlb, line: &str) -> String {
    let begun = Instant::now();
    let (out, err) = swarmlb.ending(line, 3);
    assert_eq!(out, "", "{line}");
    assert!(begun.elapsed().as_secs() < 5, "`{line}` took {:?}", begun.elapsed());
    err
}

/// A file system of its own, as long as this lives.
struct Mounted(String);

impl Mounted {
    fn new(options: &str) -> Self {
        let path = format!("/run/swarmlb-mounted-{}", std::process::id());
        shell(&format!("mkdir -p {path} && mount -t tmpfs -o {options} tmpfs {path}"));
        Self(path)
    }

    fn swarmlb(&self, name: &str) -> Swarmlb {
        Swarmlb::at(&Path::new(&self.0).join(name))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        shell(&format!("umount -l {0} && rmdir {0}", self.0));
    }
}

#[test]
fn a_directory_for_reading_only_is_told() {
    apart(|| {
        let mounted = Mounted::new("size=8m");
        let swarmlb = mounted.swarmlb("state");
        swarmlb.good("network create blue");
        swarmlb.good("agent stop");
        shell(&format!("mount -o remount,ro {}", mounted.0));
        let expected = format!(
            "error: cannot use state directory {}: read-only file system (EROFS)\n\
             hint: give a `--state-dir` that can be written\n",
            swarmlb.state().display()
        );
        for line in ["network create green", "network ls", "service ls", "agent run"] {
            assert_eq!(cannot(&swarmlb, line), expected, "{line}");
        }
        // Where nothing ever was, nothing is written to say so.
        mounted.swarmlb("fresh").good("service ls");
        shell(&format!("mount -o remount,rw {}", mounted.0));
        swarmlb.reset();
    });
}

#[test]
fn a_full_directory_is_told() {
    apart(|| {
        let mounted = Mounted::new("size=2m");
        let swarmlb = mounted.swarmlb("state");
        let fill =
            || shell(&format!("dd if=/dev/zero of={}/fill bs=4k 2>/dev/null || true", mounted.0));
        let make_room = || shell(&format!("rm {}/fill", mounted.0));

        fill();
        let told = cannot(&swarmlb, "network create blue");
        let full =
            "no space left on device (ENOSPC)\nhint: make room, or give another `--state-dir`";
        assert!(told.contains(full), "{told}");
        make_room();

        // Filled while everything runs: the commit is refused, and the cluster is as it was.
        swarmlb.good("network create blue");
        fill();
        let told = cannot(&swarmlb, "service create --name web --network blue --replicas 30");
        assert!(told.contains("no space is left for the database"), "{told}");
        assert!(swarmlb.good("network ls").contains("blue"));
        make_room();
        swarmlb.good("service create --name web --network blue --replicas 2");
        swarmlb.reset();
    });
}

#[test]
fn a_directory_of_a_newer_swarmlb_is_told_and_not_touched() {
    apart(|| {
        let swarmlb = Swarmlb::new();
        swarmlb.good("network create blue");
        swarmlb.good("agent stop");
        let database = swarmlb.state().join("store.db");
        let version = |number: u32| {
            let connection = rusqlite::Connection::open(&database).expect("the database");
            connection.pragma_update(None, "user_version", number).expect("a version");
        };
        version(99);
        let before = std::fs::read(&database).expect("the database");
        let told = cannot(&swarmlb, "network ls");
        assert!(told.contains("the database is of version 99, newer than version 1"), "{told}");
        assert!(told.contains("\nhint: a newer swarmlb wrote this state directory"), "{told}");
        assert_eq!(std::fs::read(&database).expect("the database"), before, "it was written");
        let (told, _) = swarmlb.ending("agent status", 1);
        assert!(told.contains("no keeper runs"), "it goes on trying: {told}");
        version(1);
        assert!(swarmlb.good("network ls").contains("blue"));
        swarmlb.reset();
    });
}

#[test]
fn what_is_no_directory_is_told() {
    apart(|| {
        let file = Path::new("/run/swarmlb-test-file");
        let swarmlb = Swarmlb::at(file);
        std::fs::write(file, "").expect("a file");
        for line in ["service ls", "network create blue", "agent run"] {
            let told = cannot(&swarmlb, line);
            assert!(
                told.contains("not a directory (ENOTDIR)\nhint: give another"),
                "{line}: {told}"
            );
        }
        std::fs::remove_file(file).expect("the file goes");
    });
}
