//! `swarmlb inspect …`

use std::path::PathBuf;

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
        /// Look at dumped sandboxes instead of this machine
        ///
        /// The file holds what `sandbox dump --format json` printed: one sandbox, or several one after
        /// the other or in a list; `-` is standard input. It needs no root. What most of the dumped
        /// sandboxes hold is taken for what was asked for; names are not asked.
        #[arg(long, value_name = "DUMP")]
        from: Option<PathBuf>,
        /// Look again every so many seconds, until `q` or Ctrl-C
        ///
        /// Redraws the terminal; where the output is no terminal, each look is printed below the one
        /// before. The exit code is that of the last look.
        #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true)]
        #[arg(default_missing_value = "2", value_parser = super::number::number(1..=3600u32))]
        watch: Option<u32>,
    },
}
