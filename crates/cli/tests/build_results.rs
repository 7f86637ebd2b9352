//! What `build` reads besides a directory, and where its result goes.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's failure is a panic")]

mod support;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use support::{Done, Engine, engine, wait_for};

/// Adds the image `tools`: `bb` with all applets of busybox.
fn with_tools(engine: Engine) -> Engine {
    let path = context(&engine, "tools", "FROM bb\nRUN busybox --install -s /bin\n");
    ok(build(&engine, &path, &["-t", "tools"]));
    engine
}

/// A context of its own.
fn context(engine: &Engine, name: &str, dockerfile: &str) -> PathBuf {
    let path = engine.path(name);
    std::fs::create_dir_all(&path).unwrap();
    std::fs::write(path.join("Dockerfile"), dockerfile).unwrap();
    path
}

fn build(engine: &Engine, path: &Path, flags: &[&str]) -> Done {
    let path = path.to_str().unwrap();
    engine.run(&[&["build", "--network", "none"], flags, &[path]].concat())
}

fn ok(done: Done) -> Done {
    assert_eq!(done.code, 0, "{}", done.err);
    done
}

fn refused(done: &Done, expected: &str) {
    assert_ne!(done.code, 0);
    assert!(done.err.contains(expected), "{expected}: {}", done.err);
}

#[test]
fn many_files_and_deep_trees_take_few_descriptors() {
    let engine = with_tools(engine!(new));
    let path = context(&engine, "wide", "FROM scratch\nCOPY . /m\n");
    let mut directory = path.join("many");
    std::fs::create_dir(&directory).unwrap();
    for number in 0..1500 {
        std::fs::write(directory.join(format!("f{number}")), "").unwrap();
    }
    for level in 0..150 {
        directory = directory.join(format!("{level}"));
        std::fs::create_dir(&directory).unwrap();
        std::fs::write(directory.join("file"), "").unwrap();
    }
    let command = engine.command(&["build", "-q", "-t", "wide", path.to_str().unwrap()]);
    // 64 descriptors, where one for each file was needed, or for each level.
    let mut limited = Command::new("prlimit");
    limited.arg("--nofile=64:64").arg("--").arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        limited.env(name, value.unwrap_or_default());
    }
    ok(limited.stdin(Stdio::null()).output().unwrap().into());
}

#[test]
fn hard_links_stay_in_copies() {
    let engine = with_tools(engine!(new));
    let path = context(
        &engine,
        "links",
        "FROM tools\nCOPY d /d\nRUN mkdir /v && echo v > /v/a && ln /v/a /v/b\nVOLUME /v\n",
    );
    std::fs::create_dir(path.join("d")).unwrap();
    std::fs::write(path.join("d/a"), "data").unwrap();
    std::fs::hard_link(path.join("d/a"), path.join("d/b")).unwrap();
    ok(build(&engine, &path, &["-t", "links"]));
    let script = "stat -c %h /d/a /v/a /in/a";
    engine.ok(&["create", "--network", "none", "--name", "box", "links", "sh", "-c", script]);
    let local = path.join("d");
    engine.ok(&["cp", local.to_str().unwrap(), "box:/in"]);
    let out = path.join("out");
    engine.ok(&["cp", "box:/d", out.to_str().unwrap()]);
    assert_eq!(std::fs::metadata(out.join("a")).unwrap().nlink(), 2);
    let links = engine.ok(&["start", "-a", "box"]);
    assert_eq!(links.split_whitespace().collect::<Vec<_>>(), ["2", "2", "2"]);
}

#[test]
fn the_side_that_failed_is_named() {
    let engine = with_tools(engine!(new));
    let path = context(
        &engine,
        "sides",
        "FROM tools AS s\nRUN mkdir -p /x/lib64 && touch /x/lib64/f\nFROM tools\nRUN mkdir -p /lib && ln -s lib /lib64\nCOPY --from=s /x/ /\n",
    );
    let done = build(&engine, &path, &[]);
    refused(&done, "/lib64: a link to \"lib\", where a directory is copied");
    let path = context(&engine, "dangling", "FROM tools\nCOPY lib/*.rb /foo/\n");
    std::fs::create_dir(path.join("lib")).unwrap();
    std::fs::write(path.join("lib/a.rb"), "").unwrap();
    std::os::unix::fs::symlink("nowhere", path.join("lib/b.rb")).unwrap();
    refused(&build(&engine, &path, &[]), "\"lib/b.rb\": a link to \"nowhere\"");
    let path = context(&engine, "from", "FROM tools AS s\nFROM tools\nCOPY --from=s /none /\n");
    let done = build(&engine, &path, &[]);
    refused(&done, "no such file or directory in s");
    assert!(!done.err.contains("dockerignore"), "{}", done.err);
}

