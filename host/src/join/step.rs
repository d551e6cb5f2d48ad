use crate::config::plan::Port;
use crate::keyed::{
    KeyId, KeyMap, RowId, RowStore, TimeList, TimeQueue, described, key_of, timestamp_of,
};
use crate::plugin::{Fault, Join, RejectKind, Rejected};
use crate::record::{Batch, NO_ROW, RowsBuilder};
use crate::spill::Vault;
use crate::state::{Extent, Mark, StateBuffer, StateRef, Touched};
use crate::step::{Boundary, Output, Progress, Step, StepError};
use crate::time::Watermark;

use super::snapshot::put_name;
use super::{JoinBounds, JoinKind, JoinSpec, Side};

/// Pairs in one call of the function, and rows in one batch put out: a hot key may have any number.
const PAIRS_MAX: usize = 4096;

/// Rows forgotten before the step lets others work.
const FORGET_MAX: usize = 64 * 1024;

/// So many entries of a queue may be of no more use, whatever the number of rows.
const STALE_MIN: usize = 4096;

/// A join of two inputs, one task's share of it.
pub struct JoinStep {
    pub(super) spec: JoinSpec,
    /// None for semi and anti joins.
    function: Option<Box<dyn Join>>,
    pub(super) keys: KeyMap<Lists>,
    pub(super) left: Half,
    pub(super) right: Half,
    pub(super) next_arrival: u64,
    /// Nothing at or before this is expected any more, lateness included. None: nothing is known.
    gone: Option<i64>,
    /// All rows that are to be forgotten are in `due`; else there are more beyond memory.
    collected: bool,
    pub(super) due: Vec<Due>,
    due_done: usize,
    /// Keys that may have no rows any more.
    doubtful: Vec<KeyId>,
}

/// The rows of one key: (timestamp, row).
#[derive(Debug, Default)]
pub(super) struct Lists {
    pub(super) left: TimeList,
    pub(super) right: TimeList,
}

impl Lists {
    pub(super) fn of(&mut self, side: Side) -> &mut TimeList {
        match side {
            Side::Left => &mut self.left,
            Side::Right => &mut self.right,
        }
    }
}

/// The rows of one input.
#[derive(Debug, Default)]
pub(super) struct Half {
    pub(super) rows: RowStore<Beside>,
    /// Rows in order of their times, which is that in which they are forgotten. Entries of rows that went before are
    /// passed over.
    pub(super) expiry: TimeQueue,
    /// Rows from a checkpoint, until there are enough for a chunk.
    pub(super) restored: RowsBuilder,
    pub(super) restored_beside: Vec<Beside>,
    /// Rows that changed since the last snapshot.
    pub(super) touched: Touched,
}

/// What is known of a row that waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Beside {
    pub(super) arrival: u64,
    pub(super) ts: i64,
    pub(super) key: KeyId,
    pub(super) matched: bool,
    /// It is in `due`.
    pub(super) due: bool,
    /// For snapshots.
    pub(super) mark: Mark,
}

impl Beside {
    pub(super) fn new(arrival: u64, ts: i64, key: KeyId, matched: bool) -> Beside {
        Beside {
            arrival,
            ts,
            key,
            matched,
            due: false,
            mark: Mark::default(),
        }
    }
}

/// A row whose time has come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Due {
    ts: i64,
    id: RowId,
    side: Side,
}

/// Pairs found and not yet put out. The incoming row made the pair: it came second.
struct Pairs {
    incoming: Batch,
    rows: Vec<u32>,
    partners: Vec<RowId>,
}

impl JoinStep {
    /// A join. `function` makes values of pairs; semi and anti joins have none.
    pub fn new(spec: JoinSpec, function: Option<Box<dyn Join>>) -> JoinStep {
        JoinStep {
            spec,
            function,
            keys: KeyMap::default(),
            left: Half::default(),
            right: Half::default(),
            next_arrival: 0,
            gone: None,
            collected: true,
            due: Vec::new(),
            due_done: 0,
            doubtful: Vec::new(),
        }
    }

    pub(super) fn half(&mut self, side: Side) -> &mut Half {
        match side {
            Side::Left => &mut self.left,
            Side::Right => &mut self.right,
        }
    }

    /// Whether rows of this side come out when they found no partner.
    fn outer(&self, side: Side) -> bool {
        match self.spec.kind {
            JoinKind::Inner | JoinKind::Semi => false,
            JoinKind::Left | JoinKind::Anti => side == Side::Left,
            JoinKind::Right => side == Side::Right,
            JoinKind::Full => true,
        }
    }

