//! `--format TEMPLATE`: on every command that has rows, over the fields that the manual lists.

use std::collections::BTreeSet;

use serde_json::Value;
use swarmlb::cli::manual::{PAGES, page};

use crate::fixture::{Lab, empty, said};

#[test]
fn dockers_templates_print_a_line_for_each_row() {
    let lab = Lab::new();
    let format =
        |words: &[&str], template: &str| lab.run(&[words, &["--format", template]].concat()).good();
    assert_eq!(
        format(&["service", "ls"], "{{.Name}} {{.Replicas}}"),
        "collab-box 0/1\ncollabweb 0/3\nrr 0/2\n"
    );
    assert_eq!(
        format(&["network", "ls"], "{{ name }} {{ subnets[0].subnet }}"),
        "bare 10.0.5.0/24\ncollabnet 10.0.3.0/24\nsmall 10.0.9.0/29\n"
    );
    assert_eq!(
        format(&["service", "ps", "rr"], r"table {{.Name}}\t{{.Node}}\t{{.DesiredState}}"),
        "NAME   NODE     DESIRED STATE\nrr.1   node-1   running\nrr.2   node-1   running\n"
    );
    assert_eq!(
        format(
            &["service", "inspect", "collabweb", "--pretty"],
            "{{(index .VIPs \"collabnet\").Address}}"
        ),
        "10.0.3.2\n"
    );
    assert_eq!(
        format(
            &["network", "inspect", "collabnet"],
            "{{range .Services}}{{.Name}}={{.VIP}} {{end}}"
        ),
        "collab-box=10.0.3.6 collabweb=10.0.3.2 rr= \n"
    );
    let json = format(&["network", "ls"], "{{json .}}");
    let rows: Vec<Value> =
        json.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let whole: Value =
        serde_json::from_str(&lab.run(&["network", "ls", "--format", "json"]).good())
            .expect("JSON");
    assert_eq!(Value::from(rows), whole);
}

#[test]
fn a_finding_keeps_its_exit_code() {
    let lab = Lab::changed("collabweb.2", |sandbox| sandbox.routes.clear());
    let told = lab.run(&["inspect", "vip", "collabweb", "--format", "{{.Address}}"]);
    assert_eq!((told.code, told.stdout.as_str()), (Some(1), "10.0.3.2\n"));
}

#[test]
fn no_rows_are_no_lines() {
    let lab = Lab::of(empty());
    assert_eq!(lab.run(&["service", "ls", "--format", "{{.Name}}"]).good(), "");
    assert_eq!(
        lab.run(&["service", "ls", "--format", "table {{.Name}}\t{{.ID}}"]).good(),
        "NAME   ID\n"
    );
}

#[test]
fn what_does_not_fit_is_refused_in_words() {
    let lab = Lab::new();
    let refused = |words: &[&str]| lab.run(words).failed(2);
    assert_eq!(
        refused(&["service", "ls", "--format", "{{.Nam}}"]),
        "error: cannot print by the template `{{.Nam}}`: there is no field `Nam`\n  \
         fields: data_plane endpoint_mode id image max_per_node mode name networks pending replicas \
         running vips Replicas\n\
         hint: did you mean `name`?\n"
    );
    assert_eq!(
        refused(&["service", "ls", "--format", "{{.Name"]),
        "error: --format: `{{` has no `}}`\nhint: see `swarmlb service ls --help`\n"
    );
    assert_eq!(
        refused(&["service", "ls", "--format", "yaml"]),
        "error: --format: `yaml` is not table, json or a template such as '{{.Name}}'\n\
         hint: see `swarmlb service ls --help`\n"
    );
    let told = refused(&["service", "rm", "rr", "--format", "{{.Name}}"]);
    assert!(told.contains("`swarmlb service rm` has no fields to print"), "{told}");
    let told = said(
        lab.command(&["service", "scale", "rr=2", "--dry-run"]).env("SWARMLB_FORMAT", "{{.Name}}"),
    );
    assert!(
        told.good().ends_with("# nothing to do\n"),
        "a setting for lists is no mistake elsewhere"
    );
}

/// The words behind the command, for each one that can be run on a record.
fn arguments(command: &str) -> Option<Vec<&'static str>> {
    Some(match command {
        "network ls" | "service ls" | "sandbox ls" | "system info" => vec![],
        "network inspect" => vec!["collabnet"],
        "service ps" | "service inspect" | "inspect vip" => vec!["collabweb"],
        "sandbox dump" => vec!["collabweb.1"],
        _ => return None,
    })
}

#[test]
fn the_fields_of_the_manual_are_those_of_json() {
    let lab = Lab::new();
    let mut seen = 0;
    for page in PAGES.iter().filter(|page| !page.fields.is_empty()) {
        // The kernel tier sees to those that need a cluster that runs.
        let Some(arguments) = arguments(page.command) else { continue };
        let words: Vec<&str> = page.command.split(' ').chain(arguments).collect();
        let text = lab.run(&[&words[..], &["--format", "json"]].concat()).good();
        let data: Value = serde_json::from_str(&text).expect("JSON");
        let row = data.as_array().map_or(&data, |rows| &rows[0]);
        let fields: BTreeSet<&str> =
            row.as_object().expect("an object").keys().map(String::as_str).collect();
        let mut told: BTreeSet<&str> = page.fields.iter().map(|(name, _)| *name).collect();
        if page.command == "sandbox dump" {
            // A recorded node holds nothing beyond what is ours.
            told.remove("contents");
        }
        assert_eq!(told, fields, "{}", page.command);
        seen += 1;
    }
    assert_eq!(seen, 9);
}

#[test]
fn the_templates_of_the_manual_print_something() {
    let lab = Lab::new();
    let mut seen = 0;
    for command in PAGES.iter().map(|page| page.command) {
        let Some(arguments) = arguments(command) else { continue };
        for (_, line) in page(command).expect("a page").examples {
            let Some((_, template)) = line.split_once("--format '") else { continue };
            let template = template.trim_end_matches('\'').replace("\"blue\"", "\"collabnet\"");
            let words: Vec<&str> = command.split(' ').chain(arguments.iter().copied()).collect();
            let told = lab.run(&[&words[..], &["--format", &template]].concat()).good();
            assert!(told.len() > 3, "{line}: {told}");
            seen += 1;
        }
    }
    assert!(seen >= 9, "{seen}");
}
