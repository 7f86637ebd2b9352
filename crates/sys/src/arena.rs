//! The memory of a program that makes one container and ends: blocks side by side in one
//! region, given out by moving a mark.
//!
//! At a start the C library's allocator costs what it sets up, and the pages that it
//! touches, more than what it does. Here nothing is set up; a block that is given back
//! serves the next request of its size, so that a program which stays does not grow, and
//! the last one can grow where it is. Large blocks are mappings of their own.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::UnsafeCell;
use std::hint::spin_loop;
use std::ptr::{self, null_mut};
use std::sync::atomic::{AtomicBool, Ordering};

/// The first region, of which only what is used takes memory. A start takes a tenth.
const FIRST: usize = 512 << 10;
/// Regions after that.
const NEXT: usize = 1 << 20;
/// From this size on a block is a mapping.
const LARGE: usize = 128 << 10;
/// Every block is a multiple of this and so aligned.
const UNIT: usize = 16;
/// Blocks of up to this many units have a list for each number of them; larger ones are
/// rounded up to a power of two.
const FINE: usize = 64;
/// Those, and the powers of two above, up to [`LARGE`].
const LISTS: usize = FINE + 1 + (LARGE / UNIT / FINE).trailing_zeros() as usize;

/// What the program's memory comes from: for `#[global_allocator]`.
pub struct Arena {
    locked: AtomicBool,
    state: UnsafeCell<State>,
    first: UnsafeCell<Region>,
}

#[derive(Debug)]
struct State {
    /// Of the region in use: where the next block goes, and its end. Null before the first.
    mark: *mut u8,
    end: *mut u8,
    /// Blocks that were given back, each with the address of the next in its first word.
    free: [*mut u8; LISTS],
}

#[repr(align(4096))]
struct Region(#[expect(dead_code, reason = "given out by its address")] [u8; FIRST]);

impl std::fmt::Debug for Arena {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Arena").finish_non_exhaustive()
    }
}

// SAFETY: the state is used with the lock held alone, and the bytes of the region are
// given out by it, each to one owner.
unsafe impl Sync for Arena {}

/// The size of the block for a layout, and its list.
fn class(size: usize) -> (usize, usize) {
    let units = size.div_ceil(UNIT).max(1);
    if units <= FINE {
        return (units * UNIT, units);
    }
    let units = units.next_power_of_two();
    (units * UNIT, FINE + (units / FINE).trailing_zeros() as usize)
}

fn is_large(layout: Layout) -> bool {
    layout.size() >= LARGE || layout.align() > UNIT
}

impl Arena {
    /// An arena of which nothing is given out.
    #[expect(clippy::new_without_default, reason = "a static, which needs it constant")]
    pub const fn new() -> Self {
        let state = State { mark: null_mut(), end: null_mut(), free: [null_mut(); LISTS] };
        Self {
            locked: AtomicBool::new(false),
            state: UnsafeCell::new(state),
            first: UnsafeCell::new(Region([0; FIRST])),
        }
    }

    fn take(&self, layout: Layout) -> *mut u8 {
        let (size, list) = class(layout.size());
        self.with(|state| {
            if state.mark.is_null() {
                state.begin(self.first.get().cast(), FIRST);
            }
            state.take(size, list)
        })
    }

    /// Does something with the state. What it does must not come back here.
    fn with<R>(&self, act: impl FnOnce(&mut State) -> R) -> R {
        while self.locked.swap(true, Ordering::Acquire) {
            spin_loop();
        }
        // SAFETY: nobody else has the lock.
        let done = act(unsafe { &mut *self.state.get() });
        self.locked.store(false, Ordering::Release);
        done
    }
}

impl State {
    fn begin(&mut self, region: *mut u8, size: usize) {
        self.mark = region;
        self.end = region.wrapping_add(size);
    }

