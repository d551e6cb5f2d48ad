//! Aggregates in a guest: accumulators are the host's opaque bytes, handed over and taken back whole;
//! a call that fails, or rejects, has changed nothing.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::{Array, BinaryArray};

use super::abi::check;
use super::abi::input::{InputColumns, Lowered, LoweredBytes, null_marks};
use super::abi::output::{self, Collected, RowMap};
use super::abi::staging::Rules;
use super::abi::types::{BatchIn, BytesIn, BytesResult, FailureOut, WindowsIn};
use super::failure::{CallFailure, Wrong};
use super::host::HostState;
use super::instance::{CallSetup, Guest};
use super::isolate::isolate;
use super::metrics::Metric;
use super::transform::{effects, first_reject, open_extras};
use super::{
    Added, Aggregate, Fault, Finished, FunctionKind, FunctionStats, RejectKind, Rejected, fields,
};
use crate::record::{Batch, Blobs, Form, Value, Windows};

/// Failing rows that are answered one by one on the guest's word, before the whole batch is searched.
const SINGLE_ANSWERS: u32 = 4;

/// A function of kind aggregate, for one step's partition.
pub(super) struct GuestAggregate {
    guest: Guest,
    init: Option<Arc<[u8]>>,
    /// Calls of `add` that failed since one worked.
    failed_adds: u32,
}

/// Gaps of all rows, and which are rejected, and why.
type Gaps = (Vec<i64>, Vec<(u32, String)>);

/// The call that gives them.
const GAPS: &str = "session.gaps";

impl GuestAggregate {
    pub fn new(guest: Guest) -> GuestAggregate {
        GuestAggregate {
            guest,
            init: None,
            failed_adds: 0,
        }
    }

    /// Why it gives sessions no gaps; none: it does. It is asked for those of no records.
    pub fn refuses_gaps(&mut self) -> Option<String> {
        let mut none = Batch::of(0, Value::new(Form::Null));
        let reads = &self.guest.descriptor().reads;
        // No records have no issues.
        let _ = fields::settle(&mut none, reads);
        let columns = InputColumns::of(&none, reads);
        let asked = Self::gaps_call(&mut self.guest, &columns, false);
        asked.err().map(|failure| failure.message)
    }

