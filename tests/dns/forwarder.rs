//! Forwarding to name servers that misbehave in every way we must survive.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType;
use swarmlb::dns::forwarder::{ForwardError, Forwarder, UPSTREAM_TIMEOUT, UpstreamError};
use swarmlb::dns::request::Transport;

use crate::fixture::{LOCAL, SOON, Upstream, addresses, answered, coded, cut, query};

const AT_ONCE: Duration = Duration::from_millis(900);

async fn forward(
    upstreams: &[&Upstream],
    message: &Message,
    transport: Transport,
) -> Result<Message, ForwardError> {
    let upstreams = upstreams.iter().map(|upstream| upstream.address);
    let forwarder = Forwarder::to(upstreams.collect());
    let bytes = message.to_vec().unwrap();
    let reply = forwarder.forward(&bytes, transport).await?;
    let reply = Message::from_vec(&reply).unwrap();
    assert_eq!(reply.metadata.id, message.metadata.id);
    Ok(reply)
}

async fn forward_udp(upstreams: &[&Upstream]) -> Result<Message, ForwardError> {
    forward(upstreams, &query("elsewhere.example", RecordType::A), Transport::Udp).await
}

#[tokio::test]
async fn bytes_pass_unchanged_but_for_the_id() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let record = Arc::clone(&seen);
    // A type that nobody knows, with a compressed owner name and data of its own.
    let tail = [0xc0, 12, 0xfe, 0xdc, 0, 1, 0, 0, 0, 9, 0, 3, 0xaa, 0xbb, 0xcc];
    let upstream = Upstream::udp(move |query| {
        record.lock().unwrap().push(query.to_vec());
        let mut reply = [query, &tail].concat();
        *reply.get_mut(2).unwrap() |= 0x80;
        *reply.get_mut(7).unwrap() = 1;
        vec![reply]
    })
    .await;
    let forwarder = Forwarder::to(vec![upstream.address]);
    for _ in 0..8 {
        let asked = query("MiXed.Example", RecordType::Unknown(0xfedc));
        let bytes = asked.to_vec().unwrap();
        let reply = forwarder.forward(&bytes, Transport::Udp).await.unwrap();
        let mut expected = [bytes.as_slice(), &tail].concat();
        *expected.get_mut(2).unwrap() |= 0x80;
        *expected.get_mut(7).unwrap() = 1;
        assert_eq!(reply, expected);
        let outgoing = seen.lock().unwrap().last().unwrap().clone();
        assert_eq!(outgoing.get(2..), bytes.get(2..));
    }
    let ids = seen.lock().unwrap();
    let first = ids.first().unwrap().get(..2);
    assert!(ids.iter().any(|query| query.get(..2) != first));
}

#[tokio::test]
async fn a_cut_reply_is_asked_for_again_by_tcp_only_for_a_client_of_tcp() {
    let upstream =
        Upstream::start(|query| vec![cut(query)], |query| vec![answered(query, [192, 0, 2, 7])])
            .await;
    let asked = query("big.example", RecordType::A);
    let passed_on = forward(&[&upstream], &asked, Transport::Udp).await.unwrap();
    assert!(passed_on.metadata.truncation && passed_on.answers.is_empty());
    let whole = forward(&[&upstream], &asked, Transport::Tcp).await.unwrap();
    assert!(!whole.metadata.truncation);
    assert_eq!(addresses(&whole), ["192.0.2.7"]);
}

#[tokio::test]
async fn a_failed_tcp_retry_goes_to_the_next_name_server() {
    let broken = Upstream::udp(|query| vec![cut(query)]).await;
    let next = Upstream::answering([192, 0, 2, 8]).await;
    let asked = query("big.example", RecordType::A);
    let reply = forward(&[&broken, &next], &asked, Transport::Tcp).await;
    assert_eq!(addresses(&reply.unwrap()), ["192.0.2.8"]);
}

