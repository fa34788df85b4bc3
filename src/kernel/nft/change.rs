//! Operations on swarmlb's table become changes of nf_tables: message for message what `nft` makes of
//! their [`commands`](crate::plan::runbook::commands).

use std::net::Ipv4Addr;

use super::layout;
use super::wire::{Chain, Change, Element, Elements, Existing, Transaction};
use crate::intent::Fwmark;
use crate::node::{BaseRule, Dispatch, Object};
use crate::plan::Op;
use crate::plan::op;
use crate::plan::runbook::{TABLE, commands};

/// Appends an operation; false for one that is not about the table.
pub fn push(op: &Op, to: &mut Transaction) -> bool {
    match &op.change {
        op::Change::Add(object) => add(object, to),
        op::Change::Del(object) => del(object, to),
        op::Change::Set {
            from: Object::Mark { address, fwmark: from },
            to: Object::Mark { fwmark, .. },
        } => {
            del_element(layout::VIP_MARK, layout::mark(*address, *from), to);
            add_element(layout::VIP_MARK, layout::mark(*address, *fwmark), Existing::Refused, to);
            true
        }
        op::Change::Set {
            from: Object::Dispatch { fwmark, dispatch: from },
            to: Object::Dispatch { dispatch, .. },
        } => {
            set_dispatch(*fwmark, from, dispatch, to);
            true
        }
        op::Change::Set { .. } => false,
    }
}

fn add(object: &Object, to: &mut Transaction) -> bool {
    match object {
        Object::Table => {
            to.push(&Change::NewTable(TABLE, Existing::Refused));
            for set in layout::sets() {
                to.push(&Change::NewSet(&set, Existing::Refused));
            }
        }
        Object::BaseRule(rule) => return add_base_rule(*rule, to),
        Object::Guard(address) => {
            add_element(layout::VIPS, layout::guard(*address), Existing::Refused, to);
        }
        Object::Mark { address, fwmark } => {
            add_element(layout::VIP_MARK, layout::mark(*address, *fwmark), Existing::Refused, to);
        }
        Object::Dispatch { fwmark, dispatch } => {
            for target in &dispatch.targets {
                add_target(*fwmark, *target, to);
            }
            let chain = commands::balance_chain(*fwmark);
            empty_chain(&chain, to);
            add_balance_rule(*fwmark, dispatch, to);
            add_element(layout::MARK_CHAIN, layout::dispatch(*fwmark), Existing::Taken, to);
        }
        _ => return false,
    }
    true
}

fn del(object: &Object, to: &mut Transaction) -> bool {
    match object {
        Object::Table => to.push(&Change::DelTable(TABLE)),
        Object::BaseRule(rule) => del_chain(rule.chain(), to),
        Object::Guard(address) => del_element(layout::VIPS, layout::guard(*address), to),
        Object::Mark { address, fwmark } => {
            del_element(layout::VIP_MARK, layout::mark(*address, *fwmark), to);
        }
        Object::Dispatch { fwmark, dispatch } => {
            del_element(layout::MARK_CHAIN, layout::dispatch(*fwmark), to);
            del_chain(&commands::balance_chain(*fwmark), to);
            for target in &dispatch.targets {
                del_chain(&commands::target_chain(*fwmark, *target), to);
            }
        }
        _ => return false,
    }
    true
}

/// Targets that stay keep their chains, and so their counters.
fn set_dispatch(fwmark: Fwmark, from: &Dispatch, dispatch: &Dispatch, to: &mut Transaction) {
    for target in dispatch.targets.iter().filter(|target| !from.targets.contains(target)) {
        add_target(fwmark, *target, to);
    }
    to.push(&Change::Flush(TABLE, &commands::balance_chain(fwmark)));
    add_balance_rule(fwmark, dispatch, to);
    for target in from.targets.iter().filter(|target| !dispatch.targets.contains(target)) {
        del_chain(&commands::target_chain(fwmark, *target), to);
    }
}

/// Whatever is left of a chain of that name goes first: one that somebody emptied, or hung elsewhere.
fn add_base_rule(rule: BaseRule, to: &mut Transaction) -> bool {
    let Some(chain) = layout::base_chain(rule) else { return false };
    let left = Chain::regular(TABLE, rule.chain());
    to.push(&Change::NewChain(&left, Existing::Taken));
    to.push(&Change::DelChain(TABLE, rule.chain()));
    to.push(&Change::NewChain(&chain, Existing::Taken));
    to.push(&Change::NewRule(&layout::rule(rule.chain(), layout::base_rule(rule))));
    true
}

fn add_target(fwmark: Fwmark, target: Ipv4Addr, to: &mut Transaction) {
    let chain = commands::target_chain(fwmark, target);
    empty_chain(&chain, to);
    to.push(&Change::NewRule(&layout::rule(&chain, layout::target_rule(target))));
}

/// What is left of a chain that somebody emptied is still there.
fn empty_chain(chain: &str, to: &mut Transaction) {
    to.push(&Change::NewChain(&Chain::regular(TABLE, chain), Existing::Taken));
    to.push(&Change::Flush(TABLE, chain));
}

fn del_chain(chain: &str, to: &mut Transaction) {
    to.push(&Change::Flush(TABLE, chain));
    to.push(&Change::DelChain(TABLE, chain));
}

fn add_balance_rule(fwmark: Fwmark, dispatch: &Dispatch, to: &mut Transaction) {
    let chain = commands::balance_chain(fwmark);
    let count = dispatch.targets.len();
    // Unique in the transaction, and above the numbers of the named sets.
    let id = to.len().saturating_add(4);
    if count > 0 {
        to.push(&Change::NewSet(&layout::turns(id, count), Existing::Taken));
        let turns: Vec<Element> = (0..)
            .zip(&dispatch.targets)
            .map(|(number, target)| layout::turn(number, fwmark, *target))
            .collect();
        for part in turns.chunks(Elements::ROOM) {
            let turns = elements(layout::ANONYMOUS, Some(id), part.to_vec());
            to.push(&Change::NewElements(&turns, Existing::Taken));
        }
    }
    let expressions = layout::balance_rule(count, layout::ANONYMOUS, Some(id));
    to.push(&Change::NewRule(&layout::rule(&chain, expressions)));
}

fn add_element(set: &str, element: Element, existing: Existing, to: &mut Transaction) {
    to.push(&Change::NewElements(&elements(set, None, vec![element]), existing));
}

/// The key is enough, and all that `nft` sends.
fn del_element(set: &str, element: Element, to: &mut Transaction) {
    let element = Element { data: None, ..element };
    to.push(&Change::DelElements(&elements(set, None, vec![element])));
}

fn elements(set: &str, set_id: Option<u32>, elements: Vec<Element>) -> Elements {
    Elements { table: TABLE.into(), set: set.into(), set_id, elements }
}
