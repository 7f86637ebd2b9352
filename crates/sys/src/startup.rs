//! What the standard library does before `main`, as far as it can be spared.

/// Stands in for glibc's function of this name.
///
/// Before `main` the standard library asks where the stack is, for its message
/// at an overflow, and glibc reads and parses `/proc/self/maps` to tell: in a
/// program that lives a few milliseconds a cost that shows, and with scanf(3)
/// and all that it brings a tenth of the program's size. The standard library
/// takes an error for an answer and does without the message; the guard page
/// that ends the process is the kernel's.
///
/// # Safety
///
/// Touches neither argument, so that any will do.
#[cfg(all(target_os = "linux", target_env = "gnu", target_feature = "crt-static"))]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pthread_getattr_np(
    _thread: libc::pthread_t,
    _attributes: *mut libc::pthread_attr_t,
) -> libc::c_int {
    libc::ENOSYS
}
