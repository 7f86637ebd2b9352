//! `linux.netDevices`: network devices of the host that move into the
//! container's network namespace, config-linux.md, "Network Devices".
//!
//! The kernel takes a device's MTU and hardware address along, closes it, and
//! drops its addresses (dev_change_net_namespace). Those that are permanent and
//! of global scope are given back to it there, and it is opened.
//!
//! A device that has arrived is the namespace's: `delete` does not touch it, as
//! the specification asks. Only where `create` fails do devices go back.

use std::os::fd::{AsFd, BorrowedFd};

use husk_spec::NamespaceType;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::Pid;

use super::resolve::same_file;
use super::rtnetlink::{Address, Change, Link, Socket};
use crate::plan::clone_flag;
use crate::report::{self, Error, Result};

const RT_SCOPE_UNIVERSE: u8 = 0;

/// What the kernel finds out of itself and would not take from us:
/// `IFA_F_SECONDARY`, `DADFAILED`, `DEPRECATED` and `TENTATIVE`.
const OBSERVED: u32 =
    libc::IFA_F_SECONDARY | libc::IFA_F_DADFAILED | libc::IFA_F_DEPRECATED | libc::IFA_F_TENTATIVE;

/// A device as it was on the host.
#[derive(Debug)]
struct Device {
    link: Link,
    addresses: Vec<Address>,
}

/// A device that is in the container's namespace.
#[derive(Debug)]
struct Moved {
    device: Device,
    index: i32,
}

/// The way between the host's network namespace and the container's.
#[derive(Debug)]
pub struct Passage {
    /// The container's process.
    pid: i32,
    here: Socket,
    /// It keeps the namespace, and with it the devices, when the process is gone.
    there: Socket,
    moved: Vec<Moved>,
}

fn failed(name: &str, op: &'static str) -> impl Fn(Errno) -> Error {
    move |errno| {
        let error = Error::kernel(format_args!("linux.netDevices ({name})"), op, errno);
        match errno {
            Errno::PERM => error.hint("to move a network device takes CAP_NET_ADMIN on the host"),
            Errno::INVAL if op == "move" => {
                error.hint("the device belongs to its network namespace (loopback, a bridge, ...)")
            }
            _ => error,
        }
    }
}

impl Passage {
    /// Opens the way to the network namespace of a process.
    pub fn open(pid: Pid, pidfd: BorrowedFd<'_>) -> Result<Self> {
        let failed = |op: &'static str| move |errno| Error::kernel("linux.netDevices", op, errno);
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let own = rustix::fs::open(c"/proc/self/ns/net", flags, Mode::empty())
            .map_err(failed("open /proc/self/ns/net"))?;
        let here = Socket::open().map_err(failed("socket"))?;
        let flag = clone_flag(NamespaceType::Network);
        // A socket stays in the namespace that it was made in. This process is
        // single-threaded and does nothing else in the other one.
        husk_sys::namespace::setns(pidfd, flag).map_err(failed("setns"))?;
        let there = Socket::open();
        let same = rustix::fs::open(c"/proc/self/ns/net", flags, Mode::empty())
            .and_then(|namespace| same_file(namespace.as_fd(), own.as_fd()));
        husk_sys::namespace::setns(own.as_fd(), flag).map_err(failed("setns"))?;
        if same.map_err(failed("fstat /proc/self/ns/net"))? {
            return Err(Error::invalid(
                "linux.netDevices",
                "the container's network namespace is the one the devices are in already",
            ));
        }
        let pid = pid.as_raw_nonzero().get();
        Ok(Self { pid, here, there: there.map_err(failed("socket"))?, moved: Vec::new() })
    }

    /// Moves devices: pairs of the name on the host and in the container. What
    /// has moved when one fails is for [`Passage::back`].
    pub fn move_all(&mut self, devices: &[(String, String)]) -> Result<()> {
        for (name, new_name) in devices {
            self.move_in(name, new_name)?;
        }
        Ok(())
    }

    fn move_in(&mut self, name: &str, new_name: &str) -> Result<()> {
        let link = self.here.link(name).map_err(failed(name, "find"))?;
        let addresses = self.here.addresses(link.index).map_err(failed(name, "list addresses"))?;
        let there = self.there.links().map_err(failed(name, "list the container's devices"))?;
        if there.iter().any(|other| other.name == new_name) {
            return Err(Error::invalid(
                format_args!("linux.netDevices ({name})"),
                format_args!("the container has a device {new_name} already"),
            ));
        }
        // The kernel may give it another index there, so it is told one
        // (IFLA_NEW_IFINDEX, Linux 5.13): then it is found again whatever its name.
        let taken = |index: &i32| there.iter().any(|other| other.index == *index);
        let index = (link.index..i32::MAX).find(|index| !taken(index)).unwrap_or(link.index);
        let change = Change {
            namespace_of: Some(self.pid),
            new_index: Some(index),
            name: Some(new_name),
            up: None,
        };
        let moved = self.here.change(link.index, &change);
        // The move comes before the change of name, and stays where that fails.
        let arrived = moved.is_ok()
            || self.there.links().is_ok_and(|links| links.iter().any(|l| l.index == index));
        let device = Device { link, addresses };
        if arrived {
            self.moved.push(Moved { device, index });
        }
        moved.map_err(failed(name, "move"))?;
        match self.moved.last() {
            Some(moved) => moved.device.restore(&self.there, moved.index, true),
            None => Ok(()),
        }
    }

    /// Takes the devices back to where and what they were. What fails is a
    /// warning: the caller has a failure to tell of already.
    pub fn back(mut self) {
        let own = rustix::process::getpid().as_raw_nonzero().get();
        for Moved { device, index } in self.moved.drain(..).rev() {
            let name = device.link.name.as_str();
            let change = Change { namespace_of: Some(own), name: Some(name), ..Change::default() };
            let home = self
                .there
                .change(index, &change)
                .and_then(|()| self.here.link(name))
                .map_err(failed(name, "move back"));
            let up = device.link.flags & libc::IFF_UP as u32 != 0;
            if let Err(error) = home.and_then(|link| device.restore(&self.here, link.index, up)) {
                report::warning(error);
            }
        }
    }
}

impl Device {
    /// Gives it its addresses again and opens it.
    fn restore(&self, socket: &Socket, index: i32, up: bool) -> Result<()> {
        let name = self.link.name.as_str();
        for address in self.addresses.iter().filter(|address| is_lasting(address)) {
            let address = Address { index, flags: address.flags & !OBSERVED, ..address.clone() };
            match socket.add(&address) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(failed(name, "add its address")(errno)),
            }
        }
        if up {
            let change = Change { up: Some(true), ..Change::default() };
            socket.change(index, &change).map_err(failed(name, "set up"))?;
        }
        Ok(())
    }
}

/// The addresses that move along: config-linux.md, "Network Devices".
fn is_lasting(address: &Address) -> bool {
    address.flags & libc::IFA_F_PERMANENT != 0 && address.scope == RT_SCOPE_UNIVERSE
}
