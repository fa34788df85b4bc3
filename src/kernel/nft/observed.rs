//! What nf_tables holds becomes swarmlb's table. A rule counts as ours when it is ours to the last
//! expression and alone in its chain: what somebody changed or added is drift.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::layout;
use super::wire::{Chain, Data, Element, Expression, Rule, Set, Verdict};
use crate::intent::Fwmark;
use crate::node::encryption::Carrier;
use crate::node::table::{ENTRY, KEEP};
use crate::node::{BaseRule, Dispatch, PortMap, Publication, Table};

/// How many connections each target of each mark was given since it was added.
pub type Counters = BTreeMap<(Fwmark, Ipv4Addr), u64>;

/// Everything that the table holds.
#[derive(Debug, Clone, Default)]
pub struct Held {
    /// The table's name.
    name: String,
    /// Base chains, by name.
    chains: BTreeMap<String, Chain>,
    /// The rules of each chain, in order.
    rules: BTreeMap<String, Vec<Vec<Expression>>>,
    /// The maps of ports that are there, with their rules or without.
    ports: Vec<PortMap>,
    /// The elements of each set that matters, by name.
    pub elements: BTreeMap<String, Vec<Element>>,
}

impl Held {
    pub fn new(table: &str, chains: Vec<Chain>, rules: Vec<Rule>, sets: &[Set]) -> Self {
        let is_there = |map: &PortMap| sets.iter().any(|set| set.name == map.name());
        let ports = PortMap::ALL.into_iter().filter(is_there).collect();
        let mut held = Self { name: table.to_owned(), ports, ..Self::default() };
        for chain in chains.into_iter().filter(|chain| chain.table == table) {
            held.chains.insert(chain.name.clone(), chain);
        }
        for rule in rules.into_iter().filter(|rule| rule.table == table) {
            held.rules.entry(rule.chain).or_default().push(rule.expressions);
        }
        held
    }

    /// The sets whose elements are needed to tell what the table is.
    pub fn sets(&self) -> Vec<String> {
        let named = [layout::VIPS, layout::VIP_MARK, layout::MARK_CHAIN].map(str::to_owned);
        let turns = self.rules.iter().filter(|(chain, _)| mark_of(chain).is_some());
        let turns = turns.filter_map(|(_, rules)| Some(turns_of(rules)?.1.to_owned()));
        let ports = self.ports.iter().map(|map| map.name().to_owned());
        named.into_iter().chain(ports).chain(turns).collect()
    }

    /// The table in the node's words, and its counters.
    pub fn table(&self) -> (Table, Counters) {
        let counters = self.counters();
        let table = Table {
            rules: self.candidates().into_iter().filter(|rule| self.has(*rule)).collect(),
            guards: self.of(layout::VIPS).filter_map(|e| address(&e.key)).collect(),
            marks: self.of(layout::VIP_MARK).filter_map(marked).collect(),
            dispatches: self
                .of(layout::MARK_CHAIN)
                .filter_map(|element| self.dispatch(element, &counters))
                .collect(),
            publications: PortMap::ALL.into_iter().flat_map(|map| self.published(map)).collect(),
        };
        (table, counters)
    }

    fn of(&self, set: &str) -> impl Iterator<Item = &Element> {
        self.elements.get(set).into_iter().flatten()
    }

    /// The rules that may be there. Of those about a range or an address, with each that stands in one.
    fn candidates(&self) -> Vec<BaseRule> {
        let rules = || self.rules.values().flatten();
        let ranges: BTreeSet<Ipv4Net> = rules().flat_map(|rule| layout::ranges(rule)).collect();
        let ranged = ranges.into_iter().flat_map(BaseRule::of_range);
        let source = self.rules.get("nat-source").into_iter().flatten();
        let sources = source.flat_map(|rule| layout::addresses(rule)).map(BaseRule::SourceOut);
        let carried = self.chains.keys().filter_map(|chain| self.carried(chain));
        let kept = self.chains.keys().flat_map(|chain| self.kept(chain));
        let entry = self.rules.get(ENTRY).into_iter().flatten();
        let entries = entry.flat_map(|rule| layout::ranges(rule));
        let entries = entries.map(|range| BaseRule::MarkEntry(range.addr()));
        let about = ranged.chain(sources).chain(carried).chain(kept).chain(entries);
        BaseRule::PLAIN.into_iter().chain(about).collect()
    }

