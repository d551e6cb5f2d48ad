//! A folder of part files. Readers see only parts that were published, each whole, by one rename; what is in the
//! making has a hidden name.
//!
//! | when | what happens |
//! |---|---|
//! | open | the folder is made; parts of another run: refused, or (`overwrite`) noted, to go at the first commit |
//! | write | lines go to a hidden part; past `roll` it is closed and the next one begun |
//! | prepare | the open part is closed; all closed ones are on the medium, and named in the answer |
//! | commit | each is renamed; a second time nothing is left to do |
//! | recover | what a checkpoint names is published, later parts are set aside, other leftovers removed |
//!
//! The marker `.wasmill-run` says which run the parts are of. Without checkpoints parts are published when they roll.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::config::plan::FileFormat;
use crate::crash::{self, CrashPoint};
use crate::record::Batch;

use super::encode::{LineFormat, Lines};
use super::folder::{Folder, PartFile};
use super::parts::PartName;
use super::{Sink, SinkError, SinkRun, SinkWriter};

/// Lines are handed to the system in pieces of this: a call costs nothing beside the copying.
const WRITE_BYTES: usize = 256 << 10;

const MARKER: &str = ".wasmill-run";
const MARKER_TMP: &str = ".wasmill-run.tmp";

/// Settings of a file sink.
#[derive(Clone, Copy, Debug)]
pub struct FileSettings {
    /// What a line is.
    pub format: FileFormat,
    /// Roll at so many bytes.
    pub roll_bytes: u64,
    /// Roll after so long, milliseconds.
    pub roll_every_ms: Option<i64>,
    /// Whether parts of another run may be replaced.
    pub overwrite: bool,
}

/// Content of the marker. Must stay readable.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Marker {
    run: String,
    /// Parts of another run, to be removed at the first commit of this one.
    replaces: Vec<String>,
}

struct Shared {
    sink: String,
    path: PathBuf,
    folder: Arc<dyn Folder>,
    settings: FileSettings,
    run: SinkRun,
    /// Parts of another run that are still there.
    replaces: Mutex<Vec<String>>,
    /// In the names of hidden parts: no other start of a process has it.
    start: String,
}

/// The folder, for one run.
pub struct FileSink {
    shared: Arc<Shared>,
}

impl Shared {
    fn error(&self, what: &str, name: &str, e: &std::io::Error) -> SinkError {
        let path = if name.is_empty() {
            self.path.clone()
        } else {
            self.path.join(name)
        };
        let full = match e.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                "; the disk is full"
            }
            _ => "",
        };
        SinkError::new(
            &self.sink,
            format!(
                "cannot {what} {}: {e}{full}; parts published before are whole",
                path.display()
            ),
        )
    }

    fn write_marker(&self, replaces: &[String]) -> Result<(), SinkError> {
        let marker = Marker {
            run: self.run.id.clone(),
            replaces: replaces.to_vec(),
        };
        let bytes = serde_json::to_vec(&marker).expect("plain fields become JSON");
        let written = (|| {
            let mut file = self.folder.create(MARKER_TMP)?;
            file.write_all(&bytes)?;
            file.sync()?;
            self.folder.rename(MARKER_TMP, MARKER)?;
            self.folder.sync()
        })();
        written.map_err(|e| self.error("write", MARKER, &e))
    }

    fn list(&self) -> Result<Vec<String>, SinkError> {
        self.folder
            .list()
            .map_err(|e| self.error("look into", "", &e))
    }

    fn remove(&self, name: &str) -> Result<(), SinkError> {
        self.folder
            .remove(name)
            .map_err(|e| self.error("remove", name, &e))
    }

    /// Removes the parts of another run that `overwrite` allows to replace; they stood until now.
    fn replace_others(&self) -> Result<(), SinkError> {
        let mut replaces = self.replaces.lock();
        if replaces.is_empty() {
            return Ok(());
        }
        for name in replaces.iter() {
            self.remove(name)?;
        }
        self.write_marker(&[])?;
        replaces.clear();
        Ok(())
    }

    /// Makes parts visible. Those that are already are passed over.
    fn publish(&self, parts: &[PartName], start: &str) -> Result<(), SinkError> {
        self.replace_others()?;
        for part in parts {
            let (hidden, published) = (part.hidden(start), part.published());
            match self.folder.rename(&hidden, &published) {
                Ok(()) => crash::at(CrashPoint::PartPublished),
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                    let there = self
                        .folder
                        .exists(&published)
                        .map_err(|e| self.error("look for", &published, &e))?;
                    if !there {
                        return Err(SinkError::new(
                            &self.sink,
                            format!(
                                "{} is lost: neither it nor {hidden} is there, though it was prepared",
                                self.path.join(published).display()
                            ),
                        ));
                    }
                }
                Err(e) => return Err(self.error("publish", &published, &e)),
            }
        }
        if parts.is_empty() {
            return Ok(());
        }
        self.folder.sync().map_err(|e| self.error("sync", "", &e))
    }
}

