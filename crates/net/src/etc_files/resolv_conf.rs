//! `/etc/resolv.conf` (resolv.conf(5)).

use std::fmt::Write as _;
use std::fs;
use std::net::IpAddr;

use crate::error::{Error, Result};

/// Where systemd-resolved writes the servers that it asks itself.
const RESOLVED_UPSTREAM: &str = "/run/systemd/resolve/resolv.conf";
/// Where no server is known Docker takes these, and so do we, and say so.
const PUBLIC: [IpAddr; 2] = [
    IpAddr::V4(std::net::Ipv4Addr::new(8, 8, 8, 8)),
    IpAddr::V4(std::net::Ipv4Addr::new(8, 8, 4, 4)),
];

/// `--dns`, `--dns-search`, `--dns-opt`; what is empty is as the host has it.
#[derive(Debug, Clone, Default)]
pub struct DnsOptions {
    /// Servers, in order.
    pub servers: Vec<IpAddr>,
    /// Domains; a single `.` is none.
    pub search: Vec<String>,
    /// Resolver options, such as `ndots:2`.
    pub options: Vec<String>,
}

/// The host's resolver files, as text.
#[derive(Debug, Clone, Default)]
pub struct HostResolver {
    /// `/etc/resolv.conf`; empty if there is none.
    pub resolv_conf: String,
    /// systemd-resolved's own servers, if the host runs it.
    pub upstream: Option<String>,
}

impl HostResolver {
    /// Reads the host's files; a missing one is an empty one.
    #[must_use]
    pub fn read() -> Self {
        Self {
            resolv_conf: fs::read_to_string("/etc/resolv.conf").unwrap_or_default(),
            upstream: fs::read_to_string(RESOLVED_UPSTREAM).ok(),
        }
    }
}

/// A container's file, and what the person should know about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvConf {
    /// The file's text.
    pub text: String,
    /// One line each.
    pub notices: Vec<String>,
}

/// The parts of a resolv.conf.
#[derive(Debug, Default)]
struct Parsed {
    servers: Vec<IpAddr>,
    search: Vec<String>,
    options: Vec<String>,
}

impl Parsed {
    /// As glibc reads it: the last `search` or `domain` wins, options add up.
    /// Link-local servers are left out: their zone (`%eth0`) is a link of the host.
    fn read(text: &str) -> Self {
        let mut parsed = Self::default();
        for line in text.lines() {
            let line = line.split(['#', ';']).next().unwrap_or_default();
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("nameserver") => {
                    parsed.servers.extend(words.next().and_then(|w| w.parse::<IpAddr>().ok()));
                }
                Some("search" | "domain") => parsed.search = words.map(str::to_owned).collect(),
                Some("options") => parsed.options.extend(words.map(str::to_owned)),
                _ => {}
            }
        }
        let link_local = |ip: &IpAddr| matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local());
        parsed.servers.retain(|ip| !link_local(ip));
        parsed
    }
}

impl ResolvConf {
    /// The file of a container with a network of its own.
    ///
    /// A server on the host's loopback cannot be reached from there. If it is
    /// systemd-resolved's stub, the servers that this asks take its place; other
    /// loopback servers are left out. `has_ipv6` says whether the container could
    /// reach an IPv6 server. What `--dns` names is taken as given.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a search domain or an option with white space.
    pub fn for_own_network(
        host: &HostResolver,
        asked: &DnsOptions,
        has_ipv6: bool,
    ) -> Result<Self> {
        let mut parsed = Parsed::read(&host.resolv_conf);
        let all_stub = parsed.servers.iter().all(|ip| ip.is_loopback());
        if let (true, Some(upstream)) = (all_stub, &host.upstream) {
            let upstream = Parsed::read(upstream);
            parsed.servers = upstream.servers;
        }
        parsed.servers.retain(|ip| !ip.is_loopback() && (has_ipv6 || ip.is_ipv4()));
        let mut notices = Vec::new();
        if parsed.servers.is_empty() && asked.servers.is_empty() {
            let [first, second] = PUBLIC;
            notices.push(format!(
                "the host has no DNS server that a container can reach: using {first} and {second} (choose with --dns)"
            ));
            parsed.servers = PUBLIC.to_vec();
        }
        Ok(Self { text: render(parsed, asked)?, notices })
    }

    /// The file of a container with a DNS server of its own, which asks
    /// [`Self::upstream`] for what it does not know. A name without a dot may be a
    /// container's, so it is asked for as it is (`ndots:0`), unless an option says otherwise.
    ///
    /// # Errors
    ///
    /// As [`Self::for_own_network`].
    pub fn for_own_server(host: &HostResolver, asked: &DnsOptions, server: IpAddr) -> Result<Self> {
        let mut parsed = Parsed::read(&host.resolv_conf);
        let mut asked = DnsOptions { servers: vec![server], ..asked.clone() };
        let options =
            if asked.options.is_empty() { &mut parsed.options } else { &mut asked.options };
        if !options.iter().any(|option| option.starts_with("ndots:")) {
            options.push("ndots:0".to_owned());
        }
        Ok(Self { text: render(parsed, &asked)?, notices: Vec::new() })
    }

