//! A "host" of each test's own: network namespaces that die with the test.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::panic)]

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use husk_net::{Attachment, NetNs, Networks, Request};

/// linux/sched.h.
const CLONE_NEWNET: u32 = 0x4000_0000;
pub const LIMIT: Duration = Duration::from_secs(5);

/// Says why a test does nothing, past the test harness, which keeps what it captures of tests
/// that pass.
pub fn skip(reason: &str) {
    let _ = writeln!(std::io::stderr(), "skipped: {reason}");
}

/// Makes the calling thread's network namespace a fresh one, or says why not.
pub fn become_host(test: &str) -> bool {
    if !rustix::process::geteuid().is_root() {
        // Past the test harness, which keeps what it captures of tests that pass.
        let _ = writeln!(std::io::stderr(), "skipped: {test}: needs root for network namespaces");
        return false;
    }
    husk_sys::namespace::unshare(CLONE_NEWNET).unwrap();
    ip("link set lo up");
    true
}

/// An empty namespace, as an engine makes for a container.
pub fn new_netns() -> NetNs {
    NetNs::make().unwrap()
}

/// Runs a program in this thread's namespace; its output.
pub fn run(program: &str, args: &str) -> String {
    let output = Command::new(program).args(args.split_whitespace()).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

pub fn ip(args: &str) -> String {
    run("ip", args)
}

pub fn has_program(name: &str) -> bool {
    Command::new(name).arg("--version").output().is_ok()
}

/// A namespace beside the host, as another machine on its wire: 192.0.2.2 and
/// 2001:db8::2, the host being .1 and ::1.
pub fn neighbour() -> NetNs {
    let netns = new_netns();
    let fd = std::os::fd::AsRawFd::as_raw_fd(&std::os::fd::AsFd::as_fd(&netns));
    let pid = std::process::id();
    ip("link add wire0 type veth peer name wire1");
    ip(&format!("link set wire1 netns /proc/{pid}/fd/{fd}"));
    ip("addr add 192.0.2.1/24 dev wire0");
    ip("addr add 2001:db8::1/64 dev wire0 nodad");
    ip("link set wire0 up");
    netns
        .enter(|| {
            ip("addr add 192.0.2.2/24 dev wire1");
            ip("addr add 2001:db8::2/64 dev wire1 nodad");
            ip("link set lo up");
            ip("link set wire1 up");
        })
        .unwrap();
    netns
}

pub struct Host {
    pub nets: Networks,
    pub directory: tempfile::TempDir,
}

impl Host {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let nets = networks(directory.path());
        Self { nets, directory }
    }

    /// The link of a network.
    pub fn bridge(&self, network: &str) -> String {
        self.nets.inspect(network).unwrap().bridge
    }

    pub fn table(&self) -> String {
        self.nets.table_name()
    }
}

pub fn networks(directory: &Path) -> Networks {
    Networks::open(&directory.join("config"), &directory.join("run")).unwrap()
}

pub fn request(container: &str, networks: &[&str], publish: &[&str]) -> Request {
    Request {
        container: container.to_owned(),
        name: format!("name-of-{container}"),
        attachments: networks.iter().map(|n| attachment(n)).collect(),
        publishes: publish.iter().map(|p| p.parse().unwrap()).collect(),
        configures_network: false,
    }
}

pub fn attachment(network: &str) -> Attachment {
    Attachment { network: network.to_owned(), ..Attachment::default() }
}

/// A container that is a namespace only.
pub struct Container {
    pub netns: NetNs,
    pub addresses: Vec<IpAddr>,
    pub reservation: husk_net::Reservation,
    pub notices: Vec<String>,
}

pub fn start(host: &Host, container: &str, networks: &[&str], publish: &[&str]) -> Container {
    let reservation = host.nets.reserve(&request(container, networks, publish)).unwrap();
    let netns = new_netns();
    let notices = host.nets.set_up(&reservation, &netns).unwrap();
    let addresses = reservation
        .endpoints()
        .iter()
        .flat_map(|e| e.addresses.iter().map(|a| a.address))
        .collect();
    Container { netns, addresses, reservation, notices }
}

impl Container {
    /// Serves TCP and UDP on a port: answers with the address it saw.
    pub fn serve(&self, port: u16) {
        serve(&self.netns, port);
    }
}

