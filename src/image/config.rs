//! What an image says of itself: how its tasks begin, and which layers it is made of.
//!
//! Tolerant, as Docker is: what is missing, null or not known to us is no error.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};

use super::platform::Platform;
use crate::intent::reference::Digest;

/// The configuration of an image, as the OCI image specification and Docker write it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Document {
    #[serde(default, deserialize_with = "nullable")]
    pub os: String,
    #[serde(default, deserialize_with = "nullable")]
    pub architecture: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// When it was built (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    #[serde(default, deserialize_with = "nullable")]
    pub config: ImageConfig,
    pub rootfs: Layers,
}

/// The layers of an image.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Layers {
    /// The digests of their archives without compression, the lowest first.
    #[serde(default, deserialize_with = "nullable")]
    pub diff_ids: Vec<Digest>,
}

/// How tasks of an image begin, unless the service says otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ImageConfig {
    /// What begins the command line.
    #[serde(default, deserialize_with = "nullable")]
    pub entrypoint: Vec<String>,
    /// What follows it, where no command is given.
    #[serde(default, deserialize_with = "nullable")]
    pub cmd: Vec<String>,
    /// `NAME=VALUE`.
    #[serde(default, deserialize_with = "nullable")]
    pub env: Vec<String>,
    /// `USER`, `UID`, or with a group behind a colon; root when empty.
    #[serde(default, deserialize_with = "nullable")]
    pub user: String,
    /// `/` when empty.
    #[serde(default, deserialize_with = "nullable")]
    pub working_dir: String,
    /// `SIGQUIT` or its number; SIGTERM when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<HealthCheck>,
    /// `80/tcp`; the values are empty.
    #[serde(default, deserialize_with = "nullable")]
    pub exposed_ports: BTreeMap<String, Empty>,
    /// Paths that shall be volumes; the values are empty.
    #[serde(default, deserialize_with = "nullable")]
    pub volumes: BTreeMap<String, Empty>,
    #[serde(default, deserialize_with = "nullable")]
    pub labels: BTreeMap<String, String>,
    /// The shell of commands that are one text.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub shell: Vec<String>,
}

/// How Docker looks whether a task is healthy.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct HealthCheck {
    /// `["CMD", …]`, `["CMD-SHELL", text]`, or `["NONE"]`; as inherited when empty.
    #[serde(default, deserialize_with = "nullable")]
    pub test: Vec<String>,
    /// In nanoseconds, like all times here; 0 for what is usual.
    #[serde(default)]
    pub interval: u64,
    #[serde(default)]
    pub timeout: u64,
    #[serde(default)]
    pub start_period: u64,
    #[serde(default)]
    pub start_interval: u64,
    /// 0 for what is usual.
    #[serde(default)]
    pub retries: u32,
}

impl HealthCheck {
    /// A time of it; none for what is usual.
    pub fn time(nanoseconds: u64) -> Option<Duration> {
        (nanoseconds > 0).then(|| Duration::from_nanos(nanoseconds))
    }
}

/// Go's `struct{}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Empty {}

/// What Go writes as null is empty.
fn nullable<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

impl Document {
    /// # Errors
    /// When it is no configuration of an image.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(bytes).map_err(|error| error.to_string())
    }

    /// What it was built for; none where it does not say.
    pub fn platform(&self) -> Option<Platform> {
        let (os, architecture) = (self.os.clone(), self.architecture.clone());
        let variant = self.variant.clone();
        (!os.is_empty() && !architecture.is_empty()).then_some(Platform {
            os,
            architecture,
            variant,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn what_docker_writes_is_read() {
        let text = format!(
            r#"{{"architecture":"arm64","variant":"v8","os":"linux","created":"2024-05-01T10:00:00.5Z",
            "config":{{"Hostname":"","User":"101:101","ExposedPorts":{{"80/tcp":{{}}}},
            "Env":["PATH=/bin","A="],"Entrypoint":["/entry"],"Cmd":["serve","-x"],"WorkingDir":"/srv",
            "Healthcheck":{{"Test":["CMD-SHELL","curl -f localhost"],"Interval":5000000000,"Retries":4}},
            "Labels":{{"a":"b"}},"StopSignal":"SIGQUIT","OnBuild":null,"Volumes":null}},
            "rootfs":{{"type":"layers","diff_ids":["{DIGEST}"]}},
            "history":[{{"created_by":"x"}}]}}"#
        );
        let read = Document::parse(text.as_bytes()).unwrap();
        assert_eq!(read.platform().unwrap().to_string(), "linux/arm64/v8");
        assert_eq!(read.rootfs.diff_ids, [DIGEST.parse().unwrap()]);
        let config = read.config;
        assert_eq!(config.entrypoint, ["/entry"]);
        assert_eq!(config.cmd, ["serve", "-x"]);
        assert_eq!(config.env, ["PATH=/bin", "A="]);
        assert_eq!((config.user.as_str(), config.working_dir.as_str()), ("101:101", "/srv"));
        assert_eq!(config.stop_signal.as_deref(), Some("SIGQUIT"));
        assert!(config.exposed_ports.contains_key("80/tcp"));
        let check = config.healthcheck.unwrap();
        assert_eq!(HealthCheck::time(check.interval), Some(Duration::from_secs(5)));
        assert_eq!((HealthCheck::time(check.timeout), check.retries), (None, 4));
    }

    #[test]
    fn what_is_null_or_missing_is_empty() {
        let text = r#"{"config":{"Cmd":null,"Env":null,"Labels":null},"rootfs":{"type":"layers","diff_ids":null}}"#;
        let read = Document::parse(text.as_bytes()).unwrap();
        assert_eq!(read, Document::default());
        assert_eq!(read.platform(), None);
        let without = r#"{"config":null,"rootfs":{}}"#;
        assert_eq!(Document::parse(without.as_bytes()).unwrap(), Document::default());
    }

    #[test]
    fn what_is_no_configuration_is_refused() {
        for text in ["", "[]", "{}", r#"{"rootfs":{"diff_ids":["md5:12"]}}"#] {
            assert!(Document::parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
