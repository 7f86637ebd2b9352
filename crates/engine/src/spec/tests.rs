use super::*;
use crate::container::config::Mount as Asked;

fn identity(uid: u32) -> Identity {
    Identity { uid, gid: uid, groups: vec![uid], name: None, home: "/home/x".to_owned() }
}

fn built(config: &Config, uid: u32, network: Network) -> Spec {
    let identity = identity(uid);
    let facts = Facts {
        id: "abc",
        hostname: "h",
        identity: &identity,
        run: Path::new("/run/x"),
        files: Path::new("/lib/x"),
        network,
        volumes: &[("data".to_owned(), "/volumes/data".to_owned(), true)],
        host_devices: Vec::new(),
        devices: Vec::new(),
        last_gid: None,
        joined: Vec::new(),
        init: None,
    };
    build(config, &facts).unwrap()
}

fn config() -> Config {
    Config {
        args: vec!["true".to_owned()],
        working_dir: "/".to_owned(),
        shm_size: 64 << 20,
        ..Config::default()
    }
}

#[test]
fn safe_by_default() {
    let spec = built(&config(), 0, Network::Own);
    let linux = spec.linux.unwrap();
    assert!(linux.seccomp.is_some());
    assert!(linux.masked_paths.iter().any(|path| path == "/proc/kcore"));
    assert!(linux.readonly_paths.iter().any(|path| path == "/proc/sys"));
    assert!(!linux.resources.unwrap().devices[0].allow);
    let process = spec.process.unwrap();
    let capabilities = process.capabilities.unwrap();
    assert_eq!(capabilities.bounding.len(), 14);
    assert!(capabilities.inheritable.is_empty() && capabilities.ambient.is_empty());
    assert!(spec.hooks.is_none() && spec.annotations.is_empty());
}

#[test]
fn another_user_has_no_capability() {
    let spec = built(&config(), 1000, Network::Own);
    let capabilities = spec.process.unwrap().capabilities.unwrap();
    assert!(capabilities.effective.is_empty() && capabilities.permitted.is_empty());
    assert_eq!(capabilities.bounding.len(), 14);
}

#[test]
fn environment_has_its_defaults_once() {
    let mut config = config();
    config.env = vec!["PATH=/x".to_owned(), "A=b".to_owned()];
    let spec = built(&config, 0, Network::Own);
    let env = spec.process.unwrap().env;
    assert_eq!(env, ["HOSTNAME=h", "PATH=/x", "A=b", "HOME=/home/x"]);
}

#[test]
fn mounts_in_an_order_that_works() {
    let mut config = config();
    config.mounts = vec![
        Asked::Tmpfs {
            target: "/a/b".to_owned(),
            options: vec!["exec".to_owned(), "size=1m".to_owned()],
        },
        Asked::Volume {
            name: "data".to_owned(),
            target: "/a".to_owned(),
            read_only: true,
            anonymous: false,
            no_copy: false,
        },
        Asked::Tmpfs { target: "/dev/shm".to_owned(), options: Vec::new() },
    ];
    let spec = built(&config, 0, Network::Own);
    let at =
        |target: &str| spec.mounts.iter().position(|mount| mount.destination == target).unwrap();
    assert!(at("/a") < at("/a/b"));
    assert_eq!(spec.mounts[at("/a")].options, ["rbind", "rprivate", "rro"]);
    assert_eq!(spec.mounts[at("/a/b")].options, ["nosuid", "nodev", "exec", "size=1m"]);
    assert_eq!(spec.mounts.iter().filter(|mount| mount.destination == "/dev/shm").count(), 1);
}

#[test]
fn network_namespaces() {
    let kinds = |network| {
        let linux = built(&config(), 0, network).linux.unwrap();
        linux.namespaces.into_iter().find(|one| one.typ == NamespaceType::Network)
    };
    assert_eq!(kinds(Network::Own).unwrap().path, None);
    assert_eq!(kinds(Network::Host), None);
    let path = "/proc/5/ns/net".to_owned();
    assert_eq!(kinds(Network::Path(path.clone())).unwrap().path, Some(path));
}
