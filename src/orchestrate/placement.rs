//! Placement: which node gets a task.

use std::collections::BTreeMap;

use crate::intent::{Intent, NodeName};

/// The node with the fewest tasks, of those that take any; of several, the first by name. None when
/// there is no such node.
pub fn choose(intent: &Intent) -> Option<NodeName> {
    let takers = intent.nodes.values().filter(|node| node.takes_tasks());
    let mut load: BTreeMap<&NodeName, usize> = takers.map(|node| (&node.name, 0)).collect();
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
    use crate::intent::{Availability, NodeRecord};

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
    fn nodes_that_are_drained_or_dead_get_none() {
        let mut intent = one_node();
        for name in ["node-2", "node-3"] {
            let name: NodeName = name.parse().unwrap();
            intent.nodes.insert(name.clone(), NodeRecord::new(name, true));
        }
        crate::intent::tests::network(&mut intent, "n", "10.0.1.0/24");
        let first = "node-1".parse().unwrap();
        intent.set_availability(&first, Availability::Drain).unwrap();
        intent.nodes.get_mut(&"node-2".parse::<NodeName>().unwrap()).unwrap().down = Some(1);
        service(&mut intent, "a", "n", 3);
        assert!(intent.tasks.values().all(|task| task.node.as_str() == "node-3"));
    }

    #[test]
    fn without_a_node_nothing_is_placed() {
        let mut intent = one_node();
        crate::intent::tests::network(&mut intent, "n", "10.0.1.0/24");
        intent.nodes.clear();
        assert!(intent.create_service(spec("a", "n", 1), "x".into(), 0).is_err());
    }
}