#[test]
fn parents_are_kept_where_asked() {
    let engine = with_tools(engine!(new));
    let dockerfile = "FROM tools\nCOPY --parents a/b/c.txt ./a/d/ /one/\nCOPY --parents a/./b/*.txt /two\nCOPY --parents **/*.txt /three/\nRUN find /one /two /three -type f | sort > /all; stat -c %a /one/a >> /all\n";
    let path = context(&engine, "parents", dockerfile);
    for (name, content) in [("a/b/c.txt", "c"), ("a/d/e", "e"), ("a/d/f.txt", "f"), ("g.txt", "g")]
    {
        let file = path.join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, content).unwrap();
    }
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o750);
    std::fs::set_permissions(path.join("a"), mode).unwrap();
    ok(build(&engine, &path, &["-t", "parents"]));
    let all = engine.ok(&["run", "--rm", "--network", "none", "parents", "cat", "/all"]);
    let expected = [
        "/one/a/b/c.txt",
        "/one/a/d/e",
        "/one/a/d/f.txt",
        "/three/a/b/c.txt",
        "/three/a/d/f.txt",
        "/three/g.txt",
        "/two/b/c.txt",
        "750",
    ];
    assert_eq!(all.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn results_go_where_output_says() {
    let engine = with_tools(engine!(new));
    let path = context(&engine, "out", "FROM scratch\nCOPY --chown=3:4 f /dir/f\n");
    std::fs::write(path.join("f"), "content").unwrap();
    let at = |name: &str| path.join(name).to_str().unwrap().to_owned();
    ok(build(&engine, &path, &["-o", &at("files")]));
    let file = std::fs::metadata(path.join("files/dir/f")).unwrap();
    assert_eq!((file.uid(), file.gid(), file.len()), (3, 4, 7));
    ok(build(&engine, &path, &["--output", &format!("type=tar,dest={}", at("files.tar"))]));
    let listed = Command::new("tar").args(["tf", &at("files.tar")]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&listed.stdout), "dir/\ndir/f\n");
    let names = ["-t", "out:1", "--metadata-file", &at("meta"), "--iidfile", &at("iid")];
    let output = format!("type=oci,dest={}", at("oci.tar"));
    ok(build(&engine, &path, &[&names[..], &["-o", &output]].concat()));
    let listed = Command::new("tar").args(["tf", &at("oci.tar")]).output().unwrap();
    assert!(String::from_utf8_lossy(&listed.stdout).contains("index.json"));
    let metadata = std::fs::read_to_string(path.join("meta")).unwrap();
    let id = std::fs::read_to_string(path.join("iid")).unwrap();
    assert!(metadata.contains(&id) && metadata.contains("out:1"), "{metadata}");
    for (flags, expected) in [
        (&["-o", "type=zip,dest=x"][..], "type must be one of"),
        (&["--push"], "a push needs a name"),
        (&["--provenance=mode=max"], "--provenance"),
        (&["--sbom=true"], "--sbom"),
        (&["--progress", "tty"], "needs a terminal"),
        (&["--platform", "linux/amd64,linux/arm64"], "names several"),
        (&["--allow", "all"], "--allow"),
        (&["--cache-to", "type=gha"], "--cache-to"),
        (&["--ssh", "x=/dev/null"], "is not an agent's socket"),
    ] {
        refused(&build(&engine, &path, flags), expected);
    }
    let taken = ["--provenance=false", "--sbom=false", "--load", "--progress=plain"];
    ok(build(&engine, &path, &taken));
}

