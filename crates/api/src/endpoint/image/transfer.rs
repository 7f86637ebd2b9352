//! Images that come and go: pull, push, load, save, import. What goes on is told as JSON, one
//! object a line; what fails before the first line is a status.

use std::collections::HashMap;
use std::io::{self, BufReader, Write};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use bytes::Bytes;
use husk_image::archive::{self, Format, ImportOptions};
use husk_image::digest::Digest;
use husk_image::progress::{Event, Progress};
use husk_image::reference::Reference;
use husk_image::registry::{
    self, Client, ClientOptions, Credentials, PullOptions, PushOptions, RegistryError,
};
use hyper::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::call::Call;
use crate::failure::{Failure, Result, with_tag};
use crate::reply::{self, Reply};
use crate::service::{Service, Shared};

/// How often a blob's progress is told.
const STEP: Duration = Duration::from_millis(100);

type Sender = mpsc::Sender<io::Result<Bytes>>;

/// Sends lines.
pub(super) struct Lines {
    sender: Sender,
    blobs: Mutex<HashMap<Digest, Blob>>,
    words: Words,
}

struct Blob {
    size: u64,
    told: Instant,
}

/// What a transfer is called in the lines.
#[derive(Clone, Copy)]
struct Words {
    waiting: &'static str,
    moving: &'static str,
    done: &'static str,
    present: &'static str,
}

const PULL: Words = Words {
    waiting: "Pulling fs layer",
    moving: "Downloading",
    done: "Pull complete",
    present: "Already exists",
};
const PUSH: Words = Words {
    waiting: "Preparing",
    moving: "Pushing",
    done: "Pushed",
    present: "Layer already exists",
};
impl Lines {
    fn new(sender: Sender, words: Words) -> Self {
        Self { sender, blobs: Mutex::new(HashMap::new()), words }
    }

    /// Whether the client is there.
    pub(super) fn send(&self, line: &Value) -> bool {
        let Ok(mut bytes) = serde_json::to_vec(line) else { return true };
        bytes.extend_from_slice(b"\r\n");
        self.sender.blocking_send(Ok(bytes.into())).is_ok()
    }

    fn layer(&self, digest: &Digest, status: &str) {
        self.send(&json!({ "status": status, "progressDetail": {}, "id": short(digest) }));
    }

    fn moved(&self, digest: &Digest, status: &str, current: u64) {
        let mut blobs = self.blobs.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(blob) = blobs.get_mut(digest) else { return };
        if blob.told.elapsed() < STEP && current < blob.size {
            return;
        }
        blob.told = Instant::now();
        let total = blob.size;
        drop(blobs);
        self.send(&json!({
            "status": status,
            "progressDetail": { "current": current, "total": total },
            "progress": bar(current, total),
            "id": short(digest),
        }));
    }
}

fn short(digest: &Digest) -> String {
    let text = digest.to_string();
    let plain = text.trim_start_matches("sha256:");
    plain.get(..12).unwrap_or(plain).to_owned()
}

/// Docker's bar of fifty characters.
fn bar(current: u64, total: u64) -> String {
    let done =
        usize::try_from((current.min(total) * 50).checked_div(total).unwrap_or(0)).unwrap_or(0);
    let size = |bytes: u64| match bytes {
        bytes @ 1_000_000.. => format!("{:.2}MB", bytes as f64 / 1e6),
        bytes @ 1_000.. => format!("{:.2}kB", bytes as f64 / 1e3),
        bytes => format!("{bytes}B"),
    };
    let blank = 50_usize.saturating_sub(done);
    format!("[{}>{}]  {}/{}", "=".repeat(done), " ".repeat(blank), size(current), size(total))
}

impl Progress for Lines {
    fn event(&self, event: Event<'_>) {
        match event {
            Event::Layers(layers) => {
                let mut blobs = self.blobs.lock().unwrap_or_else(PoisonError::into_inner);
                let told = Instant::now();
                for (digest, size) in layers {
                    blobs.insert(*digest, Blob { size: *size, told });
                }
                drop(blobs);
                layers.iter().for_each(|(digest, _)| self.layer(digest, self.words.waiting));
            }
            Event::Present(digest) => self.layer(&digest, self.words.present),
            Event::Waiting(digest) => self.layer(&digest, "Waiting"),
            Event::Resumed(digest, bytes) | Event::Transferred(digest, bytes) => {
                self.moved(&digest, self.words.moving, bytes);
            }
            Event::Done(digest) => self.layer(&digest, self.words.done),
            Event::Retry(digest, why) => {
                let status = format!("Retrying: {}", husk_engine::notice::without_errno(why));
                self.layer(&digest, &status);
            }
            Event::Warning(text) => {
                self.send(&json!({ "status": format!("Warning: {text}") }));
            }
            Event::Unpacked(..) | Event::Step(_) | Event::CachedStep | Event::StepDone(_) => {}
        }
    }
}

