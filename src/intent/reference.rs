//! What a container image is called by: the rules of Docker for names in registries, and images that
//! lie in files.

use std::fmt;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The registry of names that name none.
pub const DEFAULT_REGISTRY: &str = "docker.io";
/// The tag of names that have neither tag nor digest.
pub const DEFAULT_TAG: &str = "latest";
/// Longest name with its registry, in bytes, as Docker has it.
const LONGEST_NAME: usize = 255;
/// Longest tag, in bytes, as the distribution specification has it.
const LONGEST_TAG: usize = 128;

/// Which image is meant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Reference {
    /// In a registry: `nginx`, `registry.example:5000/team/web:1.2@sha256:…`.
    Registry(Named),
    /// `oci:DIR[:TAG]`: a directory in the OCI image layout.
    OciDirectory(InFile),
    /// `oci-archive:FILE[:TAG]`: such a directory as a tar archive.
    OciArchive(InFile),
    /// `docker-archive:FILE[:TAG]`: what `docker save` writes.
    DockerArchive(InFile),
    /// `rootfs:DIR`: a directory that is the root file system itself.
    Rootfs(PathBuf),
}

/// An image of a registry.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Named {
    /// `docker.io`, `localhost:5000`.
    pub registry: String,
    /// `library/nginx`.
    pub repository: String,
    /// None only where there is a digest.
    pub tag: Option<String>,
    /// Where there is one, it decides, and the tag is for people.
    pub digest: Option<Digest>,
}

/// An image of a file or a directory that may have several.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InFile {
    pub path: PathBuf,
    /// Which of them; needless where there is one.
    pub tag: Option<String>,
}

/// The name of some bytes by what they are: `sha256:` or `sha512:` and hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

/// What is no reference, and why.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ReferenceError {
    #[error("it is empty")]
    Empty,
    #[error("it is the address of a page: leave out `{scheme}://`")]
    Address { scheme: String },
    #[error("its name is {length} bytes long, and {LONGEST_NAME} is the longest")]
    TooLong { length: usize },
    #[error("`{}` in its name has capital letters", part.escape_debug())]
    Capitals { part: String },
    #[error("`{}` is no part of a name: lower-case letters and digits, and between them `.`, `_`, `__` or dashes", part.escape_debug())]
    Part { part: String },
    #[error("`{}` is not a registry: HOST or HOST:PORT", registry.escape_debug())]
    Registry { registry: String },
    #[error("`{}` is not a tag: up to {LONGEST_TAG} letters, digits, `_`, `.` and `-`, of which the last two do not begin it", tag.escape_debug())]
    Tag { tag: String },
    #[error("`{}` is not a digest: `sha256:` and 64, or `sha512:` and 128 hexadecimal digits in lower case", text.escape_debug())]
    Digest { text: String },
    #[error("64 hexadecimal digits are an id, not a name")]
    Id,
    #[error("it names no {what}")]
    NoPath { what: &'static str },
}

impl Digest {
    /// Of an algorithm's own hexadecimal digits.
    ///
    /// # Errors
    /// When these are no digest.
    pub fn new(algorithm: &str, digits: &str) -> Result<Self, ReferenceError> {
        format!("{algorithm}:{digits}").parse()
    }

    /// `sha256` or `sha512`.
    pub fn algorithm(&self) -> &str {
        self.0.split_once(':').map_or("", |(algorithm, _)| algorithm)
    }

    /// The hexadecimal digits.
    pub fn digits(&self) -> &str {
        self.0.split_once(':').map_or("", |(_, digits)| digits)
    }

