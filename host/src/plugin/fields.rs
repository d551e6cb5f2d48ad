//! Before a call: the fields that a function reads are extracted, and rows where a field's policy (or a
//! malformed document) forbids the call are settled, so that the guest sees good rows only.

use super::{ColumnSet, Fault, OnBad, Reads, RejectKind, Rejected};
use crate::format;
use crate::record::{Batch, Extracted, FieldSpec, IssueKind};

/// Makes everything there that `reads` asks for; the rows to leave out, in order.
pub(super) fn settle(batch: &mut Batch, reads: &Reads) -> Result<Vec<Rejected>, Fault> {
    extract(batch, reads);
    let mut rejected: Vec<Rejected> = Vec::new();
    for read in &reads.fields {
        let extracted = extracted(batch, &read.spec);
        for issue in extracted.issues.runs() {
            let policy = match issue.kind {
                IssueKind::Malformed => OnBad::Reject,
                IssueKind::Missing => read.missing,
                IssueKind::Mismatch => read.mismatch,
            };
            if policy == OnBad::Null {
                continue;
            }
            let message = match issue.kind {
                IssueKind::Malformed => issue.message.to_string(),
                _ => format!(
                    "field \"{}\" ({}): {}",
                    read.spec.pointer,
                    read.spec.kind.name(),
                    issue.message
                ),
            };
            if policy == OnBad::Fail {
                let message = format!(
                    "{message}, in row {} of a batch, where the function wants the job to fail",
                    issue.rows.start
                );
                return Err(Fault {
                    message,
                    kind: RejectKind::Field,
                    log: Vec::new(),
                });
            }
            rejected.extend(issue.rows.clone().map(|row| Rejected {
                row,
                kind: RejectKind::Field,
                message: message.clone(),
                log: Vec::new(),
            }));
        }
    }
    // Each column's issues are in order of rows; the first reason of a row stands.
    rejected.sort_by_key(|r| r.row);
    rejected.dedup_by_key(|r| r.row);
    Ok(rejected)
}

/// Makes the columns there, whatever their issues.
fn extract(batch: &mut Batch, reads: &Reads) {
    if reads
        .fields
        .iter()
        .any(|f| batch.value.extracted(&f.spec).is_none())
    {
        let specs: Vec<FieldSpec> = reads.fields.iter().map(|f| f.spec.clone()).collect();
        format::extract_fields(batch, &specs);
    }
    if let ColumnSet { values: true, .. } = reads.columns {
        format::value_bytes(batch);
    }
}

/// A field that `settle` has put there.
pub(super) fn extracted<'a>(batch: &'a Batch, spec: &FieldSpec) -> &'a Extracted {
    batch
        .value
        .extracted(spec)
        .expect("the fields that a function reads are extracted before it is called")
}
