//! One sandbox's resolver, asked over loopback.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hickory_proto::op::{Edns, ResponseCode};
use hickory_proto::rr::RecordType;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use swarmlb::dns::forwarder::Forwarder;
use swarmlb::dns::server::{Counts, MOST_CONNECTIONS, MOST_FORWARDS, Resolver, Seat, Shared};
use tokio::io::AsyncWriteExt;
use tokio::sync::watch;
use tokio::task::yield_now;

use crate::fixture::{
    LOCAL, SOON, Serving, Stream, Upstream, addresses, crowded, query, seat, zone,
};

const WEB: &[(&str, &[&str])] =
    &[("web", &["10.0.1.2"]), ("tasks.web", &["10.0.1.3", "10.0.1.4", "fd00::3", "fd00::4"])];

#[tokio::test]
async fn addresses_take_turns_and_the_families_do_not_disturb_each_other() {
    let serving = Serving::start(zone(WEB), Forwarder::none());
    let client = serving.datagrams().await;
    let mut firsts = Vec::new();
    for _ in 0..4 {
        // As glibc asks: both families for each lookup.
        for kind in [RecordType::A, RecordType::AAAA] {
            let reply = client.ask(&query("tasks.web", kind)).await;
            firsts.extend(addresses(&reply).into_iter().next());
        }
    }
    let round = ["10.0.1.3", "fd00::3", "10.0.1.4", "fd00::4"];
    assert_eq!(firsts, [round, round].concat());
    assert_eq!(serving.counts().answered, 8);
}

#[tokio::test]
async fn the_turn_of_a_name_that_went_is_forgotten() {
    let serving = Serving::start(zone(WEB), Forwarder::none());
    let client = serving.datagrams().await;
    let mut firsts = Vec::new();
    for known in [zone(WEB), zone(&[]), zone(WEB)] {
        serving.zones.send_replace(Arc::new(known));
        let reply = client.ask(&query("tasks.web", RecordType::A)).await;
        firsts.push(addresses(&reply).into_iter().next());
    }
    let first = Some("10.0.1.3".to_owned());
    assert_eq!(firsts, [first.clone(), None, first]);
}

#[tokio::test]
async fn a_zone_is_swapped_without_losing_a_query() {
    let zones = [
        Arc::new(zone(&[("web", &["10.0.1.2"])])),
        Arc::new(zone(&[("web", &["10.0.9.9"]), ("db", &["10.0.1.7"])])),
    ];
    let serving = Serving::start((*zones[0]).clone(), Forwarder::none());
    let client = serving.datagrams().await;
    let mut seen = BTreeSet::new();
    for round in 0..2000 {
        let message = query("web", RecordType::A);
        client.send(&message).await;
        // Sometimes the swap comes before the query is read, sometimes after.
        if round % 3 == 0 {
            yield_now().await;
        }
        serving.zones.send_replace(Arc::clone(&zones[round % 2]));
        let reply = client.receive().await;
        assert_eq!(reply.metadata.id, message.metadata.id);
        assert_eq!(reply.metadata.response_code, ResponseCode::NoError);
        seen.extend(addresses(&reply));
        let settled = client.ask(&query("web", RecordType::A)).await;
        let expected = ["10.0.1.2", "10.0.9.9"][round % 2];
        assert_eq!(addresses(&settled), [expected]);
    }
    assert_eq!(seen.len(), 2);
    assert_eq!(serving.counts().answered, 4000);
}

#[tokio::test]
async fn the_last_zone_stays_when_nobody_sends_zones_any_more() {
    let serving = Serving::start(zone(WEB), Forwarder::none());
    let client = serving.datagrams().await;
    let (zones, _) = watch::channel(Arc::default());
    drop(std::mem::replace(&mut { serving.zones }, zones));
    let reply = client.ask(&query("web", RecordType::A)).await;
    assert_eq!(addresses(&reply), ["10.0.1.2"]);
}

#[tokio::test]
async fn what_udp_cannot_carry_comes_by_tcp() {
    let serving = Serving::start(crowded(), Forwarder::none());
    let client = serving.datagrams().await;
    let mut asked = query("tasks.big", RecordType::A);
    let plain = client.ask(&asked).await;
    assert!(plain.metadata.truncation && plain.answers.len() == 30);
    asked.set_edns(Edns::new().set_max_payload(2048).clone());
    client.send(&asked).await;
    let (larger, length) = client.receive_within(SOON).await.unwrap();
    assert!(larger.metadata.truncation && length <= 2048 && length > 2000);
    let mut stream = serving.stream().await;
    stream.send(&[asked]).await;
    let whole = stream.receive().await.unwrap();
    assert!(!whole.metadata.truncation);
    assert_eq!(whole.answers.len(), 300);
}

