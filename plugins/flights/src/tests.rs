use wasmill_plugin::testing::{open, record};

use crate::delays::{DayStats, DelayStats};
use crate::parse::{long_haul, parse};
use crate::track::Track;
use crate::weather::merge;

const ROW: &str = r#"{"dep_time":517,"dep_delay":-3,"carrier":"UA","tailnum":"N14228","origin":"EWR","dest":"IAH","distance":1400,"time_hour":"2013-01-01T10:00:00Z"}"#;
const GONE: &str = r#"{"dep_time":"NA","dep_delay":"NA","carrier":"UA","tailnum":null,"origin":"EWR","dest":"IAH","distance":200,"time_hour":"2013-01-01T10:00:00Z"}"#;

#[test]
fn cancelled_flights_have_no_departure() {
    let ran = open::<parse>(r#"{"min-delay":0}"#).run(&[record(ROW), record(GONE)]);
    assert_eq!(
        ran.values(),
        [
            r#"{"carrier":"UA","tailnum":"N14228","origin":"EWR","dest":"IAH","distance":1400,"time_hour":"2013-01-01T10:00:00Z","dep_delay":0,"cancelled":false}"#,
            r#"{"carrier":"UA","tailnum":null,"origin":"EWR","dest":"IAH","distance":200,"time_hour":"2013-01-01T10:00:00Z","dep_delay":null,"cancelled":true}"#,
        ]
    );
}

#[test]
fn a_row_without_origin_is_rejected() {
    let ran = open::<parse>("{}").run(&[record(r#"{"carrier":"UA"}"#)]);
    assert_eq!(ran.rejected.len(), 1);
    assert!(ran.outputs.is_empty());
}

#[test]
fn long_flights_are_kept() {
    let ran = open::<long_haul>(r#"{"miles":1000}"#).run(&[record(ROW), record(GONE)]);
    assert_eq!(ran.values(), [ROW]);
}

#[test]
fn delays_of_two_halves_are_those_of_the_whole() {
    let flight = |delay: &str, cancelled: bool| {
        record(format!(
            r#"{{"dep_delay":{delay},"cancelled":{cancelled}}}"#
        ))
    };
    let flights = [
        flight("10", false),
        flight("null", true),
        flight("-4", false),
        flight("30", false),
    ];
    let mut stats = open::<DelayStats>("{}");
    let whole = stats.aggregate(&flights);
    assert_eq!(
        whole.values(),
        [r#"{"flights":4,"cancelled":1,"mean_delay":12.0,"worst_delay":30,"total_delay":36}"#]
    );
    let (left, right) = (
        stats.accumulate(&flights[..1]).0,
        stats.accumulate(&flights[1..]).0,
    );
    let merged = stats.merge(&left, &right).expect("delay-stats merges");
    assert_eq!(stats.finish(&merged).values(), whole.values());
}

#[test]
fn a_day_is_made_of_its_hours() {
    let hour = |n: i64, hour: i64| {
        record(format!(
            r#"{{"flights":{n},"cancelled":1,"worst_delay":{n},"total_delay":12}}"#
        ))
        .at(hour * 3_600_000 - 1)
    };
    let ran = open::<DayStats>("{}").aggregate(&[hour(3, 11), hour(5, 13), hour(5, 12)]);
    assert_eq!(
        ran.values(),
        [
            r#"{"airport":"k","flights":13,"cancelled":3,"mean_delay":3.6,"worst_delay":5,"busiest_hour":11}"#
        ]
    );
}

#[test]
fn a_flight_without_weather_has_nulls() {
    let flight =
        record(r#"{"carrier":"UA","origin":"EWR","dest":"IAH","dep_delay":2,"cancelled":false}"#);
    let weather = record(r#"{"temp":39.02,"wind_speed":"NA","visib":10}"#);
    let ran = open::<merge>("{}").join(
        &[flight],
        &[weather],
        &[(Some(0), Some(0)), (Some(0), None)],
    );
    let both = r#"{"carrier":"UA","origin":"EWR","dest":"IAH","dep_delay":2,"cancelled":false,"#;
    assert_eq!(
        ran.values(),
        [
            format!(r#"{both}"temp":39.02,"wind_speed":null,"visib":10.0}}"#),
            format!(r#"{both}"temp":null,"wind_speed":null,"visib":null}}"#)
        ]
    );
}

// N1:  JFK->LAX at 1 h, LAX->SFO at 5 h, rests from then on; with 12 h of rest the tour ends at 17 h.
#[test]
fn a_tour_ends_when_the_plane_rested() {
    const HOUR: i64 = 3_600_000;
    let leg = |from: &str, to: &str, hour: i64| {
        record(format!(
            r#"{{"origin":"{from}","dest":"{to}","dep_delay":7,"cancelled":false}}"#
        ))
        .key("N1")
        .at(hour * HOUR)
    };
    let mut track = open::<Track>("{}").keyed();
    track.record(&leg("LAX", "SFO", 5));
    track.record(&leg("JFK", "LAX", 1));
    assert!(track.watermark(17 * HOUR - 1).outputs.is_empty());
    let done = track.watermark(17 * HOUR);
    assert_eq!(
        done.values(),
        [r#"{"from":"JFK","to":"SFO","legs":2,"total_delay":14,"hours":4.0}"#]
    );
    assert_eq!(done.outputs[0].timestamp, Some(17 * HOUR));
    assert!(track.keys().is_empty(), "nothing of the plane is left");
    assert!(track.timers().is_empty());
}
