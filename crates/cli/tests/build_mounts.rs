//! `RUN --mount` and `--secret`, in real containers.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's failure is a panic")]
#![allow(dead_code, reason = "what the test files share, not each uses")]

mod support;

use std::path::PathBuf;

use support::{Done, Engine, engine, obstacle};

fn context(engine: &Engine, files: &[(&str, &str)]) -> PathBuf {
    let path = engine.path("context");
    for (name, content) in files {
        let file = path.join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, content).unwrap();
    }
    path
}

fn build(engine: &Engine, dockerfile: &str, flags: &[&str]) -> Done {
    let path = context(engine, &[("Dockerfile", dockerfile)]);
    let path = path.to_str().unwrap();
    engine.run(&[&["build", "--network", "none", "-t", "out"], flags, &[path]].concat())
}

fn built(engine: &Engine, dockerfile: &str, flags: &[&str]) -> Done {
    let done = build(engine, dockerfile, flags);
    assert_eq!(done.code, 0, "{done:?}");
    done
}

fn sh(engine: &Engine, script: &str) -> String {
    let done = engine.run(&["run", "--rm", "--network", "none", "out", "sh", "-c", script]);
    assert_eq!(done.code, 0, "{done:?}");
    done.out
}

fn assert_clean(engine: &Engine) {
    engine.assert_nothing_left();
    let left = std::fs::read_dir(engine.path("root/tmp")).unwrap().count();
    assert_eq!(left, 0, "left in tmp");
}

#[test]
fn a_cache_is_kept_from_build_to_build() {
    let engine = engine!(new);
    let step = |more: &str| {
        format!(
            "FROM bb\nRUN --mount=type=cache,target=/var/cache/x,mode=0700,uid=7,gid=8{more} \
             echo again >> /var/cache/x/log; ls -ldn /var/cache/x > /made; cat /var/cache/x/log >> /made\n"
        )
    };
    built(&engine, &step(""), &[]);
    let made = sh(&engine, "cat /made; ls /var 2>/dev/null; true");
    assert!(made.starts_with("drwx------"), "{made}");
    assert!(made.contains(" 7 "), "{made}");
    assert!(made.ends_with("/var/cache/x\nagain\n"), "no mount point stays: {made}");
    // The step itself is cached; made anew it has what the first left.
    built(&engine, &step(""), &[]);
    assert_eq!(sh(&engine, "cat /made").matches("again").count(), 1);
    built(&engine, &step(""), &["--no-cache"]);
    assert_eq!(sh(&engine, "cat /made").matches("again").count(), 2);
    built(&engine, &step(",id=other"), &[]);
    assert_eq!(sh(&engine, "cat /made").matches("again").count(), 1, "a name of its own");
    built(&engine, &step(",sharing=locked"), &[]);
    assert_eq!(sh(&engine, "cat /made").matches("again").count(), 3);
    let twice = "FROM bb\nRUN --mount=type=cache,target=/a,id=two,sharing=locked \
        --mount=type=cache,target=/b,id=two,sharing=locked echo both > /a/x; cat /b/x > /made\n";
    built(&engine, twice, &[]);
    assert_eq!(sh(&engine, "cat /made"), "both\n", "one cache, and no wait for itself");
    let seeded = "FROM bb AS base\nRUN echo seed > /seed\nFROM bb\n\
        RUN --mount=type=cache,target=/c,id=seeded,from=base,source=/ cat /c/seed > /made\n";
    built(&engine, seeded, &[]);
    assert_eq!(sh(&engine, "cat /made"), "seed\n");
    assert_eq!(std::fs::read_dir(engine.path("root/cache-mounts")).unwrap().count(), 4);
    engine.ok(&["builder", "prune", "-f"]);
    assert_eq!(std::fs::read_dir(engine.path("root/cache-mounts")).unwrap().count(), 0);
    assert_clean(&engine);
}

