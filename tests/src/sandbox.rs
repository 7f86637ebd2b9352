//! A place for a whole container engine: pid, mount and network namespaces of
//! its own, with empty /run, /var/lib and /dev/shm. What an engine does to the
//! host's network and state directories happens there, and all its processes
//! end with it.

use std::fs;

use crate::case::Case;
use crate::event::Fifo;
use crate::invocation::{Invocation, Running};

/// The namespaces, held by a process of ours that is their process 1.
#[derive(Debug)]
pub struct Sandbox<'a> {
    case: &'a Case,
    holder: Option<Running>,
    init: i32,
}

impl<'a> Sandbox<'a> {
    /// Makes the namespaces; `case` is where their files go.
    pub fn new(case: &'a Case) -> Sandbox<'a> {
        let ready = Fifo::make(&case.path("sandbox-ready"));
        // Copies of others' mounts would go when those remove what they stand on.
        let script = format!(
            "while read -r _ _ _ _ target _; do case $target in {own}/*) ;; /run/*|/var/lib/*|{temporary}/*)
               umount -l $target 2>/dev/null;; esac; done </proc/self/mountinfo
             for d in /run /var/lib /dev/shm; do mount -t tmpfs -o mode=755 none $d || exit; done
             ip link set lo up
             echo ready >{}
             sleep 100000 & wait",
            case.path("sandbox-ready").display(),
            own = case.dir().display(),
            temporary = std::env::temp_dir().display()
        );
        let flags = ["-m", "-n", "-p", "--fork", "--kill-child", "--mount-proc", "sh", "-c"];
        let holder = case.program("unshare").args(flags).arg(script).spawn();
        assert_eq!(ready.line(), "ready");
        let children = format!("/proc/{0}/task/{0}/children", holder.pid());
        let init = fs::read_to_string(&children).expect("children of unshare(1)");
        let init = init.trim().parse().unwrap_or_else(|e| panic!("{children}: {init:?}: {e}"));
        Sandbox { case, holder: Some(holder), init }
    }

    /// Their process 1, by its number on the host.
    pub fn init(&self) -> i32 {
        self.init
    }

    /// A call of a program in the namespaces.
    pub fn program(&self, program: &str) -> Invocation {
        let pid = self.init.to_string();
        self.case
            .program("nsenter")
            .args(["-t", &pid, "-m", "-n", "-p", "--", program])
            .env_remove("XDG_RUNTIME_DIR")
            .env_remove("NOTIFY_SOCKET")
    }

    /// The words before a program and its arguments that run it there.
    pub fn prefix(&self) -> Vec<String> {
        let pid = self.init.to_string();
        ["nsenter", "-t", &pid, "-m", "-n", "-p", "--"].map(str::to_owned).to_vec()
    }

    /// Ends every process in it.
    pub fn end(&mut self) {
        if let Some(holder) = self.holder.take() {
            // No signal ends what a v1 freezer holds.
            for cgroup in crate::host::cgroups_named(self.case.marker()) {
                let _ = fs::write(cgroup.join("freezer.state"), "THAWED");
            }
            let init = crate::event::Process::open(self.init);
            // unshare(1) kills its child, which is process 1 of the rest.
            drop(holder);
            init.wait();
        }
    }
}

impl Drop for Sandbox<'_> {
    fn drop(&mut self) {
        self.end();
        // Engines leave the parents of their containers' cgroups.
        for cgroup in crate::host::cgroups_named(self.case.marker()) {
            let _ = fs::remove_dir(cgroup);
        }
    }
}
