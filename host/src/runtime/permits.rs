//! CPU permits: how many tasks of a process compute at once.
//!
//! A task holds one while it works on a batch, never while it waits for records or for room in a
//! channel. This is the seam at which fair shares among tenants are decided later; today it is first come,
//! first served.

use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

/// A bounded number of permits. Cheap to clone: all clones share them.
#[derive(Clone, Debug)]
pub struct Permits {
    shared: Arc<(Mutex<usize>, Condvar)>,
}

impl Permits {
    /// As many as given, at least one.
    pub fn new(permits: usize) -> Permits {
        Permits {
            shared: Arc::new((Mutex::new(permits.max(1)), Condvar::new())),
        }
    }

    /// As many as the machine has cores.
    pub fn per_core() -> Permits {
        Permits::new(std::thread::available_parallelism().map_or(1, usize::from))
    }

    /// Waits for a permit; it is given back when dropped.
    pub fn acquire(&self) -> Permit {
        let (free, changed) = &*self.shared;
        let mut free = free.lock();
        while *free == 0 {
            changed.wait(&mut free);
        }
        *free -= 1;
        Permit { of: self.clone() }
    }
}

/// The right to compute.
#[derive(Debug)]
pub struct Permit {
    of: Permits,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let (free, changed) = &*self.of.shared;
        *free.lock() += 1;
        changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permit_comes_back_when_its_holder_drops_it() {
        let permits = Permits::new(1);
        drop(permits.acquire());
        let held = permits.acquire();
        assert_eq!(*permits.shared.0.lock(), 0);
        drop(held);
        assert_eq!(*permits.shared.0.lock(), 1);
    }
}
