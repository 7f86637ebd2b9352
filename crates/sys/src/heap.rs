//! Memory that was freed, and is still this process's.

/// Gives the pages of freed memory back to the kernel (malloc_trim(3)): for a program that
/// did much to begin with and then only waits.
pub fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: touches nothing that is allocated.
    unsafe {
        libc::malloc_trim(0);
    }
}
