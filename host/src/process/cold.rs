//! Keys of a process step beyond memory: which leave, and how they come back, for records and for timers.
//!
//! Timers fire in order of time and key, wherever their keys are: those of keys beyond memory are brought back some
//! thousand at a time, in that order, and none in memory that comes behind them fires before.

use crate::keyed::{Dues, KeyId, first_to_leave, leave};
use crate::plugin::TimeDomain;
use crate::step::{Progress, StepError};

use super::ProcessStep;
use super::keyed::{Keyed, TTL};
use super::snapshot::{decode, encode};
use super::timers::Firing;

/// Keys brought back at once; few in tests, so that it takes several turns.
const KEYS_A_TURN: usize = if cfg!(test) { 2 } else { 4096 };

const WHOLE: &str = "a vault gives back what was put in";

/// How far the timers of keys beyond memory were brought back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Brought {
    /// None were.
    None,
    /// Those up to this time and name of key.
    Until(i64, Vec<u8>),
    /// All.
    All,
}

impl Brought {
    /// So many keys are beyond memory.
    pub fn start(cold: usize) -> Brought {
        match cold {
            0 => Brought::All,
            _ => Brought::None,
        }
    }

    /// Whether a timer comes before all that were not brought back.
    pub fn covers<'k>(&self, time: i64, key: impl FnOnce() -> Option<&'k [u8]>) -> bool {
        match self {
            Brought::None => false,
            Brought::All => true,
            Brought::Until(until, _) if time != *until => time < *until,
            Brought::Until(_, name) => {
                let until = crate::keyed::key_of_entry(name).expect(WHOLE);
                key() <= until
            }
        }
    }
}

/// When a key is wanted back.
fn dues(keyed: &Keyed, ttl_ms: i64) -> Dues {
    [
        keyed.least(TimeDomain::Event),
        keyed.least(TimeDomain::Processing),
        keyed.written.map(|w| w.saturating_add(ttl_ms)),
    ]
}

impl ProcessStep {
    /// Brings back those of the keys that are beyond memory, if `wanted` says so.
    pub(super) fn fetch<'k>(
        &mut self,
        keys: impl Iterator<Item = Option<&'k [u8]>>,
        wanted: impl Fn(&Keyed) -> bool,
    ) -> Result<Vec<KeyId>, StepError> {
        let mut state_bytes = 0;
        let fetched = self.keys.fetch(keys, |_, value| {
            let (keyed, _) = decode(value).expect(WHOLE);
            wanted(&keyed).then(|| {
                state_bytes += keyed.state.as_ref().map_or(0, |s| s.len());
                keyed
            })
        });
        self.state_bytes += state_bytes;
        let fetched = fetched?;
        for &key in &fetched {
            self.schedule(key, TimeDomain::Event);
            self.schedule(key, TimeDomain::Processing);
            self.schedule_ttl(key);
        }
        Ok(fetched)
    }

    /// Brings back the next keys with timers that are due.
    pub(super) fn bring_due(&mut self, firing: &mut Firing) -> Result<(), StepError> {
        let mut lists = Vec::new();
        let mut until: Option<(i64, Vec<u8>)> = None;
        for (clock, time) in firing.clocks.iter().enumerate() {
            let Some(time) = *time else { continue };
            let (list, more) = self.keys.due(clock, time, KEYS_A_TURN)?;
            if let (true, Some(last)) = (more, list.last())
                && until.as_ref().is_none_or(|until| last < until)
            {
                until = Some(last.clone());
            }
            lists.push((clock, time, list));
        }
        for (clock, time, mut list) in lists {
            if let Some(until) = &until {
                list.truncate(list.partition_point(|due| due <= until));
            }
            let key = |name| crate::keyed::key_of_entry(name).expect(WHOLE);
            let domain = [TimeDomain::Event, TimeDomain::Processing][clock];
            self.fetch(list.iter().map(|(_, name)| key(name)), |keyed| {
                keyed.least(domain).is_some_and(|least| least <= time)
            })?;
            let last = until.as_ref().map(|(time, name)| (*time, name.as_slice()));
            self.keys.pass(clock, time, last)?;
        }
        firing.brought = match until {
            Some((time, name)) => Brought::Until(time, name),
            None => Brought::All,
        };
        Ok(())
    }

    /// Drops some thousand keys beyond memory whose state is too old.
    pub(super) fn expire_cold(&mut self, time: i64) -> Result<Progress, StepError> {
        let (list, more) = self.keys.due(TTL, time, KEYS_A_TURN)?;
        let key = |name| crate::keyed::key_of_entry(name).expect(WHOLE);
        let ttl_ms = self.spec.ttl_ms;
        let expired = self.fetch(list.iter().map(|(_, name)| key(name)), |keyed| {
            dues(keyed, ttl_ms)[TTL].is_some_and(|expiry| expiry <= time)
        })?;
        for key in expired {
            self.keys.get_mut(key).ttl_scheduled = None;
            self.expire_key(key, time);
        }
        let last = list.last().filter(|_| more);
        let last = last.map(|(time, name)| (*time, name.as_slice()));
        self.keys.pass(TTL, time, last)?;
        Ok(if more { Progress::More } else { Progress::Done })
    }

    /// Makes keys take no more memory than about so many bytes: those go that were touched longest ago.
    pub(super) fn shed_keys(&mut self, bytes_max: usize) -> Result<(), StepError> {
        let now = crate::step::Step::state_bytes(self);
        if !self.keys.has_vault() || now <= bytes_max {
            return Ok(());
        }
        let unstamped: std::collections::HashSet<KeyId> = self.unstamped.iter().copied().collect();
        let ttl_ms = self.spec.ttl_ms;
        let mut may_leave: Vec<(u64, KeyId)> = Vec::new();
        for id in self.keys.ids() {
            let keyed = self.keys.get(id);
            if !unstamped.contains(&id) && self.keys.may_leave(&dues(keyed, ttl_ms)) {
                may_leave.push((keyed.group.0, id));
            }
        }
        let all = self.keys.len();
        let leaving = first_to_leave(may_leave, leave(all, bytes_max, now));
        if leaving.is_empty() {
            return Ok(());
        }
        let left: usize = leaving
            .iter()
            .filter_map(|id| Some(self.keys.get(*id).state.as_ref()?.len()))
            .sum();
        let version = self.spec.state_version;
        let new = self.keys.evict(
            leaving,
            |keyed, value| encode(keyed, version, value),
            |keyed| dues(keyed, ttl_ms),
        )?;
        self.state_bytes -= left;
        self.renumber(&new);
        Ok(())
    }

    /// Keys have other numbers now.
    fn renumber(&mut self, new: &[KeyId]) {
        for key in &mut self.unstamped {
            *key = new[*key as usize];
        }
        for due in self.firing.iter_mut().flat_map(|f| &mut f.due) {
            due.key = new.get(due.key as usize).copied().unwrap_or(KeyId::MAX);
        }
        let expired = self.firing.iter_mut().filter_map(|f| f.expired.as_mut());
        for (_, key) in expired.flatten() {
            *key = new.get(*key as usize).copied().unwrap_or(KeyId::MAX);
        }
        if let Some((_, rearmed)) = &mut self.fire_from {
            for key in rearmed.values_mut() {
                *key = new.get(*key as usize).copied().unwrap_or(KeyId::MAX);
            }
        }
        self.renew_queues();
    }
}
