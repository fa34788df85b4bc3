//! swarmlb's nftables table: changed and read over netlink, one transaction for all changes to a
//! sandbox. Only showing the rules of others needs the program `nft`.

mod change;
pub mod forward;
mod layout;
mod observed;
pub mod wire;

use std::io;
use std::os::fd::BorrowedFd;

use nix::errno::Errno;

use super::netlink::{Netlink, Unchanged};
use super::{Outcome, Refusal, program};
use crate::node::Table;
use crate::plan::Op;
pub use observed::Counters;
use observed::Held;
use wire::{Chain, DecodeError, Elements, Family, Query, Rule, Set, Transaction};

/// A table that others change while it is read is read again this often.
const ATTEMPTS: usize = 8;

/// A socket to nf_tables inside a namespace.
pub struct Nft {
    netlink: Netlink,
}

impl Nft {
    /// Opens nf_tables inside `namespace`.
    ///
    /// # Errors
    /// `EPROTONOSUPPORT` when the kernel has no netfilter, `EPERM` without privilege.
    pub fn open(namespace: BorrowedFd<'_>) -> Result<Self, Refusal> {
        Self::on(Netlink::open(namespace, netlink_sys::protocols::NETLINK_NETFILTER))
    }

    /// Opens nf_tables in the namespace of the calling thread.
    ///
    /// # Errors
    /// As [`Nft::open`].
    pub fn open_here() -> Result<Self, Refusal> {
        Self::on(Netlink::open_here(netlink_sys::protocols::NETLINK_NETFILTER))
    }