    /// A call of `gaps`: those of all rows, and the rows that were rejected.
    fn gaps_call(
        guest: &mut Guest,
        columns: &InputColumns,
        alone: bool,
    ) -> Result<Gaps, CallFailure> {
        let Some(func) = guest.exports().session else {
            return Err(CallFailure {
                kind: RejectKind::BadOutput,
                message: "the plugin does not export the interface session".into(),
                log: Vec::new(),
                row: None,
                fatal: true,
            });
        };
        let lowered = Lowered::of(columns);
        let len = columns.len;
        let setup = CallSetup {
            name: GAPS,
            alone,
            prepare: |state: &mut HostState| {
                open_extras(state, &lowered);
                state.reject_below = len as u32;
            },
        };
        guest.call(
            setup,
            |live| {
                let func = live.func(&func);
                let func =
                    func.typed::<(BatchIn<'_>,), (Result<Vec<i64>, FailureOut>,)>(&live.store)?;
                Ok(lowered
                    .with(|batch| func.call(&mut live.store, (batch,)))?
                    .0)
            },
            |gaps, state| {
                check::length(gaps.len(), len).map_err(|e| format!("the answer {e}"))?;
                Ok((gaps, std::mem::take(&mut state.rejects)))
            },
        )
    }

    /// A call of `add` over some entries. `Err` also where the guest rejected rows: rows are those of `columns`.
    fn add_call(
        guest: &mut Guest,
        columns: &InputColumns,
        rows: Option<&[u32]>,
        groups: &[u32],
        accs: &Blobs,
        alone: bool,
    ) -> Result<Result<Blobs, Vec<(u32, String)>>, CallFailure> {
        let func = guest
            .exports()
            .aggregate
            .as_ref()
            .expect("checked when the function was opened")
            .add;
        let lowered = Lowered::of(columns);
        let acc_max = guest.limits().state_bytes_max;
        let setup = CallSetup {
            name: "aggregate.add",
            alone,
            prepare: |state: &mut HostState| {
                open_extras(state, &lowered);
                state.reject_below = columns.len as u32;
            },
        };
        guest.call(
            setup,
            |live| {
                let func = live.func(&func);
                type Params<'a> = (BatchIn<'a>, Option<&'a [u32]>, &'a [u32], BytesIn<'a>);
                let func =
                    func.typed::<Params<'_>, (Result<BytesResult, FailureOut>,)>(&live.store)?;
                Ok(lowered
                    .with(|batch| {
                        func.call(&mut live.store, (batch, rows, groups, blobs_in(accs)))
                    })?
                    .0)
            },
            |answer, state| {
                if !state.rejects.is_empty() {
                    return Ok(Err(std::mem::take(&mut state.rejects)));
                }
                accumulators(answer, accs.len(), acc_max).map(Ok)
            },
        )
    }

    /// All failing rows of an `add`, entry by entry where it must be: each part works on what the parts before
    /// made of the accumulators, just as the whole call would. It gets only those of its rows: else a search among rows
    /// of many groups with large accumulators would copy all of them for each row.
    fn search(
        &mut self,
        columns: &InputColumns,
        rows: &[u32],
        groups: &[u32],
        accs: &Blobs,
    ) -> Result<(Vec<Rejected>, Blobs), Fault> {
        let current = std::cell::RefCell::new(Apart::of(accs));
        let outcome = isolate(
            &mut self.guest,
            rows.len(),
            0,
            |guest, part, alone| {
                let part_columns = columns.take(&rows[part.clone()]);
                let (touched, local) = touched(&groups[part]);
                let accs = current.borrow().get(&touched);
                match GuestAggregate::add_call(guest, &part_columns, None, &local, &accs, alone)? {
                    Ok(accs) => Ok((touched, accs)),
                    Err(rejects) => Err(first_reject(&rejects).expect("there are rejects")),
                }
            },
            |_, _, (touched, new)| current.borrow_mut().put(&touched, &new),
        );
        let failed = outcome.map_err(|f| self.guest.fault(f, "aggregate.add"))?;
        let mut rejected: Vec<Rejected> = failed
            .into_iter()
            .map(|r| Rejected {
                row: rows[r.row as usize],
                ..r
            })
            .collect();
        rejected.sort_by_key(|r| r.row);
        rejected.dedup_by_key(|r| r.row);
        Ok((rejected, current.into_inner().all()))
    }
}

impl Aggregate for GuestAggregate {
    fn prepare(&mut self, batch: &mut Batch) -> Result<Vec<Rejected>, Fault> {
        self.guest.between_batches();
        self.failed_adds = 0;
        fields::settle(batch, &self.guest.descriptor().reads)
    }

    fn init(&mut self) -> Result<Arc<[u8]>, Fault> {
        if let Some(init) = &self.init {
            return Ok(init.clone());
        }
        const NAME: &str = "aggregate.init";
        let func = self
            .guest
            .exports()
            .aggregate
            .as_ref()
            .expect("checked when the function was opened")
            .init;
        let max = self.guest.limits().state_bytes_max;
        let setup = CallSetup {
            name: NAME,
            alone: false,
            prepare: |_: &mut HostState| {},
        };
        let init = self.guest.call(
            setup,
            |live| {
                let func = live.func(&func);
                let func = func.typed::<(), (Result<Vec<u8>, FailureOut>,)>(&live.store)?;
                Ok(func.call(&mut live.store, ())?.0)
            },
            |init: Vec<u8>, _| {
                if init.len() as u64 > max {
                    return Err(Wrong::limit(
                        RejectKind::StateLimit,
                        format!(
                            "a new accumulator has {} bytes, more than the plugin's limit state ({max}): raise state",
                            init.len()
                        ),
                    ));
                }
                Ok(Arc::<[u8]>::from(init))
            },
        );
        let init = init.map_err(|f| self.guest.fault(f, NAME))?;
        self.init = Some(init.clone());
        Ok(init)
    }

