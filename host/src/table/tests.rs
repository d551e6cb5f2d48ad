use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::config::plan::KeyPointers;
use crate::keyed::testing::{Collect, PairUp, Rec, at, batch, rec, snapshot};
use crate::state::testing::chains;
use crate::state::{Extent, StateBuffer, StateEntry};
use crate::step::{Progress, Step, key_group, task_of};
use crate::time::Watermark;

fn spec(left: bool, as_of_ms: Option<i64>) -> LookupSpec {
    LookupSpec {
        on: None,
        left,
        record_inputs: 1,
        as_of_ms,
        speaks_for_table: true,
    }
}

fn step(spec: LookupSpec) -> LookupStep {
    let mut step = LookupStep::new(spec, Box::new(PairUp { reject: None }), None);
    step.take_vault(crate::spill::test_vault());
    step
}

fn pass(step: &mut LookupStep, records: i64, table: i64, out: &mut Collect) {
    let both = [Watermark(records), Watermark(table)];
    while step.on_boundary(at(&both, 0), out).expect("works") == Progress::More {}
}

/// One flush; answers what came out as `value@ts`.
fn flush(
    step: &mut LookupStep,
    records: &[Rec],
    updates: &[Rec],
    watermarks: (i64, i64),
) -> Vec<String> {
    let mut out = Collect::default();
    step.on_batch(0, batch(records), &mut out).expect("taken");
    step.on_batch(1, batch(updates), &mut out).expect("taken");
    pass(step, watermarks.0, watermarks.1, &mut out);
    out.main
        .into_iter()
        .map(|r| {
            format!(
                "{}@{}",
                r.value.unwrap_or_default(),
                r.ts.unwrap_or_default()
            )
        })
        .collect()
}

fn deleted(key: &str, ts: i64) -> Rec {
    Rec {
        value: None,
        ..rec(key, "", ts)
    }
}

#[test]
fn updates_of_a_flush_come_first_and_null_deletes() {
    let mut lookup = step(spec(true, None));
    assert_eq!(
        flush(
            &mut lookup,
            &[rec("a", 1, 5), rec("b", 2, 4)],
            &[rec("a", "A", 9)],
            (0, 0)
        ),
        ["1|A@5", "2|-@4"]
    );
    assert_eq!(
        flush(
            &mut lookup,
            &[rec("a", 3, 6)],
            &[rec("a", "A2", 1), rec("b", "B", 1), deleted("b", 1)],
            (0, 0)
        ),
        ["3|A2@6"]
    );
    assert_eq!(
        flush(
            &mut lookup,
            &[rec("b", 4, 6)],
            &[deleted("a", 1), rec("a", "A3", 1)],
            (0, 0)
        ),
        ["4|-@6"]
    );
    assert_eq!(
        flush(&mut lookup, &[rec("a", 5, 6)], &[], (0, 0)),
        ["5|A3@6"]
    );
    assert_eq!(lookup.table.table().len(), 1);
    assert_eq!(lookup.table.table().rows.len(), 1);
}

#[test]
fn inner_drops_records_without_match_and_without_key() {
    let keyless = Rec {
        key: None,
        ..rec("", 7, 1)
    };
    let mut inner = step(spec(false, None));
    assert_eq!(
        flush(
            &mut inner,
            &[rec("a", 1, 1), keyless.clone(), rec("b", 2, 1)],
            &[rec("b", "B", 1)],
            (0, 0)
        ),
        ["2|B@1"]
    );
    let mut left = step(spec(true, None));
    assert_eq!(
        flush(&mut left, &[keyless], &[rec("b", "B", 1)], (0, 0)),
        ["7|-@1"]
    );
}

