//! Clients that connect once each, and how evenly tasks are met by them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{Stream, Swarmlb, request, shell};

/// The least evenness that is even, by Jain's index: 1 is perfect.
const EVEN: f64 = 0.99;
const VIP: &str = "10.0.4.2";
/// The limit of neighbours that all namespaces of a machine share, seen in its first one only.
const NEIGHBOURS: &str = "/proc/sys/net/ipv4/neigh/default/gc_thresh3";

/// A service is scaled up and down while the sandboxes on its network become more and more: whoever
/// connects once from each of them meets its tasks evenly, and connections that live are kept.
pub fn is_kept_through_scaling(swarmlb: &Swarmlb, sizes: &[usize]) {
    swarmlb.good("network create --subnet 10.0.4.0/22 net");
    swarmlb.good("service create --replicas 3 --name web --network net");
    swarmlb.good("service create --name hold --endpoint-mode dnsrr --network net");
    swarmlb.good("service create --replicas 0 --name box --endpoint-mode dnsrr --network net");
    for size in sizes {
        let begun = Instant::now();
        swarmlb.good(&format!("service scale box={size}"));
        println!("{size} sandboxes after {:.1} s", begun.elapsed().as_secs_f64());
        let held = Held::begin();
        for replicas in [3, 5, 2, 4] {
            swarmlb.good(&format!("service scale web={replicas}"));
            let begun = Instant::now();
            let met = met_from(*size);
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
        held.end();
    }
}

/// Connections to the tasks that are always there, each of which is used all the time.
struct Held {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Held {
    fn begin() -> Self {
        let mut held: Vec<Stream> = (0..3).map(|_| Stream::open("hold.1", VIP)).collect();
        held.retain(|stream| ["web.1", "web.2"].contains(&stream.task.as_str()));
        assert!(!held.is_empty(), "nobody met a task that stays");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                for stream in &mut held {
                    assert_eq!(stream.ask(), stream.task, "whoever is connected stays");
                }
                std::thread::sleep(Duration::from_millis(200));
            }
            held.into_iter().for_each(Stream::reset);
        });
        Self { stop, thread }
    }

    fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("every connection was kept");
    }
}

/// So many clients connect before what they know of their neighbours is forgotten: the table is the
/// whole machine's, of 1024 at most, and other tests use it at the same time.
const GROUP: usize = 40;

/// Sees to it that the machine's table of neighbours has room for everybody: where the limit is
/// another's to set, by forgetting those of the clients before.
fn make_room(slots: &[usize]) {
    if std::fs::write(NEIGHBOURS, "65536").is_err() {
        let clients: String = slots.iter().map(|slot| format!(" box.{slot}")).collect();
        shell(&format!(
            "cd /run/netns; for name in web.* {clients}; do \
             ip -n $name neigh flush all 2>/dev/null || :; done"
        ));
    }
}

/// How many met each task: one connection from each sandbox.
fn met_from(size: usize) -> BTreeMap<String, usize> {
    let mut met = BTreeMap::new();
    let slots: Vec<usize> = (1..=size).collect();
    for group in slots.chunks(GROUP) {
        for slot in group {
            let client = format!("box.{slot}");
            let reply =
                request(&client, VIP).unwrap_or_else(|error| panic!("from {client}: {error}"));
            *met.entry(reply.task).or_default() += 1;
        }
        make_room(group);
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
