//! The search for failing rows: a call that fails is repeated on parts, until exactly the failing rows
//! are known and all others went through once, in order.
//!
//! Where the guest names the row, it is left out and the rest is run again. Else the part is cut into
//! pieces of 64 rows, and a piece that fails into single rows; only a row alone, under its own
//! deadline, is condemned without the guest's word. Every failure takes a row away or makes a part
//! smaller, so the search ends.

use std::ops::Range;

use super::Rejected;
use super::failure::CallFailure;
use super::instance::Guest;

/// Rows of the pieces into which a failing part is cut.
const PIECE: usize = 64;
/// Rows of one batch that are left out on the guest's word; then the search trusts only single rows, as
/// each word costs another run over the rest.
const HINTS_MAX: usize = 64;

/// Runs `run` over rows 0..`rows` in parts of at most `part_max` (0 = any), and `done` for each part that
/// worked, in order. `alone` tells that the record deadline applies. Answers the rows that failed, in order; with
/// `fail_fast` only the first that was found, and then rows behind it were not run.
pub(super) fn isolate<T>(
    guest: &mut Guest,
    rows: usize,
    part_max: usize,
    mut run: impl FnMut(&mut Guest, Range<usize>, bool) -> Result<T, CallFailure>,
    mut done: impl FnMut(&mut Guest, Range<usize>, T),
) -> Result<Vec<Rejected>, CallFailure> {
    let part_max = if part_max == 0 { rows.max(1) } else { part_max };
    let mut rejected: Vec<Rejected> = Vec::new();
    let mut hints = 0;
    let mut searching = false;
    let mut slow = false;
    // Parts still to run, the first on top.
    let mut parts: Vec<Range<usize>> = cut(0..rows, part_max);
    while let Some(part) = parts.pop() {
        if searching {
            guest.search_on()?;
        }
        let len = part.len();
        let failure = match run(guest, part.clone(), len == 1) {
            Ok(result) => {
                guest.count_records(len);
                done(guest, part, result);
                continue;
            }
            Err(failure) if failure.fatal => return Err(failure),
            Err(failure) => failure,
        };
        searching = true;
        let hint = failure
            .row
            .map(|r| r as usize)
            .filter(|r| *r < len && hints < HINTS_MAX);
        if let Some(row) = hint {
            hints += 1;
            let at = part.start + row;
            guest.condemn(failure.kind)?;
            rejected.push(failure.reject(at as u32));
            push(&mut parts, at + 1..part.end);
            push(&mut parts, part.start..at);
        } else if len == 1 {
            guest.condemn(failure.kind)?;
            rejected.push(failure.reject(part.start as u32));
        } else {
            slow |= failure.kind == super::RejectKind::Deadline;
            let piece = if len > PIECE { PIECE } else { 1 };
            parts.extend(cut(part, piece));
            continue;
        }
        if guest.fail_fast() {
            rejected.sort_by_key(|r| r.row);
            return Ok(rejected);
        }
    }
    if slow && rejected.is_empty() {
        // Slow, yet no row is to blame: smaller calls from now on, instead of the same search each time.
        guest.prefer_parts_of(PIECE);
    }
    rejected.sort_by_key(|r| r.row);
    Ok(rejected)
}

fn push(parts: &mut Vec<Range<usize>>, part: Range<usize>) {
    if !part.is_empty() {
        parts.push(part);
    }
}

/// Pieces of a part, the last one first.
fn cut(part: Range<usize>, piece: usize) -> Vec<Range<usize>> {
    let mut pieces: Vec<Range<usize>> = part
        .clone()
        .step_by(piece)
        .map(|start| start..(start + piece).min(part.end))
        .collect();
    pieces.reverse();
    pieces
}
