//! What a boundary does to tumbling, sliding and global windows: which groups fire, which windows go.

use super::Emit;
use super::core::Core;
use super::fixed::FixedWindows;
use super::spilled_fire::SpilledFiring;
use super::time::{Move, StepTime, next_multiple};
use crate::plugin::TimeDomain;
use crate::step::{Boundary, Output, Progress, StepError, WholeFiring};

/// Which groups of a window fire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    All,
    Changed,
}

/// A boundary that is being worked on: it is done in parts, so that no output grows without bound.
#[derive(Debug)]
pub(super) struct Closing {
    to: StepTime,
    /// Windows still to do, the next one last.
    windows: Vec<(u32, Scope)>,
    /// The window being done, and those of its groups that fire, the next one last.
    current: Option<Firing>,
}

/// A window that is being put out.
#[derive(Debug)]
struct Firing {
    window: u32,
    groups: Vec<u32>,
    /// What of it is in the vault.
    spilled: Option<SpilledFiring>,
}

impl FixedWindows {
    /// Time moves. Answers `More` after each few thousand results.
    pub fn on_boundary(
        &mut self,
        core: &mut Core,
        at: &Boundary<'_>,
        out: &mut dyn Output,
    ) -> Result<Progress, StepError> {
        let mut closing = match self.closing.take() {
            Some(closing) => closing,
            None => self.plan(core, at),
        };
        loop {
            let Some(firing) = &mut closing.current else {
                let Some((window, scope)) = closing.windows.pop() else {
                    core.flush(out)?;
                    core.time = closing.to;
                    core.fires_whole = false;
                    self.dirty
                        .retain(|w| self.windows[*w as usize].has_changed());
                    self.forget_dropped(core)?;
                    return Ok(Progress::Done);
                };
                let end = self.windows[window as usize].end;
                let stays = !core.retention.is_past(end, closing.to.passed);
                closing.current = Some(Firing {
                    window,
                    spilled: self.spilled_firing(window, scope == Scope::All, stays),
                    groups: self.firing_groups(window, scope),
                });
                continue;
            };
            let window = firing.window;
            if self.fire_some(core, firing)? {
                core.flush(out)?;
                self.closing = Some(closing);
                return Ok(Progress::More);
            }
            closing.current = None;
            let w = &mut self.windows[window as usize];
            w.dirty.clear();
            if core.retention.is_past(w.end, closing.to.passed) {
                self.drop_window(window);
            }
        }
    }

    /// Fires groups of a window that stays: these, which are in order of their keys, and those in the vault.
    pub fn fire_window(
        &mut self,
        core: &mut Core,
        window: u32,
        mut groups: Vec<u32>,
        out: &mut dyn Output,
    ) -> Result<(), StepError> {
        groups.reverse();
        let spilled = self.spilled_firing(window, true, true);
        let mut firing = Firing {
            window,
            groups,
            spilled,
        };
        while self.fire_some(core, &mut firing)? {
            core.flush(out)?;
        }
        Ok(())
    }

    /// Fires groups of a window, wherever they are, in order of their keys, until there is a batch of results. Whether
    /// there is more to do.
    fn fire_some(&mut self, core: &mut Core, firing: &mut Firing) -> Result<bool, StepError> {
        let window = firing.window;
        let mut full = false;
        while !full {
            if let Some(spilled) = &mut firing.spilled {
                let until = firing.groups.last().copied();
                if self.fire_spilled(core, window, spilled, until)? {
                    full = true;
                    break;
                }
            }
            let Some(group) = firing.groups.pop() else {
                break;
            };
            self.fire(core, window, group)?;
            full = core.results.is_full();
        }
        if let Some(spilled) = &mut firing.spilled {
            self.write_fired(core, spilled)?;
        }
        Ok(full)
    }

    /// Which windows have something to do, in order of their ends.
    fn plan(&self, core: &Core, at: &Boundary<'_>) -> Closing {
        let to = core.time.after(&core.spec, at);
        let step = Move::new(core.time, to, &core.spec.trigger);
        let retention = core.retention;
        let closes_now = |end: i64| {
            retention.is_closed(end, to.passed) && !retention.is_closed(end, step.from.passed)
        };
        let closed = || {
            self.by_end
                .iter()
                .take_while(|(end, _)| retention.is_closed(**end, to.passed))
        };
        let open_fires = step.due || core.fires_each_boundary();
        let own = || self.changed > 0 && (open_fires || closed().any(|(end, _)| closes_now(*end)));
        let everything = core.spec.emit == Emit::Complete && (core.fires_whole || own());
        let mut windows: Vec<(u32, Scope)> = Vec::new();
        if everything {
            windows.extend(self.by_end.values().map(|w| (*w, Scope::All)));
        } else {
            for (&end, &window) in closed() {
                let whole = core.spec.emit == Emit::Append && !core.discards() && closes_now(end);
                let changed = self.windows[window as usize].has_changed();
                if whole || changed || retention.is_past(end, to.passed) {
                    windows.push((window, if whole { Scope::All } else { Scope::Changed }));
                }
            }
            if open_fires {
                let end = |w: u32| self.windows[w as usize].end;
                let mut open: Vec<u32> = self
                    .dirty
                    .iter()
                    .copied()
                    .filter(|w| !retention.is_closed(end(*w), to.passed))
                    .collect();
                open.sort_by_key(|w| end(*w));
                windows.extend(open.into_iter().map(|w| (w, Scope::Changed)));
            }
        }
        windows.reverse();
        Closing {
            to,
            windows,
            current: None,
        }
    }

    /// What a boundary would do in complete mode.
    pub fn firing(&self, core: &Core, at: &Boundary<'_>) -> WholeFiring {
        let to = core.time.after(&core.spec, at);
        let step = Move::new(core.time, to, &core.spec.trigger);
        let closes_now = |end: &i64| {
            core.retention.is_closed(*end, to.passed)
                && !core.retention.is_closed(*end, step.from.passed)
        };
        WholeFiring {
            changed: self.changed > 0,
            due: step.due || core.fires_each_boundary() || self.by_end.keys().any(closes_now),
        }
    }

    /// The groups of a window that fire, the first one last.
    fn firing_groups(&mut self, window: u32, scope: Scope) -> Vec<u32> {
        let w = &mut self.windows[window as usize];
        let mut groups: Vec<u32> = match scope {
            Scope::All => (0..w.groups.len() as u32).collect(),
            Scope::Changed => {
                let mut dirty = std::mem::take(&mut w.dirty);
                dirty.sort_unstable();
                dirty.dedup();
                dirty.retain(|g| w.groups[*g].count > 0);
                dirty
            }
        };
        w.sort(&mut groups);
        groups.reverse();
        groups
    }

    /// Processing time at which something is to be done.
    pub fn next_wakeup(&self, core: &Core) -> Option<i64> {
        let closes = match core.spec.time {
            TimeDomain::Processing => self
                .by_end
                .keys()
                .next()
                .copied()
                .filter(|end| *end != i64::MAX),
            TimeDomain::Event => None,
        };
        let triggers = if self.dirty.is_empty() {
            None
        } else {
            next_multiple(&core.spec.trigger, core.time.now)
        };
        [closes, triggers].into_iter().flatten().min()
    }
}
