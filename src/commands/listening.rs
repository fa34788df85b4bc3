//! What listens on the nodes' own ports: on this one, and on the others, which are asked.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::Report;
use super::elsewhere::Other;
use super::session::Session;
use crate::failure::{Exit, Failure};
use crate::intent::{Intent, Listener, Liveness, NodeName};
use crate::kernel::listeners;

/// How long another node may take to answer.
const PATIENCE: Duration = Duration::from_secs(4);

/// `listeners`: what listens here, for whoever asks.
pub fn here() -> Result<Report, Failure> {
    Report::json(&of_this_node("look at what listens here")?)
}

fn of_this_node(what: &str) -> Result<Vec<Listener>, Failure> {
    listeners::of_node().map_err(|error| Failure::new(Exit::Cannot, what, error))
}

/// What listens on all nodes. A node that does not answer is told of on stderr: nothing else would be
/// gained by waiting for it.
///
/// # Errors
/// When this node's own sockets cannot be listed.
pub fn everywhere(
    session: &Session,
    intent: &Intent,
    what: &str,
) -> Result<Vec<Listener>, Failure> {
    let mut found = of_this_node(what)?;
    let (sender, answers) = channel();
    let others = intent.nodes.values().filter(|node| node.name != session.node);
    let mut silent: Vec<(NodeName, String)> = Vec::new();
    let mut waiting: Vec<NodeName> = Vec::new();
    for node in others {
        match Other::find(session, intent, &node.name, what) {
            _ if node.liveness == Liveness::Down => {
                silent.push((node.name.clone(), "it is down".into()));
            }
            Ok(other) => {
                waiting.push(node.name.clone());
                ask(node.name.clone(), other, what.to_owned(), sender.clone());
            }
            Err(failure) => silent.push((node.name.clone(), failure.problem)),
        }
    }
    let deadline = Instant::now() + PATIENCE;
    while !waiting.is_empty() {
        let left = deadline.saturating_duration_since(Instant::now());
        match answers.recv_timeout(left) {
            Ok((node, answer)) => {
                waiting.retain(|name| *name != node);
                match answer {
                    Ok(listeners) => found.extend(listeners),
                    Err(problem) => silent.push((node, problem)),
                }
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
        }
    }
    silent.extend(waiting.into_iter().map(|node| (node, "it does not answer".into())));
    for (node, problem) in silent {
        eprintln!("Whether a program listens at the port on node {node} is not known: {problem}.");
    }
    Ok(found)
}

type Answer = (NodeName, Result<Vec<Listener>, String>);

fn ask(node: NodeName, other: Other, what: String, answers: Sender<Answer>) {
    thread::spawn(move || {
        let printed = other.printed(vec!["listeners".into()], &what);
        let answer = printed.map_err(|failure| failure.problem).and_then(|printed| {
            let listeners: Vec<Listener> =
                serde_json::from_slice(&printed).map_err(|error| error.to_string())?;
            let there = |listener| Listener { node: Some(node.clone()), ..listener };
            Ok(listeners.into_iter().map(there).collect())
        });
        // Nobody waits any more when it was too late.
        let _ = answers.send((node, answer));
    });
}
