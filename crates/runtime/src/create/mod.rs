//! Making a container: [`launch`] is the runtime's side, [`init`] the side of the process that
//! becomes the container.

pub mod announce;
pub mod block;
pub mod clone_init;
pub mod hooks;
pub mod init;
pub mod launch;
pub mod placement;
pub mod preconditions;
pub mod reaper;