    /// The rules of a kept source that may be in a chain, by its name and the ranges in it.
    fn kept(&self, chain: &str) -> Vec<BaseRule> {
        let port = chain.strip_prefix(KEEP).and_then(|port| port.parse().ok());
        let rules = self.rules.get(chain).into_iter().flatten();
        let ranges = rules.flat_map(|rule| layout::ranges(rule));
        port.map_or_else(Vec::new, |port| {
            ranges.map(|range| BaseRule::KeepSource { port, range }).collect()
        })
    }

    /// The rule of encryption that may be in a chain, by its name and the port in it.
    fn carried(&self, chain: &str) -> Option<BaseRule> {
        let vni = chain.strip_prefix("esp-")?.rsplit('-').next()?.parse().ok()?;
        let port = layout::port_of(self.rules.get(chain)?.first()?)?;
        let mut rules = BaseRule::of_encryption(Carrier { port, vni }).into_iter();
        rules.find(|rule| rule.chains().iter().any(|name| name == chain))
    }

    fn has(&self, rule: BaseRule) -> bool {
        layout::base_rules(&self.name, rule).into_iter().all(|(wanted, expressions)| {
            let hook = self.chains.get(&wanted.name).and_then(|chain| chain.hook.clone());
            let hooked = hook.is_some_and(|mut hook| {
                if hook.policy == Some(Verdict::Accept) {
                    hook.policy = None;
                }
                Some(hook) == wanted.hook
            });
            hooked && self.only_rule(&wanted.name) == Some(expressions)
        })
    }

    /// The one rule of a chain, as it was when it was added.
    fn only_rule(&self, chain: &str) -> Option<Vec<Expression>> {
        match self.rules.get(chain)?.as_slice() {
            [rule] => Some(rule.iter().cloned().map(Expression::fresh).collect()),
            _ => None,
        }
    }

    fn counters(&self) -> Counters {
        let counted = |chain: &String| {
            let (mark, target) = target_of(chain)?;
            if self.only_rule(chain)? != layout::target_rule(target) {
                return None;
            }
            let packets = self.rules[chain].iter().flatten().find_map(|e| match e {
                Expression::Counter { packets, .. } => Some(*packets),
                _ => None,
            });
            Some(((mark, target), packets?))
        };
        self.rules.keys().filter_map(counted).collect()
    }

    fn published(&self, map: PortMap) -> impl Iterator<Item = Publication> {
        self.of(map.name()).filter_map(move |element| layout::published(map, element))
    }

    /// One that lacks a part does not balance: it is made anew, whole.
    fn dispatch(&self, element: &Element, counters: &Counters) -> Option<(Fwmark, Dispatch)> {
        let mark = Fwmark(number(&element.key)?);
        if *element != layout::dispatch(mark) {
            return None;
        }
        let Some(Data::Verdict(Verdict::Jump(chain))) = &element.data else { return None };
        if self.only_rule(chain)? == layout::balance_rule(0, "", None) {
            return Some((mark, Dispatch { targets: Vec::new() }));
        }
        let (count, set) = turns_of(self.rules.get(chain)?)?;
        let mut turns: Vec<(u32, Ipv4Addr)> = self.of(set).filter_map(turn).collect();
        turns.sort_unstable();
        let targets: Vec<Ipv4Addr> = turns.iter().map(|(_, target)| *target).collect();
        let whole = turns.len() == count
            && self.of(set).count() == count
            && (0..).zip(&turns).all(|(number, turn)| number == turn.0)
            && self.of(set).all(|element| goes_to(element, mark, &targets))
            && targets.iter().all(|target| counters.contains_key(&(mark, *target)));
        whole.then_some((mark, Dispatch { targets }))
    }
}

