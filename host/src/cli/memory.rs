//! How memory that was freed goes back to the system.
//!
//! Batches live in buffers of some hundred kilobytes, made and freed for each batch. Left to itself, the C library
//! gives them back at once and asks for them again: every page of every batch is then a fault, which cost 40 % of the
//! CPU time of a job that passes records on.

/// Buffers below this come from memory that is kept: twice a batch's default bytes, and as much again.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const KEPT_BYTES: i32 = 4 << 20;

/// So much unused memory is kept by an arena of the allocator (about one a thread) before some is given back.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const UNUSED_BYTES: i32 = 8 << 20;

/// Has the C library keep what batches need again at once. To be called before other threads start; elsewhere than
/// with glibc it does nothing.
pub fn keep_buffers() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: only sets two numbers of the allocator, for which it takes its own lock.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, KEPT_BYTES);
        libc::mallopt(libc::M_TRIM_THRESHOLD, UNUSED_BYTES);
    }
}
