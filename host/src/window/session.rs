//! Session windows: ranges [timestamp, timestamp + gap) of a key, one as soon as they overlap or touch.
//!
//! A batch is worked in rounds. A round first plans on copies (`Shadow`) of the sessions that it touches: each
//! record opens, extends or joins sessions, until one would join sessions that have records waiting in this very
//! round, or reaches the n-th record of a trigger: that key's further records wait for the next round. Then
//! come the calls: `merge` for sessions that became one, in order of start, and `add` once for all.
//! Only what worked is written back. In-order data takes one round a batch.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};

use smallvec::SmallVec;

use super::Emit;
use super::accumulators::Accumulators;
use super::codec::GroupState;
use super::core::{Arrivals, Core, LeftOut};
use super::fixed::out_of_range;
use super::groups::grow_gently;
use super::key_table::KeyTable;
use super::keys::{key_of, sort_by_key};
use super::results::Pane;
use super::round::{Round, RowSet, Tried};
use super::session_close::Closing;
use super::session_whole::WholePass;
use crate::keyed::ColdKeys;
use crate::plugin::Rejected;
use crate::record::{Batch, Blobs, NO_TIMESTAMP};
use crate::state::{Mark, Touched, growth_of};
use crate::step::{Output, StepError};

pub(super) const NONE: u32 = u32::MAX;

/// A session.
#[derive(Clone, Copy, Debug)]
pub(super) struct Session {
    /// Whose; `NONE` while the place is free.
    pub key: u32,
    /// For snapshots.
    pub mark: Mark,
    pub start: i64,
    pub end: i64,
    /// Records since it last fired (kept where that matters).
    pub count: u64,
    /// The one entry of `deadlines` that counts.
    pub deadline: i64,
}

/// The sessions of a key, in order of start; they neither overlap nor touch.
pub(super) type KeySessions = SmallVec<[u32; 2]>;

/// What becomes of a key's sessions in this round.
#[derive(Debug)]
struct Shadow {
    key: u32,
    /// Further records wait for the next round.
    blocked: bool,
    sessions: SmallVec<[ShadowSession; 1]>,
}

/// What becomes of a session.
#[derive(Clone, Debug)]
struct ShadowSession {
    start: i64,
    end: i64,
    count: u64,
    /// The sessions that became this one, in order of start.
    from: SmallVec<[u32; 2]>,
    /// Its group in the round; `NONE`: nothing happened to it.
    group: u32,
    fires: bool,
}

/// A record on its way to its session.
#[derive(Clone, Copy, Debug)]
struct Ranged {
    row: u32,
    end: i64,
    /// Rejected by one of its fields: all that is asked is whether it is late.
    unfit: bool,
}

/// The state of session windows.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    pub all: Vec<Session>,
    free: Vec<u32>,
    pub accs: Accumulators,
    pub keys: KeyTable<KeySessions>,
    /// When each session closes, or is past: an entry that is too early (the session grew) is renewed when it comes up.
    pub deadlines: BinaryHeap<Reverse<(i64, u32)>>,
    /// Sessions that got a record since they last fired (and some others).
    pub dirty: Vec<u32>,
    /// How many of them there are.
    pub changed: usize,
    pub closing: Option<Closing>,
    /// All sessions are being put out (complete mode).
    pub whole: Option<WholePass>,
    /// For snapshots.
    pub touched: Touched,
    /// Keys beyond memory, if there may be any.
    pub cold: Option<ColdKeys>,
    shadows: Vec<Shadow>,
    late: Vec<u32>,
    accs_in: Blobs,
}

impl Sessions {
    /// How many.
    pub fn len(&self) -> usize {
        self.all.len() - self.free.len()
    }

