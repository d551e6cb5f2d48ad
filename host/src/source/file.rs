//! Files of a glob, in the order of their paths.
//!
//! Each file is a partition; its number is its place in the order of discovery (after a restore: the
//! one it had before). With `partitions`, blocks of the files are dealt instead. Hidden files are not seen, so writers can prepare files under hidden names.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::plan::{FormatSpec, SourceConnector, SourcePlan};
use crate::reach::Reach;
use crate::record::NodeIndex;

use super::block_reader::BlockReader;
use super::blocks::{BLOCK_BYTES, Blocks};
use super::cut::{Cutter, OriginUnit, Place};
use super::file_reader::{self, FileReader};
use super::{PartitionReader, Position, Source, SourceError};

/// Checks a glob.
pub fn check_pattern(pattern: &str) -> Result<(), String> {
    glob::Pattern::new(pattern)
        .map(|_| ())
        .map_err(|e| format!("not a glob: {e} (at byte {})", e.pos))
}

/// Files that one glob may find: each costs a path, and is a partition with a position in every checkpoint.
const FILES_MAX: usize = 1_000_000;

/// The files that a glob finds now, in path order.
pub fn find(pattern: &str) -> Result<Vec<PathBuf>, String> {
    find_at_most(pattern, FILES_MAX)
}

/// The same with another bound.
pub(super) fn find_at_most(pattern: &str, files_max: usize) -> Result<Vec<PathBuf>, String> {
    let options = glob::MatchOptions {
        require_literal_leading_dot: true,
        require_literal_separator: true,
        ..Default::default()
    };
    let mut found = Vec::new();
    for path in glob::glob_with(pattern, options).map_err(|e| format!("not a glob: {e}"))? {
        let path =
            path.map_err(|e| format!("cannot look into {}: {}", e.path().display(), e.error()))?;
        if path.is_file() {
            if found.len() == files_max {
                return Err(format!(
                    "more than {files_max} files match {pattern}: name fewer, or put them together"
                ));
            }
            found.push(path);
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// A cutter for a format.
pub fn cutter(format: &FormatSpec, place: Place, unit: OriginUnit) -> Box<dyn Cutter> {
    match format {
        FormatSpec::Lines => Box::new(super::lines::LineCutter::new(place, unit, false)),
        FormatSpec::Json => Box::new(super::lines::LineCutter::new(place, unit, true)),
        FormatSpec::Csv(spec) => Box::new(super::rows::CsvCutter::new(spec, place, unit)),
        FormatSpec::Bytes => Box::new(super::whole::WholeCutter::new(place)),
    }
}

/// Files as partitions.
pub struct FileSource {
    name: String,
    index: NodeIndex,
    format: FormatSpec,
    pattern: String,
    watch_ms: Option<u64>,
    partitions: Option<usize>,
    reach: Reach,
    block_bytes: u64,
    notes: Vec<String>,
    numbers: HashMap<PathBuf, u32>,
    next_number: u32,
    /// Files that were partitions before a restart and must be found again.
    expected: Vec<PathBuf>,
    looked: bool,
}

impl FileSource {
    /// The source of a plan.
    ///
    /// # Panics
    /// If the plan's connector is not `File`.
    pub fn new(plan: &SourcePlan, index: NodeIndex) -> FileSource {
        let SourceConnector::File {
            pattern,
            watch_ms,
            partitions,
            reach,
        } = &plan.connector
        else {
            panic!("asked for files with another connector")
        };
        FileSource {
            name: plan.name.clone(),
            index,
            format: plan.format.clone(),
            pattern: pattern.clone(),
            watch_ms: watch_ms.map(|ms| ms.max(1) as u64),
            partitions: *partitions,
            reach: reach.clone(),
            block_bytes: BLOCK_BYTES,
            notes: Vec::new(),
            numbers: HashMap::new(),
            next_number: 0,
            expected: Vec::new(),
            looked: false,
        }
    }

    /// Another size of blocks, for tests.
    pub fn with_block_bytes(mut self, bytes: u64) -> FileSource {
        self.block_bytes = bytes.max(1);
        self
    }

    /// The partitions of files that are cut into blocks.
    fn split(&mut self, partitions: usize) -> Result<Vec<Box<dyn PartitionReader>>, SourceError> {
        self.looked = true;
        let paths = find(&self.pattern).map_err(|e| self.error(e))?;
        if paths.is_empty() {
            return Err(self.error(format!("no file matches {}", self.pattern)));
        }
        let blocks = Blocks::of(
            paths,
            &self.format,
            partitions.max(1) as u64,
            self.block_bytes,
            &self.reach,
        )
        .map_err(|e| self.error(format!("cannot look at the files of {}: {e}", self.pattern)))?;
        self.notes = blocks.notes();
        let blocks = Arc::new(blocks);
        let reader = |p| -> Box<dyn PartitionReader> {
            let blocks = blocks.clone();
            Box::new(BlockReader::new(
                &self.name,
                self.index,
                p,
                &self.pattern,
                &self.format,
                blocks,
            ))
        };
        Ok((0..partitions.max(1) as u32).map(reader).collect())
    }

    fn error(&self, message: String) -> SourceError {
        SourceError {
            source_name: self.name.clone(),
            message,
        }
    }

    fn reader(&self, path: PathBuf, number: u32) -> Box<dyn PartitionReader> {
        let place = file_reader::place(self.index, number, &path);
        let cutter = cutter(&self.format, place.clone(), OriginUnit::Line);
        // A whole file is one record: it is taken as it is when it is first seen.
        let watch_ms = self.watch_ms.filter(|_| self.format != FormatSpec::Bytes);
        Box::new(FileReader::new(
            &self.name,
            place,
            path,
            self.reach.clone(),
            watch_ms,
            cutter,
        ))
    }
}

impl Source for FileSource {
    fn discover(&mut self) -> Result<Vec<Box<dyn PartitionReader>>, SourceError> {
        if self.looked && self.watch_ms.is_none() {
            return Ok(Vec::new());
        }
        if let Some(partitions) = self.partitions {
            return self.split(partitions);
        }
        let mut readers = Vec::new();
        // Files that a checkpoint names are partitions even when they are gone: their reader says so.
        for path in std::mem::take(&mut self.expected) {
            let number = self.numbers[&path];
            readers.push(self.reader(path, number));
        }
        for path in find(&self.pattern).map_err(|e| self.error(e))? {
            if self.numbers.contains_key(&path) {
                continue;
            }
            let number = self.next_number;
            self.next_number += 1;
            self.numbers.insert(path.clone(), number);
            readers.push(self.reader(path, number));
        }
        if !self.looked && readers.is_empty() && self.watch_ms.is_none() {
            return Err(self.error(format!("no file matches {}", self.pattern)));
        }
        self.looked = true;
        readers.sort_by_key(|r| r.partition());
        Ok(readers)
    }

    fn discover_again_ms(&self) -> Option<u64> {
        self.watch_ms
    }

    fn notes(&self) -> Vec<String> {
        self.notes.clone()
    }

    fn restore(&mut self, known: &[(u32, Position)]) -> Result<(), SourceError> {
        if self.partitions.is_some() {
            return Ok(());
        }
        for (number, position) in known {
            let path = file_reader::path_of(position).ok_or_else(|| {
                self.error(format!(
                    "partition {number} of the checkpoint is not that of a file"
                ))
            })?;
            let path = Path::new(path).to_path_buf();
            self.numbers.insert(path.clone(), *number);
            self.next_number = self.next_number.max(number + 1);
            self.expected.push(path);
        }
        Ok(())
    }
}
