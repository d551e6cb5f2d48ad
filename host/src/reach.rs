//! Where a job's files may be: anywhere, or only beneath folders that the operator named.
//!
//! A path is first looked at as text (absolute, no `..`, beneath a folder), which gives early and clear errors;
//! then the kernel opens it beneath that folder (`openat2`, by cap-std), so that a symlink which leads out,
//! or is put there between the look and the opening, is refused. Only regular files are opened: a FIFO would
//! hold its reader, a device may never end.
//!
//! Hard links are not looked at: whoever may link a file into an allowed folder could copy it there.

use std::fs::File;
use std::io::{self, Error, ErrorKind};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt as _};

/// What is done with the files: the operator's key for the folders.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// `read`.
    #[default]
    Read,
    /// `write`.
    Write,
}

impl Access {
    /// The operator's key.
    pub fn key(self) -> &'static str {
        match self {
            Access::Read => "read",
            Access::Write => "write",
        }
    }
}

/// Folders beneath which files may be opened. The default: any file that the process may.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    access: Access,
    /// Absolute; none: anywhere.
    roots: Option<Arc<Vec<PathBuf>>>,
}

/// A path cut in two: a folder of the operator's, and the way from there.
struct Beneath {
    root: PathBuf,
    rest: PathBuf,
}

impl Reach {
    /// Anywhere.
    pub fn anywhere(access: Access) -> Reach {
        Reach {
            access,
            roots: None,
        }
    }

    /// Only beneath these folders; none of them: nowhere.
    pub fn beneath(access: Access, roots: impl IntoIterator<Item = PathBuf>) -> Reach {
        let absolute = |root: PathBuf| std::path::absolute(&root).unwrap_or(root);
        let roots = roots.into_iter().map(absolute).collect();
        Reach {
            access,
            roots: Some(Arc::new(roots)),
        }
    }

    /// Whether it is bounded at all.
    pub fn is_bounded(&self) -> bool {
        self.roots.is_some()
    }

    /// What is wrong with a path by its text alone, in words. `path` may be a pattern.
    pub fn check(&self, path: &Path) -> Result<(), String> {
        self.cut(path).map(|_| ())
    }

    /// The same, and where it (or as much of it as there is) leads to by symlinks, as it is now.
    pub fn check_now(&self, path: &Path) -> Result<(), String> {
        let Some(Beneath { root, rest }) = self.cut(path)? else {
            return Ok(());
        };
        let Ok(root_now) = root.canonicalize() else {
            // The folder itself is not there: nothing can be beneath it.
            return Ok(());
        };
        let whole = root.join(&rest);
        let there = whole.ancestors().find_map(|p| p.canonicalize().ok());
        match there {
            Some(now) if now.starts_with(&root_now) || root_now.starts_with(&now) => Ok(()),
            _ => Err(format!(
                "{} leads out of {}, by a symlink",
                path.display(),
                root.display()
            )),
        }
    }

    fn cut(&self, path: &Path) -> Result<Option<Beneath>, String> {
        let Some(roots) = &self.roots else {
            return Ok(None);
        };
        if path.components().any(|c| c == Component::ParentDir) {
            return Err(format!(
                "{} has a \"..\", which no path may have where the operator bounds paths",
                path.display()
            ));
        }
        let absolute = std::path::absolute(path).map_err(|e| format!("{}: {e}", path.display()))?;
        for root in roots.iter() {
            if let Ok(rest) = absolute.strip_prefix(root) {
                return Ok(Some(Beneath {
                    root: root.clone(),
                    rest: rest.to_path_buf(),
                }));
            }
        }
        let folders: Vec<String> = roots.iter().map(|r| r.display().to_string()).collect();
        Err(format!(
            "{} is in no folder that a job may {} here ({})",
            path.display(),
            self.access.key(),
            if folders.is_empty() {
                "there is none".into()
            } else {
                folders.join(", ")
            }
        ))
    }

    fn beneath_or_refused(&self, path: &Path) -> io::Result<Option<Beneath>> {
        self.cut(path)
            .map_err(|words| Error::new(ErrorKind::PermissionDenied, words))
    }

    /// Opens a file to read.
    pub fn open(&self, path: &Path) -> io::Result<File> {
        let Some(Beneath { root, rest }) = self.beneath_or_refused(path)? else {
            return File::open(path);
        };
        let dir = Dir::open_ambient_dir(root, ambient_authority())?;
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(nonblock());
        regular(dir.open_with(rest, &options)?.into_std())
    }

    /// Opens a file to append to, and makes it and its folders where they are not there.
    pub fn append(&self, path: &Path) -> io::Result<File> {
        let Some(Beneath { root, rest }) = self.beneath_or_refused(path)? else {
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder)?;
            }
            return File::options().create(true).append(true).open(path);
        };
        let dir = Dir::open_ambient_dir(root, ambient_authority())?;
        if let Some(folder) = rest.parent().filter(|p| !p.as_os_str().is_empty()) {
            dir.create_dir_all(folder)?;
        }
        let mut options = OpenOptions::new();
        options.create(true).append(true).custom_flags(nonblock());
        regular(dir.open_with(rest, &options)?.into_std())
    }

    /// Makes a folder, where it is not there, and opens it; none: paths are not bounded.
    pub fn folder(&self, path: &Path) -> io::Result<Option<Dir>> {
        let Some(Beneath { root, rest }) = self.beneath_or_refused(path)? else {
            return Ok(None);
        };
        let dir = Dir::open_ambient_dir(root, ambient_authority())?;
        if rest.as_os_str().is_empty() {
            return Ok(Some(dir));
        }
        dir.create_dir_all(&rest)?;
        dir.open_dir(&rest).map(Some)
    }
}

