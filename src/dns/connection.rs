//! One TCP connection to a resolver: many queries, pipelined, replies in the order they are ready
//! (RFC 7766, 6.2.1.1).
//!
//! A client that sends nothing whole, or takes nothing, within [`IDLE`] is cut. A length that is
//! announced reserves no memory; only bytes that came do.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::request::{LONGEST_QUERY, Transport};
use super::server::{Decision, Sandbox};

/// How long a connection may rest without a whole query or a reply (RFC 7766, 6.2.3: seconds).
const IDLE: Duration = Duration::from_secs(10);
/// Forwarded queries of one connection at a time; further ones wait in the socket.
const PIPELINE: usize = 64;

/// Why a connection ends before its client ended it.
#[derive(Debug, thiserror::Error)]
enum Cut {
    #[error("nothing whole came, or nothing was taken, for {} s", IDLE.as_secs())]
    Idle,
    #[error("a query of {0} bytes")]
    TooLong(usize),
    #[error("a message that is no query")]
    Noise,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Serves a connection until its client ends it or it is cut. Nobody waits to hear why.
pub(super) async fn serve(stream: TcpStream, sandbox: Arc<Sandbox>) {
    let mut connection = Connection {
        stream,
        sandbox,
        arrived: Vec::new(),
        input: Input::Open,
        forwards: JoinSet::new(),
    };
    let _: Result<(), Cut> = connection.run().await;
}

struct Connection {
    stream: TcpStream,
    sandbox: Arc<Sandbox>,
    /// Bytes that came and are not used up.
    arrived: Vec<u8>,
    input: Input,
    forwards: JoinSet<Option<Vec<u8>>>,
}

/// Whether the client may still send.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Input {
    Open,
    /// It has closed its half; what it asked is still answered.
    Ended,
}

impl Connection {
    async fn run(&mut self) -> Result<(), Cut> {
        let mut deadline = Instant::now() + IDLE;
        loop {
            while self.forwards.len() < PIPELINE
                && let Some(query) = next_query(&mut self.arrived)?
            {
                self.take(query).await?;
                deadline = Instant::now() + IDLE;
            }
            if self.input == Input::Ended && self.forwards.is_empty() {
                return Ok(());
            }
            let reads = self.input == Input::Open && self.forwards.len() < PIPELINE;
            let waits = !self.forwards.is_empty();
            tokio::select! {
                ready = self.stream.readable(), if reads => {
                    ready?;
                    self.read()?;
                }
                Some(done) = self.forwards.join_next() => {
                    if let Ok(Some(reply)) = done {
                        self.write(&reply).await?;
                    }
                    deadline = Instant::now() + IDLE;
                }
                () = sleep_until(deadline), if !waits => return Err(Cut::Idle),
            }
        }
    }

    /// Takes in what came, up to one query's length at a time.
    fn read(&mut self) -> io::Result<()> {
        let mut buffer = [0; LONGEST_QUERY];
        match self.stream.try_read(&mut buffer) {
            Ok(0) => self.input = Input::Ended,
            Ok(length) => self.arrived.extend_from_slice(buffer.get(..length).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    async fn take(&mut self, query: Vec<u8>) -> Result<(), Cut> {
        let mut reply = Vec::new();
        match self.sandbox.decide(&query, Transport::Tcp, &mut reply) {
            Decision::Reply => self.write(&reply).await,
            Decision::Forward(permit) => {
                let forward = forward(Arc::clone(&self.sandbox), query, permit);
                self.forwards.spawn(forward);
                Ok(())
            }
            Decision::Drop => Err(Cut::Noise),
        }
    }

    async fn write(&mut self, reply: &[u8]) -> Result<(), Cut> {
        let length = u16::try_from(reply.len()).map_err(|_| Cut::TooLong(reply.len()))?;
        let mut frame = Vec::with_capacity(2 + reply.len());
        frame.extend(length.to_be_bytes());
        frame.extend(reply);
        timeout(IDLE, self.stream.write_all(&frame)).await.map_err(|_| Cut::Idle)??;
        Ok(())
    }
}

async fn forward(
    sandbox: Arc<Sandbox>,
    query: Vec<u8>,
    permit: OwnedSemaphorePermit,
) -> Option<Vec<u8>> {
    let reply = sandbox.forward(&query, Transport::Tcp).await;
    drop(permit);
    reply
}

/// Splits off the first query when it is whole, and gives the memory back when nothing is left.
fn next_query(arrived: &mut Vec<u8>) -> Result<Option<Vec<u8>>, Cut> {
    let Some((prefix, rest)) = arrived.split_first_chunk() else {
        return Ok(None);
    };
    let length = usize::from(u16::from_be_bytes(*prefix));
    if length > LONGEST_QUERY {
        return Err(Cut::TooLong(length));
    }
    let Some(query) = rest.get(..length).map(<[u8]>::to_vec) else {
        return Ok(None);
    };
    arrived.drain(..2 + length);
    if arrived.is_empty() {
        *arrived = Vec::new();
    }
    Ok(Some(query))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_split_wherever_the_stream_was_cut() -> Result<(), Cut> {
        let stream = [0, 3, 1, 2, 3, 0, 0, 0, 1, 9];
        for cut in 0..=stream.len() {
            let (first, second) = stream.split_at(cut);
            let mut arrived = first.to_vec();
            let mut queries = Vec::new();
            while let Some(query) = next_query(&mut arrived)? {
                queries.push(query);
            }
            arrived.extend(second);
            while let Some(query) = next_query(&mut arrived)? {
                queries.push(query);
            }
            assert_eq!(queries, [vec![1, 2, 3], vec![], vec![9]], "cut at {cut}");
            assert_eq!(arrived.capacity(), 0);
        }
        Ok(())
    }

    #[test]
    fn a_query_that_is_announced_too_long_is_refused_before_it_comes() {
        let mut arrived = vec![0x10, 0x01];
        assert!(matches!(next_query(&mut arrived), Err(Cut::TooLong(4097))));
    }
}
