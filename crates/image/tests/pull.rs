//! Pulls from registries that break off, lie, hang, redirect and ask for tokens.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panic")]
#![allow(dead_code, reason = "what the test files share, not each uses")]

mod fake;
mod layer;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fake::{Answer, FakeImage, FakeRegistry, Request};
use husk_image::digest::Digest;
use husk_image::progress::{Event, Progress, Silent};
use husk_image::reference::Reference;
use husk_image::registry::{
    Client, ClientOptions, Credentials, PullOptions, Pulled, PushOptions, RegistryError,
    TimeLimits, pull, push,
};
use husk_image::store::Store;
use layer::{Entry, LayerBuilder, Scratch};

fn noise(length: usize, mut seed: u64) -> Vec<u8> {
    let next = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed.to_le_bytes()[0]
    };
    std::iter::repeat_with(next).take(length).collect()
}

fn image() -> FakeImage {
    FakeImage::of(&[
        LayerBuilder::of(&[
            Entry::dir("./"),
            Entry::dir("a").mode(0o750),
            Entry::file("a/low", &noise(600_000, 7)),
        ]),
        LayerBuilder::of(&[Entry::file("a/high", b"high"), Entry::file("a/.wh.low", b"")]),
    ])
}

fn limits() -> TimeLimits {
    let second = Duration::from_secs(1);
    TimeLimits { connect: second, idle: second, answer: second, pace: second }
}

fn client(reference: &Reference, credentials: Option<Credentials>) -> Client {
    Client::new(reference, ClientOptions { insecure: false, credentials, limits: limits() })
}

fn run(store: &Store, registry: &FakeRegistry) -> Result<Pulled, RegistryError> {
    run_with(store, registry, &Silent)
}

fn run_with(
    store: &Store,
    registry: &FakeRegistry,
    progress: &dyn Progress,
) -> Result<Pulled, RegistryError> {
    let reference: Reference = format!("{}/x/y:1", registry.address).parse().unwrap();
    pull(store, &client(&reference, None), &reference, &PullOptions::default(), progress)
}

fn count(store: &Store, section: &str) -> usize {
    std::fs::read_dir(store.root().join(section)).unwrap().count()
}

fn is_empty(store: &Store) -> bool {
    ["layers", "images", "names", "tmp"].iter().all(|section| count(store, section) == 0)
}

fn is_layer(image: &FakeImage, index: usize, request: &Request) -> bool {
    request.path.ends_with(&Digest::of(&image.layers[index]).to_string())
}

#[derive(Default)]
struct Log(Mutex<Vec<String>>);

impl Progress for Log {
    fn event(&self, event: Event<'_>) {
        self.0.lock().unwrap().push(format!("{event:?}"));
    }
}

impl Log {
    fn contains(&self, text: &str) -> bool {
        self.0.lock().unwrap().iter().any(|line| line.contains(text))
    }
}

#[test]
fn an_image_is_pulled_unpacked_and_named() {
    let image = image();
    let (answers, expected) = (image.clone(), Digest::of(&image.manifest));
    let registry = FakeRegistry::new(move |request| answers.answer(request));
    let scratch = Scratch::new("pull");
    let store = Store::open(scratch.path().join("store")).unwrap();
    let pulled = run(&store, &registry).unwrap();
    assert_eq!(pulled.target, expected);
    assert!(!pulled.up_to_date);
    assert_eq!(pulled.image.id, Digest::of(&image.config));
    let layers = store.layers(&pulled.image.chain_ids()).unwrap();
    assert_eq!(std::fs::metadata(layers[0].path.join("a/low")).unwrap().len(), 600_000);
    assert_eq!(std::fs::read(layers[1].path.join("a/high")).unwrap(), b"high");
    // The upper layer does not name `a`, so it has the attributes from below.
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(layers[1].path.join("a")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o750);
    let found = store.find(&format!("{}/x/y:1", registry.address)).unwrap();
    assert_eq!(found, pulled.image);
    assert_eq!(store.find(&pulled.image.id.short()).unwrap(), pulled.image);
    assert_eq!(store.read_document(&expected, 1 << 20).unwrap(), image.manifest);
    assert_eq!(count(&store, "tmp") + count(&store, "partial"), 0);

    let before = registry.requests().len();
    let log = Log::default();
    let again = run_with(&store, &registry, &log).unwrap();
    assert!(again.up_to_date);
    assert!(log.contains("Present") && !log.contains("Done"), "{:?}", log.0.lock().unwrap());
    let blobs = registry.requests().split_off(before);
    assert!(!blobs.iter().any(|request| request.path.contains("/blobs/")), "{blobs:?}");
}

