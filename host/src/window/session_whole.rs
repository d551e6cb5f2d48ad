//! Complete mode: all sessions are put out together, those beyond memory as well.
//!
//! Beyond memory they lie in order of their keys, but come out in order of end, start and key. So they are gone through
//! once, and their panes put into a vault of their own, sorted piece by piece, which merges the pieces. The sessions stay
//! where they are; of those that changed it is noted there that they were put out.

use std::cmp::Reverse;
use std::collections::VecDeque;

use super::core::Core;
use super::session::{Sessions, pane};
use super::session_spill::{CLOSING, SpilledSession, sessions};
use super::time::{Move, StepTime};
use crate::keyed::{key_of_entry, put_entry_key};
use crate::record::codec::{ordered, unordered};
use crate::spill::{Entry, SpillError, Vault};
use crate::state::Mark;
use crate::step::{Boundary, Output, Progress, StepError, WholeFiring};

/// Bytes of panes sorted at once, and read at once; few in tests, so that it takes several turns.
const PIECE: usize = if cfg!(test) { 64 } else { 1 << 20 };

/// More than so many are put in order in a part of its own, so that others work between it and the first results.
const ORDERED_AT_ONCE: usize = 64 * 1024;

const WHOLE: &str = "a vault gives back what was put in";

/// All sessions on their way out.
#[derive(Debug)]
pub(super) struct WholePass {
    /// Those in memory, the next one last.
    in_memory: Vec<u32>,
    beyond: Option<Beyond>,
}

/// Panes of sessions beyond memory.
#[derive(Debug)]
struct Beyond {
    /// Named by end, start and key.
    panes: Vault,
    /// Some are not in it yet: of keys behind this one.
    gathers: bool,
    /// The last key, or pane, that was read.
    behind: Option<Vec<u8>>,
    /// Panes that were read, and whether there are more.
    read: VecDeque<Entry>,
    more: bool,
}

impl WholePass {
    /// Bytes of memory.
    pub fn memory(&self) -> usize {
        let beyond = self.beyond.as_ref();
        self.in_memory.capacity() * size_of::<u32>() + beyond.map_or(0, |b| b.panes.memory())
    }

    /// Bytes on disk.
    pub fn disk_bytes(&self) -> u64 {
        self.beyond.as_ref().map_or(0, |b| b.panes.disk_bytes())
    }
}

impl Beyond {
    /// The next pane.
    fn peek(&mut self) -> Result<Option<&Entry>, SpillError> {
        if self.read.is_empty() && self.more {
            let (read, more) = self.panes.scan(&[], self.behind.as_deref(), PIECE)?;
            self.behind = read.last().map(|entry| entry.name.clone());
            (self.read, self.more) = (read.into(), more);
        }
        Ok(self.read.front())
    }
}

/// End, start and key of a pane beyond memory.
fn place_of(name: &[u8]) -> ((i64, i64), Option<&[u8]>) {
    let (end, rest) = name.split_first_chunk().expect(WHOLE);
    let (start, key) = rest.split_first_chunk().expect(WHOLE);
    let key = key_of_entry(key).expect(WHOLE);
    ((unordered(*end), unordered(*start)), key)
}

impl Sessions {
    /// What a boundary would do in complete mode.
    pub fn firing(&mut self, core: &Core, at: &Boundary<'_>) -> Result<WholeFiring, StepError> {
        let to = core.time.after(&core.spec, at);
        let due = Move::new(core.time, to, &core.spec.trigger).due || core.fires_each_boundary();
        Ok(WholeFiring {
            changed: self.changed > 0,
            due: due || self.any_closes(core, to)?,
        })
    }

    /// Whether a session closes when time moves there.
    fn any_closes(&mut self, core: &Core, to: StepTime) -> Result<bool, StepError> {
        let (retention, from) = (core.retention, core.time.passed);
        let closes =
            |end: i64| retention.is_closed(end, to.passed) && !retention.is_closed(end, from);
        // Entries that are too early are renewed on the way.
        let (mut any, mut seen) = (false, Vec::new());
        while let Some(&Reverse((at, id))) = self.deadlines.peek()
            && at <= to.passed
            && !any
        {
            self.deadlines.pop();
            if self.take_deadline(at, id) {
                any = closes(self.all[id as usize].end);
                seen.push(id);
            }
        }
        for id in seen {
            self.schedule(core, id, from);
        }
        if any {
            return Ok(true);
        }
        let Some(cold) = &mut self.cold else {
            return Ok(false);
        };
        let in_memory = |key: Option<&[u8]>| self.keys.has(&core.hasher, key);
        let any_in = |value: &[u8]| sessions(value).any(|s| closes(s.end));
        Ok(cold.any_due(CLOSING, to.passed, in_memory, any_in)?)
    }

