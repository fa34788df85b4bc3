//! `swarmlb image ls` and `inspect`.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{named, store};
use crate::cli::image::{Filter, List};
use crate::cli::{Format, Global};
use crate::clock;
use crate::commands::Report;
use crate::failure::Failure;
use crate::image::config::Document;
use crate::image::index::{Image, Index};
use crate::image::{Digest, ImageError, Meant, Reference, Store};
use crate::render::english::duration;
use crate::render::figure;
use crate::render::table::{columns, printable};
use crate::render::time::Moment;

/// What stands where there is nothing.
const NONE: &str = "<none>";

/// A name of an image, or an image without one.
#[derive(Serialize)]
struct Row {
    id: String,
    repository: Option<String>,
    tag: Option<String>,
    digest: Option<String>,
    /// When it was built (RFC 3339), where it says.
    created: Option<String>,
    created_seconds: Option<u64>,
    /// Of its files, unpacked, in bytes.
    size: u64,
}

/// What an image is called by: a name, or its id where it has none.
pub fn called(index: &Index, id: &Digest) -> String {
    let names: Vec<String> = index.names_of(id).map(ToString::to_string).collect();
    match names.is_empty() {
        true => id.short().to_owned(),
        false => names.join(", "),
    }
}

/// How long ago it was built, in seconds.
fn age(created: Option<&str>) -> Option<u64> {
    let Moment(nanoseconds) = created?.parse().ok()?;
    Some((clock::millis() / 1000).saturating_sub(nanoseconds / 1_000_000_000))
}

/// Repository and tag of a name.
fn parts(name: &Reference) -> (String, Option<String>) {
    match name {
        Reference::Registry(named) => (named.familiar(), named.tag.clone()),
        Reference::OciDirectory(held) => (format!("oci:{}", held.path.display()), held.tag.clone()),
        Reference::OciArchive(held) => {
            (format!("oci-archive:{}", held.path.display()), held.tag.clone())
        }
        Reference::DockerArchive(held) => {
            (format!("docker-archive:{}", held.path.display()), held.tag.clone())
        }
        Reference::Rootfs(path) => (format!("rootfs:{}", path.display()), None),
    }
}

fn row(id: &Digest, image: &Image, name: Option<&Reference>, digest: Option<&Digest>) -> Row {
    let (repository, tag) = name.map(parts).unzip();
    Row {
        id: id.to_string(),
        repository,
        tag: tag.flatten(),
        digest: digest.map(ToString::to_string),
        created_seconds: age(image.created.as_deref()),
        created: image.created.clone(),
        size: image.size,
    }
}

/// Whether a text is as a pattern says, in which `*` is any text.
fn is_like(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((before, after)) => text.strip_prefix(before).is_some_and(|rest| {
            let ends = rest.char_indices().map(|(at, _)| at).chain([rest.len()]);
            ends.into_iter().any(|at| rest.get(at..).is_some_and(|rest| is_like(after, rest)))
        }),
    }
}

/// Whether a name is one that was asked for: in full, or without its tag.
fn is_called(name: &Reference, asked: &str) -> bool {
    let (repository, tag) = parts(name);
    let whole = tag.map_or_else(|| repository.clone(), |tag| format!("{repository}:{tag}"));
    is_like(asked, &repository) || is_like(asked, &whole) || is_like(asked, &name.to_string())
}

/// As Docker does: each key must fit; one of several names is enough, but all labels must be there.
fn fits(store: &Store, id: &Digest, name: Option<&Reference>, list: &List) -> bool {
    let mut patterns = list.filters.iter().filter_map(|filter| match filter {
        Filter::Reference(pattern) => Some(pattern),
        _ => None,
    });
    let is_asked = list.name.iter().all(|asked| {
        name.is_some_and(|name| is_called(name, asked) || named(asked).1.as_ref() == Some(name))
    });
    let is_like_one = patterns.clone().next().is_none()
        || name.is_some_and(|name| patterns.any(|pattern| is_called(name, pattern)));
    let others = list.filters.iter().all(|filter| match filter {
        Filter::Reference(_) => true,
        Filter::Dangling(dangling) => *dangling == name.is_none(),
        Filter::Label(key, wanted) => {
            let document = store.document(id).unwrap_or_default();
            let held = document.config.labels.get(key);
            held.is_some_and(|held| wanted.as_ref().is_none_or(|wanted| wanted == held))
        }
    });
    is_asked && is_like_one && others
}

