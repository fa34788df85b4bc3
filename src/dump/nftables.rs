//! What `nft list ruleset` prints: tables of chains, sets and maps.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::ChainKind;

/// A table with what it is made of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// `ip`, `ip6`, `inet`, `arp`, `bridge` or `netdev`.
    pub family: String,
    pub name: String,
    /// Lines of its own before the first block: flags, a comment.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub about: Vec<String>,
    pub blocks: Vec<Block>,
}

/// A chain, a set, a map, or another named thing of a table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// `chain`, `set`, `map`, `flowtable`, `counter` …
    pub kind: String,
    pub name: String,
    /// Where a base chain stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hook: Option<Hook>,
    /// The rules of a chain, the lines of a set, without their indentation by tabs.
    pub lines: Vec<String>,
}

/// `type filter hook output priority mangle; policy accept;`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// `filter`, `nat` or `route`.
    #[serde(rename = "type")]
    pub kind: String,
    pub hook: String,
    /// As nft prints it: `mangle`, `-150`, `dstnat + 5`.
    pub priority: String,
}

impl Hook {
    fn parse(line: &str) -> Option<Self> {
        let line = line.strip_prefix("type ")?;
        let (kind, rest) = line.split_once(" hook ")?;
        let (hook, rest) = rest.split_once(" priority ")?;
        // A netdev chain names its device between hook and priority.
        let hook = hook.split_whitespace().next()?;
        let priority = rest.split(';').next()?.trim();
        Some(Self { kind: kind.into(), hook: hook.into(), priority: priority.into() })
    }

    fn chains(&self) -> ChainKind {
        let mangle = self.priority.starts_with("mangle") || self.priority == "-150";
        match self.kind.as_str() {
            "nat" => ChainKind::Nat,
            "route" => ChainKind::Mangle,
            _ if mangle => ChainKind::Mangle,
            _ => ChainKind::Filter,
        }
    }
}

impl Table {
    /// `table ip swarmlb`
    pub fn heading(&self) -> String {
        format!("table {} {}", self.family, self.name)
    }

    /// Whether iptables-nft may have made it: by its name and the names of its chains.
    pub fn is_of_iptables(&self) -> bool {
        let known = ["filter", "nat", "mangle", "raw", "security"];
        let hooks = ["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"];
        let hooked = self.blocks.iter().filter(|block| block.hook.is_some());
        ["ip", "ip6"].contains(&self.family.as_str())
            && known.contains(&self.name.as_str())
            && hooked.clone().next().is_some()
            && hooked.clone().all(|block| hooks.contains(&block.name.as_str()))
    }

    /// As nft prints it.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!("{} {{", self.heading())];
        lines.extend(self.about.iter().map(|line| format!("\t{line}")));
        for (number, block) in self.blocks.iter().enumerate() {
            if number > 0 || !self.about.is_empty() {
                lines.push(String::new());
            }
            lines.extend(block.print());
        }
        lines.push("}".into());
        lines
    }
}

impl Block {
    fn print(&self) -> Vec<String> {
        let mut lines = vec![format!("\t{} {} {{", self.kind, self.name)];
        lines.extend(self.lines.iter().map(|line| format!("\t\t{line}")));
        lines.push("\t}".into());
        lines
    }

    /// Whether a word in one of its lines is this name.
    fn mentions(&self, name: &str) -> bool {
        let word = |line: &String| {
            line.split(|c: char| c.is_whitespace() || ",{}\"".contains(c))
                .any(|word| word.trim_start_matches('@') == name)
        };
        self.lines.iter().any(word)
    }
}

/// Reads the ruleset. Every line but the comments of `nft` itself is kept.
pub fn parse(text: &str) -> Vec<Table> {
    let mut tables: Vec<Table> = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        if let Some(heading) = line.strip_prefix("table ") {
            let mut words = heading.trim_end_matches(" {").split_whitespace();
            let mut word = || words.next().unwrap_or_default().to_owned();
            tables.push(Table { family: word(), name: word(), ..Table::default() });
            inside = false;
            continue;
        }
        let Some(table) = tables.last_mut() else { continue };
        match line.strip_prefix('\t') {
            Some("}") => inside = false,
            Some(own) if !own.starts_with('\t') && own.ends_with(" {") => {
                let mut words = own.trim_end_matches(" {").splitn(2, ' ');
                let mut word = || words.next().unwrap_or_default().to_owned();
                table.blocks.push(Block { kind: word(), name: word(), ..Block::default() });
                inside = true;
            }
            Some(own) if inside => {
                let line = own.strip_prefix('\t').unwrap_or(own);
                if let Some(block) = table.blocks.last_mut() {
                    block.hook = block.hook.take().or_else(|| Hook::parse(line));
                    block.lines.push(line.to_owned());
                }
            }
            Some(own) => table.about.push(own.to_owned()),
            None => {}
        }
    }
    tables
}

