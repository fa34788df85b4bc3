//! Rules of every back end, sorted by what they do.

use std::collections::BTreeSet;

use super::note::annotate;
use crate::dump::iptables::{self, Counters};
use crate::dump::names::Names;
use crate::dump::nftables::{self, Table};
use crate::dump::{ChainKind, Contents, Iptables, Part};

/// The rules of one kind: those of each program under its name, unless nftables has them all.
pub fn rules(contents: &Contents, kind: ChainKind, names: &Names) -> String {
    let mut sections: Vec<(&str, String)> = Vec::new();
    for back_end in Iptables::ALL {
        let Some(part) = contents.iptables.get(&back_end) else { continue };
        let text = match part {
            Part::Read(tables) => saved(tables, kind, names),
            Part::Unreadable { why } if nftables_why(contents) != Some(why) => not_read(why),
            // nft itself says it below.
            Part::Unreadable { .. } => String::new(),
        };
        sections.push((back_end.name(), text));
    }
    let text = match &contents.nftables {
        Some(Part::Read(tables)) => own(&shown(contents, tables), kind, names),
        Some(Part::Unreadable { why }) => not_read(why),
        None => "(the dump does not have this part)\n".into(),
    };
    sections.push(("nftables", text));
    sections.retain(|(_, text)| !text.is_empty());
    match sections.as_slice() {
        [] => "(no rules)\n".into(),
        [("nftables", text)] => text.clone(),
        several => several.iter().map(|(name, text)| format!("# {name}\n{text}")).collect(),
    }
}

fn not_read(why: &str) -> String {
    format!("(not read: {why})\n")
}

/// The tables of nftables but for those that iptables-nft shows in its own words.
fn shown(contents: &Contents, tables: &[Table]) -> Vec<Table> {
    let covered = |table: &&Table| {
        Iptables::ALL.into_iter().any(|back_end| {
            let saved = contents.iptables.get(&back_end).and_then(Part::read);
            back_end.family() == Some(table.family.as_str())
                && saved.is_some_and(|saved| saved.iter().any(|s| s.name == table.name))
        })
    };
    tables.iter().filter(|table| !covered(table)).cloned().collect()
}

/// Tables of iptables with their counters; those that do nothing are left out.
fn saved(tables: &[iptables::Table], kind: ChainKind, names: &Names) -> String {
    let mut text = String::new();
    for table in tables.iter().filter(|table| table.kind() == kind && !table.is_idle()) {
        for line in iptables::lines(table, Counters::Shown) {
            text.push_str(&(annotate(&line, names) + "\n"));
        }
    }
    text
}

fn own(tables: &[Table], kind: ChainKind, names: &Names) -> String {
    let mut text = String::new();
    for table in nftables::only(tables, &[kind].into()) {
        for line in table.lines().iter().filter(|line| !line.is_empty()) {
            for line in split_elements(line) {
                text.push_str(&(annotate(&line, names) + "\n"));
            }
        }
    }
    text
}

fn nftables_why(contents: &Contents) -> Option<&str> {
    contents.nftables.as_ref().and_then(Part::why)
}

/// `elements = { a : b, c : d }` with an element a line, so that each can be annotated.
fn split_elements(line: &str) -> Vec<String> {
    let Some((before, elements)) = line.split_once("elements = { ") else {
        return vec![line.to_owned()];
    };
    let closed = elements.ends_with('}');
    let elements = elements.trim_end_matches([' ', '}']);
    let indent = " ".repeat("elements = { ".len());
    let mut lines: Vec<String> = elements
        .split(", ")
        .map(|element| element.trim().trim_end_matches(','))
        .map(|element| format!("{before}{indent}{element},"))
        .collect();
    if let Some(first) = lines.first_mut() {
        *first = first.replacen(&indent, "elements = { ", 1);
    }
    if let Some(last) = lines.last_mut()
        && closed
    {
        last.pop();
        last.push_str(" }");
    }
    lines
}

