//! Names, pins and collection.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panic")]
#![allow(dead_code, reason = "what the test files share, not each uses")]

mod layer;

use husk_image::digest::Digest;
use husk_image::document::media;
use husk_image::platform::Platform;
use husk_image::reference::Reference;
use husk_image::store::{
    BlobClaim, CachedStep, ImageLayer, ImageRecord, LayerClaim, Removal, Sharing, Store, StoreError,
};
use husk_image::unpack::{UnpackOptions, UnpackReport};
use layer::Scratch;

/// An image of documents and one layer that need not be real.
fn image(store: &Store, name: &str) -> ImageRecord {
    let layer = format!("layer of {name}");
    let blob = store.put_document(layer.as_bytes()).unwrap();
    let diff_id = Digest::of(name.as_bytes());
    let record = ImageRecord {
        id: store.put_document(format!("config of {name}").as_bytes()).unwrap(),
        manifest: store.put_document(format!("manifest of {name}").as_bytes()).unwrap(),
        media_type: media::OCI_MANIFEST.to_owned(),
        platform: Platform::host(),
        created: None,
        layers: vec![ImageLayer { blob, size: layer.len() as u64, diff_id, chain_id: diff_id }],
    };
    unpacked(store, &record);
    store.add_image(&record, &[]).unwrap();
    record
}

fn unpacked(store: &Store, record: &ImageRecord) {
    let layer = &record.layers[0];
    let LayerClaim::Absent(build) = store.claim_layer(&layer.chain_id, &|| {}).unwrap() else {
        return;
    };
    let report = UnpackReport { names_root: true, ..UnpackReport::default() };
    build.commit(None, &layer.diff_id, &report, &UnpackOptions::of_this_process()).unwrap();
}

fn tag(store: &Store, name: &str, record: &ImageRecord) {
    let reference: Reference = name.parse().unwrap();
    store.tag(&reference, &record.manifest, &record.manifest).unwrap();
}

fn store(scratch: &Scratch) -> Store {
    Store::open(scratch.path().join("store")).unwrap()
}

#[test]
fn a_directory_of_somebody_elses_is_not_taken_for_a_store() {
    let scratch = Scratch::new("foreign");
    let root = scratch.path().join("root");
    std::fs::create_dir_all(root.join("tmp")).unwrap();
    let store = Store::open(&root).unwrap();
    drop(store.activity().unwrap());
    assert!(root.join("names").is_dir());
}

#[test]
fn images_are_found_by_name_id_and_digest() {
    let scratch = Scratch::new("store");
    let store = store(&scratch);
    let (a, b) = (image(&store, "a"), image(&store, "b"));
    tag(&store, "a", &a);
    tag(&store, "r.io:5000/x/y:z", &a);
    tag(&store, "b:1", &b);
    let long = format!("{}/x", "n".repeat(200));
    tag(&store, &long, &b);
    for name in ["a", "a:latest", "docker.io/library/a", "r.io:5000/x/y:z"] {
        assert_eq!(store.find(name).unwrap(), a, "{name}");
    }
    assert_eq!(store.find(&long).unwrap(), b);
    assert_eq!(store.find(&a.id.to_string()).unwrap(), a);
    assert_eq!(store.find(&a.id.short()).unwrap(), a);
    assert_eq!(store.find(&format!("a@{}", a.manifest)).unwrap(), a);
    for missing in ["b", "c", "a:2", "0000000000000000", "r.io:5000/x/y"] {
        assert!(matches!(store.find(missing), Err(StoreError::NoImage(_))), "{missing}");
    }
    assert!(store.find("A").unwrap_err().to_string().contains("lower-case"));
    let images = store.images().unwrap();
    assert_eq!(images.len(), 2);
    let names: Vec<String> = images[0].names.iter().map(|(name, _)| name.familiar()).collect();
    assert_eq!(names, ["a:latest", "r.io:5000/x/y:z"]);
}

