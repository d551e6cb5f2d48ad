//! What was wrong with a field, by row.
//!
//! Kept as runs of rows with the same complaint: an optional member that most documents do not have costs nothing
//! a row.

use std::ops::Range;
use std::sync::Arc;

use super::IssueKind;

/// Rows whose field could not be read; the column is null there.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Issues {
    /// Not empty, in order of rows, apart.
    runs: Vec<IssueRun>,
}

/// Neighbouring rows with the same issue.
#[derive(Clone, Debug, PartialEq)]
pub struct IssueRun {
    /// Rows in the batch.
    pub rows: Range<u32>,
    /// What was wrong.
    pub kind: IssueKind,
    /// For people: what was found, where (line, column) the document broke.
    pub message: Arc<str>,
}

/// One row's issue.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Issue<'a> {
    /// Row in the batch.
    pub row: u32,
    /// What was wrong.
    pub kind: IssueKind,
    /// For people.
    pub message: &'a str,
}

impl Issues {
    /// Whether all rows could be read.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Runs, in order of rows.
    pub fn runs(&self) -> &[IssueRun] {
        &self.runs
    }

    /// Row by row, in order.
    pub fn iter(&self) -> impl Iterator<Item = Issue<'_>> {
        self.runs.iter().flat_map(|run| {
            run.rows.clone().map(|row| Issue {
                row,
                kind: run.kind,
                message: &run.message,
            })
        })
    }

    /// One more row, behind all that are there.
    #[inline]
    pub fn push(&mut self, row: u32, kind: IssueKind, message: &Arc<str>) {
        self.push_run(row..row + 1, kind, message);
    }

    #[inline]
    fn push_run(&mut self, rows: Range<u32>, kind: IssueKind, message: &Arc<str>) {
        if let Some(last) = self.runs.last_mut()
            && last.rows.end == rows.start
            && last.kind == kind
            && (Arc::ptr_eq(&last.message, message) || last.message == *message)
        {
            last.rows.end = rows.end;
            return;
        }
        self.runs.push(IssueRun {
            rows,
            kind,
            message: message.clone(),
        });
    }

    /// Those of `other`, whose first row is row `first` here.
    pub(super) fn append(&mut self, first: u32, other: &Issues) {
        for run in &other.runs {
            let rows = first + run.rows.start..first + run.rows.end;
            self.push_run(rows, run.kind, &run.message);
        }
    }

    /// Those of neighbouring rows.
    pub(super) fn slice(&self, rows: Range<u32>) -> Issues {
        let from = self.runs.partition_point(|run| run.rows.end <= rows.start);
        let runs = self.runs[from..].iter();
        let inside = runs.take_while(|run| run.rows.start < rows.end);
        let cut = inside.map(|run| IssueRun {
            rows: run.rows.start.max(rows.start) - rows.start
                ..run.rows.end.min(rows.end) - rows.start,
            ..run.clone()
        });
        Issues {
            runs: cut.collect(),
        }
    }

    /// Those of these rows, in the order given.
    pub(super) fn take(&self, rows: &[u32]) -> Issues {
        let mut taken = Issues::default();
        if self.is_empty() {
            return taken;
        }
        // Rows mostly go up: the run looked at last is often the right one, or the next.
        let mut at = 0;
        for (to, row) in (0..).zip(rows) {
            let here = |run: Option<&IssueRun>| run.is_none_or(|run| *row < run.rows.end);
            let behind = at > 0 && *row < self.runs[at - 1].rows.end;
            if behind || !here(self.runs.get(at)) {
                at += 1;
                if behind || !here(self.runs.get(at)) {
                    at = self.runs.partition_point(|run| run.rows.end <= *row);
                }
            }
            if let Some(run) = self.runs.get(at).filter(|run| run.rows.contains(row)) {
                taken.push(to, run.kind, &run.message);
            }
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issues(rows: impl IntoIterator<Item = (u32, &'static str)>) -> Issues {
        let mut issues = Issues::default();
        for (row, message) in rows {
            issues.push(row, IssueKind::Missing, &message.into());
        }
        issues
    }

    fn list(issues: &Issues) -> Vec<(u32, &str)> {
        issues.iter().map(|i| (i.row, i.message)).collect()
    }

    #[test]
    fn neighbours_with_the_same_issue_are_one_run() {
        let some = issues([(1, "a"), (2, "a"), (3, "b"), (5, "b")]);
        let runs: Vec<_> = some.runs().iter().map(|r| r.rows.clone()).collect();
        assert_eq!(runs, [1..3, 3..4, 5..6]);
        assert_eq!(list(&some), [(1, "a"), (2, "a"), (3, "b"), (5, "b")]);
    }

    #[test]
    fn any_rows_can_be_taken_cut_and_joined() {
        // A plain list is the model: bit r of `bad` is row r, its message changes every third row.
        const MESSAGES: [&str; 3] = ["a", "b", "c"];
        for bad in 0..256_u32 {
            let rows: Vec<(u32, &str)> = (0..8)
                .filter(|r| bad & 1 << r != 0)
                .map(|r| (r, MESSAGES[r as usize / 3]))
                .collect();
            let all = issues(rows.clone());
            let message = |row: u32| rows.iter().find(|(r, _)| *r == row).map(|(_, m)| *m);
            for order in [
                &[0, 1, 2, 3, 4, 5, 6, 7][..],
                &[7, 6, 5, 4, 3, 2, 1, 0],
                &[4, 4, 0, 7, 7, 1, 2, 6, 3],
                &[5],
                &[],
            ] {
                let expected: Vec<_> = (0..)
                    .zip(order)
                    .filter_map(|(to, row)| Some((to, message(*row)?)))
                    .collect();
                assert_eq!(list(&all.take(order)), expected, "{bad:b} {order:?}");
            }
            for start in 0..8 {
                for end in start..=8 {
                    let expected: Vec<_> = (start..end)
                        .filter_map(|r| Some((r - start, message(r)?)))
                        .collect();
                    assert_eq!(list(&all.slice(start..end)), expected, "{bad:b}");
                    let mut again = all.slice(0..start);
                    again.append(start, &all.slice(start..8));
                    assert_eq!(again, all);
                }
            }
        }
    }
}
