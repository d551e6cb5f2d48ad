use wasmill_plugin::testing::{Keyed, Record, open, record};

use super::reading::Reading;
use super::*;

/// What `ada` does, at a minute.
fn does(action: &str, minute: i64) -> Record {
    record(format!(r#"{{"action":"{action}","cents":250}}"#))
        .key("ada")
        .at(minute * MINUTE)
}

fn track() -> Keyed {
    open::<Visitor>("{}").keyed()
}

// view 0, view 12; gone 30 minutes after that
#[test]
fn silent_visitor_is_gone_after_half_an_hour() {
    let mut track = track();
    track.record(&does("view", 0));
    track.record(&does("view", 12));
    assert!(track.watermark(42 * MINUTE - 1).outputs.is_empty());
    let gone = track.watermark(42 * MINUTE);
    assert_eq!(
        gone.values(),
        [r#"{"minutes":12.0,"views":2,"spent":0,"left_in_cart":0}"#]
    );
    assert!(track.keys().is_empty(), "nothing of the visitor is left");
    assert!(track.timers().is_empty());
}

// add 0; nudge 10; buy 15; leave 16
#[test]
fn idle_cart_is_told_once_and_what_is_bought_is_no_longer_in_it() {
    let mut track = track();
    track.record(&does("add", 0));
    let nudge = track.watermark(10 * MINUTE);
    assert_eq!(
        nudge.port("idle-carts"),
        [r#"{"minutes":0.0,"views":0,"spent":0,"left_in_cart":250}"#]
    );
    track.record(&does("buy", 15));
    assert!(track.watermark(29 * MINUTE).outputs.is_empty());
    let left = track.record(&does("leave", 16));
    assert_eq!(
        left.values(),
        [r#"{"minutes":16.0,"views":0,"spent":250,"left_in_cart":0}"#]
    );
    assert!(track.keys().is_empty());
    assert!(track.timers().is_empty());
}

// add 0; nudge 10; gone 30; view 40: the timers' turn comes after the record, in the same batch
#[test]
fn record_that_comes_before_the_timers_finds_done_what_they_would_have_done() {
    let mut track = track();
    track.record(&does("add", 0));
    let next = track.record(&does("view", 40));
    let cart = r#"{"minutes":0.0,"views":0,"spent":0,"left_in_cart":250}"#;
    assert_eq!(next.port("idle-carts"), [cart]);
    assert_eq!(next.values(), [cart]);
    let times: Vec<_> = next.outputs.iter().map(|o| o.timestamp).collect();
    assert_eq!(times, [Some(30 * MINUTE), Some(10 * MINUTE)]);
    assert!(track.watermark(69 * MINUTE).outputs.is_empty());
    assert_eq!(
        track.watermark(70 * MINUTE).values(),
        [r#"{"minutes":0.0,"views":1,"spent":0,"left_in_cart":0}"#]
    );
    assert!(track.keys().is_empty());
}

#[test]
fn events_may_come_out_of_order() {
    let mut track = track();
    track.record(&does("add", 5));
    track.record(&does("view", 1));
    assert_eq!(
        track.record(&does("leave", 7)).values(),
        [r#"{"minutes":6.0,"views":1,"spent":0,"left_in_cart":250}"#]
    );
}

#[test]
fn what_cannot_be_is_rejected_and_changes_nothing() {
    let mut track = track();
    track.record(&does("view", 0));
    let bad = track.record(&does("buy", 20));
    assert_eq!(bad.rejected, [(0, "buy with an empty cart".to_owned())]);
    let bad = track.record(&does("dance", 20));
    assert_eq!(
        bad.rejected,
        [(0, r#""dance" is none of view, add, buy, leave"#.to_owned())]
    );
    assert_eq!(track.watermark(30 * MINUTE).values().len(), 1);
}

#[test]
fn each_page_has_its_own_gap() {
    let page = |seconds: i64| record(format!(r#"{{"page":"a","seconds":{seconds}}}"#));
    let mut reading = open::<Reading>("{}");
    let gaps = reading.gaps(&[page(5), page(0), page(-1)]);
    assert_eq!(gaps.ok(), Some(vec![5_000, 0, -1_000]));
}
