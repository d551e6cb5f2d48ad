//! Examples: the classic cases of each kind of windows, each with its timeline, and what is refused.

use std::sync::Arc;

use arrow_array::BinaryArray;

use super::test_support::{Collect, CountSum, Native, Rec, Recorder, Res, batch};
use super::*;
use crate::plugin::{Added, Aggregate, Fault, Finished, Rejected, TimeDomain};
use crate::record::{Batch, Blobs, Windows};
use crate::step::{Boundary, Progress, Step, StepError, WholeFiring, entries_of, task_of};
use crate::time::Watermark;

fn spec(kind: WindowKind) -> WindowSpec {
    WindowSpec {
        kind,
        time: TimeDomain::Event,
        allowed_lateness_ms: 0,
        emit: Emit::Append,
        trigger: Trigger::default(),
        panes: Panes::Accumulating,
    }
}

fn tumbling(size: i64) -> WindowSpec {
    spec(WindowKind::Tumbling { size, offset: 0 })
}

const FACTS: FunctionFacts = FunctionFacts {
    mergeable: true,
    order_dependent: true,
    state_version: 1,
};

fn with(spec: WindowSpec, function: impl Aggregate + 'static) -> WindowStep {
    WindowStep::new(spec, Box::new(function), FACTS, WindowLimits::default()).unwrap()
}

/// A step with what came out of it since one last looked.
struct Driven {
    step: WindowStep,
    out: Recorder,
}

impl Driven {
    /// Collects values in order.
    fn new(spec: WindowSpec) -> Driven {
        Driven {
            step: with(spec, Native(Collect)),
            out: Recorder::default(),
        }
    }

    fn batch(&mut self, records: &[Rec]) -> &mut Driven {
        self.step
            .on_batch(0, batch(records), &mut self.out)
            .unwrap();
        self
    }

    fn boundary(&mut self, watermark: i64, now: i64) -> &mut Driven {
        let at = Boundary {
            watermark: Watermark(watermark),
            inputs: &[],
            now,
            end: false,
        };
        while self.step.on_boundary(at, &mut self.out).unwrap() == Progress::More {}
        self
    }

    fn end(&mut self) -> &mut Driven {
        let at = Boundary {
            watermark: Watermark::END,
            inputs: &[],
            now: 0,
            end: true,
        };
        while self.step.on_boundary(at, &mut self.out).unwrap() == Progress::More {}
        self
    }

    /// What a boundary would do in complete mode.
    fn firing(&mut self, watermark: i64, now: i64) -> WholeFiring {
        let at = Boundary {
            watermark: Watermark(watermark),
            inputs: &[],
            now,
            end: false,
        };
        let step = self.step.as_whole().expect("complete mode");
        step.firing(&at).expect("no vault is damaged")
    }

    /// Window and value of each result since the last look.
    fn seen(&mut self) -> Vec<(Option<(i64, i64)>, String)> {
        std::mem::take(&mut self.out.results)
            .into_iter()
            .map(|r| (r.1, r.3))
            .collect()
    }
}

fn at(start: i64, end: i64, value: &str) -> (Option<(i64, i64)>, String) {
    (Some((start, end)), value.to_owned())
}

#[test]
fn window_fires_when_the_watermark_reaches_its_last_millisecond() {
    // records  1 at 3, 2 at 9 | W = 8: not yet | W = 9: [0, 10) fires
    let mut w = Driven::new(tumbling(10));
    w.batch(&[(Some("a"), Some(3), 1), (Some("a"), Some(9), 2)])
        .boundary(8, 0);
    assert_eq!(w.seen(), []);
    w.boundary(9, 0);
    assert_eq!(
        w.out.results,
        [(
            Some(b"a".to_vec()),
            Some((0, 10)),
            Some(9),
            "1,2,".to_owned()
        )]
    );
    assert_eq!(w.step.groups(), 0, "nothing is kept");
}