    /// Adds records to their sessions.
    pub fn on_batch(
        &mut self,
        core: &mut Core,
        batch: &Batch,
        arrivals: &Arrivals,
        gap: Option<i64>,
        left_out: &mut LeftOut,
        out: &mut dyn Output,
    ) -> Result<(), StepError> {
        let mut queue = ranges(core, batch, arrivals, gap, left_out)?;
        self.fetch(core, batch, arrivals)?;
        let mut later = Vec::new();
        while !queue.is_empty() {
            let round = self.plan(core, batch, arrivals, &queue, &mut later);
            let tried = if round.rows.is_empty() {
                Tried::Added(Blobs::default())
            } else {
                self.gather(core)?;
                let accs = std::mem::take(&mut self.accs_in);
                let tried = core.try_round(batch, &round, &accs)?;
                self.accs_in = accs;
                tried
            };
            match tried {
                Tried::Added(accs) => {
                    left_out.late.append(&mut self.late);
                    self.keep(core, &accs);
                    core.check_groups(self.len())?;
                    self.fire_counted(core, out)?;
                    std::mem::swap(&mut queue, &mut later);
                }
                Tried::Rejected(mut rejected) => {
                    rejected.sort_unstable_by_key(|r| r.row);
                    self.keep_certain(core, arrivals, &queue, &mut rejected);
                    let rows = RowSet::of(batch, &rejected);
                    queue.retain(|r| !rows.has(r.row));
                    left_out.rejected.append(&mut rejected);
                }
            }
            self.drop_empty_keys(core);
        }
        core.flush(out)
    }

    /// A record whose own range is past is late, unless it joins a session that is not: one that owes this to a
    /// record that is rejected with it is not rejected, but late. Which it is, the next round will tell.
    fn keep_certain(
        &self,
        core: &Core,
        arrivals: &Arrivals,
        queue: &[Ranged],
        rejected: &mut Vec<Rejected>,
    ) {
        let alive = |row: u32| {
            let at = queue.partition_point(|r| r.row < row);
            queue
                .get(at)
                .is_none_or(|r| !core.retention.is_past(r.end, core.time.passed))
        };
        let mut keys = HashSet::new();
        rejected.retain(|r| {
            let first = arrivals
                .hashes
                .get(r.row as usize)
                .is_none_or(|hash| keys.insert(*hash));
            first || alive(r.row)
        });
    }

    /// Plans a round on shadows. What must wait is put into `later`.
    fn plan(
        &mut self,
        core: &Core,
        batch: &Batch,
        arrivals: &Arrivals,
        queue: &[Ranged],
        later: &mut Vec<Ranged>,
    ) -> Round {
        let mut round = Round::default();
        round.rows.reserve(queue.len());
        round.groups.reserve(queue.len());
        later.clear();
        self.shadows.clear();
        self.late.clear();
        self.keys.next_stamp();
        let mut all_wait = false;
        let mut groups = 0;
        for &ranged in queue {
            let row = ranged.row as usize;
            let key = self.key(arrivals.hashes[row], key_of(batch.keys.as_ref(), row));
            let shadow = self.shadow(key);
            let shadow = &mut self.shadows[shadow as usize];
            if shadow.blocked || all_wait {
                shadow.blocked = true;
                later.push(ranged);
                continue;
            }
            let (start, end) = (arrivals.times[row], ranged.end);
            // Sessions neither overlap nor touch: those that this record reaches stand side by side. Most often it is the last.
            let sessions = &mut shadow.sessions;
            let to = sessions
                .iter()
                .rposition(|s| s.start <= end)
                .map_or(0, |last| last + 1);
            let from = sessions[..to]
                .iter()
                .rposition(|s| s.end < start)
                .map_or(0, |before| before + 1);
            let reached = &sessions[from..to];
            let merged_start = reached.first().map_or(start, |s| s.start.min(start));
            let merged_end = reached.last().map_or(end, |s| s.end.max(end));
            if core.retention.is_past(merged_end, core.time.passed) {
                self.late.push(ranged.row);
                continue;
            }
            if ranged.unfit {
                continue;
            }
            if reached.len() > 1 && reached.iter().any(|s| s.group != NONE) {
                shadow.blocked = true;
                // A firing of all groups shows them as of its record: none may run ahead.
                all_wait |= core.spec.emit == Emit::Complete && core.spec.trigger.records.is_some();
                later.push(ranged);
                continue;
            }
            if reached.is_empty() {
                let from_none = SmallVec::new();
                sessions.insert(
                    from,
                    ShadowSession {
                        start,
                        end,
                        count: 0,
                        from: from_none,
                        group: NONE,
                        fires: false,
                    },
                );
            } else if reached.len() > 1 {
                let others: Vec<ShadowSession> = sessions.drain(from + 1..to).collect();
                let first = &mut sessions[from];
                for other in others {
                    first.count += other.count;
                    first.from.extend(other.from);
                }
            }
            let session = &mut sessions[from];
            (session.start, session.end) = (merged_start, merged_end);
            session.count += 1;
            if session.group == NONE {
                session.group = groups;
                groups += 1;
            }
            round.rows.push(ranged.row);
            round.groups.push(session.group);
            // A closed session fires at the boundary, whatever the trigger.
            let counts = core
                .spec
                .trigger
                .records
                .is_some_and(|n| session.count >= n);
            if counts && !core.retention.is_closed(merged_end, core.time.passed) {
                session.fires = true;
                shadow.blocked = true;
                all_wait |= core.spec.emit == Emit::Complete;
            }
        }
        round.members.extend(0..groups);
        round
    }