#[test]
fn an_image_is_added_with_its_name_or_removed_with_it() {
    let scratch = Scratch::new("store");
    let store = store(&scratch);
    let a = image(&store, "a");
    let name: Reference = "x:latest".parse().unwrap();
    // As a pull does: nothing is collected before it has its name.
    let activity = store.activity().unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    match store.remove("x", false) {
                        Ok(_) | Err(StoreError::NoImage(_)) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            });
        }
        let names = [(name, a.manifest)];
        let added = (0..300).try_for_each(|_| store.add_image(&a, &names));
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        added.unwrap();
    });
    drop(activity);
}

#[test]
fn records_that_a_power_failure_emptied_are_told_and_made_anew() {
    let scratch = Scratch::new("store");
    let store = store(&scratch);
    let (a, b) = (image(&store, "a"), image(&store, "b"));
    tag(&store, "x", &a);
    tag(&store, "y", &b);
    let empty = |path: &str| std::fs::write(store.root().join(path), b"").unwrap();
    empty(&format!("images/{}.json", a.manifest.hex()));
    empty("names/docker.io%2Flibrary%2Fy:latest");
    empty(&format!("layers/{}/layer.json", b.layers[0].chain_id.hex()));
    // The documents of this image are none, so that its record cannot be derived.
    assert!(matches!(store.find("x"), Err(StoreError::Record { .. })));
    assert!(matches!(store.find("y"), Err(StoreError::Record { .. })));
    assert_eq!(store.damaged().unwrap().len(), 2);
    let images = store.images().unwrap();
    assert!(images.len() == 1 && images[0].record == b && images[0].names.is_empty());
    // What they say is made anew in its place.
    assert!(store.layers(&[b.layers[0].chain_id]).is_err());
    unpacked(&store, &b);
    store.layers(&[b.layers[0].chain_id]).unwrap();
    store.add_image(&b, &[("y".parse().unwrap(), b.manifest)]).unwrap();
    assert_eq!(store.find("y").unwrap(), b);
    store.collect().unwrap();
    assert!(!store.has_blob(&a.manifest) && store.has_blob(&b.manifest));
}

#[test]
fn lock_files_of_killed_makers_are_collected() {
    let scratch = Scratch::new("store");
    let store = store(&scratch);
    let digest = Digest::of(b"being made");
    let LayerClaim::Absent(build) = store.claim_layer(&digest, &|| {}).unwrap() else { panic!() };
    let locks = store.root().join("locks");
    let killed = Digest::of(b"x").hex();
    for name in [format!("layer-{killed}"), format!("blob-{killed}"), "cache-x".to_owned()] {
        std::fs::write(locks.join(name), b"").unwrap();
    }
    store.collect().unwrap();
    let entries = std::fs::read_dir(&locks).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut left: Vec<String> = names.collect();
    left.sort();
    assert_eq!(left, ["activity", "cache-x", &format!("layer-{}", digest.hex()), "names"]);
    drop(build);
}

#[test]
fn a_blob_that_a_power_failure_cut_is_made_anew() {
    let scratch = Scratch::new("store");
    let store = store(&scratch);
    let digest = store.put_document(b"0123456789").unwrap();
    let claim = |size| store.claim_blob(&digest, size, &|| {});
    assert!(matches!(claim(10).unwrap(), BlobClaim::Present(_)));
    // The descriptor is wrong, not the blob.
    assert!(matches!(claim(9), Err(StoreError::Size { .. })));
    std::fs::write(store.root().join("blobs/sha256").join(digest.hex()), b"0123").unwrap();
    let BlobClaim::Absent(mut partial) = claim(10).unwrap() else { panic!("a damaged blob") };
    partial.write(b"0123456789").unwrap();
    partial.finish().unwrap();
    assert!(matches!(claim(10).unwrap(), BlobClaim::Present(_)));
}

