//! The firing of a sliding window some of whose slices are in the vault: all its slices are gone through together, in
//! order of their keys, so that memory holds some thousand keys of it. (What is in memory is merged slice by slice,
//! which is faster, and holds all of the window.)

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::codec::SLICE;
use super::core::Core;
use super::fixed::FixedWindows;
use super::fixed_spill::{Scan, SpilledGroup};
use super::results::Pane;
use crate::record::{Blobs, NO_TIMESTAMP};
use crate::step::StepError;

/// Keys merged at once.
const KEYS_A_TURN: usize = 4096;
/// Bytes of accumulators merged at once.
const BYTES_A_TURN: usize = 1 << 20;

/// A key of a slice, by the key, then the slice's place: what comes first.
type Head = Reverse<(Option<Vec<u8>>, usize)>;

/// A group of a slice: whether it is in memory (else in the vault), and its key.
type NextGroup<'a> = (bool, Option<&'a [u8]>);

/// A window on its way out.
#[derive(Debug)]
pub(super) struct StreamedFiring {
    start: i64,
    end: i64,
    slices: Vec<Cursor>,
    /// Where each slice stands, but those that are done.
    heads: BinaryHeap<Head>,
}

/// A slice that is gone through.
#[derive(Debug)]
struct Cursor {
    slice: u32,
    /// Its groups in memory, the next one last.
    groups: Vec<u32>,
    scan: Scan,
}

impl Cursor {
    /// Its next group; none: it is done.
    fn next<'a>(
        &'a mut self,
        core: &Core,
        slices: &'a FixedWindows,
    ) -> Result<Option<NextGroup<'a>>, StepError> {
        let w = &slices.windows[self.slice as usize];
        let group = self.groups.last().map(|g| w.key(*g));
        let spilled = self.scan.peek(core, w)?.map(|(_, key)| key);
        Ok(match (group, spilled) {
            (Some(group), Some(spilled)) if spilled < group => Some((false, spilled)),
            (Some(group), _) => Some((true, group)),
            (None, Some(spilled)) => Some((false, spilled)),
            (None, None) => None,
        })
    }

    fn key(
        &mut self,
        core: &Core,
        slices: &FixedWindows,
    ) -> Result<Option<Option<Vec<u8>>>, StepError> {
        let next = self.next(core, slices)?;
        Ok(next.map(|(_, key)| key.map(<[u8]>::to_vec)))
    }

    /// The accumulator of the next group, which is done then.
    fn take(&mut self, core: &Core, slices: &FixedWindows) -> Result<Vec<u8>, StepError> {
        let w = &slices.windows[self.slice as usize];
        let in_memory = self.next(core, slices)?.is_some_and(|next| next.0);
        if in_memory {
            let group = self.groups.pop().unwrap_or_default();
            return Ok(w.groups.acc(group).to_vec());
        }
        let acc = self.scan.peek(core, w)?;
        let acc = acc.map(|(entry, _)| SpilledGroup::read(&entry.value).acc.to_vec());
        self.scan.pop();
        Ok(acc.unwrap_or_default())
    }
}

impl StreamedFiring {
    /// The firing of a window, if anything of it is in the vault.
    pub fn of(
        slices: &FixedWindows,
        core: &Core,
        start: i64,
        end: i64,
    ) -> Result<Option<StreamedFiring>, StepError> {
        let first = start.saturating_add(1);
        let within: Vec<u32> = match first <= end {
            true => slices.by_end.range(first..=end).map(|s| *s.1).collect(),
            false => Vec::new(),
        };
        let spilled = |s: &u32| slices.windows[*s as usize].spilled.groups > 0;
        if !within.iter().any(spilled) {
            return Ok(None);
        }
        let cursors = within.into_iter().map(|slice| {
            let w = &slices.windows[slice as usize];
            let mut groups: Vec<u32> = (0..w.groups.len() as u32).collect();
            w.sort(&mut groups);
            groups.reverse();
            Cursor {
                slice,
                groups,
                scan: Scan::of(SLICE, w),
            }
        });
        let mut firing = StreamedFiring {
            start,
            end,
            slices: cursors.collect(),
            heads: BinaryHeap::new(),
        };
        for at in 0..firing.slices.len() {
            firing.note_head(slices, core, at)?;
        }
        Ok(Some(firing))
    }

    fn note_head(
        &mut self,
        slices: &FixedWindows,
        core: &Core,
        at: usize,
    ) -> Result<(), StepError> {
        if let Some(key) = self.slices[at].key(core, slices)? {
            self.heads.push(Reverse((key, at)));
        }
        Ok(())
    }

    /// Merges some thousand keys and hands out their panes. Whether there are more.
    pub fn step(&mut self, slices: &FixedWindows, core: &mut Core) -> Result<bool, StepError> {
        let mut keys: Vec<Option<Vec<u8>>> = Vec::new();
        // Of each key the accumulators of its slices, in their order.
        let mut parts: Vec<Vec<Vec<u8>>> = Vec::new();
        let mut bytes = 0;
        while let Some(Reverse((key, _))) = self.heads.peek() {
            let same = keys.last() == Some(key);
            if !same && (keys.len() >= KEYS_A_TURN || bytes >= BYTES_A_TURN) {
                break;
            }
            let Some(Reverse((key, at))) = self.heads.pop() else {
                break;
            };
            let acc = self.slices[at].take(core, slices)?;
            bytes += acc.len();
            match parts.last_mut() {
                Some(last) if same => last.push(acc),
                _ => {
                    keys.push(key);
                    parts.push(vec![acc]);
                }
            }
            self.note_head(slices, core, at)?;
        }
        let mut parts: Vec<_> = parts.into_iter().map(Vec::into_iter).collect();
        let mut merged: Vec<Vec<u8>> = parts.iter_mut().filter_map(Iterator::next).collect();
        loop {
            let (mut members, mut left, mut right) =
                (Vec::new(), Blobs::default(), Blobs::default());
            for (member, rest) in parts.iter_mut().enumerate() {
                if let Some(acc) = rest.next() {
                    members.push(member);
                    left.push(&merged[member]);
                    right.push(&acc);
                }
            }
            if members.is_empty() {
                break;
            }
            let together = core.merge(&left, &right)?;
            for (member, acc) in members.into_iter().zip(together.iter()) {
                merged[member] = acc.to_vec();
            }
        }
        for (key, acc) in keys.iter().zip(&merged) {
            core.results.push(Pane {
                key: key.as_deref(),
                start: self.start,
                end: self.end,
                newest: NO_TIMESTAMP,
                acc,
            });
        }
        Ok(!self.heads.is_empty())
    }
}
