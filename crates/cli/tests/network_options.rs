//! Options of networks and the address that ports are published at, on real links.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's failure is a panic")]

mod support;

use support::{Engine, engine, skip};

const SERVER: &str = "while true; do echo served | nc -l -p 80; done";

fn serve(engine: &Engine, name: &str, flags: &[&str]) {
    engine.ok(&[&["run", "-d", "--name", name], flags, &["bb", "sh", "-c", SERVER]].concat());
}

fn ask(engine: &Engine, network: &str, name: &str) -> String {
    let words = ["run", "--rm", "--network", network, "bb", "nc", "-w", "3", name, "80"];
    engine.run(&words).out.trim().to_owned()
}

#[test]
fn options_of_a_bridge_do_what_they_say() {
    let engine = engine!(with_network);
    let create = ["network", "create", "--subnet", "10.78.0.0/24", "--ip-range", "10.78.0.0/29"];
    let option = |rest: &str| format!("com.docker.network.{rest}");
    let options = [
        option("bridge.name=lab0"),
        option("bridge.enable_icc=false"),
        option("bridge.host_binding_ipv4=127.0.0.1"),
        option("driver.mtu=1400"),
    ];
    let options = options.iter().flat_map(|option| ["-o", option.as_str()]);
    let words: Vec<&str> = create.into_iter().chain(options).collect();
    engine.ok(&[&words[..], &["--aux-address", "router=10.78.0.2", "lab"]].concat());
    engine.ok(&["network", "create", "open"]);
    serve(&engine, "web", &["--network", "lab", "-p", "7801:80"]);
    serve(&engine, "web2", &["--network", "open"]);
    assert_eq!(engine.beside("ip -br link show lab0").code, 0);
    assert_eq!(engine.ok(&["port", "web", "80"]), "127.0.0.1:7801");
    let link = engine.ok(&["exec", "web", "ip", "-4", "addr", "show", "eth0"]);
    assert!(link.contains("mtu 1400") && link.contains("10.78.0.3/24"), "{link}");
    assert_eq!(ask(&engine, "open", "web2"), "served");
    assert_eq!(ask(&engine, "lab", "web"), "", "containers do not reach each other");
    let shown = "{{.Driver}} {{(index .IPAM.Config 0).AuxiliaryAddresses.router}} {{.Options}}";
    let shown = engine.ok(&["network", "inspect", "-f", shown, "lab"]);
    assert!(shown.starts_with("bridge 10.78.0.2 map["), "{shown}");
    assert!(shown.contains("com.docker.network.bridge.enable_icc:false"), "{shown}");
    for (words, problem) in [
        (&["-o", "com.docker.network.bridge.name=lab0"][..], "is the bridge of network lab"),
        (&["-o", "com.docker.network.bridge.name=lo2/x"], "must be the name of a link"),
        (&["-o", "speed=9"], "driver option speed: the bridge driver has"),
        (&["-d", "overlay"], "is for Swarm"),
        (&["--aux-address", "a=10.1.1.1"], "is in none of the given subnets"),
    ] {
        let refused = engine.run(&[&["network", "create"], words, &["bad"]].concat());
        assert!(refused.code != 0 && refused.err.contains(problem), "{refused:?}");
    }
    engine.ok(&["rm", "-f", "web", "web2"]);
    engine.ok(&["network", "rm", "lab", "open"]);
    assert_ne!(engine.beside("ip -br link show lab0").code, 0, "the bridge is gone");
    engine.assert_nothing_left();
}

#[test]
fn the_settings_say_where_ports_are_published() {
    let engine = engine!(with_network);
    let settings = engine.path("root/settings.json");
    std::fs::write(&settings, r#"{ "publishAddress": "127.0.0.1" }"#).unwrap();
    serve(&engine, "web", &["-p", "7802:80", "-p", "0.0.0.0:7803:80"]);
    assert_eq!(engine.ok(&["port", "web", "80"]), "127.0.0.1:7802\n0.0.0.0:7803");
    let neighbour = engine.neighbour();
    let far = |port| neighbour.run(&format!("busybox nc -w 3 203.0.113.1 {port}")).out;
    assert_eq!(far(7803).trim(), "served");
    assert_eq!(far(7802), "", "from another host");
    assert_eq!(engine.beside("busybox nc -w 3 127.0.0.1 7802").out.trim(), "served");
    let inside = "nc -w 3 $(ip route | grep default | cut -d' ' -f3) 7802";
    let inside = engine.run(&["run", "--rm", "bb", "sh", "-c", inside]);
    assert_eq!(inside.out, "", "from a container: {inside:?}");
    engine.ok(&["rm", "-f", "web"]);
    std::fs::write(&settings, r#"{ "publish": "127.0.0.1" }"#).unwrap();
    let refused = engine.run(&["run", "--rm", "-p", "7802:80", "bb", "true"]);
    assert!(refused.err.contains("settings.json: unknown field `publish`"), "{refused:?}");
    engine.assert_nothing_left();
}

#[test]
fn links_are_names_of_one_container_alone() {
    let engine = engine!(with_network);
    engine.ok(&["network", "create", "app"]);
    serve(&engine, "web", &["--network", "app"]);
    let linked = ["run", "--rm", "--network", "app", "--link", "web:front", "bb"];
    let linked = engine.run(&[&linked[..], &["nc", "-w", "3", "front", "80"]].concat());
    assert_eq!(linked.out.trim(), "served", "{linked:?}");
    assert_eq!(ask(&engine, "app", "front"), "", "of others it is no name");
    let refused = engine.run(&["run", "--rm", "--link", "web:front", "bb", "true"]);
    assert!(refused.err.contains("--link") && refused.code == 125, "{refused:?}");
    engine.ok(&["rm", "-f", "web"]);
    engine.ok(&["network", "rm", "app"]);
    engine.assert_nothing_left();
}

#[test]
fn macvlan_puts_containers_on_a_link_of_the_host() {
    let engine = engine!(with_network);
    let links = "ip link add par0 type veth peer par1 && ip link set par0 up && \
                 ip link set par1 up && ip link add try0 link par0 type macvlan && \
                 ip link del try0";
    if engine.beside(links).code != 0 {
        skip("the kernel has no macvlan");
        return;
    }
    let missing = ["network", "create", "-d", "macvlan", "-o", "parent=nowhere0", "lan"];
    let missing = engine.run(&missing);
    assert!(missing.err.contains("parent=nowhere0: the host has no such link"), "{missing:?}");
    let create = ["network", "create", "-d", "macvlan", "-o", "parent=par0"];
    engine.ok(&[&create[..], &["--subnet", "10.79.0.0/24", "lan"]].concat());
    serve(&engine, "web", &["--network", "lan"]);
    assert_eq!(ask(&engine, "lan", "web"), "served");
    let refused = engine.run(&["run", "--rm", "--network", "lan", "-p", "7804:80", "bb", "true"]);
    assert!(refused.err.contains("network lan is a macvlan"), "{refused:?}");
    engine.ok(&["network", "disconnect", "lan", "web"]);
    let left = engine.ok(&["exec", "web", "ip", "-4", "-o", "addr"]);
    assert!(!left.contains("eth0"), "{left}");
    engine.ok(&["rm", "-f", "web"]);
    engine.ok(&["network", "rm", "lan"]);
    engine.assert_nothing_left();
}