    /// The servers that such a server asks: what `--dns` names, or the host's. Those on the
    /// host's loopback are left out unless it `may_ask_host`.
    #[must_use]
    pub fn upstream(host: &HostResolver, asked: &DnsOptions, may_ask_host: bool) -> Vec<IpAddr> {
        let mut servers = if asked.servers.is_empty() {
            Parsed::read(&host.resolv_conf).servers
        } else {
            asked.servers.clone()
        };
        servers.retain(|ip| may_ask_host || !ip.is_loopback());
        servers
    }

    /// The file of a container whose queries to `forwarder`, an IPv4 address, somebody asks
    /// the host's first IPv4 server, also one on the host's loopback.
    ///
    /// That server itself is left out: pasta before 2023-06 answers from the forwarder's
    /// address whichever of the two was asked, and a resolver that has called connect(2),
    /// as glibc's does, drops such an answer.
    ///
    /// # Errors
    ///
    /// As [`Self::for_own_network`].
    pub fn for_forwarder(
        host: &HostResolver,
        asked: &DnsOptions,
        forwarder: IpAddr,
    ) -> Result<Self> {
        let mut parsed = Parsed::read(&host.resolv_conf);
        let first = parsed.servers.iter().copied().find(IpAddr::is_ipv4);
        let forwards = first.is_some() || parsed.servers.iter().any(IpAddr::is_loopback);
        parsed.servers.retain(|ip| !ip.is_loopback() && Some(*ip) != first);
        if forwards {
            parsed.servers.insert(0, forwarder);
        }
        if parsed.servers.is_empty() && asked.servers.is_empty() {
            return Self::for_own_network(host, asked, true);
        }
        Ok(Self { text: render(parsed, asked)?, notices: Vec::new() })
    }

    /// The file of a container on the host's network: the host's servers, all of
    /// which it can reach.
    ///
    /// # Errors
    ///
    /// As [`Self::for_own_network`].
    pub fn for_host_network(host: &HostResolver, asked: &DnsOptions) -> Result<Self> {
        if asked.servers.is_empty() && asked.search.is_empty() && asked.options.is_empty() {
            return Ok(Self { text: host.resolv_conf.clone(), notices: Vec::new() });
        }
        let parsed = Parsed::read(&host.resolv_conf);
        Ok(Self { text: render(parsed, asked)?, notices: Vec::new() })
    }
}

