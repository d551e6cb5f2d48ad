//! The step against a naive one, with restarts at other parallelisms, and keys that leave memory.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::ProcessStep;
use super::test_support::{handle_record, handle_timer, step};
use crate::keyed::testing::{Collect, Rec, batch, rec, snapshot};
use crate::plugin::TimeDomain;
use crate::spill::test_vault;
use crate::state::testing::chains;
use crate::step::{Boundary, Progress, Step, key_group, task_of};
use crate::time::Watermark;

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
            task.take_vault(test_vault());
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
