use super::spec::{Exclusive, JoinBounds};

/// An input of a join.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Input 0.
    Left,
    /// Input 1.
    Right,
}

impl Side {
    pub(super) fn of(input: usize) -> Side {
        if input == 0 { Side::Left } else { Side::Right }
    }

    pub(super) fn other(self) -> Side {
        match self {
            Side::Left => Side::Right,
            Side::Right => Side::Left,
        }
    }
}

/// Cuts a time that left the range of i64 to its end.
fn clamp(time: i128) -> i64 {
    time.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
}

/// The times (inclusive) that partners of a row can have, in i128 so that nothing overflows.
fn partners_wide(bounds: &JoinBounds, side: Side, ts: i64) -> (i128, i128) {
    let ts = i128::from(ts);
    match *bounds {
        JoinBounds::Interval {
            from,
            to,
            exclusive,
        } => {
            let from = i128::from(from)
                + i128::from(matches!(exclusive, Exclusive::From | Exclusive::Both));
            let to =
                i128::from(to) - i128::from(matches!(exclusive, Exclusive::To | Exclusive::Both));
            match side {
                Side::Left => (ts + from, ts + to),
                Side::Right => (ts - to, ts - from),
            }
        }
        JoinBounds::Window { size, offset } => {
            let (size, offset) = (i128::from(size.max(1)), i128::from(offset));
            let start = (ts - offset).div_euclid(size) * size + offset;
            (start, start + size - 1)
        }
    }
}

impl JoinBounds {
    /// The times (inclusive) that partners of a row of `side` at `ts` have. None: there can be none.
    #[inline]
    pub(super) fn partners(&self, side: Side, ts: i64) -> Option<(i64, i64)> {
        let (from, to) = partners_wide(self, side, ts);
        let possible = from <= to && from <= i128::from(i64::MAX) && to >= i128::from(i64::MIN);
        possible.then(|| (clamp(from), clamp(to)))
    }

    /// Once nothing at or before this is expected any more, the row has found all its partners.
    #[inline]
    pub(super) fn last_match(&self, side: Side, ts: i64) -> i64 {
        clamp(partners_wide(self, side, ts).1)
    }

    /// The latest time of rows of `side` that have found all their partners once nothing at or before `gone` is expected
    /// any more. None: there are none.
    pub(super) fn gone_until(&self, side: Side, gone: i64) -> Option<i64> {
        if gone == i64::MAX {
            return Some(i64::MAX);
        }
        let wide = i128::from(gone);
        let until = match *self {
            // All rows are as far from their last match.
            JoinBounds::Interval { .. } => wide - partners_wide(self, side, 0).1,
            JoinBounds::Window { size, offset } => {
                let (size, offset) = (i128::from(size.max(1)), i128::from(offset));
                // Windows end behind a multiple of their size.
                (wide + 1 - offset).div_euclid(size) * size + offset - 1
            }
        };
        (until >= i128::from(i64::MIN)).then(|| clamp(until))
    }

    /// A row is late once nothing at or before this is expected any more: its own time, or its window's last.
    #[inline]
    pub(super) fn late_after(&self, side: Side, ts: i64) -> i64 {
        match self {
            JoinBounds::Interval { .. } => ts,
            JoinBounds::Window { .. } => self.last_match(side, ts),
        }
    }
}
