//! Counts what a thread allocates, for the tests that bound it.

#![allow(unsafe_code)] // A global allocator cannot be written without.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
    static LIVE: Cell<usize> = const { Cell::new(0) };
    static PEAK: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

fn grown(octets: usize) {
    COUNT.with(|count| count.set(count.get() + 1));
    LIVE.with(|live| {
        live.set(live.get().wrapping_add(octets));
        PEAK.with(|peak| peak.set(peak.get().max(live.get())));
    });
}

fn shrunk(octets: usize) {
    LIVE.with(|live| live.set(live.get().saturating_sub(octets)));
}

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grown(layout.size());
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        shrunk(layout.size());
        unsafe { System.dealloc(at, layout) }
    }
    unsafe fn realloc(&self, at: *mut u8, layout: Layout, octets: usize) -> *mut u8 {
        shrunk(layout.size());
        grown(octets);
        unsafe { System.realloc(at, layout, octets) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Number of allocations and the most octets held at once while `f` runs on this thread.
pub(crate) fn measure<T>(f: impl FnOnce() -> T) -> (usize, usize, T) {
    let count = COUNT.get();
    let live = LIVE.get();
    PEAK.set(live);
    let result = f();
    (COUNT.get() - count, PEAK.get().saturating_sub(live), result)
}
