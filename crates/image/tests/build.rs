//! Builds, with a runner that writes files instead of running containers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panic")]
#![allow(dead_code, reason = "what the test files share, not each uses")]

mod builds;
mod layer;

use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use builds::Bench;
use husk_image::build::BuildOptions;
use layer::{Entry, LayerBuilder, without_root};

/// What a base without a PATH gets.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

#[test]
fn a_static_program_from_scratch_is_about_its_size() {
    if without_root("a_static_program_from_scratch_is_about_its_size") {
        return;
    }
    let bench = Bench::new();
    bench.file("hello", "not really a program");
    let path = bench.scratch.path().join("context/hello");
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    let source = "FROM scratch\nCOPY hello /\nENTRYPOINT [\"/hello\"]\n";
    let tag = |options: &mut BuildOptions| options.names = vec!["hello:1".parse().unwrap()];
    let built = bench.build_with(source, tag).unwrap();
    assert_eq!(bench.store.find("hello:1").unwrap(), built.image);
    assert_eq!(built.image.layers.len(), 1);
    let size: u64 = built.image.layers.iter().map(|layer| layer.size).sum();
    assert!(size < 300, "{size}");
    let run = built.config.config.unwrap();
    assert_eq!(run.entrypoint.unwrap(), ["/hello"]);
    assert_eq!(bench.read(&built.image, "hello").unwrap(), "not really a program");
    let meta = bench.meta(&built.image, "hello");
    assert_eq!((meta.uid(), meta.mode() & 0o7777), (0, 0o755));
    // Unpacked elsewhere from the blob alone, it is the same layer.
    let layer = &built.image.layers[0];
    let blob = std::io::BufReader::new(bench.store.open_blob(&layer.blob).unwrap());
    let options = husk_image::unpack::UnpackOptions::of_this_process();
    let directory = bench.scratch.open("again");
    husk_image::unpack::unpack(blob, directory, Some(&layer.diff_id), &options, &|_| {}).unwrap();
}

#[test]
fn every_instruction_reaches_the_config() {
    if without_root("every_instruction_reaches_the_config") {
        return;
    }
    let bench = Bench::new();
    let source = "ARG BASE=scratch\nFROM $BASE\nARG V=1\nARG W\nENV A=$V B=\"x $V\"\nENV C=$A$B D=${W:-none}\nWORKDIR /w\nWORKDIR sub/$V\nUSER 1000:1000\nEXPOSE 80 53/udp\nVOLUME /v data\nLABEL a=$A \"b c\"='d'\nSTOPSIGNAL SIGINT\nSHELL [\"/bin/bash\", \"-ec\"]\nCMD run $A\nENTRYPOINT [\"/e\"]\nMAINTAINER me\n";
    let built = bench
        .build_with(source, |options| {
            options.arguments = vec![("V".into(), "2".into()), ("NO_SUCH".into(), "x".into())];
            options.labels = vec![("l".into(), "m".into())];
        })
        .unwrap();
    let run = built.config.config.unwrap();
    assert_eq!(run.env.unwrap(), [PATH, "A=2", "B=x 2", "C=2x 2", "D=none"]);
    assert_eq!(run.working_dir.as_deref(), Some("/w/sub/2"));
    assert_eq!(run.user.as_deref(), Some("1000:1000"));
    let keys = |map: std::collections::BTreeMap<String, _>| map.into_keys().collect::<Vec<_>>();
    assert_eq!(keys(run.exposed_ports.unwrap()), ["53/udp", "80/tcp"]);
    assert_eq!(keys(run.volumes.unwrap()), ["/v", "/w/sub/2/data"]);
    let labels = run.labels.unwrap();
    assert_eq!((&*labels["a"], &*labels["b c"], &*labels["l"]), ("2", "d", "m"));
    assert_eq!(run.stop_signal.as_deref(), Some("SIGINT"));
    assert_eq!(run.cmd.unwrap(), ["/bin/bash", "-ec", "run $A"]);
    assert_eq!(run.entrypoint.unwrap(), ["/e"]);
    assert_eq!(built.config.author.as_deref(), Some("me"));
    assert!(built.log.contains("--build-arg NO_SUCH"));
    let history = built.config.history.unwrap();
    let made = history.iter().filter(|entry| !entry.empty_layer).count();
    assert_eq!((made, built.image.layers.len()), (2, 2));
}