#[test]
fn late_record_goes_to_late_output_after_window_closed() {
    // W = 9 closes [0, 10); then 5 is late, 10 is not
    let mut w = Driven::new(tumbling(10));
    w.batch(&[(None, Some(3), 1)])
        .boundary(9, 0)
        .batch(&[(None, Some(5), 2), (None, Some(10), 3)])
        .end();
    assert_eq!(w.seen(), [at(0, 10, "1,"), at(10, 20, "3,")]);
    assert_eq!((&w.out.late[..], w.out.late_count), (&[2][..], 1));
}

#[test]
fn allowed_late_records_fire_once_a_boundary_until_the_window_is_past() {
    // lateness 5: [0, 10) closes at W = 9, is past at W = 14
    let mut w = Driven::new(WindowSpec {
        allowed_lateness_ms: 5,
        ..tumbling(10)
    });
    w.batch(&[(None, Some(1), 1)]).boundary(9, 0);
    assert_eq!(w.seen(), [at(0, 10, "1,")]);
    w.batch(&[(None, Some(2), 2), (None, Some(3), 3)])
        .boundary(13, 0);
    assert_eq!(w.seen(), [at(0, 10, "1,2,3,")]);
    w.boundary(13, 0)
        .batch(&[(None, Some(4), 4)])
        .boundary(14, 0);
    assert_eq!(
        w.seen(),
        [at(0, 10, "1,2,3,4,")],
        "it was not past when the record came"
    );
    w.batch(&[(None, Some(5), 5)]).end();
    assert_eq!((w.seen(), &w.out.late[..]), (vec![], &[5][..]));
}

#[test]
fn early_panes_accumulate_or_stand_alone_and_the_close_fires() {
    // records = 2: 1 2 | fires | 3 4 | fires | 5 | close
    let records = [1, 2, 3, 4, 5].map(|v| (None, Some(v), v));
    let trigger = Trigger {
        records: Some(2),
        ..Trigger::default()
    };
    let mut w = Driven::new(WindowSpec {
        trigger,
        ..tumbling(10)
    });
    w.batch(&records).boundary(9, 0);
    assert_eq!(
        w.seen(),
        [
            at(0, 10, "1,2,"),
            at(0, 10, "1,2,3,4,"),
            at(0, 10, "1,2,3,4,5,")
        ]
    );
    let mut w = Driven::new(WindowSpec {
        trigger,
        panes: Panes::Discarding,
        ..tumbling(10)
    });
    w.batch(&records).boundary(9, 0);
    assert_eq!(
        w.seen(),
        [at(0, 10, "1,2,"), at(0, 10, "3,4,"), at(0, 10, "5,")]
    );
    // Nothing since: an accumulating window fires at its close all the same, a discarding one has nothing left.
    let mut w = Driven::new(WindowSpec {
        trigger,
        ..tumbling(10)
    });
    w.batch(&records[..2]).boundary(9, 0);
    assert_eq!(w.seen(), [at(0, 10, "1,2,"), at(0, 10, "1,2,")]);
    let mut w = Driven::new(WindowSpec {
        trigger,
        panes: Panes::Discarding,
        ..tumbling(10)
    });
    w.batch(&records[..2]).boundary(9, 0);
    assert_eq!(w.seen(), [at(0, 10, "1,2,")]);
}

#[test]
fn update_tells_changed_groups_only() {
    let mut w = Driven::new(WindowSpec {
        emit: Emit::Update,
        ..tumbling(10)
    });
    w.batch(&[(Some("a"), Some(1), 1), (Some("b"), Some(1), 2)])
        .boundary(0, 0);
    assert_eq!(w.seen(), [at(0, 10, "1,"), at(0, 10, "2,")]);
    w.batch(&[(Some("b"), Some(1), 3)]).boundary(1, 0);
    assert_eq!(w.seen(), [at(0, 10, "2,3,")]);
    w.boundary(9, 0);
    assert_eq!(
        w.seen(),
        [],
        "nothing changed since: the close has nothing to tell"
    );
}

