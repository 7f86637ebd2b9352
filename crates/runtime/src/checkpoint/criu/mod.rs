//! CRIU, which writes processes down and makes them again: as a program of its own, spoken to
//! over a socket. Nothing of it is in this process.
//!
//! Its images are as trusted as a kernel module: it reads them as root. What this runtime does
//! about that stands in `names.rs` (what a name in a container can say to CRIU), `image.rs`
//! (what an image directory may contain) and `verify.rs` (whether what was restored is what the
//! configuration says).

pub(crate) mod image;
pub(crate) mod log;
pub(crate) mod message;
pub(crate) mod names;
mod pages;
pub(crate) mod verify;
pub(crate) mod worker;
