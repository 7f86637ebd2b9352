//! One registry: who we are there, and its requests.

mod authorize;

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use ureq::http::{HeaderMap, Method, StatusCode};

use super::challenge::{self, Challenge};
pub use super::http::TimeLimits;
use super::http::{Answer, Content, Http, is_loopback, join, origin};
use super::{Credentials, RegistryError};
use crate::digest::Digest;
use crate::document::{MAX_MANIFEST, media};
use crate::reference::Reference;

/// How often a request is sent again that failed for now.
pub(super) const RETRIES: u32 = 3;

/// How a registry is reached.
#[derive(Clone, Debug, Default)]
pub struct ClientOptions {
    /// `--tls-verify=false`: any certificate, and plain HTTP where there is no TLS.
    /// For loopback addresses this is always so.
    pub insecure: bool,
    /// Who we are.
    pub credentials: Option<Credentials>,
    /// Time limits.
    pub limits: TimeLimits,
}

/// A client of one registry, for several threads.
#[derive(Debug)]
pub struct Client {
    http: Http,
    /// As references name it.
    registry: String,
    host: String,
    insecure: bool,
    options: ClientOptions,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// `https` or `http`, once known.
    scheme: Option<&'static str>,
    /// Authorization headers by scope, and when they end.
    tokens: HashMap<String, (String, Instant)>,
}

/// A manifest or index as the registry gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedManifest {
    /// The bytes, to be kept as they are.
    pub bytes: Vec<u8>,
    /// Their digest.
    pub digest: Digest,
    /// The Content-Type.
    pub content_type: Option<String>,
}

/// What of a repository is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Pull,
    Push,
}

impl Client {
    /// A client for the registry of `reference`. Connects when first used.
    #[must_use]
    pub fn new(reference: &Reference, options: ClientOptions) -> Client {
        let host = reference.registry_host();
        Client::for_registry(reference.registry(), host, options)
    }

    /// A client for a registry without a repository, for `login`.
    #[must_use]
    pub fn of_registry(registry: &str, options: ClientOptions) -> Client {
        let docker = registry == crate::reference::DEFAULT_REGISTRY;
        let host = if docker { "registry-1.docker.io" } else { registry };
        Client::for_registry(registry, host, options)
    }

    fn for_registry(registry: &str, host: &str, options: ClientOptions) -> Client {
        let insecure = options.insecure || is_loopback(host);
        Client {
            http: Http::new(host, insecure, options.limits),
            registry: registry.to_owned(),
            host: host.to_owned(),
            insecure,
            options,
            state: Mutex::new(State::default()),
        }
    }

    /// The registry as references name it.
    #[must_use]
    pub fn registry(&self) -> &str {
        &self.registry
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // Nothing that holds it can panic half way through a change.
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(super) fn protocol(&self, problem: impl Into<String>) -> RegistryError {
        RegistryError::Protocol { host: self.registry.clone(), problem: problem.into() }
    }

    /// The scheme: TLS, unless a registry that need not have it does not.
    fn base(&self) -> Result<String, RegistryError> {
        let known = self.state().scheme;
        let scheme = match known {
            Some(scheme) => scheme,
            None => {
                let scheme = self.probe()?;
                self.state().scheme = Some(scheme);
                scheme
            }
        };
        Ok(format!("{scheme}://{}", self.host))
    }

    fn probe(&self) -> Result<&'static str, RegistryError> {
        if !self.insecure {
            return Ok("https");
        }
        let url = format!("https://{}/v2/", self.host);
        match self.http.send(&Method::GET, &url, &[], Content::None) {
            Ok(_) => Ok("https"),
            // Whoever answers a TLS greeting with anything else speaks plain HTTP.
            Err(RegistryError::Tls { .. } | RegistryError::Connect { .. }) => Ok("http"),
            Err(error) => Err(error),
        }
    }