/// The part of the tables that does these kinds of things. Chains without a hook go with the
/// chains that jump to them; sets and maps with the chains that look into them. What nothing
/// leads to is with the filters.
pub fn only(tables: &[Table], kinds: &BTreeSet<ChainKind>) -> Vec<Table> {
    let mut kept = Vec::new();
    for table in tables {
        let wanted = wanted(&table.blocks, kinds);
        let blocks: Vec<Block> = table
            .blocks
            .iter()
            .enumerate()
            .filter(|(number, _)| wanted.contains(number))
            .map(|(_, block)| block.clone())
            .collect();
        let bare = table.blocks.is_empty() && kinds.contains(&ChainKind::Filter);
        if !blocks.is_empty() || bare {
            kept.push(Table { blocks, ..table.clone() });
        }
    }
    kept
}

fn wanted(blocks: &[Block], kinds: &BTreeSet<ChainKind>) -> BTreeSet<usize> {
    let of = |kind: ChainKind| -> BTreeSet<usize> {
        let hooked = |block: &Block| block.hook.as_ref().is_some_and(|h| h.chains() == kind);
        led_to(blocks, (0..blocks.len()).filter(|n| hooked(&blocks[*n])).collect())
    };
    let mut wanted: BTreeSet<usize> = kinds.iter().copied().flat_map(of).collect();
    if kinds.contains(&ChainKind::Filter) {
        let all = [ChainKind::Mangle, ChainKind::Nat, ChainKind::Filter];
        let reached: BTreeSet<usize> = all.into_iter().flat_map(of).collect();
        wanted.extend((0..blocks.len()).filter(|number| !reached.contains(number)));
    }
    wanted
}

/// These blocks, and all that they lead to.
fn led_to(blocks: &[Block], from: Vec<usize>) -> BTreeSet<usize> {
    let mut reached: BTreeSet<usize> = from.iter().copied().collect();
    let mut next = from;
    while let Some(number) = next.pop() {
        for (other, block) in blocks.iter().enumerate() {
            if blocks[number].mentions(&block.name) && reached.insert(other) {
                next.push(other);
            }
        }
    }
    reached
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULESET: &str = "table ip swarmlb {
\tmap vip-mark {
\t\ttype ipv4_addr : mark
\t\telements = { 10.0.3.2 : 0x00000100, 10.0.3.6 : 0x00000101,
\t\t\t     10.0.3.9 : 0x00000102 }
\t}

\tchain mangle-out {
\t\ttype route hook output priority mangle; policy accept;
\t\tmeta mark set ip daddr map @vip-mark
\t}

\tchain filter-in {
\t\ttype filter hook input priority filter; policy accept;
\t\tip daddr @vip-mark counter packets 0 bytes 0 reject
\t}

\tchain alone {
\t}
}
table netdev edge {
\tflags dormant

\tchain in {
\t\ttype filter hook ingress device \"eth0\" priority filter + 1; policy accept;
\t\tjump more
\t}

\tchain more {
\t\tip saddr 192.0.2.1 drop
\t}
}
table ip nat {
\tchain OUTPUT {
\t\ttype nat hook output priority -100; policy accept;
\t}
}
table inet empty {
}
";

    #[test]
    fn a_ruleset_is_read_and_printed_as_it_was() {
        let tables = parse(RULESET);
        let again: Vec<String> = tables.iter().flat_map(Table::lines).collect();
        assert_eq!(again.join("\n") + "\n", RULESET);
        let text = serde_json::to_string(&tables).unwrap();
        assert_eq!(serde_json::from_str::<Vec<Table>>(&text).unwrap(), tables);
    }

    fn named(kind: ChainKind) -> Vec<String> {
        let tables = only(&parse(RULESET), &[kind].into());
        let blocks = |table: &Table| -> Vec<String> {
            let name = |block: &Block| format!("{}/{}", table.name, block.name);
            table.blocks.iter().map(name).collect()
        };
        tables.iter().flat_map(blocks).collect()
    }

    #[test]
    fn chains_are_sorted_by_hook_and_take_along_what_they_lead_to() {
        assert_eq!(named(ChainKind::Mangle), ["swarmlb/vip-mark", "swarmlb/mangle-out"]);
        assert_eq!(named(ChainKind::Nat), ["nat/OUTPUT"]);
        let filter =
            ["swarmlb/vip-mark", "swarmlb/filter-in", "swarmlb/alone", "edge/in", "edge/more"];
        assert_eq!(named(ChainKind::Filter), filter);
    }

    #[test]
    fn every_block_and_table_is_in_some_part() {
        let all = [ChainKind::Mangle, ChainKind::Nat, ChainKind::Filter].into();
        assert_eq!(only(&parse(RULESET), &all), parse(RULESET));
    }

    #[test]
    fn tables_of_iptables_are_known_by_their_names() {
        let of: Vec<bool> = parse(RULESET).iter().map(Table::is_of_iptables).collect();
        assert_eq!(of, [false, false, true, false]);
    }

    #[test]
    fn any_text_is_read_without_panic() {
        for text in ["", "table", "table {\n\t}\n", "\tchain {", "table a b {\n\tset {\n\t\tx"] {
            let _ = parse(text);
        }
    }
}
