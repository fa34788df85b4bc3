//! A hundred who make services at the same time, each overtaken by others again and again: no
//! address, mark or rank is given twice.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::{Arc, Barrier};
use std::thread;

use swarmlb::intent::{
    ClusterId, Intent, Machine, NetworkName, NetworkSpec, NodeName, NodeRecord, ServiceSpec,
};
use swarmlb::store::client::Client;
use swarmlb::store::records::{Edit, commit_intent, load_intent};
use swarmlb::store::{Revision, Store};

use crate::Served;

const COMMITTERS: usize = 100;

fn blue() -> NetworkName {
    "blue".parse().expect("a name")
}

fn node() -> NodeName {
    "node-1".parse().expect("a name")
}

/// A network of two subnets, the first of which is soon full.
fn begin(store: &dyn Store) {
    let mut intent = Intent::new(ClusterId("c1".into()));
    intent.nodes.insert(node(), NodeRecord::new(node(), false));
    intent.settle_egress(&node(), Ok(&Machine::default()));
    let spec = NetworkSpec {
        subnets: ["10.0.3.0/25", "10.0.4.0/24"].map(|text| text.parse().expect("one")).into(),
        ..NetworkSpec::new(blue())
    };
    intent.create_network(spec, "id".into(), &Machine::default()).expect("a network");
    let edit = commit_intent(store, Revision::NEVER, None, &intent).expect("it is stored");
    assert!(matches!(edit, Edit::Done(_)));
}

/// Makes one service of one task, however often others are quicker. Returns how often they were.
fn commit(store: &dyn Store, number: usize) -> usize {
    for overtaken in 0.. {
        let loaded = load_intent(store).expect("it is read").expect("there is one");
        let mut after = loaded.intent.clone();
        let name = format!("svc-{number}").parse().expect("a name");
        let spec = ServiceSpec::new(name, blue());
        after.create_service(spec, format!("id-{number}"), 0).expect("there is room");
        let edit = commit_intent(store, loaded.edited, Some(&loaded.intent), &after);
        if matches!(edit.expect("it is stored"), Edit::Done(_)) {
            return overtaken;
        }
    }
    unreachable!("it is tried for ever")
}

#[test]
fn a_hundred_at_once_are_given_no_address_twice() {
    let served = Served::new();
    begin(&served.client);
    let barrier = Arc::new(Barrier::new(COMMITTERS));
    let committers: Vec<_> = (0..COMMITTERS)
        .map(|number| {
            let (socket, barrier) = (served.socket(), Arc::clone(&barrier));
            thread::spawn(move || {
                let client = Client::connect_within(&socket, crate::LONG).expect("it is served");
                barrier.wait();
                commit(&client, number)
            })
        })
        .collect();
    let overtaken: usize = committers.into_iter().map(|one| one.join().expect("it commits")).sum();
    println!("{COMMITTERS} commits, {overtaken} of them tried again");
    assert!(overtaken > 0, "nobody was ever overtaken: nothing was at once");
    let intent = load_intent(&served.client).expect("it is read").expect("there is one").intent;
    assert_eq!(intent.services.len(), COMMITTERS);
    // Sets of both: each service has a VIP and a task.
    assert_eq!(intent.addresses_used(&blue()).len(), 2 * COMMITTERS);
    assert_eq!(intent.egress_used(&node()).len(), COMMITTERS);
    let marks: BTreeSet<u32> =
        intent.services.values().map(|service| service.vips[&blue()].fwmark.0).collect();
    assert_eq!(marks.len(), COMMITTERS);
    let network = blue();
    let ranks: BTreeSet<u32> = intent.tasks_on(&network).map(|(_, held)| held.rank).collect();
    assert_eq!(ranks.len(), COMMITTERS);
    let gateways = ["10.0.3.1", "10.0.4.1"].map(|text| text.parse::<Ipv4Addr>().expect("one"));
    assert!(gateways.iter().all(|gateway| !intent.addresses_used(&blue()).contains(gateway)));
}
