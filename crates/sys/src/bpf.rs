//! bpf(2): programs that guard the devices of a cgroup.

use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::io::Errno;

use crate::call::check;

// linux/bpf.h, enum bpf_cmd.
const PROG_LOAD: libc::c_int = 5;
const PROG_ATTACH: libc::c_int = 8;
const PROG_GET_FD_BY_ID: libc::c_int = 13;
const OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const PROG_QUERY: libc::c_int = 16;

/// enum bpf_prog_type.
const PROG_TYPE_CGROUP_DEVICE: u32 = 15;
/// enum bpf_attach_type.
const CGROUP_DEVICE: u32 = 6;
const F_ALLOW_MULTI: u32 = 1 << 1;
/// Linux 5.6.
const F_REPLACE: u32 = 1 << 2;

/// BPF_OBJ_NAME_LEN, the trailing NUL included.
const NAME_LENGTH: usize = 16;
/// BPF_CGROUP_MAX_PROGS: no cgroup has more.
const MAX_PROGRAMS: usize = 64;

// The parts of union bpf_attr that the commands below read. The kernel takes
// any length and treats what is missing as zero.

#[repr(C)]
struct Load {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; NAME_LENGTH],
}

#[repr(C)]
struct Attach {
    target_fd: u32,
    attach_bpf_fd: u32,
    attach_type: u32,
    attach_flags: u32,
    replace_bpf_fd: u32,
}

#[repr(C)]
struct Query {
    target_fd: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    prog_cnt: u32,
    padding: u32,
}

#[repr(C)]
struct GetFd {
    prog_id: u32,
    next_id: u32,
    open_flags: u32,
}

#[repr(C)]
struct GetInfo {
    bpf_fd: u32,
    info_len: u32,
    info: u64,
}

/// struct bpf_prog_info up to its name.
#[repr(C)]
#[derive(Default)]
struct Info {
    prog_type: u32,
    id: u32,
    tag: u64,
    lengths: [u32; 2],
    dumps: [u64; 2],
    load_time: u64,
    created_by_uid: u32,
    map_count: u32,
    map_ids: u64,
    name: [u8; NAME_LENGTH],
}

/// What the kernel says of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgramInfo {
    /// Its id; a later program may have it again.
    pub id: u32,
    /// When it was loaded, in nanoseconds since the machine was booted.
    pub loaded: u64,
    /// The name that it was loaded with.
    pub name: String,
}

/// # Safety
///
/// `attr` must be the structure that the command reads, and every address in it
/// must be valid for what the kernel reads or writes there.
unsafe fn bpf<T>(command: libc::c_int, attr: &mut T) -> Result<libc::c_long, Errno> {
    // SAFETY: the caller answers for the structure; its size is its own.
    check(unsafe {
        libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size_of::<T>())
    })
}

fn number(fd: BorrowedFd) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

