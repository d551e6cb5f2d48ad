//! From row functions to whole batches: what the attributes' code is put into.
//!
//! Each kind has a trait that an attribute implements (`TransformFn` …) and an `open_…` function that makes
//! an [`Instance`](crate::Instance) of it.

mod aggregate;
mod filter;
mod join;
mod process;
mod transform;

pub use aggregate::{AggregateFn, Group, open_aggregate};
pub use filter::{FilterFn, open_filter};
pub use join::{JoinFn, Required, Side, open_join};
pub use process::{Context, ProcessFn, Timer, open_process};
pub use transform::{TransformFn, open_transform};

use crate::contract::{Batch, Columns, Failure, Nulls};
use crate::host;
use crate::input::{Input, View};
use crate::reject::Reject;

const NO_NULLS: Nulls = Nulls {
    keys: None,
    values: None,
};

/// Null marks of a batch, asked for only where keys or values are read.
fn nulls_of<I: Input>(pull: fn() -> Nulls) -> Nulls {
    let reads = I::reads().columns;
    let bytes = Columns::KEYS | Columns::VALUES;
    if reads & bytes == Columns::empty() {
        NO_NULLS
    } else {
        pull()
    }
}

/// Runs `f` over the columns of a batch.
fn with_columns<I: Input, T>(batch: &Batch, f: impl FnOnce(&I::Columns<'_>) -> T) -> T {
    let nulls = nulls_of::<I>(host::input_nulls);
    let headers = if I::HEADERS {
        host::input_headers()
    } else {
        None
    };
    f(&I::columns(&View {
        batch,
        nulls: &nulls,
        headers: headers.as_ref(),
    }))
}

/// Rows that a turn of a loop does.
const ROWS: usize = 8;

/// Does something little for each of so many rows, in order. Whole-batch functions use it where a plain loop would not become
/// vector code.
///
/// Eight a turn: a host that can end a guest at any time has a check put into each turn of a loop, which costs as much as a
/// comparison of two numbers.
#[inline(always)]
pub fn each_row(rows: usize, mut each: impl FnMut(usize)) {
    let whole = rows - rows % ROWS;
    let mut row = 0;
    while row < whole {
        each(row);
        each(row + 1);
        each(row + 2);
        each(row + 3);
        each(row + 4);
        each(row + 5);
        each(row + 6);
        each(row + 7);
        row += ROWS;
    }
    (whole..rows).for_each(each);
}

/// Rejects the row if it is bad or `answer` says so; what it answered otherwise.
#[inline]
fn settle<T>(row: u32, answer: Result<T, Reject>) -> Option<T> {
    answer
        .map_err(|reason| host::reject(row, reason.reason()))
        .ok()
}

/// Makes row `row` and runs `f` on it; a bad row is rejected. `may_be_bad`: whether any of the batch is.
#[inline]
fn checked<'a, I: Input, T>(
    may_be_bad: bool,
    columns: &I::Columns<'a>,
    row: usize,
    f: impl FnOnce(I::Row<'a>) -> Result<T, Reject>,
) -> Option<T> {
    if may_be_bad && let Some(bad) = I::bad(columns, row) {
        host::reject(row as u32, &format!("{} {}", bad.what, bad.how));
        return None;
    }
    settle(row as u32, f(I::row(columns, row)))
}

fn config_failure(message: String) -> Failure {
    Failure::new(message)
}