#[test]
fn table_rows_without_key_are_rejected_and_with_versions_those_without_timestamp() {
    let mut out = Collect::default();
    let (keyless, timeless) = (
        Rec {
            key: None,
            ..rec("", 1, 1)
        },
        Rec {
            ts: None,
            ..rec("a", 2, 1)
        },
    );
    let mut lookup = step(spec(true, Some(10)));
    lookup
        .on_batch(
            1,
            batch(&[keyless.clone(), timeless.clone(), rec("a", 3, 1)]),
            &mut out,
        )
        .expect("taken");
    lookup
        .on_batch(0, batch(&[timeless.clone(), rec("a", 4, 1)]), &mut out)
        .expect("taken");
    pass(&mut lookup, 9, 9, &mut out);
    let messages: Vec<_> = out
        .rejected
        .iter()
        .map(|r| (r.0.clone(), r.1.as_str()))
        .collect();
    assert_eq!(
        messages,
        [
            (
                keyless,
                "a table needs records with a key, this one has none"
            ),
            (
                timeless.clone(),
                "a table needs records with a timestamp, this one has none"
            ),
            (
                timeless,
                "a lookup as of event time needs records with a timestamp, this one has none"
            ),
        ]
    );
    assert_eq!(out.main, [rec("a", "4|3", 1)]);
}

#[test]
fn as_of_gives_the_version_that_holds_at_the_records_time() {
    // table a:   1@10 ---------- 3@20 -- deleted@30
    // records          15             25            35     and 5, before the first
    let mut lookup = step(spec(true, Some(100)));
    let updates = [rec("a", 3, 20), rec("a", 1, 10), deleted("a", 30)];
    let records = [
        rec("a", "r", 35),
        rec("a", "r", 25),
        rec("a", "r", 20),
        rec("a", "r", 15),
        rec("a", "r", 5),
    ];
    assert_eq!(
        flush(&mut lookup, &records, &updates, (40, 40)),
        ["r|-@35", "r|3@25", "r|3@20", "r|1@15", "r|-@5"]
    );
}

#[test]
fn a_record_waits_until_the_table_has_passed_it_and_holds_the_output_back() {
    // The table's W is at 9, the records' at 50: record 10 waits, and the output may not pass 9.
    let mut lookup = step(spec(true, Some(100)));
    assert_eq!(
        flush(
            &mut lookup,
            &[rec("a", 2, 12), rec("a", 1, 10), rec("a", 3, 9)],
            &[],
            (50, 9)
        ),
        ["3|-@9"]
    );
    assert_eq!(lookup.output_watermark(Watermark(50)), Watermark(9));
    assert_eq!(
        flush(&mut lookup, &[], &[rec("a", "A", 10)], (50, 11)),
        ["1|A@10"]
    );
    assert_eq!(lookup.output_watermark(Watermark(50)), Watermark(11));
    assert_eq!(
        flush(&mut lookup, &[rec("a", 4, 51)], &[], (50, i64::MAX)),
        ["2|A@12", "4|A@51"]
    );
    assert_eq!(lookup.output_watermark(Watermark(50)), Watermark(50));
}

#[test]
fn versions_are_kept_as_of_behind_the_watermark_and_the_newest_for_ever() {
    // as-of 10. At W = 25 the version of 10 was replaced, by 15, more than 10 ago: it is dropped.
    let mut lookup = step(spec(true, Some(10)));
    flush(
        &mut lookup,
        &[],
        &[rec("a", 1, 10), rec("a", 2, 15), rec("b", "B", 1)],
        (24, 24),
    );
    assert_eq!(
        flush(&mut lookup, &[rec("a", "r", 12)], &[], (25, 25)),
        ["r|1@12"]
    );
    assert_eq!(
        flush(
            &mut lookup,
            &[rec("a", "r", 12), rec("a", "r", 15), rec("b", "r", 9)],
            &[],
            (1000, 1000)
        ),
        ["r|-@12", "r|2@15", "r|B@9"]
    );
    assert_eq!(lookup.table.table().rows.len(), 2);
    flush(
        &mut lookup,
        &[],
        &[deleted("a", 1001), deleted("b", 1001)],
        (2000, 2000),
    );
    assert!(lookup.table.table().is_empty());
}

#[test]
fn both_ends_of_time_work() {
    let mut lookup = step(spec(true, Some(i64::MAX)));
    let updates = [rec("a", "low", i64::MIN), rec("a", "high", i64::MAX)];
    let records = [
        rec("a", "r", i64::MIN),
        rec("a", "r", i64::MAX),
        rec("a", "r", 0),
    ];
    let low = format!("r|low@{}", i64::MIN);
    assert_eq!(
        flush(
            &mut lookup,
            &records,
            &updates,
            (i64::MIN + 1, i64::MIN + 1)
        ),
        [low.as_str()]
    );
    assert_eq!(lookup.output_watermark(Watermark(50)), Watermark(-1));
    assert_eq!(
        flush(&mut lookup, &[], &[], (i64::MAX, i64::MAX)),
        [format!("r|high@{}", i64::MAX), "r|low@0".to_owned()]
    );
}

