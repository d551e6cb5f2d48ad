use proptest::prelude::*;

use super::*;
use crate::keyed::testing::{Collect, Rec, batch, boundary, rec, snapshot};
use crate::spill::test_vault;
use crate::state::StateEntry;
use crate::state::testing::chains;
use crate::step::{key_group, task_of};

fn values(out: &mut Collect) -> Vec<String> {
    out.main.drain(..).filter_map(|r| r.value).collect()
}

#[test]
fn an_accepted_record_within_the_bound_on_either_side_drops() {
    // The module's timeline.
    let (mut dedup, mut out) = (DedupStep::new(3), Collect::default());
    for (value, ts) in [("a", 5), ("b", 2), ("c", 9), ("d", 7), ("e", 1)] {
        dedup
            .on_batch(0, batch(&[rec("k", value, ts)]), &mut out)
            .expect("taken");
    }
    assert_eq!(values(&mut out), ["a", "c", "e"]);
}

#[test]
fn accepted_times_are_kept_while_a_record_could_lie_within() {
    // within 3: accepted at 10; W = 12 leaves 13 possible (3 away), W = 13 does not.
    let (mut dedup, mut out) = (DedupStep::new(3), Collect::default());
    dedup
        .on_batch(0, batch(&[rec("k", "a", 10)]), &mut out)
        .expect("taken");
    boundary(&mut dedup, 12, &mut out);
    dedup
        .on_batch(
            0,
            batch(&[rec("k", "b", 13), rec("k", "late", 12)]),
            &mut out,
        )
        .expect("taken");
    assert_eq!(dedup.keys.len(), 1);
    boundary(&mut dedup, 13, &mut out);
    assert!(dedup.keys.is_empty());
    dedup
        .on_batch(0, batch(&[rec("k", "c", 14)]), &mut out)
        .expect("taken");
    assert_eq!(values(&mut out), ["a", "c"]);
    assert_eq!((out.late, out.late_count), (vec![rec("k", "late", 12)], 1));
}

#[test]
fn records_without_key_are_one_group_and_records_without_time_rejected() {
    let (mut dedup, mut out) = (DedupStep::new(3), Collect::default());
    let no_key = Rec {
        key: None,
        ..rec("", "a", 1)
    };
    let no_time = Rec {
        ts: None,
        ..rec("k", "b", 1)
    };
    dedup
        .on_batch(
            0,
            batch(&[
                no_key.clone(),
                rec("", "c", 1),
                no_key.clone(),
                no_time.clone(),
            ]),
            &mut out,
        )
        .expect("taken");
    assert_eq!(out.main, [no_key, rec("", "c", 1)]);
    assert_eq!(
        out.rejected,
        [(
            no_time,
            "dedup needs records with a timestamp, this one has none".to_owned()
        )]
    );
    assert_eq!(snapshot(&mut dedup).len(), 2);
}

#[test]
fn both_ends_of_time_work() {
    for within in [0, 1, i64::MAX] {
        let (mut dedup, mut out) = (DedupStep::new(within), Collect::default());
        let rows: Vec<Rec> = [i64::MIN, i64::MAX, i64::MIN, i64::MAX]
            .iter()
            .map(|&ts| rec("k", ts, ts))
            .collect();
        dedup.on_batch(0, batch(&rows), &mut out).expect("taken");
        assert_eq!(out.main.len(), 2, "within {within}");
        boundary(&mut dedup, i64::MIN + 1, &mut out);
        boundary(&mut dedup, i64::MAX, &mut out);
        assert!(dedup.keys.is_empty());
    }
}

