//! Records that are damaged: one hides nothing else, is named with its remedy, and can be
//! removed or repaired.
//!
//! Each record is cut at a few lengths; with HUSK_LONG set at every length.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's failure is a panic")]

mod support;

use std::path::{Path, PathBuf};

use support::Engine;

/// What is done to a record.
#[derive(Debug)]
enum Damage {
    Cut(usize),
    Zeros,
    WrongType,
    Directory,
}

impl Damage {
    fn all(length: usize) -> Vec<Self> {
        let mut all: Vec<Self> = match std::env::var_os("HUSK_LONG") {
            Some(_) => (0..length).map(Self::Cut).collect(),
            None => vec![Self::Cut(length / 2)],
        };
        all.extend([Self::Cut(0), Self::Zeros, Self::WrongType, Self::Directory]);
        all
    }

    fn apply(&self, path: &Path, whole: &[u8]) {
        let _ = std::fs::remove_file(path);
        match self {
            Self::Cut(length) => std::fs::write(path, &whole[..*length]).unwrap(),
            Self::Zeros => std::fs::write(path, vec![0; whole.len()]).unwrap(),
            Self::WrongType => std::fs::write(path, b"[1,2]").unwrap(),
            Self::Directory => std::fs::create_dir(path).unwrap(),
        }
    }
}

fn restore(path: &Path, whole: &[u8]) {
    if path.is_dir() {
        std::fs::remove_dir(path).unwrap();
    }
    std::fs::write(path, whole).unwrap();
}

/// The one file of a directory, other than those in `known`.
fn only(directory: &Path, known: &[PathBuf]) -> PathBuf {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<PathBuf> = entries.filter(|path| !known.contains(path)).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

/// Everything that lists goes on with what else there is.
fn nothing_else_is_hidden(engine: &Engine, what: &str) {
    for (arguments, expected) in [
        (&["ps", "-a", "--format", "{{.Names}}"][..], "other"),
        (&["images", "--format", "{{.Repository}}"], "bb"),
        (&["network", "ls", "--format", "{{.Name}}"], "othernet"),
        (&["volume", "ls", "-q"], "othervol"),
        (&["system", "df"], "Containers"),
        (&["start", "-a", "other"], "works"),
    ] {
        let done = engine.run(arguments);
        assert_eq!(done.code, 0, "{what}: {arguments:?}: {done:?}");
        assert!(done.out.contains(expected), "{what}: {arguments:?}: {done:?}");
    }
}

fn check(engine: &Engine, what: &str, expected: &str) {
    let done = engine.run(&["system", "check", "--quick"]);
    assert_eq!(done.code, 1, "{what}: {done:?}");
    assert!(done.out.contains(expected), "{what}: {done:?}");
}

fn engine_with_others() -> Option<Engine> {
    if let Some(why) = support::obstacle() {
        eprintln!("skipped: {why}");
        return None;
    }
    let engine = Engine::with_network();
    engine.ok(&["network", "create", "othernet"]);
    engine.ok(&["volume", "create", "othervol"]);
    engine.ok(&["create", "--network", "none", "--name", "other", "bb", "echo", "works"]);
    Some(engine)
}

#[test]
fn a_damaged_container_record() {
    let Some(engine) = engine_with_others() else { return };
    let id = engine.ok(&["create", "--network", "none", "--name", "hurt", "bb", "true"]);
    let path = engine.path("root/containers").join(&id).join("container.json");
    let whole = std::fs::read(&path).unwrap();
    for damage in Damage::all(whole.len()) {
        let what = format!("container.json {damage:?}");
        damage.apply(&path, &whole);
        nothing_else_is_hidden(&engine, &what);
        check(&engine, &what, "rm -f");
        let listed = engine.run(&["ps", "-a"]);
        assert!(listed.err.contains("container.json is damaged"), "{what}: {listed:?}");
        for arguments in [&["rm", "hurt"][..], &["start", "hurt"], &["inspect", "hurt"]] {
            let done = engine.run(arguments);
            assert!(done.code != 0 && done.err.contains("is damaged"), "{what}: {done:?}");
        }
        restore(&path, &whole);
    }
    Damage::Cut(0).apply(&path, &whole);
    assert_eq!(engine.run(&["system", "check", "--repair"]).code, 1, "its changes are kept");
    engine.ok(&["rm", "-f", "hurt"]);
    engine.ok(&["create", "--network", "none", "--name", "hurt", "bb", "true"]);
    engine.ok(&["rm", "hurt"]);
    assert_eq!(engine.ok(&["system", "check"]), "no damage found");
}

#[test]
fn a_damaged_state_of_a_stopped_and_of_a_running_container() {
    let Some(engine) = engine_with_others() else { return };
    engine.run(&["run", "--network", "none", "--name", "ended", "bb", "sh", "-c", "exit 3"]);
    engine.ok(&["run", "-d", "--network", "none", "--name", "runs", "bb", "sleep", "600"]);
    let state = |name| {
        let id = engine.inspect(name, "{{.Id}}");
        engine.path("root/containers").join(id).join("state.json")
    };
    for (name, status) in [("ended", "exited"), ("runs", "running")] {
        let path = state(name);
        let whole = std::fs::read(&path).unwrap();
        for damage in Damage::all(whole.len()) {
            let what = format!("state.json of {name} {damage:?}");
            damage.apply(&path, &whole);
            nothing_else_is_hidden(&engine, &what);
            check(&engine, &what, "state.json is damaged");
            assert_eq!(engine.inspect(name, "{{.State.Status}}"), status, "{what}");
            restore(&path, &whole);
        }
        Damage::Directory.apply(&path, &whole);
        engine.ok(&["system", "check", "--repair"]);
        assert_eq!(engine.inspect(name, "{{.State.Status}}"), status);
    }
    Damage::Cut(0).apply(&state("runs"), b"");
    engine.ok(&["rm", "-f", "runs", "ended", "other"]);
    engine.assert_nothing_left();
}

#[test]
fn a_damaged_name_of_a_container() {
    let Some(engine) = engine_with_others() else { return };
    let id = engine.ok(&["create", "--network", "none", "--name", "named", "bb", "true"]);
    let path = engine.path("root/container-names/named");
    for length in [0, 1, 63] {
        std::fs::write(&path, &id[..length]).unwrap();
        nothing_else_is_hidden(&engine, "a name");
        assert_eq!(engine.inspect("named", "{{.Id}}"), id, "found by its record");
        let taken = engine.run(&["create", "--name", "named", "--network", "none", "bb"]);
        assert!(taken.err.contains("is in use"), "{taken:?}");
        check(&engine, "a name", "container named");
    }
    engine.ok(&["system", "check", "--repair"]);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), id);
    engine.ok(&["rm", "named"]);
}

