use crate::plugin::TimeDomain;

/// Everything that a job says about a window step. Times are milliseconds.
#[derive(Clone, Debug, PartialEq)]
pub struct WindowSpec {
    /// Which windows a record falls in.
    pub kind: WindowKind,
    /// Which clock.
    pub time: TimeDomain,
    /// Windows are kept so long past their end.
    pub allowed_lateness_ms: i64,
    /// What comes out, when.
    pub emit: Emit,
    /// Early firing.
    pub trigger: Trigger,
    /// Whether an early firing empties the accumulator.
    pub panes: Panes,
}

impl WindowSpec {
    /// Whether a record can make groups of all keys fire, inside a batch.
    pub fn fires_all_inside(&self) -> bool {
        self.emit == Emit::Complete && self.trigger.records.is_some()
    }
}

/// Which windows a record falls in.
#[derive(Clone, Debug, PartialEq)]
pub enum WindowKind {
    /// [n * size + offset, (n + 1) * size + offset).
    Tumbling {
        /// Size.
        size: i64,
        /// Shift of all starts.
        offset: i64,
    },
    /// One starts at every multiple of `every`.
    Sliding {
        /// Size.
        size: i64,
        /// Distance of starts; at most size.
        every: i64,
        /// Shift of all starts.
        offset: i64,
    },
    /// [first, last + gap), merged when they overlap or touch.
    Session {
        /// Fixed gap; none: each record's from the function.
        gap: Option<i64>,
    },
    /// By key: at each `every`-th record, its last `size`.
    Count {
        /// How many records.
        size: u64,
        /// How often; = size for tumbling.
        every: u64,
    },
    /// One window for all time.
    Global,
}

/// Output mode, as in Spark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Emit {
    /// A window's result when it closes (and early panes, with a trigger).
    Append,
    /// Changed groups at each trigger.
    Update,
    /// All kept groups at each trigger.
    Complete,
}

/// Early firing; whichever comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trigger {
    /// At the n-th record of a (key, window) since it last fired.
    pub records: Option<u64>,
    /// At multiples of so many milliseconds of processing time.
    pub every_ms: Option<i64>,
    /// At multiples of so many milliseconds of event time.
    pub every_event_ms: Option<i64>,
}

impl Trigger {
    /// Whether there is none.
    pub fn is_none(&self) -> bool {
        *self == Trigger::default()
    }
}

/// What early firings do to accumulators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Panes {
    /// Nothing: the next pane includes what came before.
    Accumulating,
    /// Empty them: each pane stands alone.
    Discarding,
}

impl WindowSpec {
    /// Whether state is kept in slices that windows share, rather than window by window. State of the one kind is no
    /// good for the other.
    pub fn is_sliced(&self, facts: super::FunctionFacts) -> bool {
        super::sliced::SlicedWindows::serves(self, facts).is_some()
    }
}