    /// Checks that the registry is one and takes our credentials (`login`).
    ///
    /// # Errors
    /// [`RegistryError::Denied`] where it does not.
    pub fn check_login(&self) -> Result<(), RegistryError> {
        let url = format!("{}/v2/", self.base()?);
        let answer = self.call(&Method::GET, &url, &[], "", || Ok(Content::None))?;
        match answer.status {
            StatusCode::OK => Ok(()),
            _ => Err(self.failure(answer, "the API (/v2/)")),
        }
    }

    /// Fetches a manifest or index by tag or digest.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`], [`RegistryError::DigestMismatch`] where the bytes are
    /// not those of the digest asked for or announced.
    pub fn manifest(&self, reference: &Reference) -> Result<FetchedManifest, RegistryError> {
        let name = reference.manifest_name();
        let url = format!("{}/v2/{}/manifests/{name}", self.base()?, reference.repository());
        let accept = [("accept", media::ACCEPTED.join(", "))];
        let scope = scope(reference, Access::Pull);
        let (headers, bytes) = self.document(&url, &accept, &scope, MAX_MANIFEST, |answer| {
            self.not_found_or(answer, reference.familiar(), &reference.familiar())
        })?;
        let header = |name: &str| headers.get(name)?.to_str().ok();
        let content_type = header("content-type").map(str::to_owned);
        if let Some("text/html" | "application/xhtml+xml") =
            content_type.as_deref().map(media::bare)
        {
            return Err(self.protocol(
                "answers a request for a manifest with HTML (is this the address of a registry?)",
            ));
        }
        let digest = Digest::of(&bytes);
        let announced =
            header("docker-content-digest").and_then(|text| text.parse::<Digest>().ok());
        for expected in [reference.digest().copied(), announced].into_iter().flatten() {
            if expected != digest {
                return Err(RegistryError::DigestMismatch {
                    host: self.registry.clone(),
                    what: "the manifest",
                    expected,
                    found: digest,
                });
            }
        }
        Ok(FetchedManifest { bytes, digest, content_type })
    }

    /// Fetches a small blob whole, as a config is. Its digest is the caller's to check.
    pub(super) fn small_blob(
        &self,
        reference: &Reference,
        digest: &Digest,
        limit: u64,
    ) -> Result<Vec<u8>, RegistryError> {
        let url = format!("{}/v2/{}/blobs/{digest}", self.base()?, reference.repository());
        let scope = scope(reference, Access::Pull);
        let fetched = self.document(&url, &[], &scope, limit, |answer| {
            self.not_found_or(answer, digest.to_string(), &format!("blob {digest}"))
        });
        fetched.map(|(_, bytes)| bytes)
    }

    /// Fetches a body of at most `limit` bytes; one that breaks off is fetched anew.
    fn document(
        &self,
        url: &str,
        headers: &[(&str, String)],
        scope: &str,
        limit: u64,
        failed: impl Fn(Answer) -> RegistryError,
    ) -> Result<(HeaderMap, Vec<u8>), RegistryError> {
        let mut attempt = 0_u32;
        loop {
            let send = || self.call(&Method::GET, url, headers, scope, || Ok(Content::None));
            let answer = self.retried(send)?;
            if answer.status != StatusCode::OK {
                return Err(failed(answer));
            }
            let headers = answer.headers.clone();
            match answer.bytes(&self.registry, limit) {
                Err(RegistryError::Connect { .. }) if attempt < RETRIES => {
                    std::thread::sleep(Duration::from_millis(200 << attempt));
                    attempt += 1;
                }
                read => return read.map(|bytes| (headers, bytes)),
            }
        }
    }

    fn not_found_or(&self, answer: Answer, reference: String, what: &str) -> RegistryError {
        match answer.status {
            StatusCode::NOT_FOUND => {
                RegistryError::NotFound { reference, message: answer.message() }
            }
            _ => self.failure(answer, what),
        }
    }

