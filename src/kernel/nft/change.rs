//! Operations on swarmlb's table become changes of nf_tables: message for message what `nft` makes of
//! their [`commands`].

use std::net::Ipv4Addr;

use super::layout;
use super::wire::{Chain, Change, Element, Elements, Existing, Transaction};
use crate::intent::Fwmark;
use crate::node::{BaseRule, Dispatch, Object};
use crate::plan::Op;
use crate::plan::op;
use crate::plan::runbook::{commands, table_of};

/// Appends an operation; false for one that is not about the table.
pub fn push(op: &Op, to: &mut Transaction) -> bool {
    let table = &table_of(&op.sandbox);
    match &op.change {
        op::Change::Add(object) => add(table, object, to),
        op::Change::Del(object) => del(table, object, to),
        op::Change::Set {
            from: Object::Mark { address, fwmark: from },
            to: Object::Mark { fwmark, .. },
        } => {
            del_element(table, layout::VIP_MARK, layout::mark(*address, *from), to);
            add_element(
                table,
                layout::VIP_MARK,
                layout::mark(*address, *fwmark),
                Existing::Refused,
                to,
            );
            true
        }
        op::Change::Set {
            from: Object::Dispatch { fwmark, dispatch: from },
            to: Object::Dispatch { dispatch, .. },
        } => {
            set_dispatch(table, *fwmark, from, dispatch, to);
            true
        }
        op::Change::Set { from: Object::Publication(from), to: Object::Publication(held) } => {
            let map = held.map().name();
            del_element(table, map, layout::publication(from), to);
            add_element(table, map, layout::publication(held), Existing::Refused, to);
            true
        }
        op::Change::Set { .. } => false,
    }
}

fn add(table: &str, object: &Object, to: &mut Transaction) -> bool {
    match object {
        Object::Table => {
            to.push(&Change::NewTable(table, Existing::Refused));
            for set in layout::sets(table) {
                to.push(&Change::NewSet(&set, Existing::Refused));
            }
        }
        Object::BaseRule(rule) => add_base_rule(table, *rule, to),
        Object::Guard(address) => {
            add_element(table, layout::VIPS, layout::guard(*address), Existing::Refused, to);
        }
        Object::Mark { address, fwmark } => {
            add_element(
                table,
                layout::VIP_MARK,
                layout::mark(*address, *fwmark),
                Existing::Refused,
                to,
            );
        }
        Object::Publication(held) => {
            let (map, element) = (held.map().name(), layout::publication(held));
            add_element(table, map, element, Existing::Refused, to);
        }
        Object::Dispatch { fwmark, dispatch } => {
            for target in dispatch.each() {
                add_target(table, *fwmark, target, to);
            }
            let chain = commands::balance_chain(*fwmark);
            empty_chain(table, &chain, to);
            add_balance_rule(table, *fwmark, dispatch, to);
            add_element(table, layout::MARK_CHAIN, layout::dispatch(*fwmark), Existing::Taken, to);
        }
        _ => return false,
    }
    true
}

fn del(table: &str, object: &Object, to: &mut Transaction) -> bool {
    match object {
        Object::Table => to.push(&Change::DelTable(table)),
        Object::BaseRule(rule) => {
            rule.chains().iter().for_each(|chain| del_chain(table, chain, to));
            if let Some(map) = rule.map() {
                to.push(&Change::DelSet(table, map.name()));
            }
        }
        Object::Publication(held) => {
            del_element(table, held.map().name(), layout::publication(held), to);
        }
        Object::Guard(address) => del_element(table, layout::VIPS, layout::guard(*address), to),
        Object::Mark { address, fwmark } => {
            del_element(table, layout::VIP_MARK, layout::mark(*address, *fwmark), to);
        }
        Object::Dispatch { fwmark, dispatch } => {
            del_element(table, layout::MARK_CHAIN, layout::dispatch(*fwmark), to);
            del_chain(table, &commands::balance_chain(*fwmark), to);
            for target in dispatch.each() {
                del_chain(table, &commands::target_chain(*fwmark, target), to);
            }
        }
        _ => return false,
    }
    true
}

