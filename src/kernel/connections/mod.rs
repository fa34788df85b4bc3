//! The connections that netfilter tracks in one namespace: which are rewritten to whom, and forgetting
//! some of them, so that their next packet is judged anew.

pub mod wire;

use std::os::fd::BorrowedFd;

use nix::errno::Errno;

use super::Refusal;
use super::netlink::Netlink;
use wire::Entry;

/// A socket to a namespace's connection tracking.
pub struct Connections {
    netlink: Netlink,
}

impl Connections {
    /// Opens it inside `namespace`.
    ///
    /// # Errors
    /// `EPROTONOSUPPORT` when the kernel has no netfilter, `EPERM` without privilege.
    pub fn open(namespace: BorrowedFd<'_>) -> Result<Self, Refusal> {
        let netlink = Netlink::open(namespace, netlink_sys::protocols::NETLINK_NETFILTER)?;
        Ok(Self { netlink })
    }

    /// Forgets the connections of IPv4 that `which` names, and tells how many there were. One that ended
    /// by itself meanwhile is none.
    ///
    /// # Errors
    /// The first refusal of the kernel; `EPROTONOSUPPORT` when it cannot tell what it tracks.
    pub fn forget(&mut self, which: impl Fn(&Entry) -> bool) -> Result<usize, Refusal> {
        let messages = self.netlink.dump(&wire::list()).map_err(in_words)?;
        let entries = messages.iter().filter_map(|message| Entry::decode(message.payload()));
        let entries: Vec<Entry> = entries.filter(which).collect();
        let (mut forgotten, mut refused) = (0, None);
        let mut rest = entries.as_slice();
        while !rest.is_empty() {
            let outcomes = self.netlink.batch(rest, |entry, bytes| {
                entry.write_removal(bytes);
                Ok(())
            });
            // A batch ends with what is refused.
            rest = rest.get(outcomes.len().max(1)..).unwrap_or_default();
            for outcome in outcomes {
                match outcome {
                    Ok(()) => forgotten += 1,
                    Err(refusal) if refusal.errno == Errno::ENOENT => {}
                    Err(refusal) => refused = refused.or(Some(refusal)),
                }
            }
        }
        refused.map_or(Ok(forgotten), Err)
    }
}

/// Netfilter says only that it does not know the question.
fn in_words(refusal: Refusal) -> Refusal {
    match refusal.errno {
        Errno::EINVAL | Errno::EOPNOTSUPP => Refusal::saying(
            Errno::EPROTONOSUPPORT,
            "this kernel does not tell what it tracks (module nf_conntrack_netlink)",
        ),
        _ => refusal,
    }
}