#[test]
fn images_of_one_epoch_are_equal_to_the_byte() {
    let engine = with_tools(engine!(new));
    let dockerfile = "FROM scratch AS empty\nFROM tools\nCOPY f /f\nRUN echo x > /made && mkdir /d\nWORKDIR /w\n";
    let path = context(&engine, "epoch", dockerfile);
    let made = |epoch: &str| {
        std::fs::write(path.join("f"), "content").unwrap();
        let epoch = format!("SOURCE_DATE_EPOCH={epoch}");
        ok(build(&engine, &path, &["-q", "--no-cache", "--build-arg", &epoch])).out
    };
    let first = made("1000000000");
    std::thread::sleep(std::time::Duration::from_millis(1100));
    assert_eq!(made("1000000000"), first);
    assert_ne!(made("1000000001"), first);
    let done = build(&engine, &path, &["--build-arg", "SOURCE_DATE_EPOCH=now"]);
    refused(&done, "must be seconds since 1970");
}

#[test]
fn caches_travel() {
    let engine = with_tools(engine!(new));
    let dockerfile = "FROM tools AS one\nRUN head -c 8 /dev/urandom > /random\nFROM tools\nCOPY --from=one /random /r\nRUN cat /r > /copied\n";
    let path = context(&engine, "cache", dockerfile);
    let cache = path.join("cache");
    let to = format!("type=local,dest={},mode=max", cache.display());
    let first = ok(build(&engine, &path, &["-q", "--cache-to", &to])).out;
    engine.ok(&["builder", "prune", "-a", "-f"]);
    assert_ne!(ok(build(&engine, &path, &["-q"])).out, first);
    engine.ok(&["builder", "prune", "-af"]);
    let from = format!("type=local,src={}", cache.display());
    assert_eq!(ok(build(&engine, &path, &["-q", "--cache-from", &from])).out, first);
    let done = ok(build(&engine, &path, &["--cache-from", "type=local,src=/nowhere"]));
    assert!(done.err.contains("--cache-from is not used: /nowhere"), "{}", done.err);
}

#[test]
fn other_contexts_have_names() {
    let engine = with_tools(engine!(new));
    let path = context(
        &engine,
        "named",
        "FROM base\nCOPY --from=more f /f\nRUN --mount=type=bind,from=more,target=/m cp /m/f /g\n",
    );
    let more = engine.path("more");
    std::fs::create_dir(&more).unwrap();
    std::fs::write(more.join("f"), "content").unwrap();
    let more = format!("more={}", more.display());
    let flags = ["--build-context", &more, "--build-context", "base=docker-image://tools"];
    ok(build(&engine, &path, &[&flags[..], &["-t", "named"]].concat()));
    let out = engine.ok(&["run", "--rm", "--network", "none", "named", "cat", "/f", "/g"]);
    assert_eq!(out, "contentcontent");
}

#[test]
fn what_a_step_may_is_asked_for() {
    let engine = with_tools(engine!(new));
    let path =
        context(&engine, "allow", "FROM tools\nRUN --security=insecure mount -t tmpfs t /data\n");
    refused(&build(&engine, &path, &[]), "--allow security.insecure");
    ok(build(&engine, &path, &["--allow", "security.insecure"]));
    let path = context(&engine, "host", "FROM tools\nRUN --network=host true\n");
    refused(&build(&engine, &path, &[]), "--allow network.host");
    ok(build(&engine, &path, &["--allow", "network.host"]));
}

#[test]
fn agents_are_lent_to_steps() {
    let engine = with_tools(engine!(new));
    let path = context(
        &engine,
        "agent",
        "FROM tools\nRUN --mount=type=ssh test -S $SSH_AUTH_SOCK\nRUN test -z $SSH_AUTH_SOCK\nRUN --mount=type=ssh,id=other,required true\n",
    );
    let socket = engine.path("agent.sock");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let agent = |id: &str| format!("{id}={}", socket.display());
    let flags = ["--ssh", &agent("default"), "--ssh", &agent("other")];
    ok(build(&engine, &path, &flags));
    refused(&build(&engine, &path, &flags[..2]), "give the SSH agent other: --ssh other");
}

/// Serves one answer after another for files of a directory, until the test ends.
fn serve(directory: PathBuf) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = Vec::new();
            let mut byte = [0];
            while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n == 1) {
                request.extend(byte);
            }
            let text = String::from_utf8_lossy(&request).into_owned();
            let path = text.split(' ').nth(1).unwrap_or("/").split('?').next().unwrap_or("/");
            let found = std::fs::read(directory.join(path.trim_start_matches('/')));
            let (status, body) = match found {
                Ok(body) => ("200 OK", body),
                Err(_) => ("404 Not Found", Vec::new()),
            };
            let head = format!(
                "HTTP/1.1 {status}\r\nContent-Length: {}\r\nLast-Modified: Mon, 03 Feb 2020 04:05:06 GMT\r\nConnection: close\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
        }
    });
    port
}