#[test]
fn stages_share_files_and_only_needed_ones_are_built() {
    if without_root("stages_share_files_and_only_needed_ones_are_built") {
        return;
    }
    let bench = Bench::new();
    let source = "FROM scratch AS one\nRUN [\"write\", \"/made\", \"by one\"]\nENV X=1\nCMD [\"one\"]\nFROM scratch AS unused\nRUN [\"fail\"]\nFROM one AS two\nARG A=b\nRUN [\"write\", \"/two\", \"2\"]\nENTRYPOINT [\"e\"]\nFROM scratch\nCOPY --from=one /made /from/one\nCOPY --from=2 /two /m* /from/\n";
    let built = bench.build(source).unwrap();
    assert_eq!(bench.read(&built.image, "from/one").unwrap(), "by one");
    assert_eq!(bench.read(&built.image, "from/two").unwrap(), "2");
    assert_eq!(bench.read(&built.image, "from/made").unwrap(), "by one");
    assert_eq!(built.ran.len(), 2);
    let target = |name: &str| {
        let name = name.to_owned();
        bench.build_with(source, |options| options.target = Some(name))
    };
    let two = target("two").unwrap();
    assert_eq!(two.log.cached(), 2);
    let run = two.config.config.unwrap();
    assert_eq!(run.env.unwrap(), [PATH, "X=1"]);
    assert_eq!(run.cmd, None, "a base's CMD goes with a new ENTRYPOINT");
    assert!(target("unused").err().unwrap().contains("exit status 3"));
    assert!(target("none").err().unwrap().contains("no stage \"none\""));
}

#[test]
fn the_cache_knows_what_goes_into_a_step() {
    if without_root("the_cache_knows_what_goes_into_a_step") {
        return;
    }
    let bench = Bench::new();
    bench.file("a", "1");
    bench.file("d/x", "x");
    let source = "FROM scratch\nCOPY a /a\nARG V=1\nRUN [\"write\", \"/b\", \"2\"]\nCOPY d /d/\n";
    let first = bench.build(source).unwrap();
    assert_eq!((first.log.cached(), first.ran.len()), (0, 1));
    let again = bench.build(source).unwrap();
    assert_eq!((again.log.cached(), again.ran.len()), (3, 0));
    assert_eq!(again.image.chain_ids(), first.image.chain_ids());
    assert_eq!(again.image.id, first.image.id, "no second image of the same steps");
    // Neither time nor owner of a context's file is copied, so neither counts.
    let now = std::time::SystemTime::now();
    let path = bench.scratch.path().join("context/a");
    std::fs::File::options().append(true).open(&path).unwrap().set_modified(now).unwrap();
    assert_eq!(bench.build(source).unwrap().log.cached(), 3);
    bench.file("d/y", "");
    assert_eq!(bench.build(source).unwrap().log.cached(), 2);
    let argument = |value: &str| {
        let value = value.to_owned();
        bench.build_with(source, |options| options.arguments = vec![("V".into(), value)]).unwrap()
    };
    assert_eq!(argument("9").ran.len(), 1, "an ARG is in a RUN's environment");
    assert_eq!(argument("9").ran.len(), 0);
    bench.file("a", "2");
    let changed = bench.build(source).unwrap();
    assert_eq!((changed.log.cached(), changed.ran.len()), (0, 1));
    assert_eq!(bench.read(&changed.image, "a").unwrap(), "2");
    let anew = bench.build_with(source, |options| options.no_cache = true).unwrap();
    assert_eq!((anew.log.cached(), anew.ran.len()), (0, 1));
    // The same text in another place of the step is another step.
    let one = bench.build("FROM scratch\nRUN [\"a\", \"b\"]\n").unwrap();
    let two = bench.build("FROM scratch\nRUN [\"a b\"]\n").unwrap();
    assert_eq!((one.ran.len(), two.ran.len()), (1, 1));
}

