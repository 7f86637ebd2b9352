//! Published ports: over loopback, in use, ranges, many; and rules that vanish.

#![allow(clippy::unwrap_used)]

mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use husk_net::LoopbackProxy;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use support::*;

/// A monitor: runs the proxy until dropped.
struct Monitor {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Monitor {
    fn run(container: &Container) -> Self {
        let mut proxy = LoopbackProxy::bind(container.reservation.claims()).unwrap().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let wait = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
                let mut fds = [PollFd::from_borrowed_fd(proxy.as_fd(), PollFlags::IN)];
                poll(&mut fds, Some(&wait)).unwrap();
                proxy.dispatch().unwrap();
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

#[test]
fn loopback_reaches_the_container_which_sees_the_gateway() {
    if !become_host("loopback_reaches_the_container") {
        return;
    }
    let host = Host::new();
    let a = start(&host, "a", &["bridge"], &["8080:80", "8080:80/udp"]);
    a.serve(80);
    let monitor = Monitor::run(&a);
    let pools = host.nets.inspect("bridge").unwrap().pools;
    assert_answers("127.0.0.1", 8080, &pools[0].gateway.to_string());
    assert_answers("::1", 8080, &pools[1].gateway.to_string());
    drop(monitor);
    host.nets.tear_down("a").unwrap();
    assert_nothing_left(&host);
}

#[test]
fn the_proxy_carries_much_both_ways_and_half_closes() {
    if !become_host("the_proxy_carries_much") {
        return;
    }
    let host = Host::new();
    let a = start(&host, "a", &["bridge"], &["127.0.0.1:8080:80"]);
    let listener = a.netns.enter(|| TcpListener::bind("0.0.0.0:80").unwrap()).unwrap();
    // Reads everything, and only then sends it back.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                let mut all = Vec::new();
                stream.read_to_end(&mut all).unwrap();
                stream.write_all(&all).unwrap();
            });
        }
    });
    let _monitor = Monitor::run(&a);
    let sent: Vec<u8> = (0..8_000_000u32).map(|i| ((i * 7) >> 3) as u8).collect();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut stream = TcpStream::connect("127.0.0.1:8080").unwrap();
                stream.set_read_timeout(Some(4 * LIMIT)).unwrap();
                stream.set_write_timeout(Some(4 * LIMIT)).unwrap();
                stream.write_all(&sent).unwrap();
                stream.shutdown(Shutdown::Write).unwrap();
                let mut back = Vec::new();
                stream.read_to_end(&mut back).unwrap();
                assert!(back == sent, "{} of {} bytes came back", back.len(), sent.len());
            });
        }
    });
    host.nets.tear_down("a").unwrap();
}

#[test]
fn a_port_nobody_serves_is_refused_over_loopback() {
    if !become_host("a_port_nobody_serves") {
        return;
    }
    let host = Host::new();
    let a = start(&host, "a", &["bridge"], &["127.0.0.1:8080:80"]);
    let _monitor = Monitor::run(&a);
    let error = ask_tcp("127.0.0.1:8080".parse().unwrap()).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    host.nets.tear_down("a").unwrap();
}

