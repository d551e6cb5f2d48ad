//! A process step's state, one entry a key. Must stay stable: checkpoints hold it.
//!
//! Entry key: `keyed::put_entry_key`. Entry value: version 1; flags (1: there is a state, 2: a time of the last
//! write); the state's version (varint) and bytes (varint length, bytes), if there is one; the time (8 bytes,
//! little endian), if there is one; the number of timers (varint), and of each its clock (0 event, 1
//! processing) and time (8 bytes), in order of time and clock.

use crate::keyed::key_of_entry;
use crate::plugin::TimeDomain;
use crate::record::Blobs;
use crate::record::codec::{Broken, Reader, put_bytes, put_i64, put_varint};
use crate::state::{Extent, StateBuffer, StateRef};
use crate::step::StepError;

use super::ProcessStep;
use super::keyed::{Keyed, clock};

const VERSION: u8 = 1;
const STATE: u8 = 1;
const WRITTEN: u8 = 2;

impl ProcessStep {
    pub(super) fn snapshot_keys(
        &mut self,
        extent: Extent,
        into: &mut StateBuffer,
    ) -> Result<Extent, StepError> {
        let (keys, extent) = self.keys.to_snapshot(extent);
        let version = self.spec.state_version;
        self.keys.snapshot(&keys, &[], into, |value, keyed| {
            encode(keyed, version, value)
        });
        self.keys.snapshot_cold(extent, &[], into)?;
        Ok(extent)
    }

    pub(super) fn restore_key(&mut self, entry: StateRef<'_>) -> Result<(), StepError> {
        let broken = |e: Broken| {
            StepError::Failed(format!("the stored state of a process step is broken: {e}"))
        };
        let name = key_of_entry(entry.key)
            .ok_or(broken(Broken::Content("its name is not that of a key")))?;
        let (mut keyed, version) = decode(entry.value).map_err(broken)?;
        if let (Some(state), true) = (&keyed.state, version != self.spec.state_version) {
            let migrated = self
                .function
                .migrate(version, &[state].into_iter().collect::<Blobs>())?;
            if migrated.len() != 1 {
                return Err(StepError::Failed(format!(
                    "migrate answered {} states for 1",
                    migrated.len()
                )));
            }
            keyed.state = Some(migrated.get(0).into());
        }
        self.state_bytes += keyed.state.as_ref().map_or(0, |s| s.len());
        let key = self.keys.find_or_insert(name, Keyed::default);
        *self.keys.get_mut(key) = keyed;
        self.schedule(key, TimeDomain::Event);
        self.schedule(key, TimeDomain::Processing);
        self.schedule_ttl(key);
        Ok(())
    }
}

/// Appends what is kept of a key.
pub(super) fn encode(keyed: &Keyed, version: u32, value: &mut Vec<u8>) {
    let flag = |there: bool, flag| if there { flag } else { 0 };
    value.push(VERSION);
    value.push(flag(keyed.state.is_some(), STATE) | flag(keyed.written.is_some(), WRITTEN));
    if let Some(state) = &keyed.state {
        put_varint(value, u64::from(version));
        put_bytes(value, state);
    }
    if let Some(written) = keyed.written {
        put_i64(value, written);
    }
    put_varint(value, keyed.timers.len() as u64);
    for &(time, domain) in &keyed.timers {
        value.push(clock(domain) as u8);
        put_i64(value, time);
    }
}

/// What is kept of the key, and the version of its state.
pub(super) fn decode(value: &[u8]) -> Result<(Keyed, u32), Broken> {
    let mut from = Reader::new(value);
    match from.byte()? {
        VERSION => {}
        other => return Err(Broken::Version(other)),
    }
    let flags = from.byte()?;
    if flags & !(STATE | WRITTEN) != 0 {
        return Err(Broken::Flags(flags));
    }
    let (mut keyed, mut version) = (Keyed::default(), 0);
    if flags & STATE != 0 {
        version = u32::try_from(from.varint()?).map_err(|_| Broken::Varint)?;
        keyed.state = Some(from.bytes()?.into());
    }
    if flags & WRITTEN != 0 {
        keyed.written = Some(from.i64()?);
    }
    for _ in 0..from.count()? {
        let domain = match from.byte()? {
            0 => TimeDomain::Event,
            1 => TimeDomain::Processing,
            _ => return Err(Broken::Content("a timer has an unknown clock")),
        };
        let timer = (from.i64()?, domain);
        if keyed.timers.last().is_some_and(|last| *last >= timer) {
            return Err(Broken::Content("its timers are not in order"));
        }
        keyed.timers.push(timer);
    }
    from.end()?;
    if keyed.is_empty() {
        return Err(Broken::Content("a key with neither state nor timers"));
    }
    Ok((keyed, version))
}
