//! Completions: what swarmlb offers, and that bash, zsh and fish take it.

use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use swarmlb::image::index::{Index, Name};
use swarmlb::image::{Reference, sha256};

use crate::fixture::{Lab, is_missing, said, swarmlb};

/// What the last of some words may become, less what is said about it.
fn offered(lab: &Lab, words: &[&str]) -> Vec<String> {
    let intent = lab.path("intent.json");
    let mut command = swarmlb();
    command.args(["complete", "--", "swarmlb", "--intent"]).arg(intent).args(words);
    let lines = said(&mut command).good();
    lines.lines().map(|line| line.split('\t').next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn names_are_offered_where_names_are_wanted() {
    let lab = Lab::new();
    let services = ["collab-box", "collabweb", "rr"];
    let networks = ["bare", "collabnet", "small"];
    let cases: [(&[&str], &[&str]); 13] = [
        (&["service", "ps", ""], &services),
        (&["service", "ps", "rr", "collab"], &services[..2]),
        (&["service", "rm", "--dry-run", "r"], &["rr"]),
        (&["service", "scale", "co"], &["collab-box=", "collabweb="]),
        (&["service", "create", "--network", ""], &networks),
        (&["service", "create", "--network=s"], &["--network=small"]),
        (&["network", "inspect", ""], &networks),
        (&["diag", "compare-dns-ipvs", ""], &services),
        (&["service", "logs", "rr"], &["rr", "rr.1", "rr.2"]),
        (&["export", "haproxy", "--inside", "rr", "coll"], &services[..2]),
        (&["inspect", "vip", "collabw"], &["collabweb"]),
        (&["sandbox", "dump", "collabweb."], &["collabweb.1", "collabweb.2", "collabweb.3"]),
        (&["diag", "dns", "web", "--from", "collab-"], &["collab-box.1"]),
    ];
    for (words, expected) in cases {
        assert_eq!(offered(&lab, words), expected, "{words:?}");
    }
    assert_eq!(offered(&lab, &["network", "create", ""]), [""; 0], "what is new has no name yet");
}

#[test]
fn images_that_are_kept_are_offered() {
    let lab = Lab::new();
    let images = lab.path("state").join("images");
    std::fs::create_dir_all(&images).expect("a directory");
    let mut index = Index::default();
    for name in ["nginx:1", "oci:/srv/web"] {
        let name: Reference = name.parse().expect("a name");
        index.names.insert(name, Name { id: sha256(b"x"), digest: None });
    }
    let text = serde_json::to_vec(&index).expect("JSON");
    std::fs::write(images.join("index.json"), text).expect("a file");
    let state = lab.path("state").display().to_string();
    let offered =
        |words: &[&str]| offered(&lab, &[&["--state-dir", state.as_str()], words].concat());
    assert_eq!(offered(&["image", "rm", ""]), ["nginx:1", "oci:/srv/web"]);
    assert_eq!(offered(&["image", "inspect", "ng"]), ["nginx:1"]);
}

#[test]
fn commands_options_and_values_are_offered() {
    let lab = Lab::new();
    assert_eq!(offered(&lab, &["serv"]), ["service"]);
    assert_eq!(offered(&lab, &["service", "crea"]), ["create"]);
    assert_eq!(
        offered(&lab, &["service", "create", "--rep"]),
        ["--replicas", "--replicas-max-per-node"]
    );
    assert_eq!(offered(&lab, &["--format", ""]), ["table", "json"]);
    assert_eq!(offered(&lab, &["--color="]), ["--color=auto", "--color=always", "--color=never"]);
    assert_eq!(offered(&lab, &["service", "create", "--data-plane", "n"]), ["nftables"]);
    assert_eq!(offered(&lab, &["completions", ""]), ["bash", "zsh", "fish"]);
    let hidden = offered(&lab, &[""]);
    assert!(hidden.contains(&"service".into()) && !hidden.contains(&"keeper".into()), "{hidden:?}");
}

#[test]
fn without_a_cluster_there_are_no_names_and_nothing_is_started() {
    let lab = Lab::new();
    let words = ["complete", "--", "swarmlb", "--state-dir"];
    let begun = Instant::now();
    let state = lab.path("state");
    let told = said(swarmlb().args(words).arg(&state).args(["service", "ps", ""])).good();
    assert_eq!(told, "");
    assert!(is_missing(&state), "completing made the state directory");
    for rest in
        [&["service", "ps", "--state-dir"][..], &["frob", "x"], &["--config", "/nowhere", ""], &[]]
    {
        said(swarmlb().args(words).arg("/dev/null/x").args(rest)).good();
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "completing is slow: {:?}", begun.elapsed());
}

/// Whether a shell is here; where it must be, its lack is a failure.
fn has(program: &str) -> bool {
    let found = Command::new(program).arg("--version").stdin(Stdio::null()).output();
    if found.is_ok_and(|output| output.status.success()) {
        return true;
    }
    let required = std::env::var("SWARMLB_TEST_REQUIRE").unwrap_or_default();
    assert!(!required.split(',').any(|word| word == "shells"), "{program} is missing");
    println!("skipped: {program} is missing (shells)");
    false
}

/// A shell at a terminal, into which one types.
struct Typist {
    child: std::process::Child,
    said: String,
}

const PROMPT: &str = "READY> ";

impl Typist {
    /// Starts a shell with the completions of swarmlb.
    fn at(shell: &str, begin: &str) -> Self {
        let directory = std::path::Path::new(env!("CARGO_BIN_EXE_swarmlb")).parent().expect("one");
        let path = format!("{}:{}", directory.display(), std::env::var("PATH").unwrap_or_default());
        let mut command = Command::new("script");
        command.args(["--quiet", "--return", "--command", shell, "/dev/null"]);
        command.env_clear().env("PATH", path).env("TERM", "dumb").env("PS1", PROMPT);
        command.env("HOME", "/nonexistent").env("LANG", "C.UTF-8");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let child = command.spawn().expect("script starts");
        let mut typist = Self { child, said: String::new() };
        typist.read_until(PROMPT);
        typist.types(&format!("{begin}\n"));
        typist.read_until(PROMPT);
        typist
    }

    fn types(&mut self, text: &str) {
        self.said.clear();
        let stdin = self.child.stdin.as_mut().expect("a pipe");
        stdin.write_all(text.as_bytes()).and_then(|()| stdin.flush()).expect("the shell reads");
    }

    fn read_until(&mut self, wanted: &str) {
        let stdout = self.child.stdout.as_mut().expect("a pipe");
        let mut byte = [0];
        while !self.said.contains(wanted) {
            assert_eq!(
                stdout.read(&mut byte).expect("a byte"),
                1,
                "the shell ended: {}",
                self.said
            );
            self.said.push(char::from(byte[0]));
        }
    }

    /// Types the beginning of a line and a tab, and returns what the line became.
    fn completes(&mut self, begun: &str) -> String {
        // To the beginning of the line, to be printed instead of run, and back to its end.
        self.types(&format!("{begun}\t\u{1}echo @@ \u{5} .\n"));
        self.read_until("\r\n@@ ");
        self.said.clear();
        self.read_until("\n");
        let line = self.said.trim_end().trim_end_matches('.').trim_end().to_owned();
        self.read_until(PROMPT);
        line
    }
}

impl Drop for Typist {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn script(name: &str) -> String {
    format!("{}/completions/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// What is typed before a tab, and what the line is after it.
const TYPED: [(&str, &str); 7] = [
    ("serv", "service"),
    ("service ps collabw", "service ps collabweb"),
    ("service scale rr collabw", "service scale rr collabweb="),
    ("service create --network=bar", "service create --network=bare"),
    ("service create --network bar", "service create --network bare"),
    ("sandbox dump rr.", "sandbox dump rr."),
    ("--colo", "--color"),
];

fn type_all(typist: &mut Typist) {
    let lab = Lab::new();
    let swarmlb = format!("swarmlb --intent {} ", lab.path("intent.json").display());
    for (begun, expected) in TYPED {
        let line = typist.completes(&format!("{swarmlb}{begun}"));
        assert_eq!(line, format!("{swarmlb}{expected}"), "{begun}");
    }
}

#[test]
fn bash_completes_names() {
    if has("bash") {
        let begin = format!("source {}", script("swarmlb.bash"));
        type_all(&mut Typist::at("bash --norc --noprofile -i", &begin));
    }
}

#[test]
fn zsh_completes_names() {
    if has("zsh") {
        let begin = format!(
            "PS1='{PROMPT}'; unsetopt menu_complete auto_menu; bindkey -e; \
             autoload -U compinit && compinit -D -u && source {}",
            script("_swarmlb")
        );
        type_all(&mut Typist::at("zsh -f -i", &begin));
    }
}

#[test]
fn fish_completes_names() {
    if !has("fish") {
        return;
    }
    let lab = Lab::new();
    let directory = std::path::Path::new(env!("CARGO_BIN_EXE_swarmlb")).parent().expect("one");
    let home = lab.path("home");
    std::fs::create_dir(&home).expect("a directory");
    for (begun, expected) in [
        ("service ps collabw", "collabweb"),
        ("service scale rr", "rr="),
        ("service create --network=bar", "--network=bare"),
        ("service crea", "create"),
    ] {
        let line = format!("swarmlb --intent {} {begun}", lab.path("intent.json").display());
        let script = format!("source {}; complete --do-complete '{line}'", script("swarmlb.fish"));
        let mut command = Command::new("fish");
        command.args(["--no-config", "--command", &script]).env("HOME", &home);
        command.env("PATH", format!("{}:/usr/bin:/bin", directory.display()));
        let told = said(&mut command).good();
        let names: Vec<&str> =
            told.lines().map(|line| line.split('\t').next().unwrap_or_default()).collect();
        assert_eq!(names, [expected], "{line}");
    }
}
