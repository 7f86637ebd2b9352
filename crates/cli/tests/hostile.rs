//! Images of an adversary: their configs, their links, their names.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's failure is a panic")]

mod support;

use std::path::Path;

use husk_image::digest::Digest;
use serde_json::{Value, json};
use support::{Engine, engine, wait_for};

const RUN: [&str; 4] = ["run", "--rm", "--network", "none"];

/// Loads an image of busybox, with links, each from its first to its second.
fn load(engine: &Engine, config: &Value, links: &[(&str, &str)]) {
    let mut layer = tar::Builder::new(Vec::new());
    let program = std::fs::read("/bin/busybox").unwrap();
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o755);
    header.set_size(program.len() as u64);
    layer.append_data(&mut header, "bin/busybox", program.as_slice()).unwrap();
    let applets = ["cat", "id", "ls", "pwd", "sh", "sleep", "true"];
    let applets = applets.map(|name| (format!("bin/{name}"), "busybox"));
    let links = links.iter().map(|(name, target)| ((*name).to_owned(), *target));
    for (name, target) in applets.into_iter().chain(links) {
        let mut link = tar::Header::new_gnu();
        link.set_entry_type(tar::EntryType::Symlink);
        link.set_size(0);
        layer.append_link(&mut link, name, target).unwrap();
    }
    let layer = layer.into_inner().unwrap();
    let config = json!({
        "architecture": std::env::consts::ARCH.replace("x86_64", "amd64").replace("aarch64", "arm64"),
        "os": "linux", "config": config,
        "rootfs": { "type": "layers", "diff_ids": [Digest::of(&layer).to_string()] },
        "history": [{ "created_by": "\u{1b}[2J\u{202e}made", "comment": "\u{1b}]0;x\u{7}" }],
    });
    let config = config.to_string().into_bytes();
    let name = format!("{}.json", Digest::of(&config).hex());
    let manifest =
        json!([{ "Config": name, "RepoTags": ["evil:latest"], "Layers": ["l/layer.tar"] }]);
    let manifest = manifest.to_string().into_bytes();
    let path = engine.path("evil.tar");
    let mut archive = tar::Builder::new(std::fs::File::create(&path).unwrap());
    for (name, data) in
        [(name.as_str(), &config), ("l/layer.tar", &layer), ("manifest.json", &manifest)]
    {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(data.len() as u64);
        archive.append_data(&mut header, name, data.as_slice()).unwrap();
    }
    archive.finish().unwrap();
    engine.ok(&["load", "-i", path.to_str().unwrap()]);
}

#[test]
fn configs_are_honoured_or_refused() {
    let engine = engine!(new);
    let many: Vec<String> = (0..50_000).map(|number| format!("A{number}=x")).collect();
    for (config, code, words) in [
        (json!({ "Env": [format!("A={}", "x".repeat(200_000))] }), 126, "too long"),
        (json!({ "Env": ["A=x\0y"] }), 125, "contains a NUL"),
        (json!({ "Env": ["HOME"] }), 125, "not NAME=value"),
        (json!({ "Env": ["=x"] }), 125, "has no name"),
        (json!({ "Env": many }), 0, ""),
        (json!({ "User": "99999999999" }), 125, "is not an id"),
        (json!({ "User": "-1" }), 125, "not user[:group]"),
        (json!({ "User": "0:4294967295" }), 125, "is not an id"),
        (json!({ "User": "../../etc/passwd" }), 125, "not user[:group]"),
        (json!({ "WorkingDir": "../../.." }), 125, "not an absolute path"),
        (json!({ "WorkingDir": "/../../x" }), 125, "contains \"..\""),
        (json!({ "WorkingDir": format!("/{}", "a/".repeat(3000)) }), 125, "File name too long"),
        (json!({ "Volumes": { "/": {} } }), 125, "cannot be the root"),
        (json!({ "Volumes": { "/proc": {} } }), 125, "only procfs"),
        (json!({ "Volumes": { "../x": {} } }), 125, "not an absolute path"),
        (json!({ "Volumes": { "/etc": {}, "/dev": {}, "/sys/fs/cgroup": {} } }), 0, ""),
        (json!({ "Entrypoint": [], "Cmd": [] }), 125, "has no command"),
        (json!({ "Entrypoint": [""] }), 125, "an empty name"),
        (json!({ "Cmd": ["true", "\0"] }), 125, "contains a NUL"),
        (json!({ "StopSignal": "SIG\u{1b}" }), 125, "StopSignal \"SIG\\u{1b}\""),
        (json!({ "ExposedPorts": { "99999/tcp": {} } }), 125, "ExposedPorts"),
    ] {
        let shown = config.to_string().chars().take(80).collect::<String>();
        let mut whole = json!({ "Cmd": ["true"] });
        whole.as_object_mut().unwrap().extend(config.as_object().unwrap().clone());
        load(&engine, &whole, &[]);
        let done = engine.run(&[&RUN[..], &["evil"]].concat());
        assert_eq!(done.code, code, "{shown}: {done:?}");
        assert!(done.err.contains(words), "{shown}: {done:?}");
        assert!(!done.err.contains('\u{1b}'), "{shown}: {done:?}");
        engine.assert_nothing_left();
    }
}

