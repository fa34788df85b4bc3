use serde_json::{Value, json};

use super::*;

fn tasks() -> Value {
    json!([
        {"id": "a1", "name": "web.1", "state": "running", "seconds": 90, "addresses": ["10.0.3.3"],
         "desired_state": "running", "error": null, "labels": {"tier": "front", "zone": "b"}},
        {"id": "a2", "name": "web.2", "state": "failed", "seconds": 5, "addresses": ["10.0.3.4", "10.0.4.4"],
         "desired_state": "running", "error": "exit code 3", "labels": {}},
    ])
}

const WORDS: Words = &[("CurrentState", "{{ title(state) }} {{ ago(seconds) }} ago")];

#[track_caller]
fn said(template: &str) -> String {
    let template = Template::parse(template).unwrap_or_else(|error| panic!("{template}: {error}"));
    template.render(&tasks(), WORDS).unwrap_or_else(|error| panic!("{template:?}: {error}"))
}

#[test]
fn a_field_is_found_in_dockers_spelling_and_in_ours() {
    for template in ["{{.Name}} {{.ID}}", "{{ name }} {{ id }}", "{{.NAME}} {{ .id }}"] {
        assert_eq!(said(template), "web.1 a1\nweb.2 a2\n", "{template}");
    }
    for template in ["{{.DesiredState}}", "{{ desired_state }}", "{{ it.DesiredState }}"] {
        assert_eq!(said(template), "running\nrunning\n", "{template}");
    }
}

#[test]
fn a_word_of_dockers_that_is_no_field_is_made_from_fields() {
    assert_eq!(said("{{.CurrentState}}"), "Running 90 seconds ago\nFailed 5 seconds ago\n");
}

#[test]
fn a_table_has_a_heading_and_columns() {
    assert_eq!(
        said(r"table {{.Name}}\t{{.DesiredState}}\t{{.ID}}"),
        "NAME    DESIRED STATE   ID\nweb.1   running         a1\nweb.2   running         a2\n"
    );
    assert_eq!(
        said(r"table {{.Name | upper}}\t{{json .Error}}"),
        "NAME    ERROR\nWEB.1   null\nWEB.2   \"exit code 3\"\n"
    );
}

#[test]
fn escapes_of_the_template_are_tabs_and_line_ends() {
    assert_eq!(said(r"{{.Name}}\t{{.ID}}\n"), "web.1\ta1\n\nweb.2\ta2\n\n");
    assert_eq!(said("{{print \"a\\tb\"}}"), "a\u{fffd}b\na\u{fffd}b\n", "a value is no layout");
}

#[test]
fn json_gives_the_whole_row_back() {
    let lines = said("{{json .}}");
    let rows: Vec<Value> =
        lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(Value::from(rows), tasks());
    assert_eq!(said("{{json .Addresses}}"), "[\"10.0.3.3\"]\n[\"10.0.3.4\",\"10.0.4.4\"]\n");
    assert_eq!(said("{{.Labels}}"), "{\"tier\":\"front\",\"zone\":\"b\"}\n{}\n");
}

#[test]
fn lists_and_maps_are_gone_through() {
    assert_eq!(said("{{range .Addresses}}<{{.}}>{{end}}"), "<10.0.3.3>\n<10.0.3.4><10.0.4.4>\n");
    assert_eq!(
        said("{{range $k, $v := .Labels}}{{$k}}={{$v}} {{else}}none{{end}}"),
        "tier=front zone=b \nnone\n"
    );
    assert_eq!(
        said("{{range $i, $a := .Addresses}}{{$i}}:{{$a}} {{end}}"),
        "0:10.0.3.3 \n0:10.0.3.4 1:10.0.4.4 \n"
    );
    assert_eq!(said("{{ addresses | join('+') }}"), "10.0.3.3\n10.0.3.4+10.0.4.4\n");
    assert_eq!(said("{{join .Addresses \"+\"}}"), "10.0.3.3\n10.0.3.4+10.0.4.4\n");
    assert_eq!(said("{{len .Addresses}} {{index .Addresses 0}}"), "1 10.0.3.3\n2 10.0.3.4\n");
    assert_eq!(said("{{.Addresses}}"), "10.0.3.3\n10.0.3.4, 10.0.4.4\n");
    let nested = json!({"tasks": [{"name": "web.1"}, {"name": "web.2"}]});
    let template = Template::parse(
        "{{range .Tasks}}{{.Name}}@{{$.Tasks | len}} {{end}}{{(index .Tasks 1).Name}}",
    );
    assert_eq!(template.unwrap().render(&nested, &[]).unwrap(), "web.1@2 web.2@2 web.2\n");
}

