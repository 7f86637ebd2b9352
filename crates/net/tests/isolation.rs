//! What is closed stays closed: by whom it may be reached, and while rules are gone.

#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::net::SocketAddr;

use husk_net::NewNetwork;
use support::*;

fn internal(host: &Host, name: &str) {
    let request = NewNetwork { name: name.to_owned(), internal: true, ..NewNetwork::default() };
    host.nets.create(&request).unwrap();
}

fn gateway(container: &Container, endpoint: usize) -> String {
    container.reservation.endpoints()[endpoint].addresses[0].gateway.to_string()
}

#[test]
fn an_internal_network_does_not_reach_published_ports() {
    if !become_host("an_internal_network") {
        return;
    }
    let host = Host::new();
    let outside = neighbour();
    internal(&host, "back");
    let web = start(&host, "web", &["bridge"], &["8081:81"]);
    web.serve(81);
    let inner = start(&host, "inner", &["back"], &[]);
    let own = gateway(&inner, 0);
    // As root in the container may do.
    inner.netns.enter(|| ip(&format!("route add default via {own}"))).unwrap();
    for to in [
        format!("{own}:8081"),
        "192.0.2.1:8081".to_owned(),
        format!("{}:8081", gateway(&web, 0)),
        SocketAddr::new(web.addresses[0], 81).to_string(),
    ] {
        assert!(!inner.netns.enter(|| reaches(&to)).unwrap(), "{to}");
    }
    // Everybody else does.
    assert!(outside.enter(|| reaches("192.0.2.1:8081")).unwrap());
    host.nets.tear_down("web").unwrap();
    host.nets.tear_down("inner").unwrap();
    assert_nothing_left(&host);
}

#[test]
fn a_flushed_ruleset_opens_nothing_and_is_back_at_once() {
    if !become_host("a_flushed_ruleset") {
        return;
    }
    if !has_program("nft") {
        skip("a_flushed_ruleset: needs nft");
        return;
    }
    let host = Host::new();
    let outside = neighbour();
    serve(&outside, 7);
    internal(&host, "back");
    let web = start(&host, "web", &["bridge"], &["8081:81"]);
    let inner = start(&host, "inner", &["back"], &[]);
    web.serve(81);
    web.serve(82);
    inner.serve(83);
    let own = gateway(&inner, 0);
    inner.netns.enter(|| ip(&format!("route add default via {own}"))).unwrap();
    let (web_ip, inner_ip) = (web.addresses[0], inner.addresses[0]);
    outside
        .enter(|| {
            ip(&format!("route add {web_ip} via 192.0.2.1"));
            ip(&format!("route add {inner_ip} via 192.0.2.1"));
        })
        .unwrap();
    let watching = Monitor::of(&host, &web);
    let standing_by = Monitor::of(&host, &inner);
    let works = || {
        let answer = outside.enter(|| ask_tcp("192.0.2.1:8081".parse().unwrap())).unwrap();
        answer.is_ok_and(|seen| seen == "192.0.2.2")
    };
    assert!(works());
    let (guard, has_guard) = (format!("{}-guard", host.table()), || {
        run("nft", "list tables").contains(&format!("{}-guard", host.table()))
    });
    // Linux 5.12 and later.
    let had_guard = has_guard();
    if had_guard {
        let flush = std::process::Command::new("nft")
            .args(["delete", "table", "inet", &guard])
            .output()
            .unwrap();
        assert!(!flush.status.success(), "the guard can be removed");
    } else {
        eprintln!("a_flushed_ruleset: no guard: the kernel has no owned tables");
    }
    let closed = |when: &str| {
        let to = [SocketAddr::new(web_ip, 82), SocketAddr::new(inner_ip, 83)];
        for to in to {
            assert!(!outside.enter(|| reaches(&to.to_string())).unwrap(), "{when}: {to}");
        }
        assert!(!inner.netns.enter(|| reaches("192.0.2.2:7")).unwrap(), "{when}: a way out");
    };
    closed("before");
    for round in 0..2 {
        run("nft", "flush ruleset");
        closed("flushed");
        eventually("published again", works);
        let table = host.table();
        run("nft", &format!("flush map inet {table} publish4_any"));
        eventually("published again", works);
        run("nft", &format!("flush chain inet {table} forward"));
        closed("chain flushed");
        let list = || run("nft", &format!("list chain inet {table} forward"));
        eventually("rules are back", || list().contains("@inside"));
        if round == 0 {
            continue;
        }
        // The one that watches ends, and its container, too: the other takes over.
        drop(watching);
        host.nets.tear_down("web").unwrap();
        // Linux 6.9 leaves it to whoever takes it over, before that it is made anew.
        let is_owned = || {
            let list = std::process::Command::new("nft")
                .args(["list", "table", "inet", &guard])
                .output()
                .unwrap();
            String::from_utf8_lossy(&list.stdout).contains("owner")
        };
        if had_guard {
            eventually("the guard is taken over", is_owned);
        }
        run("nft", "flush ruleset");
        closed("taken over");
        eventually("rules are back", || run("nft", "list tables").contains(&table));
        break;
    }
    drop(standing_by);
    host.nets.tear_down("inner").unwrap();
    assert_nothing_left(&host);
}

