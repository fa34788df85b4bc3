//! How ports to publish are written, in either of Docker's forms, with ranges.

use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::str::FromStr;

use super::{PortSpec, PublishMode, Source, Transport};

/// What one `--publish` asks for: one port, or each of a range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ports(pub Vec<PortSpec>);

impl FromStr for Ports {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains('=') { long(text) } else { short(text) }
    }
}

impl FromStr for PortSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse::<Ports>()?.0.as_slice() {
            [port] => Ok(*port),
            ports => Err(format!("`{}` is {} ports", text.escape_debug(), ports.len())),
        }
    }
}

/// `[[IP:]PUBLISHED:]TARGET[/PROTOCOL]`
fn short(text: &str) -> Result<Ports, String> {
    let (ports, transport) = match text.split_once('/') {
        Some((ports, transport)) => (ports, transport.parse()?),
        None => (text, Transport::default()),
    };
    if ports.contains(['[', ']']) || ports.matches(':').count() > 2 {
        return Err("ports are published at IPv4 addresses only".into());
    }
    let mut words = ports.rsplit(':');
    let target = range(words.next().unwrap_or_default())?;
    // Docker takes an empty word for one that was left out.
    let published = words.next().filter(|word| !word.is_empty()).map(range).transpose()?;
    let address = words.next().map(address).transpose()?.flatten();
    let (mode, source) = Default::default();
    expand(published, target, |published, target| PortSpec {
        published,
        target,
        transport,
        mode,
        address,
        source,
    })
}

/// `published=N,target=N,…`
fn long(text: &str) -> Result<Ports, String> {
    let (mut published, mut target, mut address_of) = (None, None, None);
    let (mut transport, mut mode) = (Transport::default(), PublishMode::default());
    let mut source = Source::default();
    for word in text.split(',') {
        match word.split_once('=') {
            Some(("published", value)) => published = Some(range(value)?),
            Some(("target", value)) => target = Some(range(value)?),
            Some(("protocol", value)) => transport = value.parse()?,
            Some(("mode", value)) => mode = value.parse()?,
            Some(("ip", value)) => address_of = address(value)?,
            Some(("source", value)) => source = value.parse()?,
            _ => {
                return Err(format!(
                    "`{}` is not known: there are published=, target=, protocol=, mode=, ip= and \
                     source=",
                    word.escape_debug()
                ));
            }
        }
    }
    let target = target.ok_or("target= is missing: the port that the tasks listen on")?;
    let (address, source) = (address_of, source_of(source, transport, mode)?);
    expand(published, target, |published, target| PortSpec {
        published,
        target,
        transport,
        mode,
        address,
        source,
    })
}

/// As Docker does: of two ranges one port stands for one, and a single target is behind each of a range
/// that is published.
fn expand(
    published: Option<RangeInclusive<u16>>,
    target: RangeInclusive<u16>,
    spec: impl Fn(Option<u16>, u16) -> PortSpec,
) -> Result<Ports, String> {
    let count = |range: &RangeInclusive<u16>| range.clone().count();
    let words = |range: &RangeInclusive<u16>| match count(range) {
        1 => range.start().to_string(),
        _ => format!("{}-{}", range.start(), range.end()),
    };
    let specs = match published {
        None => target.map(|target| spec(None, target)).collect(),
        Some(published) if count(&target) == 1 => {
            published.map(|published| spec(Some(published), *target.start())).collect()
        }
        Some(published) if count(&published) == count(&target) => {
            published.zip(target).map(|(published, target)| spec(Some(published), target)).collect()
        }
        Some(published) => {
            return Err(format!(
                "{} is not as many ports as {}: they should be, or the target one",
                words(&published),
                words(&target)
            ));
        }
    };
    Ok(Ports(specs))
}

/// In mode `host` a task sees its client's address in any case.
fn source_of(source: Source, transport: Transport, mode: PublishMode) -> Result<Source, String> {
    match (source, mode, transport) {
        (Source::Client, PublishMode::Ingress, Transport::Udp | Transport::Sctp) => Err(format!(
            "source=client is for tcp only: an answer by {transport} would not find its way back \
             through the mesh; in mode=host a task sees its client's address"
        )),
        (source, PublishMode::Ingress, _) => Ok(source),
        (_, PublishMode::Host, _) => Ok(Source::default()),
    }
}

/// A port, or `FIRST-LAST`.
fn range(text: &str) -> Result<RangeInclusive<u16>, String> {
    let Some((first, last)) = text.split_once('-') else {
        let port = port(text)?;
        return Ok(port..=port);
    };
    let (first, last) = (port(first)?, port(last)?);
    match first <= last {
        true => Ok(first..=last),
        false => Err(format!("`{text}` is no range: it ends before it begins")),
    }
}

fn port(text: &str) -> Result<u16, String> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse::<u16>().ok().filter(|port| digits && *port != 0);
    number.ok_or_else(|| format!("`{}` is not a port: 1 to 65535", text.escape_debug()))
}

fn address(text: &str) -> Result<Option<Ipv4Addr>, String> {
    let address: Ipv4Addr =
        text.parse().map_err(|_| format!("`{}` is not an IPv4 address", text.escape_debug()))?;
    // As in Docker, 0.0.0.0 is every address.
    Ok((!address.is_unspecified()).then_some(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports(text: &str) -> Vec<(Option<u16>, u16)> {
        let ports: Ports = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
        ports.0.iter().map(|spec| (spec.published, spec.target)).collect()
    }

    #[test]
    fn ranges_become_ports_as_docker_has_them() {
        let pairs = [(Some(8000), 80), (Some(8001), 81), (Some(8002), 82)];
        assert_eq!(ports("8000-8002:80-82"), pairs);
        assert_eq!(ports("published=8000-8002,target=80-82"), pairs);
        // One target is behind each.
        assert_eq!(ports("8000-8001:80"), [(Some(8000), 80), (Some(8001), 80)]);
        // What is left open is chosen for each.
        assert_eq!(ports("80-81"), [(None, 80), (None, 81)]);
        assert_eq!(ports("192.0.2.1:8000-8000:80-80/udp"), [(Some(8000), 80)]);
        let Ports(specs) = "192.0.2.1:53-54:53-54/udp".parse().unwrap();
        assert!(specs.iter().all(|spec| spec.transport == Transport::Udp));
        assert!(specs.iter().all(|spec| spec.address == Some(Ipv4Addr::new(192, 0, 2, 1))));
        assert_eq!(ports("1-65535:1-65535").len(), 65535);
    }

    #[test]
    fn what_is_no_range_is_refused() {
        for (text, said) in [
            ("8000-8003:80-82", "8000-8003 is not as many ports as 80-82"),
            ("8000:80-82", "8000 is not as many ports as 80-82"),
            ("8003-8000:80", "`8003-8000` is no range: it ends before it begins"),
            ("8000-:80", "`` is not a port"),
            ("8000-8001-8002:80", "`8001-8002` is not a port"),
            ("0-3:80", "`0` is not a port"),
            ("published=8000-8003,target=80-82", "they should be, or the target one"),
        ] {
            let error = text.parse::<Ports>().unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
        assert_eq!("80-81".parse::<PortSpec>().unwrap_err(), "`80-81` is 2 ports");
    }
}