#[test]
fn files_come_from_urls() {
    let engine = with_tools(engine!(new));
    let www = engine.path("www");
    std::fs::create_dir(&www).unwrap();
    std::fs::write(www.join("file.txt"), "content\n").unwrap();
    let tar = Command::new("tar").args(["czf", "a.tgz", "file.txt"]).current_dir(&www).status();
    assert!(tar.unwrap().success());
    let port = serve(www.clone());
    let url = format!("http://127.0.0.1:{port}");
    let digest = "sha256:434728a410a78f56fc1b5899c3593436e61ab0c731e9072d95e96db290205e53";
    let dockerfile = format!(
        "FROM tools\nADD {url}/file.txt /a/\nADD {url}/file.txt?x=y /b\nADD {url}/a.tgz /c/\nADD --chmod=755 --chown=5:6 --checksum={digest} {url}/file.txt /d\nADD --unpack=true {url}/a.tgz /e/\nRUN stat -c '%n %a %u:%g %s %Y' /a/file.txt /b /d /e/file.txt > /stat; test -s /c/a.tgz\n"
    );
    let path = context(&engine, "url", &dockerfile);
    ok(build(&engine, &path, &["-t", "url"]));
    let stat = engine.ok(&["run", "--rm", "--network", "none", "url", "cat", "/stat"]);
    assert!(stat.starts_with("/a/file.txt 600 0:0 8 1580702706\n/b 600 0:0 8 1580702706\n/d 755 5:6 8 1580702706\n/e/file.txt 644 "), "{stat}");
    let zeros = format!("sha256:{:064}", 0);
    for (line, expected) in [
        (format!("ADD --checksum={zeros} {url}/file.txt /d"), "has the digest sha256:4347"),
        (format!("ADD {url}/none /d"), "status 404"),
        (format!("ADD {url}/ /d/"), "status 404"),
        ("ADD --checksum=sha256:00 f /d".to_owned(), "no such file"),
        ("ADD --keep-git-dir Dockerfile /d".to_owned(), "--keep-git-dir is of a git repository"),
    ] {
        let path = context(&engine, "url-bad", &format!("FROM scratch\n{line}\n"));
        refused(&build(&engine, &path, &[]), expected);
    }
    std::fs::write(www.join("Dockerfile"), "FROM tools\nRUN echo remote > /r\n").unwrap();
    ok(engine.run(&["build", "--network", "none", &format!("{url}/Dockerfile")]));
}

#[test]
fn repositories_are_checked_out() {
    let engine = with_tools(engine!(new));
    if !Path::new("/usr/bin/git").exists() && !Path::new("/usr/local/bin/git").exists() {
        support::skip("no git");
        return;
    }
    let www = engine.path("www");
    let repository = www.join("work");
    std::fs::create_dir_all(repository.join("sub")).unwrap();
    let git = |arguments: &[&str]| {
        let mut command = Command::new("git");
        command.args(["-c", "user.email=a@b", "-c", "user.name=n", "-c", "safe.directory=*"]);
        let done = command.args(arguments).current_dir(&repository).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    };
    std::fs::write(repository.join("sub/f"), "one\n").unwrap();
    std::fs::write(repository.join("Dockerfile"), "FROM tools\nCOPY sub/f /from-git\n").unwrap();
    git(&["init", "-q", "-b", "main", "."]);
    git(&["add", "."]);
    git(&["commit", "-qm", "one"]);
    git(&["tag", "v1"]);
    std::fs::write(repository.join("sub/f"), "two\n").unwrap();
    git(&["commit", "-qam", "two"]);
    let bare = www.join("r.git");
    git(&["clone", "-q", "--bare", ".", bare.to_str().unwrap()]);
    git(&["-C", bare.to_str().unwrap(), "update-server-info"]);
    let url = format!("http://127.0.0.1:{}/r.git", serve(www.clone()));
    let dockerfile = format!(
        "FROM tools\nADD {url} /a\nADD {url}#v1:sub /b\nADD --keep-git-dir=true --chown=5:6 {url}#main /c/\nRUN cat /a/sub/f /b/f /c/sub/f > /all; test ! -e /a/.git && test -d /c/.git && stat -c %u:%g /c/sub/f >> /all\n"
    );
    let path = context(&engine, "git", &dockerfile);
    ok(build(&engine, &path, &["-t", "git"]));
    let all = engine.ok(&["run", "--rm", "--network", "none", "git", "cat", "/all"]);
    assert_eq!(all.split_whitespace().collect::<Vec<_>>(), ["two", "one", "two", "5:6"]);
    ok(engine.run(&["build", "--network", "none", "-t", "context", &format!("{url}#v1")]));
    let text = engine.ok(&["run", "--rm", "--network", "none", "context", "cat", "/from-git"]);
    assert_eq!(text.trim(), "one");
    let path = context(&engine, "git-bad", &format!("FROM scratch\nADD {url}#none /a\n"));
    refused(&build(&engine, &path, &[]), "there is no branch, tag or commit \"none\"");
}

