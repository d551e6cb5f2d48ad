use proptest::prelude::*;

use super::model::Model;
use super::*;
use crate::keyed::testing::{Collect, PairUp, Rec, batch, boundary, rec, records, snapshot};
use crate::state::StateEntry;
use crate::state::testing::chains;
use crate::step::{KEY_GROUPS, Step, StepError, key_group, task_of};
use crate::time::Watermark;

fn interval(kind: JoinKind, from: i64, to: i64) -> JoinSpec {
    JoinSpec {
        kind,
        bounds: JoinBounds::Interval {
            from,
            to,
            exclusive: Exclusive::Neither,
        },
        allowed_lateness_ms: 0,
    }
}

fn windowed(kind: JoinKind, size: i64) -> JoinSpec {
    JoinSpec {
        kind,
        bounds: JoinBounds::Window { size, offset: 0 },
        allowed_lateness_ms: 0,
    }
}

fn step(spec: &JoinSpec, reject: Option<u64>) -> JoinStep {
    let pairs = !matches!(spec.kind, JoinKind::Semi | JoinKind::Anti);
    let mut step = JoinStep::new(
        spec.clone(),
        pairs.then(|| Box::new(PairUp { reject }) as Box<dyn crate::plugin::Join>),
    );
    step.take_vault(crate::spill::test_vault());
    step
}

/// A step driven by hand: what came out since the last look, as `key value@ts`.
struct Driven {
    step: JoinStep,
    out: Collect,
}

impl Driven {
    fn new(spec: JoinSpec) -> Driven {
        Driven {
            step: step(&spec, None),
            out: Collect::default(),
        }
    }

    fn left(&mut self, rows: &[(&str, i64)]) -> Vec<String> {
        self.rows(0, rows)
    }

    fn right(&mut self, rows: &[(&str, i64)]) -> Vec<String> {
        self.rows(1, rows)
    }

    fn rows(&mut self, input: usize, rows: &[(&str, i64)]) -> Vec<String> {
        let rows: Vec<Rec> = rows
            .iter()
            .map(|(value, ts)| rec("k", value, *ts))
            .collect();
        self.step
            .on_batch(input, batch(&rows), &mut self.out)
            .expect("rows are taken");
        self.shown()
    }

    fn watermark(&mut self, watermark: i64) -> Vec<String> {
        boundary(&mut self.step, watermark, &mut self.out);
        self.shown()
    }

    fn shown(&mut self) -> Vec<String> {
        let show = |r: Rec| {
            format!(
                "{}@{}",
                r.value.unwrap_or_default(),
                r.ts.unwrap_or_default()
            )
        };
        self.out.main.drain(..).map(show).collect()
    }
}

const NOTHING: [&str; 0] = [];

#[test]
fn pairs_within_inclusive_bounds_come_out_at_once() {
    // Flink's IntervalJoinOperatorTest, [-1, +1]:   left  1 2 3 4   right  1 2 3 4
    let mut join = Driven::new(interval(JoinKind::Inner, -1, 1));
    assert_eq!(
        join.left(&[("l1", 1), ("l2", 2), ("l3", 3), ("l4", 4)]),
        NOTHING
    );
    assert_eq!(join.right(&[("r1", 1)]), ["l1|r1@1", "l2|r1@2"]);
    assert_eq!(
        join.right(&[("r2", 2), ("r3", 3)]),
        [
            "l1|r2@2", "l2|r2@2", "l3|r2@3", "l2|r3@3", "l3|r3@3", "l4|r3@4"
        ]
    );
    assert_eq!(join.right(&[("r4", 4)]), ["l3|r4@4", "l4|r4@4"]);
}

