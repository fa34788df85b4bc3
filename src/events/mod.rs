//! What happened in a cluster between two looks at it, in Docker's words where it has some. Pure: it is
//! worked out from what was asked for and what the nodes reported, before and after.

mod services;
mod tasks;

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::agent::status::NodeStatus;
use crate::intent::{Availability, Intent, Liveness, NodeName, NodeRecord};
use crate::render::time::Moment;

/// What was there at one look.
#[derive(Debug, Clone)]
pub struct View {
    pub intent: Intent,
    pub statuses: BTreeMap<NodeName, NodeStatus>,
    pub leader: Option<NodeName>,
}

/// Of what something happened to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Node,
    Network,
    Service,
    Task,
    /// What an agent says in its log.
    Agent,
}

impl Kind {
    pub const ALL: [Self; 5] = [Self::Node, Self::Network, Self::Service, Self::Task, Self::Agent];

    pub fn name(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Network => "network",
            Self::Service => "service",
            Self::Task => "task",
            Self::Agent => "agent",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Event {
    /// When it was seen, as RFC 3339 has it.
    pub time: String,
    #[serde(rename = "type")]
    pub kind: Kind,
    pub action: &'static str,
    /// Whom it happened to.
    pub name: String,
    pub attributes: BTreeMap<&'static str, String>,
}

impl Event {
    pub fn new(time: Moment, kind: Kind, action: &'static str, name: impl fmt::Display) -> Self {
        let (time, name) = (time.with_digits(3), name.to_string());
        Self { time, kind, action, name, attributes: BTreeMap::new() }
    }

    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl fmt::Display) -> Self {
        self.attributes.insert(key, value.to_string());
        self
    }

    /// As [`Event::with`], where there is something.
    #[must_use]
    pub fn with_any(self, key: &'static str, value: Option<impl fmt::Display>) -> Self {
        match value {
            Some(value) => self.with(key, value),
            None => self,
        }
    }

    /// What is asked for by a name: its own, or that of an attribute.
    pub fn value(&self, key: &str) -> Option<&str> {
        match key {
            "type" => Some(self.kind.name()),
            "action" => Some(self.action),
            _ if key == self.kind.name() => Some(&self.name),
            _ => self.attributes.get(key).map(String::as_str),
        }
    }
}

/// `TIME TYPE ACTION NAME (key=value, …)`
impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {} {}", self.time, self.kind, self.action, self.name)?;
        let words: Vec<String> =
            self.attributes.iter().map(|(key, value)| format!("{key}={value}")).collect();
        match words.is_empty() {
            true => Ok(()),
            false => write!(f, " ({})", words.join(", ")),
        }
    }
}

/// Everything that happened between two looks, first what others follow from.
pub fn between(before: &View, after: &View, time: Moment) -> Vec<Event> {
    let mut events = of_nodes(before, after, time);
    events.extend(of_networks(before, after, time));
    events.extend(services::between(before, after, time));
    events.extend(tasks::between(before, after, time));
    events
}

/// What is in one, in both, and in the other.
fn pairs<'a, K: Ord, V>(
    before: &'a BTreeMap<K, V>,
    after: &'a BTreeMap<K, V>,
) -> impl Iterator<Item = (&'a K, Option<&'a V>, Option<&'a V>)> {
    let gone = before.iter().filter(|(key, _)| !after.contains_key(key));
    let gone = gone.map(|(key, value)| (key, Some(value), None));
    gone.chain(after.iter().map(|(key, value)| (key, before.get(key), Some(value))))
}

fn of_nodes(before: &View, after: &View, time: Moment) -> Vec<Event> {
    let mut events = Vec::new();
    for (name, was, is) in pairs(&before.intent.nodes, &after.intent.nodes) {
        let event = |action| Event::new(time, Kind::Node, action, name);
        match (was, is) {
            (Some(was), Some(is)) if was.id == is.id => events.extend(of_node(was, is, time)),
            (Some(_), None) => events.push(event("remove")),
            (_, Some(is)) => events.push(event("create").with_any("address", is.address)),
            (None, None) => {}
        }
    }
    for (name, was, is) in pairs(&before.statuses, &after.statuses) {
        let event = |action| Event::new(time, Kind::Node, action, name);
        match (told(was), told(is)) {
            // What is being changed is not settled for a moment; what is refused is something to know.
            (before, Some(problem)) if before.as_ref() != Some(&problem) => {
                events.push(event("refuse").with("error", problem));
            }
            (Some(_), None) if is.is_none_or(|is| is.settled) => events.push(event("settle")),
            _ => {}
        }
    }
    if let (true, Some(leader)) = (before.leader != after.leader, &after.leader) {
        events.push(Event::new(time, Kind::Node, "lead", leader));
    }
    events
}