#[test]
fn stored_state_is_refused_when_it_is_broken() {
    let mut dedup = DedupStep::new(3);
    dedup
        .on_batch(
            0,
            batch(&[rec("k", 1, 10), rec("k", 2, 2)]),
            &mut Collect::default(),
        )
        .expect("taken");
    let entry = snapshot(&mut dedup).remove(0);
    assert_eq!(entry.key, b"\x01k");
    assert_eq!(
        entry.value, b"\x01\x02\0\0\0\0\0\0\0\x0a\0\0\0\0\0\0\0",
        "bytes of version 1 stay as they are"
    );
    let restored = |key: &[u8], value: &[u8]| {
        let entry = StateEntry {
            key: key.to_vec(),
            value: value.to_vec(),
            ..entry.clone()
        };
        DedupStep::new(3).restore(entry.as_ref()).map_err(|e| {
            e.to_string()
                .replace("the stored state of a dedup is broken: ", "")
        })
    };
    let time = |t: i64| t.to_le_bytes();
    assert_eq!(
        restored(b"\x01k", &[&[1][..], &time(1), &time(9)].concat()),
        Ok(())
    );
    assert_eq!(
        restored(b"k", &[&[1][..], &time(1)].concat()),
        Err("its name is not that of a key".into())
    );
    assert_eq!(
        restored(b"\x01k", b""),
        Err("it ends in the middle of a value".into())
    );
    assert_eq!(restored(b"\x01k", b"\x02"), Err("unknown version 2".into()));
    assert_eq!(
        restored(b"\x01k", b"\x01"),
        Err("a key without times".into())
    );
    assert_eq!(
        restored(b"\x01k", b"\x01\x02"),
        Err("it ends in the middle of a value".into())
    );
    assert_eq!(
        restored(b"\x01k", &[&[1][..], &time(1), &time(1)].concat()),
        Err("its times are not in order".into())
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]
    #[test]
    fn gives_what_a_dedup_that_keeps_everything_gives(
        within in 0_i64..8,
        flushes in prop::collection::vec((prop::collection::vec((0_u8..5, -10_i64..20), 0..12), 1_usize..5, -2_i64..8, prop::option::weighted(0.3, 1_usize..4)), 1..12),
        // So many quarters of what is in memory may stay there, now and then.
        sheds in prop::collection::vec(0_usize..6, 8),
    ) {
        let mut sheds = sheds.into_iter().cycle();
        let mut shed = |task: &mut DedupStep| {
            let quarters = sheds.next().expect("it is endless");
            if quarters < 4 {
                task.shed(task.state_bytes() * quarters / 4).expect("there is room");
            }
        };
        let make = || {
            let mut task = DedupStep::new(within);
            task.take_vault(test_vault());
            task
        };
        let (mut accepted, mut expected, mut expected_late): (Vec<Rec>, Vec<Rec>, Vec<Rec>) = Default::default();
        let mut snapshots = chains(1);
        let mut tasks = vec![make()];
        let mut out = Collect::default();
        let (mut watermark, mut clock, mut number) = (i64::MIN, -12, 0);
        for (rows, size, advance, restart) in flushes {
            if let Some(count) = restart {
                let entries: Vec<_> = tasks.iter_mut().zip(&mut snapshots).flat_map(|(t, s)| s.finish(t)).collect();
                snapshots = chains(count);
                tasks = (0..count).map(|_| make()).collect();
                for entry in entries {
                    tasks[task_of(entry.key_group, count)].restore(entry.as_ref()).expect("own entries");
                }
                for task in &mut tasks {
                    task.resume(crate::keyed::testing::at(&[Watermark(watermark); 2], 0));
                }
            }
            for chunk in rows.chunks(size) {
                let rows: Vec<Rec> = chunk.iter().map(|&(key, ts)| { number += 1; rec(&key.to_string(), number, ts) }).collect();
                for row in &rows {
                    if watermark != i64::MIN && row.ts <= Some(watermark) {
                        expected_late.push(row.clone());
                    } else if !accepted.iter().any(|a| a.key == row.key && a.ts.unwrap_or(0).abs_diff(row.ts.unwrap_or(0)) <= within as u64) {
                        accepted.push(row.clone());
                        expected.push(row.clone());
                    }
                }
                let count = tasks.len();
                for (t, task) in tasks.iter_mut().enumerate() {
                    let own = |r: &&Rec| task_of(key_group(r.key.as_deref().unwrap_or("").as_bytes()), count) == t;
                    task.on_batch(0, batch(&rows.iter().filter(own).cloned().collect::<Vec<_>>()), &mut out).expect("taken");
                    shed(task);
                }
            }
            if size % 3 == 1 {
                tasks.iter_mut().zip(&mut snapshots).for_each(|(t, s)| s.take(t));
            }
            clock += advance;
            watermark = watermark.max(clock);
            tasks.iter_mut().for_each(|t| boundary(t, watermark, &mut out));
            tasks.iter_mut().for_each(&mut shed);
            if size % 2 == 0 {
                tasks.iter_mut().zip(&mut snapshots).for_each(|(t, s)| s.take(t));
            }
        }
        for all in [&mut out.main, &mut out.late, &mut expected, &mut expected_late] {
            all.sort();
        }
        prop_assert_eq!(out.main, expected);
        prop_assert_eq!(out.late, expected_late);
        for task in &mut tasks {
            boundary(task, i64::MAX, &mut Collect::default());
            prop_assert_eq!((task.keys.len(), task.keys.cold()), (0, 0));
        }
    }
}
