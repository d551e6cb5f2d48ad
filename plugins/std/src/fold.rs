//! What the aggregates over one field have in common: accumulators are read, each row is added, and they
//! are written back.

use wasmill_plugin::config::Config;
use wasmill_plugin::contract::{Batch, BytesCol, Descriptor, Failure, Traits, Windows};
use wasmill_plugin::{Bytes, Instance, Output, Reject, State, config, host, state};

/// An aggregate.
pub trait Fold: Sized + 'static {
    /// Its config.
    type Config: Config;
    /// Its accumulator.
    type Acc: State;
    /// The columns that it reads, found in a batch.
    type Columns<'a>;
    /// Whether the result depends on the order of records.
    const ORDER_DEPENDENT: bool = false;
    /// From the config.
    fn open(config: Self::Config) -> Result<Self, String>;
    /// Puts what it reads into the descriptor.
    fn read(&self, descriptor: &mut Descriptor);
    /// Finds the columns.
    fn columns<'a>(&self, batch: &'a Batch) -> Self::Columns<'a>;
    /// Of a new group.
    fn init(&self) -> Self::Acc;
    /// Adds a row.
    fn add(
        &self,
        acc: &mut Self::Acc,
        columns: &Self::Columns<'_>,
        row: usize,
    ) -> Result<(), Reject>;
    /// Adds what came later.
    fn merge(&self, acc: &mut Self::Acc, later: Self::Acc) -> Result<(), Reject>;
    /// The result as JSON text.
    fn finish(&self, acc: Self::Acc) -> String;
}

struct Folding<F: Fold> {
    fold: F,
    out: Output<Bytes>,
    accs: Vec<F::Acc>,
}

/// Opens it.
pub fn open<F: Fold>(config: &[u8]) -> Result<Box<dyn Instance>, Failure> {
    let config = config::read::<F::Config>(config)?;
    let fold = F::open(config).map_err(|e| Failure::new(format!("config: {e}")))?;
    let (out, _) = Output::new(&[], &[], Traits::empty()).map_err(Failure::new)?;
    Ok(Box::new(Folding {
        fold,
        out,
        accs: Vec::new(),
    }))
}

fn read_acc<A: State>(accs: &BytesCol, i: usize) -> Result<A, Failure> {
    state::from_bytes(accs.get(i))
        .ok_or_else(|| Failure::new(format!("accumulator {i} has another layout")))
}

fn write_accs<A: State>(accs: &mut Vec<A>, into: &mut BytesCol) {
    into.clear();
    for acc in accs.drain(..) {
        acc.write(&mut into.data);
        into.end_string();
    }
}

impl<F: Fold> Instance for Folding<F> {
    fn descriptor(&self) -> Descriptor {
        let order = if F::ORDER_DEPENDENT {
            Traits::ORDER_DEPENDENT
        } else {
            Traits::empty()
        };
        let mut descriptor = Descriptor {
            traits: Traits::MERGEABLE | order,
            ..Descriptor::default()
        };
        self.fold.read(&mut descriptor);
        descriptor
    }

    fn init(&mut self) -> Result<Vec<u8>, Failure> {
        Ok(state::to_bytes(&self.fold.init()))
    }

    fn add(
        &mut self,
        input: Batch,
        rows: Option<Vec<u32>>,
        groups: Vec<u32>,
        mut accs: BytesCol,
    ) -> Result<BytesCol, Failure> {
        let Folding {
            fold, accs: all, ..
        } = self;
        all.clear();
        for i in 0..accs.len() {
            all.push(read_acc(&accs, i)?);
        }
        let columns = fold.columns(&input);
        let mut one = |row: u32, group: u32| {
            host::working_on(row);
            if let Err(reason) = fold.add(&mut all[group as usize], &columns, row as usize) {
                host::reject(row, reason.reason());
            }
        };
        match &rows {
            Some(rows) => rows
                .iter()
                .zip(&groups)
                .for_each(|(row, group)| one(*row, *group)),
            None => groups
                .iter()
                .enumerate()
                .for_each(|(row, group)| one(row as u32, *group)),
        }
        write_accs(all, &mut accs);
        Ok(accs)
    }

    fn merge(&mut self, mut left: BytesCol, right: BytesCol) -> Result<BytesCol, Failure> {
        self.accs.clear();
        for i in 0..left.len() {
            let mut acc = read_acc(&left, i)?;
            let merged = self.fold.merge(&mut acc, read_acc(&right, i)?);
            merged.map_err(|e| Failure::new(format!("merge: {e}")))?;
            self.accs.push(acc);
        }
        write_accs(&mut self.accs, &mut left);
        Ok(left)
    }

    fn finish(&mut self, _: BytesCol, _: Windows, accs: BytesCol) -> Result<(), Failure> {
        self.out.begin(accs.len() as u32);
        for i in 0..accs.len() {
            self.out.at(i as u32);
            self.out
                .emit(self.fold.finish(read_acc(&accs, i)?).as_bytes());
        }
        self.out.end();
        Ok(())
    }
}
