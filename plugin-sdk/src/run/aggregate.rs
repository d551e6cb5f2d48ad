//! Aggregates: accumulators are read once a call, added to row by row, and written back.

use std::borrow::Cow;

use crate::config::{self, Config};
use crate::contract::{Batch, BytesCol, Descriptor, Failure, Traits, Windows};
use crate::emit::Emit;
use crate::function::Instance;
use crate::host;
use crate::input::Input;
use crate::output::Output;
use crate::reject::Reject;
use crate::state::{self, State};

/// The key and window whose result is made.
#[derive(Clone, Copy, Debug)]
pub struct Group<'a> {
    key: &'a [u8],
    start: i64,
    end: i64,
}

impl<'a> Group<'a> {
    /// A group, for tests.
    pub fn new(key: &'a [u8], start: i64, end: i64) -> Group<'a> {
        Group { key, start, end }
    }

    /// The key's bytes; empty for records without key.
    pub fn key(&self) -> &'a [u8] {
        self.key
    }

    /// The key as text; what is not UTF-8 in it is replaced.
    pub fn key_text(&self) -> Cow<'a, str> {
        String::from_utf8_lossy(self.key)
    }

    /// The window's start, in milliseconds since 1970 UTC (`i64::MIN` for count and global windows).
    pub fn start(&self) -> i64 {
        self.start
    }

    /// The window's end, exclusive (`i64::MAX` for count and global windows).
    pub fn end(&self) -> i64 {
        self.end
    }
}

/// What `#[aggregate]` implements.
pub trait AggregateFn: 'static {
    /// Its config.
    type Config: Config;
    /// Its rows.
    type Input: Input;
    /// Its accumulator.
    type State: State;
    /// Its results.
    type Emit: Emit;
    /// Mergeable, order-dependent.
    fn traits() -> Traits;
    /// Of the accumulator.
    const VERSION: u32;
    /// The accumulator of a new group.
    fn init(config: &Self::Config) -> Self::State;
    /// Adds a row.
    fn add(
        config: &Self::Config,
        state: &mut Self::State,
        row: <Self::Input as Input>::Row<'_>,
    ) -> Result<(), Reject>;
    /// Adds what came later.
    fn merge(
        config: &Self::Config,
        state: &mut Self::State,
        later: Self::State,
    ) -> Result<(), Reject>;
    /// Puts the result out.
    fn finish(
        config: &Self::Config,
        state: Self::State,
        group: &Group<'_>,
        out: &mut Output<Self::Emit>,
    ) -> Result<(), Reject>;
    /// Whether it gives sessions their gaps.
    const GAPS: bool;
    /// The gap of a session that starts with this row, if it gives any.
    fn gap(config: &Self::Config, row: <Self::Input as Input>::Row<'_>) -> Result<i64, Reject>;
    /// Whether there is a `migrate`.
    const MIGRATES: bool;
    /// Reads an accumulator of an older version.
    fn migrate(from_version: u32, bytes: &[u8]) -> Option<Result<Self::State, Reject>>;
}

struct Aggregating<F: AggregateFn> {
    config: F::Config,
    out: Output<F::Emit>,
    descriptor: Descriptor,
    states: Vec<F::State>,
}

/// Opens an aggregate.
pub fn open_aggregate<F: AggregateFn>(config: &[u8]) -> Result<Box<dyn Instance>, Failure> {
    let config = config::read(config)?;
    let reads = F::Input::reads();
    let (out, emits) = Output::new(&[], &[], Traits::empty()).map_err(super::config_failure)?;
    let descriptor = Descriptor {
        needs: reads.columns,
        fields: reads.fields,
        emits,
        traits: F::traits(),
        state_version: F::VERSION,
        ..Descriptor::default()
    };
    Ok(Box::new(Aggregating::<F> {
        config,
        out,
        descriptor,
        states: Vec::new(),
    }))
}

#[cold]
fn damaged(index: usize) -> Failure {
    Failure::new(format!(
        "accumulator {index} is not of this version's layout"
    ))
}

impl<F: AggregateFn> Instance for Aggregating<F> {
    fn descriptor(&self) -> Descriptor {
        self.descriptor.clone()
    }