    fn gaps(&mut self, batch: &Batch, rows: &[u32]) -> Result<(Vec<i64>, Vec<Rejected>), Fault> {
        let columns = InputColumns::of(batch, &self.guest.descriptor().reads).take(rows);
        let mut gaps = vec![0i64; rows.len()];
        let mut rejected = Vec::new();
        let part_max = self.guest.part_max();
        let outcome = isolate(
            &mut self.guest,
            rows.len(),
            part_max,
            |guest, part, alone| {
                Self::gaps_call(guest, &columns.slice(part.start, part.len()), alone)
            },
            |_, part, (new, rejects)| {
                for (row, message) in rejects {
                    let row = rows[part.start + row as usize];
                    rejected.push(Rejected {
                        row,
                        kind: RejectKind::Rejected,
                        message,
                        log: Vec::new(),
                    });
                }
                gaps[part].copy_from_slice(&new);
            },
        );
        let failed = outcome.map_err(|f| self.guest.fault(f, GAPS))?;
        rejected.extend(failed.into_iter().map(|r| Rejected {
            row: rows[r.row as usize],
            ..r
        }));
        rejected.sort_by_key(|r| r.row);
        rejected.dedup_by_key(|r| r.row);
        Ok((gaps, rejected))
    }

    fn add(
        &mut self,
        batch: &Batch,
        rows: &[u32],
        groups: &[u32],
        accs: &Blobs,
    ) -> Result<Added, Fault> {
        assert_eq!(rows.len(), groups.len(), "each row has its group");
        if rows.is_empty() {
            return Ok(Added::Accumulators(accs.clone()));
        }
        let all = InputColumns::of(batch, &self.guest.descriptor().reads);
        let max = self.guest.part_max();
        let in_order =
            rows.len() == all.len && rows.iter().enumerate().all(|(i, r)| *r as usize == i);
        let first = if max != 0 && rows.len() > max {
            // The function takes small batches only.
            Self::add_in_parts(&mut self.guest, &all, rows, groups, accs, max)
        } else if in_order {
            Self::add_call(&mut self.guest, &all, None, groups, accs, rows.len() == 1)
                .map(|r| (r, 0))
                .map_err(|f| (f, 0))
        } else if rows.len() * 2 < all.len {
            // Most of the batch is not asked for: it is not copied.
            Self::add_in_parts(&mut self.guest, &all, rows, groups, accs, rows.len())
        } else {
            Self::add_call(
                &mut self.guest,
                &all,
                Some(rows),
                groups,
                accs,
                rows.len() == 1,
            )
            .map(|r| (r, usize::MAX))
            .map_err(|f| (f, usize::MAX))
        };
        let row_of = |row: u32, base: usize| -> Option<u32> {
            match base {
                usize::MAX => Some(row),
                base => rows.get(base + row as usize).copied(),
            }
        };
        match first {
            Ok((Ok(accs), _)) => {
                self.failed_adds = 0;
                self.guest.count_records(rows.len());
                Ok(Added::Accumulators(accs))
            }
            Ok((Err(rejects), base)) => {
                let mut rejected: Vec<Rejected> = rejects
                    .into_iter()
                    .filter_map(|(row, message)| {
                        let row = row_of(row, base)?;
                        Some(Rejected {
                            row,
                            kind: RejectKind::Rejected,
                            message,
                            log: Vec::new(),
                        })
                    })
                    .collect();
                rejected.sort_by_key(|r| r.row);
                rejected.dedup_by_key(|r| r.row);
                // A guest that rejects a row which is not in this call cannot be satisfied by leaving rows out.
                rejected.retain(|r| in_order || rows.contains(&r.row));
                if rejected.is_empty() {
                    let words =
                        "it rejected only rows that were not among those to add".to_string();
                    return Err(self.guest.fault(bad(words), "aggregate.add"));
                }
                Ok(Added::Rejected(rejected))
            }
            Err((failure, _)) if failure.fatal => Err(self.guest.fault(failure, "aggregate.add")),
            Err((failure, base)) => {
                self.failed_adds += 1;
                let hint = failure
                    .row
                    .and_then(|row| row_of(row, base))
                    .filter(|row| rows.contains(row));
                if let Some(row) =
                    hint.filter(|_| self.failed_adds <= SINGLE_ANSWERS || self.guest.fail_fast())
                {
                    return self.condemned(failure, row);
                }
                if rows.len() == 1 {
                    return self.condemned(failure, rows[0]);
                }
                let (rejected, accs) = self.search(&all, rows, groups, accs)?;
                if rejected.is_empty() {
                    // The whole call failed, yet none of its parts did: it was slow, or wants too much at once. What the parts
                    // made counts, and it is made in small calls from now on.
                    self.guest.prefer_parts_of(PART);
                    return Ok(Added::Accumulators(accs));
                }
                Ok(Added::Rejected(rejected))
            }
        }
    }

