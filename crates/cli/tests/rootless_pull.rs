//! Images of an ordinary user, from a registry: owners, set-id files and what is left out.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's failure is a panic")]
#![allow(dead_code, reason = "what the test files share, not each uses")]

#[path = "../../image/tests/corpus/mod.rs"]
mod corpus;
#[path = "../../image/tests/fake/mod.rs"]
mod fake;
#[path = "../../image/tests/layer/mod.rs"]
mod layer;
mod support;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use fake::FakeImage;
use layer::{Entry, LayerBuilder, Scratch};
use rustix::process::{Pid, Signal, kill_process};
use support::{Engine, obstacle, wait_for};

const IMAGE: &str = "127.0.0.1:5000/some/image:1";

/// An engine beside a registry that has `image`; `None`, and said why, where something is
/// missing.
fn engine(ranges: &str, image: impl FnOnce() -> FakeImage) -> Option<(Engine, Registry)> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let programs = ["newuidmap", "setpriv", "bash", "docker-registry", "skopeo"];
    let missing = programs
        .iter()
        .find(|name| !std::env::split_paths(&path).any(|directory| directory.join(name).is_file()));
    if let Some(why) = obstacle().or(missing.map(|name| format!("no {name}"))) {
        support::skip(&why);
        return None;
    }
    let engine = Engine::of_user(ranges);
    let scratch = Scratch::new("rootless-pull");
    let layout = corpus::layout(&scratch, &image());
    let root = engine.path("registry");
    let config = format!(
        "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n\
         storage: {{filesystem: {{rootdirectory: {root:?}}}}}\nhttp: {{addr: 127.0.0.1:5000}}\n"
    );
    std::fs::write(engine.path("registry.yml"), config).unwrap();
    let serve = format!(
        "docker-registry serve {} </dev/null >/dev/null 2>&1 & echo $!",
        engine.path("registry.yml").display()
    );
    let started = engine.beside(&serve);
    let registry = Registry(started.out.trim().parse().ok().and_then(Pid::from_raw));
    wait_for("the registry", || engine.beside("busybox nc 127.0.0.1 5000 </dev/null").code == 0);
    let copy = format!(
        "skopeo copy --dest-tls-verify=false oci:{}:awkward docker://{IMAGE}",
        layout.display()
    );
    let copied = engine.beside(&copy);
    assert_eq!(copied.code, 0, "{copied:?}");
    Some((engine, registry))
}

/// A registry; it ends with this.
struct Registry(Option<Pid>);

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.0.map(|pid| kill_process(pid, Signal::KILL));
    }
}

/// Everything that a layer says of files and that find(1) can print.
const LISTING: &str = "find . -xdev -path ./dev -prune -o -path ./proc -prune -o -path ./sys -prune -o \
     -type d -printf '%p %y %m %U:%G %T@\\n' -o -printf '%p %y %m %U:%G %T@ %s %n %l\\n'";

fn lines(text: &str) -> BTreeSet<String> {
    // What a container has from the engine, and the directory that they are made in.
    let engines = ["./etc/hosts ", "./etc/hostname ", "./etc/resolv.conf ", "./etc d ", ". d "];
    let kept = text.lines().filter(|line| !engines.iter().any(|own| line.starts_with(own)));
    kept.map(str::to_owned).collect()
}

#[test]
fn a_debian_image_has_its_owners_and_set_id_files() {
    let Some(tar) = std::env::var_os("HUSK_DEBIAN_TAR") else {
        support::skip("no HUSK_DEBIAN_TAR (cargo xtask test makes one)");
        return;
    };
    let image = || FakeImage::of(&[std::fs::read(&tar).unwrap()]);
    let Some((engine, _registry)) = engine("husktester:5000000:65536\n", image) else { return };
    let pulled = engine.run(&["pull", IMAGE]);
    assert_eq!(pulled.code, 0, "{pulled:?}");
    assert!(pulled.err.contains("dev/null\": device left out"), "{pulled:?}");
    assert!(pulled.err.contains("needs root on the host"), "{pulled:?}");

    let run = |flags: &[&str], script: &str| {
        engine.run(
            &[&["run", "--rm", "--network", "none"], flags, &[IMAGE, "sh", "-c", script]].concat(),
        )
    };
    // All but the devices is as root unpacks it.
    let reference = engine.path("reference");
    std::fs::create_dir(&reference).unwrap();
    let unpack = ["--extract", "--same-owner", "--same-permissions", "--numeric-owner", "--file"];
    let unpacked = Command::new("tar").args(unpack).arg(&tar).arg("-C").arg(&reference).status();
    assert!(unpacked.unwrap().success());
    let theirs = Command::new("sh").args(["-c", LISTING]).current_dir(&reference).output();
    let theirs = lines(&String::from_utf8(theirs.unwrap().stdout).unwrap());
    let listed = run(&["-w", "/"], LISTING);
    assert_eq!(listed.code, 0, "{listed:?}");
    let ours = lines(&listed.out);
    let differ: Vec<_> = theirs.symmetric_difference(&ours).take(20).collect();
    assert!(differ.is_empty() && ours.len() > 3000, "{differ:#?}");
    let owners: BTreeSet<&str> =
        ours.iter().filter_map(|line| line.split(' ').find(|word| word.contains(':'))).collect();
    assert!(owners.len() > 4 && owners.contains("0:42"), "{owners:?}");

    // The set-id bits work: /etc/shadow is for root and its group alone.
    let aged = run(&["-u", "nobody"], "cat /etc/shadow 2>/dev/null || chage -l nobody");
    assert!(aged.code == 0 && aged.out.contains("Last password change"), "{aged:?}");
    let devices = run(&[], "echo x > /dev/null && test -c /dev/zero && stat -c %t:%T /dev/null");
    assert_eq!(devices.out, "1:3\n", "{devices:?}");
    let tools =
        run(&[], "apt-config dump APT::Architecture && dpkg --audit && mkdir /a && chown 1:2 /a");
    assert_eq!(tools.code, 0, "{tools:?}");

    engine.ok(&["rmi", IMAGE]);
    engine.assert_nothing_left();
    for section in ["blobs/sha256", "layers", "images", "tmp", "partial"] {
        // Layers have ids that only the namespace may enter; their names can be read.
        let path = engine.path("home/.local/share/husk").join(section);
        let left = std::fs::read_dir(&path).unwrap().count();
        assert_eq!(left, 0, "{section}");
    }
}

#[test]
fn ids_beyond_the_range_are_named_and_leave_nothing() {
    let image = || {
        let far = Entry::file("far", b"x").owner(70_000, 5);
        FakeImage::of(&[LayerBuilder::of(&[Entry::dir("./"), far])])
    };
    let Some((engine, _registry)) = engine("husktester:5000000:65536\n", image) else { return };
    let refused = engine.run(&["pull", "-q", IMAGE]);
    assert_eq!((refused.code, refused.err.lines().count()), (1, 1), "{refused:?}");
    for words in ["\"far\"", "owner 70000:5 is not mapped", "/etc/subuid"] {
        assert!(refused.err.contains(words), "{refused:?}");
    }
    for section in ["blobs/sha256", "layers", "images", "tmp", "partial"] {
        let path = engine.path("home/.local/share/husk").join(section);
        assert_eq!(std::fs::read_dir(&path).unwrap().count(), 0, "{section}");
    }
    assert!(!Path::new("/run/user").join(support::UID.to_string()).exists());
}
