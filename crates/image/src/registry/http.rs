//! Requests over HTTP: TLS roots, time limits, redirects, and errors in words.

use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ureq::http::{HeaderMap, Method, Request, StatusCode, Uri};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body, SendBody, Timeout};

use super::RegistryError;
use super::pace::{Paced, TooSlow};
use crate::digest::clip;

/// Time limits of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeLimits {
    /// For name resolution, connection and TLS together.
    pub connect: Duration,
    /// For each read and each write on the connection.
    pub idle: Duration,
    /// Until the answer's header has come. Registries check an upload before they answer.
    pub answer: Duration,
    /// Over each such period a transfer must carry at least 1 KiB a second.
    pub pace: Duration,
}

impl Default for TimeLimits {
    fn default() -> TimeLimits {
        TimeLimits {
            connect: Duration::from_secs(20),
            idle: Duration::from_secs(30),
            answer: Duration::from_secs(120),
            pace: Duration::from_secs(60),
        }
    }
}

const MAX_REDIRECTS: usize = 5;
/// Most bytes of an error's body that are looked at.
const MAX_MESSAGE: u64 = 64 << 10;

/// What is sent.
pub(super) enum Content<'a> {
    None,
    Bytes(&'a [u8]),
    /// A stream of known length.
    Stream(Box<dyn Read + 'a>, u64),
}

/// One answer, with the body still to be read.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Body,
    /// A redirect led to another host, port or scheme, which has given this.
    pub(super) foreign: bool,
    /// See [`TimeLimits::pace`].
    pace: Duration,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body, which must keep the pace.
    pub(super) fn reader(self) -> impl Read {
        Paced::new(self.body.into_with_config().limit(u64::MAX).reader(), self.pace)
    }

    /// Reads a body of at most `limit` bytes.
    pub(super) fn bytes(self, host: &str, limit: u64) -> Result<Vec<u8>, RegistryError> {
        let mut bytes = Vec::new();
        let mut reader = self.reader().take(limit + 1);
        reader.read_to_end(&mut bytes).map_err(|error| body_error(host, &error))?;
        match bytes.len() as u64 > limit {
            true => Err(RegistryError::Protocol {
                host: host.to_owned(),
                problem: format!("an answer is over the limit of {limit} bytes"),
            }),
            false => Ok(bytes),
        }
    }

    /// The registry's own words for a failure (distribution-spec "Error Codes"), after
    /// a colon, or what stands there instead of them.
    pub(super) fn message(self) -> String {
        let is_html = self.header("content-type").is_some_and(|kind| kind.contains("html"));
        let mut bytes = Vec::new();
        let _ = self.reader().take(MAX_MESSAGE).read_to_end(&mut bytes);
        if is_html || bytes.trim_ascii_start().starts_with(b"<") {
            return ": the answer is HTML (is this the address of a registry?)".to_owned();
        }
        let Ok(answer) = serde_json::from_slice::<serde_json::Value>(&bytes) else {
            return String::new();
        };
        let error = answer.get("errors").and_then(|list| list.get(0)).unwrap_or(&answer);
        let text = |name: &str| error.get(name).and_then(serde_json::Value::as_str);
        let words = text("message").or_else(|| text("details")).or_else(|| text("code"));
        let plain: String = words.unwrap_or_default().chars().filter(|c| !c.is_control()).collect();
        if plain.is_empty() { plain } else { format!(": {}", clip(&plain)) }
    }
}

pub(super) fn body_error(host: &str, error: &std::io::Error) -> RegistryError {
    match error.kind() {
        std::io::ErrorKind::TimedOut
            if error.get_ref().is_some_and(|inner| inner.is::<TooSlow>()) =>
        {
            RegistryError::Slow { host: host.to_owned(), problem: error.to_string() }
        }
        std::io::ErrorKind::TimedOut => {
            RegistryError::Timeout { host: host.to_owned(), phase: "reading the answer" }
        }
        _ => RegistryError::Connect { host: host.to_owned(), problem: error.to_string() },
    }
}

