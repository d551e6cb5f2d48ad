/// Everything that a job says about a join. Times are milliseconds.
#[derive(Clone, Debug, PartialEq)]
pub struct JoinSpec {
    /// Which rows come out.
    pub kind: JoinKind,
    /// Which pairs match.
    pub bounds: JoinBounds,
    /// Rows are taken so long past their time.
    pub allowed_lateness_ms: i64,
}

/// Which rows come out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinKind {
    /// Pairs.
    Inner,
    /// Pairs, and left rows without any.
    Left,
    /// Pairs, and right rows without any.
    Right,
    /// Pairs, and rows of both sides without any.
    Full,
    /// Left rows with at least one match, unchanged.
    Semi,
    /// Left rows without any match, unchanged.
    Anti,
}

/// Which pairs match in time.
#[derive(Clone, Debug, PartialEq)]
pub enum JoinBounds {
    /// left.ts + from <= right.ts <= left.ts + to, less the excluded bounds.
    Interval {
        /// Lower.
        from: i64,
        /// Upper.
        to: i64,
        /// Bounds that do not count in.
        exclusive: Exclusive,
    },
    /// Both in the same tumbling window.
    Window {
        /// Size.
        size: i64,
        /// Shift of all starts.
        offset: i64,
    },
}

/// Which bounds do not count in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exclusive {
    /// Both count in.
    Neither,
    /// The lower does not.
    From,
    /// The upper does not.
    To,
    /// Neither counts in.
    Both,
}
