//! The container's pseudo-terminal: from its own devpts, checked at each step
//! (CVE-2025-52565), its other end sent over a socket.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{self, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};
use rustix::pty::OpenptFlags;
use rustix::termios::{OptionalActions, OutputModes, Winsize};

use super::mount::move_onto;
use super::resolve::{self, Missing};
use crate::plan::{Process, Terminal};
use crate::sync::fault::{Context, Fault, Refused, Step};
use crate::sync::wire;

/// `DEVPTS_SUPER_MAGIC`, statfs(2).
const DEVPTS_SUPER_MAGIC: u64 = 0x1cd1;

/// Both ends of a terminal.
pub struct Pair {
    /// The end that the caller keeps.
    pub master: OwnedFd,
    /// The end that the container's process has.
    pub slave: OwnedFd,
}

/// Makes a terminal in the container's devpts.
pub fn open(root: BorrowedFd<'_>, terminal: Terminal, process: &Process) -> Result<Pair, Fault> {
    let pair = open_pair(root).map_err(|refused| refused.at(Step::Terminal, 0))?;
    if let Some((rows, columns)) = terminal.size {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&pair.slave, size).at(
            Step::Terminal,
            0,
            "ioctl TIOCSWINSZ",
        )?;
    }
    if terminal.keeps_line_feeds {
        let set = rustix::termios::tcgetattr(&pair.slave).and_then(|mut settings| {
            settings.output_modes -= OutputModes::ONLCR;
            rustix::termios::tcsetattr(&pair.slave, OptionalActions::Now, &settings)
        });
        set.at(Step::Terminal, 0, "tcsetattr")?;
    }
    // The group stays that of devpts' gid option.
    match fs::fchown(&pair.slave, Some(Uid::from_raw(process.uid)), None::<Gid>) {
        // The user is not mapped in this user namespace, or may not be changed to.
        Ok(()) | Err(Errno::INVAL | Errno::PERM) => {}
        Err(errno) => return Err(errno).at(Step::Terminal, 0, "fchown"),
    }
    Ok(pair)
}

fn open_pair(root: BorrowedFd<'_>) -> Result<Pair, Refused> {
    let missing = || Refused::because("needs a devpts mounted at /dev/pts");
    let devpts = match resolve::open_with(root, c"/dev/pts", OFlags::PATH | OFlags::DIRECTORY) {
        Err(Errno::NOENT) => return Err(missing()),
        done => done.op("openat2 /dev/pts")?,
    };
    // Before anything is opened in there: an open can have effects of its own.
    if fs::fstatfs(&devpts).op("fstatfs")?.f_type as u64 != DEVPTS_SUPER_MAGIC {
        return Err(missing());
    }
    let flags = OFlags::RDWR | OFlags::NOCTTY;
    let master = resolve::open_same(devpts.as_fd(), c"ptmx", flags).op("openat2 /dev/pts/ptmx")?;
    let status = fs::fstat(&master).op("fstat")?;
    if FileType::from_raw_mode(status.st_mode) != FileType::CharacterDevice
        || status.st_rdev != fs::makedev(5, 2)
    {
        return Err(Refused::because("/dev/pts/ptmx is not that of a devpts"));
    }
    rustix::pty::unlockpt(&master).op("ioctl TIOCSPTLCK")?;
    // By the master, not by a name that could lead elsewhere.
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags).op("ioctl TIOCGPTPEER")?;
    Ok(Pair { master, slave })
}

/// Binds the terminal to /dev/console, which is made where it is missing.
pub fn bind_console(root: BorrowedFd<'_>, slave: &OwnedFd) -> Result<(), Fault> {
    let bind = || -> Result<(), Refused> {
        let dev = resolve::open_or_make(root, c"/dev", Missing::Directory).op("openat2 /dev")?;
        let make = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match fs::openat(&dev, c"console", make, Mode::from_raw_mode(0o600)) {
            Ok(_) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno).op("openat /dev/console"),
        }
        let path = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let console =
            fs::openat(&dev, c"console", path, Mode::empty()).op("openat /dev/console")?;
        let kind = FileType::from_raw_mode(fs::fstat(&console).op("fstat")?.st_mode);
        if !matches!(kind, FileType::RegularFile | FileType::CharacterDevice) {
            return Err(Refused::because("/dev/console is neither a file nor a device"));
        }
        let flags = OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_EMPTY_PATH;
        let tree = open_tree(slave, c"", flags).op("open_tree")?;
        move_onto(&tree, console.as_fd())
    };
    bind().map_err(|refused| refused.at(Step::Terminal, 0))
}

