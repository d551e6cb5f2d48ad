//! Made-up records: seeded, as fast as they can be made or at a rate, any number of partitions.
//!
//! Partition p of n makes the records p, p + n, p + 2n …: a position is a count, and seeking is free.

use std::sync::Arc;

use arrow_array::BinaryArray;
use arrow_buffer::{Buffer, OffsetBuffer, ScalarBuffer};

use crate::config::plan::{BatchLimits, GeneratorSpec};
use crate::record::{Batch, Form, NodeIndex, Origin, Origins, Value};
use crate::time::Clock;

use super::template::{DEFAULT_TEMPLATE, GeneratorTemplate};
use super::{PartitionReader, Position, Read, Source, SourceError};

/// Makes records.
pub struct GeneratorSource {
    readers: Vec<Box<dyn PartitionReader>>,
}

impl GeneratorSource {
    /// The generator of a plan; the clock is only asked where there is a rate.
    pub fn new(
        name: &str,
        spec: &GeneratorSpec,
        index: NodeIndex,
        clock: Clock,
    ) -> Result<GeneratorSource, SourceError> {
        let template =
            GeneratorTemplate::parse(spec.template.as_deref().unwrap_or(DEFAULT_TEMPLATE))
                .map_err(|message| SourceError {
                    source_name: name.to_string(),
                    message,
                })?;
        let template = Arc::new(template);
        let partitions = spec.partitions.max(1) as u64;
        let reader = |p: u64| -> Box<dyn PartitionReader> {
            Box::new(GeneratorReader {
                source: name.to_string(),
                name: format!("generator[{p}]"),
                index,
                partition: p as u32,
                partitions,
                template: template.clone(),
                seed: spec.seed,
                records: spec
                    .records
                    .map(|all| all / partitions + u64::from(p < all % partitions)),
                made: 0,
                pace: spec.rate.map(|rate| Pace {
                    rate,
                    clock: clock.clone(),
                    began: None,
                    before: 0,
                }),
                bytes_before: 0,
            })
        };
        Ok(GeneratorSource {
            readers: (0..partitions).map(reader).collect(),
        })
    }
}

impl Source for GeneratorSource {
    fn discover(&mut self) -> Result<Vec<Box<dyn PartitionReader>>, SourceError> {
        Ok(std::mem::take(&mut self.readers))
    }
}

/// So many records a second over all partitions, from the first read on. Time lost is made up.
struct Pace {
    rate: u64,
    clock: Clock,
    began: Option<i64>,
    /// Records that were there before the clock began (after a seek).
    before: u64,
}

struct GeneratorReader {
    source: String,
    name: String,
    index: NodeIndex,
    partition: u32,
    partitions: u64,
    template: Arc<GeneratorTemplate>,
    seed: u64,
    /// Of this partition; none: without end.
    records: Option<u64>,
    made: u64,
    pace: Option<Pace>,
    bytes_before: usize,
}

impl GeneratorReader {
    /// How many may be made now; else how long until the next, milliseconds.
    fn allowed(&mut self) -> Result<u64, u64> {
        let Some(pace) = &mut self.pace else {
            return Ok(u64::MAX);
        };
        let now = pace.clock.now();
        let began = *pace.began.get_or_insert_with(|| {
            pace.before = self.made;
            now
        });
        let elapsed = now.saturating_sub(began).max(0) as u128;
        // Record k of all partitions is due when k / rate seconds have passed: the first one at once.
        let due = elapsed * u128::from(pace.rate) / 1000 + 1;
        let mine = (due + u128::from(self.partitions - 1) - u128::from(self.partition))
            / u128::from(self.partitions);
        let made = u128::from(self.made - pace.before);
        if mine > made {
            return Ok(u64::try_from(mine - made).unwrap_or(u64::MAX));
        }
        let next = made * u128::from(self.partitions) + u128::from(self.partition);
        let at = (next * 1000).div_ceil(u128::from(pace.rate.max(1)));
        Err(u64::try_from(at.saturating_sub(elapsed))
            .unwrap_or(u64::MAX)
            .max(1))
    }
}

impl PartitionReader for GeneratorReader {
    fn partition(&self) -> u32 {
        self.partition
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn read(&mut self, limits: &BatchLimits) -> Result<Read, SourceError> {
        let left = self.records.map_or(u64::MAX, |all| all - self.made);
        if left == 0 {
            return Ok(Read::End);
        }
        let count = match self.allowed() {
            Ok(allowed) => allowed.min(left).min(limits.records.max(1) as u64),
            Err(wait_ms) => return Ok(Read::Pending(wait_ms)),
        };
        let mut values = Vec::with_capacity(self.bytes_before);
        let mut offsets = Vec::with_capacity(count as usize + 1);
        offsets.push(0i32);
        for i in self.made..self.made + count {
            let before = values.len();
            self.template.render(
                self.seed,
                self.partition,
                i * self.partitions + u64::from(self.partition),
                &mut values,
            );
            if values.len() > limits.bytes && before > 0 {
                values.truncate(before);
                break;
            }
            offsets.push(values.len() as i32); // at most limits.bytes, or one record
        }
        let len = offsets.len() - 1;
        self.bytes_before = values.len() + values.len() / 8;
        let array = BinaryArray::new(
            OffsetBuffer::new(ScalarBuffer::from(offsets)),
            Buffer::from_vec(values),
            None,
        );
        let mut batch = Batch::of(len, Value::new(Form::Bytes(array)));
        batch.origins = Origins::Run(Origin {
            source: self.index,
            partition: self.partition,
            offset: self.made,
        });
        self.made += len as u64;
        Ok(Read::Batch(batch, Vec::new()))
    }

    fn position(&self) -> Position {
        Position(
            serde_json::json!({ "made": self.made, "partitions": self.partitions, "seed": self.seed }),
        )
    }

    fn seek(&mut self, position: &Position) -> Result<(), SourceError> {
        let number = |name: &str| position.0.get(name).and_then(serde_json::Value::as_u64);
        let same =
            number("partitions") == Some(self.partitions) && number("seed") == Some(self.seed);
        match number("made") {
            Some(made) if same && self.records.is_none_or(|all| made <= all) => {
                self.made = made;
                if let Some(pace) = &mut self.pace {
                    pace.began = None;
                }
                Ok(())
            }
            _ => Err(SourceError {
                source_name: self.source.clone(),
                message: format!(
                    "{}: the position {} is not one of a generator with seed {}, {} partitions and these records",
                    self.name, position.0, self.seed, self.partitions
                ),
            }),
        }
    }
}
