//! Which registries may be spoken to how, and whose certificates are believed.

use std::net::IpAddr;
use std::path::Path;

use ipnet::IpNet;
use ureq::tls::{Certificate, PemItem, RootCerts, parse_pem};

/// Where Docker looks for the authorities of single registries.
const OF_DOCKER: &str = "/etc/docker/certs.d";

/// A registry's name without its port.
fn host(registry: &str) -> &str {
    match registry.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => host,
        _ => registry,
    }
}

fn address(registry: &str) -> Option<IpAddr> {
    host(registry).trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// Whether it is on this machine's loopback.
pub fn is_loopback(registry: &str) -> bool {
    host(registry) == "localhost" || address(registry).is_some_and(|address| address.is_loopback())
}

/// Whether it may be asked without TLS, or with a certificate that nobody vouches for: by its name, with its
/// port or without, or as one of a range of addresses, as Docker has it.
pub fn may_be_insecure(registry: &str, named: &[String]) -> bool {
    let is_meant = |named: &String| {
        let in_range = || {
            let range: IpNet = named.parse().ok()?;
            Some(range.contains(&address(registry)?))
        };
        named == registry || named == host(registry) || in_range() == Some(true)
    };
    is_loopback(registry) || named.iter().any(is_meant)
}

/// The authorities that this machine believes, and those that it has for this registry.
pub fn roots(registry: &str) -> RootCerts {
    let native = rustls_native_certs::load_native_certs().certs;
    let mut roots: Vec<Certificate<'static>> =
        native.iter().map(|der| Certificate::from_der(der.as_ref()).to_owned()).collect();
    roots.extend(of_registry(&Path::new(OF_DOCKER).join(registry)));
    RootCerts::from(roots)
}

/// Of a directory like Docker's: each file that ends with `.crt`.
fn of_registry(directory: &Path) -> Vec<Certificate<'static>> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let files = entries.map(|entry| entry.path());
    let files = files.filter(|path| path.extension().is_some_and(|end| end == "crt"));
    let mut found = Vec::new();
    for bytes in files.filter_map(|path| std::fs::read(path).ok()) {
        found.extend(parse_pem(&bytes).flatten().filter_map(|item| match item {
            PemItem::Certificate(certificate) => Some(certificate),
            _ => None,
        }));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_and_what_is_named_may_be_insecure() {
        let named = ["a.example:5000", "b.example", "10.1.0.0/16", "fd00::/8"].map(str::to_owned);
        for (registry, may) in [
            ("localhost:5000", true),
            ("localhost", true),
            ("127.0.0.1:5000", true),
            ("127.8.0.1", true),
            ("[::1]:5000", true),
            ("a.example:5000", true),
            ("a.example", false),
            ("a.example:5001", false),
            ("b.example", true),
            ("b.example:443", true),
            ("10.1.2.3:80", true),
            ("10.2.2.3:80", false),
            ("[fd00::1]:5000", true),
            ("[fe80::1]:5000", false),
            ("docker.io", false),
            ("localhost.example", false),
        ] {
            assert_eq!(may_be_insecure(registry, &named), may, "{registry}");
        }
    }
}
