//! `swarmlb image …`

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::image::{Platform, Reference};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Bring images here from registries, directories or archives
    ///
    /// IMAGE is a name in a registry as Docker reads it (`nginx` is docker.io/library/nginx:latest,
    /// `HOST:PORT/NAME@sha256:…` is exactly that one); `oci:DIR[:TAG]`, a directory in the OCI image
    /// layout; `oci-archive:FILE[:TAG]`, the same as a tar archive; `docker-archive:FILE[:TAG]`, what
    /// `docker save` writes; or `rootfs:DIR`, a directory that is used as it stands. Layers are verified
    /// by digest, and each is kept once, unpacked. Prints the name that the image has here.
    Pull(Pull),
    /// List images
    #[command(visible_alias = "list")]
    Ls(List),
    /// Show all of one or more images
    Inspect {
        /// A name, or an id or its beginning
        #[arg(required = true, value_name = "IMAGE")]
        images: Vec<String>,
    },
    /// Remove all images without a name, or with --all those that no task is made from
    ///
    /// Prints what was removed, and says how much room that made.
    Prune {
        /// Every image that no task is made from, with its names
        #[arg(short, long)]
        all: bool,
        /// Do not ask
        #[arg(short, long)]
        force: bool,
    },
    /// Remove names, and images that have no other and that no task is made from
    #[command(visible_alias = "remove")]
    Rm {
        /// A name, or an id or its beginning
        #[arg(required = true, value_name = "IMAGE")]
        images: Vec<String>,
        /// All names of an image that is given by its id, and those of one that tasks are made from: that one
        /// stays without a name as long as they do
        #[arg(short, long)]
        force: bool,
    },
}

#[derive(Debug, Args)]
pub struct Pull {
    /// What to bring
    #[arg(required = true, value_name = "REFERENCE")]
    pub images: Vec<Reference>,
    /// For what it shall be built, as in linux/arm64 [default: this machine]
    #[arg(long, value_name = "OS/ARCHITECTURE[/VARIANT]")]
    pub platform: Option<Platform>,
    #[command(flatten)]
    pub registries: Registries,
}

/// How registries are spoken to.
#[derive(Debug, Clone, Default, Args)]
pub struct Registries {
    /// A registry that may be asked without TLS, or with a certificate that nobody vouches for: HOST,
    /// HOST:PORT or a range of addresses; may be given several times, or with commas between. Those on
    /// this machine's loopback always may
    #[arg(long = "insecure-registry", env = "SWARMLB_INSECURE_REGISTRY", value_name = "REGISTRY")]
    #[arg(value_delimiter = ',')]
    pub insecure: Vec<String>,
    /// Names and passwords for registries, as `docker login` writes them
    /// [default: $DOCKER_CONFIG/config.json, or else ~/.docker/config.json]
    #[arg(long, env = "SWARMLB_CREDENTIALS", value_name = "FILE")]
    pub credentials: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct List {
    /// Only those of this name, with any tag when none is given
    #[arg(value_name = "IMAGE")]
    pub name: Option<String>,
    /// Those whose name went to another image too: all are listed anyway
    #[arg(short, long, hide = true)]
    pub all: bool,
    /// Show what registries call them by
    #[arg(long)]
    pub digests: bool,
    /// Show ids in full
    #[arg(long)]
    pub no_trunc: bool,
    /// Only those that fit: `dangling=true|false`, `reference=PATTERN` with `*` for any text, `label=KEY` or
    /// `label=KEY=VALUE`; may be given several times
    #[arg(short, long = "filter", value_name = "KEY=VALUE")]
    pub filters: Vec<Filter>,
}

/// What an image must have to be listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    /// Whether it has no name.
    Dangling(bool),
    Reference(String),
    Label(String, Option<String>),
}

impl std::str::FromStr for Filter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text_told = text.escape_debug();
        let unknown = || {
            format!("`{text_told}` is not known: there are `dangling=`, `reference=` and `label=`")
        };
        let (key, value) = text.split_once('=').ok_or_else(unknown)?;
        match (key, value) {
            ("dangling", "true" | "1") => Ok(Self::Dangling(true)),
            ("dangling", "false" | "0") => Ok(Self::Dangling(false)),
            ("dangling", _) => Err(format!("`{text_told}` says neither true nor false")),
            ("reference", pattern) => Ok(Self::Reference(pattern.to_owned())),
            ("label", label) => Ok(match label.split_once('=') {
                Some((key, value)) => Self::Label(key.to_owned(), Some(value.to_owned())),
                None => Self::Label(label.to_owned(), None),
            }),
            _ => Err(unknown()),
        }
    }
}
