//! A registry that does what a test wants, on loopback.

#![allow(dead_code, reason = "each tier uses some of it")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::images::{INDEX, Image, MANIFEST, digest};

/// What it asks of who comes.
#[derive(Debug, Clone, Default)]
pub enum Door {
    #[default]
    Open,
    Basic(&'static str, &'static str),
    /// A token, which it gives itself, to these or to anybody.
    Bearer(Option<(&'static str, &'static str)>),
}

/// What is wrong with it.
#[derive(Debug, Clone, Default)]
pub struct Manners {
    pub door: Door,
    /// How many bytes of a blob it sends on one connection, before it breaks off.
    pub breaks_off_after: Option<usize>,
    /// It holds the connection then, and says nothing more.
    pub then_is_silent: bool,
    pub knows_no_ranges: bool,
    /// How many requests it answers with 503 first.
    pub troubled: usize,
}

#[derive(Debug, Default)]
struct Shelf {
    blobs: BTreeMap<String, Vec<u8>>,
    /// By tag and by digest: media type and bytes.
    manifests: BTreeMap<String, (&'static str, Vec<u8>)>,
}

/// It ends with this.
pub struct Registry {
    pub address: SocketAddr,
    shelf: Arc<Mutex<Shelf>>,
    requests: Arc<Mutex<Vec<String>>>,
    is_over: Arc<AtomicBool>,
    listening: Option<JoinHandle<()>>,
}

const TOKEN: &str = "token-of-a-test";

impl Registry {
    pub fn new(manners: Manners) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let shelf = Arc::new(Mutex::new(Shelf::default()));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let is_over = Arc::new(AtomicBool::new(false));
        let manners = Arc::new(Mutex::new(manners));
        let listening = std::thread::spawn({
            let (shelf, requests, is_over) =
                (Arc::clone(&shelf), Arc::clone(&requests), Arc::clone(&is_over));
            move || {
                for stream in listener.incoming().flatten() {
                    if is_over.load(Ordering::Relaxed) {
                        return;
                    }
                    let (shelf, requests, manners, is_over) = (
                        Arc::clone(&shelf),
                        Arc::clone(&requests),
                        Arc::clone(&manners),
                        Arc::clone(&is_over),
                    );
                    std::thread::spawn(move || {
                        let visit = Visit { shelf, requests, manners, is_over, address };
                        let _ = visit.answer(stream);
                    });
                }
            }
        });
        Self { address, shelf, requests, is_over, listening: Some(listening) }
    }

    /// Puts an image there, under a tag.
    pub fn put(&self, image: &Image, tag: &str) {
        let mut shelf = self.shelf.lock().expect("no panic");
        shelf.blobs.extend(image.blobs());
        let manifest = image.manifest_bytes();
        shelf.manifests.insert(digest(&manifest), (MANIFEST, manifest.clone()));
        shelf.manifests.insert(tag.to_owned(), (MANIFEST, manifest));
    }

    /// Puts a list of manifests there, under a tag.
    pub fn put_index(&self, index: Vec<u8>, tag: &str) {
        let mut shelf = self.shelf.lock().expect("no panic");
        shelf.manifests.insert(digest(&index), (INDEX, index.clone()));
        shelf.manifests.insert(tag.to_owned(), (INDEX, index));
    }

    /// Changes a blob, whose name stays.
    pub fn spoil(&self, digest: &str, bytes: Vec<u8>) {
        self.shelf.lock().expect("no panic").blobs.insert(digest.to_owned(), bytes);
    }

    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().expect("no panic").clone()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
        if let Some(listening) = self.listening.take() {
            let _ = listening.join();
        }
    }
}

struct Visit {
    shelf: Arc<Mutex<Shelf>>,
    requests: Arc<Mutex<Vec<String>>>,
    manners: Arc<Mutex<Manners>>,
    is_over: Arc<AtomicBool>,
    address: SocketAddr,
}

