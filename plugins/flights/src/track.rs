//! Planes: the flights that each makes before it rests, as keyed state with timers.

use wasmill_plugin::{Context, Emit, Fields, Output, State, Timer, config, process};

/// A flight, keyed by the plane's tail number.
#[derive(Fields)]
pub struct Leg<'a> {
    origin: &'a str,
    dest: &'a str,
    dep_delay: Option<i64>,
    cancelled: bool,
    #[field(timestamp)]
    time: i64,
}

/// Config of `track`.
#[config]
pub struct TrackConfig {
    /// Hours without a flight after which a plane rests
    #[serde(default = "half_a_day")]
    rest_hours: i64,
}

fn half_a_day() -> i64 {
    12
}

/// Where a plane is in its tour.
#[derive(Debug, Default, State)]
pub enum Track {
    /// No flight yet, or rested.
    #[default]
    Resting,
    /// On tour.
    Flying(Tour),
}

/// The flights since the plane last rested.
#[derive(Debug, State)]
pub struct Tour {
    from: String,
    to: String,
    legs: i64,
    delay: i64,
    start: i64,
    /// The newest flight, and the timer that is set for it.
    last: i64,
    rest_at: i64,
}

/// A tour that is over.
#[derive(Emit)]
pub struct Done<'a> {
    from: &'a str,
    to: &'a str,
    legs: i64,
    total_delay: i64,
    hours: f64,
}

/// Follows a plane: one record per tour, when it rested long enough.
#[process]
impl Track {
    fn on_record(&mut self, leg: Leg<'_>, config: &TrackConfig, plane: &mut Context<'_>) {
        if leg.cancelled {
            return;
        }
        let rest_at = leg.time + config.rest_hours * 3_600_000;
        let delay = leg.dep_delay.unwrap_or(0);
        match self {
            Track::Resting => {
                *self = Track::Flying(Tour {
                    from: leg.origin.into(),
                    to: leg.dest.into(),
                    legs: 1,
                    delay,
                    start: leg.time,
                    last: leg.time,
                    rest_at,
                });
                plane.set_timer(rest_at);
            }
            Track::Flying(tour) => {
                tour.legs += 1;
                tour.delay += delay;
                // Flights come out of order: the ends of the tour are the earliest and the latest.
                if leg.time < tour.start {
                    tour.start = leg.time;
                    tour.from = leg.origin.into();
                }
                if leg.time >= tour.last {
                    tour.last = leg.time;
                    tour.to = leg.dest.into();
                    plane.delete_timer(tour.rest_at);
                    plane.set_timer(rest_at);
                    tour.rest_at = rest_at;
                }
            }
        }
    }

    fn on_timer(&mut self, _timer: Timer, plane: &mut Context<'_>, out: &mut Output<Done<'_>>) {
        if let Track::Flying(tour) = self {
            out.emit(Done {
                from: &tour.from,
                to: &tour.to,
                legs: tour.legs,
                total_delay: tour.delay,
                hours: (tour.last - tour.start) as f64 / 3_600_000.0,
            });
        }
        plane.clear_state();
    }
}
