//! The command line and the environment that this process was executed with.

use std::ffi::CStr;
use std::ptr;

/// What the kernel allows for both, `MAX_ARG_STRINGS` times a page aside: 6 MiB with the
/// default stack limit of 8 MiB (execve(2)).
const MAX_LENGTH: usize = 64 << 20;

/// Overwrites the command line and the environment of this process with zeros, so that
/// neither `/proc/PID/cmdline`, which everybody may read, nor `/proc/PID/environ` nor its
/// memory shows them. They are lost to this process, too: its arguments and variables are
/// empty strings from then on.
///
/// Returns whether they were found.
///
/// The caller must be single-threaded.
pub fn erase() -> bool {
    let Some((start, end)) = bounds() else { return false };
    // SAFETY: between these addresses the kernel has put the strings and nothing else
    // (create_elf_tables, copy_strings); they are on the stack of the main thread above every
    // frame, writable, and no reference to them is held: the standard library and the C library
    // keep pointers, which lead to empty strings then.
    unsafe { ptr::write_bytes(start as *mut u8, 0, end - start) };
    true
}

/// First and last address. From low to high addresses there are: the array of pointers to the
/// environment, the auxiliary vector, random bytes and names of the platform (`AT_RANDOM`,
/// `AT_PLATFORM`), arguments, environment, the name of the file that was executed (`AT_EXECFN`).
fn bounds() -> Option<(usize, usize)> {
    const RANDOM_BYTES: usize = 16;
    // SAFETY: getauxval(3) has no preconditions.
    let value = |name| match unsafe { libc::getauxval(name) } as usize {
        0 => None,
        address => Some(address),
    };
    let after_string = |address: usize| {
        // SAFETY: these entries point to C strings that live as long as the process.
        let string = unsafe { CStr::from_ptr(address as *const libc::c_char) };
        address + string.to_bytes_with_nul().len()
    };
    let random = value(libc::AT_RANDOM)?;
    let names = [libc::AT_PLATFORM, libc::AT_BASE_PLATFORM];
    let names = names.into_iter().filter_map(value).map(after_string);
    let start = names.chain([random + RANDOM_BYTES]).max()?;
    let file = value(libc::AT_EXECFN)?;
    let end = after_string(file);
    // Other kernels than Linux may lay it out otherwise: then nothing is touched.
    let first_variable = first_variable();
    let plausible = start < file
        && end - start <= MAX_LENGTH
        && first_variable.is_none_or(|address| (start..file).contains(&address));
    plausible.then_some((start, end))
}

/// Address of the first variable, as the C library has it.
fn first_variable() -> Option<usize> {
    unsafe extern "C" {
        static environ: *const *const libc::c_char;
    }
    // SAFETY: the caller is single-threaded, so that nobody changes it; where it is not null
    // it is an array of pointers that ends with null.
    let first = unsafe { environ.as_ref() }.copied()?;
    (!first.is_null()).then_some(first as usize)
}