    /// Whether left rows come out (or go) as they are, at their first partner.
    fn by_existence(&self) -> bool {
        matches!(self.spec.kind, JoinKind::Semi | JoinKind::Anti)
    }

    fn is_gone(&self, time: i64) -> bool {
        self.gone.is_some_and(|gone| time <= gone)
    }

    fn advance(&mut self, watermark: Watermark) {
        let gone = match watermark {
            Watermark::NONE => None,
            Watermark::END => Some(i64::MAX),
            // Before the beginning of time: nothing is gone yet.
            Watermark(w) => w.checked_sub(self.spec.allowed_lateness_ms),
        };
        self.gone = self.gone.max(gone);
    }

    /// Puts `rows` of `batch` into state, ids into the lists of their keys.
    pub(super) fn keep(&mut self, side: Side, batch: &Batch, rows: &[u32], beside: &[Beside]) {
        let half = match side {
            Side::Left => &mut self.left,
            Side::Right => &mut self.right,
        };
        let mut ids = Vec::new();
        half.rows
            .keep(batch, rows, beside.iter().copied(), &mut ids);
        let all = half.rows.len();
        for (id, row) in ids.into_iter().zip(beside) {
            half.touched
                .touch(id, &mut half.rows.beside_mut(id).mark, all);
            self.keys.get_mut(row.key).of(side).insert(row.ts, id);
            half.expiry.push(row.ts, id);
        }
    }

    /// Removes a row from state and from its key's list; the key itself goes later (`drop_empty_keys`).
    fn forget(&mut self, side: Side, id: RowId) {
        let half = match side {
            Side::Left => &mut self.left,
            Side::Right => &mut self.right,
        };
        let Beside {
            ts,
            key,
            arrival,
            mark,
            ..
        } = *half.rows.beside(id);
        let bytes = half.rows.len() * size_of::<Beside>();
        half.touched.remove(mark, bytes, |name| {
            put_name(name, side, arrival, self.keys.key(key));
        });
        half.rows.remove(id);
        let there = self.keys.get_mut(key).of(side).remove(ts, id);
        debug_assert!(there, "rows of the store are in the list of their key");
        self.doubtful.push(key);
    }

    /// Makes the queues anew where most entries are of rows that went before (semi and anti joins).
    fn drop_stale(&mut self) {
        for side in [Side::Left, Side::Right] {
            let half = self.half(side);
            if half.expiry.len() > 2 * half.rows.len() + STALE_MIN {
                half.expiry = TimeQueue::default();
                for id in half.rows.ids() {
                    half.expiry.push(half.rows.beside(id).ts, id);
                }
            }
        }
    }

    fn drop_empty_keys(&mut self) {
        for key in std::mem::take(&mut self.doubtful) {
            if self.keys.contains(key) {
                let lists = self.keys.get(key);
                if lists.left.is_empty() && lists.right.is_empty() {
                    self.keys.remove(key);
                }
            }
        }
    }

    /// Calls the function with the pairs found, and puts out what it makes of them.
    fn flush_pairs(
        &mut self,
        side: Side,
        batch: &Batch,
        pairs: &mut Pairs,
        last: bool,
        out: &mut dyn Output,
    ) -> Result<(), StepError> {
        if pairs.rows.is_empty() {
            return Ok(());
        }
        let (rows, partners) = (
            std::mem::take(&mut pairs.rows),
            std::mem::take(&mut pairs.partners),
        );
        let half = match side.other() {
            Side::Left => &self.left,
            Side::Right => &self.right,
        };
        let (mut stored, stored_rows) = half.rows.gather(&partners);
        // A batch of which little matched is cut down first, so that the function doesn't get it all.
        let mut few = Vec::new();
        let mut few_rows = Vec::new();
        if last && rows.len() * 2 < batch.len {
            for &row in &rows {
                if few.last() != Some(&row) {
                    few.push(row);
                }
                few_rows.push(few.len() as u32 - 1);
            }
        }
        let mut cut = (!few.is_empty()).then(|| batch.take(&few));
        let incoming = cut.as_mut().unwrap_or(&mut pairs.incoming);
        let incoming_rows = if few.is_empty() { &rows } else { &few_rows };
        let function = function_of(&mut self.function)?;
        let joined = match side {
            Side::Left => function.join(incoming, &mut stored, incoming_rows, &stored_rows)?,
            Side::Right => function.join(&mut stored, incoming, &stored_rows, incoming_rows)?,
        };
        let source: Vec<u32> = joined
            .pairs
            .iter()
            .map(|&pair| rows[pair as usize])
            .collect();
        let mut result = described(batch).take(&source);
        let later = |(&row, &pair): (&u32, &u32)| {
            let own =
                timestamp_of(batch, row as usize).expect("rows without timestamp are rejected");
            own.max(half.rows.beside(partners[pair as usize]).ts)
        };
        let timestamps: Vec<i64> = source.iter().zip(&joined.pairs).map(later).collect();
        result.timestamps = Some(timestamps.into());
        result.value = joined.batch.value;
        result.headers = joined.batch.headers;
        if result.len > 0 {
            out.emit(Port::Main, result)?;
        }
        if !joined.rejected.is_empty() {
            // The row that made the pair is to blame: once, however many of its pairs failed.
            let mut rejected: Vec<Rejected> = Vec::new();
            for mut one in joined.rejected {
                one.row = rows[one.row as usize];
                if rejected.last().is_none_or(|before| before.row != one.row) {
                    rejected.push(one);
                }
            }
            out.reject(batch, rejected)?;
        }
        Ok(())
    }