#[tokio::test]
async fn a_forwarded_query_holds_up_no_other() {
    let upstream = Upstream::silent().await;
    let serving = Serving::start(zone(WEB), Forwarder::to(vec![upstream.address]));
    let client = serving.datagrams().await;
    let slow = query("elsewhere", RecordType::A);
    client.send(&slow).await;
    let began = Instant::now();
    for _ in 0..100 {
        client.ask(&query("web", RecordType::A)).await;
    }
    assert!(began.elapsed() < Duration::from_secs(1));
    let failed = client.receive().await;
    assert_eq!(failed.metadata.id, slow.metadata.id);
    assert_eq!(failed.metadata.response_code, ResponseCode::ServFail);
    assert_eq!(failed.queries, slow.queries);
}

#[tokio::test]
async fn without_name_servers_the_unknown_fails_at_once() {
    let serving = Serving::start(zone(WEB), Forwarder::none());
    let began = Instant::now();
    let mut asked = query("elsewhere.", RecordType::MX);
    asked.set_edns(Edns::new());
    let reply = serving.datagrams().await.ask(&asked).await;
    assert_eq!(reply.metadata.response_code, ResponseCode::ServFail);
    assert!(reply.edns.is_some());
    let mut stream = serving.stream().await;
    stream.send(&[asked]).await;
    let reply = stream.receive().await.unwrap();
    assert_eq!(reply.metadata.response_code, ResponseCode::ServFail);
    assert!(began.elapsed() < Duration::from_secs(1));
}

#[tokio::test]
async fn too_many_forwarded_queries_are_refused_and_known_names_still_answered() {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, most, most).unwrap();
    let upstream = Upstream::silent().await;
    let serving = Serving::start(zone(WEB), Forwarder::to(vec![upstream.address]));
    let client = serving.datagrams().await;
    let limit = u64::try_from(MOST_FORWARDS).unwrap();
    for sent in 1..=limit {
        client.send(&query("elsewhere", RecordType::A)).await;
        if sent % 32 == 0 {
            serving.counted(|counts| counts.forwarded == sent).await;
        }
    }
    let refused = client.ask(&query("elsewhere", RecordType::A)).await;
    assert_eq!(refused.metadata.response_code, ResponseCode::Refused);
    let known = client.ask(&query("web", RecordType::A)).await;
    assert_eq!(addresses(&known), ["10.0.1.2"]);
    let expected = Counts { answered: 1, forwarded: limit, refused: 1, malformed: 0 };
    assert_eq!(serving.counts(), expected);
}

#[tokio::test]
async fn noise_is_dropped_and_counted() {
    let serving = Serving::start(zone(WEB), Forwarder::none());
    let client = serving.datagrams().await;
    client.0.send(&[]).await.unwrap();
    client.0.send(&[1, 2, 3]).await.unwrap();
    let mut echo = query("web", RecordType::A);
    echo = echo.into_response();
    client.send(&echo).await;
    client.0.send(&[0; 12]).await.unwrap();
    let complaint = client.receive().await;
    assert_eq!(complaint.metadata.response_code, ResponseCode::FormErr);
    client.ask(&query("web", RecordType::A)).await;
    assert_eq!((serving.counts().malformed, serving.counts().answered), (4, 1));
}

#[tokio::test]
async fn pipelined_queries_are_all_answered_and_a_slow_one_holds_up_none() {
    let open = Arc::new(AtomicBool::new(false));
    let gate = Arc::clone(&open);
    // The first datagram is lost on purpose, so the forwarded query is the last to be answered.
    let upstream = Upstream::udp(move |query| match gate.swap(true, Ordering::Relaxed) {
        false => Vec::new(),
        true => vec![crate::fixture::answered(query, [192, 0, 2, 1])],
    })
    .await;
    let serving = Serving::start(zone(WEB), Forwarder::to(vec![upstream.address]));
    let mut stream = serving.stream().await;
    let slow = query("elsewhere", RecordType::A);
    let mut asked = vec![slow.clone()];
    asked.extend((0..50).map(|_| query("web", RecordType::A)));
    stream.send(&asked).await;
    for expected in asked.iter().skip(1) {
        let reply = stream.receive().await.unwrap();
        assert_eq!(reply.metadata.id, expected.metadata.id);
        assert_eq!(addresses(&reply), ["10.0.1.2"]);
    }
    let last = stream.receive().await.unwrap();
    assert_eq!(last.metadata.id, slow.metadata.id);
    assert_eq!(addresses(&last), ["192.0.2.1"]);
    stream.send(&[query("web", RecordType::A)]).await;
    assert!(stream.receive().await.is_some());
}

