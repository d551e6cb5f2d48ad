//! Keyed state and timers: one state a key, records first, then the timers that fire.

use crate::config::{self, Config};
use crate::contract::{
    Batch, BytesCol, Descriptor, Failure, FiredTimer, States, TimeDomain, Traits,
};
use crate::emit::Emit;
use crate::function::Instance;
use crate::host;
use crate::input::Input;
use crate::output::Output;
use crate::reject::Reject;
use crate::state::{self, State};

/// A timer that fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timer {
    /// Which clock.
    pub domain: TimeDomain,
    /// The time it was set for, in milliseconds since 1970 UTC.
    pub time: i64,
}

/// The key in hand, and its timers.
#[derive(Debug)]
pub struct Context<'a> {
    key: &'a [u8],
    group: u32,
    clear: bool,
}

impl<'a> Context<'a> {
    /// The key.
    pub fn key(&self) -> &'a [u8] {
        self.key
    }

    /// Sets a timer in event time: it fires once the watermark has passed `time`. Setting the same time
    /// twice is setting it once.
    pub fn set_timer(&mut self, time: i64) {
        host::set_timer(self.group, TimeDomain::Event, time);
    }

    /// Deletes a timer in event time.
    pub fn delete_timer(&mut self, time: i64) {
        host::delete_timer(self.group, TimeDomain::Event, time);
    }

    /// Sets a timer in processing time.
    pub fn set_processing_timer(&mut self, time: i64) {
        host::set_timer(self.group, TimeDomain::Processing, time);
    }

    /// Deletes a timer in processing time.
    pub fn delete_processing_timer(&mut self, time: i64) {
        host::delete_timer(self.group, TimeDomain::Processing, time);
    }

    /// Forgets the key's state when this record or timer is done. Its timers stay.
    pub fn clear_state(&mut self) {
        self.clear = true;
    }
}

/// What `#[process]` implements.
pub trait ProcessFn: 'static {
    /// Its config.
    type Config: Config;
    /// Its rows.
    type Input: Input;
    /// A key's state.
    type State: State;
    /// Its values.
    type Emit: Emit;
    /// Named outputs.
    const PORTS: &'static [&'static str];
    /// Sets timestamps, sets keys.
    fn traits() -> Traits;
    /// Of the state.
    const VERSION: u32;
    /// The state of a key that has none.
    fn init(config: &Self::Config) -> Self::State;
    /// A record of the key.
    fn on_record(
        config: &Self::Config,
        state: &mut Self::State,
        row: <Self::Input as Input>::Row<'_>,
        context: &mut Context<'_>,
        out: &mut Output<Self::Emit>,
    ) -> Result<(), Reject>;
    /// A timer of the key.
    fn on_timer(
        config: &Self::Config,
        state: &mut Self::State,
        timer: Timer,
        context: &mut Context<'_>,
        out: &mut Output<Self::Emit>,
    ) -> Result<(), Reject>;
    /// Whether there is a `migrate`.
    const MIGRATES: bool;
    /// Reads a state of an older version.
    fn migrate(from_version: u32, bytes: &[u8]) -> Option<Result<Self::State, Reject>>;
}

struct Processing<F: ProcessFn> {
    config: F::Config,
    out: Output<F::Emit>,
    descriptor: Descriptor,
    states: Vec<Option<F::State>>,
}

/// Opens a process function.
pub fn open_process<F: ProcessFn>(config: &[u8]) -> Result<Box<dyn Instance>, Failure> {
    let config = config::read(config)?;
    let reads = F::Input::reads();
    let (out, emits) =
        Output::new(&reads.fields, F::PORTS, F::traits()).map_err(super::config_failure)?;
    let descriptor = Descriptor {
        needs: reads.columns,
        fields: reads.fields,
        emits,
        ports: F::PORTS.iter().map(|p| p.to_string()).collect(),
        traits: F::traits(),
        state_version: F::VERSION,
        ..Descriptor::default()
    };
    Ok(Box::new(Processing::<F> {
        config,
        out,
        descriptor,
        states: Vec::new(),
    }))
}

/// Runs `f` on the state of a group, and forgets the state if `f` asked for that.
fn on_group<S>(
    slot: &mut Option<S>,
    init: impl FnOnce() -> S,
    key: &[u8],
    group: u32,
    f: impl FnOnce(&mut S, &mut Context<'_>) -> Result<(), Reject>,
) -> Result<(), Reject> {
    let mut context = Context {
        key,
        group,
        clear: false,
    };
    f(slot.get_or_insert_with(init), &mut context)?;
    if context.clear {
        *slot = None;
    }
    Ok(())
}

impl<F: ProcessFn> Instance for Processing<F> {
    fn descriptor(&self) -> Descriptor {
        self.descriptor.clone()
    }

    fn process(
        &mut self,
        input: Batch,
        groups: Vec<u32>,
        keys: BytesCol,
        mut given: States,
        fired: Vec<FiredTimer>,
    ) -> Result<States, Failure> {
        let Processing {
            config,
            out,
            states,
            ..
        } = self;
        states.clear();
        for (i, present) in given.present.iter().enumerate() {
            states.push(match present {
                0 => None,
                _ => Some(state::from_bytes(given.data.get(i)).ok_or_else(|| {
                    Failure::new(format!("state {i} is not of this version's layout"))
                })?),
            });
        }
        // Outputs of timers name their source always: "in order" is as many as rows.
        out.begin(input.len);
        super::with_columns::<F::Input, _>(&input, |columns| {
            for (row, group) in groups.iter().enumerate() {
                out.at(row as u32);
                let key = keys.get(*group as usize);
                super::checked::<F::Input, _>(true, columns, row, |r| {
                    on_group(
                        &mut states[*group as usize],
                        || F::init(config),
                        key,
                        *group,
                        |state, context| F::on_record(config, state, r, context, out),
                    )
                });
            }
        });
        for (i, timer) in fired.iter().enumerate() {
            let row = input.len + i as u32;
            out.at(row);
            let key = keys.get(timer.group as usize);
            let at = Timer {
                domain: timer.domain,
                time: timer.time,
            };
            let slot = &mut states[timer.group as usize];
            let absent = slot.is_none();
            let done = on_group(
                slot,
                || F::init(config),
                key,
                timer.group,
                |state, context| F::on_timer(config, state, at, context, out),
            );
            super::settle(row, done);
            // A timer that found no state and changed nothing leaves none.
            let unchanged = |s: &F::State| state::to_bytes(s) == state::to_bytes(&F::init(config));
            if absent && slot.as_ref().is_some_and(unchanged) {
                *slot = None;
            }
        }
        out.end();
        given.data.clear();
        for (present, state) in given.present.iter_mut().zip(states.drain(..)) {
            *present = u8::from(state.is_some());
            if let Some(state) = state {
                state.write(&mut given.data.data);
            }
            given.data.end_string();
        }
        Ok(given)
    }

    fn migrate(&mut self, from_version: u32, states: BytesCol) -> Result<BytesCol, Failure> {
        if !F::MIGRATES {
            return Err(Failure::new(format!(
                "this function cannot read states of version {from_version}"
            )));
        }
        let mut new = BytesCol::with_capacity(states.len(), states.data.len());
        for i in 0..states.len() {
            let state = F::migrate(from_version, states.get(i)).ok_or_else(|| {
                Failure::new(format!(
                    "this function cannot read states of version {from_version}"
                ))
            })?;
            let state = state.map_err(|r| Failure::new(format!("migrate state {i}: {r}")))?;
            state.write(&mut new.data);
            new.end_string();
        }
        Ok(new)
    }
}
