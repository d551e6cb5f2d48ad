//! The store of one step in one task: runs, newest last, and which names are gone as a whole.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::path::PathBuf;
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use super::SpillError;
use super::merge::{Merged, to_merge};
use super::run::{ReadBlock, Run, RunWriter};
use super::scratch::Scratch;

/// An entry that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: Vec<u8>,
    /// Its bytes.
    pub value: Vec<u8>,
}

/// Spilled entries of a step in a task.
#[derive(Debug)]
pub struct Vault {
    scratch: Arc<Scratch>,
    step: String,
    task: usize,
    /// Where its files are, once there are any.
    folder: Option<PathBuf>,
    /// Newest last.
    runs: Vec<Run>,
    read: Vec<ReadBlock>,
    files: u64,
    /// Prefixes whose names are gone, while some run may still hold them.
    forgotten: BTreeSet<Vec<u8>>,
    /// All names before this are gone.
    floor: Vec<u8>,
    /// Runs stay as they are for now, however many there are.
    defers: bool,
}

/// Entries on their way into a vault, in order of their names.
#[derive(Debug)]
pub struct Eviction {
    writer: RunWriter,
}

impl Eviction {
    /// Puts an entry in.
    pub fn set(&mut self, name: &[u8], value: &[u8]) -> Result<(), SpillError> {
        self.writer.push(name, Some(value))
    }

    /// Takes an entry out.
    pub fn delete(&mut self, name: &[u8]) -> Result<(), SpillError> {
        self.writer.push(name, None)
    }
}

impl Vault {
    /// An empty one; its folder is made when something is spilled.
    pub fn new(scratch: Arc<Scratch>, step: &str, task: usize) -> Vault {
        Vault {
            scratch,
            step: step.to_owned(),
            task,
            folder: None,
            runs: Vec::new(),
            read: Vec::new(),
            files: 0,
            forgotten: BTreeSet::new(),
            floor: Vec::new(),
            defers: false,
        }
    }

    /// Another empty one, for the same step.
    pub fn sibling(&self) -> Vault {
        Vault::new(Arc::clone(&self.scratch), &self.step, self.task)
    }