    /// Left rows in state found their first partner: a semi join puts them out, an anti join forgets them.
    fn flush_existing(&mut self, ids: &[RowId], out: &mut dyn Output) -> Result<(), StepError> {
        if self.spec.kind == JoinKind::Semi {
            for ids in ids.chunks(PAIRS_MAX) {
                let (batch, at) = self.left.rows.gather(ids);
                out.emit(Port::Main, batch.take(&at))?;
            }
        }
        for &id in ids {
            self.forget(Side::Left, id);
        }
        Ok(())
    }

    /// Collects the rows that are to be forgotten and are no younger than `until`, those that come out first and in order.
    fn collect_due(&mut self, gone: i64, until: i64) {
        let (mut alone, mut silent) = (Vec::new(), Vec::new());
        for side in [Side::Left, Side::Right] {
            let outer = self.outer(side);
            let Some(gone) = self.spec.bounds.gone_until(side, gone) else {
                continue;
            };
            let half = self.half(side);
            for (ts, id) in half.expiry.pop_until(gone.min(until)) {
                // The row may have gone before, and its number may be another's now.
                if !half.rows.contains(id) {
                    continue;
                }
                let beside = half.rows.beside_mut(id);
                if beside.due || beside.ts != ts {
                    continue;
                }
                beside.due = true;
                let due = Due {
                    ts: beside.ts,
                    id,
                    side,
                };
                if outer && !beside.matched {
                    alone.push(due)
                } else {
                    silent.push(due)
                }
            }
        }
        let (keys, left, right) = (&self.keys, &self.left.rows, &self.right.rows);
        let beside = |due: &Due| match due.side {
            Side::Left => left.beside(due.id),
            Side::Right => right.beside(due.id),
        };
        alone.sort_by(|a, b| {
            a.ts.cmp(&b.ts).then_with(|| {
                let (a, b) = (beside(a), beside(b));
                keys.key(a.key)
                    .cmp(&keys.key(b.key))
                    .then(a.arrival.cmp(&b.arrival))
            })
        });
        alone.append(&mut silent);
        self.due = alone;
    }

    /// Puts rows out that found no partner.
    fn emit_unmatched(&mut self, due: &[Due], out: &mut dyn Output) -> Result<(), StepError> {
        let ids = |side| {
            due.iter()
                .filter(|d| d.side == side)
                .map(|d| d.id)
                .collect::<Vec<_>>()
        };
        let (left_ids, right_ids) = (ids(Side::Left), ids(Side::Right));
        if due.is_empty() {
            return Ok(());
        }
        let (mut left, left_at) = self.left.rows.gather(&left_ids);
        if self.spec.kind == JoinKind::Anti {
            return out.emit(Port::Main, left.take(&left_at));
        }
        let (mut right, right_at) = self.right.rows.gather(&right_ids);
        let (mut left_rows, mut right_rows) =
            (Vec::with_capacity(due.len()), Vec::with_capacity(due.len()));
        let (mut next_left, mut next_right) = (left_at.iter(), right_at.iter());
        for one in due {
            let (l, r) = match one.side {
                Side::Left => (next_left.next(), None),
                Side::Right => (None, next_right.next()),
            };
            left_rows.push(l.copied().unwrap_or(NO_ROW));
            right_rows.push(r.copied().unwrap_or(NO_ROW));
        }
        let joined = function_of(&mut self.function)?.join(
            &mut left,
            &mut right,
            &left_rows,
            &right_rows,
        )?;
        let all = Batch::concat(vec![described(&left), described(&right)]);
        let source: Vec<u32> = joined
            .pairs
            .iter()
            .map(|&pair| match left_rows[pair as usize] {
                NO_ROW => left.len as u32 + right_rows[pair as usize],
                row => row,
            })
            .collect();
        let mut result = all.take(&source);
        result.value = joined.batch.value;
        result.headers = joined.batch.headers;
        if result.len > 0 {
            out.emit(Port::Main, result)?;
        }
        let (mut of_left, mut of_right) = (Vec::new(), Vec::new());
        for mut one in joined.rejected {
            let pair = one.row as usize;
            match left_rows[pair] {
                NO_ROW => {
                    one.row = right_rows[pair];
                    of_right.push(one);
                }
                row => {
                    one.row = row;
                    of_left.push(one);
                }
            }
        }
        for (batch, mut rejected) in [(&left, of_left), (&right, of_right)] {
            if !rejected.is_empty() {
                rejected.sort_by_key(|r| r.row);
                out.reject(batch, rejected)?;
            }
        }
        Ok(())
    }
}

