//! rtnetlink(7): the few requests about links and addresses that moving a
//! device takes, over one blocking socket.

use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{self, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

/// `NLMSG_ERROR` and `NLMSG_DONE`, linux/netlink.h.
const ERROR: u16 = 2;
const DONE: u16 = 3;

/// Length of `struct nlmsghdr`, of `struct rtattr`, of `struct ifinfomsg` and of
/// `struct ifaddrmsg`. Everything in a message begins at a multiple of four.
const HEADER: usize = 16;
const ATTRIBUTE: usize = 4;
const LINK: usize = 16;
const ADDRESS: usize = 8;

const REQUEST: u16 = libc::NLM_F_REQUEST as u16;
const ACK: u16 = libc::NLM_F_ACK as u16;
const DUMP: u16 = libc::NLM_F_DUMP as u16;
const MAKE: u16 = (libc::NLM_F_CREATE | libc::NLM_F_EXCL) as u16;

/// A network device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its number in its network namespace.
    pub index: i32,
    /// `IFF_*`, netdevice(7).
    pub flags: u32,
    /// Its name.
    pub name: String,
}

/// An address of a device: the fields of `struct ifaddrmsg` and the attributes
/// that its owner has set, as the kernel gave them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// The device's index.
    pub index: i32,
    /// `AF_*`.
    pub family: u8,
    /// Length of the prefix in bits.
    pub prefix: u8,
    /// `RT_SCOPE_*`.
    pub scope: u8,
    /// `IFA_F_*`.
    pub flags: u32,
    /// Type and value of each attribute but `IFA_FLAGS`, `IFA_LABEL` and `IFA_CACHEINFO`.
    pub attributes: Vec<(u16, Vec<u8>)>,
}

/// A change of a device; what is None stays.
#[derive(Debug, Default)]
pub struct Change<'a> {
    /// The namespace of this process, in the caller's pid namespace, to move to.
    pub namespace_of: Option<i32>,
    /// The index to have there.
    pub new_index: Option<i32>,
    /// The name to have then; one `%d` in it stands for the first number that is free.
    pub name: Option<&'a str>,
    /// Up or down.
    pub up: Option<bool>,
}

/// A socket in one network namespace: that in which it was made.
#[derive(Debug)]
pub struct Socket(OwnedFd);

