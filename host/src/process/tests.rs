use super::test_support::{Driven, Scripted, step};
use super::*;
use crate::keyed::testing::{Rec, batch, boundary, rec, snapshot};
use crate::plugin::TimeDomain;
use crate::state::StateEntry;
use crate::step::Step;

const NOTHING: [&str; 0] = [];

#[test]
fn timers_fire_in_order_of_time_and_key_after_the_records() {
    let mut driven = Driven::new(1000, TimeDomain::Event);
    let got = driven.records(&[("b", "+e5 +e7 =B", 1), ("a", "+e5 +e6 =A", 1)]);
    assert_eq!(got, ["b +e5 +e7 =B:B@1", "a +e5 +e6 =A:A@1"]);
    assert_eq!(driven.time(4, 0), NOTHING);
    assert_eq!(
        driven.time(6, 0),
        ["a Event:A@5", "b Event:B@5", "a Event:A@6"]
    );
    assert_eq!(driven.time(7, 0), ["b Event:B@7"]);
    assert_eq!(driven.time(7, 0), NOTHING);
}

#[test]
fn a_timer_set_twice_fires_once_and_a_deleted_one_never() {
    let mut driven = Driven::new(1000, TimeDomain::Event);
    driven.records(&[
        ("a", "+e5 +e5", 1),
        ("a", "+e6", 1),
        ("a", "-e6 +e7 -e7 +e7", 1),
    ]);
    driven.records(&[("a", "+e5", 2)]);
    assert_eq!(driven.time(10, 0), ["a Event:-@5", "a Event:-@7"]);
    assert!(
        driven.step.keys.is_empty(),
        "a key with neither state nor timers is forgotten"
    );
}

#[test]
fn a_timer_behind_its_clock_fires_at_the_same_boundary_after_all_records() {
    let mut driven = Driven::new(1000, TimeDomain::Event);
    driven.time(100, 50);
    assert_eq!(
        driven.records(&[("a", "+e5 +p9 +p50", 101)]),
        ["a +e5 +p9 +p50:-@101"]
    );
    driven.records(&[("a", "=s", 101)]);
    assert_eq!(
        driven.time(100, 50),
        ["a Event:s@5", "a Processing:s@9", "a Processing:s@50"]
    );
}

#[test]
fn what_a_timer_sets_and_deletes_holds_for_the_next_of_its_key() {
    // Every 3 from 2 on; W jumps to 12. A timer at 12 is set from the start.
    let mut driven = Driven::new(1000, TimeDomain::Event);
    driven.records(&[("a", "=every_3 +e2 +e12", 1), ("b", "+e9 +e10 =once", 1)]);
    assert_eq!(
        driven.time(12, 0),
        [
            "a Event:every 3@2",
            "b Event:once@9",
            "a Event:every 3@5",
            "b Event:-@10",
            "a Event:every 3@8",
            "a Event:every 3@11",
            "a Event:every 3@12"
        ]
    );
}

#[test]
fn a_timer_that_sets_itself_for_ever_is_stopped_and_others_go_on() {
    let mut driven = Driven::new(i64::MAX, TimeDomain::Event);
    driven.records(&[
        ("a", "=every_0 +e5", 1),
        ("b", "+e9", 1),
        ("c", "=every_10 +e5", 1),
    ]);
    let fired = driven.time(i64::MAX, 0);
    assert_eq!(fired.iter().filter(|f| f.starts_with("a ")).count(), 1001);
    assert_eq!(fired.iter().filter(|f| f.starts_with("b ")).count(), 1);
    assert_eq!(fired.iter().filter(|f| f.starts_with("c ")).count(), 1001);
    let messages: Vec<_> = driven
        .out
        .results
        .iter()
        .map(|(key, message)| (key.as_deref(), message.as_str()))
        .collect();
    let message = |time: i64| {
        format!(
            "a timer at {time} was not fired: timers of this key were set and fired 1000 times at one boundary"
        )
    };
    assert_eq!(
        messages,
        [(Some("a"), &*message(5)), (Some("c"), &*message(10_015))]
    );
    assert!(driven.step.keys.is_empty());
}

