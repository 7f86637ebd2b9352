//! A registry that misbehaves as it is told to.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use husk_image::digest::Digest;

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

/// An answer, and how much of it is really sent.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) cut: Option<usize>,
    pub(crate) hang: bool,
    /// How long to wait after so many bytes of the body.
    pub(crate) pause: Option<(usize, Duration)>,
    /// How long to wait after each byte of the body.
    pub(crate) drip: Option<Duration>,
}

impl Answer {
    pub(crate) fn new(status: u16, body: &[u8]) -> Answer {
        Answer {
            status,
            headers: Vec::new(),
            body: body.to_vec(),
            cut: None,
            hang: false,
            pause: None,
            drip: None,
        }
    }

    pub(crate) fn with(mut self, name: &str, value: impl Into<String>) -> Answer {
        self.headers.push((name.to_owned(), value.into()));
        self
    }
}

type Handler = dyn Fn(&Request) -> Answer + Send + Sync;

pub(crate) struct FakeRegistry {
    pub(crate) address: String,
    requests: Arc<Mutex<Vec<Request>>>,
    stop: Arc<AtomicBool>,
}

impl FakeRegistry {
    pub(crate) fn new(
        handler: impl Fn(&Request) -> Answer + Send + Sync + 'static,
    ) -> FakeRegistry {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let (handler, log, ended): (Arc<Handler>, _, _) =
            (Arc::new(handler), requests.clone(), stop.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if ended.load(Ordering::Relaxed) {
                    return;
                }
                let (handler, log) = (handler.clone(), log.clone());
                std::thread::spawn(move || serve(stream, &*handler, &log));
            }
        });
        FakeRegistry { address, requests, stop }
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

impl Drop for FakeRegistry {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(&self.address);
    }
}

fn serve(stream: TcpStream, handler: &Handler, log: &Mutex<Vec<Request>>) {
    let mut first = [0];
    // A TLS greeting begins with 22: this registry has no TLS and hangs up.
    if !matches!(stream.peek(&mut first), Ok(1)) || first[0] == 22 {
        return;
    }
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    if reader.read_line(&mut line).is_err() {
        return;
    }
    let mut words = line.split_whitespace().map(str::to_owned);
    let (Some(method), Some(path)) = (words.next(), words.next()) else { return };
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let length = headers.get("content-length").map_or(0, |text| text.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let request = Request { method, path, headers, body };
    log.lock().unwrap().push(request.clone());
    let answer = handler(&request);
    let mut stream = reader.into_inner();
    if answer.hang {
        std::thread::sleep(Duration::from_secs(5));
        return;
    }
    let mut head = format!("HTTP/1.1 {} X\r\nconnection: close\r\n", answer.status);
    if !answer.headers.iter().any(|(name, _)| name == "content-length") {
        head.push_str(&format!("content-length: {}\r\n", answer.body.len()));
    }
    for (name, value) in &answer.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    let sent = answer.cut.unwrap_or(answer.body.len());
    let _ = stream.write_all(head.as_bytes());
    if request.method != "HEAD" {
        let body = &answer.body[..sent.min(answer.body.len())];
        if let Some(drip) = answer.drip {
            for byte in body {
                if stream.write_all(&[*byte]).is_err() {
                    return;
                }
                std::thread::sleep(drip);
            }
            return;
        }
        let (at, pause) = answer.pause.unwrap_or((body.len(), Duration::ZERO));
        let (now, later) = body.split_at(at.min(body.len()));
        let _ = stream.write_all(now);
        std::thread::sleep(pause);
        let _ = stream.write_all(later);
    }
}

/// An image of gzip layers, with its documents.
#[derive(Clone)]
pub(crate) struct FakeImage {
    pub(crate) manifest: Vec<u8>,
    pub(crate) config: Vec<u8>,
    pub(crate) layers: Vec<Vec<u8>>,
}

impl FakeImage {
    pub(crate) fn of(tars: &[Vec<u8>]) -> FakeImage {
        let gzip = |tar: &Vec<u8>| {
            let level = flate2::Compression::fast();
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
            encoder.write_all(tar).unwrap();
            encoder.finish().unwrap()
        };
        let layers: Vec<Vec<u8>> = tars.iter().map(gzip).collect();
        let diff_ids: Vec<String> = tars.iter().map(|tar| Digest::of(tar).to_string()).collect();
        let config = serde_json::json!({
            "architecture": husk_image::platform::Platform::host().architecture,
            "os": "linux",
            "config": {"Cmd": ["/hello"]},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let config = config.to_string().into_bytes();
        let descriptors: Vec<_> = layers
            .iter()
            .map(|layer| {
                serde_json::json!({
                    "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
                    "digest": Digest::of(layer), "size": layer.len(),
                })
            })
            .collect();
        let manifest = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": Digest::of(&config), "size": config.len(),
            },
            "layers": descriptors,
        });
        FakeImage { manifest: manifest.to_string().into_bytes(), config, layers }
    }

    /// What an honest registry answers.
    pub(crate) fn answer(&self, request: &Request) -> Answer {
        let path = request.path.as_str();
        if path == "/v2/" {
            return Answer::new(200, b"{}");
        }
        if path.contains("/manifests/") {
            return Answer::new(200, &self.manifest)
                .with("content-type", "application/vnd.oci.image.manifest.v1+json");
        }
        let blobs = self.layers.iter().chain([&self.config]);
        for blob in blobs {
            if path.ends_with(&Digest::of(blob).to_string()) {
                let range = request.headers.get("range").and_then(|text| {
                    text.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok()
                });
                return match range {
                    Some(start) => Answer::new(206, &blob[start..]).with(
                        "content-range",
                        format!("bytes {start}-{}/{}", blob.len() - 1, blob.len()),
                    ),
                    None => Answer::new(200, blob),
                };
            }
        }
        Answer::new(404, br#"{"errors":[{"code":"NAME_UNKNOWN","message":"no such thing"}]}"#)
    }
}
