//! Real traffic between namespaces, each test on a "host" of its own.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};

use support::*;

fn v4(container: &Container) -> String {
    container.addresses.iter().find(|a| a.is_ipv4()).unwrap().to_string()
}

fn v6(container: &Container) -> String {
    container.addresses.iter().find(|a| a.is_ipv6()).unwrap().to_string()
}

#[test]
fn containers_reach_each_other_and_the_host_reaches_them() {
    if !become_host("containers_reach_each_other") {
        return;
    }
    let host = Host::new();
    let a = start(&host, "a", &["bridge"], &[]);
    let b = start(&host, "b", &["bridge"], &[]);
    a.serve(7);
    for (to, from) in [(v4(&a), v4(&b)), (v6(&a), v6(&b))] {
        b.netns.enter(|| assert_answers(&to, 7, &from)).unwrap();
    }
    let bridge = host.nets.inspect("bridge").unwrap();
    for (to, pool) in [(v4(&a), &bridge.pools[0]), (v6(&a), &bridge.pools[1])] {
        assert_answers(&to, 7, &pool.gateway.to_string());
    }
    host.nets.tear_down("a").unwrap();
    host.nets.tear_down("b").unwrap();
    assert_nothing_left(&host);
}

#[test]
fn containers_reach_the_outside_under_the_hosts_address() {
    if !become_host("containers_reach_the_outside") {
        return;
    }
    // A new namespace has the setting of the machine's first one.
    std::fs::write("/proc/sys/net/ipv4/ip_forward", "0").unwrap();
    let host = Host::new();
    let outside = neighbour();
    serve(&outside, 7);
    let a = start(&host, "a", &["bridge"], &[]);
    a.netns
        .enter(|| {
            assert_answers("192.0.2.2", 7, "192.0.2.1");
            assert_answers("2001:db8::2", 7, "2001:db8::1");
        })
        .unwrap();
    assert!(a.notices.iter().any(|n| n.contains("net.ipv4.ip_forward")), "{:?}", a.notices);
    host.nets.tear_down("a").unwrap();
    assert_nothing_left(&host);
}

