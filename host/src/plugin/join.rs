//! Joins in a guest: pairs that the host matched, results by emit with source = pair.

use super::abi::input::{InputColumns, Lowered};
use super::abi::output::{self, Collected, RowMap};
use super::abi::staging::Rules;
use super::abi::types::{BatchIn, FailureOut};
use super::aggregate::main_only;
use super::host::HostState;
use super::instance::{CallSetup, Guest};
use super::isolate::isolate;
use super::metrics::Metric;
use super::transform::effects;
use super::{Fault, FunctionKind, FunctionStats, Join, Joined, RejectKind, Rejected, fields};
use crate::record::{Batch, NO_ROW};

/// A function of kind join, for one step's partition.
pub(super) struct GuestJoin {
    pub guest: Guest,
}

impl Join for GuestJoin {
    fn join(
        &mut self,
        left: &mut Batch,
        right: &mut Batch,
        left_rows: &[u32],
        right_rows: &[u32],
    ) -> Result<Joined, Fault> {
        const NAME: &str = "join.join";
        assert_eq!(left_rows.len(), right_rows.len(), "a pair has two sides");
        self.guest.between_batches();
        let descriptor = self.guest.descriptor().clone();
        let bad_left = fields::settle(left, &descriptor.reads)?;
        let bad_right = fields::settle(right, &descriptor.right)?;
        let (good, mut rejected) = good_pairs(left_rows, right_rows, &bad_left, &bad_right);
        let columns_left = InputColumns::of(left, &descriptor.reads);
        let columns_right = InputColumns::of(right, &descriptor.right);
        let func = self
            .guest
            .exports()
            .join
            .expect("checked when the function was opened");
        let mut collected = Collected::default();
        let part_max = self.guest.part_max();
        let outcome = isolate(
            &mut self.guest,
            good.len(),
            part_max,
            |guest, part, alone| {
                let side = |columns: &InputColumns, rows: &[u32]| {
                    Side::of(
                        columns,
                        good[part.clone()]
                            .iter()
                            .map(|pair| rows[*pair as usize])
                            .collect(),
                    )
                };
                let left = side(&columns_left, left_rows);
                let right = side(&columns_right, right_rows);
                let len = part.len() as u32;
                let rules = Rules {
                    kind: FunctionKind::Join,
                    rows: len,
                    sources: len,
                    descriptor: descriptor.clone(),
                };
                let setup = CallSetup {
                    name: NAME,
                    alone,
                    prepare: |state: &mut HostState| {
                        super::transform::open_extras(state, &left.lowered);
                        state
                            .extras
                            .right_key_nulls
                            .clone_from(&right.lowered.key_nulls);
                        state
                            .extras
                            .right_value_nulls
                            .clone_from(&right.lowered.value_nulls);
                        state.reject_below = len;
                        state.rules = Some(rules);
                    },
                };
                guest.call(
                    setup,
                    |live| {
                        let func = live.func(&func);
                        type Params<'a> = (BatchIn<'a>, BatchIn<'a>, &'a [u32], &'a [u32]);
                        let func =
                            func.typed::<Params<'_>, (Result<(), FailureOut>,)>(&live.store)?;
                        let answer = left.lowered.with(|l| {
                            right.lowered.with(|r| {
                                func.call(&mut live.store, (l, r, &left.rows, &right.rows))
                            })
                        });
                        Ok(answer?.0)
                    },
                    |(), state| effects(state),
                )
            },
            |_, part, effects| {
                let map = RowMap::Of(&good[part]);
                collected.add(effects.segments, map);
                for (pair, message) in effects.rejects {
                    let row = map.get(pair);
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
        rejected.extend(failed.into_iter().map(|r| Rejected {
            row: good[r.row as usize],
            ..r
        }));
        rejected.sort_by_key(|r| r.row);
        rejected.dedup_by_key(|r| r.row);
        let build =
            |segment| output::of_pairs(segment, left, right, left_rows, right_rows, &descriptor);
        let (batch, pairs) = main_only(collected.into_ports(1, build));
        Ok(Joined {
            batch,
            pairs,
            rejected,
        })
    }

    fn stats(&self) -> FunctionStats {
        self.guest.stats()
    }

    fn metrics(&self) -> Vec<Metric> {
        self.guest.metrics()
    }
}

/// One side of a call: the columns, and the row of each pair in them.
struct Side {
    lowered: Lowered,
    rows: Vec<u32>,
}

impl Side {
    /// Whole columns where most rows are in some pair; else only the rows that are.
    fn of(columns: &InputColumns, rows: Vec<u32>) -> Side {
        if rows.len() * 2 >= columns.len {
            return Side {
                lowered: Lowered::of(columns),
                rows,
            };
        }
        let mut taken: Vec<u32> = rows.iter().copied().filter(|r| *r != NO_ROW).collect();
        taken.sort_unstable();
        taken.dedup();
        let renumbered = rows
            .into_iter()
            .map(|row| {
                if row == NO_ROW {
                    NO_ROW
                } else {
                    taken.partition_point(|t| *t < row) as u32
                }
            })
            .collect();
        Side {
            lowered: Lowered::of(&columns.take(&taken)),
            rows: renumbered,
        }
    }
}

/// Pairs whose rows are fine, and those with a bad field on either side.
fn good_pairs(
    left: &[u32],
    right: &[u32],
    bad_left: &[Rejected],
    bad_right: &[Rejected],
) -> (Vec<u32>, Vec<Rejected>) {
    if bad_left.is_empty() && bad_right.is_empty() {
        return ((0..left.len() as u32).collect(), Vec::new());
    }
    let find = |bad: &[Rejected], row: u32| bad.binary_search_by_key(&row, |r| r.row).ok();
    let (mut good, mut rejected) = (Vec::with_capacity(left.len()), Vec::new());
    for pair in 0..left.len() {
        let (side, reason) = match (find(bad_left, left[pair]), find(bad_right, right[pair])) {
            (Some(i), _) => ("left", &bad_left[i]),
            (None, Some(i)) => ("right", &bad_right[i]),
            (None, None) => {
                good.push(pair as u32);
                continue;
            }
        };
        rejected.push(Rejected {
            row: pair as u32,
            message: format!("{side}: {}", reason.message),
            ..reason.clone()
        });
    }
    (good, rejected)
}