#[test]
fn complete_tells_everything_that_is_kept_also_when_the_change_was_elsewhere() {
    let mut w = Driven::new(WindowSpec {
        emit: Emit::Complete,
        ..tumbling(10)
    });
    w.batch(&[(Some("b"), Some(1), 1), (Some("a"), Some(12), 2)]);
    assert!(w.firing(0, 0).changed);
    w.boundary(0, 0);
    assert_eq!(w.seen(), [at(0, 10, "1,"), at(10, 20, "2,")]);
    assert!(!w.firing(1, 0).changed);
    w.boundary(1, 0);
    assert_eq!(w.seen(), []);
    w.step.as_whole().expect("complete mode").fire_at_boundary();
    w.boundary(2, 0);
    assert_eq!(w.seen(), [at(0, 10, "1,"), at(10, 20, "2,")]);
    w.boundary(3, 0);
    assert_eq!(w.seen(), []);
}

#[test]
fn complete_tells_before_a_boundary_whether_it_would_fire() {
    let asks = |changed, due| WholeFiring { changed, due };
    for kind in [
        WindowKind::Tumbling {
            size: 10,
            offset: 0,
        },
        WindowKind::Session { gap: Some(8) },
    ] {
        let mut w = Driven::new(WindowSpec {
            emit: Emit::Complete,
            trigger: Trigger {
                records: Some(2),
                every_event_ms: Some(5),
                ..Trigger::default()
            },
            ..spec(kind)
        });
        w.boundary(0, 0);
        assert_eq!(w.firing(3, 0), asks(false, false));
        w.batch(&[(Some("a"), Some(2), 1)]);
        assert_eq!(w.firing(3, 0), asks(true, false));
        assert_eq!(
            w.firing(4, 0),
            asks(true, true),
            "a multiple of 5 is reached"
        );
        w.boundary(4, 0);
        assert_eq!(w.seen().len(), 1);
        assert_eq!(w.firing(8, 0), asks(false, false));
        assert_eq!(w.firing(9, 0), asks(false, true), "its window closes");
        // A record of another task makes all come out, and the count start anew.
        w.batch(&[(Some("b"), Some(4), 2)]);
        let step = w.step.as_whole().expect("complete mode");
        assert!(!step.fired_inside());
        step.fire_now(&mut w.out).unwrap();
        assert_eq!(w.seen().len(), 2);
        assert_eq!(w.firing(8, 0), asks(false, false));
        w.batch(&[(Some("b"), Some(4), 3)]);
        assert_eq!(w.seen(), [], "its first since");
        w.batch(&[(Some("b"), Some(4), 4)]);
        assert!(w.step.as_whole().expect("complete mode").fired_inside());
        assert_eq!(w.seen().len(), 2);
    }
}

#[test]
fn timestamps_at_both_ends_fail_alone() {
    // A window around the last (or first) millisecond would leave the range: these records fail, time goes on.
    for kind in [
        WindowKind::Tumbling {
            size: 10,
            offset: 3,
        },
        WindowKind::Sliding {
            size: 10,
            every: 4,
            offset: 0,
        },
        WindowKind::Session { gap: Some(10) },
    ] {
        let mut w = Driven::new(spec(kind.clone()));
        w.batch(&[
            (None, Some(i64::MAX), 1),
            (None, Some(5), 2),
            (None, Some(i64::MIN), 3),
        ])
        .end();
        let rejected: Vec<i64> = w.out.rejected.iter().map(|r| r.0).collect();
        let min_is_fine = matches!(kind, WindowKind::Session { .. });
        assert_eq!(
            rejected,
            if min_is_fine { vec![1] } else { vec![1, 3] },
            "{kind:?}"
        );
        assert!(w.out.rejected[0].1.contains("9223372036854775807"));
        assert!(w.seen().iter().any(|(_, value)| value == "2,"));
    }
}

