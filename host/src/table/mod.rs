//! Tables: the newest row of each key, or its versions; and the lookup step that reads them. Pure code; see
//! `window` for what it must not use. Loading a table from a file is its owner's work: batches come in here.

mod cold;
mod lookup;
mod snapshot;
mod versions;
mod waiting;

pub use lookup::{LookupSpec, LookupStep};
pub use versions::Table;

#[cfg(test)]
mod tests;