/// A registry in the engine's network namespace; it ends with this.
struct Registry(Option<Pid>);

impl Registry {
    fn start(engine: &Engine) -> Self {
        let root = engine.path("registry");
        let config = format!(
            "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n\
             storage: {{filesystem: {{rootdirectory: {root:?}}}}}\nhttp: {{addr: 127.0.0.1:5000}}\n"
        );
        let path = engine.path("registry.yml");
        std::fs::write(&path, config).unwrap();
        let path = path.display();
        let serve = format!("docker-registry serve {path} </dev/null >/dev/null 2>&1 & echo $!");
        let started = engine.beside(&serve);
        let registry = Self(started.out.trim().parse().ok().and_then(Pid::from_raw));
        let answers = "busybox nc 127.0.0.1 5000 </dev/null";
        wait_for("the registry", || engine.beside(answers).code == 0);
        registry
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.0.map(|pid| kill_process(pid, Signal::KILL));
    }
}

/// The image and the cache of a build by way of a registry: what was made at random is the same
/// on a machine that has neither.
#[test]
fn a_registry_takes_the_image_and_the_cache() {
    if let Some(why) = support::obstacle() {
        return support::skip(&why);
    }
    if !Path::new("/usr/bin/docker-registry").is_file() {
        return support::skip("no docker-registry");
    }
    let engine = Engine::with_network();
    let _registry = Registry::start(&engine);
    let dockerfile = "FROM bb\nRUN cat /proc/sys/kernel/random/uuid >/data/made\nRUN true\n";
    let path = context(&engine, "pushed", dockerfile);
    let image = "127.0.0.1:5000/x/app:1";
    let (to, from) = ("type=registry,ref=127.0.0.1:5000/x/cache:1", "127.0.0.1:5000/x/cache:1");
    ok(build(&engine, &path, &["--push", "-t", image, "--cache-to", to]));
    let made =
        |image: &str| engine.ok(&["run", "--rm", "--network", "none", image, "cat", "/data/made"]);
    let first = made(image);
    let forget = || {
        engine.ok(&["rmi", "-f", image]);
        engine.ok(&["builder", "prune", "-f"]);
    };
    forget();
    engine.ok(&["pull", image]);
    assert_eq!(made(image), first, "pushed");
    forget();
    for source in [from, &format!("type=registry,ref={from}")] {
        ok(build(&engine, &path, &["-t", image, "--cache-from", source]));
        assert_eq!(made(image), first, "cached in the registry: {source}");
        forget();
    }
    ok(build(&engine, &path, &["-t", image]));
    assert_ne!(made(image), first, "without the cache");
    // A cache that is not there is none; a registry that is not there is not written to.
    ok(build(&engine, &path, &["-t", image, "--cache-from", "127.0.0.1:5000/x/none:1"]));
    let absent = "type=registry,ref=127.0.0.1:9/x/cache:1";
    refused(&build(&engine, &path, &["--cache-to", absent]), "connection refused");
    refused(&build(&engine, &path, &["--push", "-t", "127.0.0.1:9/x:1"]), "connection refused");
    let several = build(&engine, &path, &["--platform", "linux/amd64,linux/arm64"]);
    assert_eq!((several.code, several.err.lines().count()), (1, 1), "{several:?}");
    engine.ok(&["rmi", "-f", image]);
    engine.ok(&["system", "prune", "-af"]);
    engine.assert_nothing_left();
}