    /// Opens a blob for reading from `offset` on. The status is 200 (from the
    /// beginning, whatever was asked) or 206.
    pub(super) fn blob(
        &self,
        reference: &Reference,
        digest: &Digest,
        offset: u64,
    ) -> Result<Answer, RegistryError> {
        let url = format!("{}/v2/{}/blobs/{digest}", self.base()?, reference.repository());
        let mut headers = Vec::new();
        if offset > 0 {
            headers.push(("range", format!("bytes={offset}-")));
        }
        let scope = scope(reference, Access::Pull);
        let answer = self.call(&Method::GET, &url, &headers, &scope, || Ok(Content::None))?;
        match answer.status {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => {
                Ok(answer)
            }
            _ => Err(self.not_found_or(answer, digest.to_string(), &format!("blob {digest}"))),
        }
    }

    /// Whether the repository has a blob.
    pub(super) fn has_blob(
        &self,
        reference: &Reference,
        digest: &Digest,
    ) -> Result<bool, RegistryError> {
        let url = format!("{}/v2/{}/blobs/{digest}", self.base()?, reference.repository());
        let scope = scope(reference, Access::Push);
        let answer =
            self.retried(|| self.call(&Method::HEAD, &url, &[], &scope, || Ok(Content::None)))?;
        match answer.status {
            status if status.is_success() => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            _ => Err(self.failure(answer, &format!("blob {digest}"))),
        }
    }

    /// Begins an upload and gives the URL that takes the blob.
    pub(super) fn begin_upload(&self, reference: &Reference) -> Result<String, RegistryError> {
        let url = format!("{}/v2/{}/blobs/uploads/", self.base()?, reference.repository());
        let scope = scope(reference, Access::Push);
        let answer = self.call(&Method::POST, &url, &[], &scope, || Ok(Content::None))?;
        // Any success that comes with a place for the blob: registries say 202, 201 and 200.
        if !answer.status.is_success() {
            return Err(self.failure(answer, &format!("upload to {}", reference.familiar_name())));
        }
        let location = answer.header("location").and_then(|to| join(&url, to));
        let location = location
            .ok_or_else(|| self.protocol("the upload's Location is missing or malformed"))?;
        self.http.keeps_tls(&url, &location)?;
        Ok(location)
    }

    /// Sends a blob to the URL of [`Client::begin_upload`].
    pub(super) fn upload<'a>(
        &self,
        reference: &Reference,
        location: &str,
        digest: &Digest,
        mut content: impl FnMut() -> Result<(Box<dyn std::io::Read + 'a>, u64), RegistryError>,
    ) -> Result<(), RegistryError> {
        let joint = if location.contains('?') { '&' } else { '?' };
        let url = format!("{location}{joint}digest={digest}");
        let headers = [("content-type", "application/octet-stream".to_owned())];
        let scope = scope(reference, Access::Push);
        let answer = self.call(&Method::PUT, &url, &headers, &scope, || {
            let (reader, length) = content()?;
            Ok(Content::Stream(reader, length))
        })?;
        match answer.status {
            status if status.is_success() => Ok(()),
            _ => Err(self.failure(answer, &format!("upload of blob {digest}"))),
        }
    }

    /// Puts a manifest under the reference's tag, or its digest where it has no tag.
    pub(super) fn put_manifest(
        &self,
        reference: &Reference,
        media_type: &str,
        bytes: &[u8],
    ) -> Result<Digest, RegistryError> {
        let digest = Digest::of(bytes);
        let name = reference.tag().map_or_else(|| digest.to_string(), str::to_owned);
        let url = format!("{}/v2/{}/manifests/{name}", self.base()?, reference.repository());
        let headers = [("content-type", media_type.to_owned())];
        let scope = scope(reference, Access::Push);
        let send = || self.call(&Method::PUT, &url, &headers, &scope, || Ok(Content::Bytes(bytes)));
        let answer = self.retried(send)?;
        if !answer.status.is_success() {
            return Err(self.failure(answer, &format!("manifest of {}", reference.familiar())));
        }
        let announced = answer.header("docker-content-digest").and_then(|d| d.parse().ok());
        match announced {
            Some(found) if found != digest => Err(RegistryError::DigestMismatch {
                host: self.registry.clone(),
                what: "the manifest that the registry stored",
                expected: digest,
                found,
            }),
            _ => Ok(digest),
        }
    }