#[test]
fn exclusive_bounds_do_not_count_in() {
    // left at 2, bounds -1..+1: rights at 1, 2, 3
    for (exclusive, expected) in [
        (Exclusive::Neither, vec!["l|1@2", "l|2@2", "l|3@3"]),
        (Exclusive::From, vec!["l|2@2", "l|3@3"]),
        (Exclusive::To, vec!["l|1@2", "l|2@2"]),
        (Exclusive::Both, vec!["l|2@2"]),
    ] {
        let bounds = JoinBounds::Interval {
            from: -1,
            to: 1,
            exclusive,
        };
        let mut join = Driven::new(JoinSpec {
            bounds,
            ..interval(JoinKind::Inner, 0, 0)
        });
        join.left(&[("l", 2)]);
        assert_eq!(
            join.right(&[("1", 1), ("2", 2), ("3", 3)]),
            expected,
            "{exclusive:?}"
        );
    }
}

#[test]
fn a_matched_row_never_comes_out_alone_after_its_partner_was_forgotten() {
    // SPARK-26187: the left row outlives its partner.   within 0..+10
    // left   5                 its last match could come at 15
    // right  5                 forgotten at W >= 5, when no left row <= 5 can come any more
    let mut join = Driven::new(interval(JoinKind::Left, 0, 10));
    join.left(&[("l", 5)]);
    assert_eq!(join.right(&[("r", 5)]), ["l|r@5"]);
    assert_eq!(join.watermark(7), NOTHING);
    assert_eq!(join.step.right.rows.len(), 0);
    assert_eq!(join.step.left.rows.len(), 1);
    assert_eq!(join.watermark(15), NOTHING);
    assert_eq!(join.step.left.rows.len(), 0);
}

#[test]
fn an_outer_row_comes_out_exactly_once_when_w_passes_its_last_match() {
    // left 10, within -5..+5: a right row at 15 could still match until W = 15.
    let mut join = Driven::new(interval(JoinKind::Full, -5, 5));
    join.left(&[("l", 10)]);
    join.right(&[("r", 30)]);
    assert_eq!(join.watermark(14), NOTHING);
    assert_eq!(join.watermark(15), ["l|-@10"]);
    assert_eq!(join.watermark(34), NOTHING);
    assert_eq!(join.watermark(i64::MAX), ["-|r@30"]);
    assert_eq!(join.watermark(i64::MAX), NOTHING);
    assert!(join.step.keys.is_empty());
}

#[test]
fn outer_rows_wait_for_allowed_lateness_too() {
    // lateness 3: right row 15 is taken until W = 18, so left 10 waits until then.
    let mut join = Driven::new(JoinSpec {
        allowed_lateness_ms: 3,
        ..interval(JoinKind::Left, -5, 5)
    });
    join.left(&[("l", 10)]);
    assert_eq!(join.watermark(17), NOTHING);
    assert_eq!(join.right(&[("r", 15)]), ["l|r@15"]);
    join.left(&[("m", 15)]);
    assert_eq!(join.watermark(22), NOTHING);
    assert_eq!(join.right(&[("s", 20)]), ["m|s@20"]);
    assert_eq!(join.left(&[("n", 26)]), NOTHING);
    assert_eq!(join.watermark(34), ["n|-@26"]);
    join.right(&[("t", 31)]);
    assert_eq!(join.out.late, [rec("k", "t", 31)]);
    assert_eq!(join.out.late_count, 1);
}

#[test]
fn outer_rows_that_come_out_together_are_in_order_of_time_key_arrival() {
    let mut join = Driven::new(interval(JoinKind::Full, 0, 0));
    for (input, key, value, ts) in [
        (0, "b", 1, 5),
        (1, "a", 2, 5),
        (0, "a", 3, 4),
        (1, "b", 4, 6),
        (1, "c", 5, 3),
        (0, "b", 6, 5),
    ] {
        join.step
            .on_batch(input, batch(&[rec(key, value, ts)]), &mut join.out)
            .expect("taken");
    }
    assert_eq!(
        join.watermark(9),
        ["-|5@3", "3|-@4", "-|2@5", "1|-@5", "6|-@5", "-|4@6"]
    );
}

