//! Where a cluster's store is, as it is typed, handed on and remembered.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Below which key everything stands in an etcd, unless the address says otherwise.
const PREFIX: &str = "/swarmlb/";
/// etcd's port for clients.
const PORT: u16 = 2379;

/// What `--store` takes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Address {
    /// The embedded store: SQLite in the state directory.
    #[default]
    Embedded,
    Etcd(EtcdAddress),
}

/// The members of an etcd cluster, and a place in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EtcdAddress {
    /// Never empty.
    pub endpoints: Vec<Endpoint>,
    /// Begins and ends with a slash.
    pub prefix: String,
}

/// One member: a name or an address, an IPv6 one in brackets, and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    pub host: String,
    pub port: u16,
}

/// Where a store is, and how to be let in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Location {
    #[default]
    Embedded,
    Etcd(EtcdLocation),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EtcdLocation {
    #[serde(with = "as_text")]
    pub address: EtcdAddress,
    /// Without it the connections are in clear text.
    pub tls: Option<Tls>,
}

/// Files in PEM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tls {
    /// The authority that etcd's certificates are of.
    pub cacert: PathBuf,
    pub client: Option<ClientCertificate>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientCertificate {
    pub cert: PathBuf,
    pub key: PathBuf,
}

/// Why a text is no address of a store.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AddressError {
    #[error("`{0}` is neither `sqlite` nor `etcd://HOST:PORT`, with more members after commas")]
    Neither(String),
    #[error("`{0}` is not a member's HOST:PORT")]
    Endpoint(String),
    #[error("`{0}` has more after its prefix: it is a path, without `?` and `#`")]
    Prefix(String),
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        match text.strip_prefix("etcd://") {
            Some(rest) => rest.parse().map(Self::Etcd),
            None if text == "sqlite" => Ok(Self::Embedded),
            None => Err(AddressError::Neither(text.escape_debug().to_string())),
        }
    }
}

impl FromStr for EtcdAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (members, path) = text.split_once('/').unwrap_or((text, ""));
        let endpoints = members.split(',').map(str::parse).collect::<Result<_, _>>()?;
        if path.contains(['?', '#', ' ']) {
            return Err(AddressError::Prefix(path.escape_debug().to_string()));
        }
        let prefix = match path.trim_matches('/') {
            "" => PREFIX.to_owned(),
            path => format!("/{path}/"),
        };
        Ok(Self { endpoints, prefix })
    }
}

impl FromStr for Endpoint {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let wrong = || AddressError::Endpoint(text.escape_debug().to_string());
        let (host, port) = match text.rsplit_once(':') {
            // The colon of an IPv6 address stands within its brackets.
            Some((host, port)) if !port.ends_with(']') => {
                (host, port.parse().map_err(|_| wrong())?)
            }
            _ => (text, PORT),
        };
        let name = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(inner) => inner.parse::<std::net::Ipv6Addr>().map(drop).map_err(|_| wrong()),
            None if host.is_empty() || port == 0 => Err(wrong()),
            None if host.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c)) => Ok(()),
            None => Err(wrong()),
        };
        name.map(|()| Self { host: host.to_owned(), port })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl fmt::Display for EtcdAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let endpoints: Vec<String> = self.endpoints.iter().map(Endpoint::to_string).collect();
        write!(f, "etcd://{}", endpoints.join(","))?;
        match self.prefix.as_str() {
            PREFIX => Ok(()),
            other => f.write_str(other.trim_end_matches('/')),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embedded => f.write_str("sqlite"),
            Self::Etcd(address) => address.fmt(f),
        }
    }
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.to_string()
    }
}

impl TryFrom<String> for Address {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, AddressError> {
        text.parse()
    }
}

impl Location {
    pub fn address(&self) -> Address {
        match self {
            Self::Embedded => Address::Embedded,
            Self::Etcd(location) => Address::Etcd(location.address.clone()),
        }
    }

    /// Whether the store is a process of this node.
    pub fn is_embedded(&self) -> bool {
        *self == Self::Embedded
    }

    /// As options of the command line.
    pub fn arguments(&self) -> Vec<String> {
        let Self::Etcd(location) = self else { return Vec::new() };
        let mut arguments = vec!["--store".to_owned(), location.address.to_string()];
        let mut file = |option: &str, path: &PathBuf| {
            arguments.extend([option.to_owned(), path.display().to_string()]);
        };
        if let Some(tls) = &location.tls {
            file("--store-cacert", &tls.cacert);
            if let Some(client) = &tls.client {
                file("--store-cert", &client.cert);
                file("--store-key", &client.key);
            }
        }
        arguments
    }
}

mod as_text {
    use serde::{Deserialize, Deserializer, Serializer, de};

    use super::{Address, EtcdAddress};

    pub(super) fn serialize<S: Serializer>(
        address: &EtcdAddress,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(address)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<EtcdAddress, D::Error> {
        match Address::deserialize(deserializer)? {
            Address::Etcd(address) => Ok(address),
            Address::Embedded => Err(de::Error::custom("no address of an etcd")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn etcd(text: &str) -> EtcdAddress {
        match text.parse() {
            Ok(Address::Etcd(address)) => address,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn an_address_is_what_it_prints() {
        for text in
            ["sqlite", "etcd://10.0.0.1:2379", "etcd://a:2379,b.example:1,[::1]:2379/prod/lb"]
        {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn port_and_prefix_have_defaults() {
        let address = etcd("etcd://a,[::1]");
        let ports: Vec<u16> = address.endpoints.iter().map(|endpoint| endpoint.port).collect();
        assert_eq!(ports, [2379, 2379]);
        assert_eq!(address.prefix, "/swarmlb/");
        assert_eq!(etcd("etcd://a/"), etcd("etcd://a:2379/swarmlb"));
        assert_eq!(etcd("etcd://a/x/").prefix, "/x/");
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            "etcd",
            "etcd://",
            "etcd://a:0",
            "etcd://a:x",
            "etcd://a,,b",
            "etcd://a b",
            "etcd://::1",
            "etcd://[a]:1",
            "etcd://a/x?y",
            "http://a:2379",
            "SQLite",
            "etcd://a:65536",
        ] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_location_is_remembered_whole() {
        let client = ClientCertificate { cert: "/c".into(), key: "/k".into() };
        let tls = Some(Tls { cacert: "/ca".into(), client: Some(client) });
        let location = Location::Etcd(EtcdLocation { address: etcd("etcd://a:1,b:2/x"), tls });
        let text = serde_json::to_string(&location).unwrap();
        assert_eq!(serde_json::from_str::<Location>(&text).unwrap(), location);
        let words = "--store etcd://a:1,b:2/x --store-cacert /ca --store-cert /c --store-key /k";
        assert_eq!(location.arguments().join(" "), words);
    }
}
