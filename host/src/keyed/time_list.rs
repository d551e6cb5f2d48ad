use smallvec::SmallVec;

/// Entries of one key in order of time, those of one time in order of arrival.
///
/// Most keys have one or a few, appended at the end and removed from the front: the first needs no
/// memory of its own, and removing from the front moves nothing most of the time. A late-comer moves what is
/// younger than it.
#[derive(Debug, Default)]
pub struct TimeList {
    /// Entries before it are gone.
    head: u32,
    entries: SmallVec<[(i64, u32); 1]>,
}

impl TimeList {
    /// All entries.
    #[inline]
    pub fn all(&self) -> &[(i64, u32)] {
        &self.entries[self.head as usize..]
    }

    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.all().is_empty()
    }

    /// Adds an entry behind all of its time.
    #[inline]
    pub fn insert(&mut self, time: i64, what: u32) {
        if self.entries.last().is_none_or(|last| last.0 <= time) {
            self.entries.push((time, what));
        } else {
            let at = self.head as usize + self.all().partition_point(|e| e.0 <= time);
            self.entries.insert(at, (time, what));
        }
    }

    /// Entries from `range.0` to `range.1`, both inclusive.
    #[inline]
    pub fn range(&self, range: (i64, i64)) -> &[(i64, u32)] {
        let all = self.all();
        match all {
            [] => all,
            [one] => &all[..usize::from(range.0 <= one.0 && one.0 <= range.1)],
            _ => {
                let start = all.partition_point(|e| e.0 < range.0);
                let end = start + all[start..].partition_point(|e| e.0 <= range.1);
                &all[start..end]
            }
        }
    }

    /// Removes an entry; answers whether it was there.
    pub fn remove(&mut self, time: i64, what: u32) -> bool {
        let start = self.head as usize + self.all().partition_point(|e| e.0 < time);
        let Some(at) = self.entries[start..]
            .iter()
            .take_while(|e| e.0 == time)
            .position(|e| e.1 == what)
        else {
            return false;
        };
        let at = start + at;
        if at != self.head as usize {
            self.entries.remove(at);
            return true;
        }
        self.head += 1;
        if self.head as usize == self.entries.len() {
            self.entries.clear();
            self.entries.shrink_to_fit();
            self.head = 0;
        } else if self.head as usize > self.entries.len() / 2 {
            self.entries.drain(..self.head as usize);
            self.head = 0;
        }
        true
    }
}
