//! Several runs as one: for scans, and to make one run of them. The newest word on a name counts.

use super::SpillError;
use super::run::{Cursor, Run};

/// Goes through runs in order of names.
pub(super) struct Merged<'a> {
    /// Newest first.
    cursors: Vec<Cursor<'a>>,
    /// Which has the entry.
    at: usize,
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
        let mut merged = Merged { cursors, at: 0 };
        let any = merged.find();
        Ok((merged, any))
    }

    fn find(&mut self) -> bool {
        self.at = 0;
        for i in 1..self.cursors.len() {
            if self.cursors[i].name() < self.cursors[self.at].name() {
                self.at = i;
            }
        }
        !self.cursors.is_empty()
    }

    /// Name of the entry.
    pub fn name(&self) -> &[u8] {
        self.cursors[self.at].name()
    }

    /// Value of the entry; none: it was deleted.
    pub fn value(&self) -> Option<&[u8]> {
        self.cursors[self.at].value()
    }

    /// Moves to the next name, if there is one.
    pub fn next(&mut self) -> Result<bool, SpillError> {
        // Older words on the same name are passed over.
        let mut i = self.at + 1;
        while i < self.cursors.len() {
            if self.cursors[i].name() == self.cursors[self.at].name() && !self.cursors[i].next()? {
                self.cursors.remove(i);
            } else {
                i += 1;
            }
        }
        if !self.cursors[self.at].next()? {
            self.cursors.remove(self.at);
        }
        Ok(self.find())
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
