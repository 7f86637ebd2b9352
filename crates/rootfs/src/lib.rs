//! Directory trees that a container, an image or another user may change at any time.
//!
//! ```text
//! resolve   a path below a root -> a descriptor (openat2(2), with its EAGAIN handled)
//! read      a regular file of a root, at most so many bytes of it
//! walk      visits a tree of any depth with a constant number of descriptors
//! remove    removes a tree of any depth with a constant number of descriptors
//! ```
//!
//! Nothing here follows a symbolic link out of the tree it was given, and nothing recurses:
//! neither the depth of a tree nor the number of its entries decides how many descriptors or
//! how much stack a call takes.

pub mod read;
pub mod remove;
pub mod resolve;
pub mod walk;