#[test]
fn a_broken_transfer_goes_on_where_it_stopped() {
    let image = image();
    let (answers, tries) = (image.clone(), AtomicUsize::new(0));
    let registry = FakeRegistry::new(move |request| {
        let mut answer = answers.answer(request);
        if is_layer(&answers, 0, request) && tries.fetch_add(1, Ordering::Relaxed) < 2 {
            answer.cut = Some(100_000);
        }
        answer
    });
    let scratch = Scratch::new("pull");
    let store = Store::open(scratch.path().join("store")).unwrap();
    let log = Log::default();
    let pulled = run_with(&store, &registry, &log).unwrap();
    assert!(log.contains("Retry"));
    assert!(store.layer(&pulled.image.layers[0].chain_id).unwrap().is_some());
    let requests = registry.requests();
    let ranges: Vec<&str> =
        requests.iter().filter_map(|request| request.headers.get("range").map(|s| &**s)).collect();
    assert_eq!(ranges, ["bytes=100000-", "bytes=200000-"]);
}

#[test]
fn a_killed_pull_resumes_in_another_process() {
    let image = image();
    for ignores_range in [false, true] {
        let scratch = Scratch::new("pull");
        let store = Store::open(scratch.path().join("store")).unwrap();
        // What a killed pull leaves: the beginning of the blob.
        let digest = Digest::of(&image.layers[0]);
        let partial = store.root().join("partial").join(digest.hex());
        std::fs::write(&partial, &image.layers[0][..300_000]).unwrap();
        let answers = image.clone();
        let registry = FakeRegistry::new(move |request| {
            let mut request = request.clone();
            if ignores_range {
                request.headers.remove("range");
            }
            answers.answer(&request)
        });
        let log = Log::default();
        let pulled = run_with(&store, &registry, &log).unwrap();
        assert!(log.contains("Resumed") && log.contains("300000"));
        let layer = store.layer(&pulled.image.layers[0].chain_id).unwrap().unwrap();
        assert_eq!(std::fs::read(layer.path.join("a/low")).unwrap(), noise(600_000, 7));
    }
}

#[test]
fn a_damaged_partial_blob_is_not_kept_twice() {
    let image = image();
    let scratch = Scratch::new("pull");
    let store = Store::open(scratch.path().join("store")).unwrap();
    let digest = Digest::of(&image.layers[0]);
    std::fs::write(store.root().join("partial").join(digest.hex()), vec![1; 300_000]).unwrap();
    let answers = image.clone();
    let registry = FakeRegistry::new(move |request| answers.answer(request));
    let pulled = run(&store, &registry).unwrap();
    assert!(store.layer(&pulled.image.layers[0].chain_id).unwrap().is_some());
}

#[test]
fn wrong_blobs_are_refused_and_leave_no_layer() {
    type Spoil = fn(&mut Answer);
    let cases: [(&str, Spoil, &str); 5] = [
        ("corrupted", |answer| answer.body[1000] ^= 1, "the content is"),
        ("truncated", |answer| answer.cut = Some(10), "broke off at byte"),
        ("short", |answer| answer.body.truncate(10), "sends 10 bytes"),
        ("oversized", |answer| answer.body.extend([0; 4096]), "bytes where the descriptor says"),
        ("missing", |answer| answer.status = 404, "not known to its registry"),
    ];
    for (name, spoil, expected) in cases {
        let answers = image();
        let registry = FakeRegistry::new(move |request| {
            let mut answer = answers.answer(request);
            if is_layer(&answers, 0, request) {
                spoil(&mut answer);
                // A second try must not help.
                if name == "truncated" && request.headers.contains_key("range") {
                    answer.cut = Some(0);
                }
            }
            answer
        });
        let scratch = Scratch::new("pull");
        let store = Store::open(scratch.path().join("store")).unwrap();
        let error = run(&store, &registry).expect_err(name).to_string();
        assert!(error.contains(expected), "{name}: {error}");
        assert!(is_empty(&store), "{name}");
    }
    // Without a length the excess shows only while it comes.
    let answers = image();
    let registry = FakeRegistry::new(move |request| {
        let mut answer = answers.answer(request);
        if is_layer(&answers, 0, request) {
            let mut chunked = format!("{:x}\r\n", answer.body.len() + 5000).into_bytes();
            chunked.append(&mut answer.body);
            chunked.extend([0; 5000]);
            chunked.extend(b"\r\n0\r\n\r\n");
            answer = Answer::new(200, &chunked).with("transfer-encoding", "chunked");
            answer.headers.push(("content-length".into(), String::new()));
            answer.headers.pop();
        }
        answer
    });
    let scratch = Scratch::new("pull");
    let store = Store::open(scratch.path().join("store")).unwrap();
    assert!(run(&store, &registry).is_err());
    assert!(is_empty(&store));
}