/// Of a rule that takes turns: how many, and the map of whose they are.
fn turns_of(rules: &[Vec<Expression>]) -> Option<(usize, &str)> {
    let [rule] = rules else { return None };
    let [Expression::Number { modulus, .. }, Expression::Lookup { set, .. }] = rule.as_slice()
    else {
        return None;
    };
    let count = usize::try_from(*modulus).ok()?;
    (*rule == layout::balance_rule(count, set, None)).then_some((count, set))
}

fn turn(element: &Element) -> Option<(u32, Ipv4Addr)> {
    let Some(Data::Verdict(Verdict::Jump(chain))) = &element.data else { return None };
    Some((number(&element.key)?, target_of(chain)?.1))
}

fn goes_to(element: &Element, mark: Fwmark, targets: &[Ipv4Addr]) -> bool {
    let target = number(&element.key).and_then(|number| targets.get(usize::try_from(number).ok()?));
    target.is_some_and(|target| {
        let number = number(&element.key).unwrap_or_default();
        *element == layout::turn(number, mark, *target)
    })
}

fn marked(element: &Element) -> Option<(Ipv4Addr, Fwmark)> {
    let Some(Data::Value(mark)) = &element.data else { return None };
    Some((address(&element.key)?, Fwmark(number(mark)?)))
}

fn address(bytes: &[u8]) -> Option<Ipv4Addr> {
    Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?))
}