#[test]
fn windowed_rows_meet_within_one_window_only() {
    // windows [0, 10) [10, 20)     left 9, 10    right 0, 19, 20
    let mut join = Driven::new(windowed(JoinKind::Full, 10));
    join.left(&[("a", 9), ("b", 10)]);
    assert_eq!(
        join.right(&[("x", 0), ("y", 19), ("z", 20)]),
        ["a|x@9", "b|y@19"]
    );
    assert_eq!(join.watermark(19), NOTHING);
    join.left(&[("late", 19)]);
    assert_eq!(join.out.late.len(), 1);
    assert_eq!(join.watermark(29), ["-|z@20"]);
}

#[test]
fn semi_rows_come_out_once_at_their_first_match_and_anti_rows_at_the_end() {
    // left 1, 2, 50     right 2, 2      within 0..+5
    let mut semi = Driven::new(interval(JoinKind::Semi, 0, 5));
    semi.left(&[("1", 1), ("2", 2), ("50", 50)]);
    assert_eq!(semi.right(&[("r", 2), ("r", 2)]), ["1@1", "2@2"]);
    assert_eq!(semi.left(&[("3", 2)]), ["3@2"]);
    assert_eq!(
        semi.step.left.rows.len(),
        1,
        "rows that came out are forgotten"
    );
    assert_eq!(semi.watermark(i64::MAX), NOTHING);

    let mut anti = Driven::new(interval(JoinKind::Anti, 0, 5));
    anti.left(&[("1", 1), ("2", 2), ("50", 50)]);
    assert_eq!(anti.right(&[("r", 2), ("r", 2)]), NOTHING);
    assert_eq!(anti.left(&[("3", 2)]), NOTHING);
    assert_eq!(anti.watermark(55), ["50@50"]);
    assert!(anti.step.keys.is_empty());
}

#[test]
fn a_rejected_pair_is_a_match_and_blames_the_row_that_came_second() {
    let mut out = Collect::default();
    let mut join = step(&interval(JoinKind::Full, -5, 5), Some(10));
    join.on_batch(0, batch(&[rec("k", 3, 1), rec("k", 4, 1)]), &mut out)
        .expect("taken");
    join.on_batch(1, batch(&[rec("k", 7, 1), rec("k", 5, 1)]), &mut out)
        .expect("taken");
    boundary(&mut join, i64::MAX, &mut out);
    assert_eq!(out.rejected, [(rec("k", 7, 1), "10 is bad".to_owned())]);
    assert_eq!(
        out.main,
        [rec("k", "4|7", 1), rec("k", "3|5", 1), rec("k", "4|5", 1)]
    );
    // A row alone that fails is its own fault.
    join.on_batch(1, batch(&[rec("k", 20, 1)]), &mut out)
        .expect("taken");
    assert_eq!(out.late.len(), 1);
    let mut join = step(&interval(JoinKind::Full, -5, 5), Some(10));
    join.on_batch(1, batch(&[rec("k", 20, 1)]), &mut out)
        .expect("taken");
    boundary(&mut join, 9, &mut out);
    assert_eq!(
        out.rejected.last(),
        Some(&(rec("k", 20, 1), "20 is bad".to_owned()))
    );
    // Under `fail` the job ends.
    let mut out = Collect {
        fail: true,
        ..Collect::default()
    };
    let mut join = step(&interval(JoinKind::Inner, -5, 5), Some(10));
    join.on_batch(0, batch(&[rec("k", 3, 1)]), &mut out)
        .expect("taken");
    let end = join.on_batch(1, batch(&[rec("k", 7, 1)]), &mut out);
    assert!(matches!(end, Err(StepError::Failed(message)) if message == "10 is bad"));
}