impl FileSink {
    /// Looks at the folder, and takes it for this run.
    pub fn open(
        sink: &str,
        path: &Path,
        folder: Arc<dyn Folder>,
        settings: FileSettings,
        run: &SinkRun,
    ) -> Result<FileSink, SinkError> {
        let shared = Shared {
            sink: sink.to_string(),
            path: path.to_path_buf(),
            folder,
            settings,
            run: run.clone(),
            replaces: Mutex::new(Vec::new()),
            start: start_id(),
        };
        shared
            .folder
            .make()
            .map_err(|e| shared.error("make the folder", "", &e))?;
        let bytes = shared
            .folder
            .read(MARKER)
            .map_err(|e| shared.error("read", MARKER, &e))?;
        let marker: Option<Marker> = bytes.and_then(|b| serde_json::from_slice(&b).ok());
        match marker {
            Some(marker) if marker.run == run.id => *shared.replaces.lock() = marker.replaces,
            _ => {
                let names = shared.list()?;
                let parts: Vec<String> = names
                    .iter()
                    .filter(|n| PartName::parse(n).is_some())
                    .cloned()
                    .collect();
                if !parts.is_empty() && !settings.overwrite {
                    return Err(SinkError::new(
                        sink,
                        format!(
                            "{} holds {} parts of another run ({} …): name another folder, remove them, or set overwrite = true",
                            path.display(),
                            parts.len(),
                            parts[0]
                        ),
                    ));
                }
                shared.write_marker(&parts)?;
                for name in names.iter().filter(|n| PartName::is_hidden(n)) {
                    shared.remove(name)?;
                }
                *shared.replaces.lock() = parts;
            }
        }
        Ok(FileSink {
            shared: Arc::new(shared),
        })
    }
}

impl Sink for FileSink {
    fn recover(&self, epoch: u64, prepared: &[serde_json::Value]) -> Result<(), SinkError> {
        let shared = &self.shared;
        for value in prepared {
            let (parts, start) = parts_of(shared, value)?;
            shared.publish(&parts, &start)?;
        }
        let replaces = shared.replaces.lock().clone();
        for name in shared.list()? {
            if PartName::is_hidden(&name) {
                shared.remove(&name)?;
            } else if PartName::parse(&name).is_some_and(|part| part.epoch > epoch)
                && !replaces.contains(&name)
            {
                // Of an epoch after the one that the run goes on from: its records will come again.
                let aside = format!(".superseded-{name}");
                shared
                    .folder
                    .rename(&name, &aside)
                    .map_err(|e| shared.error("set aside", &name, &e))?;
                crash::at(CrashPoint::PartSetAside);
            }
        }
        Ok(())
    }

    fn publish_left(&self, prepared: &[serde_json::Value]) -> Result<(), SinkError> {
        let shared = &self.shared;
        let names = shared.list()?;
        for value in prepared {
            let (mut parts, start) = parts_of(shared, value)?;
            parts.retain(|part| names.contains(&part.hidden(&start)));
            shared.publish(&parts, &start)?;
        }
        Ok(())
    }

    fn writer(&self, task: usize) -> Result<Box<dyn SinkWriter>, SinkError> {
        Ok(Box::new(FileWriter {
            shared: self.shared.clone(),
            task,
            epoch: self.shared.run.first_epoch,
            seq: 0,
            lines: Lines::new(match self.shared.settings.format {
                FileFormat::Json => LineFormat::Envelope,
                FileFormat::Value => LineFormat::Value,
            }),
            open: None,
            closed: Vec::new(),
        }))
    }
}

/// What no other start of a process has.
fn start_id() -> String {
    let random =
        std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), std::process::id());
    format!("{:08x}", random as u32)
}

/// Answer of `prepare`. Stored in manifests: must stay readable.
#[derive(Serialize, Deserialize)]
struct Prepared {
    /// (epoch, task, seq) of each part.
    parts: Vec<(u64, usize, u64)>,
    /// The start of the process that wrote them.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    start: String,
}

/// Parts, and whose start of a process wrote them.
fn parts_of(
    shared: &Shared,
    prepared: &serde_json::Value,
) -> Result<(Vec<PartName>, String), SinkError> {
    let prepared = Prepared::deserialize(prepared)
        .map_err(|e| SinkError::new(&shared.sink, format!("not what a file sink prepared: {e}")))?;
    let part = |(epoch, task, seq)| PartName { epoch, task, seq };
    let parts = prepared.parts.into_iter().map(part).collect();
    Ok((parts, prepared.start))
}

