//! A folder that parts are written to, as a trait: so that tests can break it where they like.

use std::fs::{self, File};
use std::io::{self, Read as _, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::direct::{DirectFile, spares};
use crate::room::Room;

/// A file being written.
pub trait PartFile: Write + Send {
    /// Waits until its bytes are on the medium.
    fn sync(&mut self) -> io::Result<()>;
}

/// Files by name. All methods may be called from several tasks.
pub trait Folder: Send + Sync {
    /// Makes the folder, if there is none.
    fn make(&self) -> io::Result<()>;
    /// Names of all files in it.
    fn list(&self) -> io::Result<Vec<String>>;
    /// A small file's content; none: there is no such file.
    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>>;
    /// A new, empty file; replaces one of that name.
    fn create(&self, name: &str) -> io::Result<Box<dyn PartFile>>;
    /// The same, for a file that may become many megabytes. Errors of its writes may be told late, by `sync` at the
    /// latest.
    fn create_large(&self, name: &str) -> io::Result<Box<dyn PartFile>> {
        self.create(name)
    }
    /// Renames, replacing a file of the new name, in one step for readers.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Renames, unless there is a file of the new name: an error of kind `AlreadyExists`. Where the file system cannot
    /// do that in one step, it looks first.
    fn rename_new(&self, from: &str, to: &str) -> io::Result<()> {
        if self.exists(to)? {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.rename(from, to)
    }
    /// Whether there is such a file.
    fn exists(&self, name: &str) -> io::Result<bool>;
    /// Removes a file; fine if it is gone already.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Waits until names are on the medium.
    fn sync(&self) -> io::Result<()>;
}

/// A real folder.
pub struct OsFolder {
    path: PathBuf,
    spares: Arc<Room>,
}

impl OsFolder {
    /// The folder at a path; it need not exist.
    pub fn new(path: &Path) -> OsFolder {
        OsFolder {
            path: path.to_path_buf(),
            spares: spares(),
        }
    }
}

impl PartFile for File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }
}

impl Folder for OsFolder {
    fn make(&self) -> io::Result<()> {
        fs::create_dir_all(&self.path)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            // Names that are no text are none of ours.
            if let Ok(name) = entry.file_name().into_string() {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        // A pipe in its place must not hold us, and a device have no end.
        let flags = rustix::fs::OFlags::NONBLOCK.bits() as i32;
        let opened = File::options()
            .read(true)
            .custom_flags(flags)
            .open(self.path.join(name));
        let mut file = match opened {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        };
        let meta = file.metadata()?;
        if meta.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        if !meta.is_file() {
            let words = "it is no regular file";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, words));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(meta.len()).unwrap_or(0));
        crate::large_pages::prefer(&mut bytes, false);
        file.read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn PartFile>> {
        Ok(Box::new(File::create(self.path.join(name))?))
    }

    fn create_large(&self, name: &str) -> io::Result<Box<dyn PartFile>> {
        Ok(Box::new(DirectFile::create(
            &self.path.join(name),
            &self.spares,
        )?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn rename_new(&self, from: &str, to: &str) -> io::Result<()> {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        let (from_path, to_path) = (self.path.join(from), self.path.join(to));
        match renameat_with(CWD, &from_path, CWD, &to_path, RenameFlags::NOREPLACE) {
            Ok(()) => Ok(()),
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
                if to_path.try_exists()? {
                    return Err(io::ErrorKind::AlreadyExists.into());
                }
                fs::rename(from_path, to_path)
            }
            Err(e) => Err(e.into()),
        }
    }

    fn exists(&self, name: &str) -> io::Result<bool> {
        self.path.join(name).try_exists()
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        match fs::remove_file(self.path.join(name)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }
}
