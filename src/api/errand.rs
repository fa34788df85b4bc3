//! Commands that are run on another node for who asks there: words go, what they print and how they end comes back, as frames
//! of one kind byte, a length of four bytes (big endian) and so many bytes.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Stdio;

use clap::Parser;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::cli::{self, Cli};
use crate::kernel::program;
use crate::state_dir::{ERRAND, HERE};

/// Into the command; an empty one is the end of what it can read.
const INPUT: u8 = 0;
const OUTPUT: u8 = 1;
const COMPLAINT: u8 = 2;
/// The exit code, one byte.
const EXIT: u8 = 3;
/// The longest frame, in bytes.
const LONGEST: usize = 64 << 10;
/// What a command gave that was ended by a signal or could not be started.
const UNKNOWN: u8 = 70;

/// Whether a command is something that one node does for another: to look, and what belongs to a
/// task. All else goes by the store.
pub fn is_allowed(command: &cli::Command) -> bool {
    match command {
        cli::Command::Listeners | cli::Command::Events(_) => true,
        cli::Command::Task(_)
        | cli::Command::Image(_)
        | cli::Command::Inspect(_)
        | cli::Command::Sandbox(_) => true,
        cli::Command::Export(command) => {
            matches!(command, cli::export::Command::Prometheus { listen: None })
        }
        cli::Command::Service(command) => matches!(command, cli::service::Command::Logs { .. }),
        cli::Command::Diag(command) => {
            matches!(command, cli::diag::Command::Dns { .. } | cli::diag::Command::Check { .. })
        }
        cli::Command::Agent(command) => matches!(command, cli::agent::Command::Status),
        cli::Command::System(command) => matches!(command, cli::system::Command::Info),
        _ => false,
    }
}

/// Whether these words are such a command.
pub fn are_allowed(words: &[String]) -> bool {
    let typed = std::iter::once("swarmlb").chain(words.iter().map(String::as_str));
    Cli::try_parse_from(typed).is_ok_and(|cli| is_allowed(&cli.command))
}

type Frame = (u8, Vec<u8>);

async fn send(stream: &mut (impl AsyncWrite + Unpin), (kind, bytes): &Frame) -> io::Result<()> {
    let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    stream.write_u8(*kind).await?;
    stream.write_u32(length).await?;
    stream.write_all(bytes).await?;
    stream.flush().await
}

async fn receive(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Frame> {
    let kind = stream.read_u8().await?;
    let length = stream.read_u32().await? as usize;
    if length > LONGEST {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a frame too long"));
    }
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await?;
    Ok((kind, bytes))
}

/// Makes frames of what is read, until its end.
async fn frame(kind: u8, mut from: impl AsyncRead + Unpin, frames: Sender<Frame>) {
    let mut buffer = vec![0; LONGEST];
    while let Ok(length) = from.read(&mut buffer).await {
        let ended = length == 0;
        // Only what the command reads has an end that is told.
        if ended && kind != INPUT {
            return;
        }
        let sent = frames.send((kind, buffer[..length].to_vec())).await;
        if ended || sent.is_err() {
            return;
        }
    }
}

/// Runs a command for another node. It ends when whoever asked is gone.
pub async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    state_dir: &Path,
    words: &[String],
) -> io::Result<()> {
    let mut command = program::command("/proc/self/exe");
    command.arg0("swarmlb").args(words).env(HERE, state_dir).env(ERRAND, "1");
    let mut command = tokio::process::Command::from(command);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn()?;
    let (sender, mut frames) = channel(4);
    if let Some(stdout) = child.stdout.take() {
        tokio::spawn(frame(OUTPUT, stdout, sender.clone()));
    }
    if let Some(stderr) = child.stderr.take() {
        tokio::spawn(frame(COMPLAINT, stderr, sender.clone()));
    }
    drop(sender);
    let mut stdin = child.stdin.take();
    let (mut from, mut to) = tokio::io::split(stream);
    let (inputs, mut input) = channel(4);
    // A frame is read whole: no other branch may cut it off.
    let reader = async move {
        while let Ok(frame) = receive(&mut from).await {
            if inputs.send(frame).await.is_err() {
                return;
            }
        }
    };
    let work = async {
        loop {
            tokio::select! {
                sent = frames.recv() => match sent {
                    Some(frame) => send(&mut to, &frame).await?,
                    None => break,
                },
                Some((INPUT, bytes)) = input.recv() => match (&mut stdin, bytes.is_empty()) {
                    (Some(pipe), false) => {
                        if pipe.write_all(&bytes).await.is_err() {
                            stdin = None;
                        }
                    }
                    _ => stdin = None,
                },
            }
        }
        let code = child.wait().await?.code().and_then(|code| u8::try_from(code).ok());
        send(&mut to, &(EXIT, vec![code.unwrap_or(UNKNOWN)])).await
    };
    tokio::select! {
        done = work => done,
        // Who asked has gone; the command is ended with its handle.
        () = reader => Ok(()),
    }
}

/// Where what comes back goes.
pub trait Sink {
    /// # Errors
    /// When nobody reads it any more.
    fn output(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// # Errors
    /// When nobody reads it any more.
    fn complaint(&mut self, bytes: &[u8]) -> io::Result<()>;
}

/// Has a command run on the other side, and says how it ended.
pub async fn ask(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    input: bool,
    sink: &mut impl Sink,
) -> io::Result<u8> {
    let (mut from, mut to) = tokio::io::split(stream);
    let (sender, mut inputs): (Sender<Frame>, Receiver<Frame>) = channel(4);
    if input {
        tokio::spawn(frame(INPUT, tokio::io::stdin(), sender));
    } else {
        // Who has ended already reads nothing any more; what it said comes all the same.
        let _ended = send(&mut to, &(INPUT, Vec::new())).await;
    }
    let feed = async move {
        while let Some(frame) = inputs.recv().await {
            if send(&mut to, &frame).await.is_err() {
                break;
            }
        }
        // The other side takes a connection that closes for the end of interest.
        std::future::pending::<()>().await;
    };
    let hear = async {
        loop {
            match receive(&mut from).await? {
                (OUTPUT, bytes) => sink.output(&bytes)?,
                (COMPLAINT, bytes) => sink.complaint(&bytes)?,
                (EXIT, code) => return Ok(code.first().copied().unwrap_or(UNKNOWN)),
                _ => {}
            }
        }
    };
    tokio::select! {
        code = hear => code,
        () = feed => Ok(UNKNOWN),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(line: &str) -> bool {
        are_allowed(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn another_node_may_look_and_not_change_what_is_asked_for() {
        assert!(allowed("sandbox dump web.1 --table ipvs"));
        assert!(allowed("--format json inspect vip web"));
        assert!(allowed("task exec web.1 -- cat --state-dir"));
        assert!(!allowed("service rm web"));
        assert!(!allowed("system reset --yes"));
        assert!(!allowed("keeper"));
        assert!(!allowed("task"));
        assert!(!allowed(""));
    }

    #[tokio::test]
    async fn a_frame_is_read_as_it_was_sent() {
        let (mut one, mut other) = tokio::io::duplex(64);
        send(&mut one, &(OUTPUT, b"hello".to_vec())).await.unwrap();
        assert_eq!(receive(&mut other).await.unwrap(), (OUTPUT, b"hello".to_vec()));
        one.write_all(&[OUTPUT, 255, 0, 0, 0]).await.unwrap();
        assert!(receive(&mut other).await.is_err());
    }
}
