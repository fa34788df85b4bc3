//! How one registry is spoken to: its address, over TLS or not, and what it wants to be shown.

use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use ureq::tls::TlsConfig;
use ureq::{Agent, Body, http};

use super::super::super::error::ImageError;
use super::super::super::pull::PullOptions;
use super::challenge::Challenge;
use super::credentials::{self, Credentials};
use super::trust;
use crate::intent::reference::{DEFAULT_REGISTRY, Named};

/// Where Docker's own registry is.
const DOCKER: &str = "registry-1.docker.io";
/// Largest answer of who gives tokens, and what is read of a refusal, in bytes.
const LARGEST_TOKEN: u64 = 1 << 20;
const LARGEST_REFUSAL: u64 = 64 << 10;
/// How often it is asked again after it had trouble, and how long to wait before.
const ATTEMPTS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(200);

pub type Answer = http::Response<Body>;

#[derive(Debug)]
pub struct Connection {
    registry: String,
    /// `https://registry-1.docker.io/v2/`.
    base: String,
    repository: String,
    agent: Agent,
    credentials: Option<Credentials>,
    /// What goes into `Authorization`, once it is known.
    shown: Mutex<Option<String>>,
}

/// What who gives tokens answers.
#[derive(Deserialize)]
struct Token {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    access_token: Option<String>,
}

/// A registry's refusal.
#[derive(Deserialize)]
struct Refusal {
    #[serde(default)]
    errors: Vec<Complaint>,
}

#[derive(Deserialize)]
struct Complaint {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

impl Connection {
    /// # Errors
    /// When it does not answer as a registry, or the credentials cannot be read.
    pub fn open(named: &Named, options: &PullOptions) -> Result<Self, ImageError> {
        let registry = named.registry.clone();
        let credentials = match &options.credentials {
            Some(file) => credentials::read(file, &registry)?,
            None => None,
        };
        let host = if registry == DEFAULT_REGISTRY { DOCKER } else { registry.as_str() };
        let may_be_insecure = trust::may_be_insecure(&registry, &options.insecure);
        let connection = |scheme: &str| Self {
            base: format!("{scheme}://{host}/v2/"),
            agent: agent(&registry, options, may_be_insecure),
            registry: registry.clone(),
            repository: named.repository.clone(),
            credentials: credentials.clone(),
            shown: Mutex::default(),
        };
        let secure = connection("https");
        match secure.greet() {
            Err(error) if may_be_insecure && !matches!(error, ImageError::Denied { .. }) => {
                let plain = connection("http");
                // Where neither works, the first says more, but for a port that speaks no TLS.
                plain.greet().map(|()| plain)
            }
            greeted => greeted.map(|()| secure),
        }
    }

    /// Sees that it is a registry, and what it wants to be shown.
    fn greet(&self) -> Result<(), ImageError> {
        let answer = self.asked(&self.base, &[], None)?;
        match answer.status().as_u16() {
            200 => Ok(()),
            401 => self.show(&answer),
            // Some answer only for what is in them; one that has trouble now is asked again.
            403 | 404 | 500.. => Ok(()),
            _ => Err(self.refused(answer, "")),
        }
    }

    /// Gets something below `/v2/`. The answer may be a refusal; that it wants to be shown something is none.
    ///
    /// # Errors
    /// When there is no answer, or it lets nobody in.
    pub fn get(&self, path: &str, headers: &[(&str, &str)]) -> Result<Answer, ImageError> {
        let address = format!("{}{path}", self.base);
        let shown = || self.shown.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let answer = self.asked(&address, headers, shown().as_deref())?;
        if answer.status() != 401 {
            return Ok(answer);
        }
        // What was shown before may be too old now.
        self.show(&answer)?;
        self.asked(&address, headers, shown().as_deref())
    }