    fn merge(&mut self, left: &Blobs, right: &Blobs) -> Result<Blobs, Fault> {
        const NAME: &str = "aggregate.merge";
        assert_eq!(left.len(), right.len(), "each left one has its right one");
        if left.is_empty() {
            return Ok(Blobs::default());
        }
        let func = self
            .guest
            .exports()
            .aggregate
            .as_ref()
            .expect("checked when the function was opened")
            .merge;
        let max = self.guest.limits().state_bytes_max;
        let setup = CallSetup {
            name: NAME,
            alone: false,
            prepare: |_: &mut HostState| {},
        };
        let merged = self.guest.call(
            setup,
            |live| {
                let func = live.func(&func);
                let func = func
                    .typed::<(BytesIn<'_>, BytesIn<'_>), (Result<BytesResult, FailureOut>,)>(
                        &live.store,
                    )?;
                Ok(func
                    .call(&mut live.store, (blobs_in(left), blobs_in(right)))?
                    .0)
            },
            |answer, _| accumulators(answer, left.len(), max),
        );
        merged.map_err(|f| self.guest.fault(f, NAME))
    }

    fn finish(
        &mut self,
        keys: &BinaryArray,
        windows: &Windows,
        accs: &Blobs,
    ) -> Result<Finished, Fault> {
        const NAME: &str = "aggregate.finish";
        let groups = accs.len();
        assert!(
            keys.len() == groups && windows.starts.len() == groups && windows.ends.len() == groups,
            "one key and window a group"
        );
        let func = self
            .guest
            .exports()
            .aggregate
            .as_ref()
            .expect("checked when the function was opened")
            .finish;
        let descriptor = self.guest.descriptor().clone();
        let mut collected = Collected::default();
        let mut rejected = Vec::new();
        let part_max = self.guest.part_max();
        let outcome = isolate(
            &mut self.guest,
            groups,
            part_max,
            |guest, part, alone| {
                let len = part.len() as u32;
                let part_keys = keys.slice(part.start, part.len());
                let lowered_keys = LoweredBytes::of(&part_keys);
                let part_accs = PartOfBlobs::of(accs, part.clone());
                let windows = WindowsIn {
                    starts: &windows.starts.values()[part.clone()],
                    ends: &windows.ends.values()[part],
                };
                let rules = Rules {
                    kind: FunctionKind::Aggregate,
                    rows: len,
                    sources: len,
                    descriptor: descriptor.clone(),
                };
                let setup = CallSetup {
                    name: NAME,
                    alone,
                    prepare: |state: &mut HostState| {
                        state.extras.key_nulls = null_marks(part_keys.nulls());
                        state.reject_below = len;
                        state.rules = Some(rules);
                    },
                };
                guest.call(
                    setup,
                    |live| {
                        let func = live.func(&func);
                        type Params<'a> = (BytesIn<'a>, WindowsIn<'a>, BytesIn<'a>);
                        let func =
                            func.typed::<Params<'_>, (Result<(), FailureOut>,)>(&live.store)?;
                        Ok(func
                            .call(
                                &mut live.store,
                                (lowered_keys.view(), windows, part_accs.view()),
                            )?
                            .0)
                    },
                    |(), state| effects(state),
                )
            },
            |_, part, effects| {
                let map = RowMap::From(part.start as u32);
                collected.add(effects.segments, map);
                for (row, message) in effects.rejects {
                    let row = map.get(row);
                    collected.drop_source(row);
                    rejected.push(Rejected {
                        row,
                        kind: RejectKind::Rejected,
                        message,
                        log: Vec::new(),
                    });
                }
            },
        );
        let failed = outcome.map_err(|f| self.guest.fault(f, NAME))?;
        rejected.extend(failed);
        rejected.sort_by_key(|r| r.row);
        rejected.dedup_by_key(|r| r.row);
        let (batch, groups) =
            main_only(collected.into_ports(1, |segment| output::of_groups(segment, &descriptor)));
        Ok(Finished {
            batch,
            groups,
            rejected,
        })
    }