    /// Puts out all sessions at a boundary, if it is one where that is due; to be called again while it answers `More`.
    pub fn boundary_whole(
        &mut self,
        core: &mut Core,
        at: &Boundary<'_>,
        out: &mut dyn Output,
    ) -> Result<Progress, StepError> {
        if self.whole.is_none() {
            let fires = core.fires_whole || self.changed > 0 && self.firing(core, at)?.due;
            if !fires {
                return Ok(Progress::Done);
            }
            let whole = self.whole.insert(self.begin_whole());
            if whole.in_memory.len() > ORDERED_AT_ONCE {
                return Ok(Progress::More);
            }
        }
        self.put_out_some(core, out)
    }

    /// Puts out all sessions at once.
    pub fn fire_whole(&mut self, core: &mut Core, out: &mut dyn Output) -> Result<(), StepError> {
        self.whole = Some(self.begin_whole());
        while self.put_out_some(core, out)? == Progress::More {}
        Ok(())
    }

    fn begin_whole(&self) -> WholePass {
        let mut in_memory = self.live();
        self.sort(&mut in_memory);
        in_memory.reverse();
        let cold = self.cold.as_ref().filter(|cold| !cold.is_empty());
        let beyond = cold.map(|cold| Beyond {
            panes: cold.another_vault(),
            gathers: true,
            behind: None,
            read: VecDeque::new(),
            more: true,
        });
        WholePass { in_memory, beyond }
    }

    /// One turn of it: some panes are put in order, or come out.
    fn put_out_some(
        &mut self,
        core: &mut Core,
        out: &mut dyn Output,
    ) -> Result<Progress, StepError> {
        let Some(mut whole) = self.whole.take() else {
            return Ok(Progress::Done);
        };
        let progress = match whole.beyond.as_mut().filter(|beyond| beyond.gathers) {
            Some(beyond) => {
                self.gather_beyond(core, beyond)?;
                Progress::More
            }
            None => self.fire_in_order(core, &mut whole, out)?,
        };
        if progress == Progress::More {
            self.whole = Some(whole);
        } else {
            // None has changed since.
            self.dirty.clear();
            core.fires_whole = false;
        }
        Ok(progress)
    }

    /// Puts the panes of some more keys in order.
    fn gather_beyond(&mut self, core: &Core, beyond: &mut Beyond) -> Result<(), StepError> {
        let Some(cold) = &mut self.cold else {
            return Ok(());
        };
        let (mut panes, mut bytes) = (Vec::new(), 0);
        while beyond.gathers && bytes < PIECE {
            let in_memory = |key: Option<&[u8]>| self.keys.has(&core.hasher, key);
            beyond.gathers = cold.revise(
                &mut beyond.behind,
                in_memory,
                |key, stored, value, revised| {
                    for session in sessions(value) {
                        let mut name = Vec::new();
                        name.extend(ordered(session.end));
                        name.extend(ordered(session.start));
                        put_entry_key(&mut name, key);
                        bytes += name.len() + session.acc.len();
                        panes.push((name, session.acc.to_vec()));
                    }
                    let changed = sessions(value).filter(|s| s.count > 0).count();
                    if changed == 0 {
                        return;
                    }
                    self.changed -= changed;
                    for s in sessions(value) {
                        let mark = Mark {
                            stored: stored || s.mark.stored,
                            changed: !stored && s.mark.changed || s.count > 0,
                        };
                        SpilledSession {
                            mark,
                            count: 0,
                            ..s
                        }
                        .put(revised);
                    }
                },
            )?;
        }
        if !beyond.gathers {
            beyond.behind = None;
        }
        panes.sort_unstable();
        let mut into = beyond.panes.evict(panes.len())?;
        for (name, acc) in &panes {
            into.set(name, acc)?;
        }
        beyond.panes.admit(into)?;
        Ok(())
    }

    /// Puts out panes until that is a batch of results.
    fn fire_in_order(
        &mut self,
        core: &mut Core,
        whole: &mut WholePass,
        out: &mut dyn Output,
    ) -> Result<Progress, StepError> {
        loop {
            if core.results.is_full() {
                core.flush(out)?;
                return Ok(Progress::More);
            }
            let next = match &mut whole.beyond {
                Some(beyond) => beyond.peek()?,
                None => None,
            };
            let in_memory = whole.in_memory.last().copied();
            let own_place = in_memory.map(|id| {
                let s = &self.all[id as usize];
                ((s.end, s.start), self.keys.key(s.key))
            });
            let spilled = next.map(|entry| (place_of(&entry.name), &entry.value));
            match (own_place, spilled) {
                (None, None) => return Ok(Progress::Done),
                (own, Some((place, acc))) if own.is_none_or(|own| place < own) => {
                    core.results.push(pane(place.1, place.0, acc));
                    whole.beyond.as_mut().map(|beyond| beyond.read.pop_front());
                }
                _ => {
                    whole.in_memory.pop();
                    if let Some(id) = in_memory {
                        self.fire(core, id)?;
                    }
                }
            }
        }
    }
}
