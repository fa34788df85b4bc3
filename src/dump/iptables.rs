//! What `iptables-save` prints, of either back end.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::ChainKind;

/// A table: `*nat` and what follows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// `mangle`, `nat`, `filter`, `raw` or `security`.
    pub name: String,
    pub chains: Vec<Chain>,
    pub rules: Vec<Rule>,
}

/// A chain: `:OUTPUT ACCEPT [32:2288]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chain {
    pub name: String,
    /// None for a chain that somebody made.
    pub policy: Option<String>,
    pub counted: Counted,
}

/// A rule: `[5:300] -A OUTPUT -d 10.0.3.2/32 -j MARK --set-xmark 0x100/0xffffffff`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// None where it was printed without.
    pub counted: Option<Counted>,
    /// From `-A` on.
    pub text: String,
}

/// Packets and bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    pub packets: u64,
    pub bytes: u64,
}

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}:{}]", self.packets, self.bytes)
    }
}

impl Table {
    pub fn kind(&self) -> ChainKind {
        match self.name.as_str() {
            "mangle" => ChainKind::Mangle,
            "nat" => ChainKind::Nat,
            _ => ChainKind::Filter,
        }
    }

    /// Whether it says nothing: no rules, and policies that let everything through.
    pub fn is_idle(&self) -> bool {
        let accepts = |chain: &Chain| chain.policy.as_deref().is_none_or(|p| p == "ACCEPT");
        self.rules.is_empty() && self.chains.iter().all(accepts)
    }
}

impl Rule {
    /// The word behind an option.
    pub fn option(&self, name: &str) -> Option<&str> {
        let mut words = self.text.split_whitespace();
        words.by_ref().find(|word| *word == name)?;
        words.next()
    }

    /// The mark that it sets: `-j MARK --set-xmark 0x100/0xffffffff`.
    pub fn mark(&self) -> Option<u32> {
        let value = self.option("--set-xmark").or_else(|| self.option("--set-mark"))?;
        let value = value.split('/').next()?;
        match value.strip_prefix("0x") {
            Some(digits) => u32::from_str_radix(digits, 16).ok(),
            None => value.parse().ok(),
        }
    }

    /// The one address that it matches as destination.
    pub fn destination(&self) -> Option<std::net::IpAddr> {
        let net: ipnet::IpNet = match self.option("-d")? {
            net if net.contains('/') => net.parse().ok()?,
            address => ipnet::IpNet::from(address.parse::<std::net::IpAddr>().ok()?),
        };
        (net.prefix_len() == net.max_prefix_len() && !self.text.contains("! -d "))
            .then(|| net.addr())
    }
}

/// `*name`, chains, rules, `COMMIT`.
pub fn parse(text: &str) -> Vec<Table> {
    let mut tables: Vec<Table> = Vec::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('*') {
            let name = name.trim().to_owned();
            tables.push(Table { name, chains: Vec::new(), rules: Vec::new() });
            continue;
        }
        let Some(table) = tables.last_mut() else { continue };
        if let Some(chain) = line.strip_prefix(':') {
            table.chains.extend(parse_chain(chain));
        } else if line.starts_with("-A ") || line.starts_with('[') {
            table.rules.push(parse_rule(line));
        }
    }
    tables
}

fn parse_chain(line: &str) -> Option<Chain> {
    let mut words = line.split_whitespace();
    let name = words.next()?.to_owned();
    let policy = words.next().filter(|policy| *policy != "-").map(str::to_owned);
    let counted = words.next().and_then(parse_counted).unwrap_or_default();
    Some(Chain { name, policy, counted })
}

fn parse_rule(line: &str) -> Rule {
    let split = line.split_once("] ").filter(|_| line.starts_with('['));
    match split.and_then(|(count, rule)| Some((parse_counted(&format!("{count}]"))?, rule))) {
        Some((counted, rule)) => Rule { counted: Some(counted), text: rule.to_owned() },
        None => Rule { counted: None, text: line.to_owned() },
    }
}

