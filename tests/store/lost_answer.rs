//! A connection that breaks between a commit and its answer.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::thread;

use swarmlb::store::client::Client;
use swarmlb::store::{Store, Transaction};

use crate::Served;
use crate::conformance::{LONG, done, put};

fn forward_frame(from: &mut UnixStream, to: &mut UnixStream) -> io::Result<()> {
    let frame = read_frame(from)?;
    to.write_all(&frame)
}

fn read_frame(from: &mut UnixStream) -> io::Result<Vec<u8>> {
    let mut frame = vec![0; 4];
    from.read_exact(&mut frame)?;
    let length = u32::from_be_bytes([frame[0], frame[1], frame[2], frame[3]]);
    from.take(u64::from(length)).read_to_end(&mut frame)?;
    Ok(frame)
}

/// Takes two connections: loses the first answer of the first, and is no hindrance to the second.
fn lose_one_answer(listener: &UnixListener, server: &Path) -> io::Result<()> {
    let (mut client, mut upstream) = (listener.accept()?.0, UnixStream::connect(server)?);
    forward_frame(&mut upstream, &mut client)?;
    forward_frame(&mut client, &mut upstream)?;
    read_frame(&mut upstream)?;
    drop((client, upstream));
    let (client, upstream) = (listener.accept()?.0, UnixStream::connect(server)?);
    thread::scope(|scope| {
        scope.spawn(|| {
            let _client_left = io::copy(&mut &client, &mut &upstream);
            upstream.shutdown(Shutdown::Both)
        });
        io::copy(&mut &upstream, &mut &client).map(drop)
    })
}

/// What `ask` does over a connection that loses its first answer.
fn over_a_bad_connection(served: &Served, ask: impl FnOnce(&Client)) {
    let between = served.socket().with_file_name("between");
    let listener = UnixListener::bind(&between).expect("it binds");
    thread::scope(|scope| {
        let proxy = scope.spawn(|| lose_one_answer(&listener, &served.socket()));
        let client =
            Client::connect_within(&between, LONG).expect("it is served").with_patience(LONG);
        ask(&client);
        drop(client);
        proxy.join().expect("it does not panic").expect("both connections were made");
    });
}

#[test]
fn a_commit_whose_answer_was_lost_is_done_once() {
    let served = Served::new();
    let before = put(&served.client, "a", "1");
    over_a_bad_connection(&served, |client| {
        let swap = Transaction::new().require("a", before).put("a", "2");
        assert_eq!(done(client.commit(&swap)), before.next());
    });
    assert_eq!(served.client.load("").expect("it loads").revision, before.next());
}

#[test]
fn a_lease_revoked_without_an_answer_is_revoked() {
    let served = Served::new();
    let lease = served.client.grant(LONG).expect("it grants");
    over_a_bad_connection(&served, |client| client.revoke(lease).expect("it is gone"));
    assert!(served.client.keep_alive(lease).is_err());
}
