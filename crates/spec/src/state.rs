//! runtime.md, "State".

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::document::documents;

documents! {
    /// The state of a container, as `state` prints it and as hooks read it.
    State {
        @required {
            oci_version: String,
            id: String,
            status: Status,
        }
        /// Process id of the container's process, in the runtime's pid namespace.
        pid: Option<i32>,
        bundle: String,
        annotations: BTreeMap<String, String>,
    }

    /// config-linux.md, "The Container Process State": what a seccomp agent
    /// receives over `listenerPath`, with the descriptors named in `fds`.
    ContainerProcessState {
        @required {
            oci_version: String,
            fds: Vec<String>,
            pid: i32,
            state: State,
        }
        metadata: String,
    }
}

/// Where a container is in its life, runtime.md, "State".
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Being made; `create` has not returned.
    #[default]
    Creating,
    /// Made, the user's program not run yet.
    Created,
    /// The user's program runs.
    Running,
    /// The process has exited.
    Stopped,
    /// Frozen by `pause`; runc's and crun's word, not the specification's.
    Paused,
}

impl Status {
    /// The word in the JSON document.
    pub fn name(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Created => "created",
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::Paused => "paused",
        }
    }
}