/// Targets that stay keep their chains, and so their counters.
fn set_dispatch(
    table: &str,
    fwmark: Fwmark,
    from: &Dispatch,
    dispatch: &Dispatch,
    to: &mut Transaction,
) {
    for target in dispatch.each_not_of(from) {
        add_target(table, fwmark, target, to);
    }
    to.push(&Change::Flush(table, &commands::balance_chain(fwmark)));
    add_balance_rule(table, fwmark, dispatch, to);
    for target in from.each_not_of(dispatch) {
        del_chain(table, &commands::target_chain(fwmark, target), to);
    }
}

/// Whatever is left of a chain of that name goes first: one that somebody emptied, or hung elsewhere.
fn add_base_rule(table: &str, rule: BaseRule, to: &mut Transaction) {
    if let Some(map) = rule.map() {
        let id = number(to);
        to.push(&Change::NewSet(&layout::port_map(table, map, id), Existing::Taken));
    }
    for (chain, expressions) in layout::base_rules(table, rule) {
        let left = Chain::regular(table, &chain.name);
        to.push(&Change::NewChain(&left, Existing::Taken));
        to.push(&Change::DelChain(table, &chain.name));
        to.push(&Change::NewChain(&chain, Existing::Taken));
        to.push(&Change::NewRule(&layout::rule(table, &chain.name, expressions)));
    }
}

/// Unique in the transaction, and above the numbers of the table's own sets.
fn number(to: &Transaction) -> u32 {
    to.len().saturating_add(4)
}

fn add_target(table: &str, fwmark: Fwmark, target: Ipv4Addr, to: &mut Transaction) {
    let chain = commands::target_chain(fwmark, target);
    empty_chain(table, &chain, to);
    to.push(&Change::NewRule(&layout::rule(table, &chain, layout::target_rule(target))));
}

/// What is left of a chain that somebody emptied is still there.
fn empty_chain(table: &str, chain: &str, to: &mut Transaction) {
    to.push(&Change::NewChain(&Chain::regular(table, chain), Existing::Taken));
    to.push(&Change::Flush(table, chain));
}

fn del_chain(table: &str, chain: &str, to: &mut Transaction) {
    to.push(&Change::Flush(table, chain));
    to.push(&Change::DelChain(table, chain));
}

fn add_balance_rule(table: &str, fwmark: Fwmark, dispatch: &Dispatch, to: &mut Transaction) {
    let chain = commands::balance_chain(fwmark);
    let count = dispatch.targets.len();
    let id = number(to);
    if count > 0 {
        to.push(&Change::NewSet(&layout::turns(table, id, count), Existing::Taken));
        let turns: Vec<Element> = (0..)
            .zip(&dispatch.targets)
            .map(|(number, target)| layout::turn(number, fwmark, *target))
            .collect();
        for part in turns.chunks(Elements::ROOM) {
            let turns = elements(table, layout::ANONYMOUS, Some(id), part.to_vec());
            to.push(&Change::NewElements(&turns, Existing::Taken));
        }
    }
    let expressions = layout::balance_rule(count, layout::ANONYMOUS, Some(id));
    to.push(&Change::NewRule(&layout::rule(table, &chain, expressions)));
}

fn add_element(table: &str, set: &str, element: Element, existing: Existing, to: &mut Transaction) {
    to.push(&Change::NewElements(&elements(table, set, None, vec![element]), existing));
}

/// The key is enough, and all that `nft` sends.
fn del_element(table: &str, set: &str, element: Element, to: &mut Transaction) {
    let element = Element { data: None, ..element };
    to.push(&Change::DelElements(&elements(table, set, None, vec![element])));
}

fn elements(table: &str, set: &str, set_id: Option<u32>, elements: Vec<Element>) -> Elements {
    Elements { table: table.into(), set: set.into(), set_id, elements }
}
