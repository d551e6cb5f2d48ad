//! Keyed state and timers in a guest. A call changes states, timers and output together or not at all.

use std::cell::RefCell;
use std::ops::Range;

use arrow_array::{Array, BinaryArray, Int64Array};

use super::abi::check;
use super::abi::input::{InputColumns, Lowered, LoweredBytes};
use super::abi::output::{self, Collected, RowMap};
use super::abi::staging::{Rules, Segment};
use super::abi::types::{BatchIn, BytesIn, Domain, FailureOut, FiredIn, StatesIn, StatesResult};
use super::aggregate::{blobs_in, migrate};
use super::failure::{CallFailure, Wrong};
use super::host::HostState;
use super::instance::{CallSetup, Guest};
use super::isolate::isolate;
use super::metrics::Metric;
use super::transform::{Effects, effects, first_reject, open_extras};
use super::{
    Descriptor, Fault, FiredTimer, FunctionKind, FunctionStats, Process, Processed, RejectKind,
    Rejected, TimeDomain, TimerOp, fields,
};
use crate::record::{Batch, Blobs, NO_TIMESTAMP};

/// A function of kind process, for one step's partition.
pub(super) struct GuestProcess {
    pub guest: Guest,
}

type States = Vec<Option<Box<[u8]>>>;

/// What one call did.
struct Done {
    states: States,
    effects: Effects,
    timers: Vec<TimerOp>,
}

/// All that a call gets; rows are 0..columns.len, timers come behind them.
struct Work<'a> {
    columns: InputColumns,
    groups: &'a [u32],
    keys: &'a BinaryArray,
    fired: &'a [FiredTimer],
    descriptor: &'a std::sync::Arc<Descriptor>,
}

impl Work<'_> {
    /// A call over some of the rows and timers.
    fn call(
        &self,
        guest: &mut Guest,
        part: Range<usize>,
        states: &[Option<Box<[u8]>>],
        alone: bool,
    ) -> Result<Done, CallFailure> {
        let rows = self.columns.len;
        let (first, end) = (part.start.min(rows), part.end.min(rows));
        let timers = &self.fired[part.start.max(rows) - rows..part.end.max(rows) - rows];
        let lowered = Lowered::of(&self.columns.slice(first, end - first));
        let groups = &self.groups[first..end];
        let keys = LoweredBytes::of(self.keys);
        let present: Vec<u8> = states.iter().map(|s| u8::from(s.is_some())).collect();
        let blobs: Blobs = states
            .iter()
            .map(|s| s.as_deref().unwrap_or_default())
            .collect();
        let fired: Vec<FiredIn> = timers
            .iter()
            .map(|t| FiredIn {
                group: t.group,
                domain: match t.domain {
                    TimeDomain::Event => Domain::Event,
                    TimeDomain::Processing => Domain::Processing,
                },
                time: t.time,
            })
            .collect();
        let rows = (end - first) as u32;
        let sources = rows + timers.len() as u32;
        let rules = Rules {
            kind: FunctionKind::Process,
            rows,
            sources,
            descriptor: self.descriptor.clone(),
        };
        let func = guest
            .exports()
            .process
            .expect("checked when the function was opened");
        let max = guest.limits().state_bytes_max;
        let setup = CallSetup {
            name: "process.process",
            alone,
            prepare: |state: &mut HostState| {
                open_extras(state, &lowered);
                state.reject_below = sources;
                state.timer_groups = states.len() as u32;
                state.rules = Some(rules);
            },
        };
        guest.call(
            setup,
            |live| {
                let func = live.func(&func);
                type Params<'a> = (
                    BatchIn<'a>,
                    &'a [u32],
                    BytesIn<'a>,
                    StatesIn<'a>,
                    &'a [FiredIn],
                );
                let func =
                    func.typed::<Params<'_>, (Result<StatesResult, FailureOut>,)>(&live.store)?;
                let states = StatesIn {
                    present: &present,
                    data: blobs_in(&blobs),
                };
                let answer = lowered.with(|batch| {
                    func.call(
                        &mut live.store,
                        (batch, groups, keys.view(), states, &fired),
                    )
                });
                Ok(answer?.0)
            },
            |answer, state| {
                let new = states_of(&answer, states.len(), max)?;
                Ok(Done {
                    states: new,
                    effects: effects(state)?,
                    timers: std::mem::take(&mut state.timers),
                })
            },
        )
    }
}

