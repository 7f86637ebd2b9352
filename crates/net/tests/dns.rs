//! Names of containers, asked as a resolver asks them.

#![allow(clippy::unwrap_used)]

mod support;

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use husk_net::dns::{Config, DnsServer};
use husk_net::{NetNs, NewNetwork};
use support::*;

const A: u16 = 1;
const PTR: u16 = 12;
const MX: u16 = 15;
const AAAA: u16 = 28;
const NO_ERROR: u8 = 0;
const SERVER_FAILURE: u8 = 2;
const NO_SUCH_NAME: u8 = 3;

fn question(id: u8, name: &str, kind: u16) -> Vec<u8> {
    let mut message = vec![0, id, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        message.push(label.len() as u8);
        message.extend_from_slice(label.as_bytes());
    }
    message.push(0);
    message.extend_from_slice(&kind.to_be_bytes());
    message.extend_from_slice(&[0, 1]);
    message
}

/// The code and the data of each record of an answer to a question of that length.
fn read(answer: &[u8], question: &[u8]) -> (u8, Vec<Vec<u8>>) {
    assert_eq!(answer[..2], question[..2]);
    let mut records = Vec::new();
    let mut at = question.len();
    for _ in 0..u16::from_be_bytes([answer[6], answer[7]]) {
        let length = usize::from(u16::from_be_bytes([answer[at + 10], answer[at + 11]]));
        records.push(answer[at + 12..at + 12 + length].to_vec());
        at += 12 + length;
    }
    records.sort();
    (answer[3] & 15, records)
}

/// By UDP as glibc does it, with a connected socket; from this thread's namespace.
fn ask(name: &str, kind: u16) -> (u8, Vec<Vec<u8>>) {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect("127.0.0.11:53").unwrap();
    socket.set_read_timeout(Some(LIMIT * 4)).unwrap();
    let question = question(7, name, kind);
    socket.send(&question).unwrap();
    let mut answer = [0; 2048];
    let length = socket.recv(&mut answer).unwrap();
    read(&answer[..length], &question)
}

fn ask_by_tcp(names: &[(&str, u16)]) -> Vec<(u8, Vec<Vec<u8>>)> {
    let mut stream = TcpStream::connect("127.0.0.11:53").unwrap();
    stream.set_read_timeout(Some(LIMIT * 4)).unwrap();
    let questions: Vec<_> =
        names.iter().zip(1..).map(|((name, kind), id)| question(id, name, *kind)).collect();
    for question in &questions {
        stream.write_all(&(question.len() as u16).to_be_bytes()).unwrap();
        stream.write_all(question).unwrap();
    }
    let mut answers = vec![(0, Vec::new()); names.len()];
    for _ in &questions {
        let mut length = [0; 2];
        stream.read_exact(&mut length).unwrap();
        let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut answer).unwrap();
        let at = usize::from(answer[1]) - 1;
        answers[at] = read(&answer, &questions[at]);
    }
    answers
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

struct Serving {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

fn serve_names(host: &Host, container: &str, netns: &Container, servers: &[&str]) -> Serving {
    let fd = std::os::fd::AsFd::as_fd(&netns.netns).try_clone_to_owned().unwrap();
    let config = Config {
        networks: host.nets.clone(),
        container: container.to_owned(),
        netns: NetNs::from(fd),
        servers: servers.iter().map(|s| s.parse().unwrap()).collect(),
    };
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    let mut server = DnsServer::start(config).unwrap();
    let thread = std::thread::spawn(move || {
        while !stopped.load(Ordering::Relaxed) {
            let most = Duration::from_millis(20);
            let limit = server.timeout().unwrap_or(most).min(most);
            let mut fds = [rustix::event::PollFd::new(&server, rustix::event::PollFlags::IN)];
            rustix::event::poll(&mut fds, Some(&limit.try_into().unwrap())).unwrap();
            server.dispatch().unwrap();
        }
    });
    Serving { stop, thread: Some(thread) }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

/// A name server that knows every name but those that begin with "no", by UDP and TCP.
fn other_server(netns: &NetNs, code: u8) {
    let answer = move |question: &[u8]| {
        let mut answer = question.to_vec();
        answer[2] |= 0x80;
        answer[3] = 0x80 | if question[13..].starts_with(b"no") { NO_SUCH_NAME } else { code };
        if answer[3] & 15 == NO_ERROR {
            answer[7] = 1;
            answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 203, 0, 113, 7]);
        }
        answer
    };
    let (udp, tcp) = netns
        .enter(|| {
            let at: SocketAddr = "[::]:53".parse().unwrap();
            (UdpSocket::bind(at).unwrap(), TcpListener::bind(at).unwrap())
        })
        .unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok((length, from)) = udp.recv_from(&mut buffer) {
            let _ = udp.send_to(&answer(&buffer[..length]), from);
        }
    });
    std::thread::spawn(move || {
        for mut stream in tcp.incoming().flatten() {
            let mut length = [0; 2];
            while stream.read_exact(&mut length).is_ok() {
                let mut question = vec![0; usize::from(u16::from_be_bytes(length))];
                stream.read_exact(&mut question).unwrap();
                let answer = answer(&question);
                stream.write_all(&(answer.len() as u16).to_be_bytes()).unwrap();
                stream.write_all(&answer).unwrap();
            }
        }
    });
}

