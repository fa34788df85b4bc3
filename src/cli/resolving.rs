//! Options that say how a tag becomes a digest.

use clap::Args;

use super::image::Registries;

/// How an image's digest is found.
#[derive(Debug, Clone, Default, Args)]
pub struct Resolving {
    /// Ask no registry what the image's tag means now: each node finds out when it brings the image
    ///
    /// Otherwise the digest is asked for and kept with the tag, so that all nodes run the same, also later.
    /// Where no registry answers, there is a warning.
    #[arg(long)]
    pub no_resolve_image: bool,
    #[command(flatten)]
    pub registries: Registries,
}
