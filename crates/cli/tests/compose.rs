//! `husk compose` with a real engine: projects from their first `up` to `down -v`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test's failure is a panic"
)]

mod support;

use std::path::PathBuf;

use support::{Done, Engine, engine};

/// A project in a directory of the engine's.
struct Project<'a> {
    engine: &'a Engine,
    directory: PathBuf,
}

impl<'a> Project<'a> {
    fn new(engine: &'a Engine, name: &str, files: &[(&str, &str)]) -> Self {
        let directory = engine.path(name);
        for (file, text) in files {
            let path = directory.join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        Self { engine, directory }
    }

    fn write(&self, text: &str) {
        std::fs::write(self.directory.join("compose.yaml"), text).unwrap();
    }

    fn run(&self, words: &[&str]) -> Done {
        let words: Vec<&str> = ["compose"].iter().chain(words).copied().collect();
        self.engine
            .command(&words)
            .current_dir(&self.directory)
            .env("FOO", "from-env")
            .output()
            .unwrap()
            .into()
    }

    fn ok(&self, words: &[&str]) -> Done {
        let done = self.run(words);
        assert_eq!(done.code, 0, "{words:?}: {done:?}");
        done
    }

    /// Ids of its containers by name.
    fn ids(&self) -> Vec<String> {
        let listed = self.engine.ok(&["ps", "-a", "--no-trunc", "--format", "{{.Names}} {{.ID}}"]);
        let mut lines: Vec<String> = listed.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    }
}

const SLEEP: &str =
    "    image: bb\n    command: [sleep, \"600\"]\n    stop_signal: KILL\n    network_mode: none\n";

#[test]
fn up_twice_edit_and_down() {
    let engine = engine!(new);
    let file = format!(
        "services:\n  db:\n{SLEEP}    volumes: [\"data:/data\", /anon]\n  web:\n{SLEEP}    depends_on: [db]\nvolumes: {{data: }}\n"
    );
    let project = Project::new(&engine, "shop", &[("compose.yaml", &file)]);
    project.ok(&["up", "-d"]);
    let first = project.ids();
    let names: Vec<&str> = first.iter().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(names, ["shop-db-1", "shop-web-1"]);
    let labels = engine.inspect("shop-web-1", "{{json .Config.Labels}}");
    for label in [
        "com.docker.compose.project\":\"shop",
        "container-number\":\"1",
        "depends_on\":\"db:service_started:false",
    ] {
        assert!(labels.contains(label), "{label} in {labels}");
    }
    // The second time changes nothing.
    project.ok(&["up", "-d"]);
    assert_eq!(project.ids(), first);
    // Only what changed is made anew, and keeps its anonymous volume.
    let volumes = |name| engine.inspect(name, "{{range .Mounts}}{{.Name}} {{end}}");
    let kept = volumes("shop-db-1");
    project.write(&file.replacen(
        "network_mode: none\n",
        "network_mode: none\n    environment: {A: 1}\n",
        1,
    ));
    project.ok(&["up", "-d"]);
    let second = project.ids();
    assert_ne!(second[0], first[0]);
    assert_eq!(second[1], first[1]);
    assert_eq!(volumes("shop-db-1"), kept);
    let listed = project.ok(&["ps"]).out;
    assert!(listed.contains("shop-db-1") && listed.contains("SERVICE"), "{listed}");
    assert!(project.ok(&["ls"]).out.contains("running(2)"));
    project.ok(&["down", "-v"]);
    engine.assert_nothing_left();
    assert_eq!(engine.ok(&["volume", "ls", "-q"]), "");
}

#[test]
fn scale_orphans_and_profiles() {
    let engine = engine!(new);
    let file = format!(
        "services:\n  web:\n{SLEEP}    scale: 2\n  old:\n{SLEEP}  debug:\n{SLEEP}    profiles: [debug]\n"
    );
    let project = Project::new(&engine, "p", &[("compose.yaml", &file)]);
    project.ok(&["up", "-d"]);
    assert_eq!(project.ids().len(), 3);
    project.ok(&["up", "-d", "--scale", "web=3"]);
    assert_eq!(project.ids().len(), 4);
    project.ok(&["--profile", "debug", "up", "-d", "--scale", "web=1"]);
    let names: Vec<String> =
        project.ids().iter().map(|line| line.split(' ').next().unwrap().to_owned()).collect();
    assert_eq!(names, ["p-debug-1", "p-old-1", "p-web-1"]);
    project.write(&format!("services:\n  web:\n{SLEEP}"));
    let done = project.ok(&["up", "-d"]);
    assert!(done.err.contains("orphan"), "{done:?}");
    project.ok(&["up", "-d", "--remove-orphans"]);
    assert_eq!(project.ids().len(), 1);
    // By its name alone, without a file.
    std::fs::remove_file(project.directory.join("compose.yaml")).unwrap();
    project.ok(&["-p", "p", "down"]);
    engine.assert_nothing_left();
}

#[test]
fn secrets_configs_and_one_off_commands() {
    let engine = engine!(new);
    let file = "services:\n  web:\n    image: bb\n    network_mode: none\n    stop_signal: KILL\n    command: [sleep, \"600\"]\n    environment: {A: b}\n    secrets: [one, {source: two, mode: 0400}]\n    configs: [{source: three, target: /etc/three}]\nsecrets: {one: {file: ./one.txt}, two: {environment: FOO}}\nconfigs: {three: {content: \"three $FOO\"}}\n";
    let project = Project::new(&engine, "s", &[("compose.yaml", file), ("one.txt", "first")]);
    project.ok(&["up", "-d"]);
    let cat = |path: &str| project.ok(&["exec", "-T", "web", "cat", path]).out;
    assert_eq!(cat("/run/secrets/one"), "first");
    assert_eq!(cat("/run/secrets/two"), "from-env");
    assert_eq!(cat("/etc/three"), "three from-env");
    let done = project.ok(&["run", "--rm", "-T", "web", "sh", "-c", "echo $A; exit 0"]);
    assert_eq!(done.out, "b\n");
    let done = project.run(&["run", "--rm", "-T", "web", "sh", "-c", "exit 7"]);
    assert_eq!(done.code, 7);
    assert_eq!(project.ids().len(), 1);
    project.ok(&["down", "-v"]);
    engine.assert_nothing_left();
}

#[test]
fn order_by_completion_and_exit_codes() {
    let engine = engine!(new);
    let file = "services:\n  setup: {image: bb, network_mode: none, command: [sh, -c, \"sleep 0.2; echo ready > /v/ready\"], volumes: [\"v:/v\"]}\n  web:\n    image: bb\n    network_mode: none\n    command: [sh, -c, \"cat /v/ready; exit 3\"]\n    volumes: [\"v:/v\"]\n    depends_on: {setup: {condition: service_completed_successfully}}\nvolumes: {v: }\n";
    let project = Project::new(&engine, "o", &[("compose.yaml", file)]);
    let done = project.run(&["up", "--exit-code-from", "web"]);
    assert_eq!(done.code, 3, "{done:?}");
    assert!(done.out.contains("web-1") && done.out.contains("| ready"), "{done:?}");
    let logs = project.ok(&["logs", "--no-log-prefix", "web"]);
    assert_eq!(logs.out, "ready\n");
    project.ok(&["down", "-v"]);
    // What it waits for fails.
    project.write(&file.replace("echo ready > /v/ready", "exit 4"));
    let done = project.run(&["up", "-d"]);
    assert_eq!(done.code, 1);
    assert!(
        done.err.contains(
            "compose.yaml:8:18: services.web.depends_on.setup: dependency failed to start"
        ),
        "{done:?}"
    );
    project.ok(&["down", "-v"]);
    engine.assert_nothing_left();
}

#[test]
fn order_by_health() {
    let engine = engine!(new);
    let file = "services:\n  db:\n    image: bb\n    network_mode: none\n    stop_signal: KILL\n    command: [sh, -c, \"sleep 0.4; touch /ready; sleep 600\"]\n    healthcheck: {test: [CMD, ls, /ready], interval: 100ms, retries: 50}\n  web:\n    image: bb\n    network_mode: none\n    stop_signal: KILL\n    command: [sleep, \"600\"]\n    depends_on: {db: {condition: service_healthy}}\n";
    let project = Project::new(&engine, "h", &[("compose.yaml", file)]);
    let done = project.ok(&["up", "-d", "--wait"]);
    let at = |text: &str| done.err.find(text).unwrap_or_else(|| panic!("{text}: {done:?}"));
    assert!(at("h-db-1  Started") < at("h-db-1  Healthy"));
    assert!(at("h-db-1  Healthy") < at("h-web-1  Started"));
    project.ok(&["down"]);
    project.write(&file.replace(
        "ls, /ready], interval: 100ms, retries: 50",
        "ls, /never], interval: 100ms, retries: 2",
    ));
    let done = project.run(&["up", "-d"]);
    assert!(done.code == 1 && done.err.contains("container h-db-1 is unhealthy"), "{done:?}");
    project.ok(&["down"]);
    engine.assert_nothing_left();
}

#[test]
fn stop_start_kill_pause_and_shared_namespaces() {
    let engine = engine!(new);
    let file = format!(
        "services:\n  owner:\n{SLEEP}  guest:\n    image: bb\n    command: [sleep, \"600\"]\n    stop_signal: KILL\n    network_mode: \"service:owner\"\n    pid: \"service:owner\"\n"
    );
    let project = Project::new(&engine, "n", &[("compose.yaml", &file)]);
    project.ok(&["up", "-d"]);
    let processes = project.ok(&["exec", "-T", "guest", "ps"]).out;
    assert_eq!(processes.matches("sleep 600").count(), 2, "{processes}");
    let running = || project.ok(&["ps", "--services", "--status", "running"]).out.lines().count();
    assert_eq!(running(), 2);
    project.ok(&["pause", "owner"]);
    assert!(project.ok(&["ps", "--services", "--status", "paused"]).out.contains("owner"));
    project.ok(&["unpause"]);
    project.ok(&["stop"]);
    assert_eq!(running(), 0);
    project.ok(&["start"]);
    assert_eq!(running(), 2);
    project.ok(&["restart"]);
    project.ok(&["kill", "guest"]);
    assert_eq!(running(), 1);
    project.ok(&["rm", "-f", "guest"]);
    assert_eq!(project.ids().len(), 1);
    project.ok(&["down"]);
    engine.assert_nothing_left();
}

#[test]
fn names_of_services_on_their_network() {
    let engine = engine!(with_network);
    let file = "services:\n  db:\n    image: bb\n    command: [sh, -c, \"while :; do echo hello | nc -l -p 5000; done\"]\n    stop_signal: KILL\n    networks: {default: {aliases: [database]}, back: }\n  web:\n    image: bb\n    command: [sleep, \"600\"]\n    stop_signal: KILL\n    depends_on: [db]\nnetworks: {back: {internal: true}}\n";
    let project = Project::new(&engine, "net", &[("compose.yaml", file)]);
    project.ok(&["up", "-d"]);
    for name in ["db", "database", "net-db-1"] {
        let script = format!(
            "for i in 1 2 3 4 5 6 7 8 9 10; do nc -w 2 {name} 5000 </dev/null && exit; sleep 0.1; done; exit 1"
        );
        let done = project.run(&["exec", "-T", "web", "sh", "-c", &script]);
        assert_eq!((done.code, done.out.as_str()), (0, "hello\n"), "{name}: {done:?}");
    }
    let networks = engine.ok(&["network", "ls", "--format", "{{.Name}}"]);
    assert!(networks.contains("net_default") && networks.contains("net_back"), "{networks}");
    project.ok(&["down", "-v"]);
    engine.assert_nothing_left();
    let networks = engine.ok(&["network", "ls", "--format", "{{.Name}}"]);
    assert!(!networks.contains("net_"), "{networks}");
}

#[test]
fn build_hooks_and_dry_run() {
    let engine = engine!(new);
    let file = "services:\n  app:\n    build: {context: ., args: {WHAT: built}}\n    network_mode: none\n    stop_signal: KILL\n    post_start: [{command: [touch, /started]}]\n";
    let dockerfile = "FROM bb\nARG WHAT\nENV WHAT=$WHAT\nCMD [\"sleep\", \"600\"]\n";
    let project = Project::new(&engine, "b", &[("compose.yaml", file), ("Dockerfile", dockerfile)]);
    let done = project.ok(&["--dry-run", "up", "-d"]);
    assert!(done.out.contains("b-app-1: create and start"), "{done:?}");
    assert_eq!(project.ids(), Vec::<String>::new());
    project.ok(&["up", "-d", "--build"]);
    assert_eq!(
        project.ok(&["exec", "-T", "app", "sh", "-c", "echo $WHAT; ls /started"]).out,
        "built\n/started\n"
    );
    project.ok(&["down", "--rmi", "local"]);
    assert!(!engine.ok(&["images"]).contains("b-app"));
    engine.assert_nothing_left();
}

#[test]
fn mistakes_start_nothing() {
    let engine = engine!(new);
    let file =
        "services:\n  web:\n    imag: bb\n    mem_limit: 5q\n  db: {image: bb, networks: [nope]}\n";
    let project = Project::new(&engine, "m", &[("compose.yaml", file)]);
    let done = project.run(&["up", "-d"]);
    assert_eq!(done.code, 1);
    for said in [
        "compose.yaml:3:5: services.web.imag: unknown key; did you mean \"image\"?",
        "compose.yaml:4:16: services.web.mem_limit",
        "    |     ^",
    ] {
        assert!(done.err.contains(said), "{said}: {done:?}");
    }
    project.write("services:\n  web: {image: bb, provider: {type: x}, models: [m], ports: [\"80:80\"]}\n  db: {image: bb, pull_policy: daily, ports: [\"80:81\"]}\nmodels: {m: {model: x}}\n");
    let done = project.run(&["up", "-d"]);
    for said in [
        "compose.yaml:2:20: services.web.provider",
        "services.web.models",
        "services.db.pull_policy: is not supported",
        "services.web.ports[0]: the port 80 of the host is published by services.db.ports[0] already",
    ] {
        assert!(done.err.contains(said), "{said}: {done:?}");
    }
    engine.assert_nothing_left();
}