impl Socket {
    /// A socket in the network namespace of this process.
    pub fn open() -> Result<Self, Errno> {
        // NETLINK_ROUTE is protocol 0.
        net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)
            .map(Self)
    }

    /// The device of this name; ENODEV where there is none.
    pub fn link(&self, name: &str) -> Result<Link, Errno> {
        let mut request = Message::new(libc::RTM_GETLINK, REQUEST | ACK);
        request.link(0, 0, 0);
        request.attribute(libc::IFLA_IFNAME, &name_bytes(name));
        let replies = self.exchange(request)?;
        replies.iter().find_map(|(kind, body)| parse_link(*kind, body)).ok_or(Errno::NODEV)
    }

    /// All devices.
    pub fn links(&self) -> Result<Vec<Link>, Errno> {
        let mut request = Message::new(libc::RTM_GETLINK, REQUEST | DUMP);
        request.link(0, 0, 0);
        let replies = self.exchange(request)?;
        Ok(replies.iter().filter_map(|(kind, body)| parse_link(*kind, body)).collect())
    }

    /// All addresses of one device.
    pub fn addresses(&self, index: i32) -> Result<Vec<Address>, Errno> {
        let mut request = Message::new(libc::RTM_GETADDR, REQUEST | DUMP);
        request.0.extend([0; ADDRESS]);
        let replies = self.exchange(request)?;
        Ok(replies
            .iter()
            .filter_map(|(kind, body)| parse_address(*kind, body))
            .filter(|address| address.index == index)
            .collect())
    }

    /// Changes the device of this index.
    pub fn change(&self, index: i32, change: &Change<'_>) -> Result<(), Errno> {
        let (flags, mask) = match change.up {
            None => (0, 0),
            Some(up) => (if up { libc::IFF_UP } else { 0 }, libc::IFF_UP),
        };
        let mut request = Message::new(libc::RTM_SETLINK, REQUEST | ACK);
        request.link(index, flags as u32, mask as u32);
        if let Some(pid) = change.namespace_of {
            request.attribute(libc::IFLA_NET_NS_PID, &pid.to_ne_bytes());
        }
        if let Some(index) = change.new_index {
            request.attribute(libc::IFLA_NEW_IFINDEX, &index.to_ne_bytes());
        }
        if let Some(name) = change.name {
            request.attribute(libc::IFLA_IFNAME, &name_bytes(name));
        }
        self.exchange(request).map(drop)
    }

    /// Gives a device an address; EEXIST where it has it.
    pub fn add(&self, address: &Address) -> Result<(), Errno> {
        let mut request = Message::new(libc::RTM_NEWADDR, REQUEST | ACK | MAKE);
        let Address { index, family, prefix, scope, flags, .. } = *address;
        request.0.extend([family, prefix, flags as u8, scope]);
        request.0.extend(index.to_ne_bytes());
        request.attribute(libc::IFA_FLAGS, &flags.to_ne_bytes());
        for (kind, value) in &address.attributes {
            request.attribute(*kind, value);
        }
        self.exchange(request).map(drop)
    }

    /// Sends a request and collects what comes back up to its end: `NLMSG_DONE`
    /// of a dump, the acknowledgement of anything else.
    fn exchange(&self, request: Message) -> Result<Vec<(u16, Vec<u8>)>, Errno> {
        net::send(&self.0, &request.finish(), SendFlags::empty())?;
        let mut replies = Vec::new();
        let mut buffer = vec![0; 64 << 10];
        loop {
            let received =
                rustix::io::retry_on_intr(|| net::recv(&self.0, &mut buffer[..], RecvFlags::TRUNC));
            let (_, length) = received?;
            let packet = buffer.get(..length).ok_or(Errno::MSGSIZE)?;
            for (kind, body) in messages(packet) {
                match kind {
                    DONE => return Ok(replies),
                    ERROR => {
                        let code = body.first_chunk().copied().map_or(0, i32::from_ne_bytes);
                        return match code {
                            0 => Ok(replies),
                            code => Err(Errno::from_raw_os_error(code.wrapping_neg())),
                        };
                    }
                    _ => replies.push((kind, body.to_vec())),
                }
            }
        }
    }
}

/// A request in the making.
struct Message(Vec<u8>);

impl Message {
    fn new(kind: u16, flags: u16) -> Self {
        let mut bytes = vec![0; 4];
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        // Sequence number and port: one request at a time, and the kernel knows the port.
        bytes.extend([0; 8]);
        Self(bytes)
    }

    fn link(&mut self, index: i32, flags: u32, mask: u32) {
        self.0.extend([0; 4]);
        self.0.extend(index.to_ne_bytes());
        self.0.extend(flags.to_ne_bytes());
        self.0.extend(mask.to_ne_bytes());
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) {
        self.0.extend(((ATTRIBUTE + value.len()) as u16).to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    fn finish(mut self) -> Vec<u8> {
        let length = (self.0.len() as u32).to_ne_bytes();
        self.0[..4].copy_from_slice(&length);
        self.0
    }
}

fn name_bytes(name: &str) -> Vec<u8> {
    [name.as_bytes(), b"\0"].concat()
}

/// Type and body of each message in a packet.
fn messages(mut packet: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(*packet.first_chunk()?) as usize;
        let kind = u16::from_ne_bytes(*packet.get(4..)?.first_chunk()?);
        let body = packet.get(HEADER..length)?;
        packet = packet.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, body))
    })
}

