//! One file as one partition: opened when first read, closed at its end, so that thousands of
//! partitions do not hold thousands of descriptors. Its end is where it was when the file was opened, unless it is watched.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::config::plan::BatchLimits;
use crate::reach::Reach;

use super::cut::{Cutter, Mark, Place};
use super::identity::Identity;
use super::pump::{Filled, InputBuffer, Pump, Pumped};
use super::stream::{self, Compression};
use super::{PartitionReader, Position, Read as Answer, SourceError};

/// Stored in checkpoints: must stay readable.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Saved {
    path: String,
    offset: u64,
    line: u64,
    record: u64,
    /// The file was read to its end.
    done: bool,
    /// None: nothing of it was read yet.
    identity: Option<Identity>,
}

/// The path that a stored position belongs to, if it is one of a file.
pub fn path_of(position: &Position) -> Option<&str> {
    position.0.get("path")?.as_str()
}

enum State {
    /// To be opened at the cutter's mark.
    Closed,
    /// Being read. `file` is the same one, for samples of it.
    Open {
        file: File,
        stream: Box<dyn Read + Send>,
    },
    /// Read to its end, which may move.
    Waiting { size: u64 },
    /// Never read again.
    Done,
}

/// What became of a file that was read to its end.
enum Again {
    Same,
    Changed,
    Gone { half_line: bool },
}

/// Reads one file.
pub struct FileReader {
    source: String,
    place: Place,
    path: PathBuf,
    reach: Reach,
    compression: Compression,
    watch_ms: Option<u64>,
    pump: Pump,
    state: State,
    identity: Option<Identity>,
}

impl FileReader {
    /// A reader of `path`, if it is within reach; nothing is opened yet. `watch_ms`: wait at the end for more.
    pub fn new(
        source: &str,
        place: Place,
        path: PathBuf,
        reach: Reach,
        watch_ms: Option<u64>,
        cutter: Box<dyn Cutter>,
    ) -> FileReader {
        FileReader {
            source: source.to_string(),
            compression: Compression::of(&path),
            place,
            path,
            reach,
            watch_ms,
            pump: Pump::new(cutter),
            state: State::Closed,
            identity: None,
        }
    }

    fn error(&self, message: impl std::fmt::Display) -> SourceError {
        SourceError {
            source_name: self.source.clone(),
            message: format!("{}: {message}", self.place.name),
        }
    }

    fn open(&mut self) -> Result<(), SourceError> {
        let mark = self.pump.cutter.mark();
        self.pump.restart();
        let opened = (|| {
            let file = self.reach.open(&self.path)?;
            let size = match self.watch_ms {
                Some(_) => u64::MAX,
                None => stream::size_now(&file)?,
            };
            if mark.offset > 0 && self.pump.cutter.needs_head() {
                let head = self.reach.open(&self.path)?;
                let (_, mut stream) = stream::open_at(head, self.compression, 0, size)?;
                learn_head(self.pump.cutter.as_mut(), &mut stream)?;
            }
            stream::open_at(file, self.compression, mark.offset, size)
        })();
        match opened {
            Ok((file, stream)) => {
                self.state = State::Open { file, stream };
                Ok(())
            }
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Err(self.error(format_args!(
                "the file shrank: it was read up to byte {}, and now ends before",
                mark.offset
            ))),
            Err(e) => Err(self.error(format_args!("cannot open: {e}"))),
        }
    }

    /// The file after its end, as it was last seen: whether there is more to read.
    fn look_again(&mut self, size_before: u64) -> Result<Again, SourceError> {
        match std::fs::metadata(&self.path) {
            Ok(meta) if meta.len() == size_before => Ok(Again::Same),
            Ok(_) => self.check_identity().map(|()| Again::Changed),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                // Read folders are tidied up behind the reader's back: that is the file's end.
                self.state = State::Done;
                let mark = self.pump.cutter.mark();
                Ok(Again::Gone {
                    half_line: self.compression == Compression::None && size_before > mark.offset,
                })
            }
            Err(e) => Err(self.error(e)),
        }
    }

    fn check_identity(&self) -> Result<(), SourceError> {
        let Some(identity) = &self.identity else {
            return Ok(());
        };
        let file = self
            .reach
            .open(&self.path)
            .map_err(|e| self.error(format_args!("cannot open again: {e}")))?;
        match identity.difference(&file) {
            Ok(None) => Ok(()),
            Ok(Some(difference)) => Err(self.error(format_args!(
                "not the file that was read before: {difference}"
            ))),
            Err(e) => Err(self.error(e)),
        }
    }

    fn look(&self, file: &File) -> Option<Identity> {
        let read = match self.compression {
            Compression::None => self.pump.cutter.mark().offset,
            _ => file.metadata().ok()?.len(),
        };
        Identity::of(file, read).ok()
    }

    /// Closes at the end of the file as it is now.
    fn close(&mut self) {
        if let State::Open { file, .. } = std::mem::replace(&mut self.state, State::Done) {
            self.identity = self.look(&file);
            if self.watch_ms.is_some() {
                let size = file.metadata().map_or(0, |m| m.len());
                self.state = State::Waiting { size };
            }
        }
        self.pump.restart();
    }
}

