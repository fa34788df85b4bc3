//! Reads what Docker's files on this machine say of its containers.

use std::path::{Path, PathBuf};

use crate::dump::{Container, docker};

/// Where Docker keeps its data unless it was told otherwise.
const DATA: &str = "/var/lib/docker";
/// Where it is told otherwise.
const CONFIGURATION: &str = "/etc/docker/daemon.json";

/// Every container. Where there is no Docker, or its files may not be read, there are none: then
/// its sandboxes are known by their names only.
pub fn containers() -> Vec<Container> {
    let data = configured().unwrap_or_else(|| DATA.into());
    let entries = std::fs::read_dir(data.join("containers")).into_iter().flatten().flatten();
    let mut containers: Vec<Container> =
        entries.filter_map(|entry| container(&entry.path())).collect();
    containers.sort_by(|one, other| one.id.cmp(&other.id));
    containers
}

fn container(directory: &Path) -> Option<Container> {
    docker::parse(&std::fs::read_to_string(directory.join("config.v2.json")).ok()?)
}

fn configured() -> Option<PathBuf> {
    let text = std::fs::read_to_string(CONFIGURATION).ok()?;
    let document: serde_json::Value = serde_json::from_str(&text).ok()?;
    let said = document["data-root"].as_str().or_else(|| document["graph"].as_str())?;
    Some(said.into())
}
