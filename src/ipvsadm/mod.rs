//! IPVS's tables in the words of `ipvsadm` 1.31: as it saves, reads and lists them, and the difference
//! of two of them as its commands. Pure: what the kernel holds comes in as [`Entry`], what shall be
//! done goes out as [`Step`].

mod connections;
mod difference;
mod list;
mod parse;
mod save;
mod words;

pub use connections::{connections, is_of};
pub use difference::{Difference, Step};
pub use list::{Columns, Listing};
pub use parse::{SavedError, parse};
pub use save::saved;
pub use words::{key_of, listed, typed};

use crate::kernel::ipvs::wire::Key;
use crate::node::Entry;

/// Puts virtual servers and their real servers into the order in which `ipvsadm` prints them: by mark,
/// of which those by address have none, then by family, protocol, address and port; real servers of IPv6
/// behind tunnels first.
pub fn sort(entries: &mut [Entry]) {
    for entry in entries.iter_mut() {
        entry.real_servers.sort_by_key(|real| (real.address.is_ipv4(), real.address, real.port));
    }
    entries.sort_by_key(|entry| {
        let key = entry.server.key;
        match key {
            Key::Fwmark { mark, family } => (mark, family, None),
            Key::Address { protocol, address, port } => {
                (0, key.family(), Some((protocol, address, port)))
            }
        }
    });
}
