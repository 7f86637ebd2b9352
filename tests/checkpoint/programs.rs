//! Programs as people have them: an interpreter with data, processes that share memory, a server
//! with a client.

use std::fs;

use husk_tests::bundle::Bundle;
use husk_tests::case::Case;
use husk_tests::event::until;

use super::Kit;

/// Parent and child share memory, a client of the same container talks to a server over TCP, and
/// all of it is told in /tmp/seen.
const PROGRAM: &str = r#"
import hashlib, mmap, os, socket, struct, threading, time
data = bytearray(os.urandom(1 << 20)) * 20
digest = hashlib.sha256(data).hexdigest()
shared = mmap.mmap(-1, 4096)
if os.fork() == 0:
    while True:
        (n,) = struct.unpack_from("Q", shared, 0)
        struct.pack_into("Q", shared, 0, n + 1)
        time.sleep(0.01)
server = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(server.getsockname())
peer, _ = server.accept()
def serve():
    while True:
        peer.sendall(peer.recv(64))
threading.Thread(target=serve, daemon=True).start()
rounds = 0
while True:
    rounds += 1
    client.sendall(b"%d" % rounds)
    echo = client.recv(64).decode()
    same = hashlib.sha256(data).hexdigest() == digest
    (n,) = struct.unpack_from("Q", shared, 0)
    with open("/tmp/next", "w") as file:
        file.write(f"{rounds} {echo} {same} {n}")
    os.rename("/tmp/next", "/tmp/seen")
    time.sleep(0.02)
"#;

fn python(case: &Case) -> Option<Bundle> {
    if !std::path::Path::new("/usr/bin/python3").exists() {
        return None;
    }
    let mut bundle = case.bundle();
    bundle.bind(std::path::Path::new("/usr"), "/usr", &["rbind", "ro"]);
    for name in ["lib", "lib64"] {
        std::os::unix::fs::symlink(format!("usr/{name}"), bundle.rootfs(name)).unwrap();
    }
    fs::write(bundle.rootfs("program"), PROGRAM).unwrap();
    let start = "/bin/ip link set lo up; exec /usr/bin/python3 -I /program >/tmp/out 2>&1";
    bundle.shell(start);
    bundle.set("/process/capabilities/bounding/-", "CAP_NET_ADMIN");
    bundle.set("/process/capabilities/permitted/-", "CAP_NET_ADMIN");
    bundle.set("/process/capabilities/effective/-", "CAP_NET_ADMIN");
    Some(bundle)
}

/// Rounds, and the number that the child has counted to.
fn seen(bundle: &Bundle) -> (u64, u64) {
    let text = fs::read_to_string(bundle.rootfs("tmp/seen")).unwrap_or_default();
    let fields: Vec<&str> = text.split(' ').collect();
    let [rounds, echo, same, shared] = fields[..] else { return (0, 0) };
    assert_eq!((echo, same), (rounds, "True"), "{text}");
    (rounds.parse().unwrap(), shared.parse().unwrap())
}

#[test]
fn an_interpreter_with_all_it_has() {
    let Some(kit) = Kit::new() else { return };
    let Some(bundle) = python(&kit.case) else { return };
    let container = kit.case.start(&bundle);
    until("the program runs", || seen(&bundle).0 > 2);
    // Its connection is the only thing in the way, and the message says what to do.
    kit.checkpointing(bundle.id(), &[])
        .output()
        .refused_in_one_line(&["Connected TCP socket", "--tcp-established"]);
    assert!(!kit.images().exists(), "a failed dump leaves images");
    assert_eq!(container.status(), "running");
    let before = seen(&bundle).0;
    until("it goes on after a dump that failed", || seen(&bundle).0 > before);
    kit.checkpointing(bundle.id(), &["--tcp-established"]).ok();
    let (rounds, shared) = seen(&bundle);
    let restored = kit.restore(&bundle, &["--tcp-established"]);
    until("it goes on", || {
        let now = seen(&bundle);
        now.0 > rounds && now.1 > shared
    });
    assert!(seen(&bundle).0 < rounds + 1000);
    restored.stop();
    restored.delete();
}
