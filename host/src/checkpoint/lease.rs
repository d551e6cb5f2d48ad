//! A lease: who may write to a place that has no locks of its own. An object that its owner renews, and that others
//! take over once it has run out.
//!
//! A lease keeps two well-behaved processes apart, and tells people who is at work. It is *not* what makes a commit
//! safe: a process may be frozen between looking at its lease and acting on it, and clocks differ. Whoever takes over
//! therefore fences the commits of the owner before, by a conditional put on the name that such a commit would need,
//! and nobody acts on a commit before the lease was renewed *behind* it (see `checkpoint::store`).
//!
//! `decide` is pure; `Lease` does what it says, and renews on a thread of its own.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::storage::{Condition, Storage, StorageError, Version};
use crate::time::Clock;

/// How long a lease holds after it was renewed. A host that dies blocks others so long (not those on its own machine,
/// which see that the process is gone).
pub const LEASE: Duration = Duration::from_secs(30);

/// A lease has a few hundred bytes.
const BYTES_MAX: u64 = 64 << 10;

/// Who holds a lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Random: no other start of a process has it.
    pub id: String,
    /// Host name, for people.
    pub host: String,
    /// Tells machines, their starts and their namespaces of processes apart.
    pub machine: String,
    /// Process id there.
    pub pid: u32,
    /// Start of that process, in the system's ticks: ids of processes are used again.
    pub started: u64,
}

/// The object. JSON; must stay readable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Whose it is.
    pub owner: Owner,
    /// Until when, milliseconds since 1970 UTC, on the owner's clock.
    pub until: i64,
    /// The owner gave it back.
    pub released: bool,
}

/// Who asks for a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// A process that starts.
    First,
    /// One that had it, and starts its job again: what another process took in between it does not take back, neither
    /// when that one gave it back nor when it is gone.
    Again,
}

/// What is to be done about a lease that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseDecision {
    /// Nobody has it.
    Take,
    /// Its owner did not give it back, and is gone: take it, and fence what that one may still do.
    TakeOver,
    /// Someone has it.
    Refuse(
        /// Who, until when.
        String,
    ),
}

/// Decides. `owner_lives`: whether the owner's process is known to live (`Some(true)`) or to be gone; none: not known.
///
/// | found | decision |
/// |---|---|
/// | none, or given back | take |
/// | another's, and its process is known to be gone | take over |
/// | another's, run out | take over |
/// | another's | refuse |
pub fn decide(found: Option<&Record>, owner_lives: Option<bool>, now: i64) -> LeaseDecision {
    match found {
        None => LeaseDecision::Take,
        Some(record) if record.released => LeaseDecision::Take,
        Some(record) if record.until < now || owner_lives == Some(false) => LeaseDecision::TakeOver,
        Some(record) => LeaseDecision::Refuse(format!(
            "another process has it: pid {} on {}, for {} s more unless it renews its lease",
            record.owner.pid,
            record.owner.host,
            (record.until - now).max(0) / 1_000 + 1
        )),
    }
}

/// Why a lease is not (or no longer) held.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeaseError {
    /// Another process holds it, or took it over.
    #[error("{0}")]
    Lost(String),
    /// The store does not answer: it may be tried again.
    #[error("the lease: {0}")]
    Store(#[from] StorageError),
}

/// A held lease.
#[derive(Debug)]
pub struct Lease {
    held: Arc<Held>,
    /// Dropped: the thread that renews ends.
    stop: Option<Sender<std::convert::Infallible>>,
    renewer: Option<std::thread::JoinHandle<()>>,
}

#[derive(Debug)]
struct Held {
    storage: Arc<dyn Storage>,
    name: String,
    owner: Owner,
    clock: Clock,
    length: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    version: Version,
    /// Until when it holds, as far as we know.
    until: i64,
    lost: Option<String>,
}

/// What came of asking for a lease.
#[derive(Debug)]
pub struct Taken {
    /// The lease.
    pub lease: Lease,
    /// It was another's, who did not give it back: that one may still be at work.
    pub over: bool,
}

