//! Whatever happens to nodes and services, tasks stand where they may, and what is missing is accounted
//! for.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use swarmlb::intent::{Intent, Mode, Service, Vip};
use swarmlb::orchestrate::placement::eligible;

use super::edits::{self, Edit};
use super::{Checked, check};

/// Every address and every mark is held once, and so is every place in an order.
fn nothing_is_held_twice(intent: &Intent) -> Checked {
    let mut addresses = BTreeSet::new();
    let mut ranks = BTreeSet::new();
    let mesh = intent.mesh().map(|network| &network.name);
    let vips = intent.services.values().flat_map(|service| service.all_vips(mesh));
    let vips = vips.map(|(network, vip)| (network.clone(), vip.address));
    let tasks = intent.tasks.values().flat_map(|task| &task.endpoints);
    let attached = intent.attachments.values().filter(|held| !held.leaving);
    let attached = attached.map(|held| &held.endpoint);
    let ingress = intent.nodes.values().filter_map(|node| Some(&node.ingress.as_ref()?.endpoint));
    let endpoints: Vec<_> = tasks.chain(attached).chain(ingress).collect();
    let of_endpoints = endpoints.iter().map(|on| (on.network.clone(), on.address));
    for (network, address) in vips.chain(of_endpoints) {
        let known = intent.networks.get(&network);
        prop_assert!(known.is_some_and(|known| known.subnet_of(address).is_some()));
        prop_assert!(addresses.insert(address), "{} is held twice", address);
    }
    for task in intent.tasks.values() {
        for on in &task.endpoints {
            prop_assert!(ranks.insert((on.network.clone(), on.rank)), "rank {} twice", on.rank);
        }
    }
    let mut marks = BTreeSet::new();
    for mark in intent.services.values().flat_map(|s| s.held_vips().flat_map(Vip::fwmarks)) {
        prop_assert!(marks.insert(mark), "mark {} is held twice", mark);
    }
    let ids: BTreeSet<&String> = intent.tasks.values().map(|task| &task.id).collect();
    prop_assert_eq!(ids.len(), intent.tasks.len());
    let ways_out = intent.tasks.values().filter_map(|task| Some((&task.node, task.egress?)));
    let ways_out: Vec<_> = ways_out.collect();
    prop_assert_eq!(ways_out.iter().collect::<BTreeSet<_>>().len(), ways_out.len());
    Ok(())
}

/// A service's tasks are where they may be, and they and what waits are all that is wanted.
fn is_accounted_for(intent: &Intent, service: &Service) -> Checked {
    let mut on_node = BTreeMap::new();
    for task in intent.rotation_of(&service.name) {
        let node = intent.nodes.get(&task.node);
        prop_assert!(node.is_some(), "{} is on a node that is gone", task.name);
        if let Some(Err(obstacle)) = node.map(|node| eligible(intent, node, service)) {
            prop_assert!(false, "{} is on {} in spite of {:?}", task.name, task.node, obstacle);
        }
        let networks = service.networks.len() + usize::from(service.ingress.is_some());
        prop_assert!(task.endpoints.len() == networks || !service.is_current(task));
        prop_assert!(intent.definition_of(task).is_some(), "{} is made from nothing", task.name);
        prop_assert!(!service.pending.contains_key(&task.name.slot));
    }
    let places = intent.places(&service.name);
    for place in places.iter().filter(|place| !place.is_handed_on()) {
        *on_node.entry(&place.successor.unwrap_or(place.task).node).or_insert(0) += 1;
    }
    let most = on_node.values().max().copied().unwrap_or_default();
    if let Some(allowed) =
        service.placement.max_per_node.filter(|_| service.mode == Mode::Replicated)
    {
        prop_assert!(most <= allowed.get());
    }
    if service.mode == Mode::Global {
        let eligible = |node: &&_| eligible(intent, node, service).is_ok();
        prop_assert_eq!(service.replicas as usize, intent.nodes.values().filter(eligible).count());
        prop_assert!(service.placement.max_per_node.is_some() || most <= 1);
    }
    let there = places.len() + service.pending.len();
    prop_assert_eq!(there, service.replicas as usize, "of {}", &service.name);
    Ok(())
}

#[test]
fn whatever_happens_tasks_stand_where_they_may_and_all_are_accounted_for() {
    let (placed, waiting, moved) = (Cell::new(0), Cell::new(0), Cell::new(0));
    let several = edits::cluster().prop_filter("several nodes", |cluster| cluster.ipvs.len() > 1);
    check(31, 600, (several, edits::edits(1..80)), |(cluster, edits)| {
        let mut intent = cluster.empty();
        for edit in &edits {
            let before = intent.clone();
            edits::apply(&mut intent, std::slice::from_ref(edit));
            nothing_is_held_twice(&intent)?;
            for service in intent.services.values() {
                is_accounted_for(&intent, service)?;
                placed.set(placed.get() + intent.rotation_of(&service.name).count());
                waiting.set(waiting.get() + service.pending.len());
            }
            let mut again = intent.clone();
            again.evacuate(0);
            prop_assert_eq!(&again, &intent, "after {:?} there was more to do", edit);
            if matches!(edit, Edit::Node(..)) && before.tasks != intent.tasks {
                moved.set(moved.get() + 1);
            }
        }
        Ok(())
    });
    let figures = (placed.get(), waiting.get(), moved.get());
    assert!(figures.0 > 1000 && figures.1 > 1000 && figures.2 > 200, "too little: {figures:?}");
}

#[test]
fn an_edit_that_is_taken_back_leaves_no_task_where_it_may_not_be() {
    let taken_back = Cell::new(0);
    check(32, 600, (edits::cluster(), edits::edits(3..20)), |(cluster, edits)| {
        let (first, rest) = edits.split_at(edits.len() / 2);
        let before = cluster.after(first);
        let mut after = before.clone();
        edits::apply(&mut after, &rest[..1]);
        let mut now = after.clone();
        edits::apply(&mut now, &rest[1..]);
        if let Some(undone) = now.without(&before, &after) {
            nothing_is_held_twice(&undone)?;
            for service in undone.services.values() {
                is_accounted_for(&undone, service)?;
            }
            taken_back.set(taken_back.get() + 1);
        }
        Ok(())
    });
    assert!(taken_back.get() > 100, "only {} were taken back", taken_back.get());
}