/// Sends the master away: one message with its name and the descriptor, as
/// containerd and conmon expect it.
pub fn send_master(socket: BorrowedFd<'_>, master: &OwnedFd) -> Result<(), Fault> {
    wire::send_fd(socket, b"/dev/ptmx", master.as_fd()).at(Step::Terminal, 0, "sendmsg")
}

/// Makes the terminal the standard streams.
pub fn become_streams(slave: &OwnedFd) -> Result<(), Fault> {
    rustix::stdio::dup2_stdin(slave).at(Step::Stdio, 0, "dup2")?;
    rustix::stdio::dup2_stdout(slave).at(Step::Stdio, 1, "dup2")?;
    rustix::stdio::dup2_stderr(slave).at(Step::Stdio, 2, "dup2")
}

/// Makes the terminal that is standard input the controlling one of this session.
pub fn control() -> Result<(), Fault> {
    let terminal = rustix::stdio::stdin();
    rustix::process::ioctl_tiocsctty(terminal).at(Step::Terminal, 0, "ioctl TIOCSCTTY")
}

/// Gives pipes and terminals that are standard streams to the process's user, so
/// that it can open /dev/stdout again. Files stay whose they are: they may be anyone's. The
/// host's /dev/null becomes the container's.
pub fn own_streams(process: &Process) -> Result<(), Fault> {
    let streams = [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()];
    for (index, stream) in streams.into_iter().enumerate() {
        let status = match fs::fstat(stream) {
            Err(Errno::BADF) => continue,
            done => done.at(Step::Stdio, index, "fstat")?,
        };
        if is_null_device(&status) {
            replace_null_device(index).at(Step::Stdio, index, "dup2")?;
            continue;
        }
        let ours_to_give = match FileType::from_raw_mode(status.st_mode) {
            FileType::Fifo | FileType::Socket => true,
            FileType::CharacterDevice => rustix::termios::isatty(stream),
            _ => false,
        };
        if status.st_uid == process.uid || !ours_to_give {
            continue;
        }
        match fs::fchown(stream, Some(Uid::from_raw(process.uid)), None::<Gid>) {
            // Not ours to give away, or a user that is not mapped: reopening fails then, nothing else.
            Ok(()) | Err(Errno::INVAL | Errno::PERM | Errno::ROFS | Errno::OVERFLOW) => {}
            Err(errno) => return Err(errno).at(Step::Stdio, index, "fchown"),
        }
    }
    Ok(())
}

fn is_null_device(status: &fs::Stat) -> bool {
    FileType::from_raw_mode(status.st_mode) == FileType::CharacterDevice
        && status.st_rdev == fs::makedev(1, 3)
}

/// Puts the container's null device in the place of the host's, of which root in the container
/// could change mode and owner by /proc/self/fd/0. Where the container has none, or another file
/// in its place, standard input is a pipe at its end; an output stays as it is.
fn replace_null_device(index: usize) -> Result<(), Errno> {
    // What is there instead is not waited for, and does not become the controlling terminal.
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let directory = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = fs::open(c"/", directory, Mode::empty())?;
    let opened = resolve::open_with(root.as_fd(), c"dev/null", flags);
    let own = opened.ok().filter(|own| fs::fstat(own).is_ok_and(|status| is_null_device(&status)));
    match (own, index) {
        (Some(own), index) => {
            fs::fcntl_setfl(&own, OFlags::empty())?;
            match index {
                0 => rustix::stdio::dup2_stdin(own),
                1 => rustix::stdio::dup2_stdout(own),
                _ => rustix::stdio::dup2_stderr(own),
            }
        }
        (None, 0) => {
            let (reader, _) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
            rustix::stdio::dup2_stdin(reader)
        }
        (None, _) => Ok(()),
    }
}