#[test]
fn a_damaged_volume_record() {
    let Some(engine) = engine_with_others() else { return };
    engine.ok(&["volume", "create", "--label", "a=b", "hurt"]);
    std::fs::write(engine.path("root/volumes/hurt/data/file"), "kept").unwrap();
    let path = engine.path("root/volumes/hurt/volume.json");
    let whole = std::fs::read(&path).unwrap();
    let run = ["run", "--rm", "--network", "none", "-v", "hurt:/v", "bb", "cat", "/v/file"];
    for damage in Damage::all(whole.len()) {
        let what = format!("volume.json {damage:?}");
        damage.apply(&path, &whole);
        nothing_else_is_hidden(&engine, &what);
        check(&engine, &what, "volume hurt");
        assert_eq!(engine.ok(&run), "kept", "{what}");
        engine.ok(&["volume", "prune", "-f"]);
        assert_eq!(engine.ok(&run), "kept", "{what}");
        restore(&path, &whole);
    }
    Damage::Directory.apply(&path, &whole);
    engine.ok(&["system", "check", "--repair"]);
    assert_eq!(engine.ok(&["system", "check"]), "no damage found");
    assert_eq!(engine.ok(&run), "kept");
    Damage::Cut(1).apply(&path, &whole);
    engine.ok(&["volume", "rm", "hurt"]);
    assert!(!engine.path("root/volumes/hurt").exists());
}

