//! From a row of the file to what the other functions need.

use wasmill_plugin::{Emit, Fields, Same, config, filter, transform};

/// A row. `NA` in a number is no number, which is what null says here.
#[derive(Fields)]
pub struct Row<'a> {
    carrier: &'a str,
    tailnum: Option<&'a str>,
    origin: &'a str,
    dest: &'a str,
    distance: Option<i64>,
    time_hour: &'a str,
    #[field(mismatch = "null")]
    dep_time: Option<i64>,
    #[field(mismatch = "null")]
    dep_delay: Option<i64>,
}

/// A flight.
#[derive(Debug, PartialEq, Emit)]
pub struct Flight {
    carrier: Same,
    tailnum: Same,
    origin: Same,
    dest: Same,
    distance: Same,
    time_hour: Same,
    /// Minutes; negative: left early.
    pub dep_delay: Option<i64>,
    /// It never left.
    pub cancelled: bool,
}

/// Config of `parse`.
#[config]
#[derive(Default)]
pub struct ParseConfig {
    /// A smaller delay counts as this one; 0: whoever leaves early is on time
    pub min_delay: Option<i64>,
}

/// Keeps what the other functions need of a flight, and says whether it was cancelled.
#[transform]
pub fn parse(row: Row<'_>, config: &ParseConfig) -> Flight {
    Flight {
        carrier: Same,
        tailnum: Same,
        origin: Same,
        dest: Same,
        distance: Same,
        time_hour: Same,
        dep_delay: row
            .dep_delay
            .map(|delay| delay.max(config.min_delay.unwrap_or(i64::MIN))),
        cancelled: row.dep_time.is_none(),
    }
}

/// Distance of a flight, in miles.
#[derive(Fields)]
pub struct Distance {
    distance: Option<i64>,
}

/// Config of `long-haul`.
#[config]
pub struct LongHaul {
    /// The least distance to keep, in miles
    #[serde(default = "far")]
    pub miles: i64,
}

fn far() -> i64 {
    1_500
}

/// Keeps flights of at least `miles`.
#[filter]
pub fn long_haul(flight: Distance, config: &LongHaul) -> bool {
    flight.distance.is_some_and(|miles| miles >= config.miles)
}
