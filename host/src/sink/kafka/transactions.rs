//! The transactions of a job: one an epoch, over all its exactly-once Kafka sinks.
//!
//! The commit of an epoch's transaction is the job's commit point. In it go the outputs, the offsets of Kafka sources,
//! and the marker: an offset in a group of the job's own, whose metadata names epoch and run. Whoever
//! starts the job reads the marker after `init_transactions`, which decided what a predecessor left open; the marker
//! is then the only truth about what was committed.
//!
//! A task that has ended its epoch before the others holds what it puts out until that epoch is committed: all that
//! a producer sends belongs to its one open transaction.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::encode::Messages;
use super::settle::{Readers, Scope, settle};
use super::writer::Sender;
use crate::config::KafkaSinkPlan;
use crate::config::kafka::client_settings;
use crate::crash::{self, CrashPoint};
use crate::job::Known;
use crate::kafka::offsets::{self, PartitionOffset};
use crate::kafka::produce::{Producer, Undelivered};
use crate::kafka::{Client, Fault, Kind, comes_again, topics};
use crate::sink::SinkError;
use crate::time::Stopwatch;

/// Bytes that one writer holds before it waits for the commit. Enough for what a task puts out while the others
/// get to their barrier; not so much that many tasks matter.
const HELD_BYTES_MAX: usize = 4 << 20;

/// How long a start, or a commit, waits for the cluster before it is undecided.
pub(super) const WAIT: Duration = Duration::from_secs(60);

/// Between two looks whether the epoch is open.
const LOOK: Duration = Duration::from_millis(100);

/// How long a coordinator that just started is asked again before its transactions are taken over all the same.
const BEHIND: Duration = Duration::from_secs(10);

/// What the cluster knows of the job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marker {
    /// The epoch that was committed last.
    pub epoch: u64,
    /// The run that did.
    pub run: String,
    /// The process' start that did: two never have the same.
    pub by: String,
}

/// Offsets of a source that belong to an epoch.
#[derive(Clone, Debug)]
pub struct SourceOffsets {
    /// The source's group.
    pub group: String,
    /// Its partitions.
    pub offsets: Vec<PartitionOffset>,
}

/// A commit that did not happen, or of which nobody knows.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The job must be started anew from what the cluster has: another start took over, the transaction timed out,
    /// or the cluster was away.
    #[error("{0}")]
    Undecided(String),
    /// No start will help.
    #[error("{0}")]
    Failed(String),
}

impl From<Undelivered> for CommitError {
    fn from(undelivered: Undelivered) -> CommitError {
        if undelivered.comes_again {
            CommitError::Failed(undelivered.message)
        } else {
            CommitError::Undecided(undelivered.message)
        }
    }
}

/// The job's transactions.
pub struct Transactions {
    producer: Arc<Producer>,
    id: String,
    marker_topic: String,
    run: Mutex<String>,
    /// What was committed last, as far as we know, and who we are.
    known: Mutex<Known>,
    /// Which epoch's transaction is open; 0: none is yet.
    open: Mutex<u64>,
    opened: Condvar,
    held: Mutex<Vec<Arc<Held>>>,
}

/// What a writer holds for the epoch after the open one.
pub struct Held {
    /// The epoch that the writer's next records belong to; 0: the first one of the run.
    epoch: AtomicU64,
    waiting: Mutex<Waiting>,
}

struct Waiting {
    messages: VecDeque<(u64, Messages)>,
    bytes: usize,
    sender: Sender,
}

impl Held {
    /// The writer's records belong to the next epoch from now on.
    pub(super) fn end(&self, epoch: u64) {
        self.epoch.store(epoch + 1, Ordering::Release);
    }
}