#[test]
fn what_a_step_removes_is_gone() {
    if without_root("what_a_step_removes_is_gone") {
        return;
    }
    let bench = Bench::new();
    let tar =
        LayerBuilder::of(&[Entry::dir("./"), Entry::file("gone", b"x"), Entry::file("kept", b"y")]);
    let wanted = husk_image::archive::ImportOptions {
        reference: Some("base:1".parse().unwrap()),
        ..Default::default()
    };
    let options = husk_image::registry::PullOptions::default();
    let silent = &husk_image::progress::Silent;
    husk_image::archive::import(&bench.store, &tar[..], wanted, &options, silent).unwrap();
    let built = bench.build("FROM base:1\nRUN [\"rm\", \"/gone\"]\nRUN [\"nothing\"]\n").unwrap();
    assert_eq!(bench.read(&built.image, "gone"), None);
    assert_eq!(bench.read(&built.image, "kept").unwrap(), "y");
    assert_eq!(built.image.layers.len(), 2, "a step without a change makes no layer");
    let mut tar = Vec::new();
    let blob = bench.store.open_blob(&built.image.layers[1].blob).unwrap();
    flate2::read::GzDecoder::new(blob).read_to_end(&mut tar).unwrap();
    assert!(tar.starts_with(b".wh.gone\0"));
    let error = bench.build("FROM none:1\n").err().unwrap();
    assert!(error.contains("Dockerfile:1:6: no such image"), "{error}");
}

#[test]
fn copies_go_where_docker_puts_them() {
    if without_root("copies_go_where_docker_puts_them") {
        return;
    }
    let bench = Bench::new();
    bench.file("f", "f");
    bench.file("dir/sub/g", "g");
    bench.file("dir/h", "h");
    bench.file("dir/skip.log", "");
    bench.file(".dockerignore", "**/*.log\nDockerfile\n");
    let context = bench.scratch.path().join("context");
    std::os::unix::fs::symlink("h", context.join("dir/link")).unwrap();
    std::os::unix::fs::symlink("dir", context.join("dirlink")).unwrap();
    let source = "FROM scratch\nWORKDIR /w\nCOPY f name\nCOPY f into/\nCOPY dir tree\nCOPY dir/* flat/\nCOPY dirlink/h followed\nCOPY --chown=7:8 --chmod=600 f owned\nCOPY --chown=9 f /owned9\nCOPY <<one <<\"two\" /inline/\none $HOME\\$x\none\ntwo $HOME\ntwo\nCOPY <<three /three\n3\nthree\nCOPY f /inline\n";
    let built = bench.build(source).unwrap();
    let read = |path: &str| bench.read(&built.image, path);
    for (path, content) in [
        ("w/name", "f"),
        ("w/into/f", "f"),
        ("w/tree/sub/g", "g"),
        ("w/tree/h", "h"),
        ("w/flat/g", "g"),
        ("w/flat/h", "h"),
        ("w/followed", "h"),
        ("inline/one", "one $x\n"),
        ("inline/two", "two $HOME\n"),
        ("inline/f", "f"),
        ("three", "3\n"),
    ] {
        assert_eq!(read(path).as_deref(), Some(content), "{path}");
    }
    assert_eq!(read("w/tree/skip.log"), None);
    let owned = bench.meta(&built.image, "w/owned");
    assert_eq!((owned.uid(), owned.gid(), owned.mode() & 0o7777), (7, 8, 0o600));
    let owned = bench.meta(&built.image, "owned9");
    assert_eq!((owned.uid(), owned.gid()), (9, 9));
    for (source, expected) in [
        ("COPY none /", "2:6: \"none\": no such file"),
        ("COPY dir/skip.log /", "left out by .dockerignore"),
        ("COPY f dir /x", "2:12: several sources"),
        ("COPY --chmod=rwx f /", "2:14: \"rwx\": a mode is octal"),
        ("COPY --chown=nobody f /", "2:14: user \"nobody\""),
        ("COPY ${X:?gone} /", "2:6: X: gone"),
        ("EXPOSE 99999", "2:8: \"99999\": not a port"),
        ("VOLUME /", "cannot be the root"),
        ("COPY --from=9 f /", "9"),
    ] {
        let error = bench.build(&format!("FROM scratch\n{source}\n")).err().expect(source);
        assert!(error.contains(expected), "{source}: {error}");
    }
}

