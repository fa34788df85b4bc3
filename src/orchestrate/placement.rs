//! Placement: which node gets a task.

use std::collections::BTreeMap;

use crate::intent::{Intent, NodeName, NodeRecord};

/// The node with the fewest tasks of those that fit; of several, the first by name. None when none does.
pub fn choose(intent: &Intent, fits: impl Fn(&NodeRecord) -> bool) -> Option<NodeName> {
    let fitting = intent.nodes.values().filter(|node| fits(node));
    let mut load: BTreeMap<&NodeName, usize> = fitting.map(|node| (&node.name, 0)).collect();
    for task in intent.tasks.values() {
        if let Some(count) = load.get_mut(&task.node) {
            *count += 1;
        }
    }
    load.into_iter().min_by_key(|(name, count)| (*count, *name)).map(|(name, _)| name.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intent::tests::{one_node, service, spec};

    #[test]
    fn tasks_spread_over_the_nodes() {
        let mut intent = one_node();
        let name: NodeName = "node-2".parse().unwrap();
        intent.nodes.insert(name.clone(), NodeRecord::new(name, true));
        crate::intent::tests::network(&mut intent, "n", "10.0.1.0/24");
        service(&mut intent, "a", "n", 3);
        service(&mut intent, "b", "n", 1);
        let nodes: Vec<String> = intent.tasks.values().map(|t| t.node.to_string()).collect();
        assert_eq!(nodes, ["node-1", "node-2", "node-1", "node-2"]);
    }

    #[test]
    fn without_a_node_nothing_is_placed() {
        let mut intent = one_node();
        crate::intent::tests::network(&mut intent, "n", "10.0.1.0/24");
        intent.nodes.clear();
        assert!(intent.create_service(spec("a", "n", 1), "x".into(), 0).is_err());
    }
}
