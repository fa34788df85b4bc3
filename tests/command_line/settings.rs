//! The configuration file, and what goes before what.

use serde_json::Value;

use crate::fixture::{Lab, Said, run, said};

fn with_file(lab: &Lab, text: &str, words: &[&str], variables: &[(&str, &str)]) -> Said {
    let path = lab.path("config.toml");
    std::fs::write(&path, text).expect("a file");
    let mut command = lab.command(words);
    said(command.env("SWARMLB_CONFIG", &path).envs(variables.iter().copied()))
}

fn source(
    lab: &Lab,
    name: &str,
    text: &str,
    words: &[&str],
    variables: &[(&str, &str)],
) -> (String, String) {
    let words = [&["system", "info", "--format", "json"], words].concat();
    let told = with_file(lab, text, &words, variables).good();
    let told: Value = serde_json::from_str(&told).expect("JSON");
    let settings = told["settings"].as_array().expect("settings");
    let setting = settings.iter().find(|setting| setting["name"] == name).expect("the setting");
    let text = |key: &str| setting[key].as_str().unwrap_or("-").to_owned();
    (text("value"), text("source"))
}

#[test]
fn flags_go_before_the_environment_before_the_file_before_what_is_built_in() {
    let lab = Lab::new();
    let file = "# colours\ncolor = \"never\"\ndata-plane = \"nftables\"\nverbose = 0\n";
    let path = lab.path("config.toml").display().to_string();
    let color = |text, words: &[&str], variables: &[(&str, &str)]| {
        source(&lab, "color", text, words, variables)
    };
    assert_eq!(color("", &[], &[]), ("auto".into(), "default".into()));
    assert_eq!(color(file, &[], &[]), ("never".into(), format!("{path}:2")));
    let variables = [("SWARMLB_COLOR", "always")];
    assert_eq!(color(file, &[], &variables), ("always".into(), "SWARMLB_COLOR".into()));
    let typed = color(file, &["--color", "auto"], &variables);
    assert_eq!(typed, ("auto".into(), "--color".into()));
    // An option of another command than the one that was typed.
    let plane = |variables: &[(&str, &str)]| source(&lab, "data-plane", file, &[], variables);
    assert_eq!(plane(&[]), ("nftables".into(), format!("{path}:3")));
    let variables = [("SWARMLB_DATA_PLANE", "ipvs")];
    assert_eq!(plane(&variables), ("ipvs".into(), "SWARMLB_DATA_PLANE".into()));
}

#[test]
fn a_setting_of_the_file_does_what_its_option_does() {
    let lab = Lab::new();
    let json = lab.run(&["service", "ls", "--format", "json"]).good();
    let listed = with_file(&lab, "format = \"json\"\n", &["service", "ls"], &[]).good();
    assert_eq!(listed, json);
    let names = with_file(&lab, "format = \"{{.Name}}\"\n", &["service", "ls"], &[]).good();
    assert_eq!(names, "collab-box\ncollabweb\nrr\n");
    let quiet = with_file(&lab, "quiet = true\n", &["service", "ps", "rr"], &[]).good();
    assert_eq!(quiet, lab.run(&["service", "ps", "-q", "rr"]).good());
    assert_eq!(quiet.lines().count(), 2);
    let dry = ["service", "create", "--dry-run", "--name=web", "--network=bare"];
    let plane = |text| with_file(&lab, text, &dry, &[]).good();
    assert!(plane("data-plane = \"nftables\"").contains("numgen inc"));
    assert!(plane("").contains("ipvsadm"));
}

#[test]
fn a_wrong_file_is_refused_with_the_line_that_is_wrong() {
    let lab = Lab::new();
    let path = lab.path("config.toml").display().to_string();
    let refused = |text: &str| with_file(&lab, text, &["service", "ls"], &[]).failed(2);
    assert_eq!(
        refused("color = \"never\"\n\nfromat = \"json\"\n"),
        format!(
            "error: cannot read the settings in {path}:3: there is no setting `fromat`\nhint: did you mean `format`?\n"
        )
    );
    assert_eq!(
        refused("color = \"red\"\n"),
        format!(
            "error: cannot read the settings in {path}:1: `color`: `red` is none of auto, always, never\n"
        )
    );
    assert!(
        refused("color = \n")
            .starts_with(&format!("error: cannot read the settings in {path}:1: "))
    );
    let told = with_file(&lab, "x = 1", &["service", "ls", "--format=json"], &[]).failed(2);
    let told: Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!(told["kind"], "usage");
}

#[test]
fn a_file_that_is_named_must_be_there() {
    let lab = Lab::new();
    let path = lab.path("nowhere.toml");
    let told = said(lab.command(&["service", "ls"]).arg("--config").arg(&path)).failed(2);
    let expected = format!("error: cannot read the settings in {}: no such file", path.display());
    assert!(told.starts_with(&expected), "{told}");
    std::fs::write(&path, b"node = \"\xff\"").expect("a file");
    said(lab.command(&["service", "ls"]).arg("--config").arg(&path)).failed(2);
}

#[test]
fn help_is_given_whatever_the_file_says() {
    let lab = Lab::new();
    let told = with_file(&lab, "x = 1", &["service", "ls", "--help"], &[]).good();
    assert!(told.starts_with("List services\n"), "{told}");
    with_file(&lab, "x = 1", &["--version"], &[]).good();
}

#[test]
fn colour_is_where_it_is_asked_for_and_only_there() {
    let broken = Lab::changed("collabweb.2", |sandbox| sandbox.routes.clear());
    let red = "\u{1b}[1;31mBROKEN\u{1b}[0m";
    let told = broken.run(&["inspect", "vip", "--color", "always"]);
    assert!(told.stdout.contains(red), "{}", told.stdout);
    let plain = broken.run(&["inspect", "vip"]);
    assert_eq!(told.stdout.replace("\u{1b}[1;31m", "").replace("\u{1b}[0m", ""), plain.stdout);
    let json = broken.run(&["inspect", "vip", "--color", "always", "--format", "json"]);
    assert!(!json.stdout.contains('\u{1b}'));
    let told = broken.run(&["service", "ps", "x", "--color=always"]).failed(2);
    assert!(told.starts_with("\u{1b}[1;31merror:\u{1b}[0m cannot "), "{told:?}");
    let told = run(&["--color=always", "frob"]).failed(2);
    assert!(told.starts_with("\u{1b}[1;31merror:\u{1b}[0m "), "{told:?}");
    let told =
        said(broken.command(&["service", "ps", "x"]).env("SWARMLB_COLOR", "never")).failed(2);
    assert!(!told.contains('\u{1b}'), "{told:?}");
}

#[test]
fn verbose_says_on_stderr_what_is_done() {
    let lab = Lab::new();
    let told = lab.run(&["service", "ls", "-v", "--color=never"]);
    assert_eq!(told.code, Some(0));
    assert_eq!(told.stdout, lab.run(&["service", "ls"]).stdout);
    assert!(told.stderr.starts_with("node node-1, state in "), "{}", told.stderr);
    assert!(told.stderr.contains("color is never: --color\n"), "{}", told.stderr);
}
