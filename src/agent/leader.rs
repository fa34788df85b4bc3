//! The leader: the one agent that decides for all. Whoever holds the store's key of that name decides what becomes of the
//! tasks of nodes that died or were drained, and sees to updates.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::lease::Lease;
use super::status::NodeStatus;
use super::updates::{Updates, updating};
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
    /// Some node came or went, or another one leads.
    Reports,
    /// Some node has something new to say.
    Word,
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
    updates: Updates,
    /// Whether anything is updated, as far as is known; without one that is so nobody listens to what
    /// nodes say.
    updating: bool,
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
        updates: Updates::new(),
        updating: true,
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
            if self.wait(wakes, pause).is_err() {
                return;
            }
        }
    }

    /// Waits until there is something to decide, or nobody wakes it any more.
    fn wait(&mut self, wakes: &Receiver<Wake>, pause: Duration) -> Result<(), RecvTimeoutError> {
        let until = Instant::now() + pause;
        loop {
            let mut next = match wakes.recv_timeout(until.saturating_duration_since(Instant::now()))
            {
                Ok(wake) => Some(wake),
                Err(RecvTimeoutError::Timeout) => return Ok(()),
                Err(gone) => return Err(gone),
            };
            // Everything that came meanwhile is one turn.
            let mut concerns = false;
            while let Some(wake) = next {
                if wake == Wake::Intent {
                    self.decided = None;
                    self.updating = true;
                }
                concerns |= wake != Wake::Word || self.updating;
                next = wakes.try_recv().ok();
            }
            if concerns {
                return Ok(());
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
            self.updating = false;
            self.updates = Updates::new();
            return Ok(LONG);
        };
        let waits_for = BENEFIT.saturating_sub(self.heard.listening);
        let seen = (self.heard.reporting.clone(), waits_for.is_zero());
        if self.decided.as_ref() != Some(&seen) {
            self.decide(&leadership)?;
            self.decided = Some(seen);
            self.updating = true;
        }
        let pause = if waits_for.is_zero() { LONG } else { waits_for };
        Ok(pause.min(self.update(&leadership)?))
    }

    /// Sees to the updates; when to look again though nothing happens.
    fn update(&mut self, leadership: &Leadership) -> Result<Duration, RecordError> {
        for _ in 0..ATTEMPTS {
            if !self.updating {
                return Ok(LONG);
            }
            let Some(loaded) = records::load_intent(&self.store)? else { return Ok(LONG) };
            if updating(&loaded.intent).next().is_none() {
                self.updating = false;
                self.updates = Updates::new();
                return Ok(LONG);
            }
            let (_, statuses) = records::load_status::<NodeStatus>(&self.store)?;
            let advanced = self.updates.advance(&loaded, &statuses);
            if advanced.intent == loaded.intent {
                return Ok(advanced.due.unwrap_or(LONG));
            }
            match records::commit_as_leader(&self.store, leadership, &loaded, &advanced.intent)? {
                Some(Edit::Done(_)) => tell_of_updates(&loaded.intent, &advanced.intent),
                Some(Edit::Overtaken) => {}
                // Another one decides by now.
                None => return Ok(LONG),
            }
        }
        Ok(AGAIN)
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

fn tell_of_updates(before: &Intent, after: &Intent) {
    for (name, service) in &after.services {
        let was = before.services.get(name).and_then(|service| service.update.as_ref());
        let Some(update) = &service.update else { continue };
        if was.map(|was| was.state) != Some(update.state) {
            say(format!("service {name}: {}: {}", update.state, update.message));
        }
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