    fn migrate(&mut self, from_version: u32, accs: &Blobs) -> Result<Blobs, Fault> {
        migrate(&mut self.guest, from_version, accs)
    }

    fn stats(&self) -> FunctionStats {
        self.guest.stats()
    }

    fn metrics(&self) -> Vec<Metric> {
        self.guest.metrics()
    }
}

type AddResult = Result<(Result<Blobs, Vec<(u32, String)>>, usize), (CallFailure, usize)>;

impl GuestAggregate {
    /// `add` in calls of at most `max` entries, rows taken out; with the entry at which the part that did not
    /// work begins.
    fn add_in_parts(
        guest: &mut Guest,
        all: &InputColumns,
        rows: &[u32],
        groups: &[u32],
        accs: &Blobs,
        max: usize,
    ) -> AddResult {
        if rows.len() <= max {
            let added = Self::add_call(guest, &all.take(rows), None, groups, accs, max == 1);
            return added.map(|r| (r, 0)).map_err(|f| (f, 0));
        }
        let mut current = Apart::of(accs);
        for start in (0..rows.len()).step_by(max) {
            let part = start..(start + max).min(rows.len());
            let columns = all.take(&rows[part.clone()]);
            let (touched, local) = touched(&groups[part]);
            let accs = current.get(&touched);
            match Self::add_call(guest, &columns, None, &local, &accs, max == 1) {
                Ok(Ok(new)) => current.put(&touched, &new),
                Ok(Err(rejects)) => return Ok((Err(rejects), start)),
                Err(failure) => return Err((failure, start)),
            }
        }
        Ok((Ok(current.all()), 0))
    }

    /// A row that is to blame by itself: it counts among the failures in a row.
    fn condemned(&mut self, failure: CallFailure, row: u32) -> Result<Added, Fault> {
        match self.guest.condemn(failure.kind) {
            Ok(()) => Ok(Added::Rejected(vec![failure.reject(row)])),
            Err(quarantined) => Err(self.guest.fault(quarantined, "aggregate.add")),
        }
    }
}

fn bad(message: String) -> CallFailure {
    CallFailure {
        kind: RejectKind::BadOutput,
        message,
        log: Vec::new(),
        row: None,
        fatal: true,
    }
}

/// Rows of a call from when on the function cannot take many at once.
const PART: usize = 64;

/// Accumulators of which some are changed at a time: putting one back copies no other.
struct Apart(Vec<Vec<u8>>);

impl Apart {
    fn of(accs: &Blobs) -> Apart {
        Apart(accs.iter().map(<[u8]>::to_vec).collect())
    }

    fn get(&self, groups: &[u32]) -> Blobs {
        groups
            .iter()
            .map(|&group| &self.0[group as usize])
            .collect()
    }

    fn put(&mut self, groups: &[u32], new: &Blobs) {
        for (&group, new) in groups.iter().zip(new.iter()) {
            let old = &mut self.0[group as usize];
            old.clear();
            old.extend_from_slice(new);
        }
    }

    fn all(self) -> Blobs {
        self.0.into_iter().collect()
    }
}