#[test]
fn conditions_choose() {
    assert_eq!(said("{{if .Error}}{{.Error}}{{else}}fine{{end}}"), "fine\nexit code 3\n");
    assert_eq!(said("{{if eq .State \"failed\" \"rejected\"}}bad{{end}}"), "\nbad\n");
    assert_eq!(
        said("{{if and (not .Error) (gt .Seconds 60)}}old{{else if .Error}}ill{{end}}"),
        "old\nill\n"
    );
    assert_eq!(said("{{with .Error}}[{{.}}]{{end}}"), "\n[exit code 3]\n");
    assert_eq!(said("{{with .Error}}[{{.}}]{{else}}{{.Name}}{{end}}"), "web.1\n[exit code 3]\n");
    assert_eq!(said("{% if error %}{{ name }}{% endif %}"), "\nweb.2\n");
}

#[test]
fn pipes_variables_comments_and_trimming_are_gos() {
    assert_eq!(said("{{.Name | upper | json}}"), "\"WEB.1\"\n\"WEB.2\"\n");
    assert_eq!(said("{{$n := .Name}}{{/* nothing */}}{{$n}}"), "web.1\nweb.2\n");
    assert_eq!(said("a {{- .ID -}} b"), "aa1b\naa2b\n");
    assert_eq!(said("{{.Name}}{{println}}"), "web.1\n\nweb.2\n\n");
    assert_eq!(said("{{truncate .Name 3}} {{\"}}\"}}"), "web }}\nweb }}\n");
}

#[test]
fn one_value_that_is_no_list_is_one_line() {
    let info = json!({"version": "0.1.0", "root": true, "ipvs": null});
    let template = Template::parse("{{.Version}} {{.Root}} {{.IPVS}}.").unwrap();
    assert_eq!(template.render(&info, &[]).unwrap(), "0.1.0 true .\n");
}

#[test]
fn an_unknown_field_is_told_with_those_there_are() {
    for template in ["{{.Nmae}}", "{{ nmae }}", "{{json .Nmae}}", "{{if .Nmae}}{{end}}"] {
        let name = if template.contains("Nmae") { "Nmae" } else { "nmae" };
        match Template::parse(template).unwrap().render(&tasks(), WORDS) {
            Err(TemplateError::NoField { name: told, known }) => {
                assert_eq!(told, name);
                assert!(known.contains(&"name".into()) && known.contains(&"CurrentState".into()));
            }
            other => panic!("{template}: {other:?}"),
        }
    }
    let nested = Template::parse("{{.Labels.Teir}}").unwrap().render(&tasks(), &[]);
    let known = vec!["tier".to_owned(), "zone".to_owned()];
    assert_eq!(nested, Err(TemplateError::NoField { name: "Teir".into(), known }));
    let of_text = Template::parse("{{.Name.First}}").unwrap().render(&tasks(), &[]);
    assert!(of_text.is_err(), "{of_text:?}");
}

#[test]
fn what_is_no_template_is_refused_before_there_are_rows() {
    for (template, problem) in [
        ("{{.Name", "`{{` has no `}}`"),
        ("{{range .Tasks}}", "`{{range}}` has no `{{end}}`"),
        ("{{end}}", "`{{end}}`: nothing is open"),
        ("{{frob .Name}}", "there is no function `frob`"),
        ("{{.Name .ID}}", "several values and no function"),
        ("{{if}}{{end}}", "a value is missing"),
        ("{{eq .Name}}", "`eq` compares two values"),
        ("{{.Name ~ 3}}", "`~` is not understood"),
        ("{{ name", "`{{` has no `}}`"),
        ("{% if name %}", "end of"),
        ("{{ name name }}", "unexpected"),
        ("{{.Name..ID}}", "is not the name of a field"),
        ("{{json (.Name}}", "`(` has no `)`"),
    ] {
        match Template::parse(template) {
            Err(TemplateError::Syntax { problem: told }) => {
                assert!(told.contains(problem), "{template}: {told}");
            }
            other => panic!("{template}: {other:?}"),
        }
    }
}

#[test]
fn control_characters_of_values_never_reach_the_terminal() {
    let row = json!({"error": "\u{1b}[31mred\r\n", "list": ["\u{7}"]});
    let template = Template::parse("{{.Error}}{{.List}}{{ error | upper }}").unwrap();
    let said = template.render(&row, &[]).unwrap();
    assert!(said.trim_end_matches('\n').chars().all(|c| !c.is_control()), "{said:?}");
    let json = Template::parse("{{json .}}").unwrap().render(&row, &[]).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&json).unwrap(), row);
}

#[test]
fn any_text_is_read_or_refused() {
    let mut state = 0x9e37_79b9_u32;
    let pieces = [
        "{{", "}}", ".", "Name", " ", "(", ")", "|", "\"", "range", "end", "if", "$x", ":=", "-",
        "{%", "%}", "é", "\\", "`", "1", "json", ",",
    ];
    for _ in 0..20_000 {
        let mut text = String::new();
        for _ in 0..(state % 12) {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            text.push_str(pieces[(state >> 16) as usize % pieces.len()]);
        }
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        if let Ok(template) = Template::parse(&text) {
            let _ = template.render(&tasks(), WORDS);
        }
    }
}