#[test]
fn a_damaged_network_record() {
    let Some(engine) = engine_with_others() else { return };
    engine.ok(&["network", "create", "hurt"]);
    for name in ["hurt", "bridge"] {
        engine.ok(&["network", "ls"]);
        let path = engine.path("root/networks").join(format!("{name}.json"));
        let whole = std::fs::read(&path).unwrap();
        for damage in Damage::all(whole.len()) {
            let what = format!("{name}.json {damage:?}");
            damage.apply(&path, &whole);
            nothing_else_is_hidden(&engine, &what);
            check(&engine, &what, &format!("network {name}"));
            engine.ok(&["run", "--rm", "--network", "othernet", "bb", "true"]);
            let refused = engine.run(&["run", "--rm", "--network", name, "bb", "true"]);
            assert!(refused.code == 125 && refused.err.contains("is damaged"), "{refused:?}");
            restore(&path, &whole);
        }
        Damage::Cut(5).apply(&path, &whole);
        engine.ok(&["network", "rm", name]);
        assert!(!path.exists());
    }
    let path = engine.path("root/networks/bridge.json");
    std::fs::write(&path, "{").unwrap();
    engine.ok(&["system", "check", "--repair"]);
    engine.ok(&["run", "--rm", "bb", "true"]);
    assert_eq!(engine.ok(&["system", "check"]), "no damage found");
}

#[test]
fn damaged_records_of_images() {
    let Some(engine) = engine_with_others() else { return };
    let image = only(&engine.path("root/images"), &[]);
    engine.ok(&["tag", "bb", "second"]);
    let names = engine.path("root/names");
    let second = std::fs::read_dir(&names).unwrap().map(|one| one.unwrap().path());
    let second = second.into_iter().find(|path| path.display().to_string().contains("second"));
    let second = second.unwrap();
    let pin = only(&engine.path("root/pins"), &[]);
    let layer = only(&engine.path("root/layers"), &[]).join("layer.json");
    for (path, expected) in
        [(image, "image "), (second.clone(), "image name"), (pin, "pin"), (layer, "layer ")]
    {
        let whole = std::fs::read(&path).unwrap();
        for damage in Damage::all(whole.len()) {
            let what = format!("{} {damage:?}", path.display());
            damage.apply(&path, &whole);
            // A layer is unpacked again by the first start, which mends it.
            check(&engine, &what, expected);
            nothing_else_is_hidden(&engine, &what);
            let pruned = engine.run(&["image", "prune", "-f"]);
            assert_eq!(pruned.code, 0, "{what}: {pruned:?}");
            engine.ok(&["run", "--rm", "--network", "none", "bb", "true"]);
            if !path.is_dir() {
                restore(&path, &whole);
            } else {
                std::fs::remove_dir(&path).unwrap();
                restore(&path, &whole);
            }
        }
        Damage::Cut(3).apply(&path, &whole);
        engine.ok(&["system", "check", "--repair"]);
        assert_eq!(engine.ok(&["system", "check"]), "no damage found", "{}", path.display());
    }
    assert!(!second.exists(), "a name that says nothing is removed");
    engine.ok(&["rm", "other"]);
    engine.ok(&["rmi", "bb"]);
}

#[test]
fn damaged_blobs_and_layers() {
    let Some(engine) = engine_with_others() else { return };
    // A file of the layer is changed: found by its blob, unpacked again.
    let layer = only(&engine.path("root/layers"), &[]);
    std::fs::write(layer.join("diff/data/file"), "imagE").unwrap();
    let done = engine.run(&["system", "check"]);
    assert!(done.code == 1 && done.out.contains("has other content"), "{done:?}");
    engine.ok(&["system", "check", "--repair"]);
    assert_eq!(
        engine.ok(&["run", "--rm", "--network", "none", "bb", "cat", "/data/file"]),
        "image"
    );
    // The whole layer is gone.
    std::fs::remove_dir_all(&layer).unwrap();
    assert_eq!(
        engine.ok(&["run", "--rm", "--network", "none", "bb", "cat", "/data/file"]),
        "image"
    );
    // Its blob is damaged: save does not write it, and what is unpacked still runs.
    let blobs = engine.path("root/blobs/sha256");
    let largest = std::fs::read_dir(&blobs).unwrap().map(|entry| entry.unwrap().path());
    let largest = largest.max_by_key(|path| std::fs::metadata(path).unwrap().len()).unwrap();
    let mut bytes = std::fs::read(&largest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&largest, &bytes).unwrap();
    let archive = engine.path("saved.tar").display().to_string();
    let saved = engine.run(&["save", "-o", &archive, "bb"]);
    assert!(saved.code == 1 && saved.err.contains("is damaged"), "{saved:?}");
    let repaired = engine.run(&["system", "check", "--repair"]);
    assert!(repaired.code == 1 && repaired.out.contains("pull or load"), "{repaired:?}");
    assert!(!largest.exists());
    engine.ok(&["run", "--rm", "--network", "none", "bb", "true"]);
    engine.import();
    assert_eq!(engine.ok(&["system", "check"]), "no damage found");
}