#[test]
fn a_tag_that_moves_leaves_a_dangling_image() {
    let scratch = Scratch::new("store");
    let store = store(&scratch);
    let (a, b) = (image(&store, "a"), image(&store, "b"));
    tag(&store, "x", &a);
    tag(&store, "x", &b);
    assert_eq!(store.find("x").unwrap(), b);
    let images = store.images().unwrap();
    assert!(images[1].names.is_empty() && images[1].record == a);
    assert_eq!(store.remove(&a.id.short(), false).unwrap(), [Removal::Deleted(a.id)]);
    assert!(!store.has_blob(&a.manifest) && store.layer(&a.layers[0].chain_id).unwrap().is_none());
    assert!(store.has_blob(&b.manifest) && store.layer(&b.layers[0].chain_id).unwrap().is_some());
}

#[test]
fn removing_takes_names_first_and_respects_containers() {
    let scratch = Scratch::new("store");
    let store = store(&scratch);
    let a = image(&store, "a");
    tag(&store, "x", &a);
    tag(&store, "y", &a);
    let error = store.remove(&a.id.short(), false).unwrap_err();
    assert!(matches!(&error, StoreError::SeveralNames { .. }), "{error}");
    let x: Reference = "x:latest".parse().unwrap();
    assert_eq!(store.remove("x", false).unwrap(), [Removal::Untagged(x)]);
    store.pin("container", &a.manifest).unwrap();
    let error = store.remove("y", false).unwrap_err().to_string();
    assert!(error.contains("container container"), "{error}");
    let y: Reference = "y:latest".parse().unwrap();
    assert_eq!(store.remove("y", true).unwrap(), [Removal::Untagged(y)]);
    assert!(store.layer(&a.layers[0].chain_id).unwrap().is_some());
    assert_eq!(store.pins().unwrap(), [("container".to_owned(), a.manifest)]);
    store.unpin("container").unwrap();
    store.unpin("container").unwrap();
    assert_eq!(store.remove(&a.id.short(), false).unwrap(), [Removal::Deleted(a.id)]);
    for section in ["blobs/sha256", "layers", "images", "names", "pins", "tmp"] {
        assert_eq!(std::fs::read_dir(store.root().join(section)).unwrap().count(), 0, "{section}");
    }
    assert!(matches!(store.pin("c", &a.manifest), Err(StoreError::NoImage(_))));
}

#[test]
fn collection_waits_for_those_who_add_and_keeps_build_steps() {
    let scratch = Scratch::new("store");
    let store = store(&scratch);
    let a = image(&store, "a");
    let orphan = store.put_document(b"orphan").unwrap();
    store
        .put_step(&Digest::of(b"key"), &CachedStep { layers: a.layers.clone(), created: None })
        .unwrap();
    let activity = store.activity().unwrap();
    assert!(store.collect().unwrap().busy);
    assert!(store.has_blob(&orphan));
    drop(activity);
    std::fs::create_dir(store.root().join("tmp/left-behind")).unwrap();
    let collected = store.collect().unwrap();
    assert_eq!((collected.blobs, collected.layers, collected.bytes), (1, 0, 6));
    assert!(!store.root().join("tmp/left-behind").exists());
    store.remove(&a.id.short(), false).unwrap();
    assert!(store.has_blob(&a.layers[0].blob), "a build step needs it");
    assert!(store.step(&Digest::of(b"key")).unwrap().is_some());
    assert_eq!(store.remove_steps().unwrap(), 1);
    assert_eq!(store.collect().unwrap().layers, 1);
}

#[test]
fn a_layer_that_is_not_committed_leaves_nothing() {
    let scratch = Scratch::new("store");
    let store = store(&scratch);
    let id = Digest::of(b"x");
    let LayerClaim::Absent(build) = store.claim_layer(&id, &|| {}).unwrap() else { panic!() };
    drop(build);
    assert_eq!(std::fs::read_dir(store.root().join("tmp")).unwrap().count(), 0);
    // What a killed process leaves goes when the layer is made again.
    let stale = store.root().join("tmp").join(format!("layer-{}-1-0", id.hex()));
    let other = store.root().join("tmp").join(format!("layer-{}-1-0", Digest::of(b"y").hex()));
    std::fs::create_dir_all(stale.join("diff/x")).unwrap();
    std::fs::create_dir_all(&other).unwrap();
    drop(store.claim_layer(&id, &|| {}).unwrap());
    assert!(!stale.exists() && other.exists());
    std::fs::remove_dir(other).unwrap();
    assert_eq!(std::fs::read_dir(store.root().join("locks")).unwrap().count(), 0);
    assert!(store.layer(&id).unwrap().is_none());
}

