//! How a function says that one record failed.

use std::fmt;

/// One record failed, and why. The job's `on-error` decides what happens to it; the others go on.
///
/// Any error becomes one, so `?` works in functions that answer `Result<_, Reject>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    reason: String,
}

impl Reject {
    /// For people: it stands in dead letters and logs.
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl<E: std::error::Error> From<E> for Reject {
    fn from(error: E) -> Reject {
        reject(error.to_string())
    }
}

/// The record in hand failed: `return Err(reject("no origin"))`.
#[cold]
pub fn reject(reason: impl Into<String>) -> Reject {
    Reject {
        reason: reason.into(),
    }
}

/// Answers that say whether the record worked. What functions may return in place of a `Result`.
pub trait Outcome<T> {
    /// As a result.
    fn outcome(self) -> Result<T, Reject>;
}

impl<T> Outcome<T> for Result<T, Reject> {
    #[inline]
    fn outcome(self) -> Result<T, Reject> {
        self
    }
}

impl<T> Outcome<T> for T {
    #[inline]
    fn outcome(self) -> Result<T, Reject> {
        Ok(self)
    }
}
