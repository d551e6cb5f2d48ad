//! Joins: pairs of rows that the host matched.

use crate::config::{self, Config};
use crate::contract::{Batch, Descriptor, Failure, NO_ROW, Traits};
use crate::emit::Emit;
use crate::function::Instance;
use crate::host;
use crate::input::{Input, View};
use crate::output::Output;
use crate::reject::{Reject, reject};

/// One side of a pair as a join takes it: a row (then every pair must have one) or an `Option` of a row.
pub trait Side {
    /// The rows of that side.
    type Input: Input;
    /// What the function gets.
    type Row<'a>;
    /// From the row, or none where the side has none.
    fn side<'a>(row: Option<<Self::Input as Input>::Row<'a>>) -> Result<Self::Row<'a>, Reject>;
}

impl<I: Input> Side for Option<I> {
    type Input = I;
    type Row<'a> = Option<I::Row<'a>>;
    #[inline]
    fn side<'a>(row: Option<I::Row<'a>>) -> Result<Option<I::Row<'a>>, Reject> {
        Ok(row)
    }
}

/// A side that every pair must have. What a plain row type stands for in a `#[join]`.
pub enum Required<I> {
    #[doc(hidden)]
    Never(std::marker::PhantomData<I>, std::convert::Infallible),
}

impl<I: Input> Side for Required<I> {
    type Input = I;
    type Row<'a> = I::Row<'a>;
    #[inline]
    fn side<'a>(row: Option<I::Row<'a>>) -> Result<I::Row<'a>, Reject> {
        row.ok_or_else(|| {
            reject("one side has no record: the function needs both (use Option for outer joins)")
        })
    }
}

/// What `#[join]` implements.
pub trait JoinFn: 'static {
    /// Its config.
    type Config: Config;
    /// Left side.
    type Left: Side;
    /// Right side.
    type Right: Side;
    /// Its values.
    type Emit: Emit;
    /// One pair.
    fn call(
        config: &Self::Config,
        left: <Self::Left as Side>::Row<'_>,
        right: <Self::Right as Side>::Row<'_>,
        out: &mut Output<Self::Emit>,
    ) -> Result<(), Reject>;
}

struct Joining<F: JoinFn> {
    config: F::Config,
    out: Output<F::Emit>,
    descriptor: Descriptor,
}

/// Opens a join.
pub fn open_join<F: JoinFn>(config: &[u8]) -> Result<Box<dyn Instance>, Failure> {
    let config = config::read(config)?;
    let left = <F::Left as Side>::Input::reads();
    let right = <F::Right as Side>::Input::reads();
    let both: Vec<_> = left.fields.iter().chain(&right.fields).cloned().collect();
    let (out, emits) = Output::new(&both, &[], Traits::empty()).map_err(super::config_failure)?;
    let descriptor = Descriptor {
        needs: left.columns,
        fields: left.fields,
        right_needs: right.columns,
        right_fields: right.fields,
        emits,
        ..Descriptor::default()
    };
    Ok(Box::new(Joining::<F> {
        config,
        out,
        descriptor,
    }))
}

/// The row of one side, or what is wrong with it.
#[inline]
fn row_of<'a, I: Input>(columns: &I::Columns<'a>, row: u32) -> Result<Option<I::Row<'a>>, Reject> {
    if row == NO_ROW {
        return Ok(None);
    }
    match I::bad(columns, row as usize) {
        Some(bad) => Err(reject(format!("{} {}", bad.what, bad.how))),
        None => Ok(Some(I::row(columns, row as usize))),
    }
}

impl<F: JoinFn> Instance for Joining<F> {
    fn descriptor(&self) -> Descriptor {
        self.descriptor.clone()
    }

    fn join(
        &mut self,
        left: Batch,
        right: Batch,
        left_rows: Vec<u32>,
        right_rows: Vec<u32>,
    ) -> Result<(), Failure> {
        let Joining { config, out, .. } = self;
        type LeftOf<F> = <<F as JoinFn>::Left as Side>::Input;
        type RightOf<F> = <<F as JoinFn>::Right as Side>::Input;
        let left_nulls = super::nulls_of::<LeftOf<F>>(host::input_nulls);
        let right_nulls = super::nulls_of::<RightOf<F>>(host::right_nulls);
        let left = LeftOf::<F>::columns(&View {
            batch: &left,
            nulls: &left_nulls,
            headers: None,
        });
        let right = RightOf::<F>::columns(&View {
            batch: &right,
            nulls: &right_nulls,
            headers: None,
        });
        out.begin(left_rows.len() as u32);
        for (pair, (l, r)) in left_rows.iter().zip(&right_rows).enumerate() {
            out.at(pair as u32);
            let done = (|| {
                let l = F::Left::side(row_of::<LeftOf<F>>(&left, *l)?)?;
                let r = F::Right::side(row_of::<RightOf<F>>(&right, *r)?)?;
                F::call(config, l, r, out)
            })();
            super::settle(pair as u32, done);
        }
        out.end();
        Ok(())
    }
}
