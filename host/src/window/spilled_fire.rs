//! The firing of a window some of whose groups are in the vault: both are gone through in order of their keys, and what
//! stays is written back a batch at a time, so that memory holds a few thousand of them.

use super::core::Core;
use super::fixed::FixedWindows;
use super::fixed_spill::{Scan, SpilledGroup};
use super::results::Pane;
use crate::record::NO_TIMESTAMP;
use crate::spill::Entry;
use crate::step::StepError;

/// The part of a firing that is in the vault.
#[derive(Debug)]
pub(super) struct SpilledFiring {
    scan: Scan,
    /// All fire, not only those with new records.
    all: bool,
    /// The window stays: what fired is as the firing left it.
    stays: bool,
    changed: Vec<Entry>,
}

impl FixedWindows {
    /// The part of a window's firing that is in the vault; none: nothing of it is.
    pub fn spilled_firing(&self, window: u32, all: bool, stays: bool) -> Option<SpilledFiring> {
        let w = &self.windows[window as usize];
        let any = w.spilled.groups > 0 && (all || w.spilled.changed > 0);
        any.then(|| SpilledFiring {
            scan: Scan::of(self.kind(), w),
            all,
            stays,
            changed: Vec::new(),
        })
    }

    /// Fires those groups in the vault whose keys come before that of `until` (none: all), up to a batch of results.
    /// Whether there are more of them.
    pub fn fire_spilled(
        &mut self,
        core: &mut Core,
        window: u32,
        firing: &mut SpilledFiring,
        until: Option<u32>,
    ) -> Result<bool, StepError> {
        loop {
            let w = &mut self.windows[window as usize];
            let Some((entry, key)) = firing.scan.peek(core, w)? else {
                return Ok(false);
            };
            if until.is_some_and(|group| w.key(group) < key) {
                return Ok(false);
            }
            let group = SpilledGroup::read(&entry.value);
            if firing.all || group.count > 0 {
                if core.results.is_full() {
                    return Ok(true);
                }
                core.results.push(Pane {
                    key,
                    start: w.start,
                    end: w.end,
                    newest: group.newest,
                    acc: group.acc,
                });
                let changes = group.count > 0 || core.discards();
                if group.count > 0 {
                    w.spilled.changed -= 1;
                    self.changed -= 1;
                }
                if firing.stays && changes {
                    let discards = core.discards();
                    let init = if discards { Some(core.init()?) } else { None };
                    let stamp = self.stamps.without_batch();
                    let after = SpilledGroup {
                        stamp: group.stamp.max(stamp),
                        count: 0,
                        newest: if discards { NO_TIMESTAMP } else { group.newest },
                        acc: init.as_deref().unwrap_or(group.acc),
                    };
                    w.touched = w.touched.max(after.stamp);
                    let mut value = Vec::new();
                    after.put(&mut value);
                    let name = entry.name.clone();
                    firing.changed.push(Entry { name, value });
                }
            }
            firing.scan.pop();
        }
    }

    /// Writes back what the firing changed.
    pub fn write_fired(
        &mut self,
        core: &mut Core,
        firing: &mut SpilledFiring,
    ) -> Result<(), StepError> {
        let Some(vault) = core.vault.as_mut().filter(|_| !firing.changed.is_empty()) else {
            return Ok(());
        };
        let mut leaving = vault.evict(firing.changed.len())?;
        for entry in firing.changed.drain(..) {
            leaving.set(&entry.name, &entry.value)?;
        }
        vault.admit(leaving)?;
        Ok(())
    }
}
