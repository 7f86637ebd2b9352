//! The parts of the API.

pub(crate) mod archive;
pub(crate) mod attach;
pub(crate) mod buildkit;
pub(crate) mod checkpoint;
pub(crate) mod container;
pub(crate) mod create;
pub(crate) mod events;
pub(crate) mod exec;
pub(crate) mod image;
pub(crate) mod inspect;
pub(crate) mod list;
pub(crate) mod logs;
pub(crate) mod metrics;
pub(crate) mod network;
pub(crate) mod stats;
pub(crate) mod swarm;
pub(crate) mod system;
pub(crate) mod volume;
pub(crate) mod wait;
