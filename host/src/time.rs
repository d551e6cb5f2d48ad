//! Time: watermarks as plain data, and the only place that reads a clock.
//!
//! Nothing here sleeps. Event-time code takes watermarks as arguments; processing time is handed in
//! as milliseconds, so that tests move it by hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// "No record with a timestamp <= this is expected any more." Milliseconds since 1970 UTC.
/// Never moves back (its keeper sees to that).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Watermark(pub i64);

impl Watermark {
    /// Nothing is known yet.
    pub const NONE: Watermark = Watermark(i64::MIN);
    /// The end of time: no record is expected any more.
    pub const END: Watermark = Watermark(i64::MAX);
}

/// Processing time, in milliseconds since 1970 UTC.
#[derive(Clone, Debug)]
pub enum Clock {
    /// The machine's clock.
    System,
    /// Moved by hand: `wasmill test`, unit tests.
    Manual(Arc<AtomicI64>),
}

impl Clock {
    /// A clock that stands at 0 until it is set.
    pub fn manual() -> Clock {
        Clock::Manual(Arc::new(AtomicI64::new(0)))
    }

    /// Now.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the wall clock"
    )]
    pub fn now(&self) -> i64 {
        match self {
            Clock::System => {
                let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
                since.map_or(0, |d| d.as_millis() as i64)
            }
            Clock::Manual(now) => now.load(Ordering::SeqCst),
        }
    }

    /// Moves a manual clock; nothing on the system's.
    pub fn set(&self, now: i64) {
        if let Clock::Manual(at) = self {
            at.store(now, Ordering::SeqCst);
        }
    }
}

/// How long something took, for figures that people read. Decisions go by `Clock`.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(std::time::Instant);

impl Stopwatch {
    /// Starts one.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that measures spans"
    )]
    pub fn start() -> Stopwatch {
        Stopwatch(std::time::Instant::now())
    }

    /// Time since the start.
    pub fn elapsed(&self) -> std::time::Duration {
        self.0.elapsed()
    }
}
