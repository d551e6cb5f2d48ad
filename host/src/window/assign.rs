//! Which windows a timestamp falls in. All sums are checked: a window that would leave the range of
//! 64-bit milliseconds is none.

/// Evenly spaced windows: [k * every + offset, k * every + offset + size).
#[derive(Clone, Copy, Debug)]
pub(super) struct Grid {
    size: i64,
    every: i64,
    /// 0 <= offset < every.
    offset: i64,
}

impl Grid {
    /// `size` and `every` are positive, `every` is not greater than `size`.
    pub fn new(size: i64, every: i64, offset: i64) -> Grid {
        Grid {
            size,
            every,
            offset: offset.rem_euclid(every),
        }
    }

    /// Start of the last window that holds the timestamp, if neither it nor its end leaves the range.
    #[inline]
    pub fn last_start(&self, timestamp: i64) -> Option<i64> {
        let mut into = timestamp.rem_euclid(self.every) - self.offset;
        if into < 0 {
            into += self.every;
        }
        let start = timestamp.checked_sub(into)?;
        start.checked_add(self.size)?;
        Some(start)
    }

    /// First and last start of the windows that hold the timestamp, if none leaves the range.
    pub fn starts(&self, timestamp: i64) -> Option<(i64, i64)> {
        let last = self.last_start(timestamp)?;
        let before = (self.size - 1 - (timestamp - last)) / self.every;
        let first = last.checked_sub(before.checked_mul(self.every)?)?;
        Some((first, last))
    }

    /// End of the window that starts there.
    #[inline]
    pub fn end(&self, start: i64) -> i64 {
        start + self.size
    }

    /// Size of windows.
    pub fn size(&self) -> i64 {
        self.size
    }

    /// The pieces that all windows consist of, as large as they can be.
    pub fn slices(&self) -> Grid {
        let (mut a, mut b) = (self.size, self.every);
        while b != 0 {
            (a, b) = (b, a % b);
        }
        Grid::new(a, a, self.offset)
    }

    /// Whether these are the bounds of a window.
    pub fn holds(&self, start: i64, end: i64) -> bool {
        self.last_start(start) == Some(start) && self.end(start) == end
    }

    /// Distance of starts.
    pub fn every(&self) -> i64 {
        self.every
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn starts(size: i64, every: i64, offset: i64, timestamp: i64) -> Vec<i64> {
        let grid = Grid::new(size, every, offset);
        let Some((first, last)) = grid.starts(timestamp) else {
            return vec![];
        };
        (0..)
            .map(|k| first + k * every)
            .take_while(|s| *s <= last)
            .collect()
    }

    #[test]
    fn tumbling_windows_round_down_also_before_1970() {
        assert_eq!(starts(10, 10, 0, 0), [0]);
        assert_eq!(starts(10, 10, 0, 9), [0]);
        assert_eq!(starts(10, 10, 0, -1), [-10]);
        assert_eq!(starts(10, 10, 0, -10), [-10]);
    }

    #[test]
    fn offset_shifts_starts_either_way() {
        assert_eq!(starts(10, 10, 3, 2), [-7]);
        assert_eq!(starts(10, 10, 3, 3), [3]);
        assert_eq!(starts(10, 10, -3, 6), [-3]);
        assert_eq!(starts(10, 10, 13, 3), [3]);
    }

    #[test]
    fn sliding_windows_overlap() {
        assert_eq!(starts(10, 5, 0, 7), [0, 5]);
        assert_eq!(starts(10, 3, 0, 7), [0, 3, 6]);
        assert_eq!(starts(10, 3, 0, 9), [0, 3, 6, 9]);
        assert_eq!(starts(10, 3, 0, -1), [-9, -6, -3]);
    }

    #[test]
    fn windows_that_leave_the_range_are_none() {
        assert_eq!(starts(10, 10, 0, i64::MAX), Vec::<i64>::new());
        assert_eq!(starts(10, 10, 0, i64::MIN), Vec::<i64>::new());
        assert_eq!(starts(10, 5, 0, i64::MIN + 3), Vec::<i64>::new());
        assert_eq!(starts(1, 1, 0, i64::MAX - 1), [i64::MAX - 1]);
        assert_eq!(starts(1, 1, 0, i64::MAX), Vec::<i64>::new());
        assert_eq!(starts(i64::MAX, i64::MAX, 0, 5), [0]);
        assert_eq!(starts(1, 1, 0, i64::MIN), [i64::MIN]);
    }

    proptest::proptest! {
        #[test]
        fn windows_are_all_and_only_those_that_hold_the_timestamp(
            size in 1i64..40, part in 1i64..40, offset in -50i64..50, timestamp in -200i64..200
        ) {
            let every = part.min(size);
            let expected: Vec<i64> = (timestamp - size + 1..=timestamp).filter(|s| (s - offset).rem_euclid(every) == 0).collect();
            proptest::prop_assert_eq!(starts(size, every, offset, timestamp), expected);
        }
    }
}