    /// The first twelve digits, as people read it.
    pub fn short(&self) -> &str {
        self.digits().get(..12).unwrap_or_default()
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Digest {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let length = match text.split_once(':') {
            Some(("sha256", digits)) => Some((digits, 64)),
            Some(("sha512", digits)) => Some((digits, 128)),
            _ => None,
        };
        match length {
            Some((digits, length)) if digits.len() == length && is_hexadecimal(digits) => {
                Ok(Self(text.to_owned()))
            }
            _ => Err(ReferenceError::Digest { text: text.to_owned() }),
        }
    }
}

fn is_hexadecimal(digits: &str) -> bool {
    digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

impl TryFrom<String> for Digest {
    type Error = ReferenceError;

    fn try_from(text: String) -> Result<Self, ReferenceError> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl Reference {
    /// The same, with a path that was typed below a directory made absolute.
    #[must_use]
    pub fn below(self, directory: &Path) -> Self {
        let absolute = |path: PathBuf| clean(&directory.join(path));
        let in_file = |held: InFile| InFile { path: absolute(held.path), tag: held.tag };
        match self {
            Self::Registry(named) => Self::Registry(named),
            Self::OciDirectory(held) => Self::OciDirectory(in_file(held)),
            Self::OciArchive(held) => Self::OciArchive(in_file(held)),
            Self::DockerArchive(held) => Self::DockerArchive(in_file(held)),
            Self::Rootfs(path) => Self::Rootfs(absolute(path)),
        }
    }

    /// Where it lies, if not in a registry.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Registry(_) => None,
            Self::OciDirectory(held) | Self::OciArchive(held) | Self::DockerArchive(held) => {
                Some(&held.path)
            }
            Self::Rootfs(path) => Some(path),
        }
    }
}

/// A path without `.` and needless slashes; `..` stays, for what is before it may be a symbolic link.
fn clean(path: &Path) -> PathBuf {
    path.components().filter(|part| *part != Component::CurDir).collect()
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let in_file = |rest: &str, what| in_file(rest, what);
        match text.split_once(':') {
            Some(("oci", rest)) => in_file(rest, "directory").map(Self::OciDirectory),
            Some(("oci-archive", rest)) => in_file(rest, "file").map(Self::OciArchive),
            Some(("docker-archive", rest)) => in_file(rest, "file").map(Self::DockerArchive),
            Some(("rootfs", "")) => Err(ReferenceError::NoPath { what: "directory" }),
            Some(("rootfs", path)) => Ok(Self::Rootfs(clean(Path::new(path)))),
            Some((scheme, rest)) if rest.starts_with("//") => {
                Err(ReferenceError::Address { scheme: scheme.to_owned() })
            }
            _ => text.parse().map(Self::Registry),
        }
    }
}

/// A path, and the tag behind its last colon.
fn in_file(text: &str, what: &'static str) -> Result<InFile, ReferenceError> {
    let (path, tag) = match text.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') => (path, Some(tag_of(tag)?)),
        _ => (text, None),
    };
    match path.is_empty() {
        true => Err(ReferenceError::NoPath { what }),
        false => Ok(InFile { path: clean(Path::new(path)), tag }),
    }
}

impl FromStr for Named {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        if text.is_empty() {
            return Err(ReferenceError::Empty);
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse()?)),
            None => (text, None),
        };
        // A port's colon has a slash behind it, a tag's has none.
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag_of(tag)?)),
            _ => (rest, None),
        };
        if name.len() == 64 && is_hexadecimal(name) {
            return Err(ReferenceError::Id);
        }
        let (registry, repository) = split(name)?;
        let length = registry.len() + 1 + repository.len();
        if length > LONGEST_NAME {
            return Err(ReferenceError::TooLong { length });
        }
        let tag = match (&tag, &digest) {
            (None, None) => Some(DEFAULT_TAG.to_owned()),
            _ => tag,
        };
        Ok(Self { registry, repository, tag, digest })
    }
}

/// The registry and the repository of a name. What is before the first slash is a registry when it can
/// be no part of a repository's name, or is `localhost`.
fn split(name: &str) -> Result<(String, String), ReferenceError> {
    let is_registry = |first: &str| {
        first == "localhost"
            || first.contains(['.', ':', '['])
            || first.bytes().any(|byte| byte.is_ascii_uppercase())
    };
    let (registry, rest) = match name.split_once('/') {
        Some((first, rest)) if is_registry(first) => (registry_of(first)?, rest),
        _ => (DEFAULT_REGISTRY.to_owned(), name),
    };
    rest.split('/').try_for_each(part_of)?;
    let of_docker = registry == DEFAULT_REGISTRY && !rest.contains('/');
    let repository = if of_docker { format!("library/{rest}") } else { rest.to_owned() };
    Ok((registry, repository))
}

