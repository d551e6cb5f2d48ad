//! Filters: one byte a row. The loop is plain, so that simple tests become vector code.

use crate::config::{self, Config};
use crate::contract::{Batch, Descriptor, Failure};
use crate::function::Instance;
use crate::host;
use crate::input::Input;
use crate::reject::Reject;

/// What `#[filter]` implements.
pub trait FilterFn: 'static {
    /// Its config.
    type Config: Config;
    /// Its rows.
    type Input: Input;
    /// See the contract.
    const MAX_RECORDS: u32;
    /// One row.
    fn call(config: &Self::Config, row: <Self::Input as Input>::Row<'_>) -> Result<bool, Reject>;
}

struct Filtering<F: FilterFn> {
    config: F::Config,
}

/// Opens a filter.
pub fn open_filter<F: FilterFn>(config: &[u8]) -> Result<Box<dyn Instance>, Failure> {
    Ok(Box::new(Filtering::<F> {
        config: config::read(config)?,
    }))
}

impl<F: FilterFn> Instance for Filtering<F> {
    fn descriptor(&self) -> Descriptor {
        let reads = F::Input::reads();
        Descriptor {
            needs: reads.columns,
            fields: reads.fields,
            max_records: F::MAX_RECORDS,
            ..Descriptor::default()
        }
    }

    fn filter(&mut self, input: Batch) -> Result<Vec<u8>, Failure> {
        let config = &self.config;
        Ok(super::with_columns::<F::Input, _>(&input, |columns| {
            let mut keep = vec![0; input.len as usize];
            if F::Input::may_be_bad(columns) {
                for (row, keep) in keep.iter_mut().enumerate() {
                    host::working_on(row as u32);
                    let kept =
                        super::checked::<F::Input, _>(true, columns, row, |r| F::call(config, r));
                    *keep = u8::from(kept.unwrap_or(false));
                }
            } else {
                super::each_row(keep.len(), |row| {
                    host::working_on(row as u32);
                    let kept =
                        super::settle(row as u32, F::call(config, F::Input::row(columns, row)));
                    keep[row] = u8::from(kept.unwrap_or(false));
                });
            }
            keep
        }))
    }
}
