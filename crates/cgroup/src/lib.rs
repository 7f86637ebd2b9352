//! Where a container's cgroup is (v1, v2, hybrid, systemd) and what is written there.
//!
//! [`Layout::detect`] looks at the host, [`plan`] decides without touching
//! anything, [`CgroupPlan::create`] makes the cgroup or leaves nothing, and
//! [`Cgroup`] is the record by which later commands find it again.

#![deny(clippy::print_stderr, clippy::print_stdout, reason = "both panic where nobody reads")]

mod cgroup;
mod controller;
mod create;
mod delegation;
mod devices;
mod error;
mod freeze;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzz;
#[cfg(test)]
mod fuzz_smoke;
mod kernfs;
mod layout;
mod limit;
mod oom;
mod path;
mod plan;
mod process;
mod rdt;
mod remove;
mod resources;
mod setting;
pub mod stats;
mod systemd;
mod update;
mod v1;
mod v2;
mod wait;

pub use cgroup::{Cgroup, Entry};
pub use create::DeviceGuard;
pub use error::Error;
pub use layout::{Delegated, Hierarchy, Layout, Unified};
pub use oom::OomWatch;
pub use plan::{CgroupPlan, Manager, Request, V1, plan};
pub use process::signal_listed;
pub use rdt::Rdt;
pub use stats::Stats;
pub use systemd::{Failure, Placeholder, Unit};
