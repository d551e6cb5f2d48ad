//! Named points at which a test can have the process killed: every step of the commit protocol has one on either side.
//!
//! `WASMILL_CRASH_AT=name[:n]` kills the process when it passes the point for the n-th time (the first, if it is not
//! said), as `kill -9` would: nothing is flushed, no destructor runs. Without the variable a point costs a load and a
//! comparison; none is passed more often than a few times per file of a checkpoint. This is the one place of the
//! library that ends the process, and only tests set the variable.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// The environment variable.
pub const VARIABLE: &str = "WASMILL_CRASH_AT";

/// A point, named after what was done last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashPoint {
    /// A sink's hidden part was made.
    PartCreated,
    /// All lines of a part were handed to the system.
    PartWritten,
    /// A part is on the medium, still hidden.
    PartSynced,
    /// All parts of a task's epoch are on the medium, with their names.
    PartsPrepared,
    /// Every task has told what it remembers; nothing is stored yet.
    EpochGathered,
    /// Local folder: an object is written under its temporary name, not synced.
    ObjectWritten,
    /// Local folder: an object is on the medium under its temporary name.
    ObjectSynced,
    /// Local folder: an object has its name; the folder is not synced.
    ObjectNamed,
    /// Local folder: an object and its name are on the medium.
    ObjectStored,
    /// A file of state is stored.
    StateStored,
    /// All files of state are stored, the manifest is not.
    StatesStored,
    /// The manifest is stored: the checkpoint counts.
    ManifestStored,
    /// Offsets and marker are part of the epoch's Kafka transaction, which is not committed.
    TransactionOffsetsSent,
    /// The epoch's Kafka transaction is committed: the checkpoint counts.
    TransactionCommitted,
    /// The next epoch's Kafka transaction is open.
    TransactionBegun,
    /// One part has the name that readers see; the folder is not synced.
    PartPublished,
    /// All parts of the epoch are published.
    PartsPublished,
    /// An old manifest was removed.
    ManifestRemoved,
    /// A file of state that no manifest needs was removed.
    StateRemoved,
    /// Old checkpoints are gone.
    Cleaned,
    /// Recovery: the job's Kafka transactions are ours, what they say was not read yet.
    TransactionsTakenOver,
    /// Recovery: the decision is made, nothing was changed yet.
    RecoveryDecided,
    /// Recovery: a part that came after the checkpoint was set aside.
    PartSetAside,
    /// Recovery: a sink stands where the checkpoint says.
    SinkRecovered,
}

impl CrashPoint {
    /// All of them, in the order in which an epoch passes them.
    pub const ALL: [CrashPoint; 24] = [
        CrashPoint::PartCreated,
        CrashPoint::PartWritten,
        CrashPoint::PartSynced,
        CrashPoint::PartsPrepared,
        CrashPoint::EpochGathered,
        CrashPoint::ObjectWritten,
        CrashPoint::ObjectSynced,
        CrashPoint::ObjectNamed,
        CrashPoint::ObjectStored,
        CrashPoint::StateStored,
        CrashPoint::StatesStored,
        CrashPoint::ManifestStored,
        CrashPoint::TransactionOffsetsSent,
        CrashPoint::TransactionCommitted,
        CrashPoint::TransactionBegun,
        CrashPoint::PartPublished,
        CrashPoint::PartsPublished,
        CrashPoint::ManifestRemoved,
        CrashPoint::StateRemoved,
        CrashPoint::Cleaned,
        CrashPoint::TransactionsTakenOver,
        CrashPoint::RecoveryDecided,
        CrashPoint::PartSetAside,
        CrashPoint::SinkRecovered,
    ];

    /// Its name in the variable.
    pub fn name(self) -> &'static str {
        match self {
            CrashPoint::PartCreated => "part-created",
            CrashPoint::PartWritten => "part-written",
            CrashPoint::PartSynced => "part-synced",
            CrashPoint::PartsPrepared => "parts-prepared",
            CrashPoint::EpochGathered => "epoch-gathered",
            CrashPoint::ObjectWritten => "object-written",
            CrashPoint::ObjectSynced => "object-synced",
            CrashPoint::ObjectNamed => "object-named",
            CrashPoint::ObjectStored => "object-stored",
            CrashPoint::StateStored => "state-stored",
            CrashPoint::StatesStored => "states-stored",
            CrashPoint::ManifestStored => "manifest-stored",
            CrashPoint::TransactionOffsetsSent => "transaction-offsets-sent",
            CrashPoint::TransactionCommitted => "transaction-committed",
            CrashPoint::TransactionBegun => "transaction-begun",
            CrashPoint::TransactionsTakenOver => "transactions-taken-over",
            CrashPoint::PartPublished => "part-published",
            CrashPoint::PartsPublished => "parts-published",
            CrashPoint::ManifestRemoved => "manifest-removed",
            CrashPoint::StateRemoved => "state-removed",
            CrashPoint::Cleaned => "cleaned",
            CrashPoint::RecoveryDecided => "recovery-decided",
            CrashPoint::PartSetAside => "part-set-aside",
            CrashPoint::SinkRecovered => "sink-recovered",
        }
    }
}

/// Where the process is to die.
struct Wanted {
    point: CrashPoint,
    times: u64,
    passed: AtomicU64,
}

/// What the variable says: a point, and at which passing. The error lists the names.
fn parse(text: &str) -> Result<(CrashPoint, u64), String> {
    let (name, times) = text.split_once(':').unwrap_or((text, "1"));
    let point = CrashPoint::ALL.into_iter().find(|p| p.name() == name);
    let times = times.parse::<u64>().ok().filter(|&n| n > 0);
    point.zip(times).ok_or_else(|| {
        let names: Vec<&str> = CrashPoint::ALL.into_iter().map(CrashPoint::name).collect();
        format!(
            "{VARIABLE} takes name[:n], not {text:?}; names: {}",
            names.join(" ")
        )
    })
}

fn wanted() -> Result<Option<&'static Wanted>, &'static String> {
    static WANTED: OnceLock<Result<Option<Wanted>, String>> = OnceLock::new();
    let wanted = WANTED.get_or_init(|| {
        let Some(text) = std::env::var_os(VARIABLE) else {
            return Ok(None);
        };
        let (point, times) = parse(&text.to_string_lossy())?;
        Ok(Some(Wanted {
            point,
            times,
            passed: AtomicU64::new(0),
        }))
    });
    wanted.as_ref().map(Option::as_ref)
}

/// Refuses a variable that names no point: a test that kills nowhere proves nothing.
pub fn check() -> Result<(), String> {
    wanted().map(|_| ()).map_err(Clone::clone)
}

/// Passes a point.
pub fn at(point: CrashPoint) {
    if let Ok(Some(wanted)) = wanted()
        && wanted.point == point
        && wanted.passed.fetch_add(1, Ordering::Relaxed) + 1 == wanted.times
    {
        die();
    }
}

fn die() -> ! {
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    // Only where a process may not kill itself.
    std::process::abort()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variable_names_a_point_and_a_passing_or_is_refused_with_all_names() {
        assert_eq!(parse("state-stored"), Ok((CrashPoint::StateStored, 1)));
        assert_eq!(parse("cleaned:3"), Ok((CrashPoint::Cleaned, 3)));
        for wrong in ["", "nowhere", "cleaned:0", "cleaned:x"] {
            let error = parse(wrong).expect_err("no point");
            assert!(
                CrashPoint::ALL.iter().all(|p| error.contains(p.name())),
                "{error}"
            );
        }
    }
}