#[test]
fn what_is_bound_is_seen_and_never_changed() {
    let engine = engine!(new);
    let files = [("src/a", "of the context"), ("src/hidden", "x"), (".dockerignore", "src/hidden")];
    let path = context(&engine, &files);
    std::os::unix::fs::symlink("/etc", path.join("src/out")).unwrap();
    let dockerfile = "FROM bb AS base\nRUN echo base > /b; chmod 600 /b; busybox chown 5:6 /b\nFROM bb\nWORKDIR /w\n\
        RUN --mount=target=in,source=src --mount=from=base,source=/b,target=/from/b \
        cat in/a > /made; ls in >> /made; touch in/x 2>> /made || echo refused >> /made; \
        ls -ln /from/b | busybox cut -c 1-20 >> /made\n\
        RUN --mount=source=src,target=/in,rw echo new > /in/a; cat /in/a >> /made\n";
    built(&engine, dockerfile, &[]);
    let made = sh(&engine, "cat /made; ls -d /from /in /w/in 2>/dev/null; true");
    let expected = "of the contexta\nout\ntouch: in/x: Read-only file system\nrefused\n";
    assert!(made.starts_with(expected), "{made}");
    assert!(made.contains("-rw-------    1 5 "), "the stage's owner: {made}");
    assert!(made.ends_with("\nnew\n"), "no mount point stays: {made}");
    assert_eq!(std::fs::read_to_string(path.join("src/a")).unwrap(), "of the context");
    // What is mounted is part of the step.
    let again = built(&engine, dockerfile, &[]);
    assert_eq!(again.err.matches("cached").count(), 4, "{again:?}");
    std::fs::write(path.join("src/a"), "changed").unwrap();
    built(&engine, dockerfile, &[]);
    assert!(sh(&engine, "cat /made").starts_with("changed"));
    assert_clean(&engine);
}

#[test]
fn a_tmpfs_is_empty_and_bounded() {
    let engine = engine!(new);
    let dockerfile = "FROM bb\nRUN --mount=type=tmpfs,target=/t,size=1m \
        ls /t > /made; dd if=/dev/zero of=/t/big bs=1M count=2 2>/dev/null || echo full >> /made; \
        printf '#!/bin/sh\\necho ran >> /made' > /t/run; echo > /t/big; chmod 755 /t/run; \
        printf '#!/bin/sh\\necho ran >> /made' > /t/run; /t/run\n";
    built(&engine, dockerfile, &[]);
    assert_eq!(sh(&engine, "cat /made; ls -d /t 2>/dev/null; true"), "full\nran\n");
    assert_clean(&engine);
}

#[test]
fn a_secret_reaches_the_step_and_no_layer() {
    let engine = engine!(new);
    let secret = engine.path("token");
    std::fs::write(&secret, "s3cret-of-the-test").unwrap();
    let given = format!("id=token,src={}", secret.display());
    let dockerfile = "FROM bb\n\
        RUN --mount=type=secret,id=token,uid=9 ls -ln /run/secrets/token | busybox cut -c 1-20 > /made; \
        busybox wc -c < /run/secrets/token >> /made; echo x > /run/secrets/token || echo refused >> /made\n\
        RUN --mount=type=secret,id=token,target=/deep/er/t,mode=0444 --mount=type=secret,id=none,target=/n \
        busybox wc -c < /deep/er/t >> /made; test -e /n || echo none >> /made\n\
        RUN --mount=type=secret,id=token,env=TOKEN printf \"$TOKEN\" | busybox wc -c >> /made\n";
    built(&engine, dockerfile, &["--secret", &given]);
    let made = sh(&engine, "cat /made; ls -d /run /deep /n 2>/dev/null; true");
    assert!(made.starts_with("-r--------    1 9 "), "{made}");
    assert!(made.ends_with("\n18\nrefused\n18\nnone\n18\n"), "{made}");
    let found = engine.beside(&format!(
        "grep -rl s3cret-of-the-test {} {}; true",
        engine.path("root").display(),
        engine.path("run").display()
    ));
    assert_eq!(found.out, "", "it stays nowhere");
    // Another content is no other step.
    std::fs::write(&secret, "changed").unwrap();
    let again = built(&engine, dockerfile, &["--secret", &given]);
    assert_eq!(again.err.matches("cached").count(), 3, "{again:?}");

    let needed = "FROM bb\nRUN --mount=type=secret,id=token,required=true true\n";
    let without = build(&engine, needed, &[]);
    assert_eq!(without.code, 1, "{without:?}");
    assert!(
        without.err.contains("2:28: give the secret token: --secret id=token,src=FILE"),
        "{without:?}"
    );
    for (flag, words) in [
        ("token", "is not KEY=VALUE"),
        ("src=/x", "has no id"),
        ("id=a,src=/nonexistent", "open --secret /nonexistent"),
        ("id=a,env=HUSK_NO_SUCH", "names a variable that is not set"),
        ("id=a,what=b", "has a key that is not one of"),
        ("id=a,src=/dev/zero", "over the limit of 500 KiB"),
    ] {
        let done = build(&engine, needed, &["--secret", flag]);
        assert!(done.code != 0 && done.err.contains(words), "{flag}: {done:?}");
        assert_eq!(done.err.lines().count(), 1, "{flag}: {done:?}");
    }
    assert_clean(&engine);
}

