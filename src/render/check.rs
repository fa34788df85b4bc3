//! What was checked, group by group.

use crate::check::{Code, Finding, Group, Severity};
use crate::render::english::count;
use crate::render::table::{printable, table};

fn sign(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "×",
        Severity::Warning => "‼",
        Severity::Note => "i",
    }
}

fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Note => "note",
    }
}

/// All groups with what was found in each; `short` leaves out those where nothing was, and all but a
/// line for each finding.
pub fn checked(node: &str, findings: &[Finding], short: bool) -> String {
    let mut text = String::new();
    for group in Group::ALL {
        let of_group: Vec<&Finding> =
            findings.iter().filter(|finding| finding.group == group).collect();
        if short {
            let line = |finding: &&Finding| {
                let Finding { severity, code, place, evidence, .. } = finding;
                let (place, evidence) = (printable(place), printable(evidence));
                format!("{} {code} {place}: {evidence}\n", sign(*severity))
            };
            text.extend(of_group.iter().map(line));
            continue;
        }
        let worst = of_group.iter().map(|finding| finding.severity).min();
        let mark = worst.map_or("√", sign);
        text.push_str(&format!("{mark} {}\n", group.words()));
        text.extend(of_group.iter().map(|finding| told(finding)));
    }
    let number = |severity| {
        let found = findings.iter().filter(|finding| finding.severity == severity).count();
        (found > 0).then(|| count(found, word(severity)))
    };
    let found: Vec<String> = [Severity::Error, Severity::Warning, Severity::Note]
        .into_iter()
        .filter_map(number)
        .collect();
    let all = match found.is_empty() {
        true => "nothing is wrong".to_owned(),
        false => found.join(", "),
    };
    if !short {
        text.push('\n');
    }
    text + &format!("node {node}: {all}\n")
}

fn told(finding: &Finding) -> String {
    let Finding { severity, code, place, evidence, cause, mend, .. } = finding;
    let (sign, place, evidence) = (sign(*severity), printable(place), printable(evidence));
    let mut text = format!("    {sign} {code}  {place}\n      {evidence}\n      {cause}\n");
    if let Some(mend) = mend {
        text.push_str(&format!("      mend it: {}\n", printable(mend)));
    }
    text
}

/// A table of codes.
pub fn codes(codes: &[&Code]) -> String {
    let row = |code: &&Code| {
        [code.name, word(code.severity), code.group.words(), code.cause].map(str::to_owned)
    };
    table(["CODE", "SEVERITY", "GROUP", "WHAT IT MEANS"], codes.iter().map(row).collect())
}

/// One code.
pub fn explained(code: &Code) -> String {
    let Code { name, group, severity, cause } = code;
    format!("{name} ({}, {})\n\n{cause}\n", word(*severity), group.words())
}