fn parse_counted(text: &str) -> Option<Counted> {
    let (packets, bytes) = text.strip_prefix('[')?.strip_suffix(']')?.split_once(':')?;
    Some(Counted { packets: packets.parse().ok()?, bytes: bytes.parse().ok()? })
}

/// As `iptables-save` prints it; with the counters of rules as `iptables-save -c` does.
pub fn lines(table: &Table, counters: Counters) -> Vec<String> {
    let mut lines = vec![format!("*{}", table.name)];
    for chain in &table.chains {
        let policy = chain.policy.as_deref().unwrap_or("-");
        lines.push(format!(":{} {policy} {}", chain.name, chain.counted));
    }
    for rule in &table.rules {
        match (counters, &rule.counted) {
            (Counters::Shown, Some(counted)) => lines.push(format!("{counted} {}", rule.text)),
            _ => lines.push(rule.text.clone()),
        }
    }
    lines.push("COMMIT".into());
    lines
}

/// Whether rules are printed with their counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counters {
    Shown,
    Left,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From a real Docker Swarm's load balancing sandbox, with counters.
    const SAVED: &str = "\
# Generated by iptables-save v1.8.9 on Mon Nov 23 12:59:02 2026
*mangle
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [7:420]
[9:540] -A INPUT -d 10.0.3.2/32 -j MARK --set-xmark 0x100/0xffffffff
[0:0] -A INPUT -d 10.0.3.7/32 -j MARK --set-xmark 0x102/0xffffffff
COMMIT
# Completed on Mon Nov 23 12:59:02 2026
*nat
:POSTROUTING ACCEPT [0:0]
:DOCKER_OUTPUT - [0:0]
-A POSTROUTING -d 10.0.3.0/24 -m ipvs --ipvs -j SNAT --to-source 10.0.3.6
COMMIT
*raw
:OUTPUT DROP [0:0]
COMMIT
";

    #[test]
    fn what_was_saved_is_read_and_printed_as_it_was() {
        let tables = parse(SAVED);
        let again: Vec<String> =
            tables.iter().flat_map(|table| lines(table, Counters::Shown)).collect();
        let said: Vec<&str> = SAVED.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(again, said);
        let without = lines(&tables[0], Counters::Left).join("\n");
        assert!(without.contains("\n-A INPUT -d 10.0.3.2/32"), "{without}");
        let text = serde_json::to_string(&tables).unwrap();
        assert_eq!(serde_json::from_str::<Vec<Table>>(&text).unwrap(), tables);
    }

    #[test]
    fn a_rule_tells_its_mark_and_its_one_destination() {
        let tables = parse(SAVED);
        let rule = &tables[0].rules[0];
        assert_eq!(rule.mark(), Some(0x100));
        assert_eq!(rule.destination(), Some([10, 0, 3, 2].into()));
        assert_eq!(rule.counted, Some(Counted { packets: 9, bytes: 540 }));
        let snat = &tables[1].rules[0];
        assert_eq!((snat.mark(), snat.destination()), (None, None));
        let not = Rule { counted: None, text: "-A INPUT ! -d 10.0.3.2/32 -j DROP".into() };
        assert_eq!(not.destination(), None);
    }

    #[test]
    fn tables_are_sorted_by_what_they_do_and_an_idle_one_is_known() {
        let tables = parse(SAVED);
        let kinds: Vec<_> = tables.iter().map(Table::kind).collect();
        assert_eq!(kinds, [ChainKind::Mangle, ChainKind::Nat, ChainKind::Filter]);
        assert!(!tables[2].is_idle(), "a policy that drops is not idle");
        assert!(parse("*filter\n:INPUT ACCEPT [1:2]\nCOMMIT\n")[0].is_idle());
    }

    #[test]
    fn any_text_is_read_without_panic() {
        for text in ["", "*", ":", "[", "[1:2]", "*a\n:\n[x:y] -A\n-A \nCOMMIT", ":x\n[5"] {
            let _ = parse(text);
        }
    }
}
