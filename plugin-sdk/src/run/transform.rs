//! Transforms: a row function over each row, outputs gathered.

use crate::config::{self, Config};
use crate::contract::{Batch, Descriptor, Failure, Traits};
use crate::emit::Emit;
use crate::function::Instance;
use crate::input::Input;
use crate::output::Output;
use crate::reject::Reject;

/// What `#[transform]` implements.
pub trait TransformFn: 'static {
    /// Its config.
    type Config: Config;
    /// Its rows.
    type Input: Input;
    /// Its values.
    type Emit: Emit;
    /// Named outputs.
    const PORTS: &'static [&'static str];
    /// Sets keys, sets timestamps.
    fn traits() -> Traits;
    /// See the contract.
    const MAX_RECORDS: u32;
    /// One row.
    fn call(
        config: &Self::Config,
        row: <Self::Input as Input>::Row<'_>,
        out: &mut Output<Self::Emit>,
    ) -> Result<(), Reject>;
}

struct Transforming<F: TransformFn> {
    config: F::Config,
    out: Output<F::Emit>,
    descriptor: Descriptor,
}

/// Opens a transform.
pub fn open_transform<F: TransformFn>(config: &[u8]) -> Result<Box<dyn Instance>, Failure> {
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
        max_records: F::MAX_RECORDS,
        ..Descriptor::default()
    };
    Ok(Box::new(Transforming::<F> {
        config,
        out,
        descriptor,
    }))
}

impl<F: TransformFn> Instance for Transforming<F> {
    fn descriptor(&self) -> Descriptor {
        self.descriptor.clone()
    }

    fn transform(&mut self, input: Batch) -> Result<(), Failure> {
        let Transforming { config, out, .. } = self;
        out.begin(input.len);
        super::with_columns::<F::Input, _>(&input, |columns| {
            let may_be_bad = F::Input::may_be_bad(columns);
            for row in 0..input.len {
                out.at(row);
                // One call, and the compiler puts the function in its place: a host that can end a guest at any time has a
                // check put into each function, too.
                super::checked::<F::Input, _>(may_be_bad, columns, row as usize, |r| {
                    F::call(config, r, out)
                });
            }
        });
        out.end();
        Ok(())
    }
}