#[tokio::test]
async fn more_forwarded_queries_than_a_connection_may_have_at_a_time_are_all_answered() {
    let upstream = Upstream::answering([192, 0, 2, 1]).await;
    let serving = Serving::start(zone(WEB), Forwarder::to(vec![upstream.address]));
    let mut stream = serving.stream().await;
    let asked: Vec<_> = (0..200).map(|_| query("elsewhere", RecordType::A)).collect();
    stream.send(&asked).await;
    stream.0.shutdown().await.unwrap();
    for _ in &asked {
        assert_eq!(addresses(&stream.receive().await.unwrap()), ["192.0.2.1"]);
    }
    assert!(stream.receive().await.is_none());
    assert_eq!(serving.counts().forwarded, 200);
}

#[tokio::test]
async fn a_client_that_ends_its_half_still_gets_its_answers() {
    let upstream = Upstream::answering([192, 0, 2, 1]).await;
    let serving = Serving::start(zone(WEB), Forwarder::to(vec![upstream.address]));
    let mut stream = serving.stream().await;
    let asked = [query("elsewhere", RecordType::A), query("web", RecordType::A)];
    stream.send(&asked).await;
    stream.0.shutdown().await.unwrap();
    assert_eq!(addresses(&stream.receive().await.unwrap()), ["10.0.1.2"]);
    assert_eq!(addresses(&stream.receive().await.unwrap()), ["192.0.2.1"]);
    assert!(stream.receive().await.is_none());
}

#[tokio::test]
async fn noise_on_a_connection_ends_it_and_no_other() {
    let serving = Serving::start(zone(WEB), Forwarder::none());
    let mut good = serving.stream().await;
    for noise in [&[0, 0][..], &[0, 3, 1, 2, 3], &[0xff, 0xff, 0, 0]] {
        let mut bad = serving.stream().await;
        bad.0.write_all(noise).await.unwrap();
        assert!(bad.receive().await.is_none());
    }
    good.send(&[query("web", RecordType::A)]).await;
    assert!(good.receive().await.is_some());
}

#[tokio::test]
async fn a_slow_client_is_cut_and_holds_up_nobody() {
    let serving = Serving::start(zone(WEB), Forwarder::none());
    let mut dripping = serving.stream().await;
    let mut resting = serving.stream().await;
    resting.send(&[query("web", RecordType::A)]).await;
    assert!(resting.receive().await.is_some());
    let began = Instant::now();
    let drip = async {
        // A byte now and then of 257 is no query: it must not put the end off.
        while dripping.0.write_all(&[1]).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(500)).await;
            if began.elapsed() > Duration::from_secs(2) && began.elapsed() < SOON {
                let mut other = serving.stream().await;
                other.send(&[query("web", RecordType::A)]).await;
                assert!(other.receive().await.is_some());
            }
            if began.elapsed() > Duration::from_secs(20) {
                break;
            }
        }
        began.elapsed()
    };
    let rest = async {
        assert!(resting.receive_within(SOON * 4).await.is_none());
        began.elapsed()
    };
    let (dripped, rested) = tokio::join!(drip, rest);
    for lasted in [dripped, rested] {
        assert!(lasted > Duration::from_secs(9), "{lasted:?}");
        assert!(lasted < Duration::from_secs(13), "{lasted:?}");
    }
}

#[tokio::test]
async fn a_client_that_takes_no_replies_is_cut_and_holds_up_nobody() {
    let serving = Serving::start(crowded(), Forwarder::none());
    let greedy = serving.stream().await;
    let asked: Vec<_> = (0..100).map(|_| query("tasks.big", RecordType::A)).collect();
    let frames: Vec<u8> = asked.iter().flat_map(crate::fixture::frame).collect();
    let began = Instant::now();
    // Replies of 5 KB fill the sockets' buffers; then the server reads no more either.
    let greed = async {
        let (_unread, mut writing) = greedy.0.into_split();
        while writing.write_all(&frames).await.is_ok() {
            assert!(began.elapsed() < Duration::from_secs(20), "it is never cut");
        }
    };
    let others = async {
        while began.elapsed() < Duration::from_secs(2) {
            let mut other = serving.stream().await;
            other.send(&[query("tasks.big", RecordType::A)]).await;
            assert!(other.receive().await.is_some());
            serving.datagrams().await.ask(&query("tasks.big", RecordType::A)).await;
        }
    };
    tokio::join!(greed, others);
    assert!(began.elapsed() > Duration::from_secs(9), "{:?}", began.elapsed());
}

