//! What `ipvsadm` says to this kernel, listened to on an `nlmon` link, against what was recorded.

use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, LinkAddr, SockFlag, SockProtocol, SockType, recvfrom, setsockopt, socket,
    sockopt,
};
use swarmlb::kernel::ipvs::wire::{FamilyId, Reply, replies};
use swarmlb::kernel::program;

use crate::recorded;
use crate::with_ipvs;
use crate::world::{inside, shell};

const NETLINK_GENERIC: u16 = 16;
const CONTROL: u16 = 0x10;
const GET_INFO: u8 = 15;

#[test]
fn ipvsadm_says_what_was_recorded_and_all_answers_are_read() {
    with_ipvs(|| {
        shell(
            "ip netns add recorder; ip -n recorder link set lo up; \
             ip -n recorder link add nlmon0 type nlmon; ip -n recorder link set nlmon0 up; \
             ip netns exec recorder ipvsadm -Ln",
        );
        let listener = inside("recorder", listener);
        let mut compared = 0;
        for (name, command) in recorded::commands() {
            heard(&listener);
            inside("recorder", || run(command));
            let datagrams = heard(&listener);
            let live = requests(datagrams.iter());
            assert_eq!(live, requests(recorded::recording(name).sent.iter()), "{command}");
            compared += live.len();
            must_be_read(&datagrams, command);
        }
        assert!(compared >= 40, "only {compared} requests were heard");
        drop(listener);
        shell("ip netns del recorder");
    });
}

/// Runs a line of `record.sh`; it may well be refused.
fn run(command: &str) {
    let mut words = command.split_whitespace().map(|word| word.trim_matches('\''));
    let program = words.next().expect("a program");
    program::command(program).args(words).output().expect("it starts");
}

/// Hears every netlink message of its namespace.
fn listener() -> OwnedFd {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let all = SockProtocol::EthAll;
    let socket = socket(AddressFamily::Packet, SockType::Datagram, flags, all).expect("a listener");
    setsockopt(&socket, sockopt::RcvBufForce, &(4 << 20)).expect("a large buffer");
    socket
}

/// What was said since the last time, in datagrams of generic netlink.
fn heard(listener: &OwnedFd) -> Vec<Vec<u8>> {
    let mut datagrams = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match recvfrom::<LinkAddr>(listener.as_raw_fd(), &mut buffer) {
            Ok((length, from)) => {
                let protocol = from.map_or(0, |from| from.protocol());
                if u16::from_be(protocol) == NETLINK_GENERIC {
                    datagrams.push(buffer[..length].to_vec());
                }
            }
            Err(Errno::EAGAIN) => return datagrams,
            Err(errno) => panic!("{errno}"),
        }
    }
}

fn kind(datagram: &[u8]) -> u16 {
    u16::from_ne_bytes([datagram[4], datagram[5]])
}

fn is_request(datagram: &[u8]) -> bool {
    datagram.len() >= 20 && datagram[6] & 1 != 0
}

/// Requests without what differs from run to run: the family's number, sequence and port. How a program
/// asks for the family and the version is left out, and so is the order in which the kernel lists.
fn requests<'a>(datagrams: impl Iterator<Item = &'a Vec<u8>>) -> Vec<Vec<u8>> {
    let mut requests: Vec<Vec<u8>> = datagrams
        .filter(|datagram| is_request(datagram))
        .filter(|datagram| kind(datagram) != CONTROL && datagram[16] != GET_INFO)
        .map(|datagram| {
            let mut datagram = datagram.clone();
            datagram[4..6].fill(0);
            datagram[8..16].fill(0);
            datagram
        })
        .collect();
    requests.sort();
    requests
}

fn must_be_read(datagrams: &[Vec<u8>], command: &str) {
    let mut family = datagrams.iter().filter(|datagram| is_request(datagram)).map(|d| kind(d));
    let family = FamilyId(family.rfind(|kind| *kind != CONTROL).expect("a request"));
    let mut answers = 0;
    for datagram in datagrams.iter().filter(|datagram| !is_request(datagram)) {
        for incoming in replies(datagram, family) {
            let incoming = incoming.unwrap_or_else(|error| panic!("{command}: {error}"));
            assert!(!matches!(incoming.reply, Reply::Other { .. }), "{command}: {incoming:?}");
            answers += 1;
        }
    }
    assert!(answers > 0, "{command}: no answer was heard");
}
