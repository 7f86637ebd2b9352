//! Memory that was freed, and is still this process's: of the heap and of the stack.

/// Gives the pages of freed memory back to the kernel (malloc_trim(3)): for a program that
/// did much to begin with and then only waits.
pub fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: touches nothing that is allocated.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Gives back the pages of the stack that deeper calls have used before.
pub fn trim_stack() {
    /// What this call and the kernel's entry may still use below this frame, in pages.
    const KEPT: usize = 4;
    /// How far below is looked, in bytes: less than the gap of 256 pages that the kernel keeps
    /// free below the main thread's stack, so that no other mapping is met.
    const DEPTH: usize = 512 << 10;
    let here = 0_u8;
    let page = rustix::param::page_size();
    let end = (&raw const here).addr() / page * page - KEPT * page;
    let start = std::ptr::with_exposed_provenance_mut(end - DEPTH);
    // SAFETY: the stack grows down, and nothing below the frames of this call is in use by the
    // program's only thread, whose stack this is. What is not mapped there is passed over.
    unsafe { libc::madvise(start, DEPTH, libc::MADV_DONTNEED) };
}