fn render(host: Parsed, asked: &DnsOptions) -> Result<String> {
    for (property, values) in [("--dns-search", &asked.search), ("--dns-opt", &asked.options)] {
        let bad =
            |v: &&String| v.is_empty() || v.contains(|c: char| c.is_whitespace() || c.is_control());
        if let Some(value) = values.iter().find(bad) {
            let (value, reason) = (format!("{value:?}"), "must be one word".to_owned());
            return Err(Error::Invalid { property, value, reason });
        }
    }
    let choose = |asked: &Vec<String>, host| if asked.is_empty() { host } else { asked.clone() };
    let servers = if asked.servers.is_empty() { host.servers } else { asked.servers.clone() };
    let mut search = choose(&asked.search, host.search);
    search.retain(|domain| domain != ".");
    let options = choose(&asked.options, host.options);
    let mut text = String::new();
    for server in servers {
        let _ = writeln!(text, "nameserver {server}");
    }
    for (word, values) in [("search", search), ("options", options)] {
        if !values.is_empty() {
            let _ = writeln!(text, "{word} {}", values.join(" "));
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(host: &str, upstream: Option<&str>, asked: &DnsOptions, ipv6: bool) -> ResolvConf {
        let host =
            HostResolver { resolv_conf: host.to_owned(), upstream: upstream.map(str::to_owned) };
        ResolvConf::for_own_network(&host, asked, ipv6).unwrap()
    }

    #[test]
    fn a_server_of_its_own_is_asked_first() {
        let resolv_conf = "nameserver 127.0.0.53\nsearch example.org\noptions edns0\n".to_owned();
        let host = HostResolver { resolv_conf, upstream: None };
        let server = "127.0.0.11".parse().unwrap();
        let text =
            |asked: &DnsOptions| ResolvConf::for_own_server(&host, asked, server).unwrap().text;
        let plain = DnsOptions::default();
        let base = "nameserver 127.0.0.11\nsearch example.org\n";
        assert_eq!(text(&plain), format!("{base}options edns0 ndots:0\n"));
        let given = DnsOptions {
            servers: vec!["192.0.2.9".parse().unwrap()],
            options: vec!["ndots:2".to_owned()],
            ..DnsOptions::default()
        };
        assert_eq!(text(&given), format!("{base}options ndots:2\n"));
        assert_eq!(ResolvConf::upstream(&host, &given, true), given.servers);
        assert_eq!(
            ResolvConf::upstream(&host, &plain, true),
            ["127.0.0.53".parse::<IpAddr>().unwrap()]
        );
        assert!(ResolvConf::upstream(&host, &plain, false).is_empty());
    }

    #[test]
    fn a_forwarder_stands_for_the_server_that_it_asks() {
        let text = |resolv_conf: &str, asked: &[&str]| {
            let host = HostResolver { resolv_conf: resolv_conf.to_owned(), upstream: None };
            let servers = asked.iter().map(|s| s.parse().unwrap()).collect();
            let asked = DnsOptions { servers, ..DnsOptions::default() };
            let forwarder = "169.254.1.1".parse().unwrap();
            let made = ResolvConf::for_forwarder(&host, &asked, forwarder).unwrap();
            made.text.replace("nameserver ", "").lines().collect::<Vec<_>>().join(" ")
        };
        // An old pasta answers for 192.0.2.53 by the forwarder's address.
        assert_eq!(text("nameserver 192.0.2.53\n", &[]), "169.254.1.1");
        assert_eq!(text("nameserver 127.0.0.53\n", &[]), "169.254.1.1");
        let three = "nameserver 192.0.2.53\nnameserver 2001:db8::53\nnameserver 192.0.2.54\n";
        assert_eq!(text(three, &[]), "169.254.1.1 2001:db8::53 192.0.2.54");
        assert_eq!(text("nameserver 2001:db8::53\n", &[]), "2001:db8::53");
        assert_eq!(text("nameserver 192.0.2.53\n", &["192.0.2.99"]), "192.0.2.99");
    }

    #[test]
    fn the_hosts_servers_are_taken() {
        let host = "# comment\nnameserver 192.0.2.53\nnameserver 2001:db8::53 ; six\nnameserver fe80::1%eth0\ndomain old\nsearch a.example b.example\noptions ndots:2\noptions rotate\n";
        let dns = DnsOptions::default();
        assert_eq!(
            own(host, None, &dns, true).text,
            "nameserver 192.0.2.53\nnameserver 2001:db8::53\nsearch a.example b.example\noptions ndots:2 rotate\n"
        );
        assert_eq!(
            own(host, None, &dns, false).text,
            "nameserver 192.0.2.53\nsearch a.example b.example\noptions ndots:2 rotate\n"
        );
    }

    #[test]
    fn a_stub_is_replaced_by_what_it_asks() {
        let stub = "nameserver 127.0.0.53\noptions edns0 trust-ad\nsearch lan\n";
        let dns = DnsOptions::default();
        let conf = own(stub, Some("nameserver 192.0.2.1\nsearch lan\n"), &dns, true);
        assert_eq!(conf.text, "nameserver 192.0.2.1\nsearch lan\noptions edns0 trust-ad\n");
        assert!(conf.notices.is_empty());
        let mixed = "nameserver 127.0.0.1\nnameserver 192.0.2.7\n";
        assert_eq!(
            own(mixed, Some("nameserver 192.0.2.1\n"), &dns, true).text,
            "nameserver 192.0.2.7\n"
        );
    }

    #[test]
    fn without_any_server_public_ones_are_taken_and_said() {
        for host in ["", "nameserver ::1\n", "nameserver 127.0.0.1\n"] {
            let conf = own(host, None, &DnsOptions::default(), true);
            assert_eq!(conf.text, "nameserver 8.8.8.8\nnameserver 8.8.4.4\n");
            assert_eq!(conf.notices.len(), 1);
        }
    }

    #[test]
    fn what_is_asked_for_replaces_the_hosts() {
        let asked = DnsOptions {
            servers: vec!["127.0.0.11".parse().unwrap(), "fd00::1".parse().unwrap()],
            search: vec![".".to_owned()],
            options: vec!["ndots:5".to_owned()],
        };
        let host = "nameserver 127.0.0.1\nsearch lan\noptions rotate\n";
        let conf = own(host, None, &asked, false);
        assert_eq!(conf.text, "nameserver 127.0.0.11\nnameserver fd00::1\noptions ndots:5\n");
        assert!(conf.notices.is_empty());
    }

    #[test]
    fn no_line_can_be_smuggled_in() {
        let asked =
            DnsOptions { search: vec!["a\nnameserver 6.6.6.6".to_owned()], ..Default::default() };
        let error =
            ResolvConf::for_own_network(&HostResolver::default(), &asked, true).unwrap_err();
        assert_eq!(error.to_string(), "--dns-search \"a\\nnameserver 6.6.6.6\": must be one word");
    }

    #[test]
    fn on_the_hosts_network_its_file_is_unchanged() {
        let text = "# mine\nnameserver 127.0.0.1\n";
        let host = HostResolver { resolv_conf: text.to_owned(), upstream: None };
        let conf = ResolvConf::for_host_network(&host, &DnsOptions::default()).unwrap();
        assert_eq!(conf.text, text);
    }
}
