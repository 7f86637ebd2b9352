//! The engine and its host as a whole: what they are, and what is on the disk.

mod info;
mod usage;

pub use info::{Info, Version, info, total_memory, version};
pub use usage::{DiskUsage, Share, disk_usage};