#[tokio::test]
async fn garbage_by_either_way_is_survived() {
    let serving = Serving::start(zone(WEB), Forwarder::none());
    let client = serving.datagrams().await;
    // Xorshift (Marsaglia 2003) from a fixed seed.
    let mut state = 0x5eed_0003_u64;
    let mut roll = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for round in 0..2000 {
        let length = usize::try_from(roll() % 600).unwrap();
        let mut bytes: Vec<u8> = (0..length).map(|_| roll().to_le_bytes()[0]).collect();
        if let (0, Some(header)) = (round % 2, bytes.first_chunk_mut()) {
            *header = [9, 9, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1_u8];
        }
        client.0.send(&bytes).await.unwrap();
        if round % 20 == 0 {
            let mut stream = serving.stream().await;
            let _ = stream.0.write_all(&bytes).await;
            client.drain().await;
        }
    }
    client.drain().await;
    let known = client.ask(&query("web", RecordType::A)).await;
    assert_eq!(addresses(&known), ["10.0.1.2"]);
    let mut stream = serving.stream().await;
    stream.send(&[query("web", RecordType::A)]).await;
    assert_eq!(addresses(&stream.receive().await.unwrap()), ["10.0.1.2"]);
}

#[tokio::test]
async fn sandboxes_begin_their_rotation_in_turn() {
    let mut firsts = BTreeSet::new();
    for first_turn in 0..2 {
        let seat = Seat {
            first_turn,
            ..seat(
                std::net::UdpSocket::bind(LOCAL).unwrap(),
                std::net::TcpListener::bind(LOCAL).unwrap(),
            )
        };
        let client = crate::fixture::Datagrams::to(seat.udp.local_addr().unwrap()).await;
        let (_zones, watched) = watch::channel(Arc::new(zone(WEB)));
        let shared = Arc::new(Shared::new(Forwarder::none()).unwrap());
        let _resolver = Resolver::serve(seat, watched, shared).unwrap();
        let reply = client.ask(&query("tasks.web", RecordType::A)).await;
        firsts.extend(addresses(&reply).into_iter().next());
    }
    assert_eq!(firsts.len(), 2);
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed_at_once() {
    let serving = Serving::start(zone(WEB), Forwarder::none());
    let mut open = Vec::new();
    for _ in 0..MOST_CONNECTIONS {
        let mut stream = serving.stream().await;
        stream.send(&[query("web", RecordType::A)]).await;
        assert!(stream.receive().await.is_some());
        open.push(stream);
    }
    let mut beyond = serving.stream().await;
    assert!(beyond.receive().await.is_none());
    assert_eq!(serving.counts().refused, 1);
    drop(open.pop());
    // The server notices the end in its own time.
    let began = Instant::now();
    loop {
        let mut next = Stream::to(serving.tcp).await;
        let _ = next.0.write_all(&crate::fixture::frame(&query("web", RecordType::A))).await;
        if next.receive().await.is_some() {
            break;
        }
        assert!(began.elapsed() < SOON);
    }
}

#[tokio::test]
async fn queries_between_two_servers_wait_for_the_second() {
    let udp = std::net::UdpSocket::bind(LOCAL).unwrap();
    let tcp = std::net::TcpListener::bind(LOCAL).unwrap();
    let (_zones, watched) = watch::channel(Arc::new(zone(WEB)));
    let serve = || {
        let (udp, tcp) = (udp.try_clone().unwrap(), tcp.try_clone().unwrap());
        let shared = Shared::new(Forwarder::none()).unwrap();
        Resolver::serve(seat(udp, tcp), watched.clone(), Arc::new(shared)).unwrap()
    };
    let client = crate::fixture::Datagrams::to(udp.local_addr().unwrap()).await;
    let first = serve();
    client.ask(&query("web", RecordType::A)).await;
    drop(first);
    client.send(&query("web", RecordType::A)).await;
    let mut stream = Stream::to(tcp.local_addr().unwrap()).await;
    stream.send(&[query("web", RecordType::A)]).await;
    let nothing = client.receive_within(Duration::from_millis(100)).await;
    assert!(nothing.is_none());
    let _second = serve();
    assert_eq!(addresses(&client.receive().await), ["10.0.1.2"]);
    assert_eq!(addresses(&stream.receive().await.unwrap()), ["10.0.1.2"]);
}

#[test]
fn without_a_runtime_nothing_is_served() {
    let udp = std::net::UdpSocket::bind(LOCAL).unwrap();
    let tcp = std::net::TcpListener::bind(LOCAL).unwrap();
    let (_zones, watched) = watch::channel(Arc::default());
    let shared = Arc::new(Shared::new(Forwarder::none()).unwrap());
    assert!(Resolver::serve(seat(udp, tcp), watched, shared).is_err());
}