    fn take(&mut self, size: usize, list: usize) -> *mut u8 {
        let first = self.free[list];
        if !first.is_null() {
            // SAFETY: a block that was given back holds the next one's address.
            self.free[list] = unsafe { first.cast::<*mut u8>().read() };
            return first;
        }
        if (self.end as usize) - (self.mark as usize) < size {
            let region = map(NEXT);
            if region.is_null() {
                return null_mut();
            }
            self.begin(region, NEXT);
        }
        let block = self.mark;
        self.mark = block.wrapping_add(size);
        block
    }

    /// # Safety
    ///
    /// The block was taken with this size and list, and nobody uses it any more.
    unsafe fn give_back(&mut self, block: *mut u8, size: usize, list: usize) {
        if block.wrapping_add(size) == self.mark {
            self.mark = block;
            return;
        }
        // SAFETY: it has at least one unit, which an address fits, and is aligned to it.
        unsafe { block.cast::<*mut u8>().write(self.free[list]) };
        self.free[list] = block;
    }

    /// Lets the last block grow or shrink where it is.
    fn resize_last(&mut self, block: *mut u8, from: usize, to: usize) -> bool {
        let last = block.wrapping_add(from) == self.mark;
        let fits = last && (self.end as usize) - (block as usize) >= to;
        if fits {
            self.mark = block.wrapping_add(to);
        }
        fits
    }
}