#[test]
fn what_an_administrator_drops_stays_dropped() {
    if !become_host("what_an_administrator_drops") {
        return;
    }
    if !has_program("iptables-nft") {
        skip("what_an_administrator_drops: needs iptables-nft");
        return;
    }
    let iptables = |args: &str| run("iptables-nft", args);
    let outside = neighbour();
    serve(&outside, 7);
    let host = Host::new();
    // Docker's and ufw's chains, with rules of an administrator in each.
    iptables("-P FORWARD DROP");
    for chain in ["DOCKER-USER", "ufw-user-forward"] {
        iptables(&format!("-N {chain}"));
        iptables(&format!("-A FORWARD -j {chain}"));
    }
    let bridge = host.bridge("bridge");
    iptables("-A DOCKER-USER -p tcp --dport 81 ! -s 192.0.2.9 -j DROP");
    iptables("-A ufw-user-forward -p tcp --dport 82 -j DROP");
    iptables(&format!("-A FORWARD -i {bridge} -p tcp --dport 9 -j REJECT"));
    let web = start(&host, "web", &["bridge"], &["8080:80", "8081:81", "8082:82"]);
    [80, 81, 82].iter().for_each(|port| web.serve(*port));
    let monitor = Monitor::of(&host, &web);
    let check = |dropped: &[u16]| {
        for port in [8080, 8081, 8082] {
            let to = format!("192.0.2.1:{port}");
            let reached = outside.enter(|| reaches(&to)).unwrap();
            assert_eq!(reached, !dropped.contains(&port), "{port}: {}", iptables("-S"));
        }
        web.netns.enter(|| assert_answers("192.0.2.2", 7, "192.0.2.1")).unwrap();
    };
    check(&[8081, 8082]);
    // One that is appended later counts, too, once the monitor has seen it.
    iptables("-A FORWARD -p tcp --dport 80 -j DROP");
    eventually("the rules move to the end", || {
        let list = iptables("-S FORWARD");
        list.find("--dport 80 ") < list.find("RELATED,ESTABLISHED,DNAT")
    });
    check(&[8080, 8081, 8082]);
    let list = iptables("-S FORWARD");
    assert_eq!(list.matches("husk: containers on").count(), 2, "{list}");
    assert!(!iptables("-S DOCKER-USER").contains("husk"));
    // Unpublished ports are not let in by these rules, whatever becomes of others.
    drop(monitor);
    host.nets.tear_down("web").unwrap();
    let list = iptables("-S FORWARD");
    assert!(!list.contains("husk:") && list.contains("--dport 9 "), "{list}");
    iptables("-P FORWARD ACCEPT");
    iptables("-A FORWARD -j REJECT");
    let told = start(&host, "told", &["bridge"], &[]);
    let notice = "reach nothing until a rule before it accepts that link";
    assert!(told.notices.iter().any(|n| n.contains(notice)), "{:?}", told.notices);
    host.nets.tear_down("told").unwrap();
}

#[test]
fn a_start_that_fails_gives_the_hosts_settings_back() {
    if !become_host("a_start_that_fails") {
        return;
    }
    let setting = |name: &str| fs::read_to_string(format!("/proc/sys/net/{name}")).unwrap();
    ip("link add wire type veth peer name wire-end");
    fs::write("/proc/sys/net/ipv4/ip_forward", "0").unwrap();
    fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "0").unwrap();
    fs::write("/proc/sys/net/ipv6/conf/wire/accept_ra", "1").unwrap();
    let names = ["ipv4/ip_forward", "ipv6/conf/all/forwarding", "ipv6/conf/wire/accept_ra"];
    let before = names.map(setting);
    let host = Host::new();
    let set_up = |container: &str, broken: bool| {
        let reservation = host.nets.reserve(&request(container, &["bridge"], &[])).unwrap();
        let netns = new_netns();
        if broken {
            netns.enter(|| ip("link add eth0 type veth peer name other")).unwrap();
        }
        let done = host.nets.set_up(&reservation, &netns);
        (reservation, done.map(|notices| (notices, netns)))
    };
    assert!(set_up("a", true).1.is_err());
    assert_eq!(names.map(setting), before);
    // The network was set up, and then the program was not there.
    let (reservation, done) = set_up("b", false);
    assert!(done.unwrap().0[0].contains("switched on"));
    assert_ne!(names.map(setting), before);
    host.nets.abandon(&reservation).unwrap();
    assert_eq!(names.map(setting), before);
    // Another's container has come to need them.
    let other = Host::new();
    let (reservation, done) = set_up("c", false);
    let _running = start(&other, "d", &["bridge"], &[]);
    drop(done);
    host.nets.abandon(&reservation).unwrap();
    assert_ne!(names.map(setting), before);
    other.nets.tear_down("d").unwrap();
    assert_nothing_left(&host);
}

