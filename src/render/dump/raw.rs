//! A dump in the words of the original tools and nothing else, so that they can read it back.

use std::collections::BTreeSet;

use super::harmless;
use super::rules::kinds;
use crate::dump::iptables::{self, Counters};
use crate::dump::{Contents, Part, Table, ipvs, nftables};

/// What one tool prints, or why it does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// `iptables-legacy-save`, `nft list ruleset` …
    pub tool: String,
    pub text: Result<String, String>,
}

/// The sections that follow from what was read: rules, virtual servers, IPsec, settings.
pub fn sections(contents: &Contents, tables: &BTreeSet<Table>) -> Vec<Section> {
    let mut sections = Vec::new();
    let kinds = kinds(tables);
    if !kinds.is_empty() {
        for (back_end, part) in &contents.iptables {
            let wanted = |table: &&iptables::Table| kinds.contains(&table.kind());
            let text = |tables: &Vec<iptables::Table>| {
                let tables = tables.iter().filter(wanted);
                lines(tables.flat_map(|table| iptables::lines(table, Counters::Left)))
            };
            sections.extend(section(format!("{}-save", back_end.name()), Some(part), text));
        }
        sections.extend(section("nft list ruleset", contents.nftables.as_ref(), |tables| {
            let shown = nftables::only(tables, &kinds);
            lines(shown.iter().flat_map(nftables::Table::lines))
        }));
    }
    if tables.contains(&Table::Ipvs) {
        let saved = |servers: &Vec<ipvs::Server>| lines(ipvs::saved(servers).into_iter());
        sections.extend(section("ipvsadm -Sn", contents.ipvs.as_ref(), saved));
    }
    if tables.contains(&Table::Xfrm) {
        let states = |xfrm: &crate::dump::Xfrm| lines(xfrm.states.iter().cloned());
        let policies = |xfrm: &crate::dump::Xfrm| lines(xfrm.policies.iter().cloned());
        let xfrm = contents.xfrm.as_ref();
        sections.extend(section("ip xfrm state list nokeys", xfrm, states));
        sections.extend(section("ip xfrm policy list", xfrm, policies));
    }
    if tables.contains(&Table::Sysctl) {
        sections.extend(section("sysctl", contents.sysctls.as_ref(), |settings| {
            lines(settings.iter().map(|(name, value)| format!("{name} = {value}")))
        }));
    }
    sections
}

fn section<T>(
    tool: impl Into<String>,
    part: Option<&Part<T>>,
    text: impl FnOnce(&T) -> String,
) -> Option<Section> {
    let text = match part? {
        Part::Read(value) => Ok(text(value)),
        Part::Unreadable { why } => Err(why.clone()),
    };
    Some(Section { tool: tool.into(), text })
}

fn lines(lines: impl Iterator<Item = String>) -> String {
    lines.map(|line| line + "\n").collect()
}

/// The sections that say something, each behind a comment with its tool when there are several.
pub fn raw(sections: &[Section]) -> String {
    let telling: Vec<&Section> = sections
        .iter()
        .filter(|section| section.text.as_ref().map_or(true, |text| !text.is_empty()))
        .collect();
    let several = telling.len() > 1;
    let one = |section: &&Section| {
        let heading = if several { format!("# {}\n", section.tool) } else { String::new() };
        match &section.text {
            Ok(text) => heading + text,
            Err(why) => format!("{heading}# not read: {why}\n"),
        }
    };
    harmless(&telling.iter().map(one).collect::<String>())
}
