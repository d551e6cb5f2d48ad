//! Standard input: one partition, read by a thread of its own, so that a silent terminal holds up
//! neither other partitions nor a stop. It cannot be sought: what was read is gone.

use std::io::{self, Read};
use std::sync::Arc;

use crossbeam_channel::{Receiver, TryRecvError, bounded};

use crate::config::plan::{BatchLimits, SourcePlan};
use crate::record::NodeIndex;

use super::cut::{OriginUnit, Place};
use super::pump::{Filled, Pump, Pumped, READ_BYTES};
use super::{PartitionReader, Position, Read as Answer, Source, SourceError};

/// Chunks that may wait for the reader: 1 MiB, enough to keep a pipe's writer busy over one batch.
const CHUNKS_MAX: usize = 4;

/// How soon to look again while nothing comes; below the default batch latency.
const AGAIN_MS: u64 = 5;

/// A stream of bytes as a source.
pub struct StdinSource {
    plan: SourcePlan,
    index: NodeIndex,
    input: Option<Box<dyn Read + Send>>,
}

impl StdinSource {
    /// Standard input.
    pub fn new(plan: &SourcePlan, index: NodeIndex) -> StdinSource {
        StdinSource::from_stream(plan, index, Box::new(io::stdin()))
    }

    /// Any stream, for tests and embedding.
    pub fn from_stream(
        plan: &SourcePlan,
        index: NodeIndex,
        input: Box<dyn Read + Send>,
    ) -> StdinSource {
        StdinSource {
            plan: plan.clone(),
            index,
            input: Some(input),
        }
    }
}

impl Source for StdinSource {
    fn discover(&mut self) -> Result<Vec<Box<dyn PartitionReader>>, SourceError> {
        let Some(input) = self.input.take() else {
            return Ok(Vec::new());
        };
        let place = Place {
            source: self.index,
            partition: 0,
            name: Arc::from("stdin"),
        };
        Ok(vec![Box::new(StdinReader {
            source: self.plan.name.clone(),
            pump: Pump::new(super::file::cutter(
                &self.plan.format,
                place,
                OriginUnit::Line,
            )),
            feed: Feed::Silent(input),
        })])
    }
}

enum Feed {
    /// Not asked for anything yet: no thread.
    Silent(Box<dyn Read + Send>),
    Thread(Receiver<io::Result<Vec<u8>>>),
    Ended,
}

struct StdinReader {
    source: String,
    pump: Pump,
    feed: Feed,
}

/// The thread ends with the stream, or at the first chunk after the reader is gone. Until then it may hang
/// in a read: nothing waits for it.
fn start(mut input: Box<dyn Read + Send>) -> io::Result<Receiver<io::Result<Vec<u8>>>> {
    let (sender, receiver) = bounded(CHUNKS_MAX);
    std::thread::Builder::new()
        .name("wasmill-stdin".to_string())
        .spawn(move || {
            let mut chunk = vec![0; READ_BYTES];
            loop {
                let message = match input.read(&mut chunk) {
                    Ok(0) => return,
                    Ok(bytes) => Ok(chunk[..bytes].to_vec()),
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                    Err(e) => Err(e),
                };
                let failed = message.is_err();
                if sender.send(message).is_err() || failed {
                    return;
                }
            }
        })?;
    Ok(receiver)
}

impl StdinReader {
    fn error(&self, message: String) -> SourceError {
        SourceError {
            source_name: self.source.clone(),
            message,
        }
    }
}

impl PartitionReader for StdinReader {
    fn partition(&self) -> u32 {
        0
    }

    fn name(&self) -> &str {
        "stdin"
    }

    fn counts(&self) -> &'static str {
        "line"
    }

    fn read(&mut self, limits: &BatchLimits) -> Result<Answer, SourceError> {
        self.feed = match std::mem::replace(&mut self.feed, Feed::Ended) {
            Feed::Silent(input) => Feed::Thread(
                start(input)
                    .map_err(|e| self.error(format!("cannot start a thread for stdin: {e}")))?,
            ),
            other => other,
        };
        let feed = &self.feed;
        let pumped = self.pump.next(limits, |buffer| match feed {
            Feed::Thread(chunks) => match chunks.try_recv() {
                Ok(Ok(chunk)) => {
                    buffer.push(&chunk);
                    Ok(Filled::Some)
                }
                Ok(Err(e)) => Err(e),
                Err(TryRecvError::Empty) => Ok(Filled::Wait(AGAIN_MS)),
                Err(TryRecvError::Disconnected) => Ok(Filled::End),
            },
            Feed::Silent(_) | Feed::Ended => Ok(Filled::End),
        });
        match pumped {
            Ok(Pumped::Batch(batch, bad)) => Ok(Answer::Batch(batch, bad)),
            Ok(Pumped::Wait(ms)) => Ok(Answer::Pending(ms)),
            Ok(Pumped::End) => {
                self.feed = Feed::Ended;
                Ok(Answer::End)
            }
            Err(e) => Err(self.error(format!("stdin: {e}"))),
        }
    }

    fn position(&self) -> Position {
        let mark = self.pump.cutter.mark();
        Position(serde_json::json!({ "stdin": true, "offset": mark.offset, "line": mark.line }))
    }

    fn seek(&mut self, position: &Position) -> Result<(), SourceError> {
        if position.0.get("offset").and_then(serde_json::Value::as_u64) == Some(0) {
            return Ok(());
        }
        Err(self.error(
            "standard input cannot be read again from an earlier position, so a job that reads it cannot go on from a \
             checkpoint: start it anew (--restore none), or read from a file"
                .to_string(),
        ))
    }
}