#[test]
fn at_the_end_of_input_timers_of_both_clocks_fire() {
    let mut driven = Driven::new(i64::MAX, TimeDomain::Processing);
    driven.records(&[(
        "a",
        &format!("=s +e{} +e{} +p70 +p{}", i64::MIN, i64::MAX, i64::MAX),
        1,
    )]);
    assert_eq!(
        driven.time(i64::MIN, 0),
        NOTHING,
        "nothing is known of event time yet"
    );
    assert_eq!(driven.time(10, 0), [format!("a Event:s@{}", i64::MIN)]);
    let ends = [
        "a Processing:s@70".to_owned(),
        format!("a Event:s@{}", i64::MAX),
        format!("a Processing:s@{}", i64::MAX),
    ];
    assert_eq!(driven.time(i64::MAX, 0), ends);
    assert!(driven.step.keys.is_empty());
}

#[test]
fn state_and_timers_go_ttl_after_the_last_write() {
    // ttl 10, written at 5: timers up to 15 fire, then all goes.
    let mut driven = Driven::new(10, TimeDomain::Event);
    driven.records(&[("a", "=s +e15 +e16", 5)]);
    driven.time(14, 0);
    assert_eq!(driven.records(&[("a", "?", 9)]), ["a ?:s@9"], "not a write");
    assert_eq!(driven.time(20, 0), ["a Event:s@15"]);
    assert_eq!(driven.records(&[("a", "?", 21)]), ["a ?:-@21"]);
    assert!(driven.step.keys.is_empty());
    // A write moves it on; one by an old record counts from W.
    driven.records(&[("a", "=s", 21)]);
    driven.time(25, 0);
    driven.records(&[("a", "=t", 3)]);
    driven.time(34, 0);
    assert_eq!(driven.records(&[("a", "?", 35)]), ["a ?:t@35"]);
    driven.time(35, 0);
    assert!(driven.step.keys.is_empty());
}

#[test]
fn a_deleted_timer_says_nothing_of_the_age_of_a_keys_state() {
    // ttl 10, written at 0: too old at 10, and an event timer at 50 would show it; but that one was deleted, and
    // the clock is told only now. The processing timer at 55 still finds the state.
    let mut driven = Driven::new(10, TimeDomain::Event);
    driven.records(&[("a", "=s +e50 +p55", 0)]);
    driven.records(&[("a", "-e50", 0)]);
    assert_eq!(driven.time(60, 60), ["a Processing:s@55"]);
    assert!(driven.step.keys.is_empty());
}

#[test]
fn ttl_in_processing_time_counts_from_the_boundary() {
    let mut driven = Driven::new(10, TimeDomain::Processing);
    let timeless = Rec {
        ts: None,
        ..rec("a", "=s +p40", 0)
    };
    driven
        .step
        .on_batch(0, batch(&[timeless]), &mut driven.out)
        .expect("timestamps are not needed");
    driven.time(i64::MIN, 1_000_000);
    assert_eq!(driven.step.next_wakeup(), Some(1_000_010));
    assert_eq!(driven.step.keys.len(), 1);
    driven.time(i64::MIN, 1_000_009);
    assert_eq!(driven.step.keys.len(), 1);
    driven.time(i64::MIN, 1_000_010);
    assert_eq!(driven.step.keys.len(), 0);
}

#[test]
fn what_fails_is_left_out_and_the_call_repeated() {
    let mut driven = Driven::new(100, TimeDomain::Event);
    let got = driven.records(&[
        ("a", "=1", 1),
        ("b", "! +e5", 1),
        ("a", "+e9 !", 1),
        ("a", "=bad +e5 +e6", 1),
    ]);
    assert_eq!(got, ["a =1:1@1", "a =bad +e5 +e6:bad@1"]);
    let rejected: Vec<_> = driven
        .out
        .rejected
        .iter()
        .map(|r| r.0.value.as_deref().unwrap_or(""))
        .collect();
    assert_eq!(rejected, ["! +e5", "+e9 !"]);
    assert_eq!(driven.step.keys.len(), 1);
    assert_eq!(driven.time(5, 0), NOTHING);
    assert_eq!(
        driven.out.results,
        [(Some("a".to_owned()), "bad".to_owned())]
    );
    driven.records(&[("a", "=fine", 6)]);
    assert_eq!(driven.time(9, 0), ["a Event:fine@6"]);
}