    /// The same of what is asked for once: where the registry has trouble, it is asked again.
    ///
    /// # Errors
    /// When there is no answer, or it lets nobody in.
    pub fn get_patiently(
        &self,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<Answer, ImageError> {
        for attempt in 1..ATTEMPTS {
            match self.get(path, headers) {
                Ok(answer) if answer.status().as_u16() >= 500 => {}
                Err(error) if error.may_pass() => {}
                answer => return answer,
            }
            std::thread::sleep(PAUSE * attempt);
        }
        self.get(path, headers)
    }

    fn asked(
        &self,
        address: &str,
        headers: &[(&str, &str)],
        shown: Option<&str>,
    ) -> Result<Answer, ImageError> {
        let mut request = self.agent.get(address);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(shown) = shown {
            request = request.header("Authorization", shown);
        }
        request.call().map_err(|error| self.unreachable(&error))
    }

    /// Finds what it wants to be shown.
    fn show(&self, answer: &Answer) -> Result<(), ImageError> {
        let headers = answer.headers().get_all("WWW-Authenticate").iter();
        let challenge = Challenge::parse(headers.filter_map(|header| header.to_str().ok()));
        let denied = |reason: &str| ImageError::Denied {
            registry: self.registry.clone(),
            reason: reason.to_owned(),
            known: self.credentials.is_some(),
        };
        let shown = match (challenge, &self.credentials) {
            (None, _) => return Err(denied("it does not say what it wants to be shown")),
            (Some(Challenge::Basic), Some(Credentials::Password { name, password })) => {
                basic(name, password)
            }
            (Some(Challenge::Basic), _) => return Err(denied("it wants a name and a password")),
            (Some(Challenge::Bearer { realm, service, scope }), _) => {
                let scope = scope.unwrap_or_else(|| format!("repository:{}:pull", self.repository));
                format!("Bearer {}", self.token(&realm, service.as_deref(), &scope)?)
            }
        };
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = Some(shown);
        Ok(())
    }

    /// Gets a token of who gives them.
    fn token(&self, realm: &str, service: Option<&str>, scope: &str) -> Result<String, ImageError> {
        let sent = match &self.credentials {
            Some(Credentials::Identity(token)) => {
                let mut form =
                    vec![("grant_type", "refresh_token"), ("refresh_token", token.as_str())];
                form.extend([("client_id", "swarmlb"), ("scope", scope)]);
                form.extend(service.map(|service| ("service", service)));
                self.agent.post(realm).send_form(form)
            }
            credentials => {
                let mut request = self.agent.get(realm).query("scope", scope);
                if let Some(service) = service {
                    request = request.query("service", service);
                }
                if let Some(Credentials::Password { name, password }) = credentials {
                    request = request.query("account", name);
                    request = request.header("Authorization", basic(name, password));
                }
                request.call()
            }
        };
        let answer = sent.map_err(|error| self.unreachable(&error))?;
        if answer.status() != 200 {
            return Err(self.refused(answer, ""));
        }
        let bytes = self.document(answer, LARGEST_TOKEN, "a token")?;
        let given: Option<Token> = serde_json::from_slice(&bytes).ok();
        let token = given.and_then(|given| given.token.or(given.access_token));
        // What could end the header is no token.
        let is_token = |token: &String| token.bytes().all(|byte| byte.is_ascii_graphic());
        token.filter(|token| !token.is_empty() && is_token(token)).ok_or_else(|| {
            ImageError::Unreachable {
                registry: self.registry.clone(),
                reason: "the token that it gave cannot be read".into(),
                is_tls: false,
            }
        })
    }

    /// An answer that is what was asked for.
    ///
    /// # Errors
    /// When it is a refusal.
    pub fn good(&self, answer: Answer, wanted: &str) -> Result<Answer, ImageError> {
        match answer.status().as_u16() {
            200 | 206 => Ok(answer),
            _ => Err(self.refused(answer, wanted)),
        }
    }

    /// The whole of a good answer.
    ///
    /// # Errors
    /// When it is a refusal, too large, or ends in the middle.
    pub fn document(
        &self,
        answer: Answer,
        largest: u64,
        wanted: &str,
    ) -> Result<Vec<u8>, ImageError> {
        let answer = self.good(answer, wanted)?;
        let mut bytes = Vec::new();
        let mut body = answer.into_body().into_reader().take(largest + 1);
        let read = body.read_to_end(&mut bytes);
        let problem = match read {
            Err(error) => error.to_string(),
            Ok(length) if length as u64 > largest => {
                format!("what it has for {wanted} is larger than {largest} bytes")
            }
            Ok(_) => return Ok(bytes),
        };
        Err(ImageError::Unreachable {
            registry: self.registry.clone(),
            reason: problem,
            is_tls: false,
        })
    }

    /// What a refusal means.
    fn refused(&self, answer: Answer, wanted: &str) -> ImageError {
        let status = answer.status();
        let mut bytes = Vec::new();
        let mut body = answer.into_body().into_reader().take(LARGEST_REFUSAL);
        let _ = body.read_to_end(&mut bytes);
        let told = told(&bytes).unwrap_or_else(|| status.to_string());
        let registry = self.registry.clone();
        match status.as_u16() {
            401 | 403 => {
                ImageError::Denied { registry, reason: told, known: self.credentials.is_some() }
            }
            404 => ImageError::Unknown {
                place: format!("registry {registry}"),
                wanted: wanted.to_owned(),
                there: Vec::new(),
            },
            429 => ImageError::Refused {
                registry,
                reason: format!("it asks to come back later: {told}"),
                status: 429,
            },
            status => {
                ImageError::Refused { registry, reason: format!("it answers: {told}"), status }
            }
        }
    }

    /// What a connection that did not come to an answer means.
    fn unreachable(&self, error: &ureq::Error) -> ImageError {
        let is_tls = match error {
            ureq::Error::Rustls(_) | ureq::Error::Tls(_) => true,
            ureq::Error::Io(error) => {
                error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>())
            }
            _ => false,
        };
        let reason = match error {
            ureq::Error::HostNotFound => "its name does not resolve".to_owned(),
            ureq::Error::Timeout(_) => "it does not answer".to_owned(),
            ureq::Error::ConnectionFailed => "it does not take connections".to_owned(),
            ureq::Error::RequireHttpsOnly(_) => "it leads to an address without TLS".to_owned(),
            ureq::Error::Io(error) => told_by_system(error),
            other => other.to_string(),
        };
        ImageError::Unreachable { registry: self.registry.clone(), reason, is_tls }
    }

