//! Questions to a sandbox's resolver.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RData;
use swarmlb::keeper::sockets::RESOLVER;
use swarmlb::probe::resolve::{RecordType, resolve};

use super::swarmlb_command::inside;

const PATIENCE: Duration = Duration::from_secs(5);

/// The addresses that a name resolves to in a sandbox, sorted; an error has no addresses.
pub fn answers(sandbox: &str, name: &str) -> Result<Vec<String>, ResponseCode> {
    use std::os::fd::AsFd;
    let namespace = swarmlb::kernel::netns::open(sandbox).expect("the sandbox is there");
    let resolution = resolve(namespace.as_fd(), RESOLVER.into(), name, RecordType::A, PATIENCE)
        .unwrap_or_else(|error| panic!("`{name}` in {sandbox}: {error}"));
    if resolution.code != ResponseCode::NoError {
        return Err(resolution.code);
    }
    let mut addresses: Vec<_> = resolution.addresses;
    addresses.sort_unstable();
    Ok(addresses.iter().map(ToString::to_string).collect())
}

/// The same over TCP, with the bytes written here.
pub fn answers_by_stream(sandbox: &str, name: &str) -> Vec<String> {
    let mut query = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        query.push(u8::try_from(label.len()).expect("a short label"));
        query.extend(label.as_bytes());
    }
    query.extend([0, 0, 1, 0, 1]);
    let length = u16::try_from(query.len()).expect("a short query").to_be_bytes();
    let reply = inside(sandbox, || {
        let mut stream = TcpStream::connect_timeout(&RESOLVER.into(), PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(&[&length[..], &query].concat())?;
        let mut length = [0; 2];
        stream.read_exact(&mut length)?;
        let mut reply = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut reply)?;
        Ok::<_, std::io::Error>(reply)
    });
    let message = Message::from_vec(&reply.expect("an answer by TCP")).expect("a DNS message");
    let address = |record: &hickory_proto::rr::Record| match &record.data {
        RData::A(address) => Some(address.0.to_string()),
        _ => None,
    };
    let mut addresses: Vec<String> = message.answers.iter().filter_map(address).collect();
    addresses.sort();
    addresses
}