fn registry_of(text: &str) -> Result<String, ReferenceError> {
    // What Docker called it at first, and what its credentials are still kept under.
    if ["index.docker.io", "registry-1.docker.io"].contains(&text) {
        return Ok(DEFAULT_REGISTRY.to_owned());
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (text, None),
    };
    let literal = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let is_host = match literal {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => host.split('.').all(is_label),
    };
    match is_host && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0)) {
        true => Ok(text.to_owned()),
        false => Err(ReferenceError::Registry { registry: text.to_owned() }),
    }
}

fn is_label(label: &str) -> bool {
    let is_inside = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    !label.is_empty()
        && label.bytes().all(is_inside)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

fn part_of(part: &str) -> Result<(), ReferenceError> {
    if part.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err(ReferenceError::Capitals { part: part.to_owned() });
    }
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let separators = part.split(|letter: char| letter.is_ascii() && is_word(letter as u8));
    let are_separators = separators
        .filter(|text| !text.is_empty())
        .all(|text| matches!(text, "." | "_" | "__") || text.bytes().all(|byte| byte == b'-'));
    let ends = [part.bytes().next(), part.bytes().last()];
    match are_separators && ends.into_iter().all(|end| end.is_some_and(is_word)) {
        true => Ok(()),
        false => Err(ReferenceError::Part { part: part.to_owned() }),
    }
}

fn tag_of(tag: &str) -> Result<String, ReferenceError> {
    let is_first = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let is_tag = tag.len() <= LONGEST_TAG
        && tag.bytes().next().is_some_and(is_first)
        && tag.bytes().all(|byte| is_first(byte) || matches!(byte, b'.' | b'-'));
    match is_tag {
        true => Ok(tag.to_owned()),
        false => Err(ReferenceError::Tag { tag: tag.to_owned() }),
    }
}

impl Named {
    /// The name without what Docker leaves out: `nginx`, `team/web`, `localhost:5000/web`.
    pub fn familiar(&self) -> String {
        if self.registry != DEFAULT_REGISTRY {
            return format!("{}/{}", self.registry, self.repository);
        }
        match self.repository.strip_prefix("library/") {
            Some(short) if !short.contains('/') => short.to_owned(),
            _ => self.repository.clone(),
        }
    }
}

/// As it is typed at its shortest, but with its tag.
impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.familiar())?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        match &self.digest {
            Some(digest) => write!(f, "@{digest}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for InFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        match &self.tag {
            Some(tag) => write!(f, ":{tag}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&match self {
            Self::Registry(named) => named.to_string(),
            Self::OciDirectory(held) => format!("oci:{held}"),
            Self::OciArchive(held) => format!("oci-archive:{held}"),
            Self::DockerArchive(held) => format!("docker-archive:{held}"),
            Self::Rootfs(path) => format!("rootfs:{}", path.display()),
        })
    }
}

impl TryFrom<String> for Reference {
    type Error = ReferenceError;

    fn try_from(text: String) -> Result<Self, ReferenceError> {
        text.parse()
    }
}