#[test]
fn rows_without_key_or_timestamp_are_rejected() {
    let mut out = Collect::default();
    let mut join = step(&interval(JoinKind::Full, -5, 5), None);
    let (no_key, no_time) = (
        Rec {
            key: None,
            ..rec("", 1, 1)
        },
        Rec {
            ts: None,
            ..rec("k", 2, 1)
        },
    );
    join.on_batch(0, batch(&[no_key.clone(), no_time.clone()]), &mut out)
        .expect("rejected");
    boundary(&mut join, i64::MAX, &mut out);
    assert!(out.main.is_empty());
    let messages: Vec<_> = out
        .rejected
        .iter()
        .map(|(r, m)| (r.clone(), m.as_str()))
        .collect();
    assert_eq!(
        messages,
        [
            (no_key, "a join needs records with a key, this one has none"),
            (
                no_time,
                "a join needs records with a timestamp, this one has none"
            )
        ]
    );
}

#[test]
fn both_ends_of_time_match_without_overflow() {
    for (from, to) in [
        (i64::MIN, i64::MAX),
        (-10, 10),
        (0, i64::MAX),
        (i64::MIN, 0),
    ] {
        let mut join = Driven::new(interval(JoinKind::Full, from, to));
        join.left(&[("l", i64::MAX), ("m", i64::MIN)]);
        let got = join.right(&[("r", i64::MAX), ("s", i64::MIN)]);
        assert!(
            got.contains(&format!("l|r@{}", i64::MAX)),
            "{from}..{to}: {got:?}"
        );
        assert!(
            got.contains(&format!("m|s@{}", i64::MIN)),
            "{from}..{to}: {got:?}"
        );
        join.watermark(i64::MIN + 1);
        join.watermark(i64::MAX);
        assert!(join.step.keys.is_empty());
    }
    let mut join = Driven::new(windowed(JoinKind::Full, i64::MAX));
    join.left(&[("l", i64::MAX), ("m", i64::MIN)]);
    assert_eq!(
        join.right(&[("r", i64::MAX)]),
        [format!("l|r@{}", i64::MAX)]
    );
    assert_eq!(join.watermark(i64::MAX), [format!("m|-@{}", i64::MIN)]);
}

#[test]
fn output_watermark_is_less_by_the_greatest_age_of_a_row() {
    for (kind, age) in [
        (JoinKind::Inner, 0),
        (JoinKind::Left, 20),
        (JoinKind::Semi, 20),
        (JoinKind::Anti, 20),
        (JoinKind::Right, 30),
        (JoinKind::Full, 30),
    ] {
        let spec = JoinSpec {
            allowed_lateness_ms: 5,
            ..interval(kind, -30, 20)
        };
        assert_eq!(
            step(&spec, None).output_watermark(Watermark(1000)),
            Watermark(995 - age),
            "{kind:?}"
        );
        let spec = JoinSpec {
            allowed_lateness_ms: 5,
            ..windowed(kind, 100)
        };
        assert_eq!(
            step(&spec, None).output_watermark(Watermark(1000)),
            Watermark(1000 - 99 - 5),
            "{kind:?}"
        );
        assert_eq!(
            step(&spec, None).output_watermark(Watermark::END),
            Watermark::END
        );
        assert_eq!(
            step(&spec, None).output_watermark(Watermark(i64::MIN + 1)),
            Watermark::NONE
        );
    }
    assert_eq!(
        step(&interval(JoinKind::Full, 10, 20), None).output_watermark(Watermark(100)),
        Watermark(80)
    );
    assert_eq!(
        step(&interval(JoinKind::Right, 10, 20), None).output_watermark(Watermark(100)),
        Watermark(100)
    );
}