struct OpenPart {
    name: PartName,
    file: Box<dyn PartFile>,
    bytes: u64,
    /// When time was first told after it was opened.
    since: Option<i64>,
}

struct FileWriter {
    shared: Arc<Shared>,
    task: usize,
    epoch: u64,
    seq: u64,
    lines: Lines,
    open: Option<OpenPart>,
    /// Whole and on the medium, not yet published.
    closed: Vec<PartName>,
}

impl FileWriter {
    /// Writes the first so many bytes of the encoded lines to the open part (opened if there is none).
    fn hand_over(&mut self, bytes: usize) -> Result<(), SinkError> {
        if bytes == 0 {
            return Ok(());
        }
        let part = match &mut self.open {
            Some(part) => part,
            none => {
                let name = PartName {
                    epoch: self.epoch,
                    task: self.task,
                    seq: self.seq,
                };
                let hidden = name.hidden(&self.shared.start);
                let file = self
                    .shared
                    .folder
                    .create_large(&hidden)
                    .map_err(|e| self.shared.error("create", &hidden, &e))?;
                crash::at(CrashPoint::PartCreated);
                self.seq += 1;
                none.insert(OpenPart {
                    name,
                    file,
                    bytes: 0,
                    since: None,
                })
            }
        };
        part.file
            .write_all(&self.lines.bytes()[..bytes])
            .map_err(|e| {
                self.shared
                    .error("write", &part.name.hidden(&self.shared.start), &e)
            })?;
        part.bytes += bytes as u64;
        self.lines.consume(bytes);
        Ok(())
    }

    fn close(&mut self) -> Result<(), SinkError> {
        let Some(mut part) = self.open.take() else {
            return Ok(());
        };
        crash::at(CrashPoint::PartWritten);
        part.file.sync().map_err(|e| {
            self.shared
                .error("write", &part.name.hidden(&self.shared.start), &e)
        })?;
        crash::at(CrashPoint::PartSynced);
        if self.shared.run.checkpoints {
            self.closed.push(part.name);
            return Ok(());
        }
        self.shared.publish(&[part.name], &self.shared.start)
    }

    /// Hands over full pieces, and closes parts where they pass the limit; a part holds whole lines.
    fn hand_over_full(&mut self) -> Result<(), SinkError> {
        loop {
            let written = self.open.as_ref().map_or(0, |p| p.bytes);
            let room = self.shared.settings.roll_bytes.saturating_sub(written);
            match self.lines.end_of_line_from(room) {
                Some(end) => {
                    self.hand_over(end)?;
                    self.close()?;
                }
                None if self.lines.bytes().len() >= WRITE_BYTES => {
                    return self.hand_over(self.lines.bytes().len());
                }
                None => return Ok(()),
            }
        }
    }
}

impl SinkWriter for FileWriter {
    fn write(&mut self, batch: Batch) -> Result<(), SinkError> {
        self.lines.push(batch);
        self.hand_over_full()
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        self.hand_over(self.lines.bytes().len())
    }

    fn prepare(&mut self, epoch: u64) -> Result<serde_json::Value, SinkError> {
        self.flush()?;
        self.close()?;
        let closed = std::mem::take(&mut self.closed);
        if !closed.is_empty() {
            self.shared
                .folder
                .sync()
                .map_err(|e| self.shared.error("sync", "", &e))?;
        }
        crash::at(CrashPoint::PartsPrepared);
        if self.shared.run.checkpoints {
            self.epoch = epoch + 1;
            self.seq = 0;
        }
        let prepared = Prepared {
            parts: closed.iter().map(|p| (p.epoch, p.task, p.seq)).collect(),
            start: self.shared.start.clone(),
        };
        Ok(serde_json::to_value(prepared).expect("plain fields become JSON"))
    }

    fn commit(&mut self, _epoch: u64, prepared: &serde_json::Value) -> Result<(), SinkError> {
        let (parts, start) = parts_of(&self.shared, prepared)?;
        self.shared.publish(&parts, &start)
    }

    fn on_time(&mut self, now: i64) -> Result<(), SinkError> {
        let (Some(every), Some(part)) = (self.shared.settings.roll_every_ms, &mut self.open) else {
            return Ok(());
        };
        let since = *part.since.get_or_insert(now);
        if now.saturating_sub(since) >= every {
            self.flush()?;
            self.close()?;
        }
        Ok(())
    }
}

impl Drop for FileWriter {
    fn drop(&mut self) {
        // The job ended before this part was whole: nobody will ever read it. A failure leaves a hidden
        // file, which the next run removes.
        if let Some(part) = self.open.take() {
            let _ = self
                .shared
                .folder
                .remove(&part.name.hidden(&self.shared.start));
        }
    }
}
