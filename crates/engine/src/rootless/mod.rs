//! Containers of an ordinary user: all of one user's commands and monitors work in one
//! user namespace and one mount namespace, as its root.
//!
//! ```text
//! <run>/namespace/lock      held while the namespaces are looked for or made
//! <run>/namespace/holder    the process whose namespaces they are: pid, start time
//! <run>/namespace/users     flock(2): shared by whoever works there
//! ```
//!
//! Layers belong to subordinate ids, overlays are mounted in the mount namespace, and a
//! signal to a process of another id takes CAP_KILL over the namespace it is in: none of
//! this reaches from one user namespace into another, so there is one. It lasts as long as
//! something works in it. The holder waits for `users` to be free and then ends, and the
//! namespaces with it.
//!
//! A command enters before it does anything else, in the process that it is: so it keeps
//! its pid, its terminal and its caller. Only then is it of one thread, as unshare(2) and
//! setns(2) demand.

mod ids;

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use rustix::io::Errno;
use rustix::mount::MountPropagationFlags;

use crate::container::Container;
use crate::container::state::start_ticks;
use crate::error::{Error, Result, file};
use crate::home::{Home, make_directory};
use crate::lock::Lock;
use crate::notice::notice;

/// linux/sched.h.
const CLONE_NEWNS: u32 = 0x0002_0000;
const CLONE_NEWUSER: u32 = 0x1000_0000;

/// Whether the caller lacks root's privilege over the host: an ordinary user, or the root
/// of a user namespace.
pub fn is_rootless() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(husk_userns::is_rootless)
}

/// The greatest gid of the user namespace, where they go up from 0 without a gap; `None`
/// on the host, where there is no limit.
pub fn last_gid() -> Option<u32> {
    let map = std::fs::read_to_string("/proc/self/gid_map").unwrap_or_default();
    is_rootless().then(|| ids::end_of(&map).saturating_sub(1))
}

/// Whether containers can have cgroups: always as root of the host, else below our own
/// cgroup v2 where that was delegated to us (cgroups(7), "Delegation").
pub fn has_cgroups() -> bool {
    if !is_rootless() {
        return true;
    }
    let membership = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = membership.lines().find_map(|line| line.strip_prefix("0::/"));
    let root = Path::new("/sys/fs/cgroup");
    own.is_some_and(|own| {
        root.join("cgroup.controllers").exists()
            && rustix::fs::access(root.join(own), rustix::fs::Access::WRITE_OK).is_ok()
    })
}

/// Says that the namespaces are in use, as long as it lives.
#[derive(Debug)]
#[must_use = "the namespaces end with whoever uses them"]
pub struct Inside {
    _users: Option<Lock>,
}

struct Places {
    lock: PathBuf,
    holder: PathBuf,
    users: PathBuf,
}

impl Places {
    fn of(home: &Home) -> Result<Self> {
        let directory = home.run.join("namespace");
        make_directory(&directory)?;
        let [lock, holder, users] = ["lock", "holder", "users"].map(|name| directory.join(name));
        Ok(Self { lock, holder, users })
    }
}

/// Enters the namespaces of this user, made where there are none. Who is root of the host
/// or there already stays where it is.
///
/// # Errors
/// What the host lacks, with its remedy.
pub fn enter(home: &Home) -> Result<Inside> {
    if !is_rootless() {
        return Ok(Inside { _users: None });
    }
    let places = Places::of(home)?;
    if rustix::process::geteuid().is_root() {
        // A monitor, or a user namespace that somebody else has made.
        return Ok(Inside { _users: Some(Lock::shared(&places.users)?) });
    }
    // Made by now, if not by us.
    home.check_owner()?;
    let _lock = Lock::exclusive(&places.lock)?;
    if let Some(namespaces) = held(&places)
        && let Some(users) = Lock::try_shared(&places.users)?
    {
        join(&namespaces)?;
        return Ok(Inside { _users: Some(users) });
    }
    // Waits for a holder that is about to end.
    let users = Lock::shared(&places.users)?;
    match of_monitor(home) {
        Some(namespaces) => join(&namespaces)?,
        None => make()?,
    }
    hold(home, &places)?;
    Ok(Inside { _users: Some(users) })
}