impl Visit {
    fn answer(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut lines = BufReader::new(stream.try_clone()?).lines();
        let first = lines.next().unwrap_or_else(|| Ok(String::new()))?;
        let path = match first.split(' ').collect::<Vec<_>>()[..] {
            ["GET", path, _] => path.to_owned(),
            // TLS, or somebody who only looks.
            _ => return Ok(()),
        };
        let (mut range, mut shown) = (0, String::new());
        for line in lines {
            let line = line?;
            let Some((name, value)) = line.split_once(": ") else { break };
            match name.to_ascii_lowercase().as_str() {
                "range" => {
                    let from = value.trim_start_matches("bytes=").trim_end_matches('-');
                    range = from.parse().unwrap_or(0);
                }
                "authorization" => value.clone_into(&mut shown),
                _ => {}
            }
        }
        self.requests.lock().expect("no panic").push(format!("{path} {range}"));
        if let Some(query) = path.strip_prefix("/token?") {
            return self.give_token(&mut stream, query, &shown);
        }
        if std::mem::take(&mut self.manners.lock().expect("no panic").troubled) > 0 {
            return respond(&mut stream, "503 Service Unavailable", "", b"");
        }
        if let Some(challenge) = self.challenge(&shown) {
            let header = format!("WWW-Authenticate: {challenge}\r\n");
            let body =
                br#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#;
            return respond(&mut stream, "401 Unauthorized", &header, body);
        }
        self.give(&mut stream, &path, range)
    }

    fn challenge(&self, shown: &str) -> Option<String> {
        let basic = |name: &str, password: &str| {
            format!("Basic {}", STANDARD.encode(format!("{name}:{password}")))
        };
        let (wanted, challenge) = match &self.manners.lock().expect("no panic").door {
            Door::Open => return None,
            Door::Basic(name, password) => (basic(name, password), "Basic realm=\"test\"".into()),
            Door::Bearer(_) => {
                let realm = format!("http://{}/token", self.address);
                (format!("Bearer {TOKEN}"), format!("Bearer realm=\"{realm}\",service=\"test\""))
            }
        };
        (shown != wanted).then_some(challenge)
    }

    fn give_token(&self, stream: &mut TcpStream, query: &str, shown: &str) -> std::io::Result<()> {
        let door = self.manners.lock().expect("no panic").door.clone();
        let is_known = match door {
            Door::Bearer(Some((name, password))) => {
                shown == format!("Basic {}", STANDARD.encode(format!("{name}:{password}")))
            }
            _ => true,
        };
        let is_asked = query.contains("service=test") && query.contains("scope=repository%3A");
        let is_asked = is_asked || query.contains("scope=repository:");
        match is_known && is_asked {
            true => respond(stream, "200 OK", "", format!(r#"{{"token":"{TOKEN}"}}"#).as_bytes()),
            false => {
                let body = br#"{"errors":[{"code":"DENIED","message":"wrong password"}]}"#;
                respond(stream, "401 Unauthorized", "", body)
            }
        }
    }

    fn give(&self, stream: &mut TcpStream, path: &str, range: usize) -> std::io::Result<()> {
        if path == "/v2/" {
            return respond(stream, "200 OK", "", b"{}");
        }
        let which = path.rsplit('/').next().unwrap_or_default();
        let manners = self.manners.lock().expect("no panic").clone();
        let shelf = self.shelf.lock().expect("no panic");
        if path.contains("/manifests/") {
            let found = shelf.manifests.get(which).cloned();
            drop(shelf);
            return match found {
                Some((kind, bytes)) => {
                    respond(stream, "200 OK", &format!("Content-Type: {kind}\r\n"), &bytes)
                }
                None => {
                    let body =
                        br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#;
                    respond(stream, "404 Not Found", "", body)
                }
            };
        }
        let Some(bytes) = shelf.blobs.get(which).cloned() else {
            drop(shelf);
            return respond(stream, "404 Not Found", "", b"");
        };
        drop(shelf);
        let range = if manners.knows_no_ranges { 0 } else { range };
        let status = if range > 0 { "206 Partial Content" } else { "200 OK" };
        let rest = bytes.get(range..).unwrap_or_default();
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            rest.len()
        );
        stream.write_all(head.as_bytes())?;
        // Only blobs that are larger: configurations come whole.
        let most = manners.breaks_off_after.filter(|most| bytes.len() > *most);
        let most = most.unwrap_or(rest.len()).min(rest.len());
        stream.write_all(&rest[..most])?;
        if most < rest.len() && manners.then_is_silent {
            while !self.is_over.load(Ordering::Relaxed) {
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
        }
        Ok(())
    }
}

fn respond(
    stream: &mut TcpStream,
    status: &str,
    headers: &str,
    body: &[u8],
) -> std::io::Result<()> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)
}
