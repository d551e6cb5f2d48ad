//! Delays of many flights, and of many hours of them.

use wasmill_plugin::{Emit, Fields, Group, State, aggregate};

/// A flight that `parse` made.
#[derive(Fields)]
pub struct Departure {
    dep_delay: Option<i64>,
    cancelled: bool,
}

/// Sums of a window.
#[derive(Clone, Debug, Default, PartialEq, State)]
pub struct DelayStats {
    flights: i64,
    cancelled: i64,
    /// Flights whose delay is known, and their delays.
    known: i64,
    total: i64,
    worst: Option<i64>,
}

/// What is said of a window.
#[derive(Emit)]
pub struct Delays {
    flights: i64,
    cancelled: i64,
    /// Minutes.
    mean_delay: Option<f64>,
    worst_delay: Option<i64>,
    /// Of all flights; what day and month are made from.
    total_delay: i64,
}

/// Flights, cancelled ones, mean and worst delay.
#[aggregate]
impl DelayStats {
    fn add(&mut self, flight: Departure) {
        self.flights += 1;
        self.cancelled += i64::from(flight.cancelled);
        if let Some(delay) = flight.dep_delay {
            self.known += 1;
            self.total += delay;
            self.worst = self.worst.max(Some(delay));
        }
    }

    fn merge(&mut self, later: DelayStats) {
        self.flights += later.flights;
        self.cancelled += later.cancelled;
        self.known += later.known;
        self.total += later.total;
        self.worst = self.worst.max(later.worst);
    }

    fn finish(&self) -> Delays {
        Delays {
            flights: self.flights,
            cancelled: self.cancelled,
            mean_delay: (self.known > 0).then(|| self.total as f64 / self.known as f64),
            worst_delay: self.worst,
            total_delay: self.total,
        }
    }
}

/// A result of `delay-stats`.
#[derive(Fields)]
pub struct Hour {
    flights: i64,
    cancelled: i64,
    worst_delay: Option<i64>,
    total_delay: i64,
    #[field(timestamp)]
    time: i64,
}

/// Sums of the hours of a day.
#[derive(Clone, Debug, Default, State)]
pub struct DayStats {
    flights: i64,
    cancelled: i64,
    total: i64,
    worst: Option<i64>,
    /// (flights, hour of day in UTC) of the busiest hour: the earlier one where two are alike.
    busiest: Option<(i64, i64)>,
}

/// What is said of a day.
#[derive(Emit)]
pub struct Day {
    airport: String,
    flights: i64,
    cancelled: i64,
    mean_delay: Option<f64>,
    worst_delay: Option<i64>,
    busiest_hour: Option<i64>,
}

/// A day made from hours of `delay-stats`, with its busiest hour.
#[aggregate]
impl DayStats {
    fn add(&mut self, hour: Hour) {
        self.flights += hour.flights;
        self.cancelled += hour.cancelled;
        self.total += hour.total_delay;
        self.worst = self.worst.max(hour.worst_delay);
        // A result's timestamp is the last millisecond of its hour.
        self.consider(Some((
            hour.flights,
            hour.time.div_euclid(3_600_000).rem_euclid(24),
        )));
    }

    fn merge(&mut self, later: DayStats) {
        self.flights += later.flights;
        self.cancelled += later.cancelled;
        self.total += later.total;
        self.worst = self.worst.max(later.worst);
        self.consider(later.busiest);
    }

    fn finish(&self, group: &Group<'_>) -> Day {
        let departed = self.flights - self.cancelled;
        Day {
            airport: group.key_text().into_owned(),
            flights: self.flights,
            cancelled: self.cancelled,
            mean_delay: (departed > 0).then(|| self.total as f64 / departed as f64),
            worst_delay: self.worst,
            busiest_hour: self.busiest.map(|(_, hour)| hour),
        }
    }
}

impl DayStats {
    fn consider(&mut self, other: Option<(i64, i64)>) {
        let rank = |b: Option<(i64, i64)>| b.map(|(flights, hour)| (flights, -hour));
        if rank(other) > rank(self.busiest) {
            self.busiest = other;
        }
    }
}