/// Gives a cutter the start of the stream that it needs to know before it can go on in the middle.
pub fn learn_head(cutter: &mut dyn Cutter, stream: &mut dyn Read) -> io::Result<()> {
    let mut head = InputBuffer::default();
    loop {
        let end = head.read_from(stream)? == 0;
        if cutter.learn_head(head.bytes(), end) || end {
            return Ok(());
        }
    }
}

/// Reads more of a file into a buffer; damaged compressed data is told apart from a failing medium.
pub fn fill(
    buffer: &mut InputBuffer,
    stream: &mut dyn Read,
    compression: Compression,
    watch_ms: Option<u64>,
) -> io::Result<Filled> {
    match buffer.read_from(stream) {
        Ok(0) => Ok(watch_ms.map_or(Filled::End, Filled::Wait)),
        Ok(_) => Ok(Filled::Some),
        Err(e) => match (stream::damage(compression, &e), watch_ms) {
            // A compressed file that is still being written looks cut off.
            (Some(_), Some(ms)) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(Filled::Wait(ms)),
            (Some(damage), _) => Ok(Filled::Broken(damage)),
            (None, _) => Err(e),
        },
    }
}

impl PartitionReader for FileReader {
    fn partition(&self) -> u32 {
        self.place.partition
    }

    fn name(&self) -> &str {
        &self.place.name
    }

    fn counts(&self) -> &'static str {
        "line"
    }

    fn read(&mut self, limits: &BatchLimits) -> Result<Answer, SourceError> {
        match self.state {
            State::Done => return Ok(Answer::End),
            State::Waiting { size } => match self.look_again(size)? {
                Again::Same => {
                    return Ok(Answer::Pending(
                        self.watch_ms.expect("only watched files wait"),
                    ));
                }
                Again::Changed => self.open()?,
                Again::Gone { half_line: false } => return Ok(Answer::End),
                Again::Gone { half_line: true } => {
                    self.pump
                        .cutter
                        .broken(&[], "the file was removed, and its last line had no end");
                    let (batch, bad) = self.pump.cutter.take().expect("a bad record was put in");
                    return Ok(Answer::Batch(batch, bad));
                }
            },
            State::Closed => self.open()?,
            State::Open { .. } => {}
        }
        let State::Open { stream, .. } = &mut self.state else {
            unreachable!("opened above")
        };
        let (compression, watch_ms) = (self.compression, self.watch_ms);
        match self.pump.next(limits, |buffer| {
            fill(buffer, stream.as_mut(), compression, watch_ms)
        }) {
            Ok(Pumped::Batch(batch, bad)) => Ok(Answer::Batch(batch, bad)),
            Ok(Pumped::Wait(ms)) => {
                self.close();
                Ok(Answer::Pending(ms))
            }
            Ok(Pumped::End) => {
                self.watch_ms = None;
                self.close();
                Ok(Answer::End)
            }
            Err(e) => Err(self.error(format_args!(
                "cannot read on at line {}: {e}",
                self.pump.cutter.mark().line
            ))),
        }
    }

    fn position(&self) -> Position {
        let mark = self.pump.cutter.mark();
        let identity = match &self.state {
            State::Open { file, .. } => self.look(file),
            _ => self.identity.clone(),
        };
        let saved = Saved {
            path: self.place.name.to_string(),
            offset: mark.offset,
            line: mark.line,
            record: mark.record,
            done: matches!(self.state, State::Done),
            identity,
        };
        Position(serde_json::to_value(saved).expect("plain fields become JSON"))
    }

    fn seek(&mut self, position: &Position) -> Result<(), SourceError> {
        let saved = Saved::deserialize(&position.0)
            .map_err(|e| self.error(format_args!("not a position of a file: {e}")))?;
        if saved.path != *self.place.name {
            return Err(self.error(format_args!(
                "the position is one of another file, {}",
                saved.path
            )));
        }
        self.pump.restart();
        let _ = self.pump.cutter.take();
        self.pump.cutter.set_mark(Mark {
            offset: saved.offset,
            line: saved.line,
            record: saved.record,
        });
        self.identity = saved.identity;
        self.state = State::Closed;
        if self.path.exists() {
            self.check_identity()?;
        } else if !saved.done {
            return Err(self.error(format_args!(
                "the file is gone, and was read only up to line {} (byte {})",
                saved.line, saved.offset
            )));
        }
        if saved.done {
            self.state = State::Done;
        }
        Ok(())
    }
}

/// A place for a file's partition.
pub fn place(source: crate::record::NodeIndex, partition: u32, path: &std::path::Path) -> Place {
    Place {
        source,
        partition,
        name: Arc::from(path.to_string_lossy().as_ref()),
    }
}