/// What a node's agent was refused, or could not read.
fn told(status: Option<&NodeStatus>) -> Option<String> {
    let status = status.filter(|status| !status.settled)?;
    let refused = status.refusal.as_ref().map(|refusal| refusal.sentence.clone());
    refused.or_else(|| status.unreadable.clone())
}

fn of_node(was: &NodeRecord, is: &NodeRecord, time: Moment) -> Vec<Event> {
    let event = |action| Event::new(time, Kind::Node, action, &is.name);
    let mut events = Vec::new();
    if was.liveness != is.liveness {
        events.push(event(match is.liveness {
            Liveness::Up => "up",
            Liveness::Down => "down",
        }));
    }
    if was.availability != is.availability {
        events.push(event(match is.availability {
            Availability::Active => "activate",
            Availability::Drain => "drain",
        }));
    }
    if was.labels != is.labels {
        events.push(event("update"));
    }
    events
}

fn of_networks(before: &View, after: &View, time: Moment) -> Vec<Event> {
    let mut events = Vec::new();
    for (name, was, is) in pairs(&before.intent.networks, &after.intent.networks) {
        let event = |action| Event::new(time, Kind::Network, action, name);
        if was.map(|was| &was.id) == is.map(|is| &is.id) {
            continue;
        }
        if let Some(was) = was {
            events.push(event("remove").with("id", &was.id));
        }
        if let Some(is) = is {
            let subnets: Vec<String> =
                is.pools.iter().map(|pool| pool.subnet.to_string()).collect();
            events.push(event("create").with("id", &is.id).with("subnet", subnets.join(" ")));
        }
    }
    events
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intent::tests::story;

    pub const TIME: Moment = Moment(1_764_000_000_000_000_000);

    /// The story, of whose nodes nobody reports yet.
    pub fn view() -> View {
        View { intent: story(), statuses: BTreeMap::new(), leader: None }
    }

    /// What is said when something changes, without the time.
    pub fn said(change: impl FnOnce(&mut View)) -> Vec<String> {
        let before = view();
        let mut after = before.clone();
        change(&mut after);
        let words = |event: &Event| event.to_string().split_once(' ').unwrap().1.to_owned();
        between(&before, &after, TIME).iter().map(words).collect()
    }

    #[test]
    fn nothing_is_said_when_nothing_changes() {
        assert_eq!(said(|_| ()), [""; 0]);
    }

    #[test]
    fn nodes_come_go_and_lead() {
        let node = |view: &mut View, change: &dyn Fn(&mut NodeRecord)| {
            view.intent.nodes.values_mut().for_each(change);
        };
        let name = view().intent.nodes.keys().next().unwrap().clone();
        let down = said(|view| node(view, &|record| record.liveness = Liveness::Down));
        assert_eq!(down, [format!("node down {name}")]);
        let drained = said(|view| node(view, &|record| record.availability = Availability::Drain));
        assert_eq!(drained, [format!("node drain {name}")]);
        let led = said(|view| view.leader = Some(name.clone()));
        assert_eq!(led, [format!("node lead {name}")]);
        let gone = said(|view| view.intent.nodes.clear());
        assert_eq!(gone, [format!("node remove {name}")]);
    }

    #[test]
    fn what_an_agent_cannot_do_is_said_once_and_that_it_could_then() {
        let name = view().intent.nodes.keys().next().unwrap().clone();
        let mut settled = view();
        settled.statuses.insert(name, NodeStatus { settled: true, ..NodeStatus::default() });
        let mut stuck = settled.clone();
        for status in stuck.statuses.values_mut() {
            status.settled = false;
            status.unreadable = Some("no more descriptors".into());
        }
        let actions = |before: &View, after: &View| -> Vec<&str> {
            between(before, after, TIME).iter().map(|event| event.action).collect()
        };
        assert_eq!(actions(&settled, &stuck), ["refuse"]);
        assert_eq!(actions(&stuck, &stuck), [""; 0]);
        assert_eq!(actions(&stuck, &settled), ["settle"]);
    }

    #[test]
    fn networks_are_made_and_removed() {
        let gone = said(|view| view.intent.networks.clear());
        assert!(gone[0].starts_with("network remove collabnet (id="), "{gone:?}");
        let (mut empty, full) = (view(), view());
        empty.intent.networks.clear();
        let made = between(&empty, &full, TIME);
        assert_eq!(made[0].action, "create");
        assert_eq!(made[0].value("network"), Some("collabnet"));
        assert_eq!(made[0].value("subnet"), Some("10.0.3.0/24"));
        assert_eq!(made[0].value("type"), Some("network"));
    }
}
