//! A folder that was opened once, beneath one that the operator lets jobs write: whatever becomes of its path
//! afterwards, parts go to that folder, and no link in it leads a part elsewhere.

use std::fs::File;
use std::io::{self, Error, ErrorKind, Read as _, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use cap_std::fs::Dir;
use rustix::fs::{RenameFlags, renameat_with};

use super::direct::{DirectFile, spares};
use super::folder::{Folder, PartFile};
use crate::reach::Reach;
use crate::room::Room;

/// Bytes of a file that is read whole: the marker.
const READ_BYTES_MAX: u64 = 16 << 20;

/// The folder at a path within reach.
pub struct ConfinedFolder {
    path: PathBuf,
    reach: Reach,
    dir: OnceLock<Dir>,
    spares: Arc<Room>,
}

impl ConfinedFolder {
    /// Nothing is opened before `make`.
    pub fn new(path: &Path, reach: Reach) -> ConfinedFolder {
        ConfinedFolder {
            path: path.to_path_buf(),
            reach,
            dir: OnceLock::new(),
            spares: spares(),
        }
    }

    fn dir(&self) -> io::Result<&Dir> {
        if let Some(dir) = self.dir.get() {
            return Ok(dir);
        }
        let unbounded = || Error::new(ErrorKind::Unsupported, "paths are not bounded here");
        let dir = self.reach.folder(&self.path)?.ok_or_else(unbounded)?;
        Ok(self.dir.get_or_init(|| dir))
    }
}

/// A part in it.
struct ConfinedFile(File);

impl Write for ConfinedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl PartFile for ConfinedFile {
    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_all()
    }
}

impl Folder for ConfinedFolder {
    fn make(&self) -> io::Result<()> {
        self.dir().map(|_| ())
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in self.dir()?.entries()? {
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        match self.dir()?.open(name) {
            Ok(file) => {
                let mut bytes = Vec::new();
                file.take(READ_BYTES_MAX).read_to_end(&mut bytes)?;
                Ok(Some(bytes))
            }
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn PartFile>> {
        let file = self.dir()?.create(name)?.into_std();
        Ok(Box::new(ConfinedFile(file)))
    }

    fn create_large(&self, name: &str) -> io::Result<Box<dyn PartFile>> {
        let file = self.dir()?.create(name)?.into_std();
        Ok(Box::new(DirectFile::on(file, &self.spares)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let dir = self.dir()?;
        dir.rename(from, dir, to)
    }

    fn rename_new(&self, from: &str, to: &str) -> io::Result<()> {
        use rustix::io::Errno;
        let dir = self.dir()?;
        match renameat_with(dir, from, dir, to, RenameFlags::NOREPLACE) {
            Ok(()) => Ok(()),
            Err(Errno::INVAL | Errno::NOSYS) => {
                if dir.try_exists(to)? {
                    return Err(ErrorKind::AlreadyExists.into());
                }
                dir.rename(from, dir, to)
            }
            Err(e) => Err(e.into()),
        }
    }

    fn exists(&self, name: &str) -> io::Result<bool> {
        self.dir()?.try_exists(name)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        match self.dir()?.remove_file(name) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }

    fn sync(&self) -> io::Result<()> {
        self.dir()?.open(".")?.sync_all()
    }
}