#[tokio::test]
async fn a_server_that_declines_is_passed_over() {
    for code in [ResponseCode::ServFail, ResponseCode::Refused] {
        let first = Upstream::declining(code).await;
        let second = Upstream::answering([192, 0, 2, 2]).await;
        let began = Instant::now();
        let reply = forward_udp(&[&first, &second]).await.unwrap();
        assert_eq!(addresses(&reply), ["192.0.2.2"]);
        assert!(began.elapsed() < AT_ONCE);
        let failure = forward_udp(&[&first]).await.unwrap_err();
        assert!(matches!(
            failure,
            ForwardError::NoAnswer { asked: 1, last: UpstreamError::Declined(found), .. } if found == code
        ));
    }
}

#[tokio::test]
async fn a_name_that_does_not_exist_is_an_answer() {
    let first = Upstream::declining(ResponseCode::NXDomain).await;
    let second = Upstream::answering([192, 0, 2, 2]).await;
    let reply = forward_udp(&[&first, &second]).await.unwrap();
    assert_eq!(reply.metadata.response_code, ResponseCode::NXDomain);
}

#[tokio::test]
async fn forged_replies_are_passed_over() {
    let upstream = Upstream::udp(|query| {
        let mut wrong_id = answered(query, [203, 0, 113, 1]);
        *wrong_id.first_mut().unwrap() ^= 1;
        let mut other = Message::from_vec(query).unwrap();
        other.queries = crate::fixture::query("other.example", RecordType::A).queries;
        let wrong_question = answered(&other.to_vec().unwrap(), [203, 0, 113, 2]);
        let no_question = {
            let mut reply = Message::from_vec(query).unwrap().into_response();
            reply.queries.clear();
            reply.to_vec().unwrap()
        };
        let right = answered(query, [192, 0, 2, 3]);
        vec![vec![], vec![0; 5], query.to_vec(), wrong_id, wrong_question, no_question, right]
    })
    .await;
    let reply = forward_udp(&[&upstream]).await.unwrap();
    assert_eq!(addresses(&reply), ["192.0.2.3"]);
}

#[tokio::test]
async fn a_lost_datagram_is_sent_again() {
    let mut heard = 0;
    let upstream = Upstream::udp(move |query| {
        heard += 1;
        match heard {
            1 => Vec::new(),
            _ => vec![answered(query, [192, 0, 2, 4])],
        }
    })
    .await;
    let reply = forward_udp(&[&upstream]).await.unwrap();
    assert_eq!(addresses(&reply), ["192.0.2.4"]);
}

#[tokio::test]
async fn a_silent_server_costs_its_time_and_no_more() {
    let silent = Upstream::silent().await;
    let second = Upstream::answering([192, 0, 2, 5]).await;
    let began = Instant::now();
    let reply = forward_udp(&[&silent, &second]).await.unwrap();
    assert_eq!(addresses(&reply), ["192.0.2.5"]);
    assert!(began.elapsed() >= UPSTREAM_TIMEOUT);
    assert!(began.elapsed() < UPSTREAM_TIMEOUT + AT_ONCE);
    let began = Instant::now();
    let failure = forward_udp(&[&silent]).await.unwrap_err();
    assert!(matches!(failure, ForwardError::NoAnswer { asked: 1, .. }));
    assert!(began.elapsed() < UPSTREAM_TIMEOUT + AT_ONCE);
}

#[tokio::test]
async fn a_silent_server_is_asked_last_for_a_while() {
    let silent = Upstream::silent().await;
    let second = Upstream::answering([192, 0, 2, 5]).await;
    let forwarder = Forwarder::to(vec![silent.address, second.address]);
    let asked = query("elsewhere", RecordType::A).to_vec().unwrap();
    forwarder.forward(&asked, Transport::Udp).await.unwrap();
    let began = Instant::now();
    forwarder.forward(&asked, Transport::Udp).await.unwrap();
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
}