impl Process for GuestProcess {
    fn prepare(&mut self, batch: &mut Batch) -> Result<Vec<Rejected>, Fault> {
        self.guest.between_batches();
        fields::settle(batch, &self.guest.descriptor().reads)
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
        assert!(
            rows.len() == groups.len() && keys.len() == states.len(),
            "each row has its group, each group its state"
        );
        let descriptor = self.guest.descriptor().clone();
        let columns = InputColumns::of(batch, &descriptor.reads).take(rows);
        let work = Work {
            columns,
            groups,
            keys,
            fired,
            descriptor: &descriptor,
        };
        let items = rows.len() + fired.len();
        let part_max = self.guest.part_max();
        // Whole or not at all: the parts (one, unless the function takes small batches) work on each other's
        // states, and the first that fails ends the attempt.
        let mut current: States = states.to_vec();
        let mut collected = Collected::default();
        let mut timers = Vec::new();
        let mut failed = None;
        let part_len = if part_max == 0 {
            items.max(1)
        } else {
            part_max
        };
        for start in (0..items).step_by(part_len) {
            let part = start..(start + part_len).min(items);
            match work.call(&mut self.guest, part, &current, items == 1) {
                Ok(done) if done.effects.rejects.is_empty() => {
                    current = done.states;
                    collected.add(done.effects.segments, RowMap::From(start as u32));
                    timers.extend(done.timers);
                }
                Ok(done) => {
                    let rejected = done
                        .effects
                        .rejects
                        .into_iter()
                        .map(|(row, message)| {
                            let row = batch_row(start as u32 + row, rows, batch);
                            Rejected {
                                row,
                                kind: RejectKind::Rejected,
                                message,
                                log: Vec::new(),
                            }
                        })
                        .collect();
                    return Ok(nothing(states, sorted(rejected)));
                }
                Err(failure) if failure.fatal => {
                    return Err(self.guest.fault(failure, "process.process"));
                }
                Err(failure) => {
                    failed = Some((start, failure));
                    break;
                }
            }
        }
        if let Some((start, failure)) = failed {
            let hint = failure
                .row
                .map(|r| start + r as usize)
                .filter(|r| *r < items);
            if let Some(item) = hint.or_else(|| (items == 1).then_some(0)) {
                if let Err(quarantined) = self.guest.condemn(failure.kind) {
                    return Err(self.guest.fault(quarantined, "process.process"));
                }
                return Ok(nothing(
                    states,
                    vec![failure.reject(batch_row(item as u32, rows, batch))],
                ));
            }
            let rejected = self.search(&work, items, states)?;
            if rejected.is_empty() {
                return self.process_slowly(&work, batch, rows, items, states, failure);
            }
            let rejected = rejected
                .into_iter()
                .map(|r| Rejected {
                    row: batch_row(r.row, rows, batch),
                    ..r
                })
                .collect();
            return Ok(nothing(states, sorted(rejected)));
        }
        self.guest.count_records(items);
        Ok(Processed {
            ports: ports_of(collected, &work, batch, rows),
            states: current,
            timers,
            rejected: Vec::new(),
        })
    }

    fn migrate(&mut self, from_version: u32, states: &Blobs) -> Result<Blobs, Fault> {
        migrate(&mut self.guest, from_version, states)
    }

    fn stats(&self) -> FunctionStats {
        self.guest.stats()
    }

    fn metrics(&self) -> Vec<Metric> {
        self.guest.metrics()
    }
}

impl GuestProcess {
    /// All failing rows and timers, each tried on the states that those before it left. Nothing of it is kept.
    fn search(
        &mut self,
        work: &Work<'_>,
        items: usize,
        states: &[Option<Box<[u8]>>],
    ) -> Result<Vec<Rejected>, Fault> {
        let current = RefCell::new(states.to_vec());
        let outcome = isolate(
            &mut self.guest,
            items,
            0,
            |guest, part, alone| {
                let done = work.call(guest, part, &current.borrow(), alone)?;
                match first_reject(&done.effects.rejects) {
                    Some(reject) => Err(reject),
                    None => Ok(done.states),
                }
            },
            |_, _, states| *current.borrow_mut() = states,
        );
        outcome.map_err(|f| self.guest.fault(f, "process.process"))
    }

    /// The whole call failed, none of its parts did: small calls from now on.
    fn process_slowly(
        &mut self,
        work: &Work<'_>,
        batch: &Batch,
        rows: &[u32],
        items: usize,
        states: &[Option<Box<[u8]>>],
        first: CallFailure,
    ) -> Result<Processed, Fault> {
        const PART: usize = 64;
        self.guest.prefer_parts_of(PART);
        let mut current: States = states.to_vec();
        let mut collected = Collected::default();
        let mut timers = Vec::new();
        for start in (0..items).step_by(PART) {
            match work.call(
                &mut self.guest,
                start..(start + PART).min(items),
                &current,
                false,
            ) {
                Ok(done) if done.effects.rejects.is_empty() => {
                    current = done.states;
                    collected.add(done.effects.segments, RowMap::From(start as u32));
                    timers.extend(done.timers);
                }
                _ => {
                    return Err(self
                        .guest
                        .fault(first, "process.process, which failed for no single record"));
                }
            }
        }
        Ok(Processed {
            ports: ports_of(collected, work, batch, rows),
            states: current,
            timers,
            rejected: Vec::new(),
        })
    }
}