    /// Refuses a value that is larger than what a step may keep of one key.
    pub fn check_value(&self, key: Option<&[u8]>, bytes: usize) -> Result<(), SpillError> {
        let bytes_max = self.scratch.value_bytes_max();
        if bytes as u64 <= bytes_max {
            return Ok(());
        }
        let key = key.unwrap_or_default();
        Err(SpillError::ValueTooLarge {
            key: crate::record::shown_key(key).into_owned(),
            bytes: bytes as u64,
            bytes_max,
        })
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Bytes on disk.
    pub fn disk_bytes(&self) -> u64 {
        self.runs.iter().map(Run::bytes).sum()
    }

    /// Bytes of memory that finding entries takes.
    pub fn memory(&self) -> usize {
        self.runs.iter().map(Run::memory).sum::<usize>() + self.read.len() * 8192
    }

    /// How many runs.
    #[cfg(test)]
    pub fn runs(&self) -> usize {
        self.runs.len()
    }

    fn new_file(&mut self, entries_max: usize) -> Result<RunWriter, SpillError> {
        let folder = match &self.folder {
            Some(folder) => folder,
            None => self
                .folder
                .insert(self.scratch.folder(&self.step, self.task)?),
        };
        self.files += 1;
        let path = folder.join(self.files.to_string());
        RunWriter::create(&path, entries_max, self.files)
    }

    /// Begins to take in at most so many entries; `admit` ends it.
    pub fn evict(&mut self, entries_max: usize) -> Result<Eviction, SpillError> {
        Ok(Eviction {
            writer: self.new_file(entries_max)?,
        })
    }

    /// Takes in what was evicted; merges runs where that pays.
    pub fn admit(&mut self, eviction: Eviction) -> Result<(), SpillError> {
        let Some(run) = eviction.writer.finish()? else {
            return Ok(());
        };
        self.runs.push(run);
        if self.defers {
            self.read.push(ReadBlock::default());
            return Ok(());
        }
        self.merge_where_it_pays()
    }

    /// While much is taken in and nothing looked up, merging can wait: done once at the end (`merge_deferred`), each entry
    /// is rewritten once.
    pub fn defer_merges(&mut self, defers: bool) {
        self.defers = defers;
    }

    /// Makes up for merges that were put off.
    pub fn merge_deferred(&mut self) -> Result<(), SpillError> {
        self.defers = false;
        self.merge_where_it_pays()
    }

    fn merge_where_it_pays(&mut self) -> Result<(), SpillError> {
        let bytes: Vec<u64> = self.runs.iter().map(Run::bytes).collect();
        if let Some(from) = to_merge(&bytes) {
            self.merge(from, self.runs.len())?;
        }
        self.read.resize_with(self.runs.len(), ReadBlock::default);
        self.read.fill_with(ReadBlock::default);
        Ok(())
    }

    /// Makes one run of `from..until`, without what is gone.
    fn merge(&mut self, from: usize, until: usize) -> Result<(), SpillError> {
        let runs = &self.runs[from..until];
        let entries = runs.iter().map(|r| r.entries).sum();
        let born = runs.iter().map(|r| r.born).max().unwrap_or(0);
        let mut writer = self.new_file(entries)?;
        writer.set_born(born);
        let runs = &self.runs[from..until];
        let (mut all, mut more) = Merged::new(runs.iter(), &[])?;
        while more {
            // Behind the oldest run there is nothing that a deletion could hide.
            if (all.value().is_some() || from > 0) && !self.is_forgotten(all.name()) {
                writer.push(all.name(), all.value())?;
            }
            more = all.next()?;
        }
        drop(all);
        self.runs.splice(from..until, writer.finish()?);
        self.tidy_forgotten();
        Ok(())
    }

    fn is_forgotten(&self, name: &[u8]) -> bool {
        name < self.floor.as_slice()
            || !self.forgotten.is_empty()
                && self
                    .forgotten
                    .range::<[u8], _>((Bound::Unbounded, Bound::Included(name)))
                    .next_back()
                    .is_some_and(|prefix| name.starts_with(prefix))
    }

    /// Prefixes that no run holds any more need not be remembered.
    fn tidy_forgotten(&mut self) {
        let runs = &self.runs;
        self.forgotten.retain(|prefix| {
            let end = after(prefix);
            runs.iter().any(|run| !run.is_apart(prefix, &end))
        });
    }

    /// All names that begin like this are gone, and will not come again. Frees their space sooner or later: at once
    /// where a run holds little else. No prefix may begin with another.
    pub fn forget(&mut self, prefix: &[u8]) -> Result<(), SpillError> {
        let end = after(prefix);
        if self.runs.iter().all(|run| run.is_apart(prefix, &end)) {
            return Ok(());
        }
        self.forgotten.insert(prefix.to_vec());
        for run in &mut self.runs {
            if !run.is_apart(prefix, &end) {
                run.dead_bytes += run.bytes_within(prefix, &end);
            }
        }
        let mut at = 0;
        while at < self.runs.len() {
            let run = &self.runs[at];
            let before = self.runs.len();
            if run.dead_bytes * 2 > run.bytes() {
                self.merge(at, at + 1)?;
            }
            at += usize::from(self.runs.len() == before);
        }
        self.read.clear();
        self.read.resize_with(self.runs.len(), ReadBlock::default);
        self.tidy_forgotten();
        Ok(())
    }

    /// All names before `floor` are gone, and will not come again. Frees their space sooner or later.
    pub fn raise_floor(&mut self, floor: &[u8]) -> Result<(), SpillError> {
        if floor <= self.floor.as_slice() {
            return Ok(());
        }
        self.floor = floor.to_vec();
        let mut at = 0;
        while at < self.runs.len() {
            let (run, before) = (&self.runs[at], self.runs.len());
            if run.bytes_within(&[], floor) * 2 > run.bytes() {
                self.merge(at, at + 1)?;
            }
            at += usize::from(self.runs.len() == before);
        }
        self.read.clear();
        self.read.resize_with(self.runs.len(), ReadBlock::default);
        Ok(())
    }

    /// Looks names up, which come in ascending order; `found` hears of those that are here: (their place, value).
    pub fn get_many<'n>(
        &mut self,
        names: impl Iterator<Item = &'n [u8]>,
        mut found: impl FnMut(usize, &[u8]),
    ) -> Result<(), SpillError> {
        for (i, name) in names.enumerate() {
            if self.is_forgotten(name) {
                continue;
            }
            let hash = xxh3_64(name);
            for (run, block) in self.runs.iter().zip(&mut self.read).rev() {
                if let Some(word) = run.get(name, hash, block)? {
                    if let Some(value) = word {
                        found(i, value);
                    }
                    break;
                }
            }
        }
        Ok(())
    }

    /// Where the vault stands: what is taken in later is younger than this.
    pub fn age(&self) -> u64 {
        self.files
    }

    /// Entries whose names begin with `prefix` and come after `after` (all, if none), in order, until they take
    /// `bytes_max`. Whether more may follow.
    pub fn scan(
        &self,
        prefix: &[u8],
        behind: Option<&[u8]>,
        bytes_max: usize,
    ) -> Result<(Vec<Entry>, bool), SpillError> {
        self.scan_since(0, prefix, behind, bytes_max)
    }

    /// The same, for entries that were taken in since the vault was of that age; and maybe older ones that were
    /// merged with them.
    pub fn scan_since(
        &self,
        age: u64,
        prefix: &[u8],
        behind: Option<&[u8]>,
        bytes_max: usize,
    ) -> Result<(Vec<Entry>, bool), SpillError> {
        let mut from = behind.unwrap_or(prefix).to_vec();
        if behind.is_some() {
            from.push(0);
        }
        if from < self.floor {
            from.clone_from(&self.floor);
        }
        let end = after(prefix);
        let young = self.runs.iter().filter(|run| run.born > age);
        let within = young.filter(|run| !run.is_apart(&from, &end));
        let (mut all, mut more) = Merged::new(within, &from)?;
        let (mut entries, mut bytes) = (Vec::new(), 0);
        while more && all.name().starts_with(prefix) {
            if let Some(value) = all.value()
                && !self.is_forgotten(all.name())
            {
                if bytes >= bytes_max {
                    return Ok((entries, true));
                }
                bytes += all.name().len() + value.len();
                entries.push(Entry {
                    name: all.name().to_vec(),
                    value: value.to_vec(),
                });
            }
            more = all.next()?;
        }
        Ok((entries, false))
    }
}

/// The first name behind all that begin with a prefix. A prefix of nothing but 0xff has none: a name that long is not
/// used.
fn after(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < 0xff {
            end.push(last + 1);
            return end;
        }
    }
    vec![0xff; prefix.len() + 64]
}