impl Transactions {
    /// Takes the job's transactions over: whoever had them before can commit nothing any more.
    ///
    /// `before`: what this process knew when it last had them. Then somebody else must not have committed since.
    pub fn open(
        plan: &KafkaSinkPlan,
        marker_topic: &str,
        scope: &Scope,
        before: Option<&Known>,
    ) -> Result<Transactions, CommitError> {
        let id = format!("wasmill.{}", plan.job);
        let all = reader(plan, &id, "read_uncommitted").map_err(CommitError::Failed)?;
        if let Some(before) = before {
            // Without waiting for a transaction under way, which may be our own of before.
            let begun = Stopwatch::start();
            loop {
                let found = marker(&all, marker_topic).map_err(CommitError::Undecided)?;
                match since(before, found.as_ref()) {
                    Since::Ours => break,
                    Since::Others => return Err(taken_over(found.as_ref())),
                    // What it says once it knows all of its log is looked at below.
                    Since::Behind if begun.elapsed() >= BEHIND => break,
                    Since::Behind => all.poll(LOOK),
                }
            }
        }
        // Far above an epoch's length, so that a slow one is no failure; not so far that readers wait long for a
        // job that died.
        let every = u64::try_from(plan.every_ms.unwrap_or(0)).unwrap_or(0);
        let timeout = (3 * every + 10_000).min(900_000);
        let more = [
            ("transactional.id", id.clone()),
            ("transaction.timeout.ms", timeout.to_string()),
        ];
        let producer = super::producer(plan, &more).map_err(CommitError::Failed)?;
        topics::must_exist(producer.client(), marker_topic, WAIT)
            .map_err(CommitError::Undecided)?;
        let begun = Stopwatch::start();
        while let Err(fault) = producer.init_transactions(Duration::from_secs(10)) {
            let why = || {
                let why = format!("transactional id {id}: {fault}");
                producer.client().explain(why)
            };
            if comes_again(fault.code) {
                return Err(CommitError::Failed(why()));
            }
            if !fault.retriable || begun.elapsed() >= WAIT {
                return Err(CommitError::Undecided(why()));
            }
        }
        crash::at(CrashPoint::TransactionsTakenOver);
        let decided = reader(plan, &id, "read_committed").map_err(CommitError::Failed)?;
        let mut scope = scope.clone();
        scope.groups.push(group(&id));
        if let Some(before) = before {
            scope.topics.extend(before.topics.iter().cloned());
            scope.topics.sort();
            scope.topics.dedup();
        }
        let readers = Readers {
            all: &all,
            decided: &decided,
        };
        settle(&producer, &id, marker_topic, &scope, &readers)?;
        let marker = marker(&decided, marker_topic).map_err(CommitError::Undecided)?;
        if let Some(before) = before {
            not_back(before, marker.as_ref())?;
            if since(before, marker.as_ref()) == Since::Others {
                return Err(taken_over(marker.as_ref()));
            }
        }
        Ok(Transactions {
            producer: Arc::new(producer),
            id,
            marker_topic: marker_topic.to_owned(),
            run: Mutex::default(),
            known: Mutex::new(Known {
                marker,
                by: crate::job::new_id(),
                topics: Vec::new(),
            }),
            open: Mutex::new(0),
            opened: Condvar::new(),
            held: Mutex::default(),
        })
    }

    /// The transactional id: also the name under which the job is known to the cluster.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What was committed last, if anything, as far as is known.
    pub fn known_marker(&self) -> Option<Marker> {
        self.known.lock().marker.clone()
    }

    /// What a later start in this process has to know.
    pub fn known(&self) -> Known {
        Known {
            topics: self.producer.topic_names(),
            ..self.known.lock().clone()
        }
    }

    /// The run and the first epoch are known: its transaction begins.
    pub fn begin(&self, run: &str, first_epoch: u64) -> Result<(), Fault> {
        run.clone_into(&mut self.run.lock());
        self.producer.begin()?;
        *self.open.lock() = first_epoch;
        Ok(())
    }

    /// Commits an epoch: all its records, these offsets, the marker. Then the next one is open.
    pub fn commit(&self, epoch: u64, sources: &[SourceOffsets]) -> Result<(), CommitError> {
        // What was held for this epoch, where an epoch under way became part of the last one.
        for held in self.held.lock().iter() {
            held.send_up_to(epoch, &|| false).map_err(|e| {
                let make = if e.again {
                    CommitError::Undecided
                } else {
                    CommitError::Failed
                };
                make(e.to_string())
            })?;
        }
        let begun = Stopwatch::start();
        while !self.producer.drain() {
            self.producer.check()?;
            if begun.elapsed() >= WAIT {
                return Err(self.undecided("records are not acknowledged"));
            }
        }
        self.producer.check()?;
        let committing = Marker {
            epoch,
            run: self.run.lock().clone(),
            by: self.known.lock().by.clone(),
        };
        let metadata = write_marker(&committing);
        let marker = SourceOffsets {
            group: group(&self.id),
            offsets: vec![self.marker_at(epoch as i64, metadata)],
        };
        for source in sources.iter().chain([&marker]) {
            if !source.offsets.is_empty() {
                self.retried(|wait| {
                    self.producer
                        .add_offsets(&source.group, &source.offsets, wait)
                })?;
            }
        }
        crash::at(CrashPoint::TransactionOffsetsSent);
        self.retried(|wait| self.producer.commit(wait))?;
        self.known.lock().marker = Some(committing);
        crash::at(CrashPoint::TransactionCommitted);
        self.producer
            .begin()
            .map_err(|f| CommitError::Undecided(f.to_string()))?;
        crash::at(CrashPoint::TransactionBegun);
        *self.open.lock() = epoch + 1;
        self.opened.notify_all();
        Ok(())
    }

