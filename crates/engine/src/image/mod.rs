//! Images: those of the store, and those of registries.

mod access;
mod archive;
mod history;
mod inspect;
mod list;
mod login;
mod prune;
mod pull;
mod push;
mod remove;
mod tag;
mod usage;

pub use access::{CredentialSource, RegistryAccess, server_name};
pub use archive::{
    ArchiveFormat, ImportRequest, Loaded, SaveRequest, import, load, load_directory, save,
};
pub use history::{HistoryEntry, history};
pub use inspect::{ImageDetails, inspect};
pub use list::{FILTERS, ImageSummary, ListRequest, list};
pub use login::{LoginRequest, check_login, login, logout};
pub use prune::{PruneRequest, prune};
pub use pull::{PullRequest, Pulled, pull};
pub use push::{PushRequest, Pushed, manifest_digest, push, push_image};
pub use remove::{Removal, RemoveRequest, remove};
pub use tag::tag;
pub use usage::{ImageUsage, size_of, usage};
