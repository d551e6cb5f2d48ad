//! Count windows: at each m-th record of a key its last n; at the end, what came since.
//!
//! Every window that a record counts in has its own accumulator (a pane, named after the number of the
//! record at which it fires), so all records of a batch go into one call of `add`, however many windows they fill.

use std::borrow::Cow;

use super::accumulators::Accumulators;
use super::codec::put_count_name;
use super::core::{Arrivals, Core, LeftOut};
use super::count_spill::Closing;
use super::key_table::KeyTable;
use super::keys::key_of;
use super::results::Pane;
use super::round::{Round, RowSet, Tried};
use crate::keyed::ColdKeys;
use crate::record::{Batch, Blobs, NO_TIMESTAMP};
use crate::state::{Mark, Touched};
use crate::step::{Boundary, Output, Progress, StepError};

const NONE: u32 = u32::MAX;
/// `fires_at` of the pane that holds what came since the last firing, where no window's pane does.
pub(super) const TAIL: u64 = 0;
/// Pairs of record and pane a call of `add`.
const PAIRS_A_CALL: usize = 1 << 16;

/// Records of a key that fire together.
#[derive(Clone, Copy, Debug)]
pub(super) struct CountPane {
    /// Number of the key's record at which it fires.
    pub fires_at: u64,
    /// Newest timestamp of its records.
    pub newest: i64,
    /// Its place among accumulators.
    pub acc: u32,
}

/// What a key has.
#[derive(Debug, Default)]
pub(super) struct CountKey {
    /// Its records so far.
    pub records: u64,
    /// In order of `fires_at`, the tail first.
    pub panes: Vec<CountPane>,
    /// For snapshots.
    pub mark: Mark,
}

/// What the batch makes of a key.
#[derive(Debug)]
struct Local {
    key: u32,
    records: u64,
    /// Groups of the round, in order of `fires_at`, the tail first.
    open: Vec<u32>,
}

/// A pane in the round.
#[derive(Clone, Copy, Debug)]
struct Draft {
    local: u32,
    fires_at: u64,
    newest: i64,
    /// Where it is stored; `NONE`: it is new.
    acc: u32,
}

/// What a batch does.
#[derive(Debug, Default)]
struct Plan {
    round: Round,
    drafts: Vec<Draft>,
    /// Drafts that are full, in the order in which they became so.
    fired: Vec<u32>,
    locals: Vec<Local>,
}

/// The state of count windows.
#[derive(Debug)]
pub(super) struct Counts {
    pub size: u64,
    pub every: u64,
    pub keys: KeyTable<CountKey>,
    pub accs: Accumulators,
    free: Vec<u32>,
    /// For snapshots.
    pub touched: Touched,
    pub closing: Option<Closing>,
    /// Keys beyond memory, if there may be any.
    pub cold: Option<ColdKeys>,
}

impl Counts {
    /// None yet.
    pub fn new(size: u64, every: u64) -> Counts {
        Counts {
            size: size.max(1),
            every: every.max(1),
            keys: KeyTable::default(),
            accs: Accumulators::default(),
            free: Vec::new(),
            touched: Touched::default(),
            closing: None,
            cold: None,
        }
    }

    /// Adds records to the windows of their keys, and fires those that are full.
    pub fn on_batch(
        &mut self,
        core: &mut Core,
        batch: &Batch,
        arrivals: &Arrivals,
        left_out: &mut LeftOut,
        out: &mut dyn Output,
    ) -> Result<(), StepError> {
        self.fetch(core, batch, arrivals)?;
        let panes_each = usize::try_from(self.size / self.every + 2).unwrap_or(usize::MAX);
        let rows_a_call = (PAIRS_A_CALL / panes_each).max(1);
        for rows in arrivals.rows.chunks(rows_a_call) {
            let mut rows = rows.to_vec();
            while !rows.is_empty() {
                let plan = self.plan(batch, arrivals, &rows);
                let init = core.init()?;
                let stored = |d: &Draft| {
                    if d.acc == NONE {
                        &init[..]
                    } else {
                        self.accs.get(d.acc as usize)
                    }
                };
                let accs: Blobs = plan.drafts.iter().map(stored).collect();
                match core.try_round(batch, &plan.round, &accs)? {
                    Tried::Added(accs) => {
                        self.keep(&plan, &accs);
                        self.fire(core, &plan, &accs, out)?;
                        rows.clear();
                    }
                    Tried::Rejected(rejected) => {
                        let gone = RowSet::of(batch, &rejected);
                        rows.retain(|row| !gone.has(*row));
                        left_out.rejected.extend(rejected);
                    }
                }
                self.drop_empty_keys(core, &plan);
            }
            core.check_groups(self.accs.len() - self.free.len())?;
        }
        core.flush(out)
    }

