//! A client that asks a service again and again, without ever trying anything twice, and counts what it lost.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use swarmlb::kernel::netns;
use swarmlb::probe::crowd::{self, Found, Pace, Plan, Resolve, ResolveFailure};
use swarmlb::probe::resolve::{Client, RecordType};
use swarmlb::trace::sample::{Sample, Source, Way};

/// Requests begin at this distance: 250 each second.
const INTERVAL: Duration = Duration::from_millis(4);
/// The fewest of them that say anything.
const LEAST: u32 = 5000;
/// How many may be on their way.
const CONCURRENCY: u32 = 24;
/// A name that takes longer was asked for twice.
const ANSWER: Duration = Duration::from_secs(2);

/// A new question for the name each time.
struct Asks {
    client: Client,
    name: String,
}

impl Resolve for Asks {
    fn resolve(&mut self) -> Result<Found, ResolveFailure> {
        let told = self.client.lookup(&self.name, RecordType::A);
        let told = told.map_err(|error| ResolveFailure(error.to_string()))?;
        match told.elapsed < ANSWER {
            true => Ok(Found { addresses: told.addresses, source: Source::Asked }),
            false => Err(ResolveFailure("the name was asked for twice".into())),
        }
    }
}

/// The client, at work.
pub struct Counting {
    thread: JoinHandle<Vec<Sample>>,
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU32>,
}

/// What it counted.
#[derive(Debug)]
pub struct Counted {
    pub requests: usize,
    /// When each lost request began, since the first did, and what became of it.
    pub lost: Vec<String>,
    /// How often each task answered.
    pub tasks: BTreeMap<String, usize>,
}

impl Counting {
    /// From inside a sandbox of this machine.
    pub fn begin(sandbox: &str, name: &str) -> Self {
        Self::within(netns::open(sandbox).expect("the sandbox is there").into(), name)
    }

    /// From inside a namespace.
    pub fn within(namespace: OwnedFd, name: &str) -> Self {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
        let (stopped, counted, name) = (Arc::clone(&stop), Arc::clone(&done), name.to_owned());
        let thread = std::thread::spawn(move || {
            let plan = Plan {
                requests: u32::MAX,
                concurrency: CONCURRENCY,
                timeout: Duration::from_secs(5),
                port: 80,
                path: "/".into(),
                ports: None,
                pace: Some(Pace { begin: Instant::now(), interval: INTERVAL }),
            };
            let resolver: SocketAddr = "127.0.0.11:53".parse().expect("an address");
            let factory = || {
                let client = Client::open(namespace.as_fd(), resolver, 2 * ANSWER);
                let client = client.map_err(std::io::Error::other)?;
                Ok(Asks { client, name: name.clone() })
            };
            let progress = |done: u32| {
                counted.store(done, Ordering::Relaxed);
                match stopped.load(Ordering::Relaxed) && done >= LEAST {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                }
            };
            crowd::run(namespace.as_fd(), Way::Vip, &plan, factory, &progress).expect("a run")
        });
        Self { thread, stop, done }
    }

    /// How many requests are done.
    pub fn done(&self) -> u32 {
        self.done.load(Ordering::Relaxed)
    }

    /// Ends it once it made enough requests, and tells what came of them.
    pub fn end(self) -> Counted {
        self.stop.store(true, Ordering::Relaxed);
        let samples = self.thread.join().expect("it ends");
        let mut tasks = BTreeMap::new();
        let mut lost = Vec::new();
        for sample in &samples {
            match &sample.outcome {
                Ok(task) => *tasks.entry(task.clone()).or_default() += 1,
                Err(failure) => {
                    let at = sample.started.as_secs_f64();
                    let to = sample.address.map(|a| a.to_string()).unwrap_or_default();
                    lost.push(format!("after {at:.3} s, to {to}: {failure}"));
                }
            }
        }
        Counted { requests: samples.len(), lost, tasks }
    }
}

impl Counted {
    /// Sees that there were enough requests and that each was answered.
    pub fn assert_none_lost(&self) {
        println!("{} requests, answered by {} tasks", self.requests, self.tasks.len());
        assert!(self.requests >= LEAST as usize, "{}", self.requests);
        let first: Vec<&String> = self.lost.iter().take(20).collect();
        assert!(first.is_empty(), "{} of {} lost: {first:#?}", self.lost.len(), self.requests);
    }
}