/// Memory of a mapping of its own, or null.
fn map(size: usize) -> *mut u8 {
    let (protection, flags) =
        (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: new memory at an address of the kernel's choice.
    match unsafe { libc::mmap(null_mut(), size, protection, flags, -1, 0) } {
        libc::MAP_FAILED => null_mut(),
        address => address.cast(),
    }
}

// SAFETY: a block belongs to one owner from its allocation on until it is given back: it
// comes from a list of such, from beyond the mark, or from a mapping of its own. Blocks
// have at least the size asked for and are aligned to a unit, mappings to a page; what
// asks for more than that gets null.
unsafe impl GlobalAlloc for Arena {
    // Not one copy for each of a thousand callers.
    #[inline(never)]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match is_large(layout) {
            // Of the alignments beyond a unit only what a page has can be had.
            true if layout.align() > 4096 => null_mut(),
            true => map(layout.size()),
            false => self.take(layout),
        }
    }

    #[inline(never)]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if is_large(layout) {
            // SAFETY: a mapping of this size, which its owner gives back.
            unsafe { libc::munmap(block.cast(), layout.size()) };
            return;
        }
        let (size, list) = class(layout.size());
        // SAFETY: a block of this layout, which its owner gives back.
        self.with(|state| unsafe { state.give_back(block, size, list) });
    }

    #[inline(never)]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller answers for a size that, rounded up, does not overflow.
        let new = unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) };
        if !is_large(layout) && !is_large(new) {
            let (from, to) = (class(layout.size()).0, class(new_size).0);
            if from == to || self.with(|state| state.resize_last(block, from, to)) {
                return block;
            }
        }
        // SAFETY: both layouts are what alloc and dealloc take, and the new block is
        // another one with room for what is copied.
        unsafe {
            let moved = self.alloc(new);
            if !moved.is_null() {
                ptr::copy_nonoverlapping(block, moved, layout.size().min(new_size));
                self.dealloc(block, layout);
            }
            moved
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Blocks in use, each filled with a byte of its own.
    struct Blocks {
        arena: &'static Arena,
        used: Vec<(*mut u8, Layout, u8)>,
    }

    impl Blocks {
        fn add(&mut self, layout: Layout, fill: u8) {
            // SAFETY: no size is zero.
            let block = unsafe { self.arena.alloc(layout) };
            assert!(
                !block.is_null() && (block as usize).is_multiple_of(layout.align()),
                "{layout:?}"
            );
            // SAFETY: a block of that size.
            unsafe { block.write_bytes(fill, layout.size()) };
            self.used.push((block, layout, fill));
        }

        /// Takes one out, which must be as it was filled.
        fn take(&mut self, at: usize) -> (*mut u8, Layout, u8) {
            let (block, layout, fill) = self.used.swap_remove(at % self.used.len());
            // SAFETY: a block of that size, which was filled.
            let bytes = unsafe { std::slice::from_raw_parts(block, layout.size()) };
            assert!(bytes.iter().all(|byte| *byte == fill), "{layout:?}");
            (block, layout, fill)
        }
    }

    #[test]
    fn no_block_reaches_into_another() {
        static ARENA: Arena = Arena::new();
        let arena = &ARENA;
        let mut blocks = Blocks { arena, used: Vec::new() };
        let mut random: u64 = 1;
        for round in 0..20_000u32 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let number = (random >> 33) as usize;
            // Mostly small ones, some of many pages.
            let size = 1 + number % (1 << (4 + number % 15));
            let layout = Layout::from_size_align(size, 1 << (number % 8)).unwrap();
            match number % 5 {
                0 | 1 => blocks.add(layout, round as u8),
                _ if blocks.used.is_empty() => {}
                2 | 3 => {
                    let (block, layout, _) = blocks.take(number);
                    // SAFETY: a block of that layout.
                    unsafe { arena.dealloc(block, layout) };
                }
                _ => {
                    let (block, layout, fill) = blocks.take(number);
                    // SAFETY: a block of that layout.
                    let block = unsafe { arena.realloc(block, layout, size) };
                    let new = Layout::from_size_align(size, layout.align()).unwrap();
                    let kept = layout.size().min(size);
                    // SAFETY: as many bytes as both have.
                    let bytes = unsafe { std::slice::from_raw_parts(block, kept) };
                    assert!(bytes.iter().all(|byte| *byte == fill), "{layout:?} to {new:?}");
                    // SAFETY: a block of that size.
                    unsafe { block.write_bytes(fill, size) };
                    blocks.used.push((block, new, fill));
                }
            }
        }
        while !blocks.used.is_empty() {
            let (block, layout, _) = blocks.take(0);
            // SAFETY: a block of that layout.
            unsafe { arena.dealloc(block, layout) };
        }
    }

    #[test]
    fn what_is_given_back_is_used_again() {
        static ARENA: Arena = Arena::new();
        let arena = &ARENA;
        for size in [1, 16, 17, 1024, 1025, 60_000, LARGE - 1] {
            let layout = Layout::from_size_align(size, 8).unwrap();
            // SAFETY: no size is zero, and what is given back is not used.
            unsafe {
                let (first, kept) = (arena.alloc(layout), arena.alloc(layout));
                arena.dealloc(first, layout);
                assert_eq!(arena.alloc(layout), first, "{size}");
                arena.dealloc(kept, layout);
                assert_eq!(arena.alloc(layout), kept, "{size}");
            }
        }
    }

    #[test]
    fn the_last_block_grows_where_it_is() {
        static ARENA: Arena = Arena::new();
        let arena = &ARENA;
        let layout = Layout::from_size_align(100, 1).unwrap();
        // SAFETY: no size is zero, and the layouts are those of the blocks.
        unsafe {
            let block = arena.alloc(layout);
            assert_eq!(arena.realloc(block, layout, 5000), block);
            arena.alloc(layout);
            let grown = Layout::from_size_align(5000, 1).unwrap();
            assert_ne!(arena.realloc(block, grown, 20_000), block);
        }
    }

    #[test]
    fn threads_share_it() {
        static ARENA: Arena = Arena::new();
        std::thread::scope(|scope| {
            for fill in 0..4u8 {
                scope.spawn(move || {
                    let mut blocks = Blocks { arena: &ARENA, used: Vec::new() };
                    for size in 1..2000 {
                        blocks.add(Layout::from_size_align(size, 8).unwrap(), fill);
                        if size % 3 == 0 {
                            let (block, layout, _) = blocks.take(size);
                            // SAFETY: a block of that layout.
                            unsafe { ARENA.dealloc(block, layout) };
                        }
                    }
                    while !blocks.used.is_empty() {
                        blocks.take(0);
                    }
                });
            }
        });
    }
}
