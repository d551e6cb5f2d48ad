//! For how long a partition has had nothing to say: what idleness is decided by, over plain data.
//!
//! Only time counts in which the partition was asked. Its task asks nobody while it waits for room behind it, for a slow
//! sink or for its turn on a busy machine: what came in the meantime is not known, so backpressure never looks like
//! silence.

/// So much later than planned a partition may be asked, milliseconds: what is beyond counts as time in which nobody asked.
const LATE_MS: i64 = 1_000;

/// The silence of one partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Silence {
    /// It had nothing: when it was asked last, and after how many milliseconds it was to be asked again.
    asked: Option<(i64, i64)>,
    /// Length so far, milliseconds.
    counted: i64,
}

impl Silence {
    /// It spoke.
    pub fn end(&mut self) {
        *self = Silence::default();
    }

    /// It was asked, had nothing, and is to be asked again after so many milliseconds. Answers how long it has had nothing.
    pub fn asked(&mut self, now: i64, again_ms: i64) -> i64 {
        if let Some((last, planned)) = self.asked {
            let counts = planned.saturating_add(LATE_MS);
            let since = now.saturating_sub(last).clamp(0, counts);
            self.counted = self.counted.saturating_add(since);
        }
        self.asked = Some((now, again_ms));
        self.counted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_as_long_as_it_is_asked_for() {
        let mut silence = Silence::default();
        let lengths: Vec<i64> = (0..5).map(|i| silence.asked(100 + 50 * i, 50)).collect();
        assert_eq!(lengths, [0, 50, 100, 150, 200]);
        // A slow medium is asked seldom: that counts as well.
        assert_eq!(silence.asked(350, 60_000), 250);
        assert_eq!(silence.asked(60_350, 10), 60_250);
    }

    #[test]
    fn a_word_ends_it() {
        let mut silence = Silence::default();
        silence.asked(0, 10);
        assert_eq!(silence.asked(10, 10), 10);
        silence.end();
        assert_eq!(silence.asked(500, 10), 0);
    }

    #[test]
    fn time_in_which_nobody_asked_does_not_count() {
        let mut silence = Silence::default();
        silence.asked(0, 10);
        // asked   ..................................  an hour of waiting for room
        assert_eq!(silence.asked(3_600_000, 10), 10 + LATE_MS);
        assert_eq!(silence.asked(3_600_010, 10), 20 + LATE_MS);
        // A clock that was set back takes nothing away.
        assert_eq!(silence.asked(5, 10), 20 + LATE_MS);
    }
}
