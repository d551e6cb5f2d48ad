//! One partition of files that are cut into blocks: every n-th block, file after file.

use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::config::plan::{BatchLimits, FormatSpec};
use crate::record::Origin;

use super::blocks::{Blocks, LineCount};
use super::cut::{Mark, OriginUnit, Place};
use super::file_reader::{fill, learn_head};
use super::identity::Identity;
use super::pump::{Pump, Pumped};
use super::stream::{self, Compression};
use super::{BadRecord, PartitionReader, Position, Read as Answer, SourceError};

/// Stored in checkpoints: must stay readable.
#[derive(Debug, Serialize, Deserialize)]
struct Saved {
    /// Names the files, their sizes and the way they are cut.
    cut: String,
    /// Block in work, over all files.
    block: u64,
    /// Byte of its file at which it goes on; none: at its start.
    offset: Option<u64>,
    /// Lines of the block before that.
    line: u64,
    /// Number of the partition's next record.
    record: u64,
    /// Of the block's file.
    identity: Option<Identity>,
}

/// A block being read.
struct Piece {
    /// Index of the file.
    file: usize,
    /// The file itself, for samples of it.
    handle: File,
    stream: Box<dyn Read + Send>,
    /// Where the block's records start.
    start: u64,
}

/// Reads the blocks of one partition.
pub struct BlockReader {
    source: String,
    name: String,
    index: crate::record::NodeIndex,
    partition: u32,
    format: FormatSpec,
    blocks: Arc<Blocks>,
    /// Block in work, or to be opened next.
    block: u64,
    /// Where in it to go on; none: at its start.
    resume: Option<Mark>,
    piece: Option<Piece>,
    /// Cutter of the file in work: it knows the file's header.
    pump: Option<(usize, Pump)>,
    record: u64,
    /// File of the batch read last, and where its block's records start.
    last: Option<(usize, u64)>,
    lines: Option<(usize, LineCount)>,
}

impl BlockReader {
    /// The reader of a partition, at its first block.
    pub fn new(
        source: &str,
        index: crate::record::NodeIndex,
        partition: u32,
        pattern: &str,
        format: &FormatSpec,
        blocks: Arc<Blocks>,
    ) -> BlockReader {
        BlockReader {
            source: source.to_string(),
            name: format!(
                "{pattern} (split {} of {})",
                partition + 1,
                blocks.partitions
            ),
            index,
            partition,
            format: format.clone(),
            blocks,
            block: u64::from(partition),
            resume: None,
            piece: None,
            pump: None,
            record: 1,
            last: None,
            lines: None,
        }
    }

    fn error(&self, file: usize, message: impl std::fmt::Display) -> SourceError {
        let path = self.blocks.files[file].path.display();
        SourceError {
            source_name: self.source.clone(),
            message: format!("{path}: {message}"),
        }
    }

    fn open(&mut self, file: usize) -> Result<(), SourceError> {
        let entry = &self.blocks.files[file];
        if self.pump.as_ref().is_none_or(|(of, _)| *of != file) {
            let name = Arc::from(entry.path.to_string_lossy().as_ref());
            let place = Place {
                source: self.index,
                partition: self.partition,
                name,
            };
            self.pump = Some((
                file,
                Pump::new(super::file::cutter(&self.format, place, OriginUnit::Record)),
            ));
        }
        let (_, pump) = self.pump.as_mut().expect("made above");
        pump.restart();
        let opened = (|| {
            let handle = entry.open()?;
            let (start, end) = self.blocks.range(file, self.block, &handle)?;
            let mark = match self.resume {
                Some(mark) => mark,
                None => Mark {
                    offset: start,
                    line: 1,
                    record: self.record,
                },
            };
            if mark.offset > 0 && pump.cutter.needs_head() {
                let (_, mut stream) =
                    stream::open_at(entry.open()?, entry.compression, 0, entry.size())?;
                learn_head(pump.cutter.as_mut(), &mut stream)?;
            }
            pump.cutter.set_mark(mark);
            let (handle, stream) =
                stream::open_at(entry.open()?, entry.compression, mark.offset, entry.size())?;
            let stream: Box<dyn Read + Send> = match end {
                Some(end) => Box::new(stream.take(end.saturating_sub(mark.offset))),
                None => stream,
            };
            Ok::<_, io::Error>(Piece {
                file,
                handle,
                stream,
                start,
            })
        })();
        match opened {
            Ok(piece) => {
                self.piece = Some(piece);
                Ok(())
            }
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
                Err(self.error(file, "the file shrank while it was read"))
            }
            Err(e) => Err(self.error(file, format_args!("cannot open: {e}"))),
        }
    }

    /// The lines of the file before the block of the batch read last.
    fn lines_before(&mut self) -> Option<u64> {
        let (file, start) = self.last?;
        let entry = &self.blocks.files[file];
        if entry.compression != Compression::None {
            return Some(0);
        }
        if self.lines.as_ref().is_none_or(|(of, _)| *of != file) {
            self.lines = Some((file, LineCount::default()));
        }
        let (_, count) = self.lines.as_mut().expect("made above");
        count.up_to(&entry.open().ok()?, start).ok()
    }

    /// The cutter counts lines from the block's start; people count from the file's.
    fn number_lines(&mut self, bad: &mut [BadRecord]) {
        if bad.is_empty() {
            return;
        }
        let (Some(before), Some((file, _))) = (self.lines_before(), self.last) else {
            return;
        };
        let name = self.blocks.files[file].path.to_string_lossy().into_owned();
        for record in bad {
            let message = &mut record.rejected.message;
            let parts = message
                .strip_prefix(&name)
                .and_then(|m| m.strip_prefix(':'))
                .and_then(|m| m.split_once(": "));
            if let Some((line, text)) = parts
                && let Ok(line) = line.parse::<u64>()
            {
                *message = format!("{name}:{}: {text}", before + line);
            }
        }
    }
}