#[test]
fn offset_and_negative_timestamps_round_down() {
    // windows of 10 from 3: [-17, -7) [-7, 3) [3, 13)
    let mut w = Driven::new(spec(WindowKind::Tumbling {
        size: 10,
        offset: 3,
    }));
    w.batch(&[
        (None, Some(-8), 1),
        (None, Some(-7), 2),
        (None, Some(2), 3),
        (None, Some(3), 4),
    ])
    .end();
    assert_eq!(
        w.seen(),
        [at(-17, -7, "1,"), at(-7, 3, "2,3,"), at(3, 13, "4,")]
    );
}

#[test]
fn sessions_merge_when_they_touch_and_only_then() {
    // gap 10:  1 at 0 -> [0, 10)   2 at 20 -> [20, 30)   3 at 10 touches both -> [0, 30)
    let mut w = Driven::new(spec(WindowKind::Session { gap: Some(10) }));
    w.batch(&[(None, Some(20), 2), (None, Some(0), 1), (None, Some(10), 3)])
        .end();
    assert_eq!(
        w.seen(),
        [at(0, 30, "1,2,3,")],
        "in order of start, the new record last"
    );
    let mut w = Driven::new(spec(WindowKind::Session { gap: Some(10) }));
    w.batch(&[(None, Some(20), 2), (None, Some(0), 1), (None, Some(9), 3)])
        .end();
    assert_eq!(w.seen(), [at(0, 19, "1,3,"), at(20, 30, "2,")]);
}

#[test]
fn lateness_of_a_session_is_that_of_the_merged_one() {
    // gap 10, W = 12: 2 alone would be [2, 12), past; but it reaches [8, 18), which is open
    let mut w = Driven::new(spec(WindowKind::Session { gap: Some(10) }));
    w.batch(&[(Some("a"), Some(8), 1)]).boundary(12, 0);
    w.batch(&[(Some("a"), Some(2), 2), (Some("b"), Some(2), 3)])
        .end();
    assert_eq!(w.seen(), [at(2, 18, "1,2,")]);
    assert_eq!(w.out.late, [3]);
}

#[test]
fn late_record_that_only_a_rejected_one_would_save_is_late() {
    // gap 10, W = 12: 7 (rejected) at 8 would open [8, 18); 2 at 2 is late without it. 17 is rejected, too, but never
    // reaches the function.
    let mut w = Driven::new(spec(WindowKind::Session { gap: Some(10) }));
    w.boundary(12, 0)
        .batch(&[(None, Some(8), 7), (None, Some(2), 17), (None, Some(2), 2)])
        .end();
    assert_eq!(w.seen(), []);
    assert_eq!(w.out.late, [17, 2]);
    assert_eq!(w.out.rejected, [(7, "rejected".to_owned())]);
}

#[test]
fn count_windows_take_the_last_n_at_each_mth_record() {
    let mut w = Driven::new(spec(WindowKind::Count { size: 3, every: 2 }));
    w.batch(&[1, 2, 3, 4, 5].map(|v| (Some("a"), None, v)));
    assert_eq!(
        w.seen(),
        [(None, "1,2,".to_owned()), (None, "2,3,4,".to_owned())]
    );
    w.end();
    assert_eq!(
        w.out.results,
        [(Some(b"a".to_vec()), None, None, "5,".to_owned())],
        "what came since"
    );
    assert_eq!(w.step.groups(), 0);
}

#[test]
fn processing_time_windows_follow_the_clock_and_ask_to_be_woken() {
    let mut w = Driven::new(WindowSpec {
        time: TimeDomain::Processing,
        ..tumbling(10)
    });
    w.boundary(i64::MIN, 12).batch(&[(None, None, 1)]);
    assert_eq!(w.step.next_wakeup(), Some(20));
    w.boundary(i64::MIN, 19);
    assert_eq!(w.seen(), []);
    w.boundary(i64::MIN, 20);
    assert_eq!(w.seen(), [at(10, 20, "1,")]);
    assert_eq!(w.step.next_wakeup(), None);
}

#[test]
fn event_time_needs_timestamps_but_count_and_global_windows_do_not() {
    let mut w = Driven::new(tumbling(10));
    w.batch(&[(None, None, 1)]).end();
    assert_eq!(w.out.rejected.len(), 1);
    let mut w = Driven::new(spec(WindowKind::Global));
    w.batch(&[(None, None, 1), (None, Some(4), 2)]).end();
    assert_eq!(w.out.results, [(None, None, Some(4), "1,2,".to_owned())]);
}

