//! A process function driven record by record and watermark by watermark.

use std::collections::{BTreeMap, BTreeSet};

use super::{Opened, Ran, Record, batch, failed, host, start};
use crate::contract::{BytesCol, FiredTimer, States, TimeDomain};
use crate::metrics;

/// A process function with the states and timers of its keys.
pub struct Keyed {
    opened: Opened,
    states: BTreeMap<Vec<u8>, Vec<u8>>,
    timers: BTreeSet<(TimeDomain, i64, Vec<u8>)>,
    now: BTreeMap<TimeDomain, i64>,
}

impl Keyed {
    pub(super) fn new(opened: Opened) -> Keyed {
        Keyed {
            opened,
            states: BTreeMap::new(),
            timers: BTreeSet::new(),
            now: BTreeMap::new(),
        }
    }

    /// One record comes. A timer that is set and not ahead of its clock fires at once.
    pub fn record(&mut self, record: &Record) -> Ran {
        let key = record.key.clone().unwrap_or_default();
        let mut ran = self.call(&key, Some(record), &[]);
        self.fire_due(&mut ran);
        ran
    }

    /// The watermark moves: timers up to it fire, in order.
    pub fn watermark(&mut self, watermark: i64) -> Ran {
        self.advance(TimeDomain::Event, watermark)
    }

    /// The machine's clock moves.
    pub fn processing_time(&mut self, now: i64) -> Ran {
        self.advance(TimeDomain::Processing, now)
    }

    /// Keys that have a state.
    pub fn keys(&self) -> Vec<String> {
        self.states.keys().map(|k| super::text(k)).collect()
    }

    /// Timers that are set, as (clock, time, key).
    pub fn timers(&self) -> Vec<(TimeDomain, i64, String)> {
        self.timers
            .iter()
            .map(|(domain, time, key)| (*domain, *time, super::text(key)))
            .collect()
    }

    fn advance(&mut self, domain: TimeDomain, now: i64) -> Ran {
        self.now.insert(domain, now);
        let mut ran = Ran::default();
        self.fire_due(&mut ran);
        ran
    }

    fn fire_due(&mut self, ran: &mut Ran) {
        let due = |(domain, time, _): &&(TimeDomain, i64, Vec<u8>),
                   now: &BTreeMap<TimeDomain, i64>| {
            now.get(domain).is_some_and(|now| time <= now)
        };
        while let Some(timer) = self.timers.iter().find(|t| due(t, &self.now)).cloned() {
            self.timers.remove(&timer);
            let (domain, time, key) = timer;
            let more = self.call(
                &key,
                None,
                &[FiredTimer {
                    group: 0,
                    domain,
                    time,
                }],
            );
            ran.outputs.extend(more.outputs);
            ran.rejected.extend(more.rejected);
            ran.logs.extend(more.logs);
            ran.metrics.extend(more.metrics);
        }
    }

    fn call(&mut self, key: &[u8], record: Option<&Record>, fired: &[FiredTimer]) -> Ran {
        let records: Vec<Record> = record.into_iter().cloned().collect();
        let d = &self.opened.descriptor;
        let (input, rejected) = batch(&records, d.needs, &d.fields);
        if !rejected.is_empty() {
            return Ran {
                rejected,
                ..Ran::default()
            };
        }
        let state = self.states.get(key);
        let mut given = States {
            present: vec![u8::from(state.is_some())],
            data: BytesCol::default(),
        };
        given.data.push(state.map_or(b"", |s| s));
        let mut keys = BytesCol::default();
        keys.push(key);
        start(records.len() as u32, &records, &[]);
        let groups = vec![0; records.len()];
        let states = self
            .opened
            .instance
            .process(input, groups, keys, given, fired.to_vec())
            .unwrap_or_else(failed);
        metrics::send();
        let mut recorder = host::stop();
        let timers = std::mem::take(&mut recorder.timers);
        let mut ran = self
            .opened
            .ran(recorder, &records, &|source| records.get(source as usize));
        if ran.rejected.is_empty() {
            match states.present[0] {
                0 => drop(self.states.remove(key)),
                _ => drop(
                    self.states
                        .insert(key.to_vec(), states.data.get(0).to_vec()),
                ),
            }
            for (set, _, domain, time) in timers {
                let timer = (domain, time, key.to_vec());
                if set {
                    self.timers.insert(timer)
                } else {
                    self.timers.remove(&timer)
                };
            }
        }
        for output in &mut ran.outputs {
            output.key.get_or_insert_with(|| super::text(key));
            if let Some(timer) = fired.first() {
                output.timestamp.get_or_insert(timer.time);
            }
        }
        ran
    }
}