fn sorted(mut rejected: Vec<Rejected>) -> Vec<Rejected> {
    rejected.sort_by_key(|r| r.row);
    rejected.dedup_by_key(|r| r.row);
    rejected
}

/// A row of the call by its number in the batch; fired timer i is `batch.len + i`.
fn batch_row(item: u32, rows: &[u32], batch: &Batch) -> u32 {
    match rows.get(item as usize) {
        Some(row) => *row,
        None => batch.len as u32 + (item - rows.len() as u32),
    }
}

/// The answer when rows failed: the call changed nothing.
fn nothing(states: &[Option<Box<[u8]>>], rejected: Vec<Rejected>) -> Processed {
    Processed {
        ports: Vec::new(),
        states: states.to_vec(),
        timers: Vec::new(),
        rejected,
    }
}

fn states_of(answer: &StatesResult, expected: usize, bytes_max: u64) -> Result<States, Wrong> {
    check::offsets(&answer.data.offsets, answer.data.data.len())
        .map_err(|e| format!("states: {e}"))?;
    let found = answer.data.offsets.len() - 1;
    if found != expected || answer.present.len() != expected {
        return Err(format!(
            "{found} states and {} marks for {expected} groups",
            answer.present.len()
        )
        .into());
    }
    check::marks(&answer.present).map_err(|e| format!("states: present: {e}"))?;
    let mut states = Vec::with_capacity(expected);
    for (group, ends) in answer.data.offsets.windows(2).enumerate() {
        let len = u64::from(ends[1] - ends[0]);
        if len > bytes_max {
            return Err(Wrong::limit(
                RejectKind::StateLimit,
                format!(
                    "the state of group {group} has {len} bytes, more than the plugin's limit state ({bytes_max}): keep less of a key, or raise state"
                ),
            ));
        }
        let there = answer.present[group] == 1;
        states
            .push(there.then(|| Box::from(&answer.data.data[ends[0] as usize..ends[1] as usize])));
    }
    Ok(states)
}

fn ports_of(
    collected: Collected,
    work: &Work<'_>,
    batch: &Batch,
    rows: &[u32],
) -> Vec<(Batch, Vec<u32>)> {
    let ports = 1 + work.descriptor.ports.len();
    collected.into_ports(ports, |segment| of_items(segment, work, batch, rows))
}

/// The batch of one segment: rows give what transforms inherit, a timer its group's key and its time.
fn of_items(mut segment: Segment, work: &Work<'_>, batch: &Batch, rows: &[u32]) -> Batch {
    let sources = segment.rows.to_vec();
    let is_row = |s: &u32| (*s as usize) < rows.len();
    if sources.iter().all(is_row) {
        segment.rows = super::abi::staging::SourceRows::Each(
            sources.iter().map(|s| rows[*s as usize]).collect(),
        );
        return output::of_rows(segment, batch, work.descriptor);
    }
    // Values of timers are never inherited (checked in emit), so only key and time come from the source.
    let timer = |s: u32| &work.fired[s as usize - rows.len()];
    let keys = segment.keys.take().map(output::binary).unwrap_or_else(|| {
        let of = |s: &u32| {
            if is_row(s) {
                let row = rows[*s as usize] as usize;
                batch
                    .keys
                    .as_ref()
                    .filter(|k| k.is_valid(row))
                    .map(|k| k.value(row))
            } else {
                let group = timer(*s).group as usize;
                work.keys.is_valid(group).then(|| work.keys.value(group))
            }
        };
        sources.iter().map(of).collect()
    });
    let of_source = |s: &u32| {
        if is_row(s) {
            let row = rows[*s as usize] as usize;
            batch
                .timestamps
                .as_ref()
                .filter(|t| t.is_valid(row))
                .map(|t| t.value(row))
        } else {
            Some(timer(*s).time)
        }
    };
    let timestamps: Int64Array = match segment.timestamps.take() {
        Some(times) => times
            .into_iter()
            .map(|t| (t != NO_TIMESTAMP).then_some(t))
            .collect(),
        None => sources.iter().map(of_source).collect(),
    };
    let headers = segment.headers.take().map(std::sync::Arc::new);
    // As results without an input record: no origins, headers only if emitted.
    let mut out = output::of_groups(segment, work.descriptor);
    out.keys = Some(keys);
    out.timestamps = Some(timestamps);
    out.headers = headers;
    out
}
