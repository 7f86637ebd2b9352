//! Rules: expressions on registers, named as in nft(8)
//! (linux/netfilter/nf_tables.h `nft_*_attributes`).

use super::batch::Attributes;

/// The first four-byte register, and registers count up in fours.
pub(crate) const REG: u32 = 8;
const REG_VERDICT: u32 = 0;

const META_PROTOCOL: u32 = 1;
const META_L4PROTO: u32 = 16;
const META_NFPROTO: u32 = 15;
const META_IIFNAME: u32 = 6;
const META_OIFNAME: u32 = 7;
const LINK_HEADER: u32 = 0;
const NETWORK_HEADER: u32 = 1;
const TRANSPORT_HEADER: u32 = 2;
const CT_STATE: u32 = 0;
const CT_STATUS: u32 = 2;
/// nf_conntrack_common.h: bits of `NF_CT_STATE_BIT(IP_CT_ESTABLISHED)` and `IP_CT_RELATED`.
const ESTABLISHED_RELATED: u32 = 2 | 4;
const IPS_DST_NAT: u32 = 32;
const NFPROTO_IPV4: u8 = 2;
const NFPROTO_IPV6: u8 = 10;
const RTN_LOCAL: u32 = 2;
const IPPROTO_ICMPV6: u8 = 58;
/// A link's name takes sixteen bytes.
const IFNAME_REGISTERS: u32 = 4;

/// What becomes of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict<'a> {
    Accept,
    Drop,
    Return,
    Jump(&'a str),
}

impl Verdict<'_> {
    pub(crate) fn encode(&self, out: &mut Attributes) {
        let code: i32 = match self {
            Self::Drop => 0,
            Self::Accept => 1,
            Self::Jump(_) => -3,
            Self::Return => -5,
        };
        // NFTA_DATA_VERDICT { NFTA_VERDICT_CODE, NFTA_VERDICT_CHAIN }
        out.nest(2, |data| {
            data.number(1, code as u32);
            if let Self::Jump(chain) = self {
                data.text(2, chain);
            }
        });
    }
}

/// A rule under construction: what must hold, then what is done.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Rule {
    expressions: Attributes,
}

impl Rule {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// The value of NFTA_RULE_EXPRESSIONS.
    pub(crate) fn expressions(&self) -> &Attributes {
        &self.expressions
    }

    fn add(mut self, name: &str, build: impl FnOnce(&mut Attributes)) -> Self {
        // NFTA_LIST_ELEM { NFTA_EXPR_NAME, NFTA_EXPR_DATA }
        self.expressions.nest(1, |element| {
            element.text(1, name).nest(2, build);
        });
        self
    }

    fn meta(self, key: u32, register: u32) -> Self {
        self.add("meta", |e| {
            e.number(1, register).number(2, key);
        })
    }

    fn compare(self, different: bool, value: &[u8]) -> Self {
        self.add("cmp", |e| {
            e.number(1, REG).number(2, u32::from(different)).nest(3, |data| {
                data.bytes(1, value);
            });
        })
    }

    fn payload(self, header: u32, offset: u32, length: u32, register: u32) -> Self {
        self.add("payload", |e| {
            e.number(1, register).number(2, header).number(3, offset).number(4, length);
        })
    }

    fn mask(self, mask: &[u8]) -> Self {
        self.add("bitwise", |e| {
            e.number(1, REG).number(2, REG).number(3, mask.len() as u32);
            e.nest(4, |data| {
                data.bytes(1, mask);
            });
            e.nest(5, |data| {
                data.bytes(1, &vec![0; mask.len()]);
            });
        })
    }

    fn any_bit(self, bits: u32) -> Self {
        self.mask(&bits.to_ne_bytes()).compare(true, &[0; 4])
    }

    fn ct(self, key: u32) -> Self {
        self.add("ct", |e| {
            e.number(1, REG).number(2, key);
        })
    }

    /// `meta nfproto ipv4` or `ipv6`.
    pub(crate) fn family(self, ipv6: bool) -> Self {
        self.meta(META_NFPROTO, REG)
            .compare(false, &[if ipv6 { NFPROTO_IPV6 } else { NFPROTO_IPV4 }])
    }

    /// `iifname NAME`.
    pub(crate) fn iifname(self, name: &str) -> Self {
        self.meta(META_IIFNAME, REG).compare(false, &link_name(name))
    }

    /// `oifname NAME`.
    pub(crate) fn oifname(self, name: &str) -> Self {
        self.meta(META_OIFNAME, REG).compare(false, &link_name(name))
    }

    /// `-i NAME`: iptables compares a name with its NUL, and no further.
    pub(crate) fn iifname_as_iptables(self, name: &str) -> Self {
        self.meta(META_IIFNAME, REG).compare(false, &c_string(name))
    }

    /// `-o NAME`.
    pub(crate) fn oifname_as_iptables(self, name: &str) -> Self {
        self.meta(META_OIFNAME, REG).compare(false, &c_string(name))
    }

