//! The folder of sockets: who may change it when, and what is left in it by jobs that were killed.
//!
//! A socket's file outlives its process. Nobody answers there: to connect is refused. Between its making and its
//! listening that is so of a living one, too, hence a lock: who makes, names, compares or removes one holds it.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::Duration;

use rustix::fs::FlockOperation;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

/// The file that is locked. It stays: a lock on a file that others remove is none.
const LOCK: &str = "lock";

/// How often the lock is tried for, and what is waited between. Others hold it for a millisecond; one that was stopped
/// meanwhile (SIGSTOP) must not keep jobs from starting.
const TRIES: usize = 50;
const PAUSE: Duration = Duration::from_millis(10);

/// Names that are looked at each time: there is a next time.
const LOOKED_AT: usize = 1_024;

/// The right to change the folder, until it is dropped.
pub struct Lock(#[expect(dead_code, reason = "held, not read")] File);

/// Locks the folder. None: it cannot be, or another holds it for long. What must be done can be done without; what need not is
/// left for another time.
pub fn lock(folder: &Path) -> Option<Lock> {
    let mut options = std::fs::OpenOptions::new();
    options.create(true).append(true).mode(0o600);
    // Not through a link to somewhere else.
    options.custom_flags(libc::O_NOFOLLOW);
    let file = options.open(folder.join(LOCK)).ok()?;
    for _ in 0..TRIES {
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Some(Lock(file)),
            Err(rustix::io::Errno::WOULDBLOCK) => std::thread::sleep(PAUSE),
            Err(_) => return None,
        }
    }
    None
}

/// Which file that is, whatever it is called now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    device: u64,
    inode: u64,
}

/// Of a name, not of what it links to.
pub fn identity(path: &Path) -> io::Result<Identity> {
    let meta = std::fs::symlink_metadata(path)?;
    Ok(Identity {
        device: meta.dev(),
        inode: meta.ino(),
    })
}

/// Removes the sockets of jobs that are no more.
pub fn sweep(folder: &Path, _: &Lock) {
    let names = std::fs::read_dir(folder).into_iter().flatten();
    for entry in names.take(LOOKED_AT).flatten() {
        let path = entry.path();
        let named = path.extension().is_some_and(|e| e == "sock" || e == "new");
        // The type of the name itself: links are not followed.
        let is_socket = entry.file_type().is_ok_and(|t| t.is_socket());
        if named && is_socket && is_dead(&path) {
            // Another user's may not be removed: then it stays.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Whether nobody listens. A listener that is too busy to take the connection is alive, and is not waited for.
fn is_dead(path: &Path) -> bool {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let stream = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None);
    let (Ok(stream), Ok(address)) = (stream, SocketAddrUnix::new(path)) else {
        return false;
    };
    rustix::net::connect(&stream, &address) == Err(rustix::io::Errno::CONNREFUSED)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn dead_sockets_go_and_nothing_else_does() {
        let temporary = tempfile::tempdir().expect("a folder");
        let folder = temporary.path();
        let at = |name: &str| folder.join(name);
        for name in ["dead.sock", "half.1.new", "other.socket"] {
            drop(UnixListener::bind(at(name)).expect("a socket"));
        }
        let alive = UnixListener::bind(at("alive.sock")).expect("a socket");
        std::fs::write(at("file.sock"), "text").expect("a file");
        std::os::unix::fs::symlink(at("other.socket"), at("link.sock")).expect("a link");
        let lock = lock(folder).expect("the lock");
        sweep(folder, &lock);
        let mut left: Vec<String> = std::fs::read_dir(folder)
            .expect("the folder")
            .map(|e| e.expect("a name").file_name().into_string().expect("UTF-8"))
            .collect();
        left.sort();
        let stay = [
            "alive.sock",
            "file.sock",
            "link.sock",
            "lock",
            "other.socket",
        ];
        assert_eq!(left, stay);
        drop(alive);
    }

    #[test]
    fn a_lock_that_another_keeps_is_not_waited_for_without_end() {
        let folder = tempfile::tempdir().expect("a folder");
        let kept = lock(folder.path()).expect("the lock");
        assert!(lock(folder.path()).is_none());
        drop(kept);
        assert!(lock(folder.path()).is_some());
    }

    #[test]
    fn a_lock_that_is_a_link_is_not_followed() {
        let folder = tempfile::tempdir().expect("a folder");
        let elsewhere = folder.path().join("elsewhere");
        std::os::unix::fs::symlink(&elsewhere, folder.path().join(LOCK)).expect("a link");
        assert!(lock(folder.path()).is_none());
        assert!(!elsewhere.exists());
    }
}