    /// The accumulators that the round starts from, in the order of its groups; sessions that became one are merged.
    fn gather(&mut self, core: &mut Core) -> Result<(), StepError> {
        let init = core.init()?;
        let touched = || {
            self.shadows
                .iter()
                .flat_map(|s| &s.sessions)
                .filter(|s| s.group != NONE)
        };
        let groups = touched().count();
        let mut from: Vec<&[u32]> = vec![&[]; groups];
        let mut merges = false;
        for session in touched() {
            from[session.group as usize] = &session.from;
            merges |= session.from.len() > 1;
        }
        self.accs_in.clear();
        if !merges {
            for from in &from {
                self.accs_in
                    .push(from.first().map_or(&init, |s| self.accs.get(*s as usize)));
            }
            return Ok(());
        }
        let mut merged: Vec<Vec<u8>> = from
            .iter()
            .map(|from| {
                from.first()
                    .map_or(init.to_vec(), |s| self.accs.get(*s as usize).to_vec())
            })
            .collect();
        let deepest = from.iter().map(|from| from.len()).max().unwrap_or(0);
        for depth in 1..deepest {
            let members: Vec<usize> = (0..groups).filter(|g| from[*g].len() > depth).collect();
            let left: Blobs = members.iter().map(|g| &merged[*g]).collect();
            let right: Blobs = members
                .iter()
                .map(|g| self.accs.get(from[*g][depth] as usize))
                .collect();
            let both = core.merge(&left, &right)?;
            for (g, acc) in members.iter().zip(both.iter()) {
                merged[*g] = acc.to_vec();
            }
        }
        merged.iter().for_each(|acc| self.accs_in.push(acc));
        Ok(())
    }

    /// Writes the round's plan and accumulators back.
    fn keep(&mut self, core: &Core, accs: &Blobs) {
        let shadows = std::mem::take(&mut self.shadows);
        for shadow in &shadows {
            let mut ids: SmallVec<[u32; 2]> = SmallVec::new();
            for session in &shadow.sessions {
                if session.group == NONE {
                    ids.push(session.from[0]);
                    continue;
                }
                let acc = accs.get(session.group as usize);
                let id = match session.from.split_first() {
                    Some((first, others)) => {
                        for other in others {
                            self.release(*other);
                        }
                        self.accs.set(*first as usize, acc);
                        *first
                    }
                    None => self.new_session(acc),
                };
                ids.push(id);
                let s = &self.all[id as usize];
                if s.mark.stored && s.start != session.start {
                    self.forget_name(id);
                }
                let s = &mut self.all[id as usize];
                (s.key, s.start, s.end) = (shadow.key, session.start, session.end);
                self.touch(id);
                if core.tracks_changes() {
                    self.set_count(id, session.count);
                }
                self.schedule(core, id, core.time.passed);
            }
            self.keys[shadow.key].of = ids;
        }
        self.shadows = shadows;
    }