fn owned(result: libc::c_long) -> Result<OwnedFd, Errno> {
    let fd = RawFd::try_from(result).map_err(|_| Errno::BADF)?;
    // SAFETY: the kernel has just returned this descriptor to us alone. It is
    // close-on-exec, as bpf(2) makes all of its own.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Loads a program of type `BPF_PROG_TYPE_CGROUP_DEVICE`.
///
/// Each `u64` is one `struct bpf_insn` in the order of its fields, the lowest
/// byte first. Of `name` the first 15 bytes count; it shows in `bpftool prog`.
///
/// # Errors
///
/// EPERM without `CAP_BPF` or `CAP_SYS_ADMIN` in the initial user namespace,
/// EACCES or EINVAL where the verifier refuses the program.
pub fn load_cgroup_device(program: &[u64], name: &str) -> Result<OwnedFd, Errno> {
    #[cfg(target_endian = "big")]
    let program: Vec<u64> = program.iter().map(|word| in_field_order(*word)).collect();
    let mut prog_name = [0; NAME_LENGTH];
    for (to, from) in prog_name.iter_mut().take(NAME_LENGTH - 1).zip(name.bytes()) {
        *to = from;
    }
    let mut attr = Load {
        prog_type: PROG_TYPE_CGROUP_DEVICE,
        insn_cnt: u32::try_from(program.len()).map_err(|_| Errno::TOOBIG)?,
        insns: program.as_ptr().addr() as u64,
        license: c"Apache-2.0".as_ptr().addr() as u64,
        log_level: 0,
        log_size: 0,
        log_buf: 0,
        kern_version: 0,
        prog_flags: 0,
        prog_name,
    };
    // SAFETY: the instructions and the license outlive the call, which reads
    // `insn_cnt` of the former and the latter up to its NUL.
    owned(unsafe { bpf(PROG_LOAD, &mut attr) }?)
}

/// `struct bpf_insn` in memory: one byte, two nibbles, a half word and a word.
#[cfg(target_endian = "big")]
fn in_field_order(word: u64) -> u64 {
    let (code, to, from) = (word & 0xff, word >> 8 & 15, word >> 12 & 15);
    code << 56 | (to << 4 | from) << 48 | (word >> 16 & 0xffff) << 32 | word >> 32
}

/// Puts a program in force beside those of other owners, or in place of one.
///
/// Replacing is atomic (Linux 5.6): there is no moment without a program.
pub fn attach_device(
    cgroup: BorrowedFd,
    program: BorrowedFd,
    replaces: Option<BorrowedFd>,
) -> Result<(), Errno> {
    let replace = if replaces.is_some() { F_REPLACE } else { 0 };
    let mut attr = Attach {
        target_fd: number(cgroup),
        attach_bpf_fd: number(program),
        attach_type: CGROUP_DEVICE,
        attach_flags: F_ALLOW_MULTI | replace,
        replace_bpf_fd: replaces.map_or(0, number),
    };
    // SAFETY: the structure holds no addresses.
    unsafe { bpf(PROG_ATTACH, &mut attr) }.map(drop)
}

/// The ids of the device programs that are attached to a cgroup itself.
pub fn device_programs(cgroup: BorrowedFd) -> Result<Vec<u32>, Errno> {
    let mut ids = vec![0u32; MAX_PROGRAMS];
    let mut attr = Query {
        target_fd: number(cgroup),
        attach_type: CGROUP_DEVICE,
        query_flags: 0,
        attach_flags: 0,
        prog_ids: ids.as_mut_ptr().addr() as u64,
        prog_cnt: MAX_PROGRAMS as u32,
        padding: 0,
    };
    // SAFETY: the kernel writes at most `prog_cnt` ids, for which there is room,
    // and `ids` outlives the call.
    unsafe { bpf(PROG_QUERY, &mut attr) }?;
    ids.truncate(attr.prog_cnt as usize);
    Ok(ids)
}

/// Opens a program; needs `CAP_SYS_ADMIN`.
pub fn program_by_id(id: u32) -> Result<OwnedFd, Errno> {
    let mut attr = GetFd { prog_id: id, next_id: 0, open_flags: 0 };
    // SAFETY: the structure holds no addresses.
    owned(unsafe { bpf(PROG_GET_FD_BY_ID, &mut attr) }?)
}

/// What the kernel says of a program.
pub fn program_info(program: BorrowedFd) -> Result<ProgramInfo, Errno> {
    let mut info = Info::default();
    let mut attr = GetInfo {
        bpf_fd: number(program),
        info_len: size_of::<Info>() as u32,
        info: std::ptr::from_mut(&mut info).addr() as u64,
    };
    // SAFETY: the kernel writes at most `info_len` bytes to `info`, which
    // outlives the call and of which every bit pattern is valid.
    unsafe { bpf(OBJ_GET_INFO_BY_FD, &mut attr) }?;
    let length = info.name.iter().position(|byte| *byte == 0).unwrap_or(NAME_LENGTH);
    let name = String::from_utf8_lossy(&info.name[..length]).into_owned();
    Ok(ProgramInfo { id: info.id, loaded: info.load_time, name })
}