/// The kinds of chains that some tables ask for.
pub fn kinds(tables: &BTreeSet<crate::dump::Table>) -> BTreeSet<ChainKind> {
    tables.iter().filter_map(|table| table.chains()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intent::tests::story;

    const RULESET: &str = "table ip swarmlb {
\tmap vip-mark {
\t\ttype ipv4_addr : mark
\t\telements = { 10.0.3.2 : 0x00000100, 10.0.3.6 : 0x00000101 }
\t}

\tchain mangle-out {
\t\ttype route hook output priority mangle; policy accept;
\t\tmeta mark set ip daddr map @vip-mark
\t}

\tchain filter-in {
\t\ttype filter hook input priority filter; policy accept;
\t\tip daddr @vip-mark counter packets 0 bytes 0 reject
\t}
}
";

    const NAT: &str = "table ip nat {
\tchain OUTPUT {
\t\ttype nat hook output priority -100; policy accept;
\t\tip daddr 127.0.0.11 udp dport 53 counter packets 0 bytes 0 dnat to 127.0.0.11:5353
\t}
}
";

    const SAVED: &str = "*nat
:OUTPUT ACCEPT [0:0]
[3:180] -A OUTPUT -d 127.0.0.11/32 -p udp -m udp --dport 53 -j DNAT --to-destination 127.0.0.11:5353
COMMIT
*mangle
:INPUT ACCEPT [0:0]
COMMIT
";

    fn contents(ruleset: &str) -> Contents {
        Contents { nftables: Some(Part::Read(nftables::parse(ruleset))), ..Contents::default() }
    }

    #[test]
    fn rules_are_sorted_by_what_they_do_and_annotated() {
        let names = Names::of(&story());
        let contents = contents(RULESET);
        insta::assert_snapshot!(rules(&contents, ChainKind::Mangle, &names), @r"
        table ip swarmlb {
        	map vip-mark {
        		type ipv4_addr : mark
        		elements = { 10.0.3.2 : 0x00000100,  # service collabweb (network collabnet), tasks collabweb.1 collabweb.2 collabweb.3
        		             10.0.3.6 : 0x00000101 }  # service collab-box (network collabnet), task collab-box.1
        	}
        	chain mangle-out {
        		type route hook output priority mangle; policy accept;
        		meta mark set ip daddr map @vip-mark
        	}
        }
        ");
        assert_eq!(rules(&contents, ChainKind::Nat, &names), "(no rules)\n");
        assert!(rules(&contents, ChainKind::Filter, &names).contains("reject"));
    }

    #[test]
    fn rules_of_several_programs_stand_under_their_names_and_none_twice() {
        let names = Names::of(&story());
        let mut contents = contents(&format!("{RULESET}{NAT}"));
        contents.iptables.insert(Iptables::Nft, Part::Read(iptables::parse(SAVED)));
        contents.iptables.insert(Iptables::Legacy6, Part::unreadable("no `x` here"));
        insta::assert_snapshot!(rules(&contents, ChainKind::Nat, &names), @r"
        # ip6tables-legacy
        (not read: no `x` here)
        # iptables-nft
        *nat
        :OUTPUT ACCEPT [0:0]
        [3:180] -A OUTPUT -d 127.0.0.11/32 -p udp -m udp --dport 53 -j DNAT --to-destination 127.0.0.11:5353  # resolver
        COMMIT
        ");
        let mangle = rules(&contents, ChainKind::Mangle, &names);
        assert!(mangle.contains("# nftables\ntable ip swarmlb"), "{mangle}");
        assert!(!mangle.contains("# iptables-nft"), "an idle table is shown: {mangle}");
    }

    #[test]
    fn rules_that_could_not_be_read_are_never_told_as_none() {
        let mut contents = contents("");
        contents.nftables = Some(Part::unreadable("`nft` is not installed"));
        contents.iptables.insert(Iptables::Nft, Part::unreadable("`nft` is not installed"));
        let text = rules(&contents, ChainKind::Mangle, &Names::default());
        assert_eq!(text, "(not read: `nft` is not installed)\n");
        assert!(
            rules(&Contents::default(), ChainKind::Nat, &Names::default()).contains("not have")
        );
    }
}