#[test]
fn blobs_are_verified_on_their_way_in_and_documents_on_their_way_out() {
    let scratch = Scratch::new("store");
    let store = store(&scratch);
    let claim = |digest: &Digest, size| match store.claim_blob(digest, size, &|| {}).unwrap() {
        BlobClaim::Absent(partial) => partial,
        BlobClaim::Present(_) => panic!("{digest} is there"),
    };
    let digest = Digest::of(b"hello");
    let mut partial = claim(&digest, 5);
    partial.write(b"hel").unwrap();
    assert!(matches!(partial.finish(), Err(StoreError::Size { found: 3, .. })));
    let mut partial = claim(&digest, 5);
    let mut seen = Vec::new();
    let take = |chunk: Vec<u8>| {
        seen.extend(chunk);
        Ok(())
    };
    partial.resume(take).unwrap();
    assert_eq!((seen.as_slice(), partial.offset(), partial.missing()), (&b"hel"[..], 3, 2));
    assert!(matches!(partial.write(b"lo!"), Err(StoreError::Size { .. })));
    drop(partial);
    let mut partial = claim(&digest, 5);
    partial.resume(|_| Ok(())).unwrap();
    partial.write(b"jello").unwrap();
    assert!(matches!(partial.finish(), Err(StoreError::DigestMismatch { .. })));
    let mut partial = claim(&digest, 5);
    partial.write(b"hello").unwrap();
    partial.finish().unwrap();
    assert!(matches!(store.claim_blob(&digest, 5, &|| {}).unwrap(), BlobClaim::Present(_)));
    assert!(matches!(store.claim_blob(&digest, 6, &|| {}), Err(StoreError::Size { .. })));
    std::fs::write(store.root().join("blobs/sha256").join(digest.hex()), b"HELLO").unwrap();
    let read = store.read_document(&digest, 100);
    assert!(matches!(read, Err(StoreError::DigestMismatch { .. })));
}

#[test]
fn a_cache_mount_is_shared_kept_apart_or_waited_for() {
    let scratch = Scratch::new("cache-mount");
    let store = Store::open(scratch.path().join("store")).unwrap();
    let begun = |sharing| {
        let cache = store.cache_mount(b"a", sharing).unwrap();
        if cache.is_new() {
            std::fs::create_dir(cache.making().join("source")).unwrap();
            let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
            cache.begin(uid.as_raw(), gid.as_raw(), 0o755).unwrap();
        }
        cache
    };
    let first = begun(Sharing::Shared);
    std::fs::write(first.directory().join("x"), "").unwrap();
    assert_eq!(begun(Sharing::Shared).directory(), first.directory());
    let apart = begun(Sharing::Private);
    let path = apart.directory();
    assert!(path != first.directory() && !path.join("x").exists());
    drop(apart);
    assert!(!path.exists(), "it is not kept");
    store.remove_cache_mounts().unwrap();
    assert!(first.directory().join("x").exists(), "it is in use");

    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let locked = begun(Sharing::Locked);
            sender.send(locked.directory().join("y").exists()).unwrap();
        });
        std::thread::sleep(std::time::Duration::from_millis(100));
        std::fs::write(first.directory().join("y"), "").unwrap();
        drop(first);
    });
    assert!(receiver.recv().unwrap(), "it has waited");
    store.remove_cache_mounts().unwrap();
    assert_eq!(std::fs::read_dir(store.cache_mounts()).unwrap().count(), 0);
}