#[test]
fn mounts_that_cannot_be_are_refused_at_their_place() {
    let engine = engine!(new);
    context(&engine, &[("a1", ""), ("a2", "")]);
    for (mount, words) in [
        ("target=/x,source=gone", "2:30: \"gone\": no such file"),
        ("target=/x,source=a*", "a mount has one source"),
        ("target=/", "2:20: nothing can be mounted there"),
        ("target=$NOPE", "2:20: nothing can be mounted there"),
        ("target=/x,from=3", "there is no stage 3 before this one"),
        ("type=tmpfs,target=/x,size=much", "a size is bytes"),
        ("type=cache,target=/x,mode=9", "a mode is octal digits"),
        ("type=cache,target=/x,uid=me", "uid \"me\" is not an id's number"),
        ("type=secret,id=a/b", "a name without /"),
    ] {
        let done = build(&engine, &format!("FROM bb\nRUN --mount={mount} true\n"), &[]);
        assert!(done.code == 1 && done.err.contains(words), "{mount}: {done:?}");
        assert!(done.err.trim_end().ends_with('^'), "{mount}: {done:?}");
    }
    assert_clean(&engine);
}

#[test]
fn an_ordinary_user_has_them_too() {
    if let Some(why) = obstacle() {
        support::skip(&why);
        return;
    }
    let engine = Engine::of_user("husktester:5000000:65536\n");
    engine.import();
    let path = engine.path("home/context");
    std::fs::create_dir(&path).unwrap();
    let dockerfile = "FROM bb\nRUN --mount=type=cache,target=/c,uid=7 --mount=target=/in \\\n\
        --mount=type=secret,id=HUSK_TOKEN,uid=9,env=T --mount=type=secret,id=HUSK_TOKEN,uid=9 \\\n\
        echo x >> /c/log; cat /c/log /in/file > /made; ls -ldn /c /run/secrets/HUSK_TOKEN | \\\n\
        busybox awk '{ print $3 }' >> /made; echo $T >> /made\n";
    std::fs::write(path.join("Dockerfile"), dockerfile).unwrap();
    std::fs::write(path.join("file"), "in\n").unwrap();
    let path = path.to_str().unwrap();
    for lines in ["x\nin\n7\n9\nt\n", "x\nx\nin\n7\n9\nt\n"] {
        let flags = ["build", "--no-cache", "--network", "none", "-t", "out"];
        let mut command = engine
            .command(&[&flags[..], &["--secret", "id=HUSK_TOKEN,env=HUSK_TOKEN", path]].concat());
        let done: Done = command.env("HUSK_TOKEN", "t").output().unwrap().into();
        assert_eq!(done.code, 0, "{done:?}");
        assert_eq!(sh(&engine, "cat /made"), lines);
    }
    engine.ok(&["builder", "prune", "-f"]);
    let kept = engine.path("home/.local/share/husk/cache-mounts");
    assert_eq!(std::fs::read_dir(kept).unwrap().count(), 0);
    engine.assert_nothing_left();
}