#[test]
fn published_ports_answer_and_keep_client_addresses() {
    if !become_host("published_ports") {
        return;
    }
    let host = Host::new();
    let outside = neighbour();
    let a = start(&host, "a", &["bridge"], &["8080:80", "8080:80/udp"]);
    a.serve(80);
    let b = start(&host, "b", &["bridge"], &[]);
    outside
        .enter(|| {
            assert_answers("192.0.2.1", 8080, "192.0.2.2");
            assert_answers("2001:db8::1", 8080, "2001:db8::2");
        })
        .unwrap();
    // From the host by its own address, which is the client's, too.
    assert_answers("192.0.2.1", 8080, "192.0.2.1");
    assert_answers("2001:db8::1", 8080, "2001:db8::1");
    // From the container itself and from one beside it: by way of the gateway.
    let bridge = host.nets.inspect("bridge").unwrap();
    for netns in [&a.netns, &b.netns] {
        netns
            .enter(|| {
                assert_answers("192.0.2.1", 8080, &bridge.pools[0].gateway.to_string());
                assert_answers("2001:db8::1", 8080, &bridge.pools[1].gateway.to_string());
            })
            .unwrap();
    }
    host.nets.tear_down("a").unwrap();
    outside
        .enter(|| {
            let to = SocketAddr::new("192.0.2.1".parse().unwrap(), 8080);
            assert_eq!(ask_tcp(to).unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
        })
        .unwrap();
    host.nets.tear_down("b").unwrap();
    assert_nothing_left(&host);
}

#[test]
fn hairpin_works_with_and_without_br_netfilter() {
    if !become_host("hairpin_works") {
        return;
    }
    let switch = "/proc/sys/net/bridge/bridge-nf-call-iptables";
    for on in ["0", "1"] {
        if std::fs::write(switch, on).is_err() && on == "1" {
            eprintln!("hairpin_works: skipped in part: no br_netfilter in this kernel");
            continue;
        }
        let host = Host::new();
        let a = start(&host, "a", &["bridge"], &["8080:80", "8080:80/udp"]);
        a.serve(80);
        let gateway = host.nets.inspect("bridge").unwrap().pools[0].gateway.to_string();
        a.netns.enter(|| assert_answers(&gateway, 8080, &gateway)).unwrap();
        host.nets.tear_down("a").unwrap();
        assert_nothing_left(&host);
    }
}

#[test]
fn what_is_not_published_stays_inside() {
    if !become_host("what_is_not_published") {
        return;
    }
    let host = Host::new();
    let outside = neighbour();
    let a = start(&host, "a", &["bridge"], &["127.0.0.1:8080:80"]);
    a.serve(80);
    let target = v4(&a);
    outside
        .enter(|| {
            ip(&format!("route add {target} via 192.0.2.1"));
            let direct = SocketAddr::new(target.parse().unwrap(), 80);
            let error =
                std::net::TcpStream::connect_timeout(&direct, std::time::Duration::from_secs(1));
            assert_eq!(error.unwrap_err().kind(), std::io::ErrorKind::TimedOut);
            let published = SocketAddr::new("192.0.2.1".parse().unwrap(), 8080);
            assert!(ask_tcp(published).is_err());
        })
        .unwrap();
    for link in ["all", "default", &host.bridge("bridge")] {
        let path = format!("/proc/sys/net/ipv4/conf/{link}/route_localnet");
        assert_eq!(std::fs::read_to_string(path).unwrap().trim(), "0");
    }
    host.nets.tear_down("a").unwrap();
    assert_nothing_left(&host);
}

#[test]
fn networks_are_apart_and_internal_ones_have_no_way_out() {
    if !become_host("networks_are_apart") {
        return;
    }
    let host = Host::new();
    let outside = neighbour();
    serve(&outside, 7);
    let new = |name: &str, internal| husk_net::NewNetwork {
        name: name.to_owned(),
        internal,
        ..Default::default()
    };
    host.nets.create(&new("one", false)).unwrap();
    host.nets.create(&new("two", true)).unwrap();
    let one = start(&host, "1", &["one"], &[]);
    let two = start(&host, "2", &["two"], &[]);
    let both = start(&host, "3", &["one", "two"], &[]);
    two.netns.enter(|| assert_eq!(ip("route show default"), "")).unwrap();
    one.serve(7);
    two.serve(7);
    let unreachable = |to: IpAddr| {
        let limit = std::time::Duration::from_secs(1);
        std::net::TcpStream::connect_timeout(&SocketAddr::new(to, 7), limit).is_err()
    };
    let (one_ip, two_ip) = (v4(&one).parse().unwrap(), v4(&two).parse().unwrap());
    assert!(one.netns.enter(|| unreachable(two_ip)).unwrap());
    assert!(two.netns.enter(|| unreachable(one_ip)).unwrap());
    assert!(two.netns.enter(|| unreachable("192.0.2.2".parse().unwrap())).unwrap());
    both.netns
        .enter(|| {
            assert_answers(&v4(&one), 7, &both.addresses[0].to_string());
            assert_answers(&v4(&two), 7, &both.addresses[2].to_string());
            assert_answers("192.0.2.2", 7, "192.0.2.1");
        })
        .unwrap();
    for container in ["1", "2", "3"] {
        host.nets.tear_down(container).unwrap();
    }
    assert_nothing_left(&host);
    host.nets.remove("one").unwrap();
    host.nets.remove("two").unwrap();
}

#[test]
fn the_first_packet_gets_through() {
    if !become_host("the_first_packet") {
        return;
    }
    let host = Host::new();
    // Shorter than the second after which ARP and TCP try again.
    let limit = std::time::Duration::from_millis(500);
    for i in 0..10 {
        let a = start(&host, &format!("c{i}"), &["bridge"], &[]);
        let listener = a.netns.enter(|| std::net::TcpListener::bind("[::]:7").unwrap()).unwrap();
        for address in &a.addresses {
            let to = SocketAddr::new(*address, 7);
            std::net::TcpStream::connect_timeout(&to, limit)
                .unwrap_or_else(|e| panic!("{i} {to}: {e}"));
        }
        drop(listener);
        if i % 3 == 2 {
            (i - 2..=i).for_each(|i| host.nets.tear_down(&format!("c{i}")).unwrap());
        }
    }
    host.nets.tear_down("c9").unwrap();
    assert_nothing_left(&host);
}

#[test]
fn twenty_in_parallel_get_distinct_addresses_and_leave_nothing() {
    if !become_host("twenty_in_parallel") {
        return;
    }
    let host = Host::new();
    let containers: Vec<Container> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..20)
            .map(|i| {
                let host = &host;
                scope.spawn(move || {
                    let port = format!("{}:80", 9000 + i);
                    start(host, &format!("c{i}"), &["bridge"], &[&port])
                })
            })
            .collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    let distinct: HashSet<IpAddr> = containers.iter().flat_map(|c| c.addresses.clone()).collect();
    assert_eq!(distinct.len(), 40);
    containers[0].serve(7);
    let first = v4(&containers[0]);
    let from = v4(&containers[19]);
    containers[19].netns.enter(|| assert_answers(&first, 7, &from)).unwrap();
    std::thread::scope(|scope| {
        for i in 0..20 {
            let host = &host;
            scope.spawn(move || host.nets.tear_down(&format!("c{i}")).unwrap());
        }
    });
    assert_nothing_left(&host);
}
