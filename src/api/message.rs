//! What is said once a connection stands: one request and one answer, each a line of JSON. What follows is the request's own.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::intent::{ClusterId, NodeName};

/// A line is never longer, in bytes: a certificate is about one thousand.
const LONGEST: usize = 64 << 10;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Be let into the cluster: the one request that needs no certificate.
    Join(Candidate),
    /// From now on, the store's own protocol.
    Store,
    /// Run these words as a command on the node, as frames.
    Errand { words: Vec<String> },
}

/// A node that would join.
#[derive(Serialize, Deserialize)]
pub struct Candidate {
    pub secret: String,
    pub node: NodeName,
    pub address: Ipv4Addr,
    pub port: u16,
    /// Hexadecimal.
    pub public_key: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    Granted,
    Joined { cluster: ClusterId, certificate: String, authority: String, first: SocketAddrV4 },
    Refused { problem: String, hint: Option<String> },
}

/// Sends one line.
pub async fn say<T: Serialize>(
    stream: &mut (impl AsyncWrite + Unpin),
    message: &T,
) -> io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    stream.write_all(&line).await?;
    stream.flush().await
}

/// Hears one line, and nothing of what follows it.
pub async fn hear<T: DeserializeOwned>(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<T> {
    let mut line = Vec::new();
    loop {
        match stream.read_u8().await? {
            b'\n' => return Ok(serde_json::from_slice(&line)?),
            byte if line.len() < LONGEST => line.push(byte),
            _ => return Err(io::Error::new(io::ErrorKind::InvalidData, "a line without an end")),
        }
    }
}