#[test]
fn trigger_that_fired_before_a_checkpoint_does_not_fire_again_after_it() {
    let trigger = Trigger {
        every_event_ms: Some(5),
        ..Trigger::default()
    };
    let job = WindowSpec {
        trigger,
        ..tumbling(100)
    };
    let mut w = Driven::new(job.clone());
    w.batch(&[(None, Some(1), 1)]).boundary(6, 0);
    assert_eq!(w.seen(), [at(0, 100, "1,")]);
    w.batch(&[(None, Some(7), 2)]);
    let entries = entries_of(&mut w.step);
    let mut w = Driven::new(job);
    entries
        .iter()
        .for_each(|e| w.step.restore(e.as_ref()).unwrap());
    w.step.resume(Boundary {
        watermark: Watermark(6),
        inputs: &[],
        now: 0,
        end: false,
    });
    w.boundary(8, 0);
    assert_eq!(w.seen(), []);
    w.boundary(9, 0);
    assert_eq!(w.seen(), [at(0, 100, "1,2,")]);
}

#[test]
fn state_restores_at_another_parallelism() {
    let names: Vec<&'static str> = (0..50).map(|i| &*format!("key {i}").leak()).collect();
    for kind in [
        WindowKind::Tumbling {
            size: 10,
            offset: 0,
        },
        WindowKind::Sliding {
            size: 10,
            every: 5,
            offset: 0,
        },
        WindowKind::Session { gap: Some(10) },
        WindowKind::Count { size: 3, every: 2 },
    ] {
        let facts = FunctionFacts {
            order_dependent: false,
            ..FACTS
        };
        let make = || {
            WindowStep::new(
                spec(kind.clone()),
                Box::new(Native(CountSum)),
                facts,
                WindowLimits::default(),
            )
            .unwrap()
        };
        let records: Vec<Rec> = names.iter().map(|k| (Some(*k), Some(3), 1)).collect();
        let mut one = make();
        one.on_batch(0, batch(&records), &mut Recorder::default())
            .unwrap();
        let entries = entries_of(&mut one);
        let mut tasks = [make(), make(), make()];
        for entry in &entries {
            tasks[task_of(entry.key_group, 3)]
                .restore(entry.as_ref())
                .unwrap();
        }
        let end = Boundary {
            watermark: Watermark::END,
            inputs: &[],
            now: 0,
            end: true,
        };
        let mut results: Vec<Res> = Vec::new();
        for task in &mut tasks {
            assert!(task.groups() > 0 && task.groups() < one.groups());
            let mut out = Recorder::default();
            while task.on_boundary(end, &mut out).unwrap() == Progress::More {}
            results.extend(out.results);
        }
        let mut expected = Recorder::default();
        while one.on_boundary(end, &mut expected).unwrap() == Progress::More {}
        results.sort();
        expected.results.sort();
        assert_eq!(results, expected.results);
    }
}

#[test]
fn state_of_other_windows_twice_or_of_a_newer_function_is_refused() {
    let mut w = Driven::new(tumbling(10));
    w.batch(&[(Some("a"), Some(3), 1)]);
    let entries = entries_of(&mut w.step);
    let entry = &entries[0];
    let refused = |step: &mut WindowStep| step.restore(entry.as_ref()).unwrap_err().to_string();
    assert!(refused(&mut w.step).contains("twice"));
    assert!(refused(&mut Driven::new(tumbling(7)).step).contains("does not fit"));
    assert!(
        refused(&mut Driven::new(spec(WindowKind::Count { size: 2, every: 2 })).step)
            .contains("other windows")
    );
    let older = FunctionFacts {
        state_version: 0,
        ..FACTS
    };
    let mut older = WindowStep::new(
        tumbling(10),
        Box::new(Native(Collect)),
        older,
        WindowLimits::default(),
    )
    .unwrap();
    assert!(refused(&mut older).contains("version 1, the function's is 0"));
    // And one of an older function is migrated.
    older
        .on_batch(
            0,
            batch(&[(Some("a"), Some(3), 1)]),
            &mut Recorder::default(),
        )
        .unwrap();
    let old = entries_of(&mut older);
    let mut w = Driven::new(tumbling(10));
    w.step.restore(old[0].as_ref()).unwrap();
    w.end();
    assert_eq!(w.seen(), [at(0, 10, "1,")]);
}

