//! One call to one member, and what can go wrong with it.

use std::error::Error;
use std::future::Future;
use std::time::Duration;

use prost::Message;
use tokio::time::timeout;
use tokio_stream::StreamExt;
use tonic::client::Grpc;
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Code, ConnectError, Request, Status, Streaming};
use tonic_prost::ProstCodec;

use http::uri::PathAndQuery;

/// The longest answer, in bytes: a whole intent.
const LONGEST: usize = 512 << 20;

/// Why a member gave no answer, or not the wanted one.
#[derive(Debug, Clone)]
pub(super) enum Fault {
    /// Another member may answer, or this one later. `sent` when it may have done what was asked.
    Passing {
        sentence: String,
        sent: bool,
    },
    LeaseGone,
    Compacted,
    Denied,
    /// Full beyond the quota.
    Full(String),
    /// More than etcd takes at once unless the option says so.
    OverLimit {
        option: &'static str,
        sentence: String,
    },
    /// Any other refusal, in etcd's words.
    Refused(String),
}

impl From<Status> for Fault {
    fn from(status: Status) -> Self {
        let sentence = words(&status);
        match status.code() {
            Code::NotFound if sentence.contains("lease not found") => Self::LeaseGone,
            Code::OutOfRange if sentence.contains("compacted") => Self::Compacted,
            Code::InvalidArgument if sentence.contains("too many operations") => {
                Self::OverLimit { option: "--max-txn-ops", sentence }
            }
            Code::InvalidArgument | Code::ResourceExhausted
                if sentence.contains("too large") || sentence.contains("larger than max") =>
            {
                Self::OverLimit { option: "--max-request-bytes", sentence }
            }
            Code::ResourceExhausted if sentence.contains("space exceeded") => Self::Full(sentence),
            Code::Unauthenticated | Code::PermissionDenied => Self::Denied,
            Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::FailedPrecondition
            | Code::OutOfRange
            | Code::Unimplemented => Self::Refused(sentence),
            _ => Self::Passing { sent: !was_unconnected(&status), sentence },
        }
    }
}

impl Fault {
    fn slow() -> Self {
        Self::Passing { sentence: "no answer in time".into(), sent: true }
    }

    pub(super) fn is_passing(&self) -> bool {
        matches!(self, Self::Passing { .. })
    }
}

fn causes<'a>(status: &'a Status) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    let mut next = Error::source(status);
    std::iter::from_fn(move || {
        let cause = next?;
        next = cause.source();
        Some(cause)
    })
}

fn was_unconnected(status: &Status) -> bool {
    causes(status).any(|cause| cause.is::<ConnectError>())
}

/// The innermost cause says most: that a connection was refused, or what is wrong with a certificate.
fn words(status: &Status) -> String {
    match causes(status).last() {
        Some(cause) => cause.to_string(),
        None => status.message().to_owned(),
    }
}

fn client(channel: &Channel) -> Grpc<Channel> {
    Grpc::new(channel.clone()).max_decoding_message_size(LONGEST)
}

async fn ready(client: &mut Grpc<Channel>) -> Result<(), Fault> {
    client.ready().await.map_err(|error| Fault::from(Status::from_error(Box::new(error))))
}

async fn in_time<T>(
    limit: Duration,
    answer: impl Future<Output = Result<T, Fault>>,
) -> Result<T, Fault> {
    timeout(limit, answer).await.unwrap_or_else(|_| Err(Fault::slow()))
}

/// Asks one question and gives the one answer.
pub(super) async fn ask<Q, A>(
    channel: &Channel,
    method: &'static str,
    question: Q,
    limit: Duration,
) -> Result<A, Fault>
where
    Q: Message + 'static,
    A: Message + Default + 'static,
{
    in_time(limit, async {
        let mut client = client(channel);
        ready(&mut client).await?;
        let (path, codec) = (PathAndQuery::from_static(method), ProstCodec::<Q, A>::default());
        // As a stream, which some of etcd's calls are; to the others it is all the same.
        let question = Request::new(tokio_stream::once(question));
        let mut answers = client.streaming(question, path, codec).await?.into_inner();
        let answer = answers.message().await?;
        answer.ok_or_else(|| Fault::Passing { sentence: "an empty answer".into(), sent: true })
    })
    .await
}

/// Begins a stream of answers to one question, which ends when it is dropped. A member that has no leader ends it too: it
/// would learn nothing.
pub(super) async fn follow<Q, A>(
    channel: &Channel,
    method: &'static str,
    question: Q,
    limit: Duration,
) -> Result<(Streaming<A>, A), Fault>
where
    Q: Message + 'static,
    A: Message + Default + 'static,
{
    in_time(limit, async {
        let mut client = client(channel);
        ready(&mut client).await?;
        let (path, codec) = (PathAndQuery::from_static(method), ProstCodec::<Q, A>::default());
        let questions = tokio_stream::once(question).chain(tokio_stream::pending());
        let mut request = Request::new(questions);
        request.metadata_mut().insert("hasleader", MetadataValue::from_static("true"));
        let mut answers = client.streaming(request, path, codec).await?.into_inner();
        let first = answers.message().await?;
        let none = || Fault::Passing { sentence: "an empty answer".into(), sent: true };
        first.map(|first| (answers, first)).ok_or_else(none)
    })
    .await
}