impl Lease {
    /// Takes the lease of this name and keeps renewing it; `length` is how long it holds.
    pub fn take(
        storage: &Arc<dyn Storage>,
        name: &str,
        owner: Owner,
        claim: Claim,
        clock: &Clock,
        length: Duration,
    ) -> Result<Taken, LeaseError> {
        let found = storage.get(name, BYTES_MAX)?;
        let (record, condition) = match &found {
            None => (None, Condition::Absent),
            Some(object) => {
                let record: Record = serde_json::from_slice(&object.bytes).map_err(|e| {
                    LeaseError::Lost(format!("{name} is no lease that this version reads: {e}"))
                })?;
                (Some(record), Condition::Is(object.version.clone()))
            }
        };
        if let Some(record) = record.as_ref().filter(|_| claim == Claim::Again)
            && !record.owner.is_same_process(&owner)
        {
            return Err(LeaseError::Lost(record.owner.took_over()));
        }
        let lives = record.as_ref().and_then(|r| lives(&r.owner, &owner));
        let over = match decide(record.as_ref(), lives, clock.now()) {
            LeaseDecision::Refuse(why) => return Err(LeaseError::Lost(why)),
            LeaseDecision::Take => false,
            LeaseDecision::TakeOver => true,
        };
        let until = clock.now() + length.as_millis() as i64;
        let bytes = encode(&owner, until, false);
        let version = match storage.put(name, &[&bytes], &condition) {
            Ok(version) => version,
            Err(StorageError::Conflict) => {
                let why = "another process took it at the same moment";
                return Err(LeaseError::Lost(why.into()));
            }
            Err(e) => return Err(e.into()),
        };
        let held = Arc::new(Held {
            storage: Arc::clone(storage),
            name: name.to_owned(),
            owner,
            clock: clock.clone(),
            length,
            state: Mutex::new(State {
                version,
                until,
                lost: None,
            }),
        });
        let (stop, stopped) = bounded::<std::convert::Infallible>(0);
        let of = Arc::clone(&held);
        let renewer = std::thread::Builder::new()
            .name("lease".into())
            .spawn(move || {
                while stopped.recv_timeout(of.length / 3) == Err(RecvTimeoutError::Timeout) {
                    // What fails is tried again.
                    if let Err(LeaseError::Lost(_)) = of.renew() {
                        return;
                    }
                }
            })
            .map_err(|e| StorageError::Failed(format!("cannot start a thread: {e}")))?;
        let lease = Lease {
            held,
            stop: Some(stop),
            renewer: Some(renewer),
        };
        Ok(Taken { lease, over })
    }

    /// Renews it. Fine: nobody had taken it until then, so what was done before was done while it was held.
    pub fn confirm(&self) -> Result<(), LeaseError> {
        self.held.renew()
    }

    /// Renews it only if it has run out by our own clock: a process that was frozen finds out before it writes what
    /// does not count any more. It may still be frozen right after; that is what fences are for.
    pub fn confirm_if_run_out(&self) -> Result<(), LeaseError> {
        let ran_out = {
            let state = self.held.state.lock();
            if let Some(why) = &state.lost {
                return Err(LeaseError::Lost(why.clone()));
            }
            self.held.clock.now() > state.until
        };
        if ran_out { self.confirm() } else { Ok(()) }
    }

    /// Whose it is.
    pub fn owner(&self) -> &Owner {
        &self.held.owner
    }
}

impl Held {
    fn renew(&self) -> Result<(), LeaseError> {
        let mut state = self.state.lock();
        if let Some(why) = &state.lost {
            return Err(LeaseError::Lost(why.clone()));
        }
        let until = self.clock.now() + self.length.as_millis() as i64;
        let bytes = encode(&self.owner, until, false);
        let condition = Condition::Is(state.version.clone());
        let version = match self.storage.put(&self.name, &[&bytes], &condition) {
            Ok(version) => version,
            Err(StorageError::Conflict) => self.mine_or_lost(&mut state)?,
            Err(e) => return Err(e.into()),
        };
        state.version = version;
        state.until = until;
        Ok(())
    }

    /// After a conflict: an earlier renewal that was not answered may have happened all the same.
    fn mine_or_lost(&self, state: &mut State) -> Result<Version, LeaseError> {
        let found = self.storage.get(&self.name, BYTES_MAX)?;
        let record = found
            .as_ref()
            .and_then(|o| serde_json::from_slice::<Record>(&o.bytes).ok());
        if let (Some(object), Some(record)) = (&found, &record)
            && record.owner.id == self.owner.id
        {
            return Ok(object.version.clone());
        }
        let why = match record {
            Some(r) => r.owner.took_over(),
            None => format!("{} was removed while it was held", self.name),
        };
        state.lost = Some(why.clone());
        Err(LeaseError::Lost(why))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(renewer) = self.renewer.take() {
            let _ = renewer.join();
        }
        let state = self.held.state.lock();
        if state.lost.is_none() {
            // Given back under its version only: what another took over stays. A failure costs the next some seconds.
            let bytes = encode(&self.held.owner, self.held.clock.now(), true);
            let condition = Condition::Is(state.version.clone());
            let _ = self
                .held
                .storage
                .put(&self.held.name, &[&bytes], &condition);
        }
    }
}

fn encode(owner: &Owner, until: i64, released: bool) -> Vec<u8> {
    let record = Record {
        owner: owner.clone(),
        until,
        released,
    };
    serde_json::to_vec(&record).expect("a lease is plain data")
}

impl Owner {
    /// Whether both are starts of a job in one process.
    fn is_same_process(&self, other: &Owner) -> bool {
        let of = |o: &Owner| (o.machine.clone(), o.pid, o.started);
        of(self) == of(other)
    }

    fn took_over(&self) -> String {
        format!(
            "pid {} on {} took over: this process had not renewed its lease in time",
            self.pid, self.host
        )
    }

