//! What a container's monitor does for its network as long as the container runs.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

use crate::dns::{Config, DnsServer};
use crate::error::{Error, Result};
use crate::networks::Networks;
use crate::nft::watch::Watch;
use crate::ports::claim::Claim;
use crate::ports::proxy::LoopbackProxy;

/// Serves a container's published ports on loopback and the names of its neighbours, and
/// takes part in watching the host's packet filter. No thread: poll its descriptor, and call [`Self::dispatch`] when
/// it is readable or [`Self::timeout`] has passed. Drop it before
/// [`Networks::tear_down`]. It belongs to the host's network namespace.
#[derive(Debug)]
pub struct Service {
    epoll: OwnedFd,
    proxy: Option<LoopbackProxy>,
    names: Option<DnsServer>,
    watch: Watch,
}

impl Service {
    /// For a container whose networks are set up; `names` if it is on a network with names.
    ///
    /// # Errors
    ///
    /// [`Error::PortRefused`] with the errno of bind(2); those of [`DnsServer::start`].
    pub fn start(networks: &Networks, claims: &[Claim], names: Option<Config>) -> Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC).map_err(failed)?;
        let proxy = LoopbackProxy::bind(claims)?;
        if let Some(proxy) = &proxy {
            epoll::add(&epoll, proxy, EventData::new_u64(0), EventFlags::IN).map_err(failed)?;
        }
        let names = names.map(DnsServer::start).transpose()?;
        if let Some(names) = &names {
            epoll::add(&epoll, names, EventData::new_u64(2), EventFlags::IN).map_err(failed)?;
        }
        Ok(Self { epoll, proxy, names, watch: Watch::new(networks.clone()) })
    }

    /// How long until [`Self::dispatch`] wants to be called though nothing is
    /// readable; `None` is for ever.
    #[must_use]
    pub fn timeout(&self) -> Option<Duration> {
        let proxy = self.proxy.as_ref().and_then(LoopbackProxy::timeout);
        let names = self.names.as_ref().and_then(DnsServer::timeout);
        [proxy, names, self.watch.timeout()].into_iter().flatten().min()
    }

    /// Does what is to be done, without waiting. The ports are served whatever becomes
    /// of the watch over the rules.
    ///
    /// # Errors
    ///
    /// What the kernel refused. It may be called again, and then tries again.
    pub fn dispatch(&mut self) -> Result<()> {
        let served = self.proxy.as_mut().map_or(Ok(()), LoopbackProxy::dispatch);
        let watched = self.dispatch_watch();
        let answered = self.names.as_mut().map_or(Ok(()), DnsServer::dispatch);
        served.and(answered).and(watched)
    }

    fn dispatch_watch(&mut self) -> Result<()> {
        loop {
            if !self.watch.dispatch()? {
                return Ok(());
            }
            // The descriptor before was closed, and has left the set by itself.
            if let Some(fd) = self.watch.descriptor() {
                // The FIFO stays in error until someone watches again: told once.
                let flags = EventFlags::IN | EventFlags::ET;
                epoll::add(&self.epoll, fd, EventData::new_u64(1), flags).map_err(failed)?;
            }
            if self.watch.timeout().is_none_or(|rest| !rest.is_zero()) {
                return Ok(());
            }
        }
    }
}

fn failed(errno: rustix::io::Errno) -> Error {
    Error::system("watch a container's network (epoll)", errno)
}

/// Readable when [`Service::dispatch`] has something to do.
impl AsFd for Service {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}
