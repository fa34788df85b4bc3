//! What the tasks of a service are: all that an update may change task by task.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Echo, Health, IntentError, LogLimits, Reference, Setup};

/// What a task runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Image {
    /// The built-in HTTP server that says which task answered.
    Whoami,
    /// The built-in echo server: TCP, UDP, and SCTP where the kernel has it.
    Echo,
    /// A command of this machine's own files.
    Host,
    /// A container image.
    Oci(Reference),
}

impl Image {
    /// As lists show it: without the digest of one that has a tag.
    pub fn short(&self) -> String {
        match self {
            Self::Oci(Reference::Registry(named)) if named.tag.is_some() => {
                let mut named = named.clone();
                named.digest = None;
                named.to_string()
            }
            other => other.to_string(),
        }
    }
}

impl FromStr for Image {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "builtin:whoami" => Ok(Self::Whoami),
            "builtin:echo" => Ok(Self::Echo),
            "host" => Ok(Self::Host),
            _ if text.starts_with("builtin:") => Err(format!(
                "image `{}` is not known: there are `builtin:whoami` and `builtin:echo`",
                text.escape_debug()
            )),
            _ => text.parse().map(Self::Oci).map_err(|error| {
                format!("`{}` is not an image's name: {error}", text.escape_debug())
            }),
        }
    }
}

impl TryFrom<String> for Image {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Image> for String {
    fn from(image: Image) -> String {
        image.to_string()
    }
}

impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Image::Whoami => "builtin:whoami",
            Image::Echo => "builtin:echo",
            Image::Host => "host",
            Image::Oci(reference) => return reference.fmt(f),
        })
    }
}

/// What a task is made from. Two definitions that are equal make tasks that do the same, so a task need
/// not be replaced when its service's definition becomes an equal one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definition {
    pub image: Image,
    /// The command of `host`, the words of a built-in image, or what follows a container's entrypoint.
    pub command: Vec<String>,
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// What `hostname` says in its tasks; when none, the machine's name, and in a container the task's id.
    #[serde(default)]
    pub hostname: Option<String>,
    /// How it is seen whether they serve.
    #[serde(default)]
    pub health: Health,
    /// How much of their output is kept.
    #[serde(default)]
    pub log: LogLimits,
    /// As whom, where, and with which rights and limits.
    #[serde(flatten)]
    pub setup: Setup,
}

impl Definition {
    /// Of an image, with everything else as it is by default.
    pub fn new(image: Image) -> Self {
        Self {
            image,
            command: Vec::new(),
            environment: BTreeMap::new(),
            hostname: None,
            health: Health::default(),
            log: LogLimits::default(),
            setup: Setup::default(),
        }
    }

    /// Refuses what no task could be made from.
    pub(super) fn check(&self) -> Result<(), IntentError> {
        if self.health.is_bare() && !matches!(self.image, Image::Oci(_)) {
            return Err(IntentError::NoHealthCheck { image: self.image.to_string() });
        }
        self.setup.check(&self.image)?;
        match &self.image {
            Image::Host if self.command.is_empty() => Err(IntentError::NoCommand),
            Image::Whoami if !self.command.is_empty() => Err(IntentError::NeedlessCommand),
            Image::Echo => Ok(Echo::from_words(&self.command).map(drop)?),
            Image::Host | Image::Whoami | Image::Oci(_) => Ok(()),
        }
    }
}