#[test]
fn a_source_that_is_not_the_networks_leaves_nothing() {
    if !become_host("a_source_that_is_not_the_networks") {
        return;
    }
    let host = Host::new();
    let outside = neighbour();
    let a = start(&host, "a", &["bridge"], &[]);
    let listener = outside.enter(|| std::net::UdpSocket::bind("192.0.2.2:4000").unwrap()).unwrap();
    let here = std::net::UdpSocket::bind("192.0.2.1:4000").unwrap();
    for socket in [&listener, &here] {
        socket.set_read_timeout(Some(std::time::Duration::from_millis(400))).unwrap();
    }
    let mut buffer = [0; 64];
    let mut send = |from: &str| {
        a.netns
            .enter(|| {
                let socket = std::net::UdpSocket::bind((from, 0)).unwrap();
                socket.send_to(b"?", "192.0.2.2:4000").unwrap();
                socket.send_to(b"?", "192.0.2.1:4000").unwrap();
            })
            .unwrap();
        [&listener, &here].map(|socket| socket.recv_from(&mut buffer).is_ok())
    };
    assert_eq!(send(&a.addresses[0].to_string()), [true, true]);
    a.netns.enter(|| ip("addr add 198.51.100.50/32 dev lo")).unwrap();
    assert_eq!(send("198.51.100.50"), [false, false]);
    host.nets.tear_down("a").unwrap();
    assert_nothing_left(&host);
}

#[test]
fn a_container_does_not_take_anothers_address() {
    if !become_host("a_container_does_not_take") {
        return;
    }
    if !bridges_have_packet_filters() {
        skip("a_container_does_not_take: the kernel has no nf_tables for bridges");
        return;
    }
    let host = Host::new();
    let victim = start(&host, "victim", &["bridge"], &["8080:80"]);
    victim.serve(80);
    let thief = start(&host, "thief", &["bridge"], &[]);
    let mut trusted = request("router", &["bridge"], &[]);
    trusted.configures_network = true;
    let reservation = host.nets.reserve(&trusted).unwrap();
    let router = new_netns();
    host.nets.set_up(&reservation, &router).unwrap();
    let bridge = host.bridge("bridge");
    let answers = || {
        ip(&format!("neigh flush dev {bridge}"));
        let to = SocketAddr::new(victim.addresses[0], 80);
        ask_tcp(to).unwrap();
    };
    let sends = |netns: &husk_net::NetNs, from: std::net::IpAddr, to: std::net::IpAddr| {
        let listener = std::net::UdpSocket::bind((to, 0)).unwrap();
        listener.set_read_timeout(Some(std::time::Duration::from_millis(400))).unwrap();
        let port = listener.local_addr().unwrap().port();
        netns
            .enter(|| {
                let socket = std::net::UdpSocket::bind((from, 0)).unwrap();
                let _ = socket.send_to(b"?", (to, port));
            })
            .unwrap();
        listener.recv_from(&mut [0; 8]).is_ok()
    };
    let gateways: Vec<_> =
        victim.reservation.endpoints()[0].addresses.iter().map(|address| address.gateway).collect();
    for (own, gateway) in thief.addresses.iter().zip(&gateways) {
        assert!(sends(&thief.netns, *own, *gateway), "{own}");
    }
    answers();
    for netns in [&thief.netns, &router] {
        netns
            .enter(|| {
                for address in &victim.addresses {
                    let prefix = if address.is_ipv6() { "128 nodad" } else { "32" };
                    ip(&format!("addr add {address}/{prefix} dev eth0"));
                }
            })
            .unwrap();
        if std::ptr::eq(netns, &thief.netns) {
            for _ in 0..5 {
                // Both answer who has the address; one is heard.
                answers();
            }
        }
    }
    for (stolen, gateway) in victim.addresses.iter().zip(&gateways) {
        assert!(!sends(&thief.netns, *stolen, *gateway), "{stolen}");
        // It was asked for: a container that configures the network may do this.
        assert!(sends(&router, *stolen, *gateway), "{stolen}");
    }
    // Another hardware address.
    thief.netns.enter(|| ip("link set eth0 address 02:00:00:00:00:99")).unwrap();
    assert!(!sends(&thief.netns, thief.addresses[0], gateways[0]));
    for container in ["victim", "thief", "router"] {
        host.nets.tear_down(container).unwrap();
    }
    assert_nothing_left(&host);
}

fn bridges_have_packet_filters() -> bool {
    let made = std::process::Command::new("nft").args(["add", "table", "bridge", "probe"]).status();
    let made = made.is_ok_and(|status| status.success());
    if made {
        run("nft", "delete table bridge probe");
    }
    made
}