    /// `-m conntrack --ctstate RELATED,ESTABLISHED,DNAT` (`xt_conntrack_mtinfo3` of
    /// linux/netfilter/xt_conntrack.h): iptables does not read nft's own expression.
    pub(crate) fn xt_conntrack_answered_or_published(self) -> Self {
        const SIZE: usize = 164;
        const MATCH_FLAGS: usize = 146;
        const STATE_MASK: usize = 150;
        const MATCH_STATE: u16 = 1;
        const ESTABLISHED: u16 = 1 << 1;
        const RELATED: u16 = 1 << 2;
        const DNAT: u16 = 1 << 7;
        let mut info = [0; SIZE];
        let mut put = |at: usize, value: u16| {
            info.iter_mut().skip(at).zip(value.to_ne_bytes()).for_each(|(to, from)| *to = from);
        };
        put(MATCH_FLAGS, MATCH_STATE);
        put(STATE_MASK, ESTABLISHED | RELATED | DNAT);
        self.add("match", |e| {
            e.text(1, "conntrack").number(2, 3).bytes(3, &info);
        })
    }

    /// `meta protocol NUMBER` (linux/if_ether.h).
    pub(crate) fn protocol(self, number: u16) -> Self {
        self.meta(META_PROTOCOL, REG).compare(false, &number.to_be_bytes())
    }

    /// `icmpv6 type NUMBER`.
    pub(crate) fn icmpv6(self, kind: u8) -> Self {
        self.meta(META_L4PROTO, REG)
            .compare(false, &[IPPROTO_ICMPV6])
            .payload(TRANSPORT_HEADER, 0, 1, REG)
            .compare(false, &[kind])
    }

    /// The target of a neighbour advertisement lies in a subnet.
    pub(crate) fn icmpv6_target(self, subnet: &crate::Subnet) -> Self {
        self.payload(TRANSPORT_HEADER, 8, 16, REG).within(subnet)
    }

    /// `ip6 saddr SUBNET`, where the protocol is known.
    pub(crate) fn bridged_source(self, subnet: &crate::Subnet) -> Self {
        let (offset, length) = address_field(subnet.is_ipv6(), false);
        self.payload(NETWORK_HEADER, offset, length, REG).within(subnet)
    }

    /// `iifname @SET`.
    pub(crate) fn iifname_in(self, set: &str) -> Self {
        self.meta(META_IIFNAME, REG).member(set, false)
    }

    /// `iifname . ether saddr != @SET`.
    pub(crate) fn iifname_and_ether_source_not_in(self, set: &str) -> Self {
        self.iifname_and(LINK_HEADER, 6, 6, set)
    }

    /// `iifname . arp saddr ether != @SET` (RFC 826: after two types, two lengths and the
    /// operation).
    pub(crate) fn iifname_and_arp_hardware_not_in(self, set: &str) -> Self {
        self.iifname_and(NETWORK_HEADER, 8, 6, set)
    }

    /// `iifname . arp saddr ip != @SET`.
    pub(crate) fn iifname_and_arp_address_not_in(self, set: &str) -> Self {
        self.iifname_and(NETWORK_HEADER, 14, 4, set)
    }

    /// `iifname . ip saddr != @SET` or `ip6 saddr`.
    pub(crate) fn iifname_and_source_not_in(self, ipv6: bool, set: &str) -> Self {
        let (offset, length) = address_field(ipv6, false);
        self.iifname_and(NETWORK_HEADER, offset, length, set)
    }

    /// `iifname . icmpv6 taddr != @SET`.
    pub(crate) fn iifname_and_icmpv6_target_not_in(self, set: &str) -> Self {
        self.iifname_and(TRANSPORT_HEADER, 8, 16, set)
    }

    fn iifname_and(self, header: u32, offset: u32, length: u32, set: &str) -> Self {
        self.meta(META_IIFNAME, REG)
            .payload(header, offset, length, REG + IFNAME_REGISTERS)
            .member(set, true)
    }

    fn member(self, set: &str, inverted: bool) -> Self {
        self.add("lookup", |e| {
            e.text(1, set).number(2, REG);
            if inverted {
                // NFT_LOOKUP_F_INV.
                e.number(5, 1);
            }
        })
    }

    /// `ct state established,related`.
    pub(crate) fn established(self) -> Self {
        self.ct(CT_STATE).any_bit(ESTABLISHED_RELATED)
    }

    /// `ct status dnat`: a connection to a published port.
    pub(crate) fn published(self) -> Self {
        self.ct(CT_STATUS).any_bit(IPS_DST_NAT)
    }

    /// `ip saddr SUBNET`.
    pub(crate) fn saddr(self, subnet: &crate::Subnet) -> Self {
        self.in_subnet(subnet, false)
    }

    /// `ip daddr SUBNET`.
    pub(crate) fn daddr(self, subnet: &crate::Subnet) -> Self {
        self.in_subnet(subnet, true)
    }

