//! One request, taken apart.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::HeaderMap;
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Request, StatusCode};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use crate::failure::{Failure, Result};
use crate::query::{Query, decode};
use crate::server::Active;

/// The newest version of the API that is spoken; what is newer is taken as this.
pub(crate) const NEWEST: Version = Version(1, 51);
/// The oldest.
pub(crate) const OLDEST: Version = Version(1, 24);

/// Most bytes of a document in a request. Docker's own greatest, the creation of a container
/// with all its labels and environment, has some thousand.
const MAX_DOCUMENT: usize = 8 << 20;
/// How long the next piece of a document is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// A version of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version(pub(crate) u32, pub(crate) u32);

/// A request.
pub(crate) struct Call {
    pub(crate) method: Method,
    /// The path without the version, decoded part by part.
    pub(crate) path: Vec<String>,
    pub(crate) query: Query,
    pub(crate) headers: HeaderMap,
    pub(crate) version: Version,
    body: Incoming,
    upgrade: Option<OnUpgrade>,
    /// Held by whatever goes on for this request: the server does not leave meanwhile.
    pub(crate) active: Arc<Active>,
}

impl Call {
    /// # Errors
    /// A version that is too old.
    pub(crate) fn new(mut request: Request<Incoming>, active: Arc<Active>) -> Result<Self> {
        let upgrade = request
            .headers()
            .contains_key(hyper::header::UPGRADE)
            .then(|| hyper::upgrade::on(&mut request));
        let (parts, body) = request.into_parts();
        let path = parts.uri.path();
        let (version, path) = split_version(path)?;
        let path = path.split('/').filter(|part| !part.is_empty());
        Ok(Self {
            method: parts.method,
            path: path.map(|part| decode(part, false)).collect(),
            query: Query::parse(parts.uri.query().unwrap_or_default()),
            headers: parts.headers,
            version,
            body,
            upgrade,
            active,
        })
    }

    /// The connection, where the client asks for it to become a stream of bytes.
    pub(crate) fn take_upgrade(&mut self) -> Option<OnUpgrade> {
        self.upgrade.take()
    }

    /// The text of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The body as a document; where it is empty, the default.
    ///
    /// # Errors
    /// One that is too large, slow or malformed.
    pub(crate) async fn json<T: DeserializeOwned + Default>(&mut self) -> Result<T> {
        let bytes = self.bytes().await?;
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(T::default());
        }
        // A structure could be read from a list, too; Docker has none that is.
        if bytes.trim_ascii_start().first() == Some(&b'[') {
            return Err(Failure::invalid("invalid JSON: must be an object, not a list"));
        }
        serde_json::from_slice(&bytes)
            .map_err(|error| Failure::invalid(format!("invalid JSON: {error}")))
    }

    /// The whole body.
    ///
    /// # Errors
    /// One that is too large or too slow.
    pub(crate) async fn bytes(&mut self) -> Result<Bytes> {
        let mut whole = BytesMut::new();
        loop {
            let slow = |_| Failure::new(StatusCode::REQUEST_TIMEOUT, "the request's body stalled");
            let next = tokio::time::timeout(PATIENCE, self.body.frame()).await.map_err(slow)?;
            let Some(frame) = next else { return Ok(whole.freeze()) };
            let frame = frame.map_err(|error| Failure::invalid(format!("read body: {error}")))?;
            let Ok(data) = frame.into_data() else { continue };
            if whole.len() + data.len() > MAX_DOCUMENT {
                let message = format!("the request's body has more than {MAX_DOCUMENT} bytes");
                return Err(Failure::new(StatusCode::PAYLOAD_TOO_LARGE, message));
            }
            whole.extend_from_slice(&data);
        }
    }

    /// The body, for a thread that reads as it comes.
    pub(crate) fn reader(self) -> BodyReader {
        let (sender, receiver) = mpsc::channel(8);
        let (mut body, active) = (self.body, self.active);
        tokio::spawn(async move {
            let _active = active;
            while let Some(frame) = body.frame().await {
                let data = match frame {
                    Ok(frame) => frame.into_data().map_err(|_| ()),
                    Err(error) => {
                        let _ = sender.send(Err(io::Error::other(error.to_string()))).await;
                        return;
                    }
                };
                let Ok(data) = data else { continue };
                if sender.send(Ok(data)).await.is_err() {
                    return;
                }
            }
        });
        BodyReader { receiver, rest: Bytes::new(), failed: false }
    }
}

/// A body that is read by a thread of its own.
pub(crate) struct BodyReader {
    receiver: mpsc::Receiver<io::Result<Bytes>>,
    rest: Bytes,
    failed: bool,
}

impl Read for BodyReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            match self.receiver.blocking_recv() {
                Some(Ok(bytes)) => self.rest = bytes,
                Some(Err(error)) => {
                    self.failed = true;
                    return Err(error);
                }
                // One that was cut short does not end: it fails again.
                None if self.failed => return Err(io::Error::other("the request was cut short")),
                None => return Ok(0),
            }
        }
        let length = self.rest.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..length), self.rest.get(..length)) {
            to.copy_from_slice(from);
        }
        self.rest.advance(length);
        Ok(length)
    }
}

/// `/v1.43/containers/json` as its version and the rest.
fn split_version(path: &str) -> Result<(Version, &str)> {
    let number = |rest: &str| -> Option<(Version, usize)> {
        let end = rest.find('/').unwrap_or(rest.len());
        let (major, minor) = rest.get(..end)?.split_once('.')?;
        Some((Version(major.parse().ok()?, minor.parse().ok()?), end))
    };
    let Some((version, rest)) = path.strip_prefix("/v").and_then(|rest| {
        let (version, end) = number(rest)?;
        Some((version, rest.get(end..)?))
    }) else {
        return Ok((NEWEST, path));
    };
    if version < OLDEST {
        return Err(Failure::invalid(format!(
            "client version {}.{} is too old. Minimum supported API version is {}.{}, please \
             upgrade your client to a newer version",
            version.0, version.1, OLDEST.0, OLDEST.1
        )));
    }
    Ok((version.min(NEWEST), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        let split = |path| split_version(path).map_err(|failure| failure.message);
        assert_eq!(split("/v1.43/info"), Ok((Version(1, 43), "/info")));
        assert_eq!(split("/info"), Ok((NEWEST, "/info")));
        assert_eq!(split("/volumes/v1.2"), Ok((NEWEST, "/volumes/v1.2")));
        assert_eq!(split("/version"), Ok((NEWEST, "/version")));
        assert_eq!(split("/v1.99/info"), Ok((NEWEST, "/info")));
        assert!(split("/v1.23/info").unwrap_err().contains("is too old. Minimum"));
    }
}