#[test]
fn containers_find_each_other() {
    if !become_host("containers_find_each_other") {
        return;
    }
    let host = Host::new();
    for name in ["app", "back"] {
        let request = NewNetwork { name: name.to_owned(), ..NewNetwork::default() };
        host.nets.create(&request).unwrap();
    }
    let a = start(&host, "a", &["app"], &[]);
    let mut aliased = request("b", &["app"], &[]);
    aliased.attachments[0].aliases = vec!["Db".to_owned(), "host-of-b".to_owned()];
    let reservation = host.nets.reserve(&aliased).unwrap();
    host.nets.set_up(&reservation, &new_netns()).unwrap();
    let _other = start(&host, "other", &["back"], &[]);
    let serving = serve_names(&host, "a", &a, &[]);
    let addresses: Vec<IpAddr> =
        reservation.endpoints()[0].addresses.iter().map(|a| a.address).collect();
    let of_family = |ipv6| -> Vec<Vec<u8>> {
        addresses.iter().filter(|a| a.is_ipv6() == ipv6).copied().map(octets).collect()
    };
    a.netns
        .enter(|| {
            // Its own server on port 53 stands in no one's way.
            let _own = UdpSocket::bind("0.0.0.0:53").unwrap();
            let _own = TcpListener::bind("0.0.0.0:53").unwrap();
            for name in ["name-of-b", "NAME-of-B", "db", "host-of-b", "db.app"] {
                assert_eq!(ask(name, A), (NO_ERROR, of_family(false)), "{name}");
                assert_eq!(ask(name, AAAA), (NO_ERROR, of_family(true)), "{name}");
            }
            assert_eq!(ask("db", MX), (NO_ERROR, Vec::new()));
            let IpAddr::V4(v4) = addresses[0] else { panic!() };
            let [w, x, y, z] = v4.octets();
            let pointer = ask(&format!("{z}.{y}.{x}.{w}.in-addr.arpa"), PTR);
            assert_eq!(pointer, (NO_ERROR, vec![b"\x09name-of-b\x03app\x00".to_vec()]));
            // Another network's, and nobody to be asked.
            assert_eq!(ask("name-of-other", A).0, SERVER_FAILURE);
            let by_tcp = ask_by_tcp(&[("db", A), ("name-of-other", A), ("name-of-b", AAAA)]);
            assert_eq!(by_tcp[0], (NO_ERROR, of_family(false)));
            assert_eq!(by_tcp[1].0, SERVER_FAILURE);
            assert_eq!(by_tcp[2], (NO_ERROR, of_family(true)));
        })
        .unwrap();
    // Who comes is known without a word, who goes is known no more.
    let late = start(&host, "late", &["app"], &[]);
    let known = || a.netns.enter(|| ask("name-of-late", A).0).unwrap();
    assert_eq!(known(), NO_ERROR);
    drop(late);
    host.nets.tear_down("late").unwrap();
    assert_eq!(known(), SERVER_FAILURE);
    drop(serving);
    for container in ["a", "b", "other"] {
        host.nets.tear_down(container).unwrap();
    }
    assert_nothing_left(&host);
}

#[test]
fn other_names_are_asked_of_other_servers() {
    if !become_host("other_names") {
        return;
    }
    let host = Host::new();
    let outside = neighbour();
    let request = NewNetwork { name: "app".to_owned(), ..NewNetwork::default() };
    host.nets.create(&request).unwrap();
    let a = start(&host, "a", &["app"], &[]);
    other_server(&outside, NO_ERROR);
    // One that refuses, on the host's loopback, which the container does not reach.
    let here = NetNs::current().unwrap();
    other_server(&here, 5);
    let serving = serve_names(&host, "a", &a, &["127.0.0.1", "192.0.2.2"]);
    let known = (NO_ERROR, vec![vec![203, 0, 113, 7]]);
    a.netns
        .enter(|| {
            assert_eq!(ask("example.org", A), known);
            assert_eq!(ask("no.example.org", A), (NO_SUCH_NAME, Vec::new()));
            let by_tcp = ask_by_tcp(&[("example.org", A), ("no.example.org", A), ("name-of-a", A)]);
            assert_eq!(by_tcp[0], known);
            assert_eq!(by_tcp[1].0, NO_SUCH_NAME);
            assert_eq!(by_tcp[2].0, NO_ERROR);
            // Noise of a hostile container does not end the service.
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            for length in 0..200 {
                socket.send_to(&vec![0xff; length], "127.0.0.11:53").unwrap();
            }
            for _ in 0..40 {
                let mut stream = TcpStream::connect("127.0.0.11:53").unwrap();
                let _ = stream.write_all(&[0; 5000]);
            }
            assert_eq!(ask("example.org", A), known);
        })
        .unwrap();
    drop(serving);
    host.nets.tear_down("a").unwrap();
    assert_nothing_left(&host);
}