    /// Fires sessions that reached their n-th record; in complete mode all.
    fn fire_counted(&mut self, core: &mut Core, out: &mut dyn Output) -> Result<(), StepError> {
        if core.spec.trigger.records.is_none() {
            return Ok(());
        }
        let mut fired = Vec::new();
        for shadow in &self.shadows {
            for (at, session) in shadow.sessions.iter().enumerate() {
                if session.fires {
                    fired.push(self.keys[shadow.key].of[at]);
                }
            }
        }
        if !fired.is_empty() && core.spec.emit == Emit::Complete {
            core.fired_inside = true;
            return self.fire_whole(core, out);
        }
        self.sort(&mut fired);
        for id in fired {
            self.fire(core, id)?;
            if core.results.is_full() {
                core.flush(out)?;
            }
        }
        Ok(())
    }

    /// All sessions.
    pub fn live(&self) -> Vec<u32> {
        (0..self.all.len() as u32)
            .filter(|id| self.all[*id as usize].key != NONE)
            .collect()
    }

    /// Orders sessions by end, start, key.
    pub fn sort(&self, ids: &mut [u32]) {
        let place = |id: &u32| {
            let s = &self.all[*id as usize];
            (s.end, s.start)
        };
        let mut order: Vec<((i64, i64), u32)> = ids.iter().map(|id| (place(id), *id)).collect();
        order.sort_unstable();
        for (to, (_, id)) in ids.iter_mut().zip(order) {
            *to = id;
        }
        let key = |id: u32| self.keys.key(self.all[id as usize].key);
        for alike in ids.chunk_by_mut(|a, b| place(a) == place(b)) {
            if alike.len() > 1 {
                sort_by_key(alike, key);
            }
        }
    }

    /// Puts out a session's pane, and starts the next.
    pub fn fire(&mut self, core: &mut Core, id: u32) -> Result<(), StepError> {
        let s = &self.all[id as usize];
        core.results.push(pane(
            self.keys.key(s.key),
            (s.end, s.start),
            self.accs.get(id as usize),
        ));
        self.set_count(id, 0);
        if core.discards() {
            let init = core.init()?;
            self.accs.set(id as usize, &init);
            self.touch(id);
        }
        Ok(())
    }

    /// The next snapshot is to hold this session.
    pub(super) fn touch(&mut self, id: u32) {
        let all = self.all.len();
        self.touched.touch(id, &mut self.all[id as usize].mark, all);
    }

    fn set_count(&mut self, id: u32, count: u64) {
        let s = &mut self.all[id as usize];
        let before = std::mem::replace(&mut s.count, count);
        if before != count {
            self.touch(id);
        }
        if before == 0 && count > 0 {
            self.changed += 1;
            self.dirty.push(id);
        } else if before > 0 && count == 0 {
            self.changed -= 1;
        }
    }

    /// Sees to it that the session comes up when it closes, or else when it is past.
    pub fn schedule(&mut self, core: &Core, id: u32, passed: i64) {
        let s = &mut self.all[id as usize];
        let closed = core.retention.is_closed(s.end, passed);
        let needed = if closed {
            core.retention.past_at(s.end)
        } else {
            core.retention.close_at(s.end)
        };
        // Whoever has an earlier entry is looked at then, and scheduled again.
        if s.deadline == NO_TIMESTAMP || needed < s.deadline {
            s.deadline = needed;
            self.deadlines.push(Reverse((needed, id)));
        }
    }

