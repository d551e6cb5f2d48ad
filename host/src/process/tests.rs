use std::collections::BTreeMap;

use arrow_array::{Array, BinaryArray};
use proptest::prelude::*;

use super::*;
use crate::keyed::testing::{Collect, Rec, batch, boundary, rec, records, snapshot};
use crate::plugin::{
    Fault, FiredTimer, Process, Processed, RejectKind, Rejected, TimeDomain, TimerOp,
};
use crate::record::{Batch, Blobs, Form, Value};
use crate::spill::test_vault;
use crate::state::StateEntry;
use crate::state::testing::chains;
use crate::step::{Boundary, Progress, Step, key_group, task_of};
use crate::time::Watermark;

/// What a record's (or timer's) handler does, one key: used by the function and by the model.
///
/// A value is commands, by spaces: `+e10` sets an event timer at 10, `-p5` deletes a processing one, `=x` sets the
/// state, `x` removes it, `!` rejects. A timer of a key whose state is `every N` sets itself again N later, and fails where
/// it is `bad`; `once` removes the state.
fn handle_record(
    value: &str,
    state: &mut Option<String>,
    mut timer: impl FnMut(bool, TimeDomain, i64),
) -> Result<String, String> {
    for command in value.split(' ') {
        let (head, rest) = command.split_at_checked(1).unwrap_or(("", ""));
        match head {
            "+" | "-" => {
                let (clock, time) = rest.split_at(1);
                let domain = if clock == "e" {
                    TimeDomain::Event
                } else {
                    TimeDomain::Processing
                };
                timer(head == "+", domain, time.parse().expect("a time"));
            }
            "=" => *state = Some(rest.replace('_', " ")),
            "x" => *state = None,
            "!" => return Err("no".to_owned()),
            _ => {}
        }
    }
    Ok(format!("{value}:{}", state.as_deref().unwrap_or("-")))
}

fn handle_timer(
    at: i64,
    domain: TimeDomain,
    state: &mut Option<String>,
    mut timer: impl FnMut(bool, TimeDomain, i64),
) -> Result<String, String> {
    let shown = format!("{domain:?}:{}", state.as_deref().unwrap_or("-"));
    match state.as_deref() {
        Some("bad") => return Err("bad".to_owned()),
        Some("once") => *state = None,
        Some(s) => {
            if let Some(n) = s.strip_prefix("every ") {
                timer(
                    true,
                    domain,
                    at.saturating_add(n.parse().expect("a number")),
                );
            }
        }
        None => {}
    }
    Ok(shown)
}

struct Scripted;

impl Process for Scripted {
    fn prepare(&mut self, _: &mut Batch) -> Result<Vec<Rejected>, Fault> {
        Ok(Vec::new())
    }

    fn process(
        &mut self,
        batch: &Batch,
        rows: &[u32],
        groups: &[u32],
        keys: &BinaryArray,
        states: &[Option<Box<[u8]>>],
        fired: &[FiredTimer],
    ) -> Result<Processed, Fault> {
        assert_eq!(keys.len(), states.len());
        let all = records(batch);
        let mut texts: Vec<Option<String>> = states
            .iter()
            .map(|s| {
                s.as_deref()
                    .map(|s| String::from_utf8_lossy(s).into_owned())
            })
            .collect();
        let (mut values, mut sources, mut timers, mut rejected) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let calls = rows
            .iter()
            .zip(groups)
            .map(|(&row, &group)| (row, group, None));
        let calls = calls.chain(
            (batch.len as u32..)
                .zip(fired)
                .map(|(row, timer)| (row, timer.group, Some(timer))),
        );
        for (source, (row, group, timer)) in (0..).zip(calls) {
            let state = &mut texts[group as usize];
            let mut set = |set, domain, time| {
                timers.push(TimerOp {
                    group,
                    domain,
                    time,
                    set,
                })
            };
            let answer = match timer {
                None => handle_record(
                    all[row as usize].value.as_deref().unwrap_or(""),
                    state,
                    &mut set,
                ),
                Some(timer) => handle_timer(timer.time, timer.domain, state, &mut set),
            };
            match answer {
                Ok(value) => {
                    values.push(value);
                    sources.push(source);
                }
                Err(message) => rejected.push(Rejected {
                    row,
                    kind: RejectKind::Rejected,
                    message,
                    log: Vec::new(),
                }),
            }
        }
        let batch = Batch::of(
            values.len(),
            Value::new(Form::Bytes(BinaryArray::from_iter_values(&values))),
        );
        let states = texts
            .into_iter()
            .map(|t| t.map(|t| t.into_bytes().into()))
            .collect();
        Ok(Processed {
            ports: vec![(batch, sources)],
            states,
            timers,
            rejected,
        })
    }

