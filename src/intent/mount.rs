//! What of the node's files, and which memory, a task sees as files of its own.

use std::fmt;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::setup::Bytes;

/// Something mounted in a task's root file system; typed as Docker has it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mount {
    /// Where, absolute and below `/`.
    pub target: PathBuf,
    pub read_only: bool,
    pub source: Source,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// A file or directory of the node, by its absolute path.
    Bind(PathBuf),
    /// A file system in memory.
    Tmpfs {
        /// The most that it may hold; half the machine's memory when none.
        size: Option<Bytes>,
        /// The mode of its root; 1777 when none.
        mode: Option<u32>,
    },
}

/// An absolute path without `.`, `..` or needless slashes.
pub fn absolute(text: &str) -> Result<PathBuf, String> {
    let path = Path::new(text);
    let is_plain = path.is_absolute()
        && !text.contains('\0')
        && path.components().all(|part| part != Component::ParentDir);
    match is_plain {
        true => Ok(path.components().collect()),
        false => Err(format!("`{}` is not an absolute path", text.escape_debug())),
    }
}

/// What is typed, before it is known to be whole.
#[derive(Default)]
struct Typed<'a> {
    kind: Option<&'a str>,
    source: Option<&'a str>,
    target: Option<&'a str>,
    read_only: bool,
    size: Option<Bytes>,
    mode: Option<u32>,
}

impl<'a> Typed<'a> {
    fn take(&mut self, word: &'a str) -> Result<(), String> {
        let (key, value) = match word.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (word, None),
        };
        let said = || {
            value.filter(|value| !value.is_empty()).ok_or_else(|| format!("`{key}` has no value"))
        };
        match key {
            "type" => self.kind = Some(said()?),
            "source" | "src" => self.source = Some(said()?),
            "target" | "dst" | "destination" => self.target = Some(said()?),
            "readonly" | "ro" => {
                self.read_only = match value {
                    None | Some("true" | "1") => true,
                    Some("false" | "0") => false,
                    Some(other) => {
                        return Err(format!(
                            "`{}` is neither true nor false",
                            other.escape_debug()
                        ));
                    }
                }
            }
            "tmpfs-size" => self.size = Some(said()?.parse()?),
            "tmpfs-mode" => {
                let mode = u32::from_str_radix(said()?, 8).ok().filter(|mode| *mode <= 0o7777);
                self.mode = Some(
                    mode.ok_or_else(|| "`tmpfs-mode` is an octal number, as 1770".to_owned())?,
                );
            }
            _ => {
                return Err(format!(
                    "`{}` is not known: there are type, source, target, readonly, tmpfs-size and tmpfs-mode",
                    key.escape_debug()
                ));
            }
        }
        Ok(())
    }

    fn whole(self) -> Result<Mount, String> {
        let target = absolute(self.target.ok_or("it has no target")?)?;
        if target == Path::new("/") {
            return Err("its target is the root itself".into());
        }
        let is_tmpfs = self.kind == Some("tmpfs");
        if !is_tmpfs && (self.size.is_some() || self.mode.is_some()) {
            return Err("`tmpfs-size` and `tmpfs-mode` are for type=tmpfs".into());
        }
        let source = match (self.kind, self.source) {
            (Some("bind"), Some(source)) => Source::Bind(absolute(source)?),
            (Some("bind"), None) => return Err("type=bind has no source".into()),
            (Some("tmpfs"), None) => Source::Tmpfs { size: self.size, mode: self.mode },
            (Some("tmpfs"), Some(_)) => return Err("type=tmpfs takes no source".into()),
            (Some("volume") | None, _) => {
                return Err("swarmlb keeps no volumes: say type=bind with a directory of the node, or type=tmpfs".into());
            }
            (Some(other), _) => {
                return Err(format!(
                    "type `{}` is not known: there are bind and tmpfs",
                    other.escape_debug()
                ));
            }
        };
        Ok(Mount { target, read_only: self.read_only, source })
    }
}

impl FromStr for Mount {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut typed = Typed::default();
        text.split(',').try_for_each(|word| typed.take(word))?;
        typed.whole()
    }
}

impl TryFrom<String> for Mount {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Mount> for String {
    fn from(mount: Mount) -> String {
        mount.to_string()
    }
}

impl fmt::Display for Mount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let target = self.target.display();
        match &self.source {
            Source::Bind(source) => {
                write!(f, "type=bind,source={},target={target}", source.display())?
            }
            Source::Tmpfs { size, mode } => {
                write!(f, "type=tmpfs,target={target}")?;
                size.map_or(Ok(()), |size| write!(f, ",tmpfs-size={size}"))?;
                mode.map_or(Ok(()), |mode| write!(f, ",tmpfs-mode={mode:o}"))?;
            }
        }
        if self.read_only { f.write_str(",readonly") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_read_as_docker_has_them_and_written_in_one_way() {
        for (text, again) in [
            (
                "type=bind,src=/srv/./a,dst=/data/,ro",
                "type=bind,source=/srv/a,target=/data,readonly",
            ),
            (
                "target=/t,type=tmpfs,tmpfs-size=64M,tmpfs-mode=1770",
                "type=tmpfs,target=/t,tmpfs-size=64m,tmpfs-mode=1770",
            ),
            ("type=bind,source=/a,destination=/b,readonly=false", "type=bind,source=/a,target=/b"),
        ] {
            let mount: Mount = text.parse().unwrap();
            assert_eq!(mount.to_string(), again);
            assert_eq!(again.parse(), Ok(mount));
        }
    }

    #[test]
    fn what_is_no_mount_is_told_why() {
        for (text, why) in [
            ("source=data,target=/d", "keeps no volumes"),
            ("type=volume,source=data,target=/d", "keeps no volumes"),
            ("type=bind,target=/d", "has no source"),
            ("type=bind,source=a,target=/d", "`a` is not an absolute path"),
            ("type=bind,source=/a", "no target"),
            ("type=bind,source=/a,target=/", "the root itself"),
            ("type=bind,source=/a,target=/b/../..", "not an absolute path"),
            ("type=tmpfs,source=/a,target=/d", "takes no source"),
            ("type=bind,source=/a,target=/d,tmpfs-size=1m", "for type=tmpfs"),
            ("type=tmpfs,target=/d,tmpfs-mode=9", "octal"),
            ("type=tmpfs,target=/d,volume-opt=x", "`volume-opt` is not known"),
            ("type=npipe,target=/d", "type `npipe` is not known"),
        ] {
            let error = text.parse::<Mount>().unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