#[test]
fn a_hot_key_gives_its_pairs_in_batches_of_bounded_size() {
    let mut join = step(&interval(JoinKind::Inner, 0, 0), None);
    let mut out = Collect::default();
    let rows: Vec<Rec> = (0..3000).map(|i| rec("k", i, 7)).collect();
    join.on_batch(0, batch(&rows), &mut out).expect("taken");
    join.on_batch(1, batch(&rows[..10]), &mut out)
        .expect("taken");
    assert_eq!(out.main.len(), 30_000);
    assert!(out.batches.iter().all(|b| b.len <= 4096 + 3000));
    boundary(&mut join, 7, &mut out);
    assert_eq!(
        join.left.rows.len() + join.right.rows.len() + join.keys.len(),
        0
    );
}

#[test]
fn stored_state_is_refused_when_it_is_broken() {
    let mut join = step(&interval(JoinKind::Full, -5, 5), None);
    join.on_batch(0, batch(&[rec("k", 1, 10)]), &mut Collect::default())
        .expect("taken");
    let entry = snapshot(&mut join).remove(0);
    let value = entry.value.clone();
    assert_eq!(
        (&entry.key[..], &value[..]),
        (
            &b"r\0\0\0\0\0\0\0\0\0k"[..],
            &b"\x01\x00\x06\x0a\x00\x00\x00\x00\x00\x00\x00\x011"[..]
        ),
        "bytes of version 1 stay as they are"
    );
    let restored = |change: &dyn Fn(&mut StateEntry)| {
        let mut entry = entry.clone();
        change(&mut entry);
        let mut join = step(&interval(JoinKind::Full, -5, 5), None);
        join.restore(entry.as_ref())
            .map(|()| snapshot(&mut join) == [entry])
            .map_err(|e| e.to_string())
    };
    let broken = |why: &str| Err(format!("the stored state of a join is broken: {why}"));
    let set = |bytes: Vec<u8>| move |e: &mut StateEntry| e.value = bytes.clone();
    assert_eq!(restored(&|_| ()), Ok(true));
    assert_eq!(restored(&|e| e.key[2] = 5), Ok(true), "another arrival");
    assert_eq!(
        restored(&|e| e.key = vec![0]),
        broken("its name is neither that of a row nor of a key")
    );
    assert_eq!(
        restored(&|e| e.key.truncate(9)),
        broken("its name is cut off")
    );
    assert_eq!(restored(&|e| e.key[1] = 2), broken("its name has no side"));
    assert_eq!(
        restored(&|e| e.key[2..10].fill(255)),
        broken("its number of arrival is beyond all")
    );
    assert_eq!(
        restored(&set(vec![])),
        broken("it ends in the middle of a value")
    );
    assert_eq!(restored(&set(vec![9])), broken("unknown version 9"));
    assert_eq!(
        restored(&set(value[..5].to_vec())),
        broken("it ends in the middle of a value")
    );
    assert_eq!(
        restored(&set(vec![1, 0, 0])),
        broken("a row without timestamp")
    );
    assert_eq!(restored(&set(vec![1, 4])), broken("unknown flags 0x04"));
    assert_eq!(
        restored(&set([&value[..], &[4]].concat())),
        broken("1 bytes follow its end")
    );
}

#[test]
fn rows_stored_by_key_are_read_for_ever() {
    let spec = interval(JoinKind::Full, -5, 5);
    let entry = StateEntry {
        key_group: key_group(b"k"),
        key: b"\x01k".to_vec(),
        value: b"\x01\x00\x06\x0a\0\0\0\0\0\0\0\x011\x03\x06\x0b\0\0\0\0\0\0\0\x012".to_vec(),
    };
    let mut join = step(&spec, None);
    join.restore(entry.as_ref()).expect("read");
    let names: Vec<_> = snapshot(&mut join)
        .into_iter()
        .map(|e| (e.key, e.value[1]))
        .collect();
    assert_eq!(
        names,
        [
            (b"r\0\0\0\0\0\0\0\0\0k".to_vec(), 0),
            (b"r\x01\x01\0\0\0\0\0\0\0k".to_vec(), 2)
        ]
    );
    let refused = |value: &[u8]| {
        let entry = StateEntry {
            value: value.to_vec(),
            ..entry.clone()
        };
        step(&spec, None).restore(entry.as_ref()).is_err()
    };
    assert!(refused(&[]) && refused(&[1]) && refused(&[9]) && refused(&[1, 4]));
}