#[test]
fn records_without_timestamp_are_rejected_in_event_time_and_those_without_key_are_one_group() {
    let mut driven = Driven::new(100, TimeDomain::Event);
    let timeless = Rec {
        ts: None,
        ..rec("a", "=s", 0)
    };
    let keyless = |value: &str| Rec {
        key: None,
        ..rec("", value, 1)
    };
    let rows = [
        timeless.clone(),
        keyless("=n +e5"),
        rec("", "=e", 1),
        keyless("?"),
    ];
    driven
        .step
        .on_batch(0, batch(&rows), &mut driven.out)
        .expect("taken");
    assert_eq!(
        driven.out.rejected,
        [(
            timeless,
            "process in event time needs records with a timestamp, this one has none".to_owned()
        )]
    );
    assert_eq!(driven.out.main[2].value.as_deref(), Some("?:n"));
    boundary(&mut driven.step, 5, &mut driven.out);
    assert_eq!(
        driven.out.main[3],
        Rec {
            ts: Some(5),
            key: None,
            value: Some("Event:n".to_owned())
        }
    );
}

#[test]
fn a_key_may_not_have_timers_without_bound() {
    let mut driven = Driven::new(100, TimeDomain::Event);
    let many: String = (0..=call::TIMERS_MAX)
        .map(|t| format!("+e{} ", t + 10))
        .collect();
    driven.records(&[("a", &many, 1), ("b", "=s", 1)]);
    assert_eq!(driven.out.rejected.len(), 1);
    assert_eq!(
        driven.out.rejected[0].1,
        "it would have 100001 timers, more than the 100000 that a key may have"
    );
    assert_eq!(driven.step.keys.len(), 1);
}

#[test]
fn queues_forget_what_was_replaced() {
    let mut driven = Driven::new(1_000_000, TimeDomain::Event);
    for i in 0..30_000_i64 {
        driven.records(&[
            ("k", &format!("+e{} =s", 1_000_000 - i), i),
            ("k", &format!("-e{} x", 1_000_000 - i), i),
        ]);
        if i % 1000 == 0 {
            driven.time(i, 0);
        }
    }
    driven.time(30_000, 0);
    assert!(driven.step.queues[0].len() <= 4096 + 2 && driven.step.ttl.len() <= 4096 + 2);
}

#[test]
fn stored_state_is_refused_when_it_is_broken() {
    let mut driven = Driven::new(100, TimeDomain::Event);
    driven.records(&[("k", "=s +e9 +p9", 5)]);
    let entry = snapshot(&mut driven.step).remove(0);
    let value = entry.value.clone();
    assert_eq!(
        value, b"\x01\x03\x01\x01s\x05\0\0\0\0\0\0\0\x02\0\x09\0\0\0\0\0\0\0\x01\x09\0\0\0\0\0\0\0",
        "bytes of version 1 stay as they are"
    );
    let restored = |key: &[u8], value: &[u8]| {
        let entry = StateEntry {
            key: key.to_vec(),
            value: value.to_vec(),
            ..entry.clone()
        };
        let cut = |e: crate::step::StepError| {
            e.to_string()
                .replace("the stored state of a process step is broken: ", "")
        };
        step(100, TimeDomain::Event)
            .restore(entry.as_ref())
            .map_err(cut)
    };
    assert_eq!(restored(b"\x01k", &value), Ok(()));
    assert_eq!(
        restored(b"k", &value),
        Err("its name is not that of a key".into())
    );
    assert_eq!(restored(b"\x01k", b"\x07"), Err("unknown version 7".into()));
    assert_eq!(
        restored(b"\x01k", b"\x01\x04"),
        Err("unknown flags 0x04".into())
    );
    assert_eq!(
        restored(b"\x01k", b"\x01\x00\x00"),
        Err("a key with neither state nor timers".into())
    );
    assert_eq!(
        restored(b"\x01k", &[&value[..], &[0]].concat()),
        Err("1 bytes follow its end".into())
    );
    let twice = [
        &value[..value.len() - 9],
        &value[value.len() - 18..value.len() - 9],
    ]
    .concat();
    assert_eq!(
        restored(b"\x01k", &twice),
        Err("its timers are not in order".into())
    );
    let unknown = [&value[..value.len() - 9], &[2], &value[value.len() - 8..]].concat();
    assert_eq!(
        restored(b"\x01k", &unknown),
        Err("a timer has an unknown clock".into())
    );
    for end in 0..value.len() {
        assert_eq!(
            restored(b"\x01k", &value[..end]),
            Err("it ends in the middle of a value".into()),
            "cut at {end}"
        );
    }
    // States of an older version are brought up to date.
    let mut newer = ProcessStep::new(
        ProcessSpec {
            state_version: 2,
            ..step(100, TimeDomain::Event).spec
        },
        Box::new(Scripted),
    );
    newer.restore(entry.as_ref()).expect("migrated");
    assert_eq!(newer.keys.get(0).state.as_deref(), Some(&b"s from 1"[..]));
}
