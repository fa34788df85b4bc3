//! What a cluster has of nftables in the node's own namespace: two rules, made once, for which the
//! program `nft` is started.

use std::os::fd::BorrowedFd;

use ipnet::Ipv4Net;
use nix::errno::Errno;
use serde_json::Value;

use super::missing;
use crate::kernel::{Outcome, Refusal, program};
use crate::node::{BaseRule, Object, Table};
use crate::plan::Op;
use crate::plan::op::Change;
use crate::plan::runbook::{commands, table_of};

/// Does operations on a cluster's own table as one transaction. When it is refused nothing of it was
/// done, so they go one by one, to learn which it was.
///
/// # Errors
/// When an operation is not about the table.
pub fn change(namespace: BorrowedFd<'_>, ops: &[Op]) -> Result<Vec<Outcome>, Refusal> {
    let lines: Option<Vec<String>> = ops.iter().map(line).collect();
    let lines = lines.ok_or(Errno::EINVAL)?;
    if run(namespace, &lines.join("\n")).is_ok() {
        return Ok(lines.iter().map(|_| Ok(())).collect());
    }
    let mut outcomes = Vec::new();
    for line in &lines {
        outcomes.push(run(namespace, line));
        if outcomes.last().is_some_and(Result::is_err) {
            break;
        }
    }
    Ok(outcomes)
}

fn line(op: &Op) -> Option<String> {
    let table = &table_of(&op.sandbox);
    Some(match &op.change {
        Change::Add(Object::Table) => commands::add_table(table),
        Change::Del(Object::Table) => commands::del_table(table),
        Change::Add(Object::BaseRule(rule)) => commands::add_rule(table, *rule),
        Change::Del(Object::BaseRule(rule)) => commands::del_rule(table, *rule),
        _ => return None,
    })
}

/// Runs commands as one transaction: all of them or none.
///
/// # Errors
/// The first sentence of what `nft` said, with the errno that it names.
pub fn run(namespace: BorrowedFd<'_>, commands: &str) -> Outcome {
    let output = program::run(namespace, "nft", &["-f", "-"], commands).map_err(missing)?;
    if output.status.success() {
        return Ok(());
    }
    Err(refusal(&String::from_utf8_lossy(&output.stderr)))
}

/// `nft` says "Error: Could not process rule: File exists" and shows the line.
fn refusal(said: &str) -> Refusal {
    let line = said.lines().find(|line| line.contains("Error:")).unwrap_or(said.trim());
    let sentence = line.rsplit("Error: ").next().unwrap_or(line).trim_end_matches('\n');
    let known = [
        ("File exists", Errno::EEXIST),
        ("No such file or directory", Errno::ENOENT),
        ("Device or resource busy", Errno::EBUSY),
        ("Operation not permitted", Errno::EPERM),
        ("Operation not supported", Errno::EOPNOTSUPP),
    ];
    let errno = known.iter().find(|(text, _)| sentence.contains(text)).map(|(_, errno)| *errno);
    Refusal::saying(errno.unwrap_or(Errno::EINVAL), sentence)
}

/// A cluster's table of that name; none when there is none.
///
/// # Errors
/// When `nft` is missing or says what cannot be read.
pub fn read(namespace: BorrowedFd<'_>, name: &str) -> Result<Option<Table>, Refusal> {
    let arguments = ["-j", "list", "table", "ip", name];
    let output = program::run(namespace, "nft", &arguments, "").map_err(missing)?;
    if !output.status.success() {
        let refusal = refusal(&String::from_utf8_lossy(&output.stderr));
        return if refusal.errno == Errno::ENOENT { Ok(None) } else { Err(refusal) };
    }
    let document: Value = serde_json::from_slice(&output.stdout).map_err(|error| {
        Refusal::saying(Errno::EBADMSG, format!("what `nft -j` printed cannot be read: {error}"))
    })?;
    let rules = document["nftables"].as_array().into_iter().flatten();
    let rules = rules.map(|item| &item["rule"]).filter_map(rule).collect();
    Ok(Some(Table { rules, ..Table::default() }))
}

fn rule(rule: &Value) -> Option<BaseRule> {
    let expressions = rule["expr"].as_array().map(Vec::as_slice).unwrap_or_default();
    ranged(rule["chain"].as_str()?, expressions)
}

/// A rule about a range, with that range, when it does what it is for.
fn ranged(chain: &str, expressions: &[Value]) -> Option<BaseRule> {
    let range = |expression: &Value| {
        let prefix = &expression["match"]["right"]["prefix"];
        let length = u8::try_from(prefix["len"].as_u64()?).ok()?;
        Ipv4Net::new(prefix["addr"].as_str()?.parse().ok()?, length).ok()
    };
    let range = expressions.iter().find_map(range)?;
    let (rule, verdict) =
        [(BaseRule::MasqueradeOut(range), "masquerade"), (BaseRule::DropForward(range), "drop")]
            .into_iter()
            .find(|(rule, _)| rule.chain() == chain)?;
    let does = |expression: &Value| expression.get(verdict).is_some();
    expressions.iter().any(does).then_some(rule)
}

/// Chains of others that drop what is forwarded unless somebody accepts it, by table and chain. An
/// accept of ours would not make them.
///
/// # Errors
/// When `nft` is missing or refuses.
pub fn forward_drops(namespace: BorrowedFd<'_>) -> Result<Vec<String>, Refusal> {
    let output = program::run(namespace, "nft", &["-j", "list", "chains"], "").map_err(missing)?;
    if !output.status.success() {
        return Err(refusal(&String::from_utf8_lossy(&output.stderr)));
    }
    let document: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let chains = document["nftables"].as_array().into_iter().flatten().map(|item| &item["chain"]);
    let drops = chains.filter(|chain| {
        let family = chain["family"].as_str();
        chain["hook"] == "forward"
            && chain["policy"] == "drop"
            && family.is_some_and(|family| ["ip", "inet"].contains(&family))
    });
    let words = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Ok(drops.map(|c| format!("{} {}", words(&c["table"]), words(&c["name"]))).collect())
}