    /// Which panes each record goes to, and which of them fire, in order. Changes nothing but which keys there are.
    fn plan(&mut self, batch: &Batch, arrivals: &Arrivals, rows: &[u32]) -> Plan {
        self.keys.next_stamp();
        let mut plan = Plan::default();
        let has_tail = !self.size.is_multiple_of(self.every);
        for &row in rows {
            let key = key_of(batch.keys.as_ref(), row as usize);
            let local = self.local(arrivals.hashes[row as usize], key, &mut plan);
            let Plan {
                round,
                drafts,
                fired,
                locals,
            } = &mut plan;
            let Local { records, open, .. } = &mut locals[local as usize];
            *records += 1;
            let draft = |fires_at: u64| Draft {
                local,
                fires_at,
                newest: NO_TIMESTAMP,
                acc: NONE,
            };
            if has_tail
                && open
                    .first()
                    .is_none_or(|d| drafts[*d as usize].fires_at != TAIL)
            {
                open.insert(0, drafts.len() as u32);
                drafts.push(draft(TAIL));
            }
            let opened = open.last().map_or(0, |d| drafts[*d as usize].fires_at);
            let mut fires_at = (*records).max(opened + 1).div_ceil(self.every) * self.every;
            while fires_at < *records + self.size {
                open.push(drafts.len() as u32);
                drafts.push(draft(fires_at));
                fires_at += self.every;
            }
            for &pane in open.iter() {
                round.rows.push(row);
                round.groups.push(pane);
                let newest = &mut drafts[pane as usize].newest;
                *newest = (*newest).max(arrivals.times[row as usize]);
            }
            if records.is_multiple_of(self.every) {
                open.retain(|pane| {
                    let fires_at = drafts[*pane as usize].fires_at;
                    if fires_at == *records {
                        fired.push(*pane);
                    }
                    fires_at != *records && fires_at != TAIL
                });
            }
        }
        plan.round.members.extend(0..plan.drafts.len() as u32);
        plan
    }

    /// The batch's entry for a key, with the panes that are stored for it.
    fn local(&mut self, hash: u64, key: Option<&[u8]>, plan: &mut Plan) -> u32 {
        let key = self.key(hash, key);
        let stamp = self.keys.stamp;
        let entry = &mut self.keys[key];
        if entry.stamp != stamp {
            let local = plan.locals.len() as u32;
            (entry.stamp, entry.local) = (stamp, local);
            let first = plan.drafts.len() as u32;
            let stored = |p: &CountPane| Draft {
                local,
                fires_at: p.fires_at,
                newest: p.newest,
                acc: p.acc,
            };
            plan.drafts.extend(entry.of.panes.iter().map(stored));
            let open = (first..plan.drafts.len() as u32).collect();
            plan.locals.push(Local {
                key,
                records: entry.of.records,
                open,
            });
        }
        entry.local
    }

    /// Writes the plan and its accumulators back.
    fn keep(&mut self, plan: &Plan, accs: &Blobs) {
        let all = self.keys.numbers();
        for local in &plan.locals {
            for pane in std::mem::take(&mut self.keys[local.key].of.panes) {
                self.accs.release(pane.acc as usize);
                self.free.push(pane.acc);
            }
            let mut panes = Vec::with_capacity(local.open.len());
            for &draft in &local.open {
                let Draft {
                    fires_at, newest, ..
                } = plan.drafts[draft as usize];
                panes.push(CountPane {
                    fires_at,
                    newest,
                    acc: self.store(accs.get(draft as usize)),
                });
            }
            let kept = &mut self.keys[local.key].of;
            (kept.records, kept.panes) = (local.records, panes);
            self.touched.touch(local.key, &mut kept.mark, all);
        }
    }

    /// Puts out the panes that are full.
    fn fire(
        &self,
        core: &mut Core,
        plan: &Plan,
        accs: &Blobs,
        out: &mut dyn Output,
    ) -> Result<(), StepError> {
        for &draft in &plan.fired {
            let Draft { local, newest, .. } = plan.drafts[draft as usize];
            let key = self.keys.key(plan.locals[local as usize].key);
            core.results
                .push(pane(key, newest, accs.get(draft as usize)));
            if core.results.is_full() {
                core.flush(out)?;
            }
        }
        Ok(())
    }

    /// Keys without panes are like new ones: they go.
    fn drop_empty_keys(&mut self, core: &Core, plan: &Plan) {
        for local in &plan.locals {
            if self.keys[local.key].of.panes.is_empty() {
                self.remove_key(core, local.key);
            }
        }
    }

