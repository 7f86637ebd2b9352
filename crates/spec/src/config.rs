//! config.md: the parts that are the same on every platform.

use std::collections::BTreeMap;

use crate::document::documents;
use crate::linux::{Capabilities, IdMapping, IoPriority, Linux, Scheduler};

documents! {
    /// `config.json`, the whole document.
    Spec {
        @required { oci_version: String }
        root: Option<Root>,
        mounts: Vec<Mount>,
        process: Option<Process>,
        hostname: Option<String>,
        domainname: Option<String>,
        hooks: Option<Hooks>,
        annotations: BTreeMap<String, String>,
        linux: Option<Linux>,
        /// Of no use to a runtime that shares the host's kernel; kept so that it can say so.
        vm: Option<serde_json::Value>,
    }

    /// config.md, "Root".
    Root {
        @required { path: String }
        readonly: bool,
    }

    /// config.md, "Mounts".
    Mount {
        @required { destination: String }
        #[serde(rename = "type")]
        typ: Option<String>,
        source: Option<String>,
        options: Vec<String>,
        uid_mappings: Vec<IdMapping>,
        gid_mappings: Vec<IdMapping>,
    }

    /// config.md, "Process"; also the document of `exec --process`.
    Process {
        @required { cwd: String }
        terminal: bool,
        console_size: Option<ConsoleSize>,
        user: User,
        args: Vec<String>,
        env: Vec<String>,
        rlimits: Vec<Rlimit>,
        capabilities: Option<Capabilities>,
        no_new_privileges: bool,
        apparmor_profile: Option<String>,
        oom_score_adj: Option<i32>,
        selinux_label: Option<String>,
        scheduler: Option<Scheduler>,
        io_priority: Option<IoPriority>,
        #[serde(rename = "execCPUAffinity")]
        exec_cpu_affinity: Option<ExecCpuAffinity>,
    }

    /// Size of the terminal, in characters.
    ConsoleSize {
        @required { height: u16, width: u16 }
    }

    /// config.md, "POSIX-platform User".
    User {
        uid: u32,
        gid: u32,
        umask: Option<u32>,
        additional_gids: Vec<u32>,
        /// Windows only by the specification; engines fill it in as a comment.
        username: Option<String>,
    }

    /// config.md, "POSIX process", `rlimits`.
    Rlimit {
        @required {
            #[serde(rename = "type")] typ: String,
            hard: u64,
            soft: u64,
        }
    }

    /// config.md, `process.execCPUAffinity`: CPU lists as cpuset(7) writes them.
    ExecCpuAffinity {
        initial: Option<String>,
        #[serde(rename = "final")]
        final_: Option<String>,
    }

    /// config.md, "POSIX-platform Hooks".
    Hooks {
        prestart: Vec<Hook>,
        create_runtime: Vec<Hook>,
        create_container: Vec<Hook>,
        start_container: Vec<Hook>,
        poststart: Vec<Hook>,
        poststop: Vec<Hook>,
    }

    /// One hook; `timeout` is in seconds. Without `env` it has the environment of where it runs.
    Hook {
        @required { path: String }
        args: Vec<String>,
        env: Option<Vec<String>>,
        timeout: Option<i64>,
    }
}
