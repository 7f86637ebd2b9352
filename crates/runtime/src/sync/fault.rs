//! A failure in the process that becomes the container: coordinates, not prose.
//! The runtime holds the plan and knows what they stand for.

use std::borrow::Cow;

use rustix::io::Errno;

use crate::inject;

macro_rules! steps {
    ($($(#[$doc:meta])* $name:ident = $words:literal,)*) => {
        /// What was being done.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Step { $($(#[$doc])* $name,)* }

        impl Step {
            const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The property of the configuration that asks for this step.
            pub fn property(self) -> &'static str {
                match self { $(Self::$name => $words,)* }
            }
        }
    };
}

steps! {
    /// The conversation with the runtime itself.
    Sync = "husk-oci",
    /// Entering the container's cgroup.
    Cgroup = "linux.cgroupsPath",
    /// Joining namespace `index`.
    Namespace = "linux.namespaces",
    /// The clocks of a new time namespace.
    TimeOffsets = "linux.timeOffsets",
    /// Becoming root of the user namespace.
    UserNamespace = "linux.uidMappings",
    /// The loopback interface.
    Loopback = "linux.namespaces (network)",
    /// Binding the root filesystem and its propagation.
    Root = "root.path",
    /// `linux.rootfsPropagation`.
    Propagation = "linux.rootfsPropagation",
    /// Mount `index`.
    Mount = "mounts",
    /// Device `index`; the default devices have numbers after the last.
    Device = "linux.devices",
    /// The symbolic links of /dev.
    DeviceLink = "default symbolic links",
    /// The pseudo-terminal and /dev/console.
    Terminal = "process.terminal",
    /// createContainer hook `index`.
    CreateContainer = "hooks.createContainer",
    /// startContainer hook `index`.
    StartContainer = "hooks.startContainer",
    /// pivot_root(2) or its stand-in.
    PivotRoot = "root.path",
    /// Masked path `index`.
    MaskedPath = "linux.maskedPaths",
    /// Read-only path `index`.
    ReadonlyPath = "linux.readonlyPaths",
    /// `root.readonly`.
    ReadonlyRoot = "root.readonly",
    /// Sysctl `index`, in the order of the keys.
    Sysctl = "linux.sysctl",
    /// `hostname`.
    Hostname = "hostname",
    /// `domainname`.
    Domainname = "domainname",
    /// Resource limit `index`.
    Rlimits = "process.rlimits",
    /// The score of the OOM killer.
    OomScore = "process.oomScoreAdj",
    /// The session keyring.
    Keyring = "session keyring",
    /// `linux.personality`.
    Personality = "linux.personality",
    /// `linux.memoryPolicy`.
    MemoryPolicy = "linux.memoryPolicy",
    /// AppArmor and SELinux labels.
    Label = "process label",
    /// `process.noNewPrivileges`.
    NoNewPrivileges = "process.noNewPrivileges",
    /// Loading the filter.
    Seccomp = "linux.seccomp",
    /// Handing the listener over.
    SeccompListener = "linux.seccomp.listenerPath",
    /// Dropping capabilities.
    Capabilities = "process.capabilities",
    /// Groups.
    Groups = "process.user.additionalGids",
    /// User and group ids.
    User = "process.user",
    /// The working directory.
    Cwd = "process.cwd",
    /// Descriptors 0, 1 and 2.
    Stdio = "standard streams",
    /// The descriptors that stay open.
    Descriptors = "--preserve-fds",
    /// Waiting for `start`.
    Start = "start",
    /// execve(2).
    Exec = "process.args[0]",
    /// Landlock restrictions by annotation.
    Landlock = "annotations (io.github.husk.landlock)",
}

impl Step {
    /// The step with this number.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }
}

/// Where it failed, what was tried, and what the kernel said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The step.
    pub step: Step,
    /// Which of its kind.
    pub index: u32,
    /// The operation, a system call most often.
    pub op: Cow<'static, str>,
    /// The kernel's answer.
    pub errno: Option<Errno>,
    /// More: the filesystem context's log, or a sentence.
    pub detail: String,
}

/// Documents of a size that is read have fewer entries than that.
fn number(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

impl Fault {
    /// A sentence instead of an errno.
    pub fn because(step: Step, index: usize, detail: impl Into<String>) -> Self {
        Self { step, index: number(index), op: "".into(), errno: None, detail: detail.into() }
    }
}

/// An operation that failed, before it is known for which step it was.
#[derive(Debug)]
pub struct Refused {
    /// The operation.
    pub op: &'static str,
    /// The kernel's answer.
    pub errno: Option<Errno>,
    /// More.
    pub detail: String,
}

impl Refused {
    /// A sentence instead of an errno.
    pub fn because(detail: impl Into<String>) -> Self {
        Self { op: "", errno: None, detail: detail.into() }
    }

    /// Its coordinates.
    pub fn at(self, step: Step, index: usize) -> Fault {
        Fault {
            step,
            index: number(index),
            op: self.op.into(),
            errno: self.errno,
            detail: self.detail,
        }
    }
}

/// Gives an errno its operation, and that its coordinates.
pub trait Context<T> {
    /// Names the operation.
    fn op(self, op: &'static str) -> Result<T, Refused>;
    /// Names the operation and the place.
    fn at(self, step: Step, index: usize, op: &'static str) -> Result<T, Fault>;
}

impl<T> Context<T> for Result<T, Errno> {
    fn op(self, op: &'static str) -> Result<T, Refused> {
        self.map_err(|errno| Refused { op, errno: Some(errno), detail: String::new() })
    }

    fn at(self, step: Step, index: usize, op: &'static str) -> Result<T, Fault> {
        let done = self.op(op).map_err(|refused| refused.at(step, index))?;
        inject::after(step, index)?;
        Ok(done)
    }
}