    fn init(&mut self) -> Result<Vec<u8>, Failure> {
        Ok(state::to_bytes(&F::init(&self.config)))
    }

    fn add(
        &mut self,
        input: Batch,
        rows: Option<Vec<u32>>,
        groups: Vec<u32>,
        mut accs: BytesCol,
    ) -> Result<BytesCol, Failure> {
        let Aggregating { config, states, .. } = self;
        states.clear();
        for i in 0..accs.len() {
            states.push(state::from_bytes(accs.get(i)).ok_or_else(|| damaged(i))?);
        }
        super::with_columns::<F::Input, _>(&input, |columns| {
            let row_of = |at: usize| rows.as_ref().map_or(at as u32, |rows| rows[at]);
            if F::Input::may_be_bad(columns) {
                for (at, group) in groups.iter().enumerate() {
                    let row = row_of(at);
                    host::working_on(row);
                    let state = &mut states[*group as usize];
                    super::checked::<F::Input, _>(true, columns, row as usize, |r| {
                        F::add(config, state, r)
                    });
                }
            } else {
                super::each_row(groups.len(), |at| {
                    let row = row_of(at);
                    host::working_on(row);
                    let state = &mut states[groups[at] as usize];
                    super::settle(
                        row,
                        F::add(config, state, F::Input::row(columns, row as usize)),
                    );
                });
            }
        });
        accs.clear();
        for state in states.drain(..) {
            state.write(&mut accs.data);
            accs.end_string();
        }
        Ok(accs)
    }

    fn merge(&mut self, mut left: BytesCol, right: BytesCol) -> Result<BytesCol, Failure> {
        if self.descriptor.traits & Traits::MERGEABLE == Traits::empty() {
            return Err(Failure::new("this aggregate has no merge"));
        }
        self.states.clear();
        for i in 0..left.len() {
            let mut state = state::from_bytes(left.get(i)).ok_or_else(|| damaged(i))?;
            let later = state::from_bytes(right.get(i)).ok_or_else(|| damaged(i))?;
            F::merge(&self.config, &mut state, later)
                .map_err(|r| Failure::new(format!("merge: {r}")))?;
            self.states.push(state);
        }
        left.clear();
        for state in self.states.drain(..) {
            state.write(&mut left.data);
            left.end_string();
        }
        Ok(left)
    }

    fn finish(&mut self, keys: BytesCol, windows: Windows, accs: BytesCol) -> Result<(), Failure> {
        let Aggregating { config, out, .. } = self;
        out.begin(accs.len() as u32);
        for i in 0..accs.len() {
            out.at(i as u32);
            let state = state::from_bytes(accs.get(i)).ok_or_else(|| damaged(i))?;
            let group = Group {
                key: keys.get(i),
                start: windows.starts[i],
                end: windows.ends[i],
            };
            super::settle(i as u32, F::finish(config, state, &group, out));
        }
        out.end();
        Ok(())
    }

    fn gaps(&mut self, input: Batch) -> Result<Vec<i64>, Failure> {
        // Told even of no rows: so a host finds out before there are any.
        if !F::GAPS {
            return Err(Failure::new("this aggregate gives no gaps"));
        }
        let config = &self.config;
        super::with_columns::<F::Input, _>(&input, |columns| {
            let gaps = (0..input.len as usize).map(|row| {
                host::working_on(row as u32);
                super::checked::<F::Input, _>(true, columns, row, |r| F::gap(config, r))
                    .unwrap_or(0)
            });
            Ok(gaps.collect())
        })
    }

    fn migrate(&mut self, from_version: u32, states: BytesCol) -> Result<BytesCol, Failure> {
        if !F::MIGRATES {
            return Err(Failure::new(format!(
                "this aggregate cannot read accumulators of version {from_version}"
            )));
        }
        let mut new = BytesCol::with_capacity(states.len(), states.data.len());
        for i in 0..states.len() {
            let state = F::migrate(from_version, states.get(i)).ok_or_else(|| {
                Failure::new(format!(
                    "this aggregate cannot read accumulators of version {from_version}"
                ))
            })?;
            let state = state.map_err(|r| Failure::new(format!("migrate accumulator {i}: {r}")))?;
            state.write(&mut new.data);
            new.end_string();
        }
        Ok(new)
    }
}
