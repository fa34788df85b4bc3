//! `swarmlb inspect …`

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show every VIP, or follow one as a packet would
    ///
    /// Reads the kernel in every sandbox: mark, local route, reject rule, virtual server, real
    /// servers. Exits 1 and names the rung of the ladder when one is broken.
    Vip {
        /// A service or a VIP's address; without one, all are listed
        #[arg(value_name = "SERVICE|ADDRESS")]
        vip: Option<String>,
    },
}
