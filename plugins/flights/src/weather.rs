//! A flight beside the weather of its hour.

use wasmill_plugin::{Emit, Fields, join};

/// A flight that `parse` made.
#[derive(Fields)]
pub struct Flight<'a> {
    carrier: &'a str,
    origin: &'a str,
    dest: &'a str,
    dep_delay: Option<i64>,
    cancelled: bool,
}

/// The weather at an airport, as in nycflights13. `NA` is null.
#[derive(Fields)]
pub struct Weather {
    #[field(mismatch = "null")]
    temp: Option<f64>,
    #[field(mismatch = "null")]
    wind_speed: Option<f64>,
    #[field(mismatch = "null")]
    visib: Option<f64>,
}

/// Both.
#[derive(Emit)]
pub struct Both<'a> {
    carrier: &'a str,
    origin: &'a str,
    dest: &'a str,
    dep_delay: Option<i64>,
    cancelled: bool,
    temp: Option<f64>,
    wind_speed: Option<f64>,
    visib: Option<f64>,
}

/// A flight with the weather where and when it left, null where none is known.
#[join]
pub fn merge(flight: Flight<'_>, weather: Option<Weather>) -> Both<'_> {
    Both {
        carrier: flight.carrier,
        origin: flight.origin,
        dest: flight.dest,
        dep_delay: flight.dep_delay,
        cancelled: flight.cancelled,
        temp: weather.as_ref().and_then(|w| w.temp),
        wind_speed: weather.as_ref().and_then(|w| w.wind_speed),
        visib: weather.as_ref().and_then(|w| w.visib),
    }
}
