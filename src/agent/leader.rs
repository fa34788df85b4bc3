//! The leader: the one agent that decides for all. Whoever holds the store's key of that name decides what becomes of the
//! tasks of nodes that died or were drained.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::lease::Lease;
use crate::clock;
use crate::intent::{Intent, Liveness, NodeName};
use crate::keeper::journal::say;
use crate::orchestrate::liveness::{BENEFIT, Heard};
use crate::store::records::{self, Edit, Leadership, RecordError};
use crate::store::{Batch, Event, Handle};

/// When what the store did not take or give is tried again.
const AGAIN: Duration = Duration::from_millis(500);
/// How long nothing is looked at when nothing is told.
const LONG: Duration = Duration::from_secs(3600);
/// How often an edit that others overtook is tried again.
const ATTEMPTS: usize = 100;

/// What wakes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// The intent may have changed.
    Intent,
    /// Some node reported something, or its report went.
    Reports,
}

/// Whether a change of what nodes report concerns who leads: somebody came or went. `known` are the
/// reports that there are.
pub fn concerns(batch: &Batch, known: &mut BTreeSet<String>) -> bool {
    let mut concerns = false;
    for event in &batch.events {
        concerns |= match event {
            Event::Put(object) => known.insert(object.key.clone()) || records::is_leader(object),
            Event::Delete { key, .. } => {
                known.remove(key);
                true
            }
        };
    }
    concerns
}

struct Candidate {
    store: Handle,
    name: NodeName,
    lease: Arc<Lease>,
    heard: Heard,
    since: Instant,
    /// What was last decided on, the dead and the living: nothing new is to be decided while these are
    /// the same, and the intent is.
    decided: Option<(BTreeSet<NodeName>, bool)>,
}

/// Stands for leader, and leads when it is one, as long as `wakes` has somebody who sends.
///
/// # Errors
/// When no thread can be made.
pub fn stand(
    store: Handle,
    name: NodeName,
    lease: Arc<Lease>,
    wakes: Receiver<Wake>,
) -> io::Result<()> {
    let candidate = Candidate {
        store,
        name,
        lease,
        heard: Heard::default(),
        since: Instant::now(),
        decided: None,
    };
    std::thread::Builder::new().name("leader".into()).spawn(move || candidate.run(&wakes))?;
    Ok(())
}

impl Candidate {
    fn run(mut self, wakes: &Receiver<Wake>) {
        let mut said = String::new();
        loop {
            let pause = match self.turn() {
                Ok(pause) => {
                    said.clear();
                    pause
                }
                Err(error) => {
                    let error = format!("cannot see to the other nodes: {error}");
                    if error != said {
                        say(&error);
                        said = error;
                    }
                    self.decided = None;
                    AGAIN
                }
            };
            let mut next = match wakes.recv_timeout(pause) {
                Ok(wake) => Some(wake),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            // Everything that came meanwhile is one turn.
            while let Some(wake) = next {
                if wake == Wake::Intent {
                    self.decided = None;
                }
                next = wakes.try_recv().ok();
            }
        }
    }

    /// Looks who is there, and decides where it is the leader; when to look again.
    fn turn(&mut self) -> Result<Duration, RecordError> {
        let reports = records::load_reports(&self.store)?;
        self.heard.note(reports.nodes);
        self.heard.listening = self.since.elapsed();
        let Some(leadership) =
            records::lead(&self.store, &self.name, self.lease.id()?, reports.leadership.as_ref())?
        else {
            self.decided = None;
            return Ok(LONG);
        };
        let waits_for = BENEFIT.saturating_sub(self.heard.listening);
        let seen = (self.heard.reporting.clone(), waits_for.is_zero());
        if self.decided.as_ref() != Some(&seen) {
            self.decide(&leadership)?;
            self.decided = Some(seen);
        }
        Ok(if waits_for.is_zero() { LONG } else { waits_for })
    }

    fn decide(&self, leadership: &Leadership) -> Result<(), RecordError> {
        for _ in 0..ATTEMPTS {
            let Some(loaded) = records::load_intent(&self.store)? else { return Ok(()) };
            let mut intent = loaded.intent.clone();
            let dead = self.heard.dead(intent.nodes.keys(), &self.name);
            let now = clock::millis();
            let mut news = false;
            for name in &self.heard.reporting {
                news |= intent.node_is_up(name, now);
            }
            for name in &dead {
                news |= intent.node_is_down(name, now);
            }
            if !news {
                return Ok(());
            }
            match records::commit_as_leader(&self.store, leadership, &loaded, &intent)? {
                Some(Edit::Done(_)) => {
                    tell(&loaded.intent, &intent);
                    return Ok(());
                }
                Some(Edit::Overtaken) => {}
                // Another one decides by now.
                None => return Ok(()),
            }
        }
        Ok(())
    }
}

fn tell(before: &Intent, after: &Intent) {
    for (name, node) in &after.nodes {
        let was = before.nodes.get(name).map(|node| node.liveness);
        match node.liveness {
            now if was == Some(now) => {}
            Liveness::Down => say(format!("node {name} is dead; its tasks go elsewhere")),
            Liveness::Up => say(format!("node {name} lives")),
        }
    }
}