/// Type and value of each attribute.
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(*bytes.first_chunk()?));
        let kind = u16::from_ne_bytes(*bytes.get(2..)?.first_chunk()?);
        let value = bytes.get(ATTRIBUTE..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

fn parse_link(kind: u16, body: &[u8]) -> Option<Link> {
    if kind != libc::RTM_NEWLINK {
        return None;
    }
    let index = i32::from_ne_bytes(*body.get(4..)?.first_chunk()?);
    let flags = u32::from_ne_bytes(*body.get(8..)?.first_chunk()?);
    let (_, name) =
        attributes(body.get(LINK..)?).find(|(attribute, _)| *attribute == libc::IFLA_IFNAME)?;
    let name = String::from_utf8_lossy(name.strip_suffix(b"\0").unwrap_or(name)).into_owned();
    Some(Link { index, flags, name })
}

fn parse_address(kind: u16, body: &[u8]) -> Option<Address> {
    if kind != libc::RTM_NEWADDR {
        return None;
    }
    let [family, prefix, flags, scope] = *body.first_chunk()?;
    let mut address = Address {
        index: i32::from_ne_bytes(*body.get(4..)?.first_chunk()?),
        family,
        prefix,
        scope,
        flags: u32::from(flags),
        attributes: Vec::new(),
    };
    for (attribute, value) in attributes(body.get(ADDRESS..)?) {
        match attribute {
            // All 32 flags; the byte above has the first eight.
            libc::IFA_FLAGS => address.flags = u32::from_ne_bytes(*value.first_chunk()?),
            libc::IFA_LABEL | libc::IFA_CACHEINFO => {}
            _ => address.attributes.push((attribute, value.to_vec())),
        }
    }
    Some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_laid_out_as_the_kernel_reads_it() {
        let mut request = Message::new(libc::RTM_SETLINK, REQUEST | ACK);
        request.link(7, 1, 1);
        request.attribute(libc::IFLA_IFNAME, &name_bytes("eth0"));
        let bytes = request.finish();
        let read: Vec<_> = messages(&bytes).collect();
        assert_eq!(bytes.len(), HEADER + LINK + 12);
        assert_eq!(read.len(), 1);
        let (kind, body) = read[0];
        assert_eq!(kind, libc::RTM_SETLINK);
        assert_eq!(body[4..8], 7i32.to_ne_bytes());
        assert_eq!(attributes(&body[LINK..]).collect::<Vec<_>>(), [(3, &b"eth0\0"[..])]);
    }

    #[test]
    fn an_address_is_read_with_all_its_flags() {
        let mut message = Message::new(libc::RTM_NEWADDR, 0);
        message.0.extend([10, 64, 0x80, 0]);
        message.0.extend(3i32.to_ne_bytes());
        message.attribute(libc::IFA_ADDRESS, &[0xfd; 16]);
        message.attribute(libc::IFA_LABEL, b"eth0\0");
        message.attribute(libc::IFA_FLAGS, &0x280u32.to_ne_bytes());
        let bytes = message.finish();
        let (kind, body) = messages(&bytes).next().unwrap();
        let address = parse_address(kind, body).unwrap();
        assert_eq!((address.index, address.prefix, address.flags), (3, 64, 0x280));
        assert_eq!(address.attributes, [(libc::IFA_ADDRESS, vec![0xfd; 16])]);
    }

    #[test]
    fn no_packet_is_trusted() {
        let mut request = Message::new(libc::RTM_NEWLINK, 0);
        request.link(1, 0, 0);
        request.attribute(libc::IFLA_IFNAME, b"lo\0");
        let whole = request.finish();
        for length in 0..whole.len() {
            for (kind, body) in messages(&whole[..length]) {
                assert_eq!(parse_link(kind, body), None);
            }
        }
        // A length of zero must not be read for ever.
        assert_eq!(messages(&[0; 64]).count(), 0);
        assert_eq!(attributes(&[0; 64]).count(), 0);
        let _ = messages(&[255; 64]).count();
        let _ = attributes(&[255; 64]).count();
    }

    #[test]
    fn loopback_is_there() {
        let socket = Socket::open().unwrap();
        let loopback = socket.link("lo").unwrap();
        assert_eq!(loopback.name, "lo");
        assert!(socket.links().unwrap().contains(&loopback));
        assert_eq!(socket.link("husk-none").err(), Some(Errno::NODEV));
    }
}