    fn in_subnet(self, subnet: &crate::Subnet, destination: bool) -> Self {
        let (offset, length) = address_field(subnet.is_ipv6(), destination);
        self.family(subnet.is_ipv6()).payload(NETWORK_HEADER, offset, length, REG).within(subnet)
    }

    /// What has been loaded is an address of the subnet.
    fn within(self, subnet: &crate::Subnet) -> Self {
        let mask = crate::ipam::subnet::mask(subnet);
        let rule = if mask.iter().all(|&b| b == 0xff) { self } else { self.mask(&mask) };
        rule.compare(false, &crate::ipam::subnet::octets(subnet.base()))
    }

    /// `fib daddr type local`: to one of the host's own addresses.
    pub(crate) fn daddr_is_local(self) -> Self {
        self.add("fib", |e| {
            // NFT_FIB_RESULT_ADDRTYPE of NFTA_FIB_F_DADDR.
            e.number(1, REG).number(2, 3).number(3, 2);
        })
        .compare(false, &RTN_LOCAL.to_ne_bytes())
    }

    /// `iifname vmap @SET` or `oifname vmap @SET`.
    pub(crate) fn by_link(self, outgoing: bool, set: &str) -> Self {
        self.meta(if outgoing { META_OIFNAME } else { META_IIFNAME }, REG).look_up(set, REG_VERDICT)
    }

    fn look_up(self, set: &str, to: u32) -> Self {
        self.add("lookup", |e| {
            e.text(1, set).number(2, REG).number(3, to);
        })
    }

    /// `dnat to [ip daddr .] meta l4proto . th dport map @SET`: the value is an
    /// address and a port.
    pub(crate) fn dnat_by(self, ipv6: bool, with_address: bool, set: &str) -> Self {
        let mut rule = self.family(ipv6);
        let mut register = REG;
        if with_address {
            let (offset, length) = address_field(ipv6, true);
            rule = rule.payload(NETWORK_HEADER, offset, length, register);
            register += length / 4;
        }
        let port = REG + if ipv6 { 4 } else { 1 };
        rule.meta(META_L4PROTO, register)
            .payload(TRANSPORT_HEADER, 2, 2, register + 1)
            .look_up(set, REG)
            .add("nat", |e| {
                let family = if ipv6 { NFPROTO_IPV6 } else { NFPROTO_IPV4 };
                // NFT_NAT_DNAT, family, NFTA_NAT_REG_ADDR_MIN, NFTA_NAT_REG_PROTO_MIN.
                e.number(1, 1).number(2, u32::from(family)).number(3, REG).number(5, port);
            })
    }

    /// `udp dport PORT` or `tcp dport PORT`.
    pub(crate) fn port(self, protocol: crate::Protocol, port: u16) -> Self {
        self.meta(META_L4PROTO, REG)
            .compare(false, &[protocol.number()])
            .payload(TRANSPORT_HEADER, 2, 2, REG)
            .compare(false, &port.to_be_bytes())
    }

    /// `dnat to ADDRESS:PORT`.
    pub(crate) fn dnat_to(self, address: std::net::IpAddr, port: u16) -> Self {
        let octets = crate::ipam::subnet::octets(address);
        let port_register = REG + octets.len() as u32 / 4;
        let family = if address.is_ipv6() { NFPROTO_IPV6 } else { NFPROTO_IPV4 };
        self.load(REG, &octets).load(port_register, &port.to_be_bytes()).add("nat", |e| {
            e.number(1, 1).number(2, u32::from(family)).number(3, REG).number(5, port_register);
        })
    }

    fn load(self, register: u32, value: &[u8]) -> Self {
        self.add("immediate", |e| {
            e.number(1, register).nest(2, |data| {
                data.bytes(1, value);
            });
        })
    }

    /// `masquerade`.
    pub(crate) fn masquerade(self) -> Self {
        self.add("masq", |_| {})
    }

    /// `counter`, as iptables-nft puts before every target.
    pub(crate) fn counter(self) -> Self {
        self.add("counter", |e| {
            e.bytes(1, &[0; 8]).bytes(2, &[0; 8]);
        })
    }

    pub(crate) fn verdict(self, verdict: &Verdict<'_>) -> Self {
        self.add("immediate", |e| {
            e.number(1, REG_VERDICT).nest(2, |data| verdict.encode(data));
        })
    }
}

/// Offset and length of an address in the IP header.
fn address_field(ipv6: bool, destination: bool) -> (u32, u32) {
    match (ipv6, destination) {
        (false, false) => (12, 4),
        (false, true) => (16, 4),
        (true, false) => (8, 16),
        (true, true) => (24, 16),
    }
}

fn c_string(name: &str) -> Vec<u8> {
    name.bytes().chain([0]).collect()
}

/// A link's name as the kernel compares it: 16 bytes, padded with zeros.
pub(crate) fn link_name(name: &str) -> [u8; 16] {
    let mut bytes = [0; 16];
    for (to, from) in bytes.iter_mut().take(15).zip(name.bytes()) {
        *to = from;
    }
    bytes
}
