//! Transforms and filters in a guest.

use std::ops::Range;

use super::abi::input::{InputColumns, Lowered};
use super::abi::output::{self, Collected, RowMap};
use super::abi::staging::{Rules, Segment};
use super::abi::types::{BatchIn, FailureOut};
use super::failure::{CallFailure, Wrong};
use super::host::HostState;
use super::instance::{CallSetup, Guest};
use super::isolate::isolate;
use super::metrics::Metric;
use super::{
    Fault, FunctionKind, FunctionStats, RejectKind, Rejected, Transform, Transformed, fields,
};
use crate::record::Batch;

/// A function of kind transform or filter, for one step's partition.
pub(super) struct GuestTransform {
    pub guest: Guest,
}

/// What a call over rows left behind.
pub(super) struct Effects {
    pub segments: Vec<Segment>,
    /// Rows of the call, with the guest's reason.
    pub rejects: Vec<(u32, String)>,
}

/// Rows that a batch's calls work on, numbered from 0: all, or those that were not rejected before.
pub(super) struct GoodRows {
    pub columns: InputColumns,
    /// Row i is row `rows[i]` of the batch; none: all of them.
    pub rows: Option<Vec<u32>>,
}

impl GoodRows {
    pub fn of(columns: InputColumns, rejected: &[Rejected]) -> GoodRows {
        if rejected.is_empty() {
            return GoodRows {
                columns,
                rows: None,
            };
        }
        let mut bad = rejected.iter().map(|r| r.row).peekable();
        let rows: Vec<u32> = (0..columns.len as u32)
            .filter(|row| {
                let is_bad = bad.peek() == Some(row);
                if is_bad {
                    bad.next();
                }
                !is_bad
            })
            .collect();
        GoodRows {
            columns: columns.take(&rows),
            rows: Some(rows),
        }
    }

    /// The numbers of a part's rows in the batch.
    fn map(&self, part: &Range<usize>) -> RowMap<'_> {
        match &self.rows {
            None => RowMap::From(part.start as u32),
            Some(rows) => RowMap::Of(&rows[part.clone()]),
        }
    }
}

impl Transform for GuestTransform {
    fn process(&mut self, input: &mut Batch) -> Result<Transformed, Fault> {
        self.guest.between_batches();
        let descriptor = self.guest.descriptor().clone();
        let mut rejected = fields::settle(input, &descriptor.reads)?;
        if !rejected.is_empty() && self.guest.fail_fast() {
            rejected.truncate(1);
            let ports = (0..=descriptor.ports.len())
                .map(|_| Batch::concat(Vec::new()))
                .collect();
            return Ok(Transformed { ports, rejected });
        }
        let good = GoodRows::of(InputColumns::of(input, &descriptor.reads), &rejected);
        let ports = match self.guest.kind() {
            FunctionKind::Filter => vec![self.filter(input, &good, &mut rejected)?],
            _ => self.transform(input, &good, &mut rejected)?,
        };
        rejected.sort_by_key(|r| r.row);
        Ok(Transformed { ports, rejected })
    }

    fn stats(&self) -> FunctionStats {
        self.guest.stats()
    }

    fn metrics(&self) -> Vec<Metric> {
        self.guest.metrics()
    }
}

