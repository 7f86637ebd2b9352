//! The three files that tell a container its names: `/etc/resolv.conf`,
//! `/etc/hosts` and `/etc/hostname`. Text in, text out; who calls writes them
//! beside the container and bind-mounts them.

mod hostname;
mod hosts;
mod resolv_conf;

pub use hostname::{hostname_file, validate_hostname};
pub use hosts::{ExtraHost, HostsFile};
pub use resolv_conf::{DnsOptions, HostResolver, ResolvConf};