    fn on(netlink: io::Result<Netlink>) -> Result<Self, Refusal> {
        match netlink {
            Ok(netlink) => Ok(Self { netlink }),
            Err(error) if error.raw_os_error() == Some(Errno::EPROTONOSUPPORT as i32) => {
                Err(no_tables())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Does operations on the table as one transaction. When one is refused nothing was done, so those
    /// before it are done again without it: the answer has one outcome for each that was tried, and the
    /// last is the refusal.
    ///
    /// # Errors
    /// When the socket itself fails, or the kernel has no nf_tables.
    pub fn change(&mut self, ops: &[Op]) -> Result<Vec<Outcome>, Refusal> {
        let Some((place, refusal)) = self.transact(ops)? else {
            return Ok(ops.iter().map(|_| Ok(())).collect());
        };
        let mut outcomes = self.change(&ops[..place])?;
        if outcomes.iter().all(Result::is_ok) {
            outcomes.push(Err(refusal));
        }
        Ok(outcomes)
    }

    /// Tries a transaction; tells which operation was refused first, and why.
    fn transact(&mut self, ops: &[Op]) -> Result<Option<(usize, Refusal)>, Refusal> {
        let first = self.netlink.next_sequence();
        let (transaction, of) = transaction(ops, first).ok_or(Errno::EINVAL)?;
        if transaction.is_empty() {
            return Ok(None);
        }
        let count = transaction.len();
        match self.netlink.transact(&transaction.into_bytes(), count)? {
            None => Ok(None),
            Some(Unchanged { message: Some(number), refusal }) => {
                Ok(Some((of.get(number).copied().unwrap_or_default(), refusal)))
            }
            Some(Unchanged { message: None, refusal }) => match refusal.errno {
                Errno::EOPNOTSUPP => Err(no_tables()),
                // It is none of them: the first stands for all.
                _ => Ok(Some((0, refusal))),
            },
        }
    }

    /// The table of that name with its counters; none when there is none.
    ///
    /// # Errors
    /// The kernel's refusal, or when what it says cannot be read.
    pub fn read(&mut self, table: &str) -> Result<Option<(Table, Counters)>, Refusal> {
        match self.netlink.get(Query::Table(table).to_bytes(Family::IPV4)) {
            Ok(_) => {}
            // EINVAL: the kernel has no nf_tables, and so no table.
            Err(refusal) if matches!(refusal.errno, Errno::ENOENT | Errno::EINVAL) => {
                return Ok(None);
            }
            Err(refusal) => return Err(refusal),
        }
        for _ in 0..ATTEMPTS {
            if let Some(held) = self.held(table)? {
                return Ok(Some(held.table()));
            }
        }
        Err(Refusal::saying(Errno::EINTR, "the table changed each time that it was read"))
    }

    /// Everything that the table holds; none when it changed while it was read.
    fn held(&mut self, table: &str) -> Result<Option<Held>, Refusal> {
        let mut generation = Generation::default();
        let chains = self.dump(&Query::Chains, &mut generation, Chain::decode)?;
        let rules = self.dump(&Query::Rules(table), &mut generation, Rule::decode)?;
        let sets = self.dump(&Query::Sets(table), &mut generation, Set::decode)?;
        let mut held = Held::new(table, chains, rules, &sets);
        for set in held.sets() {
            let query = Query::Elements(table, &set);
            let elements = match self.dump(&query, &mut generation, Elements::decode) {
                Ok(elements) => elements.into_iter().flat_map(|part| part.elements).collect(),
                // An anonymous one went with its rule; a named one somebody deleted.
                Err(refusal) if refusal.errno == Errno::ENOENT => Vec::new(),
                Err(refusal) => return Err(refusal),
            };
            held.elements.insert(set, elements);
        }
        Ok((!generation.changed).then_some(held))
    }

    fn dump<T>(
        &mut self,
        query: &Query<'_>,
        generation: &mut Generation,
        decode: fn(&[u8]) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, Refusal> {
        let mut objects = Vec::new();
        for message in self.netlink.dump(&query.to_bytes(Family::IPV4))? {
            generation.note(message.payload());
            objects.push(decode(message.payload()).map_err(unreadable)?);
        }
        Ok(objects)
    }
}

/// Operations as one transaction whose first message has that sequence number, and of which operation
/// each of its changes is. None when one of them is not about the table.
pub fn transaction(ops: &[Op], first_sequence: u32) -> Option<(Transaction, Vec<usize>)> {
    let mut transaction = Transaction::new(Family::IPV4, first_sequence);
    let mut of = Vec::new();
    for (place, op) in ops.iter().enumerate() {
        if !change::push(op, &mut transaction) {
            return None;
        }
        of.resize(usize::try_from(transaction.len()).unwrap_or(usize::MAX), place);
    }
    Some((transaction, of))
}

/// The one generation that all answers must be of.
#[derive(Default)]
struct Generation {
    first: Option<u16>,
    changed: bool,
}

impl Generation {
    fn note(&mut self, payload: &[u8]) {
        let generation = wire::generation(payload);
        self.changed |= self.first.is_some() && self.first != generation;
        self.first = self.first.or(generation);
    }
}

fn unreadable(error: DecodeError) -> Refusal {
    Refusal::saying(Errno::EBADMSG, format!("nf_tables' answer cannot be read: {error}"))
}

fn no_tables() -> Refusal {
    Refusal::saying(Errno::EPROTONOSUPPORT, "this kernel has no nf_tables (module nf_tables)")
}

/// The text of every table, as `nft list ruleset` prints it.
///
/// # Errors
/// When `nft` is missing or refuses.
pub fn text(namespace: BorrowedFd<'_>) -> Result<String, Refusal> {
    let output = program::run(namespace, "nft", &["list", "ruleset"], "").map_err(missing)?;
    if !output.status.success() {
        return Err(Refusal::saying(Errno::EIO, said(&output.stderr)));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The sentence of what `nft` said when it refused: "Error: Could not process rule: File exists", and
/// then it shows the line.
fn said(stderr: &[u8]) -> String {
    let said = String::from_utf8_lossy(stderr);
    let line = said.lines().find(|line| line.contains("Error:")).unwrap_or(said.trim());
    line.rsplit("Error: ").next().unwrap_or(line).to_owned()
}

fn missing(error: io::Error) -> Refusal {
    match error.kind() {
        io::ErrorKind::NotFound => {
            // Not ENOENT, which says of a sandbox or a table that it is not there.
            Refusal::saying(Errno::ENOPKG, "`nft` is not installed (Debian: nftables)")
        }
        _ => error.into(),
    }
}