#[test]
fn a_loaded_table_answers_at_once() {
    let mut table = Table::new(false);
    assert!(
        table
            .update(&batch(&[
                rec("x", "X", 1),
                rec("y", "old", 1),
                rec("y", "Y", 1)
            ]))
            .is_empty()
    );
    let on = Some(KeyPointers::One("/c".into()));
    let pair = || Box::new(PairUp { reject: None });
    let table = Arc::new(table);
    let mut lookup = LookupStep::new(
        LookupSpec {
            on,
            ..spec(true, None)
        },
        pair(),
        Some(table.clone()),
    );
    let mut out = Collect::default();
    let records = [
        rec("k", r#"{"c":"y"}"#, 1),
        rec("k", r#"{"d":1}"#, 2),
        rec("k", "broken", 3),
    ];
    lookup
        .on_batch(0, batch(&records), &mut out)
        .expect("taken");
    assert_eq!(
        out.main,
        [
            rec("k", r#"{"c":"y"}|Y"#, 1),
            rec("k", r#"{"d":1}|-"#, 2),
            rec("k", "broken|-", 3)
        ]
    );
    assert!(out.rejected.is_empty());
    assert!(
        lookup
            .on_batch(1, batch(&[rec("z", "Z", 1)]), &mut out)
            .is_err()
    );
    assert!(snapshot(&mut lookup).is_empty());
    // A failing pair is its record's fault.
    let mut lookup = LookupStep::new(
        spec(false, None),
        Box::new(PairUp { reject: Some(1) }),
        Some(table),
    );
    lookup
        .on_batch(0, batch(&[rec("x", 1, 1)]), &mut out)
        .expect("taken");
    assert_eq!(out.rejected, [(rec("x", 1, 1), "1 is bad".to_owned())]);
}

#[test]
fn rows_of_a_replicated_table_belong_to_every_task() {
    let on = Some(KeyPointers::One("/c".into()));
    for (spec, shared) in [
        (
            LookupSpec {
                on,
                ..spec(true, Some(10))
            },
            true,
        ),
        (spec(true, Some(10)), false),
    ] {
        let mut lookup = step(spec);
        flush(&mut lookup, &[rec("k", 1, 9)], &[rec("k", 2, 1)], (0, 0));
        let entries = snapshot(&mut lookup);
        assert_eq!(
            entries
                .iter()
                .map(|e| lookup.is_shared(e.as_ref()))
                .collect::<Vec<_>>(),
            [shared, false]
        );
    }
}

#[test]
fn stored_state_is_refused_when_it_is_broken() {
    let mut lookup = step(spec(true, Some(10)));
    flush(
        &mut lookup,
        &[rec("k", 1, 9)],
        &[rec("k", 2, 1), deleted("k", 2)],
        (0, 0),
    );
    let entries = snapshot(&mut lookup);
    let (table, waiting) = (&entries[0], &entries[1]);
    assert_eq!(table.key, b"t\x01k");
    assert_eq!(
        table.value,
        &b"\x01\0\x01\0\0\0\0\0\0\0\x06\x01\0\0\0\0\0\0\0\x012\x01\x02\0\0\0\0\0\0\0"[..],
        "bytes of version 1 stay as they are"
    );
    assert_eq!(
        (&waiting.key[..], &waiting.value[..]),
        (&b"w\x01k"[..], &b"\x01\x06\x09\0\0\0\0\0\0\0\x011"[..])
    );
    let restored = |key: &[u8], value: &[u8]| {
        let entry = StateEntry {
            key: key.to_vec(),
            value: value.to_vec(),
            ..table.clone()
        };
        step(spec(true, Some(10)))
            .restore(entry.as_ref())
            .map_err(|e| {
                e.to_string()
                    .replace("the stored state of a lookup is broken: ", "")
            })
    };
    let version = [&[1][..], &2_i64.to_le_bytes()].concat();
    let unknown =
        Err("its name is neither that of a table's row nor of waiting records".to_owned());
    assert_eq!(restored(b"t\x01k", &[&[1][..], &version].concat()), Ok(()));
    assert_eq!(restored(b"", b"\x01"), unknown);
    assert_eq!(restored(b"t", b"\x01"), unknown);
    assert_eq!(restored(b"x\x01k", &[&[1][..], &version].concat()), unknown);
    assert_eq!(restored(b"a\x01k", b"\x01"), unknown);
    assert_eq!(
        restored(b"t\x01k", b"\x03"),
        Err("unknown version 3".into())
    );
    assert_eq!(
        restored(b"t\x01k", b"\x01"),
        Err("a key without rows".into())
    );
    assert_eq!(
        restored(b"t\x01k", b"\x01\x02"),
        Err("unknown flags 0x02".into())
    );
    assert_eq!(
        restored(b"t\x01k", b"\x01\x00\x00"),
        Err("it ends in the middle of a value".into())
    );
    assert_eq!(
        restored(b"t\x01k", &[&[1][..], &version, &version].concat()),
        Err("its versions are not in order".into())
    );
    assert_eq!(
        restored(b"w\x01k", b"\x01\x00"),
        Err("a waiting record without timestamp".into())
    );
}

#[test]
fn records_that_wait_beyond_memory_hold_time_back_and_come_out_as_they_came() {
    let mut lookup = step(spec(true, Some(100)));
    let records: Vec<Rec> = [(1, 50), (2, 20), (3, 40), (4, 20), (5, 30), (6, 60)]
        .map(|(number, ts)| rec("k", number, ts))
        .to_vec();
    flush(&mut lookup, &records[..3], &[rec("k", "A", 1)], (60, 10));
    lookup.shed(0).expect("there is room");
    flush(&mut lookup, &records[3..], &[], (60, 10));
    assert!(lookup.waiting.any_cold());
    assert_eq!(lookup.waiting.len(), 6);
    assert!(lookup.disk_bytes() > 0);
    assert_eq!(lookup.output_watermark(Watermark(60)), Watermark(19));
    // What is beyond memory and what is not, in the order in which they came.
    let out = flush(&mut lookup, &[], &[], (60, 45));
    assert_eq!(out, ["2|A@20", "3|A@40", "4|A@20", "5|A@30"]);
    assert_eq!(lookup.output_watermark(Watermark(60)), Watermark(49));
    lookup.shed(0).expect("there is room");
    assert_eq!(lookup.waiting.len(), 2);

    // Stored one by one, they take their order along.
    let entries = snapshot(&mut lookup);
    let alone: Vec<&StateEntry> = entries.iter().filter(|e| e.key[0] == b'a').collect();
    assert_eq!(alone.len(), 2);
    assert_eq!(
        (&alone[0].key[..], &alone[0].value[..]),
        (
            &b"a\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x02\x01k"[..],
            &b"\x01\x06\x32\0\0\0\0\0\0\0\x011"[..]
        ),
        "bytes of version 1 stay as they are"
    );
    let mut again = step(spec(true, Some(100)));
    for entry in entries.iter().rev() {
        again.restore(entry.as_ref()).expect("own entries");
    }
    // The state of two tasks that had counted alike, with records of the same keys: none takes another's place.
    let mut both = step(spec(true, Some(100)));
    for entry in entries
        .iter()
        .chain(&alone.iter().map(|&e| e.clone()).collect::<Vec<_>>())
    {
        both.restore(entry.as_ref()).expect("own entries");
        both.shed(0).expect("there is room");
    }
    both.resume(at(&[Watermark(60), Watermark(45)], 0));
    both.shed(0).expect("there is room");
    assert_eq!(both.waiting.len(), 4);
    let stored = snapshot(&mut both);
    assert_eq!(stored.iter().filter(|e| e.key[0] == b'a').count(), 4);
    assert_eq!(
        flush(&mut both, &[], &[], (60, 60)),
        ["1|A@50", "1|A@50", "6|A@60", "6|A@60"]
    );
    for lookup in [&mut lookup, &mut again] {
        let out = flush(lookup, &[rec("k", 7, 60)], &[], (60, 60));
        assert_eq!(out, ["1|A@50", "6|A@60", "7|A@60"]);
        assert_eq!(lookup.waiting.len(), 0);
        assert_eq!(lookup.output_watermark(Watermark(60)), Watermark(60));
    }
}

#[test]
fn records_that_stay_beyond_memory_are_stored_once() {
    let mut lookup = step(spec(true, Some(100)));
    let told = |lookup: &mut LookupStep, extent: Extent| {
        let mut buffer = StateBuffer::default();
        lookup.snapshot(extent, &mut buffer).expect("it works");
        (buffer.entries(), buffer.gone())
    };
    let records = [(1, 50), (2, 20), (3, 40)].map(|(number, ts)| rec("k", number, ts));
    flush(&mut lookup, &records, &[], (60, 10));
    lookup.shed(0).expect("there is room");
    assert_eq!(told(&mut lookup, Extent::Whole), (3, 0));
    assert_eq!(told(&mut lookup, Extent::Changes), (0, 0));
    // One comes, one goes.
    flush(&mut lookup, &[rec("k", 4, 55)], &[], (60, 30));
    lookup.shed(0).expect("there is room");
    assert_eq!(told(&mut lookup, Extent::Changes), (1, 1));
    assert_eq!(told(&mut lookup, Extent::Changes), (0, 0));
}

#[test]
fn version_deleted_in_its_place_goes_like_any_other() {
    let mut lookup = step(spec(true, Some(2)));
    flush(&mut lookup, &[], &[rec("k", "A", 5)], (10, 10));
    // Nothing holds from 5 on. That is far enough in the past to be forgotten at once …
    flush(&mut lookup, &[], &[deleted("k", 5)], (10, 10));
    assert!(lookup.table.table().is_empty());
    // … and with it that an older value ended there.
    let out = flush(&mut lookup, &[], &[rec("k", "B", 3)], (11, 11));
    assert!(out.is_empty());
    assert_eq!(
        flush(&mut lookup, &[rec("k", 1, 12)], &[], (12, 12)),
        ["1|B@12"]
    );
}

/// A naive lookup: all versions in a list.
struct Model {
    left: bool,
    as_of: Option<i64>,
    versions: BTreeMap<Option<String>, Vec<(i64, Option<String>)>>,
    waiting: Vec<Rec>,
    main: Vec<Rec>,
}

impl Model {
    fn flush(&mut self, records: &[Rec], updates: &[Rec], (record_w, table_w): (i64, i64)) {
        for update in updates {
            let versions = self.versions.entry(update.key.clone()).or_default();
            if self.as_of.is_some() {
                versions.retain(|v| Some(v.0) != update.ts);
                versions.push((update.ts.expect("timed"), update.value.clone()));
                versions.sort_by_key(|v| v.0);
            } else {
                *versions = vec![(i64::MIN, update.value.clone())];
            }
        }
        self.waiting.extend_from_slice(records);
        let ready = |r: &Rec| self.as_of.is_none() || r.ts <= Some(table_w);
        let (now, later): (Vec<Rec>, Vec<Rec>) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(ready);
        self.waiting = later;
        for record in now {
            let holds = |v: &&(i64, Option<String>)| self.as_of.is_none() || Some(v.0) <= record.ts;
            let found = self
                .versions
                .get(&record.key)
                .and_then(|all| all.iter().rfind(holds))
                .and_then(|v| v.1.clone());
            if found.is_some() || self.left {
                let value = format!(
                    "{}|{}",
                    record.value.as_deref().expect("there"),
                    found.as_deref().unwrap_or("-")
                );
                self.main.push(Rec {
                    value: Some(value),
                    ..record
                });
            }
        }
        if let Some(as_of) = self.as_of {
            let horizon = record_w.min(table_w) - as_of;
            for versions in self.versions.values_mut() {
                let replaced: Vec<i64> = versions.iter().map(|v| v.0).skip(1).collect();
                let all = std::mem::take(versions);
                *versions = all
                    .into_iter()
                    .enumerate()
                    .filter(|(i, v)| {
                        replaced.get(*i).is_none_or(|by| *by > horizon)
                            && (v.1.is_some() || v.0 > horizon)
                    })
                    .map(|v| v.1)
                    .collect();
            }
        }
    }
}

proptest! {
    // More with PROPTEST_CASES.
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.max(1000), failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn gives_what_a_list_of_all_versions_gives(
        left in any::<bool>(),
        as_of in prop::option::of(0_i64..12),
        flushes in prop::collection::vec(
            (prop::collection::vec((0_u8..4, 0_i64..40), 0..8), prop::collection::vec((0_u8..3, 0_i64..40, any::<bool>()), 0..6), 0_i64..9, 0_i64..9, 1_usize..4, prop::option::weighted(0.25, 1_usize..4)),
            1..10,
        ),
        sheds in prop::collection::vec(0_usize..6, 8),
    ) {
        let mut sheds = sheds.into_iter().cycle();
        let mut shed = |task: &mut LookupStep| {
            let quarters = sheds.next().expect("it is endless");
            if quarters < 4 {
                task.shed(task.state_bytes() * quarters / 4).expect("there is room");
            }
        };
        let spec = spec(left, as_of);
        let mut model = Model { left, as_of, versions: BTreeMap::new(), waiting: Vec::new(), main: Vec::new() };
        let mut snapshots = chains(1);
        let mut tasks = vec![step(spec.clone())];
        let (mut out, mut record_w, mut table_w, mut number, mut exact) = (Collect::default(), 0, 0, 0, true);
        for (records, updates, record_step, table_step, size, restart) in flushes {
            if let Some(count) = restart {
                exact = false;
                let entries: Vec<_> = tasks.iter_mut().zip(&mut snapshots).flat_map(|(t, s)| s.finish(t)).collect();
                snapshots = chains(count);
                tasks = (0..count).map(|_| step(spec.clone())).collect();
                for entry in entries {
                    let task = &mut tasks[task_of(entry.key_group, count)];
                    task.restore(entry.as_ref()).expect("own entries");
                    shed(task);
                }
                tasks.iter_mut().for_each(|t| t.resume(at(&[Watermark(record_w), Watermark(table_w)], 0)));
            }
            let mut next = || { number += 1; number };
            let records: Vec<Rec> = records.into_iter().map(|(key, ts)| rec(&format!("k{key}"), next(), ts)).collect();
            let updates: Vec<Rec> = updates.into_iter().map(|(key, ts, gone)| if gone { deleted(&format!("k{key}"), ts) } else { rec(&format!("k{key}"), next(), ts) }).collect();
            record_w += record_step;
            table_w += table_step;
            model.flush(&records, &updates, (record_w, table_w));
            let count = tasks.len();
            for (t, task) in tasks.iter_mut().enumerate() {
                let own = |all: &[Rec]| batch(&all.iter().filter(|r| task_of(key_group(r.key.as_deref().unwrap_or("").as_bytes()), count) == t).cloned().collect::<Vec<_>>());
                for some in records.chunks(size) {
                    task.on_batch(0, own(some), &mut out).expect("taken");
                }
                for some in updates.chunks(size) {
                    task.on_batch(1, own(some), &mut out).expect("taken");
                    shed(task);
                }
                if size == 1 {
                    snapshots[t].take(task);
                }
                pass(task, record_w, table_w, &mut out);
                shed(task);
                if size == 2 {
                    snapshots[t].take(task);
                }
            }
        }
        if !exact {
            out.main.sort();
            model.main.sort();
        }
        prop_assert_eq!(out.main, model.main);
        for task in &mut tasks {
            if let super::lookup::Kept::Own(table) = &mut task.table {
                let names: Vec<String> = (0..4).map(|key| format!("k{key}")).collect();
                table.fetch(names.iter().map(|name| Some(name.as_bytes()))).expect("it comes back");
            }
        }
        let versions: usize = model.versions.values().map(|v| v.iter().filter(|v| v.1.is_some()).count()).sum();
        prop_assert_eq!(tasks.iter().map(|t| t.table.table().rows.len()).sum::<usize>(), versions);
        prop_assert_eq!(tasks.iter().map(|t| t.waiting.len()).sum::<usize>(), model.waiting.len());
    }
}