#[test]
fn closing_many_groups_goes_in_parts_of_bounded_size() {
    let names: Vec<&'static str> = (0..10_000).map(|i| &*format!("{i:05}").leak()).collect();
    for kind in [
        WindowKind::Tumbling {
            size: 10,
            offset: 0,
        },
        WindowKind::Session { gap: Some(10) },
        WindowKind::Count { size: 2, every: 2 },
    ] {
        let mut w = Driven::new(spec(kind));
        w.batch(
            &names
                .iter()
                .rev()
                .map(|k| (Some(*k), Some(3), 1))
                .collect::<Vec<_>>(),
        );
        let end = Boundary {
            watermark: Watermark::END,
            inputs: &[],
            now: 0,
            end: true,
        };
        assert_eq!(w.step.on_boundary(end, &mut w.out).unwrap(), Progress::More);
        w.end();
        assert_eq!(w.out.batches, [4096, 4096, 1808]);
        assert!(w.out.results.is_sorted_by_key(|r| &r.0));
        assert_eq!(w.step.groups(), 0);
    }
}

#[test]
fn very_many_sessions_close_in_order_after_a_part_that_only_plans() {
    // Later keys come first and end first.
    let names: Vec<&'static str> = (0..70_000).map(|i| &*format!("{i:05}").leak()).collect();
    let mut w = Driven::new(spec(WindowKind::Session { gap: Some(10) }));
    let records: Vec<Rec> = (names.iter().rev().enumerate())
        .map(|(i, key)| (Some(*key), Some(i as i64 / 2), 1))
        .collect();
    w.batch(&records);
    let end = Boundary {
        watermark: Watermark::END,
        inputs: &[],
        now: 0,
        end: true,
    };
    assert_eq!(w.step.on_boundary(end, &mut w.out).unwrap(), Progress::More);
    assert_eq!(w.out.batches, [0_usize; 0]);
    w.end();
    assert_eq!(w.out.results.len(), 70_000);
    assert!(
        w.out
            .results
            .is_sorted_by_key(|r| (r.1.map(|(s, e)| (e, s)), r.0.clone()))
    );
    assert_eq!(w.step.groups(), 0);
}

