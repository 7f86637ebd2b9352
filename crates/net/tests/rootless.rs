//! pasta itself, as an ordinary user, where it is installed.

#![allow(clippy::unwrap_used)]

mod support;

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use husk_net::NetNs;
use husk_net::etc_files::{DnsOptions, HostResolver, ResolvConf};
use husk_net::pasta::{DNS_FORWARDER, Pasta, UserNamespace, stop};
use support::*;

/// linux/sched.h.
const CLONE_NEWNS: u32 = 0x0002_0000;
const AS_NOBODY: &str = "--reuid 65534 --regid 65534 --clear-groups";

/// The part that runs as an ordinary user, in a process of its own: connects the
/// process whose pid it is given, and disconnects it when told.
#[test]
#[ignore = "run by rootless_container_is_connected_by_pasta"]
fn as_ordinary_user() {
    let variable = |name| std::env::var(name).unwrap();
    let (pid, pid_file) = (variable("HUSK_TEST_PID"), variable("HUSK_TEST_PID_FILE"));
    let pid_file = Path::new(&pid_file);
    if variable("HUSK_TEST_DO") == "stop" {
        stop(pid_file).unwrap();
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let publishes = ["8080:80".parse().unwrap(), "127.0.0.1:8081:81/udp".parse().unwrap()];
    let reservation =
        networks(directory.path()).reserve_ports("c", "name-of-c", &publishes).unwrap();
    let pid = pid.parse().unwrap();
    let claims = reservation.claims();
    let user_namespace = UserNamespace::OfContainer;
    let (interface, mtu) = ("eth0", Some(1500));
    let forward_dns = true;
    Pasta { pid, user_namespace, pid_file, claims, interface, mtu, forward_dns }.start().unwrap();
}

#[test]
fn rootless_container_is_connected_by_pasta() {
    if !become_host("rootless_container") {
        return;
    }
    if husk_net::pasta::find().is_err() || !Path::new("/dev/net/tun").exists() {
        // Past the test harness, which keeps what it captures of tests that pass.
        let _ = writeln!(
            std::io::stderr(),
            "skipped: rootless_container: needs pasta and /dev/net/tun"
        );
        return;
    }
    let outside = neighbour();
    serve(&outside, 53);
    ip("route add default via 192.0.2.2");
    // This thread's mounts alone: a tun device that anyone may open.
    husk_sys::namespace::unshare(CLONE_NEWNS).unwrap();
    run("mount", "--make-rprivate /");
    let directory = tempfile::Builder::new().permissions(mode(0o777)).tempdir().unwrap();
    let tun = directory.path().join("tun");
    let (place, tun) = (directory.path().to_str().unwrap(), tun.to_str().unwrap().to_owned());
    run("mount", &format!("-t tmpfs -o mode=777 tmpfs {place}"));
    run("mknod", &format!("-m 666 {tun} c 10 200"));
    run("mount", &format!("--bind {tun} /dev/net/tun"));
    let resolv_conf = directory.path().join("resolv.conf");
    std::fs::write(&resolv_conf, "nameserver 192.0.2.2\n").unwrap();
    run("mount", &format!("--bind {} /etc/resolv.conf", resolv_conf.display()));
    let mut container = Command::new("setpriv")
        .args(AS_NOBODY.split(' '))
        .args(["unshare", "--user", "--map-root-user", "--net", "sh", "-c", "echo; exec sleep 60"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // Its namespaces are there when it speaks.
    std::io::Read::read(container.stdout.as_mut().unwrap(), &mut [0]).unwrap();
    let pid_file = format!("{place}/pid");
    let ordinary = |what: &str| {
        let status = Command::new("setpriv")
            .args(AS_NOBODY.split(' '))
            .arg(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "as_ordinary_user"])
            .env("HUSK_TEST_PID", container.id().to_string())
            .env("HUSK_TEST_PID_FILE", &pid_file)
            .env("HUSK_TEST_DO", what)
            .env("TMPDIR", place)
            .status();
        assert!(status.unwrap().success(), "{what}");
    };
    ordinary("start");
    let netns = NetNs::of_process(container.id()).unwrap();
    let addresses = netns.enter(|| ip("-o addr show dev eth0")).unwrap();
    assert!(addresses.contains("inet 192.0.2.1/24"), "{addresses}");
    serve(&netns, 80);
    assert!(ask_tcp("127.0.0.1:8080".parse().unwrap()).is_ok());
    // What the container's resolv.conf names answers a socket that is connected, as
    // glibc's resolver does it; passt of 2023 answers by that address alone.
    let host = HostResolver::read();
    let made = ResolvConf::for_forwarder(&host, &DnsOptions::default(), DNS_FORWARDER).unwrap();
    let servers: Vec<&str> =
        made.text.lines().filter_map(|line| line.strip_prefix("nameserver ")).collect();
    assert_eq!(servers, [DNS_FORWARDER.to_string()]);
    let server = SocketAddr::new(DNS_FORWARDER, 53);
    assert_eq!(netns.enter(|| ask_udp(server)).unwrap().unwrap(), "192.0.2.1");
    run("umount", "/etc/resolv.conf");
    ordinary("stop");
    assert!(ask_tcp("127.0.0.1:8080".parse().unwrap()).is_err());
    assert!(!Path::new(&pid_file).exists());
    container.kill().unwrap();
    container.wait().unwrap();
    run("umount", "/dev/net/tun");
    run("umount", place);
}

fn mode(bits: u32) -> std::fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(bits)
}