    /// Repeats a call as long as it says that it may be.
    fn retried(&self, call: impl Fn(Duration) -> Result<(), Fault>) -> Result<(), CommitError> {
        let begun = Stopwatch::start();
        loop {
            match call(Duration::from_secs(10)) {
                Ok(()) => return Ok(()),
                Err(fault) if fault.retriable && begun.elapsed() < WAIT => {}
                Err(fault) if comes_again(fault.code) => {
                    return Err(CommitError::Failed(fault.to_string()));
                }
                Err(fault) => return Err(self.undecided(fault)),
            }
        }
    }

    fn undecided(&self, what: impl std::fmt::Display) -> CommitError {
        CommitError::Undecided(
            self.producer
                .client()
                .explain(format!("transactional id {}: {what}", self.id)),
        )
    }

    /// A place for what a writer holds.
    pub(super) fn hold(&self, sender: Sender) -> Arc<Held> {
        let held = Arc::new(Held {
            epoch: AtomicU64::new(0),
            waiting: Mutex::new(Waiting {
                messages: VecDeque::new(),
                bytes: 0,
                sender,
            }),
        });
        self.held.lock().push(Arc::clone(&held));
        held
    }

    /// Sends, or holds until the epoch before is committed.
    pub(super) fn write(
        &self,
        held: &Held,
        sender: &mut Sender,
        messages: Messages,
        stop: &dyn Fn() -> bool,
    ) -> Result<(), SinkError> {
        let epoch = held.epoch.load(Ordering::Acquire);
        if *self.open.lock() >= epoch {
            held.send_up_to(epoch, stop)?;
            return sender.send(&messages, stop);
        }
        let bytes = messages.bytes();
        loop {
            {
                let mut waiting = held.waiting.lock();
                if waiting.bytes == 0 || waiting.bytes + bytes <= HELD_BYTES_MAX {
                    waiting.bytes += bytes;
                    waiting.messages.push_back((epoch, messages));
                    return Ok(());
                }
            }
            if stop() {
                return Err(
                    sender.error("stopped while waiting for the epoch before to be committed")
                );
            }
            let mut open = self.open.lock();
            if *open < epoch {
                self.opened.wait_for(&mut open, LOOK);
            }
            if *open >= epoch {
                drop(open);
                held.send_up_to(epoch, stop)?;
                return sender.send(&messages, stop);
            }
        }
    }

    /// Sends what was held, if it may be by now.
    pub(super) fn release(&self, held: &Held, _sender: &mut Sender) -> Result<(), SinkError> {
        let epoch = held.epoch.load(Ordering::Acquire);
        if *self.open.lock() >= epoch {
            held.send_up_to(epoch, &|| false)?;
        }
        Ok(())
    }

    /// The job is ending: whoever waits looks up.
    pub(super) fn wake(&self) {
        self.opened.notify_all();
    }

    pub(super) fn producer(&self) -> &Arc<Producer> {
        &self.producer
    }

    fn marker_at(&self, offset: i64, metadata: String) -> PartitionOffset {
        marker_at(&self.marker_topic, offset, metadata)
    }
}

impl Held {
    fn send_up_to(&self, epoch: u64, stop: &dyn Fn() -> bool) -> Result<(), SinkError> {
        let mut waiting = self.waiting.lock();
        while let Some((of, _)) = waiting.messages.front() {
            if *of > epoch {
                break;
            }
            let (_, messages) = waiting
                .messages
                .pop_front()
                .expect("it was looked at just now");
            waiting.bytes -= messages.bytes();
            waiting.sender.send(&messages, stop)?;
        }
        Ok(())
    }
}

pub(super) fn marker_at(topic: &str, offset: i64, metadata: String) -> PartitionOffset {
    PartitionOffset {
        topic: topic.to_owned(),
        partition: 0,
        offset,
        metadata,
    }
}

/// A client that reads the marker.
fn reader(plan: &KafkaSinkPlan, id: &str, isolation: &str) -> Result<Client, String> {
    let group = group(id);
    let own = [
        ("bootstrap.servers", plan.brokers.as_str()),
        ("group.id", group.as_str()),
        ("isolation.level", isolation),
        ("enable.auto.commit", "false"),
    ];
    // Of the producer's settings, only those that a consumer has, too.
    let common = client_settings(&plan.client).filter(|(name, _)| {
        crate::kafka::settings::allowed(Kind::Consumer).any(|allowed| allowed == *name)
    });
    Client::new(Kind::Consumer, common.chain(own))
}

/// What was committed last, if anything. Waits for the cluster.
fn marker(reader: &Client, topic: &str) -> Result<Option<Marker>, String> {
    let asked = [marker_at(topic, 0, String::new())];
    let begun = Stopwatch::start();
    loop {
        match offsets::committed(reader, &asked, Duration::from_secs(10)) {
            Ok(found) => {
                let metadata = found.first().map(|m| m.metadata.as_str());
                let metadata = metadata.filter(|m| !m.is_empty());
                return metadata.map(parse_marker).transpose();
            }
            Err(fault) if begun.elapsed() >= WAIT => return Err(reader.explain(fault)),
            Err(_) => reader.poll(Duration::from_millis(100)),
        }
    }
}