/// Which groups some rows are of, each once and in order, and for each row the place of its group among these.
fn touched(groups: &[u32]) -> (Vec<u32>, Vec<u32>) {
    let mut touched = groups.to_vec();
    touched.sort_unstable();
    touched.dedup();
    let place = |group| touched.partition_point(|g| g < group) as u32;
    let local = groups.iter().map(place).collect();
    (touched, local)
}

/// Accumulators that came back: as many as went in, each within its limit.
fn accumulators(answer: BytesResult, expected: usize, bytes_max: u64) -> Result<Blobs, Wrong> {
    check::offsets(&answer.offsets, answer.data.len()).map_err(|e| format!("accumulators: {e}"))?;
    let found = answer.offsets.len() - 1;
    if found != expected {
        return Err(format!("{found} accumulators for {expected} groups").into());
    }
    let largest = answer.offsets.windows(2).fold(0, |m, w| m.max(w[1] - w[0]));
    if u64::from(largest) > bytes_max {
        let row = answer
            .offsets
            .windows(2)
            .position(|w| w[1] - w[0] == largest)
            .expect("one is the largest");
        return Err(Wrong::limit(
            RejectKind::StateLimit,
            format!(
                "the accumulator of group {row} has {largest} bytes, more than the plugin's limit state ({bytes_max}): keep less of a key, or raise state"
            ),
        ));
    }
    Ok(Blobs::from_parts(answer.offsets, answer.data))
}

pub(super) fn blobs_in(blobs: &Blobs) -> BytesIn<'_> {
    BytesIn {
        offsets: blobs.offsets(),
        data: blobs.data(),
    }
}

/// Neighbouring strings, from offset 0.
struct PartOfBlobs<'a> {
    offsets: std::borrow::Cow<'a, [u32]>,
    data: &'a [u8],
}

impl PartOfBlobs<'_> {
    fn of(blobs: &Blobs, part: Range<usize>) -> PartOfBlobs<'_> {
        let offsets = &blobs.offsets()[part.start..=part.end];
        let first = offsets[0];
        let data = &blobs.data()[first as usize..offsets[offsets.len() - 1] as usize];
        let offsets = if first == 0 {
            offsets.into()
        } else {
            offsets.iter().map(|o| o - first).collect()
        };
        PartOfBlobs { offsets, data }
    }

    fn view(&self) -> BytesIn<'_> {
        BytesIn {
            offsets: &self.offsets,
            data: self.data,
        }
    }
}

/// The main output, its records in order of their sources.
pub(super) fn main_only(mut ports: Vec<(Batch, Vec<u32>)>) -> (Batch, Vec<u32>) {
    let (batch, sources) = ports.pop().expect("there is the main output");
    if sources.is_sorted() {
        return (batch, sources);
    }
    let mut order: Vec<u32> = (0..sources.len() as u32).collect();
    order.sort_by_key(|i| sources[*i as usize]);
    let sorted = order.iter().map(|i| sources[*i as usize]).collect();
    (batch.take(&order), sorted)
}

/// `migration.migrate`, for accumulators and states.
pub(super) fn migrate(
    guest: &mut Guest,
    from_version: u32,
    states: &Blobs,
) -> Result<Blobs, Fault> {
    const NAME: &str = "migration.migrate";
    let Some(func) = guest.exports().migration else {
        let words = format!(
            "the plugin cannot bring state of version {from_version} up to date: it does not export migration"
        );
        return Err(guest.fault(bad(words), NAME));
    };
    let max = guest.limits().state_bytes_max;
    let setup = CallSetup {
        name: NAME,
        alone: false,
        prepare: |_: &mut HostState| {},
    };
    let migrated = guest.call(
        setup,
        |live| {
            let func = live.func(&func);
            let func =
                func.typed::<(u32, BytesIn<'_>), (Result<BytesResult, FailureOut>,)>(&live.store)?;
            Ok(func
                .call(&mut live.store, (from_version, blobs_in(states)))?
                .0)
        },
        |answer, _| accumulators(answer, states.len(), max),
    );
    migrated.map_err(|f| guest.fault(f, NAME))
}