    /// Sends a request with what proves who we are; asked for a token, fetches one and
    /// sends the request again. `content` is called for each sending.
    fn call<'a>(
        &self,
        method: &Method,
        url: &str,
        headers: &[(&str, String)],
        scope: &str,
        mut content: impl FnMut() -> Result<Content<'a>, RegistryError>,
    ) -> Result<Answer, RegistryError> {
        // An upload's URL may be another host's; nothing of ours goes there.
        let own = origin(url) == origin(&self.base()?);
        let with = |token: Option<String>| {
            let mut all: Vec<(&str, String)> = headers.to_vec();
            all.extend(token.filter(|_| own).map(|token| ("authorization", token)));
            all
        };
        let known = {
            let state = self.state();
            let token = state.tokens.get(scope).filter(|(_, end)| *end > Instant::now());
            token.map(|(token, _)| token.clone())
        };
        let answer = self.http.send(method, url, &with(known), content()?)?;
        // Whoever a redirect led to may not name the token server that gets the password.
        if answer.status != StatusCode::UNAUTHORIZED || !own || answer.foreign {
            return Ok(answer);
        }
        let challenges: Vec<Challenge> = answer
            .headers
            .get_all("www-authenticate")
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(challenge::parse)
            .collect();
        let Some(token) = self.authorize(&challenges, scope)? else {
            return Ok(answer);
        };
        self.http.send(method, url, &with(Some(token)), content()?)
    }

    /// Tries again what a busy or broken registry refused for now.
    fn retried(
        &self,
        send: impl Fn() -> Result<Answer, RegistryError>,
    ) -> Result<Answer, RegistryError> {
        for attempt in 0..RETRIES {
            let wait = match send() {
                Ok(answer) if is_transient(answer.status) => {
                    let header = answer.header("retry-after").and_then(|text| text.parse().ok());
                    Duration::from_secs(header.unwrap_or(1 << attempt).min(30))
                }
                // Also of the token server, whose answers are none of the registry's.
                Err(error) if is_passing(&error) => Duration::from_millis(200 << attempt),
                other => return other,
            };
            std::thread::sleep(wait);
        }
        send()
    }

    pub(super) fn failure(&self, answer: Answer, what: &str) -> RegistryError {
        let (host, what, status) = (self.registry.clone(), what.to_owned(), answer.status);
        let message = answer.message();
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                RegistryError::Denied { host, what, message }
            }
            _ => RegistryError::Status { host, what, status: status.as_u16(), message },
        }
    }
}

/// Whether a request that failed like this may succeed later.
pub(super) fn is_passing(error: &RegistryError) -> bool {
    match error {
        RegistryError::Status { status, .. } => {
            StatusCode::from_u16(*status).is_ok_and(is_transient)
        }
        RegistryError::Connect { problem, .. } => is_broken_off(problem),
        _ => false,
    }
}

pub(super) fn is_transient(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504)
}

/// A connection that was there and went, as against one that was never made.
fn is_broken_off(problem: &str) -> bool {
    let problem = problem.to_ascii_lowercase();
    ["reset", "closed", "unexpected end", "peer disconnected", "broken pipe"]
        .iter()
        .any(|word| problem.contains(word))
}

fn scope(reference: &Reference, access: Access) -> String {
    let actions = if access == Access::Push { "pull,push" } else { "pull" };
    format!("repository:{}:{actions}", reference.repository())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_that_went_is_told_from_one_that_never_was() {
        use rustix::io::Errno;
        let problem = |errno: Errno| std::io::Error::from(errno).to_string();
        for went in [Errno::PIPE, Errno::CONNRESET] {
            assert!(is_broken_off(&problem(went)), "{}", problem(went));
        }
        for never in [Errno::CONNREFUSED, Errno::HOSTUNREACH] {
            assert!(!is_broken_off(&problem(never)), "{}", problem(never));
        }
    }
}
