//! Several runs as one: for scans, and to make one run of them. The newest word on a name counts.

use super::SpillError;
use super::run::{Cursor, Run};

/// Goes through runs in order of names.
pub(super) struct Merged<'a> {
    /// Newest first. Those that came to their end stay, and are in no heap.
    cursors: Vec<Cursor<'a>>,
    /// Numbers of those that are not at their end, as a heap: the least name first, of equal ones the newest.
    heap: Vec<usize>,
}

impl<'a> Merged<'a> {
    /// Runs, newest last, from a name on; call `next` after each entry. Answers whether there is a first.
    pub fn new(
        runs: impl DoubleEndedIterator<Item = &'a Run>,
        from: &[u8],
    ) -> Result<(Merged<'a>, bool), SpillError> {
        let mut cursors = Vec::new();
        for run in runs.rev() {
            let (cursor, any) = Cursor::new(run, from)?;
            if any {
                cursors.push(cursor);
            }
        }
        let heap = (0..cursors.len()).collect();
        let mut merged = Merged { cursors, heap };
        for at in (0..merged.heap.len() / 2).rev() {
            merged.sink(at);
        }
        let any = !merged.heap.is_empty();
        Ok((merged, any))
    }

    fn is_before(&self, a: usize, b: usize) -> bool {
        let name = |at: usize| self.cursors[self.heap[at]].name();
        (name(a), self.heap[a]) < (name(b), self.heap[b])
    }

    /// Puts what stands there where it belongs, below.
    fn sink(&mut self, mut at: usize) {
        loop {
            let (left, right) = (2 * at + 1, 2 * at + 2);
            let mut least = at;
            for child in [left, right] {
                if child < self.heap.len() && self.is_before(child, least) {
                    least = child;
                }
            }
            if least == at {
                return;
            }
            self.heap.swap(at, least);
            at = least;
        }
    }

    /// Moves the cursor that is first.
    fn advance(&mut self) -> Result<(), SpillError> {
        if !self.cursors[self.heap[0]].next()? {
            self.heap.swap_remove(0);
        }
        self.sink(0);
        Ok(())
    }

    /// Name of the entry.
    pub fn name(&self) -> &[u8] {
        self.cursors[self.heap[0]].name()
    }

    /// Value of the entry; none: it was deleted.
    pub fn value(&self) -> Option<&[u8]> {
        self.cursors[self.heap[0]].value()
    }

    /// Moves to the next name, if there is one.
    pub fn next(&mut self) -> Result<bool, SpillError> {
        // Older words on the same name are passed over: they are next to it.
        let is_same = |merged: &Merged<'_>, at: usize| {
            at < merged.heap.len() && merged.cursors[merged.heap[at]].name() == merged.name()
        };
        while is_same(self, 1) || is_same(self, 2) {
            let older = if is_same(self, 1) { 1 } else { 2 };
            if !self.cursors[self.heap[older]].next()? {
                self.heap.swap_remove(older);
            }
            // (What came from the end may stand here: the first is before that, too.)
            self.sink(older);
        }
        self.advance()?;
        Ok(!self.heap.is_empty())
    }
}

/// Where the runs begin that are to become one, given the bytes of each, newest last; none: all is well. Each run is
/// kept at least twice as large as all that are newer, so there are few, and each entry is rewritten few times.
pub(super) fn to_merge(bytes: &[u64]) -> Option<usize> {
    let mut newer = 0;
    let mut from = None;
    for (i, &size) in bytes.iter().enumerate().rev() {
        if newer > 0 && size < 2 * newer {
            from = Some(i);
        }
        newer += size;
    }
    from
}
