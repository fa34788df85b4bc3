//! `swarmlb export prometheus`: one look, or a look for whoever asks over HTTP.

use std::convert::Infallible;
use std::io::Write;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hyper::body::Bytes;
use hyper::header::{ALLOW, CONTENT_TYPE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::unix::AsyncFd;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::Report;
use super::inspect::{Looked, look};
use super::session::{Session, must_be_root};
use crate::cli::{Format, Global};
use crate::failure::{Exit, Failure};
use crate::metrics::exposition::{self, Family};
use crate::metrics::totals::Totals;
use crate::metrics::{Look, families};
use crate::runtime::whoami::termination;

const WHAT: &str = "measure for Prometheus";
/// How long a client may take to say what it wants.
const PATIENCE: Duration = Duration::from_secs(10);
/// Clients at a time; others wait.
const CLIENTS: usize = 16;
const PATH: &str = "/metrics";

pub fn run(global: &Global, listen: Option<SocketAddr>) -> Result<Report, Failure> {
    let exporter = Exporter { session: Session::new(global, WHAT)?, totals: Mutex::default() };
    match listen {
        None => {
            let families = exporter.look()?;
            match global.format {
                Format::Json => Report::json(&families),
                Format::Table => Ok(Report::good(exposition::text(&families))),
            }
        }
        Some(_) if global.format == Format::Json => {
            Err(Failure::new(Exit::Usage, WHAT, "Prometheus is not answered in JSON")
                .hint("leave out `--format` or `--listen`"))
        }
        Some(address) => serve(exporter, address),
    }
}

/// Looks, and keeps the sums.
struct Exporter {
    session: Session,
    totals: Mutex<Totals>,
}

impl Exporter {
    fn look(&self) -> Result<Vec<Family>, Failure> {
        // One look at a time: who looks later has seen more.
        let mut totals = self.totals.lock().unwrap_or_else(PoisonError::into_inner);
        let begun = Instant::now();
        let Looked { intent, statuses, expected, traffic, walks } =
            look(&self.session, None, WHAT)?;
        totals.look(&expected, &traffic);
        let took = begun.elapsed();
        let look =
            Look { intent: &intent, statuses: &statuses, walks: &walks, totals: &totals, took };
        Ok(families(&look))
    }
}

fn serve(exporter: Exporter, address: SocketAddr) -> Result<Report, Failure> {
    must_be_root(WHAT)?;
    let failed = |error: std::io::Error| Failure::io(WHAT, &error);
    let stop = termination().map_err(failed)?;
    let runtime = crate::api::runtime().map_err(failed)?;
    runtime.block_on(async {
        let listener =
            TcpListener::bind(address).await.map_err(|error| unbound(address, &error))?;
        let at = listener.local_addr().map_err(failed)?;
        let _ = writeln!(
            std::io::stderr(),
            "Prometheus is answered at http://{at}{PATH}; Ctrl-C ends it."
        );
        // SAFETY: it is borrowed, and so stays open, for longer than this watches it.
        let stop =
            unsafe { AsyncFd::register(stop.as_fd()) }.map_err(|error| failed(error.into()))?;
        let (exporter, places) = (Arc::new(exporter), Arc::new(Semaphore::new(CLIENTS)));
        loop {
            tokio::select! {
                _ = stop.readable() => return Ok(Report::good("")),
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        let (exporter, places) = (Arc::clone(&exporter), Arc::clone(&places));
                        tokio::spawn(async move {
                            let _place = places.acquire().await;
                            attend(exporter, stream).await;
                        });
                    }
                    // No more descriptors: some will be given back.
                    Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
                },
            }
        }
    })
}

fn unbound(address: SocketAddr, error: &std::io::Error) -> Failure {
    Failure::io(format!("listen on {address}"), error)
}

async fn attend(exporter: Arc<Exporter>, stream: TcpStream) {
    let service = service_fn(move |request| {
        let exporter = Arc::clone(&exporter);
        async move { Ok::<_, Infallible>(answer(exporter, &request).await) }
    });
    // How it ended the client knows.
    let _ended = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

type Body = http_body_util::Full<Bytes>;

async fn answer<B>(exporter: Arc<Exporter>, request: &Request<B>) -> Response<Body> {
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        let mut refused =
            plain(StatusCode::METHOD_NOT_ALLOWED, "GET and HEAD are answered.\n".into());
        refused.headers_mut().insert(ALLOW, hyper::header::HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    if request.uri().path() != PATH {
        return plain(StatusCode::NOT_FOUND, format!("swarmlb's metrics are at {PATH}.\n"));
    }
    match tokio::task::spawn_blocking(move || exporter.look()).await {
        Ok(Ok(families)) => {
            let mut found = plain(StatusCode::OK, exposition::text(&families));
            let kind = hyper::header::HeaderValue::from_static(exposition::CONTENT_TYPE);
            found.headers_mut().insert(CONTENT_TYPE, kind);
            found
        }
        Ok(Err(failure)) => plain(StatusCode::SERVICE_UNAVAILABLE, format!("{failure}\n")),
        Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

fn plain(status: StatusCode, text: String) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    let kind = hyper::header::HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