/// Every name, and every image without one; the newest first, as Docker has it.
fn rows(store: &Store, index: &Index, list: &List) -> Vec<Row> {
    let mut rows = Vec::new();
    for (id, image) in &index.images {
        let mut names = index.names.iter().filter(|(_, name)| name.id == *id).peekable();
        if names.peek().is_none() && fits(store, id, None, list) {
            rows.push(row(id, image, None, None));
        }
        for (name, held) in names {
            if fits(store, id, Some(name), list) {
                rows.push(row(id, image, Some(name), held.digest.as_ref()));
            }
        }
    }
    rows.sort_by_key(|row| {
        let age = row.created_seconds.unwrap_or(u64::MAX);
        (age, row.repository.clone(), row.tag.clone(), row.id.clone())
    });
    rows
}

pub fn ls(global: &Global, list: &List) -> Result<Report, Failure> {
    let what = "list images";
    let store = store(global, what)?;
    let index = store.index().map_err(|error| Failure::image(what, &error))?;
    let rows = rows(&store, &index, list);
    if global.format == Format::Json {
        return Report::json(&rows);
    }
    let id = |row: &Row| match list.no_trunc {
        true => row.id.clone(),
        false => row.id.split(':').next_back().unwrap_or_default().chars().take(12).collect(),
    };
    if global.quiet {
        let mut ids: Vec<String> = Vec::new();
        for id in rows.iter().map(id) {
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        return Ok(Report::lines(ids));
    }
    let mut heading = vec!["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"];
    if list.digests {
        heading.insert(2, "DIGEST");
    }
    let mut lines: Vec<Vec<String>> =
        vec![heading.into_iter().map(str::to_owned).collect::<Vec<_>>()];
    for row in &rows {
        let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| NONE.into());
        let since = row.created_seconds.map(|seconds| format!("{} ago", duration(seconds)));
        let mut line = vec![or_none(&row.repository), or_none(&row.tag)];
        if list.digests {
            line.push(or_none(&row.digest));
        }
        line.extend([id(row), since.unwrap_or_else(|| "N/A".into()), figure::size(row.size)]);
        lines.push(line);
    }
    Ok(Report::good(columns(lines)))
}

/// All of an image.
#[derive(Serialize)]
struct Detail {
    id: String,
    names: Vec<String>,
    /// What registries call it by: `nginx@sha256:…`.
    digests: Vec<String>,
    created: Option<String>,
    author: Option<String>,
    os: String,
    architecture: String,
    variant: Option<String>,
    size: u64,
    layers: Vec<String>,
    /// Where it lies, if it is a directory of the operator's own.
    rootfs: Option<String>,
    /// Which tasks are made from it.
    used_by: Vec<String>,
    /// When it came here, in seconds since 1970.
    pulled: u64,
    /// How its tasks begin.
    config: serde_json::Value,
}

fn detail(store: &Store, index: &Index, typed: &str) -> Result<Detail, ImageError> {
    let (typed, reference) = named(typed);
    let id = match index.meant(&typed, reference.as_ref())? {
        Meant::Image(id) => id,
        Meant::Name(name) => match index.find(&name) {
            Some(id) => id.clone(),
            None => return Err(ImageError::NotHere { reference: typed }),
        },
    };
    let image = index.images.get(&id).ok_or(ImageError::NotHere { reference: typed })?;
    let document = match &image.rootfs {
        Some(_) => Document::default(),
        None => store.document(&id)?,
    };
    let names: BTreeMap<&Reference, Option<&Digest>> = index
        .names
        .iter()
        .filter(|(_, name)| name.id == id)
        .map(|(reference, name)| (reference, name.digest.as_ref()))
        .collect();
    let mut digests: Vec<String> = names
        .iter()
        .filter(|(name, _)| matches!(name, Reference::Registry(_)))
        .filter_map(|(name, digest)| Some(format!("{}@{}", parts(name).0, (*digest)?)))
        .collect();
    digests.dedup();
    let holders = store.claims()?.into_iter().filter(|(_, held)| *held == id);
    Ok(Detail {
        names: names.keys().map(ToString::to_string).collect(),
        digests,
        created: image.created.clone(),
        author: document.author.clone(),
        os: document.os.clone(),
        architecture: document.architecture.clone(),
        variant: document.variant.clone(),
        size: image.size,
        layers: image.layers.iter().map(ToString::to_string).collect(),
        rootfs: image.rootfs.as_ref().map(|path| path.display().to_string()),
        used_by: holders.map(|(holder, _)| holder).collect(),
        pulled: image.pulled / 1000,
        config: serde_json::to_value(&document.config).unwrap_or_default(),
        id: id.to_string(),
    })
}