    fn remove_key(&mut self, core: &Core, key: u32) {
        let bytes = self.keys.numbers() * size_of::<CountKey>();
        let kept = std::mem::take(&mut self.keys[key].of);
        for pane in kept.panes {
            self.accs.release(pane.acc as usize);
            self.free.push(pane.acc);
        }
        let of = self.keys.key(key);
        self.touched
            .remove(kept.mark, bytes, |name| put_count_name(name, of));
        if let (true, Some(cold)) = (self.keys[key].below, &mut self.cold) {
            cold.bury(of);
        }
        let hash = core.hasher.hash(of);
        self.keys.remove(hash, key);
    }

    /// Time moves: at the end of it everything comes out.
    pub fn on_boundary(
        &mut self,
        core: &mut Core,
        at: &Boundary<'_>,
        out: &mut dyn Output,
    ) -> Result<Progress, StepError> {
        let mut closing = match self.closing.take() {
            Some(closing) => closing,
            None => {
                let to = core.time.after(&core.spec, at);
                if !core.retention.is_closed(i64::MAX, to.passed) {
                    core.time = to;
                    return Ok(Progress::Done);
                }
                self.start_closing(core, to)?
            }
        };
        loop {
            while let Some(key) = closing.keys.pop() {
                self.fire_rest(core, key);
                self.remove_key(core, key);
                if core.results.is_full() {
                    core.flush(out)?;
                    self.closing = Some(closing);
                    return Ok(Progress::More);
                }
            }
            if !closing.more {
                break;
            }
            self.close_more(core, &mut closing)?;
        }
        core.flush(out)?;
        core.time = closing.to;
        Ok(Progress::Done)
    }

    /// Puts out what came since the key last fired.
    fn fire_rest(&self, core: &mut Core, key: u32) {
        let entry = &self.keys[key].of;
        let fired = entry.records - entry.records % self.every;
        if fired == entry.records {
            return;
        }
        // The pane that holds exactly what came since: the tail, or the one that began right after the last firing.
        let rest = |p: &&CountPane| p.fires_at == TAIL || p.fires_at == fired + self.size;
        if let Some(p) = entry.panes.iter().find(rest) {
            core.results.push(pane(
                self.keys.key(key),
                p.newest,
                self.accs.get(p.acc as usize),
            ));
        }
    }

    /// All keys.
    pub fn live(&self) -> Vec<u32> {
        self.keys.live().collect()
    }

    pub fn store(&mut self, acc: &[u8]) -> u32 {
        match self.free.pop() {
            Some(at) => {
                self.accs.set(at as usize, acc);
                at
            }
            None => {
                self.accs.push(acc);
                self.accs.len() as u32 - 1
            }
        }
    }

    /// The number of a key, made if there is none.
    pub fn key(&mut self, hash: u64, key: Option<&[u8]>) -> u32 {
        self.keys.find_or_make(hash, key, CountKey::default)
    }

    /// Puts back a key that a checkpoint holds: (fires at, newest, accumulator) of each pane. Refused where it is there.
    pub fn restore(
        &mut self,
        core: &Core,
        key: Option<&[u8]>,
        records: u64,
        panes: &[(u64, i64, Cow<'_, [u8]>)],
    ) -> bool {
        let key = self.key(core.hasher.hash(key), key);
        if !self.keys[key].of.panes.is_empty() {
            return false;
        }
        let stored = panes.iter().map(|(fires_at, newest, acc)| CountPane {
            fires_at: *fires_at,
            newest: *newest,
            acc: self.store(acc),
        });
        let stored: Vec<CountPane> = stored.collect();
        let kept = &mut self.keys[key].of;
        (kept.records, kept.panes) = (records, stored);
        true
    }

    /// Bytes that they may grow by at once (`Step::growth`).
    pub fn growth(&self) -> usize {
        self.keys.growth() + self.accs.growth()
    }

    /// Bytes of memory.
    pub fn memory(&self) -> usize {
        let panes = self.keys.all().map(|k| k.panes.capacity());
        panes.sum::<usize>() * size_of::<CountPane>()
            + self.keys.memory()
            + self.accs.memory()
            + self.touched.memory()
            + self.cold.as_ref().map_or(0, ColdKeys::memory)
            + self.free.capacity() * size_of::<u32>()
    }
}

fn pane<'a>(key: Option<&'a [u8]>, newest: i64, acc: &'a [u8]) -> Pane<'a> {
    Pane {
        key,
        start: i64::MIN,
        end: i64::MAX,
        newest,
        acc,
    }
}
