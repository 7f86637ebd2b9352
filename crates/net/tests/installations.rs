//! Several installations of husk on one host: none changes another.

#![allow(clippy::unwrap_used)]

mod support;

use husk_net::{Error, NewNetwork};
use support::*;

fn internal(host: &Host, name: &str) {
    let request = NewNetwork { name: name.to_owned(), internal: true, ..NewNetwork::default() };
    host.nets.create(&request).unwrap();
}

#[test]
fn the_end_of_one_leaves_the_others_ports_and_isolation() {
    if !become_host("the_end_of_one") {
        return;
    }
    let outside = neighbour();
    let (first, second) = (Host::new(), Host::new());
    for host in [&first, &second] {
        internal(host, "back");
    }
    let web = start(&first, "web", &["bridge"], &["8081:81"]);
    web.serve(81);
    web.serve(82);
    let db = start(&first, "db", &["back"], &[]);
    db.serve(7);
    outside
        .enter(|| {
            for address in web.addresses.iter().chain(&db.addresses) {
                let via = if address.is_ipv6() { "2001:db8::1" } else { "192.0.2.1" };
                ip(&format!("route add {address} via {via}"));
            }
        })
        .unwrap();
    let check = |when: &str| {
        let published = outside.enter(|| ask_tcp("192.0.2.1:8081".parse().unwrap())).unwrap();
        assert_eq!(published.unwrap(), "192.0.2.2", "{when}");
        for (container, port) in [(&web, 82), (&db, 7)] {
            for address in &container.addresses {
                let to = std::net::SocketAddr::new(*address, port).to_string();
                assert!(!outside.enter(|| reaches(&to)).unwrap(), "{when}: {to} is open");
            }
        }
        assert!(!db.netns.enter(|| reaches("192.0.2.2:7")).unwrap(), "{when}: a way out");
        assert!(ip("-o link").contains(&first.bridge("bridge")), "{when}");
    };
    serve(&outside, 7);
    check("before");
    for turn in 0..2 {
        let (web, db) = (format!("web{turn}"), format!("db{turn}"));
        let other = start(&second, &web, &["bridge"], &["8082:81"]);
        other.serve(81);
        let inner = start(&second, &db, &["back"], &[]);
        check("beside");
        let published = outside.enter(|| ask_tcp("192.0.2.1:8082".parse().unwrap())).unwrap();
        assert_eq!(published.unwrap(), "192.0.2.2");
        second.nets.tear_down(&web).unwrap();
        check("one stopped");
        second.nets.tear_down(&db).unwrap();
        drop((other, inner));
        assert_nothing_left_of(&second);
        check("all of the other stopped");
    }
    first.nets.tear_down("web").unwrap();
    first.nets.tear_down("db").unwrap();
    assert_nothing_left(&first);
}

fn assert_nothing_left_of(host: &Host) {
    let links = ip("-o link");
    for network in host.nets.list().unwrap() {
        assert!(!links.contains(&network.bridge), "{links}");
    }
    if has_program("nft") {
        let tables = run("nft", "list tables");
        assert!(!tables.contains(&host.table()), "{tables}");
    }
}

#[test]
fn a_port_of_another_installation_is_refused() {
    if !become_host("a_port_of_another_installation") {
        return;
    }
    let _outside = neighbour();
    let (first, second) = (Host::new(), Host::new());
    let _web = start(&first, "web", &["bridge"], &["8081:81", "192.0.2.1:8082:81/udp"]);
    let clash = |publish: &str| {
        second.nets.reserve(&request("x", &["bridge"], &[publish])).unwrap_err().to_string()
    };
    let owner = format!(
        "another husk installation (table inet {}, networks in {})",
        first.table(),
        first.directory.path().join("config").display()
    );
    assert_eq!(
        clash("8081:80"),
        format!(
            "port 0.0.0.0:8081/tcp is already in use by {owner}: publish another port or stop it"
        )
    );
    assert!(clash("[2001:db8::1]:8081:80").contains(&owner));
    // A range is searched for the next.
    let ranged = second.nets.reserve(&request("x", &["bridge"], &["8081-8083:80"])).unwrap();
    assert_eq!(ranged.claims()[0].host_port, 8082);
    second.nets.tear_down("x").unwrap();
    // Reserved at the same time: the second to be set up is refused.
    let one = first.nets.reserve(&request("one", &["bridge"], &["8090:80"])).unwrap();
    let two = second.nets.reserve(&request("two", &["bridge"], &["8090:80"])).unwrap();
    first.nets.set_up(&one, &new_netns()).unwrap();
    let refused = second.nets.set_up(&two, &new_netns()).unwrap_err().to_string();
    assert!(refused.contains("0.0.0.0:8090/tcp is already in use by another"), "{refused}");
    assert!(second.nets.endpoints(None).unwrap().is_empty());
    for container in ["web", "one"] {
        first.nets.tear_down(container).unwrap();
    }
    assert_nothing_left(&first);
}