    fn migrate(&mut self, from_version: u32, states: &Blobs) -> Result<Blobs, Fault> {
        Ok(states
            .iter()
            .map(|s| [s, format!(" from {from_version}").as_bytes()].concat())
            .collect())
    }
}

fn step(ttl_ms: i64, time: TimeDomain) -> ProcessStep {
    ProcessStep::new(
        ProcessSpec {
            ttl_ms,
            time,
            state_version: 1,
        },
        Box::new(Scripted),
    )
}

/// A step driven by hand, with its output as `value@ts`.
struct Driven {
    step: ProcessStep,
    out: Collect,
}

impl Driven {
    fn new(ttl_ms: i64, time: TimeDomain) -> Driven {
        Driven {
            step: step(ttl_ms, time),
            out: Collect::default(),
        }
    }

    fn records(&mut self, rows: &[(&str, &str, i64)]) -> Vec<String> {
        let rows: Vec<Rec> = rows
            .iter()
            .map(|(key, value, ts)| rec(key, value, *ts))
            .collect();
        self.step
            .on_batch(0, batch(&rows), &mut self.out)
            .expect("taken");
        self.shown()
    }

    fn time(&mut self, watermark: i64, now: i64) -> Vec<String> {
        let inputs = [Watermark(watermark); 1];
        let at = Boundary {
            watermark: inputs[0],
            inputs: &inputs,
            now,
            end: watermark == i64::MAX,
        };
        while self.step.on_boundary(at, &mut self.out).expect("works") == Progress::More {}
        self.shown()
    }

    fn shown(&mut self) -> Vec<String> {
        let show = |r: Rec| {
            format!(
                "{} {}@{}",
                r.key.unwrap_or_default(),
                r.value.unwrap_or_default(),
                r.ts.unwrap_or_default()
            )
        };
        self.out.main.drain(..).map(show).collect()
    }
}

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

/// A naive step: one key and one handler at a time.
#[derive(Default)]
struct ModelKey {
    state: Option<String>,
    written: i64,
    timers: std::collections::BTreeSet<(i64, TimeDomain)>,
}

struct Model {
    ttl: i64,
    keys: BTreeMap<String, ModelKey>,
    watermark: i64,
    main: Vec<Rec>,
    rejected: Vec<Rec>,
    results: Vec<String>,
}

impl Model {
    /// One handler; answers whether it worked, and set a timer that was not there.
    fn apply(
        &mut self,
        key: &str,
        ts: i64,
        handle: impl FnOnce(
            &mut Option<String>,
            &mut dyn FnMut(bool, TimeDomain, i64),
        ) -> Result<String, String>,
    ) -> (bool, bool) {
        let kept = self.keys.entry(key.to_owned()).or_default();
        let (mut state, mut timers, mut set) = (kept.state.clone(), kept.timers.clone(), false);
        let answer = handle(&mut state, &mut |on, domain, time| {
            if on {
                set |= timers.insert((time, domain))
            } else {
                timers.remove(&(time, domain));
            }
        });
        let ok = answer.is_ok();
        if let Ok(value) = answer {
            (kept.state, kept.timers) = (state, timers);
            self.main.push(rec(key, value, ts));
        }
        (ok, ok && set)
    }

    /// What a call means for ttl, and for keys that have nothing left.
    fn settle(&mut self, key: &str, before: Option<String>, set: bool, newest: i64) {
        let kept = self.keys.get_mut(key).expect("it was just there");
        if kept.state != before || (kept.state.is_none() && set) {
            kept.written = newest.max(self.watermark).max(kept.written);
        }
        if kept.state.is_none() && kept.timers.is_empty() {
            self.keys.remove(key);
        }
    }

    fn batch(&mut self, rows: &[Rec]) {
        let mut touched: BTreeMap<String, (Option<String>, bool, i64)> = BTreeMap::new();
        for row in rows {
            let (key, value, ts) = (
                row.key.clone().expect("keyed"),
                row.value.clone().expect("there"),
                row.ts.expect("timed"),
            );
            let before = self.keys.get(&key).and_then(|k| k.state.clone());
            let (ok, set) =
                self.apply(&key, ts, |state, timer| handle_record(&value, state, timer));
            let touched = touched.entry(key).or_insert((before, false, i64::MIN));
            touched.1 |= set;
            if ok {
                touched.2 = touched.2.max(ts)
            } else {
                self.rejected.push(row.clone())
            }
        }
        for (key, (before, set, newest)) in touched {
            self.settle(&key, before, set, newest);
        }
    }