/// A connection pool to one registry and where it sends us.
#[derive(Debug)]
pub(super) struct Http {
    agent: Agent,
    /// Redirects to plain HTTP are as good as the registry itself.
    insecure: bool,
    pace: Duration,
}

impl Http {
    pub(super) fn new(host: &str, insecure: bool, limits: TimeLimits) -> Http {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_connect(Some(limits.connect))
            .timeout_resolve(Some(limits.connect))
            .timeout_per_read(Some(limits.idle))
            .timeout_per_write(Some(limits.idle))
            .timeout_recv_response(Some(limits.answer))
            .input_buffer_size(128 << 10)
            .output_buffer_size(128 << 10)
            .user_agent(concat!("husk/", env!("CARGO_PKG_VERSION")))
            .tls_config(
                TlsConfig::builder().root_certs(roots(host)).disable_verification(insecure).build(),
            );
        // No proxy stands between this machine and itself, whatever the environment says.
        let config = if is_loopback(host) { config.proxy(None) } else { config };
        Http { agent: config.build().new_agent(), insecure, pace: limits.pace }
    }

    /// Sends one request. A redirect of a GET or HEAD is followed, without the
    /// Authorization header when it leads to another host, port or scheme.
    pub(super) fn send(
        &self,
        method: &Method,
        url: &str,
        headers: &[(&str, String)],
        mut content: Content<'_>,
    ) -> Result<Answer, RegistryError> {
        let mut url = url.to_owned();
        let origin = origin(&url);
        for _ in 0..=MAX_REDIRECTS {
            let same = self::origin(&url) == origin;
            let host = origin_host(&url);
            let mut request = Request::builder().method(method.clone()).uri(&url);
            for (name, value) in headers {
                if same || !name.eq_ignore_ascii_case("authorization") {
                    request = request.header(*name, value);
                }
            }
            let mut answer = self.run(request, &mut content, &host)?;
            answer.foreign = !same;
            if !answer.status.is_redirection() || answer.status == StatusCode::NOT_MODIFIED {
                return Ok(answer);
            }
            let target = answer.header("location").and_then(|to| join(&url, to));
            let (Some(target), true) = (target, matches!(*method, Method::GET | Method::HEAD))
            else {
                return Ok(answer);
            };
            self.keeps_tls(&url, &target)?;
            url = target;
        }
        let problem = format!("redirects more than {MAX_REDIRECTS} times");
        Err(RegistryError::Protocol { host: origin_host(&url), problem })
    }

    /// Refuses to be sent from a URL with TLS to one without.
    pub(super) fn keeps_tls(&self, from: &str, to: &str) -> Result<(), RegistryError> {
        if !from.starts_with("https:") || to.starts_with("https:") || self.insecure {
            return Ok(());
        }
        Err(RegistryError::Protocol {
            host: origin_host(from),
            problem: format!("redirects to {:?} without TLS", clip(&origin_host(to))),
        })
    }

    fn run(
        &self,
        request: ureq::http::request::Builder,
        content: &mut Content<'_>,
        host: &str,
    ) -> Result<Answer, RegistryError> {
        let invalid = |error: ureq::http::Error| RegistryError::Protocol {
            host: host.to_owned(),
            problem: format!("malformed request: {error}"),
        };
        let sent = match content {
            Content::None => {
                let request = request.body(()).map_err(invalid)?;
                match *request.method() {
                    // Some registries ask for a length even where there is no body.
                    Method::POST => {
                        let (mut parts, ()) = request.into_parts();
                        parts.headers.insert("content-length", 0.into());
                        self.agent.run(Request::from_parts(parts, &b""[..]))
                    }
                    _ => self.agent.run(request),
                }
            }
            Content::Bytes(bytes) => self.agent.run(request.body(*bytes).map_err(invalid)?),
            Content::Stream(reader, length) => {
                let request = request.header("content-length", length.to_string());
                let request = request.body(SendBody::from_reader(reader)).map_err(invalid)?;
                self.agent.run(request)
            }
        };
        let (parts, body) = sent.map_err(|error| transport_error(host, error))?.into_parts();
        let (status, headers) = (parts.status, parts.headers);
        Ok(Answer { status, headers, body, foreign: false, pace: self.pace })
    }
}

