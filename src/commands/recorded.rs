//! A node as `sandbox dump --format json` printed it: one sandbox, or several one after the other or
//! in a list.

use std::io::Read;
use std::path::Path;

use serde_json::{Deserializer, Value};

use crate::dump::Dump;
use crate::failure::{Exit, Failure};
use crate::node::{Node, SandboxName};

/// A node that somebody dumped.
pub struct Recorded {
    pub node: Node,
    /// What of it could not be read then, and so looks as if it were missing.
    pub unread: Vec<Unread>,
}

/// A part of a sandbox that could not be read when the dump was made.
pub struct Unread {
    pub sandbox: SandboxName,
    /// `links`, `routes`, `nftables`, `ipvs` or `sysctls`.
    pub part: &'static str,
    pub why: String,
}

/// Reads what was dumped into a file, or comes on standard input where that is `-`.
///
/// # Errors
/// When it cannot be read or is no dump.
pub fn read(path: &Path) -> Result<Recorded, Failure> {
    let what = format!("read dump {}", path.display());
    let mut text = Vec::new();
    let read = match path.as_os_str() == "-" {
        true => std::io::stdin().lock().read_to_end(&mut text).map(drop),
        false => std::fs::read(path).map(|read| text = read),
    };
    read.map_err(|error| Failure::io(what.as_str(), &error))?;
    let wrong = |problem: String| {
        Failure::new(Exit::Usage, what.as_str(), problem)
            .hint("make one with `swarmlb sandbox dump SANDBOX --format json`")
    };
    let (mut node, mut unread) = (Node::default(), Vec::new());
    for document in Deserializer::from_slice(&text).into_iter::<Value>() {
        let document = document.map_err(|error| wrong(error.to_string()))?;
        let parts = match document {
            Value::Array(parts) => parts,
            part => vec![part],
        };
        for part in parts {
            let part: Node = match part.get("sandboxes") {
                Some(_) => {
                    unread.extend(unread_of(&part));
                    serde_json::from_value(part).map_err(|error| wrong(error.to_string()))?
                }
                None => return Err(wrong("it has no `sandboxes`".into())),
            };
            node.sandboxes.extend(part.sandboxes);
        }
    }
    if node.sandboxes.is_empty() {
        return Err(wrong("there is no sandbox in it".into()));
    }
    Ok(Recorded { node, unread })
}

fn unread_of(part: &Value) -> Vec<Unread> {
    let Ok(dump) = serde_json::from_value::<Dump>(part.clone()) else { return Vec::new() };
    let mut unread = Vec::new();
    for (sandbox, contents) in &dump.contents {
        let judged =
            |part: &str| matches!(part, "links" | "routes" | "nftables" | "ipvs" | "sysctls");
        for (part, why) in contents.unreadable().into_iter().filter(|(part, _)| judged(part)) {
            unread.push(Unread { sandbox: sandbox.clone(), part, why: why.to_owned() });
        }
    }
    unread
}