    /// A blob that does not come any further, as a reader's error.
    pub fn broke_off(&self, error: io::Error, at: u64, size: u64) -> io::Error {
        let given = match error.downcast::<ImageError>() {
            Ok(given) if !given.may_pass() => return io::Error::other(given),
            Ok(given) => given.to_string(),
            Err(error) => told_by_system(&error),
        };
        io::Error::other(ImageError::BrokeOff {
            registry: self.registry.clone(),
            at,
            size,
            reason: given,
        })
    }
}

fn told_by_system(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => "the connection ended in the middle".into(),
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => "nothing came any more".into(),
        _ => match error.raw_os_error().map(nix::errno::Errno::from_raw) {
            Some(errno) => format!("{} ({errno:?})", errno.desc()),
            None => error.to_string(),
        },
    }
}

/// What a registry says of its refusal, in its own words.
fn told(bytes: &[u8]) -> Option<String> {
    let refusal: Refusal = serde_json::from_slice(bytes).ok()?;
    let complaint = refusal.errors.first()?;
    let text = if complaint.message.is_empty() { &complaint.code } else { &complaint.message };
    let text: String = text.chars().filter(|letter| !letter.is_control()).take(200).collect();
    (!text.is_empty()).then_some(text)
}

fn basic(name: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{name}:{password}")))
}

fn agent(registry: &str, options: &PullOptions, may_be_insecure: bool) -> Agent {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = TlsConfig::builder().unversioned_rustls_crypto_provider(provider);
    let tls = match may_be_insecure {
        true => tls.disable_verification(true),
        false => tls.root_certs(trust::roots(registry)),
    };
    let patience = Some(options.patience);
    let mut config = Agent::config_builder()
        .tls_config(tls.build())
        .http_status_as_error(false)
        .https_only(!may_be_insecure)
        .user_agent(concat!("swarmlb/", env!("CARGO_PKG_VERSION")))
        .timeout_resolve(patience)
        .timeout_connect(patience)
        .timeout_recv_response(patience)
        .timeout_per_read(patience)
        .timeout_per_write(patience);
    if trust::is_loopback(registry) {
        // Whatever stands between this machine and others does not stand here.
        config = config.proxy(None);
    }
    config.build().new_agent()
}