/// Who committed since this process last had the transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Since {
    /// Nobody, or one of our own transactions was committed after all.
    Ours,
    /// Another start of the job.
    Others,
    /// The coordinator answers with less than it confirmed: it has just started (see `settle`).
    Behind,
}

fn since(before: &Known, found: Option<&Marker>) -> Since {
    match (&before.marker, found) {
        (then, now) if then.as_ref() == now => Since::Ours,
        (Some(_), None) => Since::Behind,
        (Some(then), Some(now)) if now.run == then.run && now.epoch < then.epoch => Since::Behind,
        (_, Some(now)) if now.by == before.by => Since::Ours,
        _ => Since::Others,
    }
}

fn taken_over(found: Option<&Marker>) -> CommitError {
    CommitError::Failed(format!(
        "another start of the job took over (it committed checkpoint {}): this one ends",
        found.map_or(0, |m| m.epoch)
    ))
}

/// What was committed stays so. A cluster that does not know it any more has lost what belongs to it, too.
fn not_back(before: &Known, found: Option<&Marker>) -> Result<(), CommitError> {
    let (then, now) = (before.marker.as_ref(), found);
    let (then, now) = (then.map_or(0, |m| m.epoch), now.map_or(0, |m| m.epoch));
    if now < then {
        return Err(CommitError::Failed(format!(
            "the cluster confirmed the transaction of checkpoint {then}, and knows only of {now} now: \
             it lost a committed transaction, or parts of it"
        )));
    }
    Ok(())
}

/// The group in which the marker is.
fn group(id: &str) -> String {
    format!("{id}.commits")
}

/// The marker as it stands in the offset's metadata. Must stay readable.
fn write_marker(marker: &Marker) -> String {
    format!(
        "wasmill epoch={} run={} by={}",
        marker.epoch, marker.run, marker.by
    )
}

fn parse_marker(text: &str) -> Result<Marker, String> {
    let words = text.strip_prefix("wasmill ").and_then(|rest| {
        let mut words = rest.split(' ');
        Some(Marker {
            epoch: words.next()?.strip_prefix("epoch=")?.parse().ok()?,
            run: words.next()?.strip_prefix("run=")?.to_owned(),
            by: words.next()?.strip_prefix("by=")?.to_owned(),
        })
    });
    words.ok_or_else(|| format!("the group's offset says {text:?}, which is not of wasmill"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marker_reads_as_it_was_written() {
        let marker = Marker {
            epoch: 42,
            run: "00ff".into(),
            by: "11".into(),
        };
        let text = write_marker(&marker);
        assert_eq!(text, "wasmill epoch=42 run=00ff by=11");
        assert_eq!(parse_marker(&text), Ok(marker));
        assert!(parse_marker("epoch=1").is_err());
    }

    #[test]
    fn transactions_are_still_ours_unless_somebody_else_committed() {
        let marker = |epoch, by: &str| Marker {
            epoch,
            run: "r".into(),
            by: by.into(),
        };
        let known = |marker| Known {
            marker,
            by: "me".into(),
            topics: Vec::new(),
        };
        // Nobody committed since, or a commit of ours that we did not hear of did happen.
        let (ours, theirs) = (|epoch| marker(epoch, "me"), |epoch| marker(epoch, "you"));
        for (then, now, is) in [
            (None, None, Since::Ours),
            (Some(theirs(3)), Some(theirs(3)), Since::Ours),
            (Some(ours(3)), Some(ours(4)), Since::Ours),
            // Somebody else did, even under the epoch that we had tried.
            (Some(ours(3)), Some(theirs(4)), Since::Others),
            (None, Some(theirs(1)), Since::Others),
            // A coordinator that just started, which knows nothing yet, or what was so some seconds ago.
            (Some(ours(3)), None, Since::Behind),
            (Some(ours(3)), Some(ours(2)), Since::Behind),
            (Some(ours(3)), Some(theirs(2)), Since::Behind),
        ] {
            assert_eq!(
                since(&known(then.clone()), now.as_ref()),
                is,
                "{then:?} {now:?}"
            );
        }
        // Another run from its beginning.
        let other = Marker {
            run: "s".into(),
            ..theirs(1)
        };
        assert_eq!(since(&known(Some(ours(3))), Some(&other)), Since::Others);
        // What was committed is gone: the job must not make its results again.
        let before = known(Some(marker(3, "me")));
        assert!(not_back(&before, Some(&marker(2, "me"))).is_err());
        assert!(not_back(&before, None).is_err());
        assert!(not_back(&before, Some(&marker(3, "me"))).is_ok());
        assert!(not_back(&known(None), None).is_ok());
    }
}