/// Grows by a kilobyte a record, and answers what it is told.
struct Odd(&'static str);

impl Aggregate for Odd {
    fn prepare(&mut self, _: &mut Batch) -> Result<Vec<Rejected>, Fault> {
        Ok(Vec::new())
    }
    fn init(&mut self) -> Result<Arc<[u8]>, Fault> {
        Ok(Arc::from([]))
    }
    fn gaps(&mut self, _: &Batch, _: &[u32]) -> Result<(Vec<i64>, Vec<Rejected>), Fault> {
        Ok((Vec::new(), Vec::new()))
    }
    fn add(&mut self, _: &Batch, rows: &[u32], _: &[u32], accs: &Blobs) -> Result<Added, Fault> {
        Ok(match self.0 {
            "fewer" => Added::Accumulators(Blobs::default()),
            "stranger" => Added::Rejected(vec![reject(77)]),
            "nobody" => Added::Rejected(Vec::new()),
            _ => Added::Accumulators(
                accs.iter()
                    .map(|a| [a, &vec![1; 1024 * rows.len()]].concat())
                    .collect(),
            ),
        })
    }
    fn merge(&mut self, left: &Blobs, _: &Blobs) -> Result<Blobs, Fault> {
        Ok(left.clone())
    }
    fn finish(&mut self, _: &BinaryArray, _: &Windows, _: &Blobs) -> Result<Finished, Fault> {
        let none = Batch::of(0, crate::record::Value::new(crate::record::Form::Null));
        Ok(Finished {
            batch: none,
            groups: Vec::new(),
            rejected: vec![reject(0)],
        })
    }
    fn migrate(&mut self, _: u32, accs: &Blobs) -> Result<Blobs, Fault> {
        Ok(accs.clone())
    }
}

fn reject(row: u32) -> Rejected {
    Rejected {
        row,
        kind: crate::plugin::RejectKind::Rejected,
        message: "no".to_owned(),
        log: Vec::new(),
    }
}

fn failure(what: &'static str, kind: WindowKind, records: usize) -> String {
    let mut step = with(spec(kind), Odd(what));
    let records = vec![(None, Some(1), 1); records];
    let failed: StepError = step
        .on_batch(0, batch(&records), &mut Recorder::default())
        .unwrap_err();
    failed.to_string()
}

#[test]
fn functions_that_answer_nonsense_end_the_job_with_the_reason() {
    let kind = || WindowKind::Tumbling {
        size: 10,
        offset: 0,
    };
    assert_eq!(
        failure("fewer", kind(), 1),
        "0 accumulators came back for 1 groups"
    );
    assert!(failure("stranger", kind(), 1).contains("not given"));
    assert!(failure("nobody", kind(), 1).contains("without naming any"));
    assert!(
        failure("fewer", WindowKind::Session { gap: None }, 2)
            .contains("0 gaps came back for 2 records")
    );
    let grown = failure("grows", kind(), 1025);
    assert_eq!(
        grown,
        "the accumulator of a group has 1049600 bytes, at most 1048576 are allowed"
    );
}

#[test]
fn result_that_fails_is_told_with_key_and_window() {
    let mut w = Driven {
        step: with(tumbling(10), Odd("")),
        out: Recorder::default(),
    };
    w.batch(&[(Some("a"), Some(1), 1)]).end();
    assert_eq!(
        w.out.rejected_results,
        [(Some(b"a".to_vec()), Some((0, 10)), "no".to_owned())]
    );
}

#[test]
fn too_many_groups_end_the_job() {
    let limits = WindowLimits {
        groups_max: 2,
        ..WindowLimits::default()
    };
    let mut step = WindowStep::new(tumbling(10), Box::new(Native(Collect)), FACTS, limits).unwrap();
    let records = [
        (Some("a"), Some(1), 1),
        (Some("b"), Some(1), 1),
        (Some("c"), Some(1), 1),
    ];
    let failed = step
        .on_batch(0, batch(&records), &mut Recorder::default())
        .unwrap_err()
        .to_string();
    assert!(failed.contains("more than 2 groups"));
}

#[test]
fn windows_that_cannot_be_are_refused() {
    let refused = |kind: WindowKind, facts| {
        let made = WindowStep::new(
            spec(kind),
            Box::new(Native(Collect)),
            facts,
            WindowLimits::default(),
        );
        made.err().map(|e| e.to_string()).unwrap()
    };
    assert!(refused(WindowKind::Tumbling { size: 0, offset: 0 }, FACTS).contains("holds nothing"));
    assert!(
        refused(
            WindowKind::Sliding {
                size: 5,
                every: 6,
                offset: 0
            },
            FACTS
        )
        .contains("every")
    );
    assert!(refused(WindowKind::Session { gap: Some(0) }, FACTS).contains("closes at once"));
    assert!(refused(WindowKind::Count { size: 0, every: 1 }, FACTS).contains("0 records"));
    let plain = FunctionFacts {
        mergeable: false,
        ..FACTS
    };
    assert!(refused(WindowKind::Session { gap: Some(1) }, plain).contains("no `merge`"));
    let ten_years = WindowKind::Sliding {
        size: 315_360_000_000,
        every: 1,
        offset: 0,
    };
    assert!(refused(ten_years, FACTS).contains("315360000000 windows"));
}