    fn boundary(&mut self, watermark: i64, now: i64) {
        let due = |&(time, domain): &(i64, TimeDomain)| {
            time <= if domain == TimeDomain::Event {
                watermark
            } else {
                now
            }
        };
        loop {
            let all = self.keys.iter().flat_map(|(key, kept)| {
                kept.timers
                    .iter()
                    .filter(|t| due(t))
                    .map(move |t| (t.0, key.clone(), t.1))
            });
            let Some((time, key, domain)) = all.min() else {
                break;
            };
            let kept = self.keys.get_mut(&key).expect("it has a timer");
            if domain == TimeDomain::Event && kept.written.saturating_add(self.ttl) < time {
                self.keys.remove(&key);
                continue;
            }
            kept.timers.remove(&(time, domain));
            let at = if domain == TimeDomain::Event {
                time
            } else {
                i64::MIN
            };
            let before = kept.state.clone();
            let (ok, set) = self.apply(&key, time, |state, timer| {
                handle_timer(time, domain, state, timer)
            });
            self.settle(&key, before, set, at);
            if !ok {
                self.results.push(key);
            }
        }
        self.watermark = watermark;
        let ttl = self.ttl;
        self.keys
            .retain(|_, kept| kept.written.saturating_add(ttl) > watermark);
    }
}

fn commands() -> impl Strategy<Value = String> {
    let time = 0_i64..60;
    let one = prop_oneof![
        4 => time.clone().prop_map(|t| format!("+e{t}")),
        2 => time.clone().prop_map(|t| format!("-e{t}")),
        2 => time.clone().prop_map(|t| format!("+p{t}")),
        1 => time.prop_map(|t| format!("-p{t}")),
        2 => prop::sample::select(vec!["=a", "=b", "=once", "=every_7", "=every_20", "=bad", "x", "?"]).prop_map(str::to_owned),
        1 => Just("!".to_owned()),
    ];
    prop::collection::vec(one, 1..4).prop_map(|c| c.join(" "))
}

/// Rows (key, commands, time); how many a batch; how far watermark and clock go on; restarts as so many tasks.
type Flush = (Vec<(u8, String, i64)>, usize, i64, i64, Option<usize>);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]
    #[test]
    fn gives_what_one_handler_at_a_time_gives(
        ttl in prop::sample::select(vec![0_i64, 3, 20, 100]),
        flushes in prop::collection::vec(
            (prop::collection::vec((0_u8..6, commands(), 0_i64..60), 0..10), 1_usize..5, 0_i64..15, 0_i64..10, prop::option::weighted(0.25, 1_usize..4)),
            1..10,
        ),
        // So many quarters of what is in memory may stay there, now and then.
        sheds in prop::collection::vec(0_usize..6, 8),
    ) {
        compare_with_model(ttl, flushes, sheds)?;
    }
}

#[test]
fn deleted_timer_of_a_key_in_a_call_does_not_end_the_call_wherever_the_key_was() {
    let row = |key, commands: &str, time| (key, commands.to_owned(), time);
    let flushes = vec![
        (vec![], 1, 12, 2, None),
        (vec![], 1, 13, 3, None),
        (vec![row(1, "+p9", 0), row(1, "+e0", 30)], 1, 1, 0, None),
        (vec![row(1, "+e33", 0)], 1, 4, 0, None),
        (
            vec![
                row(3, "+e0", 0),
                row(0, "+e34", 0),
                row(0, "+e34", 0),
                row(0, "+e35", 34),
                row(0, "-e0", 0),
                row(3, "+e1", 0),
                row(0, "+e34", 0),
                row(1, "-e33", 0),
                row(0, "-e0", 0),
            ],
            1,
            5,
            4,
            None,
        ),
    ];
    compare_with_model(0, flushes, vec![0; 8]).expect("the same");
}