    /// This process.
    pub fn this_process(id: String) -> Owner {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let namespace = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
        let boot = read("/proc/sys/kernel/random/boot_id");
        let pid = std::process::id();
        Owner {
            id,
            host: read("/proc/sys/kernel/hostname").trim().to_owned(),
            machine: format!("{} {}", boot.trim(), namespace.display()),
            pid,
            started: started(pid).unwrap_or_default(),
        }
    }
}

/// Whether an owner's process lives, as far as `me` can see it.
fn lives(owner: &Owner, me: &Owner) -> Option<bool> {
    if owner.machine != me.machine || owner.started == 0 {
        return None;
    }
    Some(started(owner.pid) == Some(owner.started))
}

/// When a process started; none: there is no such process (or the system has no /proc).
fn started(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field, a name in parentheses, may have anything in it.
    let after = stat.rsplit_once(')')?.1;
    let mut fields = after.split_ascii_whitespace();
    // A zombie has ended.
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::storage::MemoryStorage;

    fn owner(id: &str) -> Owner {
        Owner {
            id: id.into(),
            host: "h".into(),
            machine: "m".into(),
            pid: 7,
            started: 0,
        }
    }

    fn record(until: i64, released: bool) -> Record {
        Record {
            owner: owner("a"),
            until,
            released,
        }
    }

    #[test]
    fn every_row_of_the_table_is_decided_as_it_says() {
        use LeaseDecision as D;
        assert_eq!(decide(None, None, 5), D::Take);
        assert_eq!(decide(Some(&record(9, true)), Some(true), 5), D::Take);
        assert_eq!(decide(Some(&record(9, false)), Some(false), 5), D::TakeOver);
        assert_eq!(decide(Some(&record(4, false)), None, 5), D::TakeOver);
        // A frozen process lives, and yet its lease has run out.
        assert_eq!(decide(Some(&record(4, false)), Some(true), 5), D::TakeOver);
        for lives in [None, Some(true)] {
            assert!(
                matches!(decide(Some(&record(9_000, false)), lives, 5), D::Refuse(why)
                    if why.contains("pid 7 on h, for 9 s"))
            );
        }
    }

    #[test]
    fn held_lease_is_refused_run_out_one_is_taken_over_and_its_owner_learns_of_it() {
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::default());
        let clock = Clock::manual();
        let long = Duration::from_secs(3_600);
        let take = |id: &str| Lease::take(&storage, "lease", owner(id), Claim::First, &clock, long);
        let first = take("a").expect("free");
        assert!(!first.over);
        first.lease.confirm().expect("held");
        let refused = take("b").expect_err("held").to_string();
        assert!(refused.contains("pid 7 on h"), "{refused}");
        clock.set(3_600_001);
        let second = take("b").expect("run out");
        assert!(second.over);
        let lost = first.lease.held.renew().expect_err("taken").to_string();
        assert!(lost.contains("took over"), "{lost}");
        assert!(first.lease.confirm().is_err());
        // The one that lost it gives nothing back.
        drop(first);
        second.lease.confirm().expect("still held");
        drop(second);
        assert!(!take("c").expect("given back").over);
    }

    #[test]
    fn process_that_starts_its_job_again_does_not_take_back_what_another_took() {
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::default());
        let clock = Clock::manual();
        let long = Duration::from_secs(3_600);
        let take = |id: &str, pid: u32, claim: Claim| {
            let owner = Owner { pid, ..owner(id) };
            Lease::take(&storage, "lease", owner, claim, &clock, long)
        };
        drop(take("a", 7, Claim::First).expect("free"));
        drop(take("b", 7, Claim::Again).expect("its own"));
        let other = take("c", 8, Claim::First).expect("given back");
        for time in [0, 3_600_001] {
            clock.set(time);
            let refused = take("d", 7, Claim::Again).expect_err("taken").to_string();
            assert!(refused.contains("pid 8 on h took over"), "{refused}");
        }
        other.lease.confirm().expect("untouched");
        drop(other);
        assert!(take("d", 7, Claim::Again).is_err(), "though given back");
    }

    #[test]
    fn renewal_that_was_not_answered_is_recognised_as_our_own() {
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::default());
        let clock = Clock::manual();
        let long = Duration::from_secs(3_600);
        let taken =
            Lease::take(&storage, "lease", owner("a"), Claim::First, &clock, long).expect("free");
        let mine = encode(&owner("a"), 1, false);
        storage
            .put("lease", &[&mine], &Condition::None)
            .expect("memory");
        taken.lease.held.renew().expect("ours");
        taken.lease.held.renew().expect("with its new version");
    }

    #[test]
    fn process_that_is_gone_is_told_from_one_that_lives() {
        let me = Owner::this_process("x".into());
        assert_eq!(lives(&me, &me), Some(true));
        let earlier = Owner {
            started: me.started + 1,
            ..me.clone()
        };
        assert_eq!(lives(&earlier, &me), Some(false));
        let elsewhere = Owner {
            machine: "another".into(),
            ..me.clone()
        };
        assert_eq!(lives(&elsewhere, &me), None);
    }
}
