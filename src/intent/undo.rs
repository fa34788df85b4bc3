//! Taking an edit back after others have edited.

use std::collections::{BTreeMap, BTreeSet};

use super::Intent;

impl Intent {
    /// This intent without what an edit changed from `before` to `after`; none when others changed the
    /// same things since, or build on them. Counters go on, so that what was given out once is not
    /// given out again at once.
    pub fn without(&self, before: &Intent, after: &Intent) -> Option<Intent> {
        let mut intent = self.clone();
        let undone = undo(&mut intent.services, &before.services, &after.services)
            && undo(&mut intent.tasks, &before.tasks, &after.tasks)
            && undo(&mut intent.attachments, &before.attachments, &after.attachments);
        // A network that stays has only counted on; unless others counted on too, it counts back.
        let counted = before.networks.iter().filter(|(name, _)| {
            after.networks.contains_key(*name)
                && self.networks.get(*name) == after.networks.get(*name)
        });
        intent.networks.extend(counted.map(|(name, network)| (name.clone(), network.clone())));
        let both = |name: &super::NetworkName| {
            before.networks.contains_key(name) && after.networks.contains_key(name)
        };
        let alone = |networks: &BTreeMap<_, super::Network>| -> BTreeMap<_, _> {
            let of = networks.iter().filter(|(name, _)| !both(name));
            of.map(|(name, network)| (name.clone(), network.id.clone())).collect()
        };
        let (made, removed) = (alone(&after.networks), alone(&before.networks));
        let same = |name, id: &String| intent.networks.get(name).is_some_and(|n| n.id == *id);
        let networks = made.iter().all(|(name, id)| same(name, id))
            && removed.keys().all(|name| !intent.networks.contains_key(name));
        intent.networks.retain(|name, _| !made.contains_key(name));
        let restored = removed.keys().filter_map(|name| before.networks.get(name));
        intent.networks.extend(restored.map(|network| (network.name.clone(), network.clone())));
        let holds = undone && networks && intent.is_consistent() && intent.is_well_placed();
        holds.then(|| {
            intent.settle();
            intent
        })
    }

    /// Whether everything is on networks that are there, and no address is held twice.
    fn is_consistent(&self) -> bool {
        let services = self.services.values().flat_map(|service| &service.networks);
        let attached = self.attachments.values().filter(|held| !held.leaving);
        let attached: Vec<_> =
            attached.map(|held| (&held.endpoint.network, held.endpoint.address)).collect();
        let known = services
            .into_iter()
            .chain(attached.iter().map(|(network, _)| *network))
            .all(|network| self.networks.contains_key(network));
        let owned = self.tasks.keys().all(|task| self.services.contains_key(&task.service));
        let vips = self.services.values().flat_map(|service| &service.vips);
        let vips = vips.map(|(network, vip)| (network, vip.address));
        let endpoints = self.tasks.values().flat_map(|task| &task.endpoints);
        let addresses = vips.chain(endpoints.map(|e| (&e.network, e.address))).chain(attached);
        let mut seen = BTreeSet::new();
        let mut ways_out = BTreeSet::new();
        let egress = self.tasks.values().filter_map(|task| Some((&task.node, task.egress?)));
        known
            && owned
            && addresses.into_iter().all(|address| seen.insert(address))
            && egress.into_iter().all(|address| ways_out.insert(address))
    }
}

/// Puts back in `held` what `after` made of `before`; false when `held` is not as `after` left it.
fn undo<K: Ord + Clone, V: PartialEq + Clone>(
    held: &mut BTreeMap<K, V>,
    before: &BTreeMap<K, V>,
    after: &BTreeMap<K, V>,
) -> bool {
    let keys: BTreeSet<&K> = before.keys().chain(after.keys()).collect();
    for key in keys.into_iter().filter(|key| before.get(*key) != after.get(*key)) {
        if held.get(key) != after.get(key) {
            return false;
        }
        match before.get(key) {
            Some(value) => held.insert(key.clone(), value.clone()),
            None => held.remove(key),
        };
    }
    true
}

#[cfg(test)]
mod tests {
    use super::super::tests::{network, service, story};

    #[test]
    fn an_edit_is_taken_back_from_under_others_that_came_after_it() {
        let before = story();
        let mut after = before.clone();
        service(&mut after, "a", "collabnet", 2);
        let mut now = after.clone();
        service(&mut now, "b", "collabnet", 2);
        let undone = now.without(&before, &after).unwrap();
        let names: Vec<&str> = undone.services.keys().map(|name| name.as_str()).collect();
        assert_eq!(names, ["b", "collab-box", "collabweb"]);
        assert_eq!(undone.tasks.len(), 6);
        assert_eq!(undone.cluster, now.cluster);
    }

    #[test]
    fn what_others_changed_since_or_build_on_is_not_taken_back() {
        let before = story();
        let mut after = before.clone();
        network(&mut after, "new", "10.0.9.0/24");
        service(&mut after, "a", "new", 1);
        let mut scaled = after.clone();
        scaled.scale_service(&"a".parse().unwrap(), 2).unwrap();
        assert_eq!(scaled.without(&before, &after), None);
        let mut built_on = after.clone();
        service(&mut built_on, "b", "new", 1);
        assert_eq!(built_on.without(&before, &after), None);
    }

    #[test]
    fn a_removed_service_comes_back_unless_its_addresses_are_taken() {
        let before = story();
        let mut after = before.clone();
        after.remove_service(&"collabweb".parse().unwrap()).unwrap();
        let undone = after.clone().without(&before, &after).unwrap();
        assert_eq!(undone.tasks, before.tasks);
        let mut taken = after.clone();
        let net = "collabnet".parse().unwrap();
        let gateway = taken.networks[&net].pools[0].gateway;
        taken.networks.get_mut(&net).unwrap().pools[0].last = gateway;
        service(&mut taken, "other", "collabnet", 2);
        assert_eq!(taken.without(&before, &after), None);
    }
}