#[test]
fn a_port_in_use_is_refused_and_says_by_whom() {
    if !become_host("a_port_in_use") {
        return;
    }
    let host = Host::new();
    let _a = start(&host, "a", &["bridge"], &["8080:80"]);
    let refused = |container: &str, publish: &[&str]| {
        host.nets.reserve(&request(container, &["bridge"], publish)).unwrap_err().to_string()
    };
    assert_eq!(
        refused("b", &["127.0.0.1:8080:80"]),
        "port 127.0.0.1:8080/tcp is already in use by container name-of-a: publish another port or stop it"
    );
    let listener = TcpListener::bind("127.0.0.1:9090").unwrap();
    let message = refused("b", &["9090:80"]);
    let (start_of, end) = (
        "port 0.0.0.0:9090/tcp is already in use by ports",
        format!("(pid {})", std::process::id()),
    );
    assert!(message.starts_with(start_of) && message.contains(&end), "{message}");
    let socket = UdpSocket::bind("[::]:9091").unwrap();
    assert!(refused("b", &["9091:80/udp"]).contains(&end));
    assert_eq!(
        refused("b", &["9000:80", "9000:81"]),
        "port 0.0.0.0:9000/tcp is already in use by another --publish of this container: publish another port or stop it"
    );
    assert_eq!(
        refused("b", &["198.51.100.7:80:80"]),
        "port 198.51.100.7:80/tcp: Cannot assign requested address (os error 99) (the address is none of this host's)"
    );
    // A refused reservation keeps nothing, and what was in use is free afterwards.
    assert_eq!(host.nets.endpoints(None).unwrap().len(), 1);
    drop((listener, socket));
    let reservation =
        host.nets.reserve(&request("b", &["bridge"], &["9090:80", "9091:80/udp"])).unwrap();
    // Held: nobody else gets the port between now and the container's start.
    assert!(UdpSocket::bind("0.0.0.0:9091").is_err());
    assert_eq!(reservation.claims().len(), 2);
    host.nets.tear_down("b").unwrap();
    host.nets.tear_down("a").unwrap();
    assert_nothing_left(&host);
}

#[test]
fn ranges_and_ports_of_the_kernels_choice() {
    if !become_host("ranges_and_ports") {
        return;
    }
    let host = Host::new();
    let outside = neighbour();
    let a = start(&host, "a", &["bridge"], &["8000-8002:80-82", "80", "8000-8009:90"]);
    let ports: Vec<(u16, u16)> =
        a.reservation.claims().iter().map(|c| (c.host_port, c.container_port)).collect();
    assert_eq!(ports[..3], [(8000, 80), (8001, 81), (8002, 82)]);
    assert!(ports[3].0 >= 1024 && ports[3].1 == 80, "{ports:?}");
    assert_eq!(ports[4], (8003, 90));
    a.serve(82);
    a.serve(80);
    outside
        .enter(|| {
            let ask = |port| ask_tcp(SocketAddr::new("192.0.2.1".parse().unwrap(), port));
            assert_eq!(ask(8002).unwrap(), "192.0.2.2");
            assert_eq!(ask(ports[3].0).unwrap(), "192.0.2.2");
        })
        .unwrap();
    host.nets.tear_down("a").unwrap();
    assert_nothing_left(&host);
}

#[test]
fn a_port_on_one_address_answers_there_alone() {
    if !become_host("a_port_on_one_address") {
        return;
    }
    let host = Host::new();
    let outside = neighbour();
    ip("addr add 192.0.2.9/24 dev wire0");
    ip("addr add 2001:db8::9/64 dev wire0 nodad");
    let publish = [
        "192.0.2.9:8080:80",
        "192.0.2.9:8080:80/udp",
        "[2001:db8::9]:8080:80",
        "[2001:db8::9]:8080:80/udp",
    ];
    let a = start(&host, "a", &["bridge"], &publish);
    a.serve(80);
    outside
        .enter(|| {
            assert_answers("192.0.2.9", 8080, "192.0.2.2");
            assert_answers("2001:db8::9", 8080, "2001:db8::2");
            for other in ["192.0.2.1", "2001:db8::1"] {
                assert!(ask_tcp(SocketAddr::new(other.parse().unwrap(), 8080)).is_err(), "{other}");
            }
        })
        .unwrap();
    assert!(LoopbackProxy::bind(a.reservation.claims()).unwrap().is_none());
    // The other address is free for another container.
    let b = start(&host, "b", &["bridge"], &["192.0.2.1:8080:81"]);
    b.serve(81);
    let ask = || ask_tcp("192.0.2.1:8080".parse().unwrap()).unwrap();
    assert_eq!(outside.enter(ask).unwrap(), "192.0.2.2");
    host.nets.tear_down("a").unwrap();
    host.nets.tear_down("b").unwrap();
    assert_nothing_left(&host);
}

