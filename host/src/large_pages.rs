//! Large tables on large pages of memory.
//!
//! A table of a million keys lies on ten thousand pages of 4 KiB, more than a processor remembers the places of: then each
//! record pays for finding the page as well, in a virtual machine twice. Linux lays memory on pages of 2 MiB where it is
//! asked to. It is advice: nothing depends on whether it is followed, and elsewhere than on Linux nobody is asked.

/// The size of a large page, on all processors that we build for.
#[cfg(target_os = "linux")]
const LARGE_PAGE: usize = 2 << 20;

/// Asks for large pages for a buffer's memory, as far as it covers whole ones. To be called when it was (re)allocated,
/// before what is new of it is written: only memory that is touched for the first time comes in large pages at once.
pub fn prefer<T>(buffer: &mut Vec<T>) {
    #[cfg(target_os = "linux")]
    {
        let (start, bytes) = (
            buffer.as_mut_ptr().cast::<u8>(),
            buffer.capacity() * size_of::<T>(),
        );
        let skipped = start.align_offset(LARGE_PAGE);
        let whole = bytes.saturating_sub(skipped) / LARGE_PAGE * LARGE_PAGE;
        if whole > 0 {
            // SAFETY: the range lies in the buffer's own allocation (`skipped + whole <= bytes`), which is borrowed for
            // us alone; the advice changes neither its content nor what may be done with it.
            unsafe {
                libc::madvise(
                    start.wrapping_add(skipped).cast(),
                    whole,
                    libc::MADV_HUGEPAGE,
                );
            }
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = buffer;
}

#[cfg(test)]
mod tests {
    #[test]
    fn content_stays_whatever_the_size() {
        for len in [0, 1, 1 << 16, 3 << 20] {
            let mut buffer: Vec<u64> = (0..len).collect();
            super::prefer(&mut buffer);
            assert!(buffer.iter().copied().eq(0..len));
        }
    }
}