/// A line that says what failed.
pub(super) fn error_line(failure: &Failure) -> Value {
    json!({
        "errorDetail": { "message": failure.message },
        "error": failure.message,
    })
}

/// Answers with the lines that `work` sends. What it fails with before its first line is the
/// answer's status; what after, the last line.
async fn lines(
    service: Shared,
    call: &Call,
    words: Words,
    work: impl FnOnce(&Service, &Lines) -> Result<()> + Send + 'static,
) -> Result<Reply> {
    let (sender, answer) = reply::stream("application/json", Box::new(call.active.clone()));
    let (to_us, mut from_work) = mpsc::channel(8);
    let active = call.active.clone();
    let mut working = tokio::spawn(async move {
        let _active = active;
        service
            .blocking(move |service| {
                let lines = Lines::new(to_us, words);
                work(service, &lines)
            })
            .await
    });
    // The first line, or what it has failed with.
    let first = from_work.recv().await;
    let Some(first) = first else {
        let ended = (&mut working).await;
        ended.unwrap_or_else(|_| Err(Failure::internal("a thread of the server ended early")))?;
        drop(sender);
        return Ok(answer);
    };
    tokio::spawn(async move {
        let mut next = Some(first);
        while let Some(line) = next {
            if sender.send(line).await.is_err() {
                // The sender finds the channel closed and stops.
                return;
            }
            next = from_work.recv().await;
        }
        if let Ok(Err(failure)) = working.await
            && let Ok(mut line) = serde_json::to_vec(&error_line(&failure))
        {
            line.extend_from_slice(b"\r\n");
            let _ = sender.send(Ok(line.into())).await;
        }
    });
    Ok(answer)
}

/// `X-Registry-Auth`: what cannot be read counts as none, as with Docker.
fn credentials(call: &Call) -> Option<Credentials> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Auth {
        username: String,
        password: String,
        auth: String,
        identitytoken: String,
    }
    let text = call.header("x-registry-auth")?.trim_end_matches('=');
    let engine = base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let standard = base64::engine::general_purpose::STANDARD_NO_PAD;
    let bytes = engine.decode(text).or_else(|_| standard.decode(text)).ok()?;
    let auth: Auth = serde_json::from_slice(&bytes).ok()?;
    if !auth.identitytoken.is_empty() {
        return Some(Credentials::IdentityToken(auth.identitytoken));
    }
    if auth.username.is_empty() && !auth.auth.is_empty() {
        let plain = base64::engine::general_purpose::STANDARD.decode(&auth.auth).ok()?;
        let plain = String::from_utf8(plain).ok()?;
        let (user, password) = plain.split_once(':')?;
        return Some(Credentials::Password {
            user: user.to_owned(),
            password: password.to_owned(),
        });
    }
    let Auth { username: user, password, .. } = auth;
    (!user.is_empty()).then_some(Credentials::Password { user, password })
}

fn client(reference: &Reference, credentials: Option<Credentials>) -> Client {
    Client::new(reference, ClientOptions { credentials, ..ClientOptions::default() })
}

fn bad_reference(name: &str) -> impl Fn(husk_image::reference::ReferenceError) -> Failure {
    let name = name.to_owned();
    move |_| Failure::invalid(format!("invalid reference format: {name:?}"))
}

/// In the words that clients know.
fn of_registry(error: RegistryError, reference: &Reference) -> Failure {
    let message = husk_engine::notice::without_errno(&error.to_string());
    match error {
        RegistryError::Denied { .. } => Failure::not_found(format!(
            "pull access denied for {}, repository does not exist or may require 'docker login': \
             {message}",
            reference.familiar_name()
        )),
        RegistryError::NotFound { .. } => Failure::not_found(format!(
            "manifest for {} not found: manifest unknown: {message}",
            reference.familiar()
        )),
        _ => Failure::internal(message),
    }
}