/// Opening a FIFO must not wait for its other end.
fn nonblock() -> i32 {
    rustix::fs::OFlags::NONBLOCK.bits() as i32
}

fn regular(file: File) -> io::Result<File> {
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    Err(Error::new(
        ErrorKind::PermissionDenied,
        "it is no regular file",
    ))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read as _;
    use std::os::unix::fs::symlink;

    use super::*;

    /// `in/` is allowed and has `file`, `sub/`; `out/` beside it has `secret`.
    struct Place {
        folder: tempfile::TempDir,
        reach: Reach,
    }

    fn place() -> Place {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        fs::create_dir_all(path.join("in/sub")).unwrap();
        fs::create_dir_all(path.join("in-not")).unwrap();
        fs::create_dir(path.join("out")).unwrap();
        for file in ["in/file", "out/secret", "in-not/file"] {
            fs::write(path.join(file), file).unwrap();
        }
        let reach = Reach::beneath(Access::Read, [path.join("in")]);
        Place { folder, reach }
    }

    impl Place {
        fn open(&self, path: &str) -> String {
            match self.reach.open(&self.folder.path().join(path)) {
                Ok(mut file) => {
                    let mut text = String::new();
                    file.read_to_string(&mut text).unwrap();
                    text
                }
                Err(e) => e
                    .to_string()
                    .replace(&self.folder.path().display().to_string(), ""),
            }
        }

        fn link(&self, to: &str, at: &str) {
            symlink(to, self.folder.path().join(at)).unwrap();
        }
    }

    #[test]
    fn files_beneath_are_opened_and_no_others() {
        let place = place();
        assert_eq!(place.open("in/file"), "in/file");
        let refused = "/out/secret is in no folder that a job may read here (/in)";
        assert_eq!(place.open("out/secret"), refused);
        // A folder whose name begins alike is another folder.
        assert_eq!(
            place.open("in-not/file"),
            "/in-not/file is in no folder that a job may read here (/in)"
        );
        assert_eq!(
            place.open("in/../out/secret"),
            "/in/../out/secret has a \"..\", which no path may have where the operator bounds paths"
        );
        let nowhere = Reach::beneath(Access::Write, []);
        assert_eq!(
            nowhere.check(Path::new("/x")).unwrap_err(),
            "/x is in no folder that a job may write here (there is none)"
        );
    }

    #[test]
    fn symlinks_that_lead_out_are_refused_and_others_followed() {
        let place = place();
        place.link("file", "in/inner");
        place.link("../out/secret", "in/outer");
        place.link("/etc/passwd", "in/absolute");
        place.link("../out", "in/folder");
        place.link("/proc/self", "in/proc");
        assert_eq!(place.open("in/inner"), "in/file");
        for path in [
            "in/outer",
            "in/absolute",
            "in/folder/secret",
            "in/proc/environ",
        ] {
            assert!(
                place
                    .open(path)
                    .contains("a path led outside of the filesystem"),
                "{path}: {}",
                place.open(path)
            );
        }
        for path in ["in/outer", "in/folder/secret", "in/folder"] {
            assert!(
                place
                    .reach
                    .check_now(&place.folder.path().join(path))
                    .is_err(),
                "{path}"
            );
        }
        let later = place.folder.path().join("in/sub/later/deeper");
        assert_eq!(place.reach.check_now(&later), Ok(()));
    }

    #[test]
    fn devices_folders_and_pipes_without_a_writer_are_no_files() {
        let place = place();
        let fifo = place.folder.path().join("in/fifo");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &fifo,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
            0,
        )
        .unwrap();
        assert_eq!(place.open("in/fifo"), "it is no regular file");
        assert_eq!(place.open("in/sub"), "it is no regular file");
        let devices = Reach::beneath(Access::Read, [PathBuf::from("/dev")]);
        let zero = devices.open(Path::new("/dev/zero")).unwrap_err();
        assert_eq!(zero.to_string(), "it is no regular file");
    }

    #[test]
    fn a_link_swapped_in_again_and_again_never_leads_out() {
        let place = place();
        let file = place.folder.path().join("in/sub/swapped");
        let (aside, link) = (file.with_extension("file"), file.with_extension("link"));
        let stop = std::sync::atomic::AtomicBool::new(false);
        let stopped = || stop.load(std::sync::atomic::Ordering::Relaxed);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stopped() {
                    fs::write(&aside, "in/file").unwrap();
                    fs::rename(&aside, &file).unwrap();
                    symlink("../../out/secret", &link).unwrap();
                    fs::rename(&link, &file).unwrap();
                }
            });
            let mut opened = 0;
            for _ in 0..2_000 {
                let text = place.open("in/sub/swapped");
                assert!(!text.contains("out/secret"), "{text}");
                opened += usize::from(text == "in/file");
            }
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
            assert!(opened < 2_000, "the link was never met");
        });
    }

    #[test]
    fn folders_and_files_are_made_beneath_only() {
        let mut place = place();
        let path = place.folder.path().to_path_buf();
        place.reach = Reach::beneath(Access::Write, [path.join("in")]);
        place.link("../out", "in/folder");
        place.reach.append(&path.join("in/new/letters")).unwrap();
        assert!(path.join("in/new/letters").is_file());
        assert!(place.reach.append(&path.join("in/folder/letters")).is_err());
        assert!(place.reach.folder(&path.join("in/folder/parts")).is_err());
        assert!(
            place
                .reach
                .folder(&path.join("in/parts"))
                .unwrap()
                .is_some()
        );
        assert_eq!(fs::read_dir(path.join("out")).unwrap().count(), 1);
        let anywhere = Reach::anywhere(Access::Write);
        assert!(anywhere.folder(&path.join("out")).unwrap().is_none());
    }
}