impl From<Reference> for String {
    fn from(reference: Reference) -> String {
        reference.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA256: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn named(text: &str) -> Named {
        match text.parse::<Reference>() {
            Ok(Reference::Registry(named)) => named,
            other => panic!("{text}: {other:?}"),
        }
    }

    fn refused(text: &str) -> String {
        text.parse::<Reference>().unwrap_err().to_string()
    }

    #[test]
    fn short_names_are_those_of_docker() {
        for (typed, registry, repository, tag) in [
            ("nginx", "docker.io", "library/nginx", "latest"),
            ("nginx:1.27", "docker.io", "library/nginx", "1.27"),
            ("team/web", "docker.io", "team/web", "latest"),
            ("docker.io/nginx", "docker.io", "library/nginx", "latest"),
            ("index.docker.io/library/nginx:1", "docker.io", "library/nginx", "1"),
            ("localhost/web", "localhost", "web", "latest"),
            ("localhost:5000/web:2", "localhost:5000", "web", "2"),
            ("registry.example/a/b/c:v1.2-rc_3", "registry.example", "a/b/c", "v1.2-rc_3"),
            ("HOST/web", "HOST", "web", "latest"),
            ("10.0.0.1:80/web", "10.0.0.1:80", "web", "latest"),
            ("[fd00::1]:5000/web", "[fd00::1]:5000", "web", "latest"),
            // As Docker does: without a slash, what is behind the colon is a tag.
            ("localhost:5000", "docker.io", "library/localhost", "5000"),
            ("a__b--c.d_e", "docker.io", "library/a__b--c.d_e", "latest"),
        ] {
            let named = named(typed);
            let read = (named.registry.as_str(), named.repository.as_str(), named.tag.as_deref());
            assert_eq!(read, (registry, repository, Some(tag)), "{typed}");
        }
    }

    #[test]
    fn a_digest_stands_alone_or_with_a_tag() {
        let alone = named(&format!("nginx@{SHA256}"));
        assert_eq!((alone.tag.as_deref(), alone.digest.unwrap().as_str()), (None, SHA256));
        let both = named(&format!("localhost:5000/nginx:1@{SHA256}"));
        assert_eq!((both.tag.as_deref(), both.digest.unwrap().as_str()), (Some("1"), SHA256));
    }

    #[test]
    fn what_is_printed_is_read_as_the_same() {
        let digest = format!("team/web:1@{SHA256}");
        for (typed, printed) in [
            ("nginx", "nginx:latest"),
            ("docker.io/library/nginx:1", "nginx:1"),
            ("docker.io/team/web", "team/web:latest"),
            ("localhost:5000/web", "localhost:5000/web:latest"),
            (digest.as_str(), digest.as_str()),
            ("oci:/srv/web", "oci:/srv/web"),
            ("oci:/srv/a:b/web:v1", "oci:/srv/a:b/web:v1"),
            ("oci-archive:./web.tar:v1", "oci-archive:web.tar:v1"),
            ("docker-archive:/web.tar", "docker-archive:/web.tar"),
            ("rootfs:/srv/./root/", "rootfs:/srv/root"),
        ] {
            let read: Reference = typed.parse().unwrap();
            assert_eq!(read.to_string(), printed);
            assert_eq!(printed.parse::<Reference>().unwrap(), read);
            let json = serde_json::to_string(&read).unwrap();
            assert_eq!(serde_json::from_str::<Reference>(&json).unwrap(), read);
        }
    }

    #[test]
    fn what_is_no_name_is_refused_with_the_part_that_is_wrong() {
        let long = "a".repeat(250);
        for (typed, said) in [
            ("", "it is empty"),
            ("Nginx", "`Nginx` in its name has capital letters"),
            ("localhost/Web", "`Web` in its name has capital letters"),
            ("a//b", "`` is no part of a name"),
            ("a..b", "`a..b` is no part of a name"),
            ("-a", "`-a` is no part of a name"),
            ("a/../b", "`..` is no part of a name"),
            ("a b", "`a b` is no part of a name"),
            ("a___b", "`a___b` is no part of a name"),
            ("nginx:", "`` is not a tag"),
            ("nginx:.1", "`.1` is not a tag"),
            ("nginx@sha256:12", "`sha256:12` is not a digest"),
            ("nginx@md5:d41d8cd98f00b204e9800998ecf8427e", "is not a digest"),
            ("host.example:99999/a", "`host.example:99999` is not a registry"),
            ("host.example:0/a", "`host.example:0` is not a registry"),
            ("-h.example/a", "`-h.example` is not a registry"),
            ("https://registry.example/a", "leave out `https://`"),
            ("docker://nginx", "leave out `docker://`"),
            (&SHA256[7..], "64 hexadecimal digits are an id"),
            (&long, "is 268 bytes long, and 255 is the longest"),
            ("oci:", "it names no directory"),
            ("oci-archive::v1", "it names no file"),
            ("rootfs:", "it names no directory"),
            ("oci:/srv/web:-", "`-` is not a tag"),
        ] {
            let refused = refused(typed);
            assert!(refused.contains(said), "{typed}: {refused}");
        }
    }

    #[test]
    fn a_path_is_made_absolute_where_it_was_typed() {
        let below = |typed: &str| {
            typed.parse::<Reference>().unwrap().below(Path::new("/home/me")).to_string()
        };
        assert_eq!(below("oci:web:1"), "oci:/home/me/web:1");
        assert_eq!(below("rootfs:../root"), "rootfs:/home/me/../root");
        assert_eq!(below("oci-archive:/a.tar"), "oci-archive:/a.tar");
        assert_eq!(below("nginx"), "nginx:latest");
    }
}