/// `POST /images/create`: pull, or import where a source is named.
///
/// # Errors
/// What fails before the first line.
pub(super) async fn create(service: Shared, call: Call) -> Result<Reply> {
    if call.query.text("fromSrc").is_some() {
        return import(service, call).await;
    }
    let from = call.query.text("fromImage").unwrap_or_default().to_owned();
    let name = match call.query.text("tag") {
        Some(digest) if digest.contains(':') => format!("{from}@{digest}"),
        Some(tag) => format!("{from}:{tag}"),
        None => from,
    };
    let reference: Reference = name.parse().map_err(bad_reference(&name))?;
    let reference = reference.or_latest();
    let mut options = PullOptions::default();
    if let Some(platform) = call.query.text("platform") {
        let bad = |error| Failure::invalid(format!("invalid platform {platform:?}: {error}"));
        options.platform = platform.parse().map_err(bad)?;
    }
    let credentials = credentials(&call);
    lines(service, &call, PULL, move |service, lines| {
        let store = service.home.images()?;
        let client = client(&reference, credentials);
        let begun = Begun { lines, reference: &reference, said: Mutex::new(false) };
        let pulled = registry::pull(&store, &client, &reference, &options, &begun);
        let pulled = pulled.map_err(|error| of_registry(error, &reference))?;
        begun.begin();
        lines.send(&json!({ "status": format!("Digest: {}", pulled.target) }));
        let status = match pulled.up_to_date {
            true => format!("Status: Image is up to date for {}", reference.familiar()),
            false => format!("Status: Downloaded newer image for {}", reference.familiar()),
        };
        lines.send(&json!({ "status": status }));
        Ok(())
    })
    .await
}

/// Says what is pulled when the registry has answered.
struct Begun<'a> {
    lines: &'a Lines,
    reference: &'a Reference,
    said: Mutex<bool>,
}

impl Begun<'_> {
    fn begin(&self) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if !std::mem::replace(&mut said, true) {
            let digest = self.reference.digest().map(ToString::to_string);
            let tag = self.reference.tag().map(str::to_owned).or(digest).unwrap_or_default();
            let status = format!("Pulling from {}", self.reference.repository());
            self.lines.send(&json!({ "status": status, "id": tag }));
        }
    }
}

impl Progress for Begun<'_> {
    fn event(&self, event: Event<'_>) {
        self.begin();
        self.lines.event(event);
    }
}

async fn import(service: Shared, call: Call) -> Result<Reply> {
    if call.query.text("fromSrc") != Some("-") {
        return Err(Failure::not_implemented(
            "fromSrc must be -: send the archive itself, not its URL",
        ));
    }
    let repo = call.query.text("repo").unwrap_or_default().to_owned();
    let name = match call.query.text("tag").filter(|_| !repo.is_empty()) {
        Some(tag) => format!("{repo}:{tag}"),
        None => repo,
    };
    let reference = match name.is_empty() {
        true => None,
        false => Some(name.parse::<Reference>().map_err(bad_reference(&name))?.or_latest()),
    };
    let message = call.query.text("message").map(str::to_owned);
    let changes: Vec<String> = call.query.all("changes").map(str::to_owned).collect();
    let (sender, answer) = reply::stream("application/json", Box::new(call.active.clone()));
    let mut body = BufReader::new(call.reader());
    let id = service
        .blocking(move |service| {
            let config = husk_image::build::config_of(&changes)
                .map_err(|error| Failure::invalid(format!("{}: {}", error.line, error.message)))?;
            let store = service.home.images()?;
            let import = ImportOptions { config, message, reference };
            let options = PullOptions::default();
            let silent = husk_image::progress::Silent;
            let made = archive::import(&store, &mut body, import, &options, &silent);
            Ok(made.map_err(husk_engine::error::Error::from)?.id)
        })
        .await?;
    let _ = sender.send(Ok(format!("{}\r\n", json!({ "status": id.to_string() })).into())).await;
    Ok(answer)
}

/// `POST /images/{name}/push`.
///
/// # Errors
/// What fails before the first line.
pub(super) async fn push(service: Shared, call: Call, name: String) -> Result<Reply> {
    let whole = match call.query.text("tag") {
        Some(tag) => format!("{name}:{tag}"),
        None => name,
    };
    let reference: Reference = whole.parse().map_err(bad_reference(&whole))?;
    let reference = reference.or_latest();
    let credentials = credentials(&call);
    lines(service, &call, PUSH, move |service, lines| {
        let store = service.home.images()?;
        let missing = |_| {
            Failure::not_found(format!(
                "An image does not exist locally with the tag: {}",
                reference.familiar_name()
            ))
        };
        let record = store.find(&reference.to_string()).map_err(missing)?;
        let status = format!("The push refers to repository [{}]", reference.name());
        lines.send(&json!({ "status": status }));
        let client = client(&reference, credentials);
        let pushed =
            registry::push(&store, &client, &record, &reference, &PushOptions::default(), lines);
        let digest = pushed.map_err(|error| match error {
            RegistryError::Denied { .. } => Failure::new(
                StatusCode::UNAUTHORIZED,
                format!("denied: requested access to the resource is denied: {error}"),
            ),
            other => of_registry(other, &reference),
        })?;
        let size = store.blob_size(&record.manifest).unwrap_or_default();
        let tag = reference.tag().unwrap_or_default();
        lines.send(&json!({ "status": format!("{tag}: digest: {digest} size: {size}") }));
        lines.send(&json!({
            "progressDetail": {},
            "aux": { "Tag": tag, "Digest": digest.to_string(), "Size": size },
        }));
        Ok(())
    })
    .await
}

