//! The objects that a plan is made of: those of two nodes, less what surely stays. Nodes are alike but
//! for a few places, so they are compared as they are, and made into objects only near a difference.

use std::collections::{BTreeMap, BTreeSet};

use crate::node::{Key, LinkKind, Node, Object, Owner, Sandbox, SandboxName, VirtualServerKey};

/// Where an object is.
pub type Place<'a> = (&'a SandboxName, Key);

/// Objects by where they are, sorted. A list and not a map: a large one is made in less memory.
#[derive(Debug)]
pub struct Index<'a>(Vec<(Place<'a>, Object)>);

impl<'a> Index<'a> {
    /// Takes the objects of one sandbox after the other; those of each in any order.
    fn new(mut objects: Vec<(Place<'a>, Object)>) -> Self {
        for sandbox in objects.chunk_by_mut(|((one, _), _), ((other, _), _)| same(one, other)) {
            sandbox.sort_by(|((_, one), _), ((_, other), _)| one.cmp(other));
        }
        // Of two in one place, as only somebody else leaves them, the last counts.
        objects.dedup_by(|last, first| {
            let twice = same(last.0.0, first.0.0) && last.0.1 == first.0.1;
            if twice {
                std::mem::swap(last, first);
            }
            twice
        });
        Self(objects)
    }

    pub fn get(&self, at: &Place<'_>) -> Option<&Object> {
        let found = self.0.binary_search_by(|(place, _)| place.cmp(at)).ok()?;
        self.0.get(found).map(|(_, object)| object)
    }

    pub fn contains(&self, at: &Place<'_>) -> bool {
        self.get(at).is_some()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Place<'a>, &Object)> + Clone {
        self.0.iter().map(|(place, object)| (place, object))
    }

    /// The objects of one sandbox.
    pub fn of<'i>(&'i self, sandbox: &'i SandboxName) -> impl Iterator<Item = &'i Object> {
        let first = self.0.partition_point(|((name, _), _)| *name < sandbox);
        let all = self.0.get(first..).unwrap_or_default().iter();
        all.take_while(move |((name, _), _)| *name == sandbox).map(|(_, object)| object)
    }
}

/// Whether both are one sandbox's name in one node: that is asked for every object.
fn same(one: &SandboxName, other: &SandboxName) -> bool {
    std::ptr::eq(one, other)
}

/// The objects of both nodes that a plan between them may touch, or that stand near such.
pub fn indexes<'a>(observed: &'a Node, desired: &'a Node) -> (Index<'a>, Index<'a>) {
    let grounds = grounds(observed, desired);
    let servers = servers(observed, desired);
    (index(observed, &grounds, &servers), index(desired, &grounds, &servers))
}

/// Virtual servers that differ, by sandbox.
type Servers<'a> = BTreeMap<&'a SandboxName, Vec<&'a VirtualServerKey>>;

fn index<'a>(node: &'a Node, grounds: &BTreeSet<&SandboxName>, servers: &Servers<'_>) -> Index<'a> {
    let mut objects = Vec::new();
    for (name, sandbox) in node.sandboxes.iter().filter(|(_, sandbox)| is_ours(sandbox)) {
        let mut take = |object: Object| objects.push(((name, object.key()), object));
        if grounds.contains(name) {
            sandbox.ground_objects(node).into_iter().for_each(&mut take);
        }
        if let Some(keys) = servers.get(name) {
            sandbox.virtual_server_objects(keys.iter().copied()).for_each(take);
        }
    }
    Index::new(objects)
}

fn is_ours(sandbox: &Sandbox) -> bool {
    sandbox.owner != Owner::Foreign
}

/// The sandboxes of which something other than a virtual server differs, and those that are tied to
/// them by veth pairs, for what a pair is depends on both its ends.
fn grounds<'a>(observed: &'a Node, desired: &'a Node) -> BTreeSet<&'a SandboxName> {
    let stands = |(name, sandbox): (&SandboxName, &Sandbox), other: &Node| {
        other.sandboxes.get(name).is_some_and(|other| sandbox.has_the_ground_of(other))
    };
    let of_one = observed.sandboxes.iter().filter(|entry| !stands(*entry, desired));
    let of_other = desired.sandboxes.keys().filter(|name| !observed.sandboxes.contains_key(*name));
    let mut open: Vec<&SandboxName> = of_one.map(|(name, _)| name).chain(of_other).collect();
    if open.is_empty() {
        return BTreeSet::new();
    }
    let tied = tied(observed, desired);
    let mut found = BTreeSet::new();
    while let Some(name) = open.pop() {
        if found.insert(name) {
            open.extend(tied.get(name).into_iter().flatten());
        }
    }
    found
}