pub fn serve(netns: &NetNs, port: u16) {
    let (tcp, udp) = netns
        .enter(|| {
            let any = SocketAddr::new("::".parse().unwrap(), port);
            (TcpListener::bind(any).unwrap(), UdpSocket::bind(any).unwrap())
        })
        .unwrap();
    std::thread::spawn(move || {
        for stream in tcp.incoming() {
            let mut stream = stream.unwrap();
            let peer = stream.peer_addr().unwrap().ip().to_canonical();
            let _ = stream.write_all(peer.to_string().as_bytes());
        }
    });
    std::thread::spawn(move || {
        let mut buffer = [0; 64];
        while let Ok((_, peer)) = udp.recv_from(&mut buffer) {
            let _ = udp.send_to(peer.ip().to_canonical().to_string().as_bytes(), peer);
        }
    });
}

/// Connects from this thread's namespace; what the server says it saw.
pub fn ask_tcp(to: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&to, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

pub fn ask_udp(to: SocketAddr) -> std::io::Result<String> {
    let any = if to.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" };
    let socket = UdpSocket::bind(any)?;
    socket.connect(to)?;
    socket.set_read_timeout(Some(Duration::from_secs(1)))?;
    let mut buffer = [0; 64];
    let mut last = std::io::ErrorKind::TimedOut.into();
    for _ in 0..5 {
        match socket.send(b"?").and_then(|_| socket.recv(&mut buffer)) {
            Ok(length) => return Ok(String::from_utf8_lossy(&buffer[..length]).into_owned()),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Asserts that both protocols answer, and whom they saw.
pub fn assert_answers(to: &str, port: u16, seen: &str) {
    let to = SocketAddr::new(to.parse().unwrap(), port);
    assert_eq!(ask_tcp(to).unwrap_or_else(|e| panic!("tcp {to}: {e}")), seen, "tcp {to}");
    assert_eq!(ask_udp(to).unwrap_or_else(|e| panic!("udp {to}: {e}")), seen, "udp {to}");
}

/// Asserts that nothing of husk is left on this host.
pub fn assert_nothing_left(host: &Host) {
    let links = ip("-o link");
    assert!(!links.contains("husk") && !links.contains(" vh"), "links left: {links}");
    if has_program("nft") {
        let rules = run("nft", "list ruleset");
        assert!(!rules.contains("husk"), "rules left: {rules}");
    }
    for left in ["run/ports.json", "run/endpoints/bridge.json"] {
        assert!(!host.directory.path().join(left).exists(), "{left} is left");
    }
}

/// A monitor's part, in a thread: dispatches a container's service until it is dropped.
pub struct Monitor {
    stop: std::sync::Arc<std::sync::atomic::AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Monitor {
    pub fn of(host: &Host, container: &Container) -> Self {
        let (nets, claims) = (host.nets.clone(), container.reservation.claims().to_vec());
        let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let stopped = stop.clone();
        let (ready, is_ready) = std::sync::mpsc::channel();
        // It is in the namespace of the thread that starts it.
        let thread = std::thread::spawn(move || {
            let mut service = husk_net::Service::start(&nets, &claims, None).unwrap();
            service.dispatch().unwrap();
            ready.send(()).unwrap();
            while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
                let most = Duration::from_millis(20);
                let limit = service.timeout().unwrap_or(most).min(most);
                let mut fds = [rustix::event::PollFd::new(&service, rustix::event::PollFlags::IN)];
                rustix::event::poll(&mut fds, Some(&limit.try_into().unwrap())).unwrap();
                service.dispatch().unwrap();
            }
        });
        is_ready.recv().unwrap();
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.stop.store(true, std::sync::atomic::Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

/// Waits until something holds.
pub fn eventually(what: &str, holds: impl Fn() -> bool) {
    let begin = std::time::Instant::now();
    while !holds() {
        assert!(begin.elapsed() < LIMIT * 4, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Whether a TCP connection comes about from this thread's namespace.
pub fn reaches(to: &str) -> bool {
    let limit = Duration::from_millis(600);
    TcpStream::connect_timeout(&to.parse().unwrap(), limit).is_ok()
}
