//! Batches as they go over the wire, byte for byte. A file holds a message a line:
//! its type, flags and sequence number, then struct nfgenmsg and attributes. What
//! the kernel makes of them is tested with traffic (tests/).
//!
//! `HUSK_UPDATE_GOLDEN=1 cargo test -p husk-net golden` writes the files anew.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use super::*;
use crate::networks::network::Pool;
use crate::ports::publish::Protocol;

fn network(name: &str, internal: bool) -> Network {
    let pool = |subnet: &str| {
        let subnet: crate::Subnet = subnet.parse().unwrap();
        Pool { subnet, gateway: subnet.nth(1).unwrap(), range: None, reserved: Default::default() }
    };
    Network {
        name: name.to_owned(),
        bridge: format!("husk-{name}"),
        pools: vec![pool("10.214.0.0/16"), pool("fd12:3456:789a::/64")],
        internal,
        ..Network::default()
    }
}

fn claims() -> Vec<Claim> {
    let claim = |protocol, host_ip: Option<&str>, host_port| Claim {
        container: "c".to_owned(),
        name: "n".to_owned(),
        protocol,
        host_ip: host_ip.map(|ip| ip.parse().unwrap()),
        host_port,
        targets: vec!["10.214.0.2".parse().unwrap(), "fd12:3456:789a::2".parse().unwrap()],
        container_port: 80,
    };
    vec![
        claim(Protocol::Tcp, None, 8080),
        claim(Protocol::Udp, Some("192.0.2.1"), 8081),
        claim(Protocol::Tcp, Some("2001:db8::1"), 8082),
        claim(Protocol::Tcp, Some("0.0.0.0"), 8083),
        // The proxy's alone.
        claim(Protocol::Tcp, Some("127.0.0.1"), 8084),
    ]
}

fn text(batch: &Batch) -> String {
    let (bytes, last) = batch.encode(1);
    let mut text = String::new();
    let (mut at, mut count) = (0, 0);
    while at < bytes.len() {
        let length = u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
        for (i, byte) in bytes[at + 4..at + length].iter().enumerate() {
            let space = if [2, 4, 8, 12, 16].contains(&i) { " " } else { "" };
            let _ = write!(text, "{space}{byte:02x}");
        }
        text.push('\n');
        at += length.next_multiple_of(4);
        count += 1;
    }
    // Frame, messages, frame; the last message is the one acknowledged.
    assert_eq!(last, count - 1);
    text
}

fn check(name: &str, batch: &Batch) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/nft/golden").join(name);
    let actual = text(batch);
    if std::env::var_os("HUSK_UPDATE_GOLDEN").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &actual).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap();
    for (i, (actual, expected)) in actual.lines().zip(expected.lines()).enumerate() {
        assert_eq!(actual, expected, "{name} line {}", i + 1);
    }
    assert_eq!(actual.lines().count(), expected.lines().count(), "{name}");
}

#[test]
#[cfg(target_endian = "little")]
fn batches() {
    let table = |is_guard, flags| Table {
        name: "husk".to_owned(),
        comment: "networks in /var/lib/husk/networks".to_owned(),
        is_guard,
        flags,
    };
    let main = table(false, 0);
    check("install.hex", &main.install_batch(true, &[network("a", false)]));
    check("install-internal.hex", &main.install_batch(false, &[network("b", true)]));
    check("remove-network.hex", &main.remove_network_batch(&network("a", false)));
    check("publish.hex", &main.publish_batch(&claims()));
    check("unpublish.hex", &main.unpublish_batch(&claims()));
    let guard = table(true, OWNED | PERSISTENT);
    check("guard.hex", &guard.install_batch(true, &[network("a", false), network("b", true)]));
}