#[tokio::test]
async fn three_silent_servers_are_told_before_the_client_gives_up() {
    let silent = [Upstream::silent().await, Upstream::silent().await, Upstream::silent().await];
    let began = Instant::now();
    let failure = forward_udp(&[&silent[0], &silent[1], &silent[2]]).await.unwrap_err();
    assert!(matches!(failure, ForwardError::NoAnswer { asked: 3, .. }));
    // glibc waits 5 seconds.
    assert!(began.elapsed() < Duration::from_millis(4900), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_closed_port_costs_no_time() {
    let closed = Upstream::silent().await;
    let address = {
        let socket = std::net::UdpSocket::bind(LOCAL).unwrap();
        socket.local_addr().unwrap()
    };
    drop(closed);
    let second = Upstream::answering([192, 0, 2, 6]).await;
    let forwarder = Forwarder::to(vec![address, second.address]);
    let asked = query("elsewhere", RecordType::A).to_vec().unwrap();
    let began = Instant::now();
    let reply = forwarder.forward(&asked, Transport::Udp).await.unwrap();
    assert_eq!(addresses(&Message::from_vec(&reply).unwrap()), ["192.0.2.6"]);
    assert!(began.elapsed() < AT_ONCE);
}

#[tokio::test]
async fn a_server_that_refuses_without_a_question_has_answered() {
    let upstream = Upstream::udp(|query| {
        let mut reply = Message::from_vec(&coded(query, ResponseCode::NotImp)).unwrap();
        reply.queries.clear();
        vec![reply.to_vec().unwrap()]
    })
    .await;
    let reply = forward_udp(&[&upstream]).await.unwrap();
    assert_eq!(reply.metadata.response_code, ResponseCode::NotImp);
}

#[tokio::test]
async fn with_nobody_to_ask_it_fails_at_once() {
    let asked = query("elsewhere", RecordType::A).to_vec().unwrap();
    let forwarder = Forwarder::none();
    let failure = forwarder.forward(&asked, Transport::Udp).await;
    assert!(matches!(failure, Err(ForwardError::NoUpstream)));
    let failure = forwarder.forward(&[1, 2, 3], Transport::Udp).await;
    assert!(matches!(failure, Err(ForwardError::Malformed)));
}

#[test]
fn we_are_never_our_own_name_server_and_three_are_enough() {
    let listed = [
        "127.0.0.11:53",
        "[::ffff:127.0.0.11]:53",
        "192.0.2.1:53",
        "192.0.2.1:53",
        "192.0.2.2:53",
        "[2001:db8::1]:53",
        "192.0.2.4:53",
    ];
    let parsed: Vec<SocketAddr> = listed.iter().map(|text| text.parse().unwrap()).collect();
    let expected: Vec<SocketAddr> = ["192.0.2.1:53", "192.0.2.2:53", "[2001:db8::1]:53"]
        .iter()
        .map(|text| text.parse().unwrap())
        .collect();
    assert_eq!(*Forwarder::to(parsed).upstreams(), expected);
}

#[tokio::test]
async fn the_systems_file_is_read_and_read_again_when_it_changes() {
    let directory = std::env::temp_dir().join(format!("swarmlb-dns-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let file = directory.join("resolv.conf");
    let forwarder = Forwarder::file(&file);
    assert!(forwarder.upstreams().is_empty());
    let text = "search example\nnameserver 127.0.0.11\nnameserver 192.0.2.53\noptions edns0\n";
    std::fs::write(&file, text).unwrap();
    let expected: Vec<SocketAddr> = vec!["192.0.2.53:53".parse().unwrap()];
    let began = Instant::now();
    while *forwarder.upstreams() != expected {
        assert!(began.elapsed() < SOON * 2);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(*Forwarder::file(&file).upstreams(), expected);
    std::fs::remove_dir_all(&directory).unwrap();
}