/// A flush: rows as (left, key, ts), how many to a batch, and the watermark's step after them.
type Flush = (Vec<(bool, u8, i64)>, usize, i64, Option<usize>);

fn flushes() -> impl Strategy<Value = Vec<Flush>> {
    let row = (any::<bool>(), 0_u8..4, -15_i64..15);
    prop::collection::vec(
        (
            prop::collection::vec(row, 0..20),
            1_usize..6,
            -3_i64..12,
            prop::option::weighted(0.2, 1_usize..4),
        ),
        1..12,
    )
}

fn specs() -> impl Strategy<Value = JoinSpec> {
    let kind = prop::sample::select(vec![
        JoinKind::Inner,
        JoinKind::Left,
        JoinKind::Right,
        JoinKind::Full,
        JoinKind::Semi,
        JoinKind::Anti,
    ]);
    let exclusive = prop::sample::select(vec![
        Exclusive::Neither,
        Exclusive::From,
        Exclusive::To,
        Exclusive::Both,
    ]);
    let interval = (-8_i64..8, 0_i64..10, exclusive).prop_map(|(from, width, exclusive)| {
        JoinBounds::Interval {
            from,
            to: from + width,
            exclusive,
        }
    });
    let window =
        (1_i64..12, -5_i64..5).prop_map(|(size, offset)| JoinBounds::Window { size, offset });
    (
        kind,
        prop_oneof![3 => interval, 1 => window],
        prop_oneof![Just(0_i64), 0_i64..10],
    )
        .prop_map(|(kind, bounds, allowed_lateness_ms)| JoinSpec {
            kind,
            bounds,
            allowed_lateness_ms,
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn gives_what_a_join_that_keeps_everything_gives(
        spec in specs(),
        flushes in flushes(),
        base in prop::sample::select(vec![0, i64::MIN, i64::MAX]),
        reject in prop::option::weighted(0.3, Just(5_u64)),
        sheds in prop::collection::vec(0_usize..6, 8),
    ) {
        let mut sheds = sheds.into_iter().cycle();
        let mut shed = |task: &mut JoinStep| {
            let quarters = sheds.next().expect("it is endless");
            if quarters < 4 {
                task.shed(task.state_bytes() * quarters / 4).expect("there is room");
            }
        };
        let mut model = Model::new(spec.clone(), reject);
        let mut snapshots = chains(1);
        let mut tasks = vec![step(&spec, reject)];
        let mut out = Collect::default();
        let (mut watermark, mut number, mut rescaled) = (i64::MIN, 0, false);
        // Times are near `base`: the middle, or an end of i64.
        let near = |t: i64| base.saturating_add(if base == i64::MIN { t + 15 } else if base == i64::MAX { t - 15 } else { t });
        let mut clock = -20;
        for (rows, size, advance, restart) in flushes {
            if let Some(count) = restart {
                let entries: Vec<_> = tasks.iter_mut().zip(&mut snapshots).flat_map(|(t, s)| s.finish(t)).collect();
                snapshots = chains(count);
                tasks = (0..count).map(|_| step(&spec, reject)).collect();
                for entry in entries {
                    let task = &mut tasks[task_of(entry.key_group, count)];
                    task.restore(entry.as_ref()).expect("own entries come back");
                    shed(task);
                }
                for task in &mut tasks {
                    let both = [Watermark(watermark); 2];
                    task.resume(crate::keyed::testing::at(&both, 0));
                }
                rescaled |= count > 1;
            }
            for chunk in rows.chunks(size) {
                // Left and right rows of a chunk go as two batches.
                for left in [true, false] {
                    let side: Vec<Rec> = chunk
                        .iter()
                        .filter(|r| r.0 == left)
                        .map(|&(_, key, t)| {
                            number += 1;
                            rec(&format!("k{key}"), number, near(t))
                        })
                        .collect();
                    for row in &side {
                        model.row(left, row.clone());
                    }
                    let count = tasks.len();
                    for (t, task) in tasks.iter_mut().enumerate() {
                        let own: Vec<Rec> = side.iter().filter(|r| task_of(key_group(r.key.as_ref().expect("keyed").as_bytes()), count) == t).cloned().collect();
                        let before = out.main.len();
                        task.on_batch(usize::from(!left), batch(&own), &mut out).expect("taken");
                        shed(task);
                        let least = task.output_watermark(Watermark(watermark));
                        prop_assert!(out.main[before..].iter().all(|r| least == Watermark::NONE || r.ts > Some(least.0)), "late for the next step");
                    }
                }
            }
            if size % 3 == 1 {
                tasks.iter_mut().zip(&mut snapshots).for_each(|(t, s)| s.take(t));
            }
            clock += advance;
            watermark = watermark.max(near(clock));
            let before = watermark;
            model.boundary(watermark);
            for task in &mut tasks {
                let both = [Watermark(watermark); 2];
                while task.on_boundary(crate::keyed::testing::at(&both, 0), &mut out).expect("it goes on") == crate::step::Progress::More {
                    shed(task);
                }
                shed(task);
            }
            prop_assert_eq!(before, watermark);
            if size % 2 == 0 {
                tasks.iter_mut().zip(&mut snapshots).for_each(|(t, s)| s.take(t));
            }
        }
        model.boundary(i64::MAX);
        for task in &mut tasks {
            boundary(task, i64::MAX, &mut out);
            prop_assert!(task.keys.is_empty() && task.left.rows.is_empty() && task.right.rows.is_empty(), "nothing stays");
            prop_assert_eq!(task.keys.cold(), 0, "nothing stays in the vault");
        }
        let mut got = (out.main, out.late, out.rejected.into_iter().map(|r| r.0).collect::<Vec<_>>());
        let mut expected = (model.main, model.late, model.rejected);
        // One letter a row and call.
        for all in [&mut got.2, &mut expected.2] {
            all.sort();
            all.dedup();
        }
        if rescaled {
            for all in [&mut got.0, &mut got.1, &mut expected.0, &mut expected.1] {
                all.sort();
            }
        }
        prop_assert_eq!(got, expected);
    }
}

#[test]
fn rows_keep_headers_and_origins_through_state() {
    use crate::record::{Blobs, Headers, Origin, Origins};
    let mut rows = batch(&[rec("k", 1, 1), rec("k", 2, 2)]);
    rows.headers = Some(std::sync::Arc::new(Headers {
        first: vec![0, 1, 1],
        names: ["h"].into_iter().collect(),
        values: ["v"].into_iter().collect::<Blobs>(),
    }));
    rows.origins = Origins::Run(Origin {
        source: 1,
        partition: 2,
        offset: 30,
    });
    let mut anti = step(&interval(JoinKind::Anti, 0, 0), None);
    anti.on_batch(0, rows.clone(), &mut Collect::default())
        .expect("taken");
    let entries = snapshot(&mut anti);
    assert!(entries.iter().all(|e| e.key_group < KEY_GROUPS));
    let mut restored = step(&interval(JoinKind::Anti, 0, 0), None);
    entries
        .iter()
        .for_each(|e| restored.restore(e.as_ref()).expect("own entries"));
    for mut step in [anti, restored] {
        let mut out = Collect::default();
        boundary(&mut step, 5, &mut out);
        let got = crate::record::Batch::concat(out.batches);
        assert_eq!(records(&got), records(&rows));
        assert_eq!(got.headers, rows.headers);
        assert_eq!(got.origins.get(1), rows.origins.get(1));
    }
}