    /// Whether this entry of `deadlines` is the session's own; if so, it is used up.
    pub fn take_deadline(&mut self, deadline: i64, id: u32) -> bool {
        let s = &mut self.all[id as usize];
        let own = s.key != NONE && s.deadline == deadline;
        if own {
            s.deadline = NO_TIMESTAMP;
        }
        own
    }

    /// Drops a session, and its key with its last one.
    pub fn remove(&mut self, core: &Core, id: u32) {
        let key = self.all[id as usize].key;
        self.release(id);
        let sessions = &mut self.keys[key].of;
        sessions.retain(|s| *s != id);
        if sessions.is_empty() {
            self.remove_key(core, key);
        }
    }

    fn release(&mut self, id: u32) {
        self.set_count(id, 0);
        self.forget_name(id);
        self.all[id as usize].key = NONE;
        self.accs.release(id as usize);
        self.free.push(id);
    }

    pub(super) fn new_session(&mut self, acc: &[u8]) -> u32 {
        let session = Session {
            key: NONE,
            mark: Mark::default(),
            start: 0,
            end: 0,
            count: 0,
            deadline: NO_TIMESTAMP,
        };
        match self.free.pop() {
            Some(id) => {
                self.all[id as usize] = session;
                self.accs.set(id as usize, acc);
                id
            }
            None => {
                grow_gently(&mut self.all, 1);
                self.all.push(session);
                self.accs.push(acc);
                self.all.len() as u32 - 1
            }
        }
    }

    /// The number of a key, made if there is none.
    pub(super) fn key(&mut self, hash: u64, key: Option<&[u8]>) -> u32 {
        self.keys.find_or_make(hash, key, KeySessions::new)
    }

    fn remove_key(&mut self, core: &Core, key: u32) {
        let bytes = self.keys.key(key);
        let hash = core.hasher.hash(bytes);
        if let (true, Some(cold)) = (self.keys[key].below, &mut self.cold) {
            cold.bury(bytes);
        }
        self.keys.remove(hash, key);
    }

    /// Takes out keys that have no session, since their records were late or rejected.
    fn drop_empty_keys(&mut self, core: &Core) {
        for at in 0..self.shadows.len() {
            let key = self.shadows[at].key;
            if self.keys[key].of.is_empty() {
                self.remove_key(core, key);
            }
        }
        self.shadows.clear();
    }

    fn shadow(&mut self, key: u32) -> u32 {
        let stamp = self.keys.stamp;
        let entry = &mut self.keys[key];
        if entry.stamp != stamp {
            entry.stamp = stamp;
            entry.local = self.shadows.len() as u32;
            let copy = |id: &u32| {
                let s = &self.all[*id as usize];
                let from = SmallVec::from_slice(&[*id]);
                ShadowSession {
                    start: s.start,
                    end: s.end,
                    count: s.count,
                    from,
                    group: NONE,
                    fires: false,
                }
            };
            self.shadows.push(Shadow {
                key,
                blocked: false,
                sessions: entry.of.iter().map(copy).collect(),
            });
        }
        entry.local
    }

    /// Puts back a session that a checkpoint holds. Refused where it meets one that is there.
    pub fn restore(&mut self, core: &Core, state: &GroupState<'_>) -> Result<bool, StepError> {
        let &GroupState {
            key,
            start,
            end,
            count,
            ..
        } = state;
        self.fetch_key(core, key)?;
        let key = self.key(core.hasher.hash(key), key);
        let sessions = &self.keys[key].of;
        let meets =
            |id: &u32| self.all[*id as usize].start <= end && self.all[*id as usize].end >= start;
        if sessions.iter().any(meets) {
            return Ok(false);
        }
        let at = sessions.partition_point(|id| self.all[*id as usize].start < start);
        let id = self.new_session(state.acc);
        self.keys[key].of.insert(at, id);
        let s = &mut self.all[id as usize];
        (s.key, s.start, s.end) = (key, start, end);
        if core.tracks_changes() {
            self.set_count(id, count);
        }
        self.schedule(core, id, core.time.passed);
        Ok(true)
    }

