//! Round trips through Debian's docker-registry, with skopeo, umoci and podman.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panic")]
#![allow(dead_code, reason = "what the test files share, not each uses")]

mod corpus;
mod fake;
mod layer;
mod peers;
mod tree;

use std::os::fd::AsRawFd;
use std::path::PathBuf;

use corpus::{awkward, layout, mounted};
use fake::FakeImage;
use husk_image::digest::Digest;
use husk_image::progress::Silent;
use husk_image::registry::{Client, ClientOptions, PullOptions, PushOptions, pull, push};
use husk_image::store::Store;
use layer::Scratch;
use peers::{Registry, run, without};
use tree::assert_same_tree;

#[test]
fn round_trips_through_a_registry_keep_every_byte() {
    let test = "round_trips_through_a_registry_keep_every_byte";
    if without(test, &["docker-registry", "skopeo"]) {
        return;
    }
    let scratch = Scratch::new("registry");
    let registry = Registry::start(&scratch);
    let image = FakeImage::of(&awkward());
    let from = format!("oci:{}:awkward", layout(&scratch, &image).display());
    let to = |name: &str| format!("docker://{}/{name}", registry.address);
    let copy = |from: &str, to: &str, more: &[&str]| {
        let mut arguments = vec!["copy", "--src-tls-verify=false", "--dest-tls-verify=false"];
        arguments.extend(more);
        arguments.extend([from, to]);
        run("skopeo", &arguments);
    };
    copy(&from, &to("oci:1"), &[]);
    copy(&from, &to("docker:1"), &["--format", "v2s2"]);
    copy(&from, &to("zstd:1"), &["--dest-compress-format", "zstd"]);
    let store = Store::open(scratch.path().join("store")).unwrap();
    for name in ["oci:1", "docker:1", "zstd:1"] {
        let reference = registry.reference(name);
        let client = Client::new(&reference, ClientOptions::default());
        let pulled = pull(&store, &client, &reference, &PullOptions::default(), &Silent).unwrap();
        let raw = run("skopeo", &["inspect", "--raw", "--tls-verify=false", &to(name)]);
        assert_eq!(Digest::of(&raw), pulled.target, "{name}");
        let again = registry.reference(&format!("again/{name}"));
        let pushed =
            push(&store, &client, &pulled.image, &again, &PushOptions::default(), &Silent).unwrap();
        assert_eq!(pushed, pulled.target);
        let name = format!("again/{name}");
        let back = run("skopeo", &["inspect", "--raw", "--tls-verify=false", &to(&name)]);
        assert_eq!(back, raw, "{name}");
        // By digest, and with the layers read and verified by skopeo.
        let target = format!("oci:{}:x", scratch.path().join("back").display());
        copy(&to(&name), &target, &[]);
        let by_digest = again.at(pulled.target);
        let found = pull(&store, &client, &by_digest, &PullOptions::default(), &Silent).unwrap();
        assert_eq!(found.image, pulled.image);
    }
    // The three differ in compression only, so their layers are unpacked once.
    assert_eq!(std::fs::read_dir(store.root().join("layers")).unwrap().count(), 3);
}

#[test]
fn podman_and_umoci_meet_husk_at_a_registry() {
    let test = "podman_and_umoci_meet_husk_at_a_registry";
    if without(test, &["docker-registry", "skopeo", "podman", "umoci"]) {
        return;
    }
    let scratch = Scratch::new("meet");
    let registry = Registry::start(&scratch);
    let path = |name: &str| scratch.path().join(name).display().to_string();
    // An image that umoci has made: one layer of a few files.
    let layout = path("umoci");
    let image = format!("{layout}:made");
    run("umoci", &["init", "--layout", &layout]);
    run("umoci", &["new", "--image", &image]);
    run("umoci", &["unpack", "--image", &image, &path("bundle")]);
    std::fs::write(path("bundle/rootfs/hello"), "by umoci").unwrap();
    std::os::unix::fs::symlink("hello", path("bundle/rootfs/link")).unwrap();
    run("umoci", &["repack", "--image", &image, &path("bundle")]);
    let (root, state) = (path("podman"), path("podman-run"));
    let podman = |arguments: &[&str]| {
        let mut all = vec!["--root", &root, "--runroot", &state, "--storage-driver", "vfs"];
        all.extend(arguments);
        String::from_utf8(run("podman", &all)).unwrap()
    };
    let raw = |name: &str| {
        let from = format!("docker://{}/{name}", registry.address);
        run("skopeo", &["inspect", "--raw", "--tls-verify=false", &from])
    };
    let to = format!("docker://{}/umoci:1", registry.address);
    run("skopeo", &["copy", "--dest-tls-verify=false", &format!("oci:{image}"), &to]);

    // From umoci to husk, and from husk to podman.
    let store = Store::open(scratch.path().join("store")).unwrap();
    let client = Client::new(&registry.reference("umoci:1"), ClientOptions::default());
    let ours = |name: &str| {
        let reference = registry.reference(name);
        pull(&store, &client, &reference, &PullOptions::default(), &Silent).unwrap()
    };
    let theirs = ours("umoci:1");
    let pushed = registry.reference("husk:1");
    push(&store, &client, &theirs.image, &pushed, &PushOptions::default(), &Silent).unwrap();
    assert_eq!(raw("husk:1"), raw("umoci:1"));
    let name = format!("{}/husk:1", registry.address);
    podman(&["pull", "-q", "--tls-verify=false", &name]);
    assert_eq!(podman(&["images", "-q", "--no-trunc"]).trim(), theirs.image.id.to_string());

    // From podman to husk, and from husk back to umoci.
    let name = format!("{}/podman:1", registry.address);
    podman(&["tag", &format!("{}/husk:1", registry.address), &name]);
    podman(&["push", "-q", "--tls-verify=false", &name]);
    let pulled = ours("podman:1");
    assert_eq!(Digest::of(&raw("podman:1")), pulled.target);
    assert_eq!(pulled.image.chain_ids(), theirs.image.chain_ids());
    let back = registry.reference("back:1");
    push(&store, &client, &pulled.image, &back, &PushOptions::default(), &Silent).unwrap();
    assert_eq!(raw("back:1"), raw("podman:1"));
    let from = format!("docker://{}/back:1", registry.address);
    let image = format!("{}:x", path("back"));
    run("skopeo", &["copy", "--src-tls-verify=false", &from, &format!("oci:{image}")]);
    run("umoci", &["unpack", "--image", &image, &path("back-bundle")]);
    let mount = mounted(&store, &pulled.image, &scratch);
    let ours = PathBuf::from(format!("/proc/self/fd/{}/.", mount.as_raw_fd()));
    assert_same_tree(&scratch.path().join("back-bundle/rootfs"), &ours, &[""]);
    podman(&["rmi", "-a", "-f"]);
}
