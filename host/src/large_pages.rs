//! Large tables on large pages of memory.
//!
//! A table of a million keys lies on ten thousand pages of 4 KiB, more than a processor remembers the places of: then each
//! record pays for finding the page as well, in a virtual machine twice. Linux lays memory on pages of 2 MiB where it is
//! asked to. It is advice: nothing depends on whether it is followed, and elsewhere than on Linux nobody is asked.

/// The size of a large page, on all processors that we build for.
#[cfg(target_os = "linux")]
const LARGE_PAGE: usize = 2 << 20;

/// Since Linux 6.1 (the crate `libc` names it for glibc only).
#[cfg(target_os = "linux")]
const MADV_COLLAPSE: libc::c_int = 25;

/// From so many bytes on what was moved is gathered: less a processor finds by itself.
#[cfg(target_os = "linux")]
const GATHERED_BYTES: usize = 16 << 20;

/// Asks for large pages for a buffer's memory, as far as it covers whole ones. To be called when it was (re)allocated,
/// before what is new of it is written: that comes in large pages at once. `moved`: what is in it is at another address
/// than before, which leaves it on small pages; if it is large, the system gathers it on large ones, at the cost of
/// a copy.
pub fn prefer<T>(buffer: &mut Vec<T>, moved: bool) {
    #[cfg(target_os = "linux")]
    {
        let (all, filled) = (buffer.capacity(), buffer.len());
        advise(buffer, all * size_of::<T>(), libc::MADV_HUGEPAGE);
        if moved && filled * size_of::<T>() >= GATHERED_BYTES {
            advise(buffer, filled * size_of::<T>(), MADV_COLLAPSE);
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (buffer, moved);
}

/// What is in an empty buffer's memory is of no use to anybody: the system may take its large pages back when it needs some.
/// Those that it left are written again as they are, without being cleared first.
pub fn lend(buffer: &mut Vec<u8>) {
    debug_assert!(buffer.is_empty(), "content would be lost");
    #[cfg(target_os = "linux")]
    if buffer.is_empty() {
        advise(buffer, buffer.capacity(), libc::MADV_FREE);
    }
}

/// Gives advice about the whole large pages in the first bytes of a buffer. A system that does not know it says so;
/// then nothing happens.
#[cfg(target_os = "linux")]
fn advise<T>(buffer: &mut Vec<T>, bytes: usize, advice: libc::c_int) {
    let start = buffer.as_mut_ptr().cast::<u8>();
    let skipped = start.align_offset(LARGE_PAGE);
    let whole = bytes.saturating_sub(skipped) / LARGE_PAGE * LARGE_PAGE;
    if whole > 0 {
        // SAFETY: the range lies in the buffer's own allocation (`skipped + whole <= bytes`, and these are no more than its
        // capacity), which is borrowed for us alone; the advice changes neither its content nor what may be done with it (`lend`'s
        // may clear it, and is given where there is none).
        unsafe {
            libc::madvise(start.wrapping_add(skipped).cast(), whole, advice);
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn content_stays_whatever_the_size() {
        for len in [0, 1, 1 << 16, 3 << 20] {
            let mut buffer: Vec<u64> = (0..len).collect();
            super::prefer(&mut buffer, true);
            assert!(buffer.iter().copied().eq(0..len));
        }
    }
}