#[test]
fn a_thousand_ports_are_a_thousand_elements_and_no_rules() {
    if !become_host("a_thousand_ports") {
        return;
    }
    let host = Host::new();
    let outside = neighbour();
    let a = start(&host, "a", &["bridge"], &["20000-21499:20000-21499"]);
    assert_eq!(a.reservation.claims().len(), 1500);
    a.serve(21499);
    outside
        .enter(|| assert_eq!(ask_tcp("192.0.2.1:21499".parse().unwrap()).unwrap(), "192.0.2.2"))
        .unwrap();
    if has_program("nft") {
        let rules = run("nft", "list ruleset");
        assert_eq!(rules.matches("dport map @").count(), 4);
    }
    host.nets.tear_down("a").unwrap();
    assert_nothing_left(&host);
}

#[test]
fn flushed_rules_are_put_back() {
    if !become_host("flushed_rules") {
        return;
    }
    if !has_program("nft") {
        // Past the test harness, which keeps what it captures of tests that pass.
        let _ = writeln!(std::io::stderr(), "skipped: flushed_rules: needs nft");
        return;
    }
    let host = Host::new();
    let outside = neighbour();
    let a = start(&host, "a", &["bridge"], &["8080:80"]);
    a.serve(80);
    let before = run("nft", "list ruleset");
    let answers = || {
        outside
            .enter(|| ask_tcp("192.0.2.1:8080".parse().unwrap()))
            .unwrap()
            .is_ok_and(|s| s == "192.0.2.2")
    };
    let table = host.table();
    let commands = [
        "flush ruleset".to_owned(),
        format!("flush table inet {table}"),
        format!("flush chain inet {table} publish"),
    ];
    for command in &commands {
        assert!(answers());
        run("nft", command);
        assert!(!answers(), "{command}");
        host.nets.ensure().unwrap();
        assert!(answers(), "{command}");
        // Another container's start notices, too.
        run("nft", command);
        let b = start(&host, "b", &["bridge"], &["8081:80"]);
        assert!(answers(), "{command}");
        drop(b);
        host.nets.tear_down("b").unwrap();
    }
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&run("nft", "list ruleset")), sorted(&before));
    host.nets.ensure().unwrap();
    assert_eq!(sorted(&run("nft", "list ruleset")), sorted(&before));
    // And a tear-down after a flush finds nothing to remove, and minds not.
    run("nft", "flush ruleset");
    host.nets.tear_down("a").unwrap();
    assert_nothing_left(&host);
}

#[test]
fn a_client_that_spoke_before_the_container_is_not_forgotten_by_it() {
    if !become_host("a_client_that_spoke_before") {
        return;
    }
    let host = Host::new();
    let outside = neighbour();
    // Some rule that makes the host track connections before husk has one.
    let first = start(&host, "first", &["bridge"], &["53:53/udp"]);
    let client = outside.enter(|| UdpSocket::bind("192.0.2.2:4000").unwrap()).unwrap();
    client.connect("192.0.2.1:5353").unwrap();
    client.send(b"too early").unwrap();
    let a = start(&host, "a", &["bridge"], &["5353:53/udp"]);
    a.serve(53);
    client.set_read_timeout(Some(LIMIT)).unwrap();
    let mut answer = [0; 64];
    let ask = || {
        // The first send reports that the port was closed when it was too early.
        let _ = client.send(b"?");
        client.send(b"?")
    };
    ask().unwrap();
    let length = client.recv(&mut answer).unwrap();
    assert_eq!(&answer[..length], b"192.0.2.2");
    // The same client, the same port, another container.
    let tracked = |address: std::net::IpAddr| {
        let table = std::fs::read_to_string("/proc/thread-self/net/nf_conntrack").unwrap();
        table.contains(&format!("={address} "))
    };
    assert!(tracked(a.addresses[0]));
    host.nets.tear_down("a").unwrap();
    assert!(!tracked(a.addresses[0]));
    drop(a);
    let b = start(&host, "b", &["bridge"], &["5353:53/udp"]);
    b.serve(53);
    while client.set_nonblocking(true).is_ok() && client.recv(&mut answer).is_ok() {}
    client.set_nonblocking(false).unwrap();
    ask().unwrap();
    assert!(client.recv(&mut answer).is_ok());
    for container in ["first", "b"] {
        host.nets.tear_down(container).unwrap();
    }
    drop(first);
    assert_nothing_left(&host);
}
