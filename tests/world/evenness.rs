//! Clients that connect once each, and how evenly tasks are met by them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::{Stream, Swarmlb, request, shell, within};

/// The least evenness that is even, by Jain's index: 1 is perfect.
const EVEN: f64 = 0.99;
const VIP: &str = "10.0.4.2";
/// The limit of neighbours that all namespaces of a machine share, seen in its first one only.
const NEIGHBOURS: &str = "/proc/sys/net/ipv4/neigh/default/gc_thresh3";

/// A service is scaled up and down while the sandboxes on its network become more and more: whoever
/// connects once from each of them meets its tasks evenly, and connections that live are kept.
pub fn is_kept_through_scaling(swarmlb: &Swarmlb, sizes: &[usize]) {
    swarmlb.good("network create --subnet 10.0.4.0/22 net");
    swarmlb.good("service create --replicas 3 --drain-timeout 1h --name web --network net");
    swarmlb.good("service create --name hold --endpoint-mode dnsrr --network net");
    swarmlb.good("service create --replicas 0 --name box --endpoint-mode dnsrr --network net");
    for size in sizes {
        let begun = Instant::now();
        swarmlb.good(&format!("service scale box={size}"));
        println!("{size} sandboxes after {:.1} s", begun.elapsed().as_secs_f64());
        let mut held: Vec<Stream> = (0..3).map(|_| Stream::open("hold.1", VIP)).collect();
        for replicas in [3, 5, 2, 4] {
            // Those to whom somebody is connected leave for as long as that: nobody waits for them.
            swarmlb.good(&format!("service scale --detach web={replicas}"));
            let settled = |(): ()| swarmlb.run("inspect vip web -q").status.success();
            within("it is as asked", Duration::from_secs(60), || settled(()), |done| *done);
            are_kept(&mut held);
            make_room();
            are_kept(&mut held);
            let begun = Instant::now();
            let met = met_from(*size, &mut held);
            println!(
                "{size} one-shot clients of {replicas} tasks met {met:?} in {:.1} s",
                begun.elapsed().as_secs_f64()
            );
            let slots = met.keys().map(String::as_str);
            let wanted: Vec<String> = (1..=replicas).map(|slot| format!("web.{slot}")).collect();
            assert_eq!(slots.collect::<Vec<_>>(), wanted);
            let index = jain(met.values().map(|count| *count as f64));
            assert!(index >= EVEN, "{size} clients met {met:?}, which is {index:.4}");
        }
        held.into_iter().for_each(Stream::reset);
        swarmlb.good("service scale web=3");
    }
}

/// Whoever is connected stays with its task. To be asked more often than whoami's patience ends.
fn are_kept(held: &mut [Stream]) {
    for stream in held {
        assert_eq!(stream.ask(), stream.task);
    }
}

/// Sees to it that the machine's table of neighbours, of 1024 at most, has room for everybody: where
/// the limit is another's to set, by forgetting those of the time before.
fn make_room() {
    if std::fs::write(NEIGHBOURS, "65536").is_err() {
        shell(
            "for name in $(ls /run/netns); do ip -n $name neigh flush all 2>/dev/null || :; done",
        );
    }
}

/// How many met each task: one connection from each sandbox.
fn met_from(size: usize, held: &mut [Stream]) -> BTreeMap<String, usize> {
    let mut met = BTreeMap::new();
    for slot in 1..=size {
        let client = format!("box.{slot}");
        let reply = request(&client, VIP).unwrap_or_else(|error| panic!("from {client}: {error}"));
        *met.entry(reply.task).or_default() += 1;
        if slot % 40 == 0 || slot == size {
            are_kept(held);
        }
    }
    met
}

/// Jain's index of fairness.
fn jain(counts: impl Iterator<Item = f64>) -> f64 {
    let (mut number, mut sum, mut squares) = (0.0, 0.0, 0.0);
    for count in counts {
        number += 1.0;
        sum += count;
        squares += count * count;
    }
    sum * sum / (number * squares)
}