/// Which sandboxes are tied by a veth pair in either node, in both directions.
fn tied<'a>(
    observed: &'a Node,
    desired: &'a Node,
) -> BTreeMap<&'a SandboxName, BTreeSet<&'a SandboxName>> {
    let mut tied: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for (name, sandbox) in observed.sandboxes.iter().chain(&desired.sandboxes) {
        for link in sandbox.links.values() {
            if let LinkKind::Veth { peer: Some(peer) } = &link.kind {
                tied.entry(name).or_default().insert(&peer.sandbox);
                tied.entry(&peer.sandbox).or_default().insert(name);
            }
        }
    }
    tied
}

fn servers<'a>(observed: &'a Node, desired: &'a Node) -> Servers<'a> {
    let mut servers = Servers::new();
    let ours = |node: &'a Node, name: &SandboxName| {
        node.sandboxes.get(name).filter(|sandbox| is_ours(sandbox))
    };
    let names = observed.sandboxes.keys().chain(desired.sandboxes.keys());
    for name in names {
        if servers.contains_key(name) {
            continue;
        }
        let none = const { &BTreeMap::new() };
        let of = |node| ours(node, name).map_or(none, |sandbox| &sandbox.virtual_servers);
        let differing = differing(of(observed), of(desired));
        if !differing.is_empty() {
            servers.insert(name, differing);
        }
    }
    servers
}

/// The keys under which two maps do not hold the same.
fn differing<'a, K: Ord, V: PartialEq>(
    one: &'a BTreeMap<K, V>,
    other: &'a BTreeMap<K, V>,
) -> Vec<&'a K> {
    of_same_keys(one, other).unwrap_or_else(|| of_any_keys(one, other))
}

/// The same of maps that have the same keys, as mostly when little changes; none where they have not.
fn of_same_keys<'a, K: Eq, V: PartialEq>(
    one: &'a BTreeMap<K, V>,
    other: &'a BTreeMap<K, V>,
) -> Option<Vec<&'a K>> {
    if one.len() != other.len() {
        return None;
    }
    let mut differing = Vec::new();
    for ((key, one), (same, other)) in one.iter().zip(other) {
        if key != same {
            return None;
        }
        if one != other {
            differing.push(key);
        }
    }
    Some(differing)
}

fn of_any_keys<'a, K: Ord, V: PartialEq>(
    one: &'a BTreeMap<K, V>,
    other: &'a BTreeMap<K, V>,
) -> Vec<&'a K> {
    let mut differing = Vec::new();
    let (mut ones, mut others) = (one.iter().peekable(), other.iter().peekable());
    loop {
        let order = match (ones.peek(), others.peek()) {
            (None, None) => return differing,
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some((one, _)), Some((other, _))) => one.cmp(other),
        };
        let one = if order.is_le() { ones.next() } else { None };
        let other = if order.is_ge() { others.next() } else { None };
        match (one, other) {
            (Some((_, one)), Some((_, other))) if one == other => {}
            (Some((key, _)), _) | (None, Some((key, _))) => differing.push(key),
            (None, None) => return differing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_differ_are_those_of_one_side_and_those_of_other_values() {
        let one = BTreeMap::from([(1, 'a'), (2, 'b'), (4, 'd'), (5, 'e')]);
        let other = BTreeMap::from([(2, 'b'), (3, 'c'), (4, 'x'), (6, 'f')]);
        assert_eq!(differing(&one, &other), [&1, &3, &4, &5, &6]);
        assert_eq!(differing(&one, &one), [&0; 0]);
        assert_eq!(differing(&BTreeMap::new(), &one), [&1, &2, &4, &5]);
        let changed = BTreeMap::from([(1, 'a'), (2, 'x'), (4, 'd'), (5, 'y')]);
        assert_eq!(differing(&one, &changed), [&2, &5]);
    }
}