#[test]
fn wrong_documents_are_refused() {
    let good = image();
    let manifest = String::from_utf8(good.manifest.clone()).unwrap();
    let html = Answer::new(200, b"<html>Sign in</html>").with("content-type", "text/html");
    let both = manifest.replace("\"layers\":", "\"manifests\":[],\"layers\":");
    let digest = Digest::of(&good.layers[0]).to_string();
    let cases: Vec<(&str, Answer, &str)> = vec![
        ("html", html, "is this the address of a registry?"),
        (
            "a manifest that says it is HTML",
            Answer::new(200, manifest.as_bytes()).with("content-type", "text/html; charset=utf-8"),
            "is this the address of a registry?",
        ),
        ("text", Answer::new(200, b"<html>Sign in</html>"), "not JSON but begins \"<html>"),
        ("both", Answer::new(200, both.as_bytes()), "both layers and manifests"),
        (
            "wrong diff ids",
            Answer::new(
                200,
                manifest.replace(&digest, &Digest::of(&good.layers[1]).to_string()).as_bytes(),
            ),
            "",
        ),
        (
            "announced digest",
            Answer::new(200, &good.manifest)
                .with("docker-content-digest", Digest::of(b"other").to_string()),
            "not sha256:",
        ),
        (
            "not found",
            Answer::new(404, br#"{"errors":[{"message":"manifest unknown"}]}"#),
            "manifest unknown",
        ),
        ("forbidden", Answer::new(403, b""), "denied"),
        ("teapot", Answer::new(418, b"<html>"), "is this the address of a registry?"),
        ("huge", Answer::new(200, &vec![b' '; 5 << 20]), "over the limit"),
    ];
    for (name, answer, expected) in cases {
        let (good, answer) = (good.clone(), Mutex::new(Some(answer)));
        let registry =
            FakeRegistry::new(move |request| match request.path.contains("/manifests/") {
                true => answer.lock().unwrap().take().unwrap_or(Answer::new(500, b"")),
                false => good.answer(request),
            });
        let scratch = Scratch::new("pull");
        let store = Store::open(scratch.path().join("store")).unwrap();
        let error = run(&store, &registry).expect_err(name).to_string();
        assert!(error.contains(expected), "{name}: {error}");
        assert!(is_empty(&store), "{name}");
    }
}

#[test]
fn an_index_may_lie_in_an_index() {
    let image = image();
    let index = |kind: &str, document: &[u8]| {
        let entry = serde_json::json!({
            "mediaType": format!("application/vnd.oci.image.{kind}.v1+json"),
            "digest": Digest::of(document), "size": document.len(),
        });
        let other = serde_json::json!({
            "mediaType": "application/xml", "digest": Digest::of(b"x"), "size": 1,
        });
        let index = serde_json::json!({"schemaVersion": 2, "manifests": [other, entry]});
        index.to_string().into_bytes()
    };
    let mut documents = vec![image.manifest.clone(), index("manifest", &image.manifest)];
    for _ in 0..5 {
        let outer = index("index", documents.last().unwrap());
        documents.push(outer);
    }
    for (depth, found) in [(1, true), (2, true), (4, true), (6, false)] {
        let (answers, documents) = (image.clone(), documents.clone());
        let registry = FakeRegistry::new(move |request| {
            let named = documents
                .iter()
                .find(|document| request.path.ends_with(&Digest::of(document).to_string()));
            match (request.path.contains("/manifests/"), named) {
                (false, _) => answers.answer(request),
                (true, named) => Answer::new(200, named.unwrap_or(&documents[depth])),
            }
        });
        let scratch = Scratch::new("pull");
        let store = Store::open(scratch.path().join("store")).unwrap();
        match run(&store, &registry) {
            Ok(pulled) => assert!(found && pulled.image.manifest == Digest::of(&image.manifest)),
            Err(error) => assert!(!found && error.to_string().contains("too deep"), "{error}"),
        }
    }
}

#[test]
fn a_hostile_layer_leaves_nothing() {
    let hostile = FakeImage::of(&[
        LayerBuilder::of(&[Entry::file("fine", b"x")]),
        LayerBuilder::of(&[Entry::file("../../../escape", b"x")]),
    ]);
    let registry = FakeRegistry::new(move |request| hostile.answer(request));
    let scratch = Scratch::new("pull");
    let store = Store::open(scratch.path().join("store")).unwrap();
    let error = run(&store, &registry).unwrap_err();
    assert!(error.to_string().contains("refused"), "{error}");
    assert_eq!(count(&store, "images") + count(&store, "names") + count(&store, "tmp"), 0);
    store.collect().unwrap();
    assert!(is_empty(&store));
}

#[test]
fn a_registry_that_is_down_or_hangs_is_named() {
    let scratch = Scratch::new("pull");
    let store = Store::open(scratch.path().join("store")).unwrap();
    let reference: Reference = "127.0.0.1:9/x:1".parse().unwrap();
    let options = PullOptions::default();
    let error = pull(&store, &client(&reference, None), &reference, &options, &Silent).unwrap_err();
    assert!(error.to_string().contains("127.0.0.1:9: connection refused"), "{error}");

    let registry = FakeRegistry::new(|_| Answer { hang: true, ..Answer::new(200, b"") });
    let error = run(&store, &registry).unwrap_err().to_string();
    assert!(error.contains("timed out") && error.contains(&registry.address), "{error}");
    assert!(is_empty(&store));
}

#[test]
fn credentials_do_not_follow_a_redirect_to_another_host() {
    let image = image();
    let (answers, elsewhere) = (image.clone(), image.clone());
    let other = FakeRegistry::new(move |request| elsewhere.answer(request));
    let target = other.address.clone();
    let registry = FakeRegistry::new(move |request| {
        if !request.headers.contains_key("authorization") {
            return Answer::new(401, b"").with("www-authenticate", "Basic realm=\"x\"");
        }
        match request.path.contains("/blobs/") {
            true => {
                Answer::new(307, b"").with("location", format!("http://{target}{}", request.path))
            }
            false => answers.answer(request),
        }
    });
    let scratch = Scratch::new("pull");
    let store = Store::open(scratch.path().join("store")).unwrap();
    let reference: Reference = format!("{}/x/y:1", registry.address).parse().unwrap();
    let password = Credentials::Password { user: "me".into(), password: "secret".into() };
    let client = client(&reference, Some(password));
    pull(&store, &client, &reference, &PullOptions::default(), &Silent).unwrap();
    assert!(other.requests().len() >= 3);
    for request in other.requests() {
        assert!(!request.headers.contains_key("authorization"), "{request:?}");
    }
    let first = registry.requests();
    assert!(
        first.iter().any(|r| r.headers.get("authorization") == Some(&"Basic bWU6c2VjcmV0".into()))
    );
}

#[test]
fn another_host_cannot_ask_for_the_password() {
    let image = image();
    let other = FakeRegistry::new(move |request| {
        let realm = format!("Bearer realm=\"http://{}/token\"", request.headers["host"]);
        Answer::new(401, b"").with("www-authenticate", realm)
    });
    let target = other.address.clone();
    let registry = FakeRegistry::new(move |request| match request.path.contains("/blobs/") {
        true => Answer::new(307, b"").with("location", format!("http://{target}{}", request.path)),
        false => image.answer(request),
    });
    let scratch = Scratch::new("pull");
    let store = Store::open(scratch.path().join("store")).unwrap();
    let reference: Reference = format!("{}/x/y:1", registry.address).parse().unwrap();
    let password = Credentials::Password { user: "me".into(), password: "secret".into() };
    let client = client(&reference, Some(password));
    let options = PullOptions::default();
    let error = pull(&store, &client, &reference, &options, &Silent).unwrap_err();
    assert!(error.to_string().contains("denied"), "{error}");
    for request in other.requests() {
        let told = request.headers.contains_key("authorization");
        assert!(!told && !request.path.contains("/token"), "{request:?}");
    }
}

#[test]
fn documents_that_break_off_are_fetched_anew() {
    let image = image();
    let config = Digest::of(&image.config).to_string();
    for what in ["manifests", &config] {
        let (answers, what) = (image.clone(), what.to_owned());
        let (tries, name) = (AtomicUsize::new(0), what.clone());
        let registry = FakeRegistry::new(move |request| {
            let mut answer = answers.answer(request);
            if request.path.contains(&what) {
                match tries.fetch_add(1, Ordering::Relaxed) {
                    0 => answer.cut = Some(10),
                    1 => answer = Answer::new(503, b"").with("retry-after", "0"),
                    _ => {}
                }
            }
            answer
        });
        let scratch = Scratch::new("pull");
        let store = Store::open(scratch.path().join("store")).unwrap();
        run(&store, &registry).unwrap();
        let times = registry.requests().iter().filter(|r| r.path.contains(&name)).count();
        assert_eq!(times, 3, "{name}");
    }
}

#[test]
fn a_push_that_breaks_off_is_begun_anew() {
    let image = image();
    let answers = image.clone();
    let from = FakeRegistry::new(move |request| answers.answer(request));
    let scratch = Scratch::new("push");
    let store = Store::open(scratch.path().join("store")).unwrap();
    let pulled = run(&store, &from).unwrap();
    let config = Digest::of(&image.config).to_string();
    let (uploads, manifests) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let registry = FakeRegistry::new(move |request| {
        let first = |count: &AtomicUsize| count.fetch_add(1, Ordering::Relaxed) == 0;
        match request.method.as_str() {
            "HEAD" => Answer::new(404, b""),
            "POST" => Answer::new(202, b"").with("location", "/v2/x/y/blobs/uploads/1"),
            _ if request.path.contains(&config) && first(&uploads) => Answer::new(503, b""),
            _ if request.path.contains("manifests") && first(&manifests) => Answer::new(502, b""),
            _ => Answer::new(201, b""),
        }
    });
    let reference: Reference = format!("{}/x/y:1", registry.address).parse().unwrap();
    let client = client(&reference, None);
    let options = PushOptions::default();
    let pushed = push(&store, &client, &pulled.image, &reference, &options, &Silent).unwrap();
    assert_eq!(pushed, Digest::of(&image.manifest));
    let requests = registry.requests();
    assert_eq!(requests.iter().filter(|r| r.method == "POST").count(), 4);
    assert_eq!(requests.iter().filter(|r| r.body == image.config).count(), 2);
    assert_eq!(requests.iter().filter(|r| r.body == image.manifest).count(), 2);
}

/// 200, 201, 202 and 204 are all in use for each step; what counts is the class.
#[test]
fn any_success_of_a_push_is_one() {
    let image = image();
    let answers = image.clone();
    let from = FakeRegistry::new(move |request| answers.answer(request));
    let scratch = Scratch::new("push");
    let store = Store::open(scratch.path().join("store")).unwrap();
    let pulled = run(&store, &from).unwrap();
    for status in [200, 201, 202, 204] {
        let registry = FakeRegistry::new(move |request| match request.method.as_str() {
            "HEAD" => Answer::new(404, b""),
            "POST" => Answer::new(status, b"").with("location", "/v2/x/y/blobs/uploads/1"),
            _ => Answer::new(status, b""),
        });
        let reference: Reference = format!("{}/x/y:1", registry.address).parse().unwrap();
        let options = PushOptions::default();
        let client = client(&reference, None);
        push(&store, &client, &pulled.image, &reference, &options, &Silent).unwrap();
    }
}

/// A byte within each time limit is no progress.
#[test]
fn a_registry_that_drips_is_left() {
    let good = image();
    let registry = FakeRegistry::new(move |request| {
        let drip = Some(Duration::from_millis(300));
        let answer = good.answer(request);
        match request.path.contains("/manifests/") {
            true => Answer { drip, ..answer },
            false => answer,
        }
    });
    let scratch = Scratch::new("pull");
    let store = Store::open(scratch.path().join("store")).unwrap();
    let begun = std::time::Instant::now();
    let error = run(&store, &registry).unwrap_err().to_string();
    assert!(error.contains("too slow: less than 1024 bytes a second"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(30));
    assert!(is_empty(&store));
}

/// Docker of 2015 and 2016 labelled configs so, and other builders label layers so.
#[test]
fn the_content_decides_where_a_label_says_nothing() {
    for (from, to) in [
        ("application/vnd.oci.image.config.v1+json", "application/octet-stream"),
        ("application/vnd.oci.image.config.v1+json", ""),
        ("application/vnd.oci.image.layer.v1.tar+gzip", "application/octet-stream"),
        ("application/vnd.oci.image.layer.v1.tar+gzip", "application/x-gzip"),
    ] {
        let mut image = image();
        let text = String::from_utf8(image.manifest.clone()).unwrap();
        image.manifest = text.replace(from, to).into_bytes();
        let registry = FakeRegistry::new(move |request| image.answer(request));
        let scratch = Scratch::new("pull");
        let store = Store::open(scratch.path().join("store")).unwrap();
        run(&store, &registry).unwrap_or_else(|error| panic!("{to:?}: {error}"));
    }
}

#[test]
fn tokens_are_fetched_once_a_scope_and_used() {
    let image = image();
    let busy = AtomicUsize::new(0);
    let realm = FakeRegistry::new(move |request| {
        if busy.fetch_add(1, Ordering::Relaxed) == 0 {
            return Answer::new(503, b"");
        }
        assert!(request.path.contains("scope=repository%3Ax%2Fy%3Apull"), "{}", request.path);
        assert!(request.path.contains("service=reg"), "{}", request.path);
        Answer::new(200, br#"{"token":"t0ken","expires_in":300}"#)
    });
    let (answers, address) = (image.clone(), realm.address.clone());
    let registry = FakeRegistry::new(move |request| {
        match request.headers.get("authorization").map(String::as_str) {
            Some("Bearer t0ken") => answers.answer(request),
            _ => Answer::new(401, b"").with(
                "www-authenticate",
                format!("Bearer realm=\"http://{address}/token\",service=\"reg\",scope=\"x\""),
            ),
        }
    });
    let scratch = Scratch::new("pull");
    let store = Store::open(scratch.path().join("store")).unwrap();
    run(&store, &registry).unwrap();
    // Once, after it was busy.
    assert_eq!(realm.requests().len(), 2);
    let refused = FakeRegistry::new(|_| {
        Answer::new(401, br#"{"errors":[{"message":"nope"}]}"#)
            .with("www-authenticate", "Basic realm=\"x\"")
    });
    let error = run(&store, &refused).unwrap_err().to_string();
    assert!(error.contains("denied: nope") && error.contains("login"), "{error}");
}

#[test]
fn two_pulls_at_once_fetch_each_layer_once() {
    let image = image();
    let answers = image.clone();
    let registry = FakeRegistry::new(move |request| {
        if is_layer(&answers, 0, request) {
            std::thread::sleep(Duration::from_millis(200));
        }
        answers.answer(request)
    });
    let scratch = Scratch::new("pull");
    let store = Store::open(scratch.path().join("store")).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| run(&store, &registry).unwrap());
        }
    });
    for layer in &image.layers {
        let digest = Digest::of(layer).to_string();
        let times = registry.requests().iter().filter(|r| r.path.ends_with(&digest)).count();
        assert_eq!(times, 1, "{digest}");
    }
    assert_eq!(count(&store, "layers"), 2);
    assert_eq!(count(&store, "tmp"), 0);
}

#[test]
fn the_same_layer_twice_in_an_image_is_fetched_once() {
    let tar = LayerBuilder::of(&[Entry::dir("./"), Entry::file("x", b"y")]);
    let image = FakeImage::of(&[tar.clone(), tar.clone(), tar]);
    let answers = image.clone();
    let registry = FakeRegistry::new(move |request| answers.answer(request));
    let scratch = Scratch::new("pull");
    let store = Store::open(scratch.path().join("store")).unwrap();
    let pulled = run(&store, &registry).unwrap();
    assert_eq!(store.layers(&pulled.image.chain_ids()).unwrap().len(), 3);
    let digest = Digest::of(&image.layers[0]).to_string();
    assert_eq!(registry.requests().iter().filter(|r| r.path.ends_with(&digest)).count(), 1);
}