impl Detail {
    fn text(&self) -> String {
        let mut text = String::new();
        let mut line = |label: &str, value: &str| {
            text.push_str(&format!("{label:<12} {}\n", printable(value)));
        };
        line("id", &self.id);
        self.names.iter().for_each(|name| line("name", name));
        self.digests.iter().for_each(|digest| line("digest", digest));
        if let Some(path) = &self.rootfs {
            line("directory", path);
        }
        if let Some(created) = &self.created {
            line("created", created);
        }
        if !self.os.is_empty() {
            let variant = self.variant.iter().map(|variant| format!("/{variant}"));
            let platform = format!("{}/{}", self.os, self.architecture);
            line("platform", &variant.fold(platform, |platform, variant| platform + &variant));
        }
        if self.rootfs.is_none() {
            line("size", &figure::size(self.size));
        }
        self.layers.iter().for_each(|layer| line("layer", layer));
        self.used_by.iter().for_each(|task| line("used by", task));
        for (key, value) in self.config.as_object().into_iter().flatten() {
            if let Some(told) = told(value) {
                line(&spaced(key), &told);
            }
        }
        text
    }
}

/// `WorkingDir` as `working dir`.
fn spaced(key: &str) -> String {
    let mut text = String::new();
    for letter in key.chars() {
        if letter.is_uppercase() && !text.is_empty() {
            text.push(' ');
        }
        text.extend(letter.to_lowercase());
    }
    text
}

/// A value of the configuration on one line; none for one that says nothing.
fn told(value: &serde_json::Value) -> Option<String> {
    use serde_json::Value;
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => match items.is_empty() {
            true => String::new(),
            false => serde_json::to_string(items).ok()?,
        },
        Value::Object(fields) => {
            let is_bare = |value: &Value| value.as_object().is_some_and(serde_json::Map::is_empty);
            let field = |(key, value): (&String, &Value)| match (is_bare(value), value) {
                (true, _) => key.clone(),
                (false, Value::String(value)) => format!("{key}={value}"),
                (false, value) => format!("{key}={value}"),
            };
            fields.iter().map(field).collect::<Vec<_>>().join(" ")
        }
        _ => String::new(),
    };
    (!text.is_empty()).then_some(text)
}

pub fn inspect(global: &Global, images: &[String]) -> Result<Report, Failure> {
    let what = format!("inspect image `{}`", images.join("`, `").escape_debug());
    let store = store(global, &what)?;
    let failed = |error: ImageError| Failure::image(what.as_str(), &error);
    let index = store.index().map_err(failed)?;
    let details = images.iter().map(|typed| detail(&store, &index, typed));
    let details: Vec<Detail> = details.collect::<Result<_, _>>().map_err(failed)?;
    match global.format {
        Format::Json => Report::json(&details),
        Format::Table => {
            let texts: Vec<String> = details.iter().map(Detail::text).collect();
            Ok(Report::good(texts.join("\n")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_any_text() {
        for (pattern, text, fits) in [
            ("nginx", "nginx", true),
            ("nginx", "nginx2", false),
            ("ngi*", "nginx", true),
            ("*x", "nginx", true),
            ("n*n*", "nginx", true),
            ("n*y*", "nginx", false),
            ("*", "", true),
        ] {
            assert_eq!(is_like(pattern, text), fits, "{pattern} {text}");
        }
    }
}