impl PartitionReader for BlockReader {
    fn partition(&self) -> u32 {
        self.partition
    }

    fn name(&self) -> &str {
        &self.name
    }

    /// Records of a split come from blocks all over the files: only where there is but one are they its lines.
    fn counts(&self) -> &'static str {
        if self.blocks.partitions == 1 && self.blocks.files.len() == 1 {
            "line"
        } else {
            "record"
        }
    }

    fn read(&mut self, limits: &BatchLimits) -> Result<Answer, SourceError> {
        loop {
            if self.piece.is_none() {
                let Some(file) = self.blocks.file_of(self.block) else {
                    return Ok(Answer::End);
                };
                self.open(file)?;
            }
            let piece = self.piece.as_mut().expect("opened above");
            let (_, pump) = self.pump.as_mut().expect("opened with the piece");
            let (stream, compression) =
                (&mut piece.stream, self.blocks.files[piece.file].compression);
            let pumped = pump.next(limits, |buffer| {
                fill(buffer, stream.as_mut(), compression, None)
            });
            self.record = pump.cutter.mark().record;
            let file = piece.file;
            match pumped {
                Ok(Pumped::Batch(batch, mut bad)) => {
                    self.last = Some((file, piece.start));
                    self.number_lines(&mut bad);
                    return Ok(Answer::Batch(batch, bad));
                }
                Ok(Pumped::End | Pumped::Wait(_)) => {
                    self.piece = None;
                    self.resume = None;
                    self.block += self.blocks.partitions;
                }
                Err(e) => return Err(self.error(file, format_args!("cannot read on: {e}"))),
            }
        }
    }

    fn locate(&mut self, row: usize, origin: Origin) -> String {
        let before = self.lines_before();
        match (&self.pump, before, self.last) {
            (Some((_, pump)), Some(before), Some((file, _))) => {
                format!(
                    "{}:{}",
                    self.blocks.files[file].path.display(),
                    before + pump.cutter.line_of(row)
                )
            }
            _ => format!("{}:{}", self.name, origin.offset),
        }
    }

    fn position(&self) -> Position {
        let mark = match (&self.piece, &self.pump) {
            (Some(_), Some((_, pump))) => Some(pump.cutter.mark()),
            _ => self.resume,
        };
        let identity = self.piece.as_ref().and_then(|piece| {
            let read = match self.blocks.files[piece.file].compression {
                Compression::None => pump_offset(mark),
                _ => piece.handle.metadata().ok()?.len(),
            };
            Identity::of(&piece.handle, read).ok()
        });
        let saved = Saved {
            cut: self.blocks.fingerprint(),
            block: self.block,
            offset: mark.map(|m| m.offset),
            line: mark.map_or(1, |m| m.line),
            record: self.record,
            identity,
        };
        Position(serde_json::to_value(saved).expect("plain fields become JSON"))
    }

    fn seek(&mut self, position: &Position) -> Result<(), SourceError> {
        let failed = |message: String| SourceError {
            source_name: self.source.clone(),
            message,
        };
        let saved = Saved::deserialize(&position.0)
            .map_err(|e| failed(format!("{}: not a position of split files: {e}", self.name)))?;
        if saved.cut != self.blocks.fingerprint() {
            return Err(failed(format!(
                "{}: the files are not those that were read before: one was added, removed, or changed its size, or \
                 `partitions` changed",
                self.name
            )));
        }
        self.block = saved.block;
        self.record = saved.record;
        self.resume = saved.offset.map(|offset| Mark {
            offset,
            line: saved.line,
            record: saved.record,
        });
        self.piece = None;
        self.pump = None;
        if let (Some(identity), Some(file)) = (saved.identity, self.blocks.file_of(self.block)) {
            let difference = self.blocks.files[file]
                .open()
                .and_then(|f| identity.difference(&f));
            match difference {
                Ok(None) => {}
                Ok(Some(difference)) => {
                    return Err(self.error(
                        file,
                        format_args!("not the file that was read before: {difference}"),
                    ));
                }
                Err(e) => return Err(self.error(file, format_args!("cannot open: {e}"))),
            }
        }
        Ok(())
    }
}

fn pump_offset(mark: Option<Mark>) -> u64 {
    mark.map_or(0, |m| m.offset)
}
