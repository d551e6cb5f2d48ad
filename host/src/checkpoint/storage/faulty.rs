//! A folder that fails when told to, and that forgets on a power cut what was not synced: for tests.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::sink::folder::{Folder, PartFile};

/// What goes wrong at the chosen operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is not done, and says so.
    Refused,
    /// It is done, and says that it was not.
    DoneAllTheSame,
    /// The disk is full: half of a write is done.
    Full,
    /// The power goes: nothing works from here on.
    PowerCut,
}

#[derive(Debug, Default)]
struct Content {
    bytes: Vec<u8>,
    synced: usize,
}

type Files = BTreeMap<String, Arc<Mutex<Content>>>;

#[derive(Debug, Default)]
struct State {
    files: Files,
    /// Names as they were at the last sync of the folder.
    lasting: Files,
    /// Operations until it fails, and for how many from then on.
    plan: Option<(u64, u64, Fault)>,
    done: u64,
}

/// The folder.
#[derive(Clone, Debug, Default)]
pub struct FaultyFolder(Arc<Mutex<State>>);

impl FaultyFolder {
    /// From the n-th operation from now on (the first is 0), so many fail.
    pub fn fail(&self, from: u64, times: u64, fault: Fault) {
        let mut state = self.0.lock();
        state.plan = Some((state.done + from, times, fault));
    }

    /// Operations so far.
    pub fn done(&self) -> u64 {
        self.0.lock().done
    }

    /// What a new process finds after the power came back. `torn`: of bytes not synced half is there, else nothing.
    pub fn after_power_cut(&self, torn: bool) -> FaultyFolder {
        let state = self.0.lock();
        let keep = |(name, content): (&String, &Arc<Mutex<Content>>)| {
            let content = content.lock();
            let unsynced = content.bytes.len() - content.synced;
            let kept = content.synced + if torn { unsynced / 2 } else { 0 };
            let content = Content {
                bytes: content.bytes[..kept].to_vec(),
                synced: kept,
            };
            (name.clone(), Arc::new(Mutex::new(content)))
        };
        // Names that were not synced may be there or not.
        let names = if torn { &state.files } else { &state.lasting };
        let files: Files = names.iter().map(keep).collect();
        FaultyFolder(Arc::new(Mutex::new(State {
            lasting: files.clone(),
            files,
            ..State::default()
        })))
    }

    /// Does an operation, unless it is one that fails.
    fn step<T>(&self, act: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.0.lock();
        let now = state.done;
        state.done += 1;
        let fault = match state.plan {
            Some((from, _, Fault::PowerCut)) if now >= from => Some(Fault::PowerCut),
            Some((from, times, fault)) if (from..from + times).contains(&now) => Some(fault),
            _ => None,
        };
        match fault {
            None => act(&mut state),
            Some(Fault::DoneAllTheSame) => {
                let _ = act(&mut state);
                Err(io::Error::other("no answer"))
            }
            Some(Fault::Full) => Err(io::ErrorKind::StorageFull.into()),
            Some(Fault::Refused | Fault::PowerCut) => Err(io::Error::other("refused")),
        }
    }
}

struct FaultyFile {
    folder: FaultyFolder,
    content: Arc<Mutex<Content>>,
}

impl Write for FaultyFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let content = Arc::clone(&self.content);
        let written = self.folder.step(|_| {
            content.lock().bytes.extend_from_slice(bytes);
            Ok(bytes.len())
        });
        if matches!(&written, Err(e) if e.kind() == io::ErrorKind::StorageFull) {
            self.content
                .lock()
                .bytes
                .extend_from_slice(&bytes[..bytes.len() / 2]);
        }
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl PartFile for FaultyFile {
    fn sync(&mut self) -> io::Result<()> {
        let content = Arc::clone(&self.content);
        self.folder.step(|_| {
            let mut content = content.lock();
            content.synced = content.bytes.len();
            Ok(())
        })
    }
}

impl Folder for FaultyFolder {
    fn make(&self) -> io::Result<()> {
        Ok(())
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.step(|state| Ok(state.files.keys().rev().cloned().collect()))
    }

    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        self.step(|state| Ok(state.files.get(name).map(|c| c.lock().bytes.clone())))
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn PartFile>> {
        let content: Arc<Mutex<Content>> = Arc::default();
        self.step(|state| {
            state.files.insert(name.to_owned(), Arc::clone(&content));
            Ok(())
        })?;
        Ok(Box::new(FaultyFile {
            folder: self.clone(),
            content,
        }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.step(|state| {
            let content = state.files.remove(from).ok_or(io::ErrorKind::NotFound)?;
            state.files.insert(to.to_owned(), content);
            Ok(())
        })
    }

    fn exists(&self, name: &str) -> io::Result<bool> {
        self.step(|state| Ok(state.files.contains_key(name)))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.step(|state| {
            state.files.remove(name);
            Ok(())
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.step(|state| {
            state.lasting = state.files.clone();
            Ok(())
        })
    }
}