/// The runtime's document of a container that runs, without what is its own.
fn document(engine: &Engine) -> Value {
    let id = engine.ok(&["run", "-d", "--network", "none", "-h", "same", "evil"]);
    let text = std::fs::read_to_string(engine.path("run/containers").join(&id).join("config.json"));
    engine.ok(&["rm", "-f", &id]);
    serde_json::from_str(&text.unwrap().replace(&id, "ID")).unwrap()
}

#[test]
fn nothing_of_an_image_steers_the_runtime() {
    let engine = engine!(new);
    load(&engine, &json!({ "Cmd": ["sleep", "600"] }), &[]);
    let plain = document(&engine);
    let mut labels = serde_json::Map::new();
    for name in [
        "io.podman.annotations.seccomp",
        "io.kubernetes.cri-o.seccompProfile",
        "io.containers.capabilities",
        "io.container.manager",
        "org.criu.config",
        "org.systemd.property.ExecStartPre",
        "run.oci.hooks.stderr",
        "run.oci.keep_original_groups",
        "dev.husk.landlock",
        "module.wasm.image/variant",
        "\u{1b}[2J",
    ] {
        labels.insert(name.to_owned(), "/host/path".into());
    }
    let config = json!({
        "Cmd": ["sleep", "600"], "Labels": labels, "OnBuild": ["RUN evil"], "ArgsEscaped": true,
        "Annotations": labels, "Hooks": { "prestart": [{ "path": "/bin/true" }] },
        "Sysctls": { "kernel.core_pattern": "|/evil" }, "Privileged": true, "Devices": ["/dev/sda"],
        "Healthcheck": { "Test": ["CMD", "evil"] }, "CapAdd": ["ALL"], "Binds": ["/:/host"],
    });
    load(&engine, &config, &[]);
    assert_eq!(document(&engine), plain);
    engine.assert_nothing_left();
}

