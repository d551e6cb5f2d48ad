//! Reading a source to its end at once: the rows of a table.

use crate::config::plan::{BatchLimits, FormatSpec, OnError, SourcePlan};
use crate::format::{self, Wanted};
use crate::record::Batch;
use crate::time::Clock;

use super::{Read, SourceError, open};

/// Bytes of rows that a table may hold: it is copied to every process, and kept in memory.
pub const TABLE_BYTES_MAX: usize = 1 << 30;

const LIMITS: BatchLimits = BatchLimits {
    records: 65_536,
    bytes: 16 << 20,
    latency_ms: 0,
};

/// All rows of a source, with keys and timestamps, in order of partitions. Rows that are bad (CSV, JSON, no key) fail it,
/// or are left out where the policy is another one.
pub fn read_all(plan: &SourcePlan) -> Result<Batch, SourceError> {
    read_bounded(plan, TABLE_BYTES_MAX)
}

/// As `read_all`, with another bound.
pub fn read_bounded(plan: &SourcePlan, bytes_max: usize) -> Result<Batch, SourceError> {
    let error = |message| SourceError {
        source_name: plan.name.clone(),
        message,
    };
    let mut source = open(plan, 0, &Clock::System)?;
    let mut batches = Vec::new();
    let mut bytes = 0;
    for mut reader in source.discover()? {
        loop {
            let (mut batch, bad) = match reader.read(&LIMITS)? {
                Read::Batch(batch, bad) => (batch, bad),
                Read::Pending(_) => {
                    return Err(error("a table needs a source that ends".to_string()));
                }
                Read::End => break,
            };
            if let (Some(first), OnError::Fail) = (bad.first(), plan.on_error) {
                return Err(error(first.rejected.message.clone()));
            }
            let wanted = Wanted {
                fields: &[],
                key: plan.key.as_ref(),
                timestamp: plan.timestamp.as_ref(),
                documents: plan.format == FormatSpec::Json,
            };
            let rejected = format::decode(&mut batch, &wanted);
            if let Some(first) = rejected.first() {
                if plan.on_error == OnError::Fail {
                    let row = first.row as usize;
                    let origin = batch
                        .origins
                        .get(row)
                        .expect("readers tell where records stand");
                    let place = reader.locate(row, origin);
                    return Err(error(format!("{place}: {}", first.message)));
                }
                let mut out = rejected.iter().map(|r| r.row).peekable();
                let good: Vec<u32> = (0..batch.len as u32)
                    .filter(|row| out.next_if_eq(row).is_none())
                    .collect();
                batch = batch.take(&good);
            }
            bytes += batch.size_bytes();
            if bytes > bytes_max {
                return Err(error(format!("the table has more than {bytes_max} bytes")));
            }
            batches.push(batch);
        }
    }
    Ok(Batch::concat(batches))
}
