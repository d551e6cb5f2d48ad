//! A function driven by commands in records, and a step that is driven by hand.

use arrow_array::{Array, BinaryArray};

use super::{ProcessSpec, ProcessStep};
use crate::keyed::testing::{Collect, Rec, batch, rec, records};
use crate::plugin::{
    Fault, FiredTimer, Process, Processed, RejectKind, Rejected, TimeDomain, TimerOp,
};
use crate::record::{Batch, Blobs, Form, Value};
use crate::step::{Boundary, Progress, Step};
use crate::time::Watermark;

/// What a record's (or timer's) handler does, one key: used by the function and by the model.
///
/// A value is commands, by spaces: `+e10` sets an event timer at 10, `-p5` deletes a processing one, `=x` sets the
/// state, `x` removes it, `!` rejects. A timer of a key whose state is `every N` sets itself again N later, and fails where
/// it is `bad`; `once` removes the state.
pub(super) fn handle_record(
    value: &str,
    state: &mut Option<String>,
    mut timer: impl FnMut(bool, TimeDomain, i64),
) -> Result<String, String> {
    for command in value.split(' ') {
        let (head, rest) = command.split_at_checked(1).unwrap_or(("", ""));
        match head {
            "+" | "-" => {
                let (clock, time) = rest.split_at(1);
                let domain = if clock == "e" {
                    TimeDomain::Event
                } else {
                    TimeDomain::Processing
                };
                timer(head == "+", domain, time.parse().expect("a time"));
            }
            "=" => *state = Some(rest.replace('_', " ")),
            "x" => *state = None,
            "!" => return Err("no".to_owned()),
            _ => {}
        }
    }
    Ok(format!("{value}:{}", state.as_deref().unwrap_or("-")))
}

pub(super) fn handle_timer(
    at: i64,
    domain: TimeDomain,
    state: &mut Option<String>,
    mut timer: impl FnMut(bool, TimeDomain, i64),
) -> Result<String, String> {
    let shown = format!("{domain:?}:{}", state.as_deref().unwrap_or("-"));
    match state.as_deref() {
        Some("bad") => return Err("bad".to_owned()),
        Some("once") => *state = None,
        Some(s) => {
            if let Some(n) = s.strip_prefix("every ") {
                timer(
                    true,
                    domain,
                    at.saturating_add(n.parse().expect("a number")),
                );
            }
        }
        None => {}
    }
    Ok(shown)
}

pub(super) struct Scripted;

impl Process for Scripted {
    fn prepare(&mut self, _: &mut Batch) -> Result<Vec<Rejected>, Fault> {
        Ok(Vec::new())
    }

    fn process(
        &mut self,
        batch: &Batch,
        rows: &[u32],
        groups: &[u32],
        keys: &BinaryArray,
        states: &[Option<Box<[u8]>>],
        fired: &[FiredTimer],
    ) -> Result<Processed, Fault> {
        assert_eq!(keys.len(), states.len());
        let all = records(batch);
        let mut texts: Vec<Option<String>> = states
            .iter()
            .map(|s| {
                s.as_deref()
                    .map(|s| String::from_utf8_lossy(s).into_owned())
            })
            .collect();
        let (mut values, mut sources, mut timers, mut rejected) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let calls = rows
            .iter()
            .zip(groups)
            .map(|(&row, &group)| (row, group, None));
        let calls = calls.chain(
            (batch.len as u32..)
                .zip(fired)
                .map(|(row, timer)| (row, timer.group, Some(timer))),
        );
        for (source, (row, group, timer)) in (0..).zip(calls) {
            let state = &mut texts[group as usize];
            let mut set = |set, domain, time| {
                timers.push(TimerOp {
                    group,
                    domain,
                    time,
                    set,
                })
            };
            let answer = match timer {
                None => handle_record(
                    all[row as usize].value.as_deref().unwrap_or(""),
                    state,
                    &mut set,
                ),
                Some(timer) => handle_timer(timer.time, timer.domain, state, &mut set),
            };
            match answer {
                Ok(value) => {
                    values.push(value);
                    sources.push(source);
                }
                Err(message) => rejected.push(Rejected {
                    row,
                    kind: RejectKind::Rejected,
                    message,
                    log: Vec::new(),
                }),
            }
        }
        let batch = Batch::of(
            values.len(),
            Value::new(Form::Bytes(BinaryArray::from_iter_values(&values))),
        );
        let states = texts
            .into_iter()
            .map(|t| t.map(|t| t.into_bytes().into()))
            .collect();
        Ok(Processed {
            ports: vec![(batch, sources)],
            states,
            timers,
            rejected,
        })
    }

    fn migrate(&mut self, from_version: u32, states: &Blobs) -> Result<Blobs, Fault> {
        Ok(states
            .iter()
            .map(|s| [s, format!(" from {from_version}").as_bytes()].concat())
            .collect())
    }
}

pub(super) fn step(ttl_ms: i64, time: TimeDomain) -> ProcessStep {
    ProcessStep::new(
        ProcessSpec {
            ttl_ms,
            time,
            state_version: 1,
        },
        Box::new(Scripted),
    )
}

/// A step driven by hand, with its output as `value@ts`.
pub(super) struct Driven {
    pub step: ProcessStep,
    pub out: Collect,
}

impl Driven {
    pub fn new(ttl_ms: i64, time: TimeDomain) -> Driven {
        Driven {
            step: step(ttl_ms, time),
            out: Collect::default(),
        }
    }

    pub fn records(&mut self, rows: &[(&str, &str, i64)]) -> Vec<String> {
        let rows: Vec<Rec> = rows
            .iter()
            .map(|(key, value, ts)| rec(key, value, *ts))
            .collect();
        self.step
            .on_batch(0, batch(&rows), &mut self.out)
            .expect("taken");
        self.shown()
    }

    pub fn time(&mut self, watermark: i64, now: i64) -> Vec<String> {
        let inputs = [Watermark(watermark); 1];
        let at = Boundary {
            watermark: inputs[0],
            inputs: &inputs,
            now,
            end: watermark == i64::MAX,
        };
        while self.step.on_boundary(at, &mut self.out).expect("works") == Progress::More {}
        self.shown()
    }

    fn shown(&mut self) -> Vec<String> {
        let show = |r: Rec| {
            format!(
                "{} {}@{}",
                r.key.unwrap_or_default(),
                r.value.unwrap_or_default(),
                r.ts.unwrap_or_default()
            )
        };
        self.out.main.drain(..).map(show).collect()
    }
}