    /// Bytes that they may grow by at once (`Step::growth`).
    pub fn growth(&self) -> usize {
        let room = self.free.len() + self.all.capacity() - self.all.len();
        let all = growth_of(room, self.all.len() / 4 * size_of::<Session>());
        let room = self.deadlines.capacity() - self.deadlines.len();
        let deadlines = self.deadlines.capacity() * size_of::<(i64, u32)>();
        all + growth_of(room, deadlines) + self.keys.growth() + self.accs.growth()
    }

    /// Bytes of memory.
    pub fn memory(&self) -> usize {
        // Lists of more than two sessions have memory of their own; each is counted as if it had grown by doubling.
        let listed = self.len().saturating_sub(self.keys.len()) * 2 * size_of::<u32>();
        self.all.capacity() * size_of::<Session>()
            + self.keys.memory()
            + listed
            + self.cold.as_ref().map_or(0, ColdKeys::memory)
            + self.whole.as_ref().map_or(0, WholePass::memory)
            + self.accs.memory()
            + self.touched.memory()
            + self.deadlines.capacity() * size_of::<(i64, u32)>()
            + (self.dirty.capacity() + self.free.capacity()) * size_of::<u32>()
    }
}

/// What a session puts out; of its end and start.
pub(super) fn pane<'a>(key: Option<&'a [u8]>, (end, start): (i64, i64), acc: &'a [u8]) -> Pane<'a> {
    Pane {
        key,
        start,
        end,
        newest: NO_TIMESTAMP,
        acc,
    }
}

/// The end of each record's own range; records whose gap or range is none are rejected.
fn ranges(
    core: &mut Core,
    batch: &Batch,
    arrivals: &Arrivals,
    gap: Option<i64>,
    left_out: &mut LeftOut,
) -> Result<Vec<Ranged>, StepError> {
    let mut rows = arrivals.rows.clone();
    let gaps = match gap {
        Some(gap) => vec![gap; rows.len()],
        None => loop {
            if rows.is_empty() {
                return Ok(Vec::new());
            }
            let (gaps, rejected) = core.function.gaps(batch, &rows)?;
            if rejected.is_empty() && gaps.len() == rows.len() {
                break gaps;
            }
            if rejected.is_empty() {
                return Err(StepError::Failed(format!(
                    "{} gaps came back for {} records",
                    gaps.len(),
                    rows.len()
                )));
            }
            let without = RowSet::of(batch, &rejected);
            let before = rows.len();
            rows.retain(|row| !without.has(*row));
            if rows.len() == before {
                return Err(StepError::Failed(
                    "gaps rejected records that it was not given".to_owned(),
                ));
            }
            left_out.rejected.extend(rejected);
        },
    };
    let mut queue = Vec::with_capacity(rows.len() + arrivals.unfit.len());
    for (&row, &gap) in rows.iter().zip(&gaps) {
        let start = arrivals.times[row as usize];
        if gap <= 0 {
            left_out.reject(
                row,
                format!("the session's gap is {gap} ms, but must be more than 0"),
            );
        } else if let Some(end) = start.checked_add(gap) {
            let unfit = false;
            queue.push(Ranged { row, end, unfit });
        } else {
            left_out.reject(row, out_of_range(start));
        }
    }
    // Where the function tells the gap, it is asked for none of a record that it cannot read.
    if let (Some(gap), false) = (gap, arrivals.unfit.is_empty()) {
        let end = |row: u32| arrivals.times[row as usize].checked_add(gap);
        queue.extend(arrivals.unfit.iter().filter_map(|&row| {
            Some(Ranged {
                row,
                end: end(row)?,
                unfit: true,
            })
        }));
        queue.sort_unstable_by_key(|r| r.row);
    }
    Ok(queue)
}