#[test]
fn links_in_every_place_lead_nowhere() {
    let engine = engine!(new);
    let canary = engine.path("canary");
    std::fs::create_dir(&canary).unwrap();
    for name in ["f", "passwd", "group", "hosts"] {
        std::fs::write(canary.join(name), "root:x:0:0:husk-canary:/:/bin/sh\n").unwrap();
    }
    let state = || -> Vec<(String, std::time::SystemTime)> {
        let mut all: Vec<_> = std::fs::read_dir(&canary)
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|entry| {
                let name = entry.file_name().into_string().unwrap();
                (name, entry.metadata().unwrap().modified().unwrap())
            })
            .collect();
        all.sort();
        all
    };
    let before = state();
    let outside = canary.to_str().unwrap();
    let mirror = outside.trim_start_matches('/').to_owned() + "/here";
    let here = engine.path("here");
    std::fs::create_dir(&here).unwrap();
    std::fs::write(here.join("new"), "new").unwrap();
    let (new, stolen) = (here.join("new"), here.join("stolen"));
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    for target in [
        outside.to_owned(),
        format!("../../../../../../../..{outside}"),
        format!("/proc/self/root{outside}"),
        format!("/proc/1/root{outside}"),
    ] {
        // Once nothing is there inside, and once something is.
        for inside in [None, Some((mirror.as_str(), "x"))] {
            let mut links: Vec<(&str, &str)> =
                ["etc", "home", "v", "w"].into_iter().map(|name| (name, target.as_str())).collect();
            links.extend(inside);
            let config = json!({ "Cmd": ["ls", "/w/"], "WorkingDir": "/w/made", "Volumes": { "/v/in": {} } });
            load(&engine, &config, &links);
            let runs: [&[&str]; 4] = [
                &["evil"],
                &["-u", "root", "evil"],
                &["-w", "/w/x/y", "-v", "named:/v/z", "--tmpfs", "/home/t", "evil"],
                &["-v", "named:/w", "-v", "named:/etc", "evil", "cat", "/w/f", "/etc/f"],
            ];
            for flags in runs {
                let done = engine.run(&[&RUN[..], flags].concat());
                assert!(!done.out.contains("husk-canary"), "{target} {flags:?}: {done:?}");
            }
            engine.run(&["create", "--network", "none", "--name", "links", "evil"]);
            for arguments in [
                &["cp", "links:/w/f", &path(&stolen)][..],
                &["cp", "-L", "links:/etc", &path(&stolen)],
                &["cp", &path(&new), "links:/w/"],
                &["cp", &path(&new), "links:/w/f"],
                &["cp", "links:/w/.", "-"],
                &["diff", "links"],
                &["export", "links"],
                &["start", "-a", "links"],
            ] {
                let done = engine.run(arguments);
                assert!(!done.out.contains("husk-canary"), "{target} {arguments:?}: {done:?}");
            }
            engine.run(&["rm", "-f", "-v", "links"]);
            let copied = engine.beside(&format!("grep -rs husk-canary {}", here.display()));
            assert_eq!(copied.out, "", "{target}");
            engine.beside(&format!("rm -rf {}", stolen.display()));
            assert_eq!(state(), before, "{target}");
        }
    }
    engine.ok(&["volume", "prune", "-af"]);
    engine.assert_nothing_left();
}

#[test]
fn a_terminal_is_told_nothing() {
    let engine = engine!(new);
    load(
        &engine,
        &json!({ "Cmd": ["sh", "-c", "true \u{1b}[2J"], "Labels": { "a": "\u{1b}[31m" } }),
        &[],
    );
    engine.ok(&["create", "--network", "none", "--name", "odd", "evil"]);
    for arguments in
        [&["ps", "-a", "--no-trunc"][..], &["history", "--no-trunc", "evil"], &["images"]]
    {
        let done = engine.run(arguments);
        assert!(!done.out.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{arguments:?}: {done:?}");
    }
    engine.ok(&["cp", "/etc/passwd", "odd:/\u{1b}[2J"]);
    if Path::new("/usr/bin/script").is_file() {
        let label = "{{.Config.Labels.a}}";
        for arguments in [&["diff", "odd"][..], &["inspect", "-f", label, "odd"]] {
            let script = engine.path("script.sh");
            let command = engine.command(arguments);
            let words = std::iter::once(command.get_program()).chain(command.get_args());
            let words: Vec<String> =
                words.map(|word| format!("'{}'", word.to_str().unwrap())).collect();
            std::fs::write(&script, words.join(" ")).unwrap();
            let typed = engine.path("typed");
            let command = format!("sh {}", script.display());
            let done =
                engine.beside(&format!("script -qec '{command}' {} >/dev/null", typed.display()));
            assert_eq!(done.code, 0, "{done:?}");
            let shown = std::fs::read_to_string(&typed).unwrap();
            assert!(
                shown.contains("\\u{1b}[") && !shown.contains('\u{1b}'),
                "{arguments:?}: {shown}"
            );
        }
    }
    engine.ok(&["rm", "odd"]);
    wait_for("its end", || engine.ok(&["ps", "-aq"]).is_empty());
    engine.assert_nothing_left();
}
