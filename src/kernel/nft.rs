//! swarmlb's nftables table: changed by `nft -f`, one transaction for all changes to a sandbox,
//! read back from `nft -j`.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::os::fd::BorrowedFd;

use ipnet::Ipv4Net;
use nix::errno::Errno;
use serde_json::Value;

use super::{Outcome, Refusal, program};
use crate::intent::Fwmark;
use crate::node::{BaseRule, Dispatch, Table};
use crate::plan::runbook::TABLE;

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

fn missing(error: std::io::Error) -> Refusal {
    match error.kind() {
        std::io::ErrorKind::NotFound => {
            // Not ENOENT, which says of a sandbox or a table that it is not there.
            Refusal::saying(Errno::ENOPKG, "`nft` is not installed (Debian: nftables)")
        }
        _ => error.into(),
    }
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

/// swarmlb's table of that name; none when there is none.
///
/// # Errors
/// When `nft` is missing or says what cannot be read.
pub fn read(namespace: BorrowedFd<'_>, name: &str) -> Result<Option<Table>, Refusal> {
    Ok(ruleset(namespace, name)?.map(|(table, _)| table))
}

/// How many connections each target of each mark was given since it was added. Only the nftables
/// data plane counts here.
///
/// # Errors
/// As [`read`].
pub fn connections(
    namespace: BorrowedFd<'_>,
) -> Result<BTreeMap<(Fwmark, Ipv4Addr), u64>, Refusal> {
    Ok(ruleset(namespace, TABLE)?.map(|(_, counters)| counters).unwrap_or_default())
}

type Counters = BTreeMap<(Fwmark, Ipv4Addr), u64>;

fn ruleset(namespace: BorrowedFd<'_>, name: &str) -> Result<Option<(Table, Counters)>, Refusal> {
    let arguments = ["-j", "list", "table", "ip", name];
    let output = program::run(namespace, "nft", &arguments, "").map_err(missing)?;
    if !output.status.success() {
        let refusal = refusal(&String::from_utf8_lossy(&output.stderr));
        return if refusal.errno == Errno::ENOENT { Ok(None) } else { Err(refusal) };
    }
    let document: Value = serde_json::from_slice(&output.stdout).map_err(|error| {
        Refusal::saying(Errno::EBADMSG, format!("what `nft -j` printed cannot be read: {error}"))
    })?;
    Ok(Some(parse(&document)))
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

/// The text of every table, as `nft list ruleset` prints it.
///
/// # Errors
/// When `nft` is missing or refuses.
pub fn text(namespace: BorrowedFd<'_>) -> Result<String, Refusal> {
    let output = program::run(namespace, "nft", &["list", "ruleset"], "").map_err(missing)?;
    if !output.status.success() {
        return Err(refusal(&String::from_utf8_lossy(&output.stderr)));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A newer `nft` adds fields, so everything that is not known is passed over.
fn parse(document: &Value) -> (Table, Counters) {
    let mut table = Table::default();
    let mut counters = Counters::new();
    let mut dispatched = BTreeMap::new();
    for item in document["nftables"].as_array().into_iter().flatten() {
        let map = &item["map"];
        for element in map["elem"].as_array().into_iter().flatten() {
            match map["name"].as_str() {
                Some("vip-mark") => table.marks.extend(mark(element)),
                Some("mark-chain") => {
                    dispatched.extend(number(&element[0]).map(|mark| (mark, ())));
                }
                _ => {}
            }
        }
        let set = &item["set"];
        if set["name"].as_str() == Some("vips") {
            let elements = set["elem"].as_array().into_iter().flatten();
            table.guards.extend(elements.filter_map(|e| e.as_str()?.parse::<Ipv4Addr>().ok()));
        }
        rule(&item["rule"], &mut table, &mut counters);
    }
    // One that lacks a part does not balance: it is made anew, whole.
    table.dispatches.retain(|mark, dispatch| {
        let rewritten = |target: &Ipv4Addr| counters.contains_key(&(*mark, *target));
        dispatched.contains_key(&mark.0) && dispatch.targets.iter().all(rewritten)
    });
    (table, counters)
}

fn number(value: &Value) -> Option<u32> {
    u32::try_from(value.as_u64()?).ok()
}

fn mark(element: &Value) -> Option<(Ipv4Addr, Fwmark)> {
    Some((element[0].as_str()?.parse().ok()?, Fwmark(number(&element[1])?)))
}

fn rule(rule: &Value, table: &mut Table, counters: &mut Counters) {
    let Some(chain) = rule["chain"].as_str() else { return };
    let expressions = rule["expr"].as_array().map(Vec::as_slice).unwrap_or_default();
    if let Some(rule) = ranged(chain, expressions) {
        table.rules.insert(rule);
        return;
    }
    if let Some(base) = BaseRule::OF_VIPS.into_iter().find(|base| base.chain() == chain) {
        if is_ours(base, expressions) {
            table.rules.insert(base);
        }
        return;
    }
    if let Some(mark) = chain.strip_prefix("vs-").and_then(hexadecimal) {
        let targets = expressions.iter().flat_map(jumps).collect();
        table.dispatches.insert(mark, Dispatch { targets });
    }
    if let Some((mark, target)) = target(chain) {
        let packets = expressions.iter().find_map(|e| e["counter"]["packets"].as_u64());
        counters.insert((mark, target), packets.unwrap_or_default());
    }
}

fn is_ours(base: BaseRule, expressions: &[Value]) -> bool {
    let text = Value::from(expressions.to_vec()).to_string();
    match base {
        BaseRule::MarkOut => text.contains("\"@vip-mark\"") && text.contains("mangle"),
        BaseRule::RejectIn => text.contains("\"@vips\"") && text.contains("reject"),
        BaseRule::BalanceOut => text.contains("\"@mark-chain\""),
        BaseRule::MasqueradeOut(_) | BaseRule::DropForward(_) => false,
    }
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

fn hexadecimal(text: &str) -> Option<Fwmark> {
    u32::from_str_radix(text.strip_prefix("0x")?, 16).ok().map(Fwmark)
}

fn target(chain: &str) -> Option<(Fwmark, Ipv4Addr)> {
    let (mark, address) = chain.strip_prefix("rs-")?.split_once('-')?;
    Some((hexadecimal(mark)?, address.parse().ok()?))
}

/// The targets of `numgen inc mod N vmap { 0 : jump rs-…, … }`, by their number.
fn jumps(expression: &Value) -> Vec<Ipv4Addr> {
    let mut jumps: Vec<(u64, Ipv4Addr)> = expression["vmap"]["data"]["set"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let (_, address) = target(entry[1]["jump"]["target"].as_str()?)?;
            Some((entry[0].as_u64()?, address))
        })
        .collect();
    jumps.sort_unstable();
    jumps.into_iter().map(|(_, address)| address).collect()
}

/// What reading back `commands` must give; the words and the reader cannot drift apart.
#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::runbook::commands;

    #[test]
    fn what_nft_says_becomes_an_errno_and_a_sentence() {
        let said = "/dev/stdin:1:1-2: Error: Could not process rule: File exists\ncreate table ip x\n^^^\n";
        let refusal = refusal(said);
        assert_eq!(refusal.errno, Errno::EEXIST);
        assert_eq!(refusal.sentence, "Could not process rule: File exists");
    }

    #[test]
    fn the_chains_names_are_read_as_they_are_written() {
        let (mark, address) = (Fwmark(0x10c), Ipv4Addr::new(10, 0, 3, 3));
        assert_eq!(target(&commands::target_chain(mark, address)), Some((mark, address)));
        let chain = commands::balance_chain(mark);
        assert_eq!(chain.strip_prefix("vs-").and_then(hexadecimal), Some(mark));
    }
}