/// `POST /images/load`.
///
/// # Errors
/// What fails before the first line.
pub(super) async fn load(service: Shared, call: Call) -> Result<Reply> {
    let (sender, answer) = reply::stream("application/json", Box::new(call.active.clone()));
    let mut body = BufReader::new(call.reader());
    let loaded = service
        .blocking(move |service| {
            let store = service.home.images()?;
            let options = PullOptions::default();
            // Quiet, so that what fails is a status.
            let silent = husk_image::progress::Silent;
            let loaded = archive::load_stream(&store, &mut body, &options, &silent);
            let loaded = loaded.map_err(husk_engine::error::Error::from)?;
            Ok(loaded)
        })
        .await?;
    for one in loaded {
        let mut names: Vec<String> =
            one.names.iter().map(|name| format!("Loaded image: {}\n", name.familiar())).collect();
        if names.is_empty() {
            names.push(format!("Loaded image ID: {}\n", one.image.id));
        }
        for text in names {
            let line = format!("{}\r\n", json!({ "stream": text }));
            if sender.try_send(Ok(line.into())).is_err() {
                break;
            }
        }
    }
    Ok(answer)
}

/// Writes into an answer.
struct BodyWriter(Sender);

impl Write for BodyWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        self.0.blocking_send(Ok(Bytes::copy_from_slice(bytes))).map_err(gone)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// `GET /images/get` and `/images/{name}/get`.
///
/// # Errors
/// An image that is not there.
pub(super) async fn save(service: Shared, call: Call, names: Vec<String>) -> Result<Reply> {
    let (sender, answer) = reply::stream("application/x-tar", Box::new(call.active.clone()));
    let images = service
        .blocking(move |service| {
            let store = service.home.images()?;
            let mut images: Vec<(husk_image::store::ImageRecord, Vec<Reference>)> = Vec::new();
            for name in &names {
                let record = store.find(name)?;
                let reference = name.parse::<Reference>().ok().map(Reference::or_latest);
                let named = match reference {
                    Some(reference) if store.find_reference(&reference)?.is_some() => {
                        vec![reference]
                    }
                    _ => Vec::new(),
                };
                match images.iter_mut().find(|(known, _)| known.manifest == record.manifest) {
                    Some((_, known)) => known.extend(named),
                    None => images.push((record, named)),
                }
            }
            Ok(images)
        })
        .await?;
    let active = call.active.clone();
    tokio::spawn(async move {
        let _active = active;
        let failing = sender.clone();
        let saved = service
            .blocking(move |service| {
                let store = service.home.images()?;
                let writer = io::BufWriter::with_capacity(64 << 10, BodyWriter(sender));
                let saved = archive::save_stream(&store, &images, Format::Docker, writer);
                Ok(saved.map_err(husk_engine::error::Error::from)?)
            })
            .await;
        if saved.is_err() {
            // The status is out: the client is told by an answer that breaks off.
            let _ = failing.send(Err(io::Error::other("the archive is not whole"))).await;
        }
    });
    Ok(answer)
}

/// `GET /distribution/{name}/json`: what the registry has under a name.
///
/// # Errors
/// What the registry says.
pub(super) async fn distribution(service: Shared, call: Call, name: String) -> Result<Reply> {
    let reference: Reference = name.parse().map_err(bad_reference(&with_tag(&name)))?;
    let reference = reference.or_latest();
    let credentials = credentials(&call);
    let document = service
        .blocking(move |_| {
            let client = client(&reference, credentials);
            let fetched =
                client.manifest(&reference).map_err(|error| of_registry(error, &reference))?;
            let manifest: Value = serde_json::from_slice(&fetched.bytes).unwrap_or_default();
            let kind = manifest["mediaType"].as_str().map(str::to_owned);
            let kind = kind.or(fetched.content_type).unwrap_or_default();
            let platforms: Vec<Value> = manifest["manifests"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|one| one["platform"].clone())
                .filter(|platform| !platform.is_null())
                .collect();
            Ok(json!({
                "Descriptor": {
                    "mediaType": kind,
                    "digest": fetched.digest.to_string(),
                    "size": fetched.bytes.len(),
                },
                "Platforms": platforms,
            }))
        })
        .await?;
    reply::json(&document)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_has_fifty_places() {
        assert_eq!(bar(1, 2), format!("[{}>{}]  1B/2B", "=".repeat(25), " ".repeat(25)));
        assert_eq!(bar(0, 0), format!("[>{}]  0B/0B", " ".repeat(50)));
        assert!(bar(5_000_000, 5_000_000).ends_with("5.00MB/5.00MB"));
    }
}