/// The namespaces of the holder, if it lives: user, then mount.
fn held(places: &Places) -> Option<[OwnedFd; 2]> {
    let text = std::fs::read_to_string(&places.holder).ok()?;
    let (pid, ticks) = text.trim().split_once(' ')?;
    let open = |name| File::open(format!("/proc/{pid}/ns/{name}")).map(OwnedFd::from).ok();
    let namespaces = [open("user")?, open("mnt")?];
    // Looked at last: what is open is then of this very process.
    let alive = start_ticks(pid.parse().ok()?) == Some(ticks.parse().ok()?);
    alive.then_some(namespaces)
}

/// Those of any monitor: where the holder was killed, they are still there.
fn of_monitor(home: &Home) -> Option<[OwnedFd; 2]> {
    Container::all(home).ok()?.iter().find_map(|container| {
        let pid = container.written_state().ok()?.monitor;
        let open = |name| File::open(format!("/proc/{pid}/ns/{name}")).map(OwnedFd::from).ok();
        let namespaces = [open("user")?, open("mnt")?];
        Lock::is_held(&container.monitor_lock()).then_some(namespaces)
    })
}

fn join(namespaces: &[OwnedFd; 2]) -> Result<()> {
    // setns(2) into a mount namespace leads to its root directory.
    let cwd = std::env::current_dir();
    for (namespace, kind) in namespaces.iter().zip([CLONE_NEWUSER, CLONE_NEWNS]) {
        husk_sys::namespace::setns(namespace.as_fd(), kind)
            .map_err(file("enter", "the namespaces of your containers"))?;
    }
    match cwd {
        Ok(cwd) => std::env::set_current_dir(&cwd).map_err(file("enter", &cwd)),
        // There is none; who needs it finds out.
        Err(_) => Ok(()),
    }
}

/// Makes the namespaces and becomes their root.
fn make() -> Result<()> {
    let maps = ids::Maps::of_caller();
    let pending = match maps.lacking {
        None => Some(ids::prepare(&maps)?),
        Some(_) => None,
    };
    husk_sys::namespace::unshare(CLONE_NEWUSER | CLONE_NEWNS).map_err(|errno| {
        let hint = husk_userns::user_namespace_hint(errno);
        Error::other(format_args!("make a user namespace: {}; {hint}", text(errno)))
    })?;
    let refused = pending.and_then(|pending| pending.finish().err());
    if let Some(why) = maps.lacking.as_ref().or(refused.as_ref()) {
        ids::map_own(&maps)?;
        notice(format_args!("only your own user ID is mapped into containers, as root: {why}"));
    }
    // What is mounted on the host later is seen here, and never the other way round.
    let slave = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", slave).map_err(|errno| {
        let hint = husk_userns::powerless_hint().unwrap_or("the user namespace has no privilege");
        Error::other(format_args!("make a mount namespace: {}; {hint}", text(errno)))
    })
}

fn text(errno: Errno) -> String {
    std::io::Error::from(errno).to_string()
}

/// Starts the holder, and writes down who it is.
fn hold(home: &Home, places: &Places) -> Result<()> {
    let program = crate::program::path();
    let mut holder = Command::new(program);
    holder.arg("--root").arg(&home.root).arg("--runroot").arg(&home.run).arg("hold-namespace");
    holder.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).current_dir("/");
    let spawned = holder.spawn().map_err(file("execute", program))?;
    let pid = i32::try_from(spawned.id()).map_err(Error::other)?;
    let ticks = start_ticks(pid).ok_or_else(|| Error::other("the namespaces' holder has ended"))?;
    Ok(husk_record::write(&places.holder, format!("{pid} {ticks}").as_bytes())?)
    // It is not waited for: it outlives us, and init reaps it.
}

/// The holder: keeps the namespaces until nobody uses them.
///
/// # Errors
/// The errno of open(2) or flock(2).
pub fn hold_namespace(home: &Home) -> Result<()> {
    rustix::process::setsid().map_err(file("begin", "a session"))?;
    let places = Places::of(home)?;
    let _alone = Lock::exclusive(&places.users)?;
    let own = std::fs::read_to_string(&places.holder).unwrap_or_default();
    if own.starts_with(&format!("{} ", std::process::id())) {
        let _ = std::fs::remove_file(&places.holder);
    }
    Ok(())
}
