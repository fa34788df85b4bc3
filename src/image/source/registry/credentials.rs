//! Names and passwords as Docker keeps them: in its `config.json`, or with the programs that this names.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;
use std::process::Stdio;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::super::super::error::ImageError;
use crate::intent::reference::DEFAULT_REGISTRY;
use crate::kernel::program;

/// What Docker's own registry is called there.
const DOCKER_KEY: &str = "https://index.docker.io/v1/";
/// What the programs say that know of nothing.
const UNKNOWN: &str = "credentials not found";
/// Instead of a name: what goes with it is a token.
const TOKEN: &str = "<token>";

/// Who somebody is for a registry.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    Password {
        name: String,
        password: String,
    },
    /// What other tokens are had for.
    Identity(String),
}

/// Without what must not be seen.
impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Password { name, .. } => write!(f, "Password({name:?})"),
            Self::Identity(_) => f.write_str("Identity"),
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    #[serde(default)]
    auths: BTreeMap<String, Auth>,
    #[serde(default)]
    cred_helpers: BTreeMap<String, String>,
    #[serde(default)]
    creds_store: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Auth {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
}

/// Without what must not be seen.
impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Auth").finish_non_exhaustive()
    }
}

/// What a program of credentials answers.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Given {
    #[serde(default)]
    username: String,
    #[serde(default)]
    secret: String,
}

/// Reads them for a registry; none where the file has none, or is not there.
///
/// # Errors
/// When the file cannot be read, or the program that it names does not answer.
pub fn read(file: &Path, registry: &str) -> Result<Option<Credentials>, ImageError> {
    let bytes = match std::fs::read(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => read.map_err(ImageError::file("read", file))?,
    };
    let damaged = |reason: String| ImageError::Damaged { what: file.display().to_string(), reason };
    let written: Written =
        serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
    let key = if registry == DEFAULT_REGISTRY { DOCKER_KEY } else { registry };
    let helper = written.cred_helpers.iter().find(|(name, _)| is_same(name, registry));
    if let Some((_, helper)) = helper {
        return ask(helper, key, file);
    }
    let written_there = |auth: &&Auth| {
        !(auth.auth.is_empty() && auth.username.is_empty() && auth.identitytoken.is_empty())
    };
    let auth = written.auths.iter().find(|(name, _)| is_same(name, registry)).map(|(_, auth)| auth);
    match auth.filter(written_there) {
        Some(auth) => plain(auth).map(Some).ok_or_else(|| {
            damaged(format!("what it has for {registry} is no name with a password in base64"))
        }),
        None if !written.creds_store.is_empty() => ask(&written.creds_store, key, file),
        None => Ok(None),
    }
}

/// Whether a key of the file is of a registry: with a scheme and a path, or without.
fn is_same(key: &str, registry: &str) -> bool {
    let key = key.strip_prefix("https://").or(key.strip_prefix("http://")).unwrap_or(key);
    let host = key.split('/').next().unwrap_or_default();
    let of_docker = ["index.docker.io", "registry-1.docker.io", DEFAULT_REGISTRY];
    host == registry || (registry == DEFAULT_REGISTRY && of_docker.contains(&host))
}

fn plain(auth: &Auth) -> Option<Credentials> {
    if !auth.identitytoken.is_empty() {
        return Some(Credentials::Identity(auth.identitytoken.clone()));
    }
    if auth.auth.is_empty() {
        let (name, password) = (auth.username.clone(), auth.password.clone());
        return Some(Credentials::Password { name, password });
    }
    let bytes = STANDARD.decode(auth.auth.trim()).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let (name, password) = text.split_once(':')?;
    // Some writers end it as C does.
    let password = password.trim_end_matches('\0').to_owned();
    Some(Credentials::Password { name: name.to_owned(), password })
}

/// Asks the program that keeps them (docker-credential-helpers' protocol).
fn ask(helper: &str, key: &str, file: &Path) -> Result<Option<Credentials>, ImageError> {
    let name = format!("docker-credential-{helper}");
    let failed = |reason: String| ImageError::Credentials {
        program: name.clone(),
        file: file.to_owned(),
        reason,
    };
    if helper.contains('/') {
        return Err(failed("its name is none".into()));
    }
    let path = program::find(&name).ok_or_else(|| failed("it is not installed".into()))?;
    let output = (|| {
        let mut command = program::command(path);
        command.arg("get").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            // One that ends before it read everything says why.
            let _ = stdin.write_all(key.as_bytes());
        }
        child.wait_with_output()
    })();
    let output = output.map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        let told = [output.stdout, output.stderr].concat();
        let told = String::from_utf8_lossy(&told).trim().to_owned();
        return match told.contains(UNKNOWN) {
            true => Ok(None),
            false => Err(failed(told.escape_debug().to_string())),
        };
    }
    let given: Given = serde_json::from_slice(&output.stdout)
        .map_err(|_| failed("its answer cannot be read".into()))?;
    Ok(Some(match given.username.as_str() {
        TOKEN => Credentials::Identity(given.secret),
        _ => Credentials::Password { name: given.username, password: given.secret },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str, registry: &str) -> Result<Option<Credentials>, ImageError> {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("config.json");
        std::fs::write(&file, text).unwrap();
        read(&file, registry)
    }

    fn password(name: &str, password: &str) -> Option<Credentials> {
        Some(Credentials::Password { name: name.into(), password: password.into() })
    }

    #[test]
    fn what_docker_login_writes_is_read() {
        // printf me:pass:word | base64
        let text = r#"{"auths":{"registry.example:5000":{"auth":"bWU6cGFzczp3b3Jk"},
            "https://index.docker.io/v1/":{"identitytoken":"t"},
            "https://other.example/v2/":{"username":"a","password":"b"},"empty.example":{}}}"#;
        let read = |registry| written(text, registry).unwrap();
        assert_eq!(read("registry.example:5000"), password("me", "pass:word"));
        assert_eq!(read("docker.io"), Some(Credentials::Identity("t".into())));
        assert_eq!(read("other.example"), password("a", "b"));
        assert_eq!(read("registry.example"), None);
        assert_eq!(read("empty.example"), None);
        assert_eq!(super::read(Path::new("/nowhere/config.json"), "x").unwrap(), None);
    }

    #[test]
    fn what_is_damaged_is_refused_and_not_shown() {
        let refused = written(r#"{"auths":{"a.example":{"auth":"%secret%"}}}"#, "a.example");
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains("a.example") && !refused.contains("secret"), "{refused}");
        assert!(written("{", "a.example").is_err());
    }

    #[test]
    fn a_helper_that_is_missing_is_named() {
        for text in [
            r#"{"credHelpers":{"a.example":"no-such-thing"}}"#,
            r#"{"credsStore":"no-such-thing"}"#,
        ] {
            let refused = written(text, "a.example").unwrap_err().to_string();
            assert!(refused.contains("docker-credential-no-such-thing"), "{refused}");
        }
        assert!(written(r#"{"credHelpers":{"a.example":"../x"}}"#, "a.example").is_err());
        assert_eq!(written(r#"{"credHelpers":{"b.example":"x"}}"#, "a.example").unwrap(), None);
    }
}
