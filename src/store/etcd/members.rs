//! The members of an etcd cluster: a connection to each, made when it is needed, and which one is asked next.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tonic::transport::{Certificate, Channel, ClientTlsConfig, Identity};

use crate::store::StoreError;
use crate::store::location::{Endpoint, EtcdLocation, Tls};

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(1);
/// A watch that says nothing is asked whether it lives; etcd ends connections that ask more often than every 5 s.
const PING: Duration = Duration::from_secs(6);
const PONG: Duration = Duration::from_secs(3);

#[derive(Debug)]
pub(super) struct Members {
    members: Vec<(Endpoint, Channel)>,
    current: AtomicUsize,
}

impl Members {
    /// Must be called within the runtime that the connections shall live in.
    pub(super) fn of(location: &EtcdLocation) -> Result<Self, StoreError> {
        let tls = location.tls.as_ref().map(read).transpose()?;
        let members = location.address.endpoints.iter().map(|endpoint| {
            let channel = channel(endpoint, tls.as_ref()).map_err(|error| {
                // The address is known to be good: what remains is what is in the files.
                let path = location.tls.as_ref().map(|tls| tls.cacert.clone()).unwrap_or_default();
                StoreError::Credentials { path, sentence: innermost(&error) }
            })?;
            Ok((endpoint.clone(), channel))
        });
        Ok(Self { members: members.collect::<Result<_, StoreError>>()?, current: 0.into() })
    }

    /// The one that answered last, or that is next.
    pub(super) fn current(&self) -> (usize, &Channel) {
        let number = self.current.load(Ordering::Relaxed);
        (number, &self.members[number].1)
    }

    /// From one that did not answer to the next, unless another call did so already.
    pub(super) fn turn_from(&self, number: usize) {
        let next = (number + 1) % self.members.len();
        let order = Ordering::Relaxed;
        let _turned = self.current.compare_exchange(number, next, order, order);
    }

    pub(super) fn endpoint(&self, number: usize) -> &Endpoint {
        &self.members[number].0
    }

    pub(super) fn count(&self) -> usize {
        self.members.len()
    }
}

struct Read {
    authority: Certificate,
    identity: Option<Identity>,
}

fn read(tls: &Tls) -> Result<Read, StoreError> {
    let authority = Certificate::from_pem(file(&tls.cacert)?);
    let identity = match &tls.client {
        None => None,
        Some(client) => Some(Identity::from_pem(file(&client.cert)?, file(&client.key)?)),
    };
    Ok(Read { authority, identity })
}

fn file(path: &Path) -> Result<Vec<u8>, StoreError> {
    let unusable = |sentence| StoreError::Credentials { path: path.to_owned(), sentence };
    let text = std::fs::read(path).map_err(|error| unusable(error.to_string()))?;
    match text.windows(10).any(|window| window == b"-----BEGIN") {
        true => Ok(text),
        false => Err(unusable("there is nothing in PEM in it".into())),
    }
}

fn channel(endpoint: &Endpoint, tls: Option<&Read>) -> Result<Channel, tonic::transport::Error> {
    let scheme = if tls.is_some() { "https" } else { "http" };
    let mut builder = Channel::from_shared(format!("{scheme}://{endpoint}"))
        .unwrap_or_else(|_| Channel::from_static("http://unnamed.invalid"))
        .connect_timeout(CONNECT)
        .http2_keep_alive_interval(PING)
        .keep_alive_timeout(PONG)
        .tcp_nodelay(true);
    if let Some(read) = tls {
        let mut config = ClientTlsConfig::new()
            .domain_name(endpoint.host.trim_matches(['[', ']']))
            .ca_certificate(read.authority.clone());
        if let Some(identity) = &read.identity {
            config = config.identity(identity.clone());
        }
        builder = builder.tls_config(config)?;
    }
    Ok(builder.connect_lazy())
}

fn innermost(error: &dyn std::error::Error) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}