#[test]
fn subnets_do_not_collide() {
    if !become_host("subnets_do_not_collide") {
        return;
    }
    let (first, second) = (Host::new(), Host::new());
    // Both made while the other is idle: nothing on the host tells of them.
    let subnet = |host: &Host, name: &str| host.nets.inspect(name).unwrap().pools[0].subnet;
    assert_eq!(subnet(&first, "bridge"), subnet(&second, "bridge"));
    let fixed = NewNetwork {
        name: "fixed".to_owned(),
        subnets: vec!["10.99.0.0/24".parse().unwrap()],
        ..NewNetwork::default()
    };
    first.nets.create(&fixed).unwrap();
    second.nets.create(&fixed).unwrap();
    let a = start(&first, "a", &["bridge", "fixed"], &[]);
    let b = start(&second, "b", &["bridge"], &[]);
    assert_ne!(subnet(&first, "bridge"), subnet(&second, "bridge"));
    assert!(
        b.notices.iter().any(|n| n.contains("its subnet is in use on this host")),
        "{:?}",
        b.notices
    );
    assert_ne!(a.addresses[0], b.addresses[0]);
    let refused = second.nets.reserve(&request("c", &["fixed"], &[])).unwrap_err();
    assert_eq!(
        refused.to_string(),
        format!(
            "subnet 10.99.0.0/24 overlaps 10.99.0.0/24 of the host's link {}: choose another with --subnet",
            first.bridge("fixed")
        )
    );
    first.nets.tear_down("a").unwrap();
    second.nets.tear_down("b").unwrap();
    // It keeps its new one.
    let kept = subnet(&second, "bridge");
    let b = start(&second, "b", &["bridge"], &[]);
    assert_eq!(subnet(&second, "bridge"), kept);
    assert_eq!(b.notices, Vec::<String>::new());
    second.nets.tear_down("b").unwrap();
    assert_nothing_left(&second);
}

#[test]
fn a_bridge_or_a_runtime_directory_of_another_is_refused() {
    if !become_host("a_bridge_of_another") {
        return;
    }
    let host = Host::new();
    let bridge = host.bridge("bridge");
    ip(&format!("link add {bridge} type bridge"));
    ip(&format!("link set {bridge} alias husk-of-mine"));
    let refused = host.nets.reserve(&request("a", &["bridge"], &[])).unwrap_err().to_string();
    assert!(refused.contains("belongs to another husk installation"), "{refused}");
    ip(&format!("link delete {bridge}"));
    let _a = start(&host, "a", &["bridge"], &[]);
    let directory = host.directory.path();
    let other = husk_net::Networks::open(&directory.join("other"), &directory.join("run")).unwrap();
    let refused = other.reserve(&request("b", &["bridge"], &[])).unwrap_err();
    assert!(matches!(refused, Error::RuntimeTaken { .. }), "{refused}");
    host.nets.tear_down("a").unwrap();
    assert_nothing_left(&host);
}

#[test]
fn a_link_of_another_container_is_not_removed() {
    if !become_host("a_link_of_another_container") {
        return;
    }
    let host = Host::new();
    let reservation = host.nets.reserve(&request("a", &["bridge"], &[])).unwrap();
    let name = reservation.endpoints()[0].host_interface.clone();
    ip(&format!("link add {name} type veth peer name other"));
    ip(&format!("link set {name} alias someone-else"));
    let error = host.nets.set_up(&reservation, &new_netns()).unwrap_err().to_string();
    assert!(error.contains("File exists"), "{error}");
    assert!(ip("-o link").contains(&name));
    ip(&format!("link delete {name}"));
}