fn compare_with_model(
    ttl: i64,
    flushes: Vec<Flush>,
    sheds: Vec<usize>,
) -> Result<(), TestCaseError> {
    let mut model = Model {
        ttl,
        keys: BTreeMap::new(),
        watermark: -1,
        main: Vec::new(),
        rejected: Vec::new(),
        results: Vec::new(),
    };
    let mut snapshots = chains(1);
    let mut sheds = sheds.into_iter().cycle();
    let mut shed = |task: &mut ProcessStep| {
        let quarters = sheds.next().expect("it is endless");
        if quarters < 4 {
            task.shed(task.state_bytes() * quarters / 4)
                .expect("there is room");
        }
    };
    // Each of these does what a task does that keeps everything in memory.
    fn make(ttl: i64, vault: bool) -> ProcessStep {
        let mut task = step(ttl, TimeDomain::Event);
        if vault {
            assert!(task.take_vault(test_vault()));
        }
        task
    }
    let (mut tasks, mut twins) = (vec![make(ttl, true)], vec![make(ttl, false)]);
    let (mut out, mut watermark, mut now) = (Collect::default(), -1, 0);
    let mut twins_out = Collect::default();
    fn pass(
        tasks: &mut [ProcessStep],
        watermark: i64,
        now: i64,
        out: &mut Collect,
        shed: &mut dyn FnMut(&mut ProcessStep),
    ) {
        let inputs = [Watermark(watermark)];
        for task in tasks {
            let at = Boundary {
                watermark: inputs[0],
                inputs: &inputs,
                now,
                end: false,
            };
            while task.on_boundary(at, out).expect("works") == Progress::More {
                shed(task);
            }
            shed(task);
        }
    }
    pass(&mut tasks, watermark, now, &mut out, &mut shed);
    pass(&mut twins, watermark, now, &mut twins_out, &mut |_| {});
    for (rows, size, advance, tick, restart) in flushes {
        if let Some(count) = restart {
            let entries: Vec<_> = tasks
                .iter_mut()
                .zip(&mut snapshots)
                .flat_map(|(t, s)| s.finish(t))
                .collect();
            snapshots = chains(count);
            let twins_entries: Vec<_> = twins.iter_mut().flat_map(|t| snapshot(t)).collect();
            tasks = (0..count).map(|_| make(ttl, true)).collect();
            twins = (0..count).map(|_| make(ttl, false)).collect();
            for entry in entries {
                tasks[task_of(entry.key_group, count)]
                    .restore(entry.as_ref())
                    .expect("own entries");
            }
            for entry in twins_entries {
                twins[task_of(entry.key_group, count)]
                    .restore(entry.as_ref())
                    .expect("own entries");
            }
            tasks.iter_mut().for_each(&mut shed);
            let inputs = [Watermark(watermark)];
            tasks.iter_mut().chain(&mut twins).for_each(|t| {
                t.resume(Boundary {
                    watermark: inputs[0],
                    inputs: &inputs,
                    now,
                    end: false,
                })
            });
        }
        let rows: Vec<Rec> = rows
            .into_iter()
            .map(|(key, value, ts)| rec(&format!("k{key}"), value, ts))
            .collect();
        for chunk in rows.chunks(size) {
            model.batch(chunk);
            let count = tasks.len();
            for (t, task) in tasks.iter_mut().enumerate() {
                let own = |r: &&Rec| {
                    task_of(key_group(r.key.as_deref().unwrap_or("").as_bytes()), count) == t
                };
                task.on_batch(
                    0,
                    batch(&chunk.iter().filter(own).cloned().collect::<Vec<_>>()),
                    &mut out,
                )
                .expect("taken");
                twins[t]
                    .on_batch(
                        0,
                        batch(&chunk.iter().filter(own).cloned().collect::<Vec<_>>()),
                        &mut twins_out,
                    )
                    .expect("taken");
                shed(task);
            }
        }
        if size % 3 == 1 {
            tasks
                .iter_mut()
                .zip(&mut snapshots)
                .for_each(|(t, s)| s.take(t));
        }
        watermark += advance;
        now += tick;
        model.boundary(watermark, now);
        pass(&mut tasks, watermark, now, &mut out, &mut shed);
        pass(&mut twins, watermark, now, &mut twins_out, &mut |_| {});
        if size % 2 == 0 {
            tasks
                .iter_mut()
                .zip(&mut snapshots)
                .for_each(|(t, s)| s.take(t));
        }
    }
    prop_assert_eq!(&out.main, &twins_out.main);
    // Order holds within a key.
    out.main.sort_by_key(|r| r.key.clone());
    model.main.sort_by_key(|r| r.key.clone());
    prop_assert_eq!(out.main, model.main);
    let mut rejected: Vec<Rec> = out.rejected.into_iter().map(|r| r.0).collect();
    rejected.sort();
    model.rejected.sort();
    prop_assert_eq!(rejected, model.rejected);
    let mut results: Vec<String> = out.results.into_iter().filter_map(|r| r.0).collect();
    results.sort();
    model.results.sort();
    prop_assert_eq!(results, model.results);
    prop_assert_eq!(
        tasks
            .iter()
            .map(|t| t.keys.len() + t.keys.cold())
            .sum::<usize>(),
        model.keys.len()
    );
    Ok(())
}