fn function_of(function: &mut Option<Box<dyn Join>>) -> Result<&mut Box<dyn Join>, StepError> {
    function.as_mut().ok_or_else(|| {
        let message = "a join that makes pairs was planned without a function".to_owned();
        StepError::Fault(Fault {
            message,
            kind: RejectKind::Step,
            log: Vec::new(),
        })
    })
}

fn no(what: &str, row: u32) -> Rejected {
    let message = format!("a join needs records with a {what}, this one has none");
    Rejected {
        row,
        kind: RejectKind::Step,
        message,
        log: Vec::new(),
    }
}

impl Step for JoinStep {
    fn on_batch(
        &mut self,
        input: usize,
        mut batch: Batch,
        out: &mut dyn Output,
    ) -> Result<(), StepError> {
        self.seal_restored();
        self.fetch(
            (0..batch.len).filter_map(|row| Some(key_of(&batch, row)).filter(Option::is_some)),
        )?;
        let side = Side::of(input);
        batch.windows = None;
        let bounds = self.spec.bounds.clone();
        let (by_existence, outer) = (self.by_existence(), self.outer(side));
        let (mut rejected, mut late, mut existing_rows) = (Vec::new(), Vec::new(), Vec::new());
        let (mut kept_rows, mut kept) =
            (Vec::with_capacity(batch.len), Vec::with_capacity(batch.len));
        let mut existing: Vec<RowId> = Vec::new();
        let mut pairs = Pairs {
            incoming: batch.clone(),
            rows: Vec::new(),
            partners: Vec::new(),
        };
        for row in 0..batch.len {
            let number = row as u32;
            let Some(key) = key_of(&batch, row) else {
                rejected.push(no("key", number));
                continue;
            };
            let Some(ts) = timestamp_of(&batch, row) else {
                rejected.push(no("timestamp", number));
                continue;
            };
            if self.is_gone(bounds.late_after(side, ts)) {
                late.push(number);
                continue;
            }
            let arrival = self.next_arrival;
            self.next_arrival += 1;
            let key = self.keys.find_or_insert(Some(key), Lists::default);
            let lists = self.keys.get(key);
            let found = match (side, bounds.partners(side, ts)) {
                (_, None) => &[],
                (Side::Left, Some(range)) => lists.right.range(range),
                (Side::Right, Some(range)) => lists.left.range(range),
            };
            let matched = !found.is_empty();
            let mut stays = outer || !self.is_gone(bounds.last_match(side, ts));
            if by_existence && side == Side::Left {
                if matched && self.spec.kind == JoinKind::Semi {
                    existing_rows.push(number);
                }
                stays &= !matched;
            } else if by_existence {
                // Left rows found here leave with the flush below; `matched` keeps them from being found twice.
                let first = existing.len();
                for &(_, id) in found {
                    let left = self.left.rows.beside_mut(id);
                    if !std::mem::replace(&mut left.matched, true) {
                        existing.push(id);
                    }
                }
                existing[first..].sort_unstable_by_key(|&id| self.left.rows.beside(id).arrival);
            } else if matched {
                let half = match side.other() {
                    Side::Left => &mut self.left,
                    Side::Right => &mut self.right,
                };
                let first = pairs.partners.len();
                let all = half.rows.len();
                for &(_, id) in found {
                    let beside = half.rows.beside_mut(id);
                    if !std::mem::replace(&mut beside.matched, true) {
                        half.touched.touch(id, &mut beside.mark, all);
                    }
                    pairs.partners.push(id);
                }
                pairs.rows.resize(pairs.partners.len(), number);
                if found.len() > 1 {
                    pairs.partners[first..]
                        .sort_unstable_by_key(|&id| half.rows.beside(id).arrival);
                }
            }
            if stays {
                kept_rows.push(number);
                kept.push(Beside::new(arrival, ts, key, matched));
            } else {
                self.doubtful.push(key);
            }
            if pairs.rows.len() >= PAIRS_MAX {
                self.flush_pairs(side, &batch, &mut pairs, false, out)?;
            }
        }
        self.flush_pairs(side, &batch, &mut pairs, true, out)?;
        if !existing_rows.is_empty() {
            out.emit(Port::Main, batch.take(&existing_rows))?;
        }
        self.flush_existing(&existing, out)?;
        self.keep(side, &batch, &kept_rows, &kept);
        self.drop_empty_keys();
        if !rejected.is_empty() {
            out.reject(&batch, rejected)?;
        }
        if !late.is_empty() {
            out.count_late(late.len() as u64);
            out.emit(Port::Late, batch.take(&late))?;
        }
        Ok(())
    }