fn number(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

fn mark_of(chain: &str) -> Option<Fwmark> {
    hexadecimal(chain.strip_prefix("vs-")?)
}

fn target_of(chain: &str) -> Option<(Fwmark, Ipv4Addr)> {
    let (mark, address) = chain.strip_prefix("rs-")?.split_once('-')?;
    Some((hexadecimal(mark)?, address.parse().ok()?))
}

fn hexadecimal(text: &str) -> Option<Fwmark> {
    u32::from_str_radix(text.strip_prefix("0x")?, 16).ok().map(Fwmark)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intent::Transport;
    use crate::node::{PortAt, PortTo};
    use crate::plan::runbook::{TABLE, commands};

    const MARK: Fwmark = Fwmark(0x10c);
    const VIP: Ipv4Addr = Ipv4Addr::new(10, 0, 3, 2);
    const TARGETS: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 0, 3, 4), Ipv4Addr::new(10, 0, 3, 3)];

    fn all_rules() -> impl Iterator<Item = BaseRule> {
        let range = "172.16.4.0/22".parse().unwrap();
        let source = BaseRule::SourceOut(Ipv4Addr::new(10, 0, 0, 2));
        let kept = BaseRule::KeepSource { port: 8080, range };
        let entry = BaseRule::MarkEntry(TARGETS[0]);
        BaseRule::PLAIN.into_iter().chain(BaseRule::of_range(range)).chain([source, kept, entry])
    }

    fn publications() -> [Publication; 3] {
        let at = |address, transport| PortAt { address, transport, port: 8080 };
        let task = PortTo::Address { address: TARGETS[0], port: 80 };
        [
            Publication { at: at(None, Transport::Tcp), to: task },
            Publication { at: at(Some(VIP), Transport::Udp), to: task },
            Publication { at: at(Some(VIP), Transport::Sctp), to: PortTo::Mark(MARK) },
        ]
    }

    /// A table with one VIP and a gateway bridge's rules, as the kernel tells of it.
    fn held() -> Held {
        let all = || all_rules().flat_map(|rule| layout::base_rules(TABLE, rule));
        let mut chains: Vec<Chain> = all().map(|(chain, _)| chain).collect();
        for chain in &mut chains {
            let hook = chain.hook.as_mut().unwrap();
            hook.policy = Some(Verdict::Accept);
        }
        let mut rules: Vec<Rule> =
            all().map(|(chain, rule)| layout::rule(TABLE, &chain.name, rule)).collect();
        for target in TARGETS {
            let chain = commands::target_chain(MARK, target);
            rules.push(layout::rule(TABLE, &chain, layout::target_rule(target)));
        }
        let balance = layout::balance_rule(TARGETS.len(), "__map7", None);
        rules.push(layout::rule(TABLE, &commands::balance_chain(MARK), balance));
        let maps = PortMap::ALL.into_iter();
        let sets: Vec<Set> = maps.map(|map| layout::port_map(TABLE, map, 9)).collect();
        let mut held = Held::new(TABLE, chains, rules, &sets);
        held.elements.insert("vips".into(), vec![layout::guard(VIP)]);
        held.elements.insert("vip-mark".into(), vec![layout::mark(VIP, MARK)]);
        held.elements.insert("mark-chain".into(), vec![layout::dispatch(MARK)]);
        let turns = (0..).zip(TARGETS).map(|(number, target)| layout::turn(number, MARK, target));
        held.elements.insert("__map7".into(), turns.collect());
        for publication in publications() {
            let elements = held.elements.entry(publication.map().name().into()).or_default();
            elements.push(layout::publication(&publication));
        }
        held
    }

    #[test]
    fn a_table_as_it_is_written_is_read_as_what_was_asked_for() {
        let held = held();
        let ports = ["published", "published-at", "port-mark"];
        assert_eq!(held.sets()[..3], ["vips", "vip-mark", "mark-chain"]);
        assert_eq!(held.sets()[3..], [&ports[..], &["__map7"]].concat());
        let (table, counters) = held.table();
        assert_eq!(table.rules, all_rules().collect());
        assert_eq!(table.guards, [VIP].into());
        assert_eq!(table.marks, [(VIP, MARK)].into());
        assert_eq!(table.dispatches, [(MARK, Dispatch { targets: TARGETS.into() })].into());
        assert_eq!(table.publications, publications().into());
        assert_eq!(counters, TARGETS.map(|target| ((MARK, target), 0)).into());
    }

    #[test]
    fn a_counter_that_counts_changes_no_rule() {
        let mut held = held();
        for rules in held.rules.values_mut() {
            for expression in rules.iter_mut().flatten() {
                if let Expression::Counter { packets, .. } = expression {
                    *packets = 5;
                }
            }
        }
        let (table, counters) = held.table();
        assert_eq!(table, self::held().table().0);
        assert!(counters.values().all(|packets| *packets == 5));
    }

    #[test]
    fn what_somebody_changed_is_not_ours_any_more() {
        type Damage = fn(&mut Held);
        let whole = held().table().0;
        let damages: [(Damage, &str); 13] = [
            (|h| drop(h.rules.remove("publish-out")), "one chain of two"),
            (|h| h.rules.get_mut("nat-source").unwrap()[0].swap(0, 2), "another source"),
            (|h| drop(h.rules.get_mut("nat-post").unwrap()[0].remove(0)), "another range's"),
            (|h| drop(h.rules.get_mut("filter-forward").unwrap()[0].pop()), "no verdict"),
            (|h| h.rules.get_mut("mangle-out").unwrap().push(Vec::new()), "a rule more"),
            (|h| h.rules.get_mut("filter-in").unwrap().clear(), "no rule"),
            (|h| h.rules.get_mut("filter-in").unwrap()[0].swap(2, 3), "another order"),
            (
                |h| h.chains.get_mut("nat-out").unwrap().hook.as_mut().unwrap().priority = 5,
                "a hook elsewhere",
            ),
            (|h| h.chains.get_mut("mangle-out").unwrap().hook = None, "no hook"),
            (|h| drop(h.rules.remove("rs-0x10c-10.0.3.3")), "a target without its rule"),
            (|h| h.rules.get_mut("vs-0x10c").unwrap().push(Vec::new()), "a rule beside the turns"),
            (|h| drop(h.elements.get_mut("__map7").unwrap().pop()), "a turn that is nobody's"),
            (
                |h| {
                    h.elements.get_mut("__map7").unwrap()[0].data =
                        Some(Data::Verdict(Verdict::Drop))
                },
                "a turn that drops",
            ),
        ];
        for (damage, what) in damages {
            let mut held = held();
            damage(&mut held);
            let (table, _) = held.table();
            assert_ne!(table, whole, "{what}");
            assert!(table.marks == whole.marks && table.guards == whole.guards, "{what}");
        }
    }
}
