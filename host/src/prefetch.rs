//! Bringing memory near before it is needed.
//!
//! A record's group lies anywhere in a large table: found at once, it is waited for as long as a hundred records take that
//! are near. A processor that is asked some dozens of records before goes on meanwhile. It is advice: nothing depends on
//! whether it is followed, and where no instruction for it is known nobody is asked.

/// Asks for the line of the cache that this begins in.
#[inline]
pub fn prefetch<T>(place: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: the instruction is part of every x86-64 and reads nothing that a program could see; whatever the address,
        // it does not fail.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(place).cast()) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}