fn transport_error(host: &str, error: ureq::Error) -> RegistryError {
    let host = host.to_owned();
    let connect =
        |host, problem: &str| RegistryError::Connect { host, problem: problem.to_owned() };
    match error {
        ureq::Error::Timeout(phase) => RegistryError::Timeout {
            host,
            phase: match phase {
                Timeout::Resolve => "looking up its address",
                Timeout::Connect => "connecting",
                Timeout::SendRequest | Timeout::SendBody | Timeout::PerWrite => "sending",
                _ => "waiting for its answer",
            },
        },
        ureq::Error::HostNotFound => connect(host, "no such host"),
        ureq::Error::ConnectionFailed => connect(host, "no connection"),
        ureq::Error::Rustls(error) => tls_error(host, error.to_string()),
        // A handshake happens at the first write, so its failure comes as one of I/O;
        // rustls gives those this kind.
        ureq::Error::Io(error) if error.kind() == std::io::ErrorKind::InvalidData => {
            tls_error(host, error.to_string())
        }
        ureq::Error::Io(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
            connect(host, "connection refused (is it running, and is this its port?)")
        }
        ureq::Error::Io(error) => RegistryError::Connect { host, problem: error.to_string() },
        other => RegistryError::Connect { host, problem: other.to_string() },
    }
}

fn tls_error(host: String, problem: String) -> RegistryError {
    // rustls's own words; a version that words it otherwise costs the hint, no more.
    let hint = if problem.contains("certificate") {
        "; put its authority's certificate into /etc/containers/certs.d/HOST/ca.crt, or use --tls-verify=false"
    } else if problem.contains("corrupt message") {
        "; it does not speak TLS: use --tls-verify=false for plain HTTP"
    } else {
        ""
    };
    RegistryError::Tls { host, problem, hint }
}

/// The system's authorities, those of `certs.d` for this registry, and where the system
/// has none at all, Mozilla's as built in.
fn roots(host: &str) -> RootCerts {
    let native = rustls_native_certs::load_native_certs();
    let mut all: Vec<Certificate<'static>> =
        native.certs.iter().map(|der| Certificate::from_der(der.as_ref()).to_owned()).collect();
    let own = own_authorities(host);
    if all.is_empty() && own.is_empty() {
        return RootCerts::WebPki;
    }
    all.extend(own);
    RootCerts::Specific(Arc::new(all))
}

/// `certs.d/HOST[:PORT]/*.crt`, as podman (containers-certs.d(5)) and Docker have it.
fn own_authorities(host: &str) -> Vec<Certificate<'static>> {
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".config/containers"));
    let bases = [Some(PathBuf::from("/etc/containers")), Some(PathBuf::from("/etc/docker")), home];
    let mut found = Vec::new();
    for base in bases.into_iter().flatten() {
        let Ok(entries) = std::fs::read_dir(base.join("certs.d").join(host)) else { continue };
        for path in entries.flatten().map(|entry| entry.path()) {
            if path.extension().is_some_and(|extension| extension == "crt")
                && let Ok(pem) = std::fs::read(&path)
            {
                found.extend(parse_pem(&pem).filter_map(|item| match item {
                    Ok(PemItem::Certificate(certificate)) => Some(certificate),
                    _ => None,
                }));
            }
        }
    }
    found
}

