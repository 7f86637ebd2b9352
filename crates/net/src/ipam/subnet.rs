//! Subnets: an address and a prefix length, IPv4 or IPv6, and arithmetic on them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// A subnet in CIDR form (RFC 4632, RFC 4291 section 2.3): no host bit is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Subnet {
    base: IpAddr,
    prefix: u8,
}

impl Subnet {
    /// The subnet of that prefix length which holds `address`; a length beyond
    /// the family's (32 or 128) is taken as that.
    #[must_use]
    pub fn around(address: IpAddr, prefix: u8) -> Self {
        let prefix = prefix.min(width(address));
        let host_bits = u32::from(width(address) - prefix);
        let mask = u128::MAX.checked_shl(host_bits).unwrap_or(0);
        Self { base: from_number(number(address) & mask, address.is_ipv6()), prefix }
    }

    /// The lowest address, all host bits 0.
    #[must_use]
    pub fn base(&self) -> IpAddr {
        self.base
    }

    /// The prefix length in bits.
    #[must_use]
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// Whether this is an IPv6 subnet.
    #[must_use]
    pub fn is_ipv6(&self) -> bool {
        self.base.is_ipv6()
    }

    /// The highest address; in IPv4 the broadcast address.
    #[must_use]
    pub fn last(&self) -> IpAddr {
        from_number(number(self.base) + (self.size_less_one()), self.is_ipv6())
    }

    /// Whether `address` lies in it.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv6() == self.is_ipv6()
            && (number(self.base)..=number(self.last())).contains(&number(address))
    }

    /// Whether the two share an address.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.contains(other.base) || other.contains(self.base)
    }

    /// The address at an offset from the base, if it is inside.
    #[must_use]
    pub fn nth(&self, offset: u128) -> Option<IpAddr> {
        (offset <= self.size_less_one())
            .then(|| from_number(number(self.base) + offset, self.is_ipv6()))
    }

    /// The offset of an address inside from the base.
    #[must_use]
    pub fn offset(&self, address: IpAddr) -> Option<u128> {
        self.contains(address).then(|| number(address) - number(self.base))
    }

    /// The offsets that a host may have: in IPv4 neither the base nor the
    /// broadcast address, in IPv6 not the base, which is the subnet-router
    /// anycast address (RFC 4291 section 2.6.1).
    pub(crate) fn host_offsets(&self) -> (u128, u128) {
        let top = self.size_less_one();
        (1, if self.is_ipv6() { top } else { top.saturating_sub(1) })
    }

    fn size_less_one(&self) -> u128 {
        let host_bits = u32::from(width(self.base) - self.prefix);
        u128::MAX.checked_shr(128 - host_bits).unwrap_or(0)
    }
}

/// An address as it stands in a packet.
pub(crate) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// The netmask, as long as an address.
pub(crate) fn mask(subnet: &Subnet) -> Vec<u8> {
    let host_bits = u32::from(width(subnet.base) - subnet.prefix);
    let mask = u128::MAX.checked_shl(host_bits).unwrap_or(0);
    octets(from_number(mask, subnet.is_ipv6()))
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv6() { 128 } else { 32 }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6),
    }
}

fn from_number(number: u128, is_ipv6: bool) -> IpAddr {
    if is_ipv6 {
        IpAddr::V6(Ipv6Addr::from(number))
    } else {
        IpAddr::V4(Ipv4Addr::from(number as u32))
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.prefix)
    }
}

impl FromStr for Subnet {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let invalid =
            |reason: String| Error::Invalid { property: "subnet", value: text.to_owned(), reason };
        let (address, prefix) = text
            .split_once('/')
            .ok_or_else(|| invalid("no prefix length (as in 172.30.0.0/24)".to_owned()))?;
        let address: IpAddr =
            address.parse().map_err(|_| invalid("not an IPv4 or IPv6 address".to_owned()))?;
        let prefix: u8 = prefix
            .parse()
            .ok()
            .filter(|&p| p <= width(address))
            .ok_or_else(|| invalid(format!("prefix length is not 0 to {}", width(address))))?;
        let subnet = Self::around(address, prefix);
        if subnet.base != address {
            return Err(invalid(format!("has host bits set, did you mean {subnet}?")));
        }
        Ok(subnet)
    }
}

impl TryFrom<String> for Subnet {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<Subnet> for String {
    fn from(subnet: Subnet) -> Self {
        subnet.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(text: &str) -> Subnet {
        text.parse().unwrap()
    }

    #[test]
    fn parses_only_whole_subnets() {
        assert_eq!(subnet("10.1.2.0/24").to_string(), "10.1.2.0/24");
        assert_eq!(subnet("fd00:1::/64").to_string(), "fd00:1::/64");
        let wrong = [
            ("10.1.2.0", "subnet 10.1.2.0: no prefix length (as in 172.30.0.0/24)"),
            ("10.1.2.3/24", "subnet 10.1.2.3/24: has host bits set, did you mean 10.1.2.0/24?"),
            ("10.1.2.0/33", "subnet 10.1.2.0/33: prefix length is not 0 to 32"),
            ("fd00::/129", "subnet fd00::/129: prefix length is not 0 to 128"),
            ("10.1/16", "subnet 10.1/16: not an IPv4 or IPv6 address"),
        ];
        for (text, message) in wrong {
            assert_eq!(text.parse::<Subnet>().unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn knows_its_edges() {
        assert_eq!(subnet("10.1.2.0/24").last().to_string(), "10.1.2.255");
        assert_eq!(subnet("10.1.2.4/32").last().to_string(), "10.1.2.4");
        assert_eq!(subnet("0.0.0.0/0").last().to_string(), "255.255.255.255");
        assert_eq!(subnet("::/0").last().to_string(), "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
        assert_eq!(subnet("10.0.0.0/30").host_offsets(), (1, 2));
        assert_eq!(subnet("fd00::/126").host_offsets(), (1, 3));
        assert_eq!(subnet("10.0.0.0/30").nth(4), None);
    }

    #[test]
    fn overlap_needs_one_family() {
        assert!(subnet("10.0.0.0/8").overlaps(&subnet("10.9.0.0/16")));
        assert!(subnet("10.9.0.0/16").overlaps(&subnet("10.0.0.0/8")));
        assert!(!subnet("10.9.0.0/16").overlaps(&subnet("10.10.0.0/16")));
        assert!(!subnet("0.0.0.0/0").overlaps(&subnet("::/0")));
    }
}