#[test]
fn neither_context_nor_image_leads_outside() {
    if without_root("neither_context_nor_image_leads_outside") {
        return;
    }
    let bench = Bench::new();
    let outside = bench.scratch.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("canary"), "canary").unwrap();
    let context = bench.scratch.path().join("context");
    let link = |target: &Path, name: &str| {
        std::os::unix::fs::symlink(target, context.join(name)).unwrap();
    };
    link(&outside, "abs");
    link(Path::new("../outside"), "up");
    link(&outside.join("canary"), "file");
    for source in ["abs/canary", "up/canary", "file", "../outside/canary"] {
        let built = bench.build(&format!("FROM scratch\nCOPY {source} /x\n"));
        assert!(built.is_err(), "{source}");
    }
    // A link of the image in the way of the destination stays within the image.
    bench.file("f", "evil");
    let tar = LayerBuilder::of(&[
        Entry::dir("./"),
        Entry::link(b'2', "out", outside.to_str().unwrap()),
        Entry::link(b'2', "canary", outside.join("canary").to_str().unwrap()),
    ]);
    std::fs::write(context.join("rootfs.tar"), &tar).unwrap();
    let source = "FROM scratch\nADD rootfs.tar /\nCOPY f /canary\nCOPY f /canary\n";
    let built = bench.build(source).unwrap();
    // It is followed inside, where the directories are made that it leads through.
    let inside = outside.strip_prefix("/").unwrap();
    let read = |image, name: &str| bench.read(image, inside.join(name).to_str().unwrap());
    assert_eq!(read(&built.image, "canary").unwrap(), "evil");
    let built = bench.build("FROM scratch\nADD rootfs.tar /\nCOPY f /out/\n").unwrap();
    assert_eq!(read(&built.image, "f").unwrap(), "evil");
    assert_eq!(std::fs::read_to_string(outside.join("canary")).unwrap(), "canary");
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 1);
}

#[test]
fn add_unpacks_archives_and_copy_does_not() {
    if without_root("add_unpacks_archives_and_copy_does_not") {
        return;
    }
    let bench = Bench::new();
    let tar = LayerBuilder::of(&[Entry::dir("in"), Entry::file("in/x", b"x")]);
    let context = bench.scratch.path().join("context");
    std::fs::write(context.join("a.tar"), &tar).unwrap();
    std::fs::write(context.join("b.zst"), zstd::encode_all(&tar[..], 1).unwrap()).unwrap();
    std::fs::write(context.join("c.xz"), b"\xfd7zXZ\0....").unwrap();
    std::fs::write(context.join("plain.gz"), b"\x1f\x8bnot an archive").unwrap();
    let source = "FROM scratch\nADD a.tar /a/\nADD b.zst /b/\nCOPY a.tar /c/\nADD plain.gz /d/\n";
    let built = bench.build(source).unwrap();
    assert_eq!(bench.read(&built.image, "a/in/x").unwrap(), "x");
    assert_eq!(bench.read(&built.image, "b/in/x").unwrap(), "x");
    assert!(bench.open(&built.image, "c/a.tar").is_some());
    assert!(bench.open(&built.image, "d/plain.gz").is_some());
    let error = bench.build("FROM scratch\nADD c.xz /\n").err().unwrap();
    assert!(error.contains("xz, which ADD does not unpack"), "{error}");
}

#[test]
fn a_failed_build_keeps_its_steps_and_nothing_else() {
    if without_root("a_failed_build_keeps_its_steps_and_nothing_else") {
        return;
    }
    let bench = Bench::new();
    let source = "FROM scratch\nRUN [\"write\", \"/a\", \"1\"]\nRUN \\\n  [\"fail\"]\n";
    let error = bench.build(source).err().unwrap();
    assert_eq!(
        error,
        "Dockerfile:3:1: the command ended with exit status 3\n    3 | RUN \\\n      | ^"
    );
    assert!(bench.store.images().unwrap().is_empty());
    let left = std::fs::read_dir(bench.store.root().join("tmp")).unwrap().count();
    assert_eq!(left, 0);
    assert_eq!(bench.build(source).err().unwrap(), error);
    bench.store.collect().unwrap();
    let fixed = source.replace("fail", "other");
    assert_eq!(bench.build(&fixed).unwrap().log.cached(), 1);
}