/// Whether a registry is this machine: plain HTTP is taken from it.
pub(super) fn is_loopback(registry: &str) -> bool {
    let host = match registry.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => registry.split(':').next().unwrap_or(registry),
    };
    host == "localhost"
        || host.ends_with(".localhost")
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Scheme, host and port.
pub(super) fn origin(url: &str) -> Option<(String, String, u16)> {
    let uri: Uri = url.parse().ok()?;
    let scheme = uri.scheme_str()?.to_ascii_lowercase();
    let port = uri.port_u16().unwrap_or(if scheme == "https" { 443 } else { 80 });
    Some((scheme, uri.host()?.to_ascii_lowercase(), port))
}

fn origin_host(url: &str) -> String {
    let uri: Option<Uri> = url.parse().ok();
    uri.and_then(|uri| Some(uri.authority()?.as_str().rsplit('@').next()?.to_owned()))
        .unwrap_or_else(|| clip(url))
}

/// Resolves a Location against the URL that gave it (RFC 3986 section 5).
pub(super) fn join(base: &str, location: &str) -> Option<String> {
    if location.starts_with("http://") || location.starts_with("https://") {
        return location.parse::<Uri>().ok().map(|_| location.to_owned());
    }
    let uri: Uri = base.parse().ok()?;
    let scheme = uri.scheme_str()?;
    if let Some(rest) = location.strip_prefix("//") {
        return Some(format!("{scheme}://{rest}"));
    }
    if location.contains("://") {
        return None;
    }
    let authority = uri.authority()?;
    if location.starts_with('/') {
        return Some(format!("{scheme}://{authority}{location}"));
    }
    if location.starts_with('?') {
        return Some(format!("{scheme}://{authority}{}{location}", uri.path()));
    }
    let directory = uri.path().rsplit_once('/').map_or("", |(directory, _)| directory);
    Some(format!("{scheme}://{authority}{directory}/{location}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_resolved() {
        let base = "https://r.io:5000/v2/a/blobs/x";
        assert_eq!(join(base, "https://s.io/y").as_deref(), Some("https://s.io/y"));
        assert_eq!(join(base, "/y?z").as_deref(), Some("https://r.io:5000/y?z"));
        assert_eq!(join(base, "y").as_deref(), Some("https://r.io:5000/v2/a/blobs/y"));
        assert_eq!(join(base, "//s.io/y").as_deref(), Some("https://s.io/y"));
        assert_eq!(join(base, "?q").as_deref(), Some("https://r.io:5000/v2/a/blobs/x?q"));
        assert_eq!(join(base, "file:///etc/passwd"), None);
    }

    #[test]
    fn origins_differ_by_scheme_host_and_port() {
        assert_eq!(origin("https://a.io/x"), origin("https://A.io:443/y"));
        assert_ne!(origin("https://a.io/x"), origin("http://a.io/x"));
        assert_ne!(origin("https://a.io/x"), origin("https://a.io:444/x"));
        assert_ne!(origin("https://a.io/x"), origin("https://b.a.io/x"));
    }

    #[test]
    fn tls_is_not_given_up() {
        for (insecure, from, to, expected) in [
            (false, "https://r.io/x", "https://s.io/y", true),
            (false, "https://r.io/x", "http://r.io/y", false),
            (false, "http://r.io/x", "http://s.io/y", true),
            (true, "https://r.io/x", "http://s.io/y", true),
        ] {
            let http = Http::new("r.io", insecure, TimeLimits::default());
            assert_eq!(http.keeps_tls(from, to).is_ok(), expected, "{from} to {to}");
        }
    }

    #[test]
    fn loopback_is_told() {
        for yes in ["localhost", "localhost:5000", "127.0.0.1:5", "127.8.9.1", "[::1]:5000"] {
            assert!(is_loopback(yes), "{yes}");
        }
        for no in ["127.0.0.1.evil.io", "localhost.io", "10.0.0.1", "[2001:db8::1]", "r.io"] {
            assert!(!is_loopback(no), "{no}");
        }
    }
}
