/// Things in order of time: cheap to fill in almost any order, emptied from the front in bulk.
///
/// A few sorted runs of falling length, as in a log-structured tree: what came since the last pop is
/// sorted (it mostly is already), and runs of like length are merged. Each entry is 16 bytes and is
/// moved log(n / batch) times, in sequence; a heap touches as many cache lines at random.
#[derive(Debug, Default)]
pub struct TimeQueue {
    /// Ascending, consumed from `head`; each at least twice as long as the next.
    runs: Vec<Run>,
    incoming: Vec<(i64, u32)>,
    incoming_least: Option<i64>,
}

#[derive(Debug)]
struct Run {
    head: usize,
    entries: Vec<(i64, u32)>,
}

impl Run {
    fn rest(&self) -> &[(i64, u32)] {
        &self.entries[self.head..]
    }
}

impl TimeQueue {
    /// Puts something in.
    #[inline]
    pub fn push(&mut self, time: i64, what: u32) {
        self.incoming.push((time, what));
        if self.incoming_least.is_none_or(|least| time < least) {
            self.incoming_least = Some(time);
        }
    }

    /// The least time in the queue.
    pub fn least(&self) -> Option<i64> {
        self.runs
            .iter()
            .filter_map(|r| r.rest().first().map(|e| e.0))
            .chain(self.incoming_least)
            .min()
    }

    /// How many entries.
    pub fn len(&self) -> usize {
        self.incoming.len() + self.runs.iter().map(|r| r.rest().len()).sum::<usize>()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes out all that is due at `time` (inclusive), in order of time, then number.
    pub fn pop_until(&mut self, time: i64) -> Vec<(i64, u32)> {
        self.settle();
        let mut due = Vec::new();
        for run in &mut self.runs {
            let n = run.rest().partition_point(|e| e.0 <= time);
            due.extend_from_slice(&run.rest()[..n]);
            run.head += n;
            // Bounded waste: at most half of a run is behind its head.
            if run.head > run.entries.len() / 2 {
                run.entries.drain(..run.head);
                run.head = 0;
                if run.entries.capacity() > 4 * run.entries.len() {
                    run.entries.shrink_to_fit();
                }
            }
        }
        self.runs.retain(|r| !r.rest().is_empty());
        // A stable sort finds the sorted runs and merges them.
        due.sort();
        due
    }

    /// Sorts what came in, and merges runs until each is at least twice as long as the next.
    fn settle(&mut self) {
        if self.incoming.is_empty() {
            return;
        }
        let mut entries = std::mem::take(&mut self.incoming);
        self.incoming_least = None;
        entries.sort();
        self.runs.push(Run { head: 0, entries });
        while let [.., before, last] = self.runs.as_mut_slice() {
            if before.rest().len() >= 2 * last.rest().len() {
                break;
            }
            let mut merged = Vec::with_capacity(before.rest().len() + last.rest().len());
            merged.extend_from_slice(before.rest());
            merged.extend_from_slice(last.rest());
            merged.sort();
            self.runs.pop();
            *self.runs.last_mut().expect("there were two runs") = Run {
                head: 0,
                entries: merged,
            };
        }
    }

    /// Bytes that the entries take.
    pub fn bytes(&self) -> usize {
        let runs: usize = self.runs.iter().map(|r| r.entries.capacity()).sum();
        (runs + self.incoming.capacity()) * size_of::<(i64, u32)>()
    }
}