impl GuestTransform {
    fn transform(
        &mut self,
        input: &Batch,
        good: &GoodRows,
        rejected: &mut Vec<Rejected>,
    ) -> Result<Vec<Batch>, Fault> {
        const NAME: &str = "transform.process";
        let descriptor = self.guest.descriptor().clone();
        let func = self
            .guest
            .exports()
            .transform
            .expect("checked when the function was opened");
        let mut collected = Collected::default();
        let part_max = self.guest.part_max();
        let outcome = isolate(
            &mut self.guest,
            good.columns.len,
            part_max,
            |guest, part, alone| {
                let lowered = Lowered::of(&good.columns.slice(part.start, part.len()));
                let len = part.len() as u32;
                let rules = Rules {
                    kind: FunctionKind::Transform,
                    rows: len,
                    sources: len,
                    descriptor: descriptor.clone(),
                };
                let setup = CallSetup {
                    name: NAME,
                    alone,
                    prepare: |state: &mut HostState| open_batch(state, &lowered, rules),
                };
                guest.call(
                    setup,
                    |live| {
                        let func = live.func(&func);
                        let func =
                            func.typed::<(BatchIn<'_>,), (Result<(), FailureOut>,)>(&live.store)?;
                        Ok(lowered
                            .with(|batch| func.call(&mut live.store, (batch,)))?
                            .0)
                    },
                    |(), state| effects(state),
                )
            },
            |_, part, effects| {
                let map = good.map(&part);
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
        rejected.extend(failed.into_iter().map(|r| in_batch(r, good)));
        rejected.sort_by_key(|r| r.row);
        rejected.dedup_by_key(|r| r.row);
        let ports = 1 + descriptor.ports.len();
        Ok(collected.into_batches(ports, |segment| {
            output::of_rows(segment, input, &descriptor)
        }))
    }

    fn filter(
        &mut self,
        input: &Batch,
        good: &GoodRows,
        rejected: &mut Vec<Rejected>,
    ) -> Result<Batch, Fault> {
        const NAME: &str = "filter.test";
        let func = self
            .guest
            .exports()
            .filter
            .expect("checked when the function was opened");
        let mut kept: Vec<u32> = Vec::new();
        let mut dropped: Vec<u32> = Vec::new();
        let part_max = self.guest.part_max();
        let outcome = isolate(
            &mut self.guest,
            good.columns.len,
            part_max,
            |guest, part, alone| {
                let lowered = Lowered::of(&good.columns.slice(part.start, part.len()));
                let len = part.len();
                let setup = CallSetup {
                    name: NAME,
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
                        let func = func
                            .typed::<(BatchIn<'_>,), (Result<Vec<u8>, FailureOut>,)>(&live.store)?;
                        Ok(lowered
                            .with(|batch| func.call(&mut live.store, (batch,)))?
                            .0)
                    },
                    |mask, state| {
                        super::abi::check::length(mask.len(), len)
                            .map_err(|e| format!("the answer {e}"))?;
                        Ok((mask, std::mem::take(&mut state.rejects)))
                    },
                )
            },
            |_, part, (mask, rejects)| {
                let map = good.map(&part);
                let mut rows = output::kept_rows(&mask);
                if !matches!(map, RowMap::From(0)) {
                    rows.iter_mut().for_each(|r| *r = map.get(*r));
                }
                if kept.is_empty() {
                    kept = rows
                } else {
                    kept.extend(rows)
                }
                for (row, message) in rejects {
                    let row = map.get(row);
                    dropped.push(row);
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
        rejected.extend(failed.into_iter().map(|r| in_batch(r, good)));
        rejected.sort_by_key(|r| r.row);
        rejected.dedup_by_key(|r| r.row);
        if !dropped.is_empty() {
            dropped.sort_unstable();
            kept.retain(|row| dropped.binary_search(row).is_err());
        }
        let mut batch = input.take(&kept);
        // Only the window step's own output carries windows.
        batch.windows = None;
        Ok(batch)
    }
}

/// A failing row by its number in the batch.
fn in_batch(rejected: Rejected, good: &GoodRows) -> Rejected {
    match &good.rows {
        None => rejected,
        Some(rows) => Rejected {
            row: rows[rejected.row as usize],
            ..rejected
        },
    }
}

/// Lets a call pull what was not passed.
pub(super) fn open_extras(state: &mut HostState, lowered: &Lowered) {
    if state.limits.wasi_inert {
        state.wasi.now_ms = lowered.newest_ms();
    }
    state.extras.key_nulls.clone_from(&lowered.key_nulls);
    state.extras.value_nulls.clone_from(&lowered.value_nulls);
    state.extras.headers.clone_from(&lowered.headers);
}

/// Lets a call over a batch emit and reject.
fn open_batch(state: &mut HostState, lowered: &Lowered, rules: Rules) {
    open_extras(state, lowered);
    state.reject_below = rules.rows;
    state.rules = Some(rules);
}

/// What a call that returned ok put out, its fan-out checked.
pub(super) fn effects(state: &mut HostState) -> Result<Effects, Wrong> {
    let rules = state
        .rules
        .take()
        .expect("set before the call, put back by imports");
    let staging = state.staging.as_mut().expect("put back by imports");
    staging
        .check_fan_out(&rules, &state.limits)
        .map_err(|e| Wrong::limit(RejectKind::OutputLimit, e))?;
    Ok(Effects {
        segments: std::mem::take(&mut staging.segments),
        rejects: std::mem::take(&mut state.rejects),
    })
}

/// Rejects of a call as its failure: for calls that apply whole or not at all.
pub(super) fn first_reject(rejects: &[(u32, String)]) -> Option<CallFailure> {
    rejects.first().map(|(row, reason)| CallFailure {
        kind: RejectKind::Rejected,
        message: reason.clone(),
        log: Vec::new(),
        row: Some(*row),
        fatal: false,
    })
}
