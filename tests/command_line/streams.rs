//! Where what is said goes, and how: pipes that close, colours, environment.

use crate::fixture::{Lab, empty, is_harmless, said, swarmlb};

/// The writing end of a pipe that nobody reads.
fn closed() -> std::io::PipeWriter {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    writer
}

#[test]
fn a_closed_pipe_is_a_quiet_end() {
    let lab = Lab::new();
    let words: [&[&str]; 16] = [
        &["service", "ls"],
        &["service", "ls", "--format", "json"],
        &["service", "ls", "--format", "{{.Name}}"],
        &["service", "ps", "collabweb"],
        &["service", "inspect", "collabweb"],
        &["network", "ls"],
        &["inspect", "vip"],
        &["sandbox", "ls"],
        &["sandbox", "dump", "collabweb.1"],
        &["system", "info"],
        &["man"],
        &["complete", "--", "swarmlb", ""],
        &["network", "inspect", "collabnet"],
        &["service", "scale", "collabweb=9", "--dry-run"],
        &["--help"],
        &["completions", "bash"],
    ];
    for words in words {
        let told = said(lab.command(words).stdout(closed()));
        assert_eq!((told.code, told.stderr.as_str()), (Some(0), ""), "{words:?}");
        let mut verbose = lab.command(&[]);
        let told = said(verbose.arg("-vv").args(words).stdout(closed()).stderr(closed()));
        assert_eq!(told.code, Some(0), "{words:?}: what nobody hears is no reason to fail");
    }
    let lab = Lab::changed("collabweb.2", |sandbox| sandbox.routes.clear());
    let told = said(lab.command(&["inspect", "vip"]).stdout(closed()));
    assert_eq!((told.code, told.stderr.as_str()), (Some(1), ""), "the answer is still bad");
}

#[test]
fn a_closed_stderr_changes_no_exit_code() {
    let lab = Lab::of(empty());
    let words: [(&[&str], i32); 4] = [
        (&["inspect", "vip"], 0),
        (&["service", "ps", "nowhere"], 2),
        (&["frobnicate"], 2),
        (&["frobnicate", "--format=json"], 2),
    ];
    for (words, code) in words {
        let told = said(lab.command(words).stderr(closed()));
        assert_eq!((told.code, told.stdout.as_str()), (Some(code), ""), "{words:?}");
    }
}

#[test]
fn a_full_device_is_an_error() {
    let lab = Lab::new();
    let full = std::fs::File::options().write(true).open("/dev/full");
    let Ok(full) = full else {
        println!("skipped: there is no /dev/full");
        return;
    };
    let told = said(lab.command(&["service", "ls"]).stdout(full)).failed(3);
    assert!(told.starts_with("error: cannot print: "), "{told}");
}

#[test]
fn nothing_is_coloured_in_a_pipe_or_with_no_color() {
    let lab = Lab::new();
    for words in [&["service", "ls"][..], &["inspect", "vip"], &["--help"], &["frobnicate"]] {
        for variables in [&[][..], &[("NO_COLOR", "1")], &[("TERM", "xterm-256color")]] {
            let told = said(lab.command(words).envs(variables.iter().copied()));
            assert!(is_harmless(&told.stdout), "{words:?}: {:?}", told.stdout);
            assert!(is_harmless(&told.stderr), "{words:?}: {:?}", told.stderr);
        }
    }
}

#[test]
fn options_come_from_the_environment_too() {
    let lab = Lab::new();
    let json = said(lab.command(&["service", "ls"]).env("SWARMLB_FORMAT", "json")).good();
    assert_eq!(json, lab.run(&["service", "ls", "--format", "json"]).good());
    let told = said(
        swarmlb()
            .args(["service", "ls"])
            .env("SWARMLB_STATE_DIR", lab.path("state"))
            .env("SWARMLB_NODE", "node-1"),
    );
    assert!(told.good().starts_with("ID "));
    // The command line has the last word.
    let table =
        said(lab.command(&["service", "ls", "--format=table"]).env("SWARMLB_FORMAT", "json"));
    assert_eq!(table.good(), lab.run(&["service", "ls"]).good());
}

#[test]
fn an_error_is_json_when_the_environment_asks() {
    let lab = Lab::new();
    for words in [&["service", "ps", "nowhere"][..], &["frobnicate"]] {
        let told = said(lab.command(words).env("SWARMLB_FORMAT", "json")).failed(2);
        assert!(serde_json::from_str::<serde_json::Value>(&told).is_ok(), "{told}");
    }
}

#[test]
fn a_fresh_node_lists_nothing_and_starts_nothing() {
    let lab = Lab::new();
    for words in [["service", "ls"], ["network", "ls"]] {
        let told = said(&mut lab.fresh(&words)).good();
        assert_eq!(told.lines().count(), 1, "{told}");
    }
    assert!(crate::fixture::is_missing(&lab.path("state")));
}