    fn on_boundary(
        &mut self,
        at: Boundary<'_>,
        out: &mut dyn Output,
    ) -> Result<Progress, StepError> {
        self.seal_restored();
        self.advance(if at.end { Watermark::END } else { at.watermark });
        if self.due_done == self.due.len() {
            self.due.clear();
            self.due_done = 0;
            if let Some(gone) = self.gone {
                let until = self.bring_due(gone)?;
                self.collect_due(gone, until);
                self.collected = until == i64::MAX;
            }
        }
        let rest = &self.due[self.due_done..];
        let unmatched = |due: &Due| {
            let half = if due.side == Side::Left {
                &self.left
            } else {
                &self.right
            };
            self.outer(due.side) && !half.rows.beside(due.id).matched
        };
        let emitted = rest
            .iter()
            .take(PAIRS_MAX)
            .take_while(|due| unmatched(due))
            .count();
        let done: Vec<Due> = if emitted > 0 {
            rest[..emitted].to_vec()
        } else {
            rest.iter().take(FORGET_MAX).copied().collect()
        };
        self.emit_unmatched(&done[..emitted], out)?;
        for due in &done {
            self.forget(due.side, due.id);
        }
        self.due_done += done.len();
        self.drop_empty_keys();
        if self.due_done < self.due.len() {
            return Ok(Progress::More);
        }
        self.due = Vec::new();
        self.due_done = 0;
        self.drop_stale();
        Ok(if self.collected {
            Progress::Done
        } else {
            Progress::More
        })
    }

    /// Less by the greatest age that a row has when it comes out.
    fn output_watermark(&self, watermark: Watermark) -> Watermark {
        if watermark == Watermark::NONE || watermark == Watermark::END {
            return watermark;
        }
        let age = match self.spec.bounds {
            JoinBounds::Window { size, .. } => size - 1,
            JoinBounds::Interval { from, to, .. } => match self.spec.kind {
                JoinKind::Inner => 0,
                JoinKind::Left | JoinKind::Semi | JoinKind::Anti => to,
                JoinKind::Right => from.saturating_neg(),
                JoinKind::Full => to.max(from.saturating_neg()),
            },
        };
        Watermark(
            watermark
                .0
                .saturating_sub(age.max(0))
                .saturating_sub(self.spec.allowed_lateness_ms),
        )
    }

    fn snapshot(&mut self, extent: Extent, into: &mut StateBuffer) -> Result<Extent, StepError> {
        self.seal_restored();
        let extent = self.snapshot_rows(extent, into);
        self.snapshot_cold(extent, into)?;
        Ok(extent)
    }

    fn restore(&mut self, entry: StateRef<'_>) -> Result<(), StepError> {
        self.restore_entry(entry)
    }

    fn resume(&mut self, at: Boundary<'_>) {
        self.seal_restored();
        self.advance(at.watermark);
    }

    fn function_stats(&self) -> Option<crate::plugin::FunctionStats> {
        self.function.as_ref().map(|f| f.stats())
    }

    fn state_bytes(&self) -> usize {
        let half = |half: &Half| {
            half.rows.bytes()
                + half.expiry.bytes()
                + half.touched.memory()
                + half.rows.len() * size_of::<(i64, u32)>()
        };
        self.keys.bytes() + half(&self.left) + half(&self.right)
    }

    fn growth(&self) -> usize {
        self.keys.growth()
    }

    fn take_vault(&mut self, vault: Vault) {
        self.keys.set_vault(vault);
    }

    fn shed(&mut self, bytes_max: usize) -> Result<(), StepError> {
        self.shed_rows(bytes_max)
    }

    fn disk_bytes(&self) -> u64 {
        self.keys.disk_bytes()
    }
}
