//! What the host sees of a plugin's functions: a list of `Function`, and an `Instance` of the one it
//! opened. Attributes make both; whole-batch functions implement them by hand.

use crate::contract::{
    Batch, BytesCol, Descriptor, Failure, FiredTimer, FunctionKind, States, Windows,
};

/// An opened function, or what is wrong with the config.
pub type Opening = Result<Box<dyn Instance>, Failure>;

/// A function of a plugin, before it is opened.
#[derive(Clone, Copy)]
pub struct Function {
    /// Name in job files: `[a-z][a-z0-9-]{0,62}`.
    pub name: &'static str,
    /// Which interface it answers.
    pub kind: FunctionKind,
    /// One line for people.
    pub doc: &'static str,
    /// JSON Schema of its config.
    pub schema: fn() -> String,
    /// Opens it with a config (JSON).
    pub open: fn(&[u8]) -> Opening,
}

/// Something that `plugin!` can list. `#[transform]`, `#[filter]`, `#[aggregate]`, `#[join]` and
/// `#[process]` implement it.
pub trait Export {
    /// The function.
    const FUNCTION: Function;
}

/// An opened function, over whole batches.
///
/// Implement this by hand (with [`Export`]) where a function's fields depend on its config, or where a
/// loop over columns is worth writing. Only `descriptor` and the methods of the function's kind are
/// needed; outputs go through [`crate::host`].
#[expect(
    unused_variables,
    reason = "the defaults answer that the kind is another"
)]
pub trait Instance {
    /// What it reads and writes. Must answer the same whenever the config is the same.
    fn descriptor(&self) -> Descriptor;
    /// `transform.process`.
    fn transform(&mut self, input: Batch) -> Result<(), Failure> {
        Err(other_kind("transform"))
    }
    /// `filter.test`: one byte a row, 0 = drop.
    fn filter(&mut self, input: Batch) -> Result<Vec<u8>, Failure> {
        Err(other_kind("filter"))
    }
    /// `aggregate.init`.
    fn init(&mut self) -> Result<Vec<u8>, Failure> {
        Err(other_kind("aggregate"))
    }
    /// `aggregate.add`.
    fn add(
        &mut self,
        input: Batch,
        rows: Option<Vec<u32>>,
        groups: Vec<u32>,
        accs: BytesCol,
    ) -> Result<BytesCol, Failure> {
        Err(other_kind("aggregate"))
    }
    /// `aggregate.merge`.
    fn merge(&mut self, left: BytesCol, right: BytesCol) -> Result<BytesCol, Failure> {
        Err(Failure::new("this aggregate has no merge"))
    }
    /// `aggregate.finish`.
    fn finish(&mut self, keys: BytesCol, windows: Windows, accs: BytesCol) -> Result<(), Failure> {
        Err(other_kind("aggregate"))
    }
    /// `session.gaps`.
    fn gaps(&mut self, input: Batch) -> Result<Vec<i64>, Failure> {
        Err(Failure::new("this function gives no session gaps"))
    }
    /// `migration.migrate`.
    fn migrate(&mut self, from_version: u32, states: BytesCol) -> Result<BytesCol, Failure> {
        Err(Failure::new(format!(
            "this function cannot migrate states of version {from_version}"
        )))
    }
    /// `join.join`.
    fn join(
        &mut self,
        left: Batch,
        right: Batch,
        left_rows: Vec<u32>,
        right_rows: Vec<u32>,
    ) -> Result<(), Failure> {
        Err(other_kind("join"))
    }
    /// `process.process`.
    fn process(
        &mut self,
        input: Batch,
        groups: Vec<u32>,
        keys: BytesCol,
        states: States,
        fired: Vec<FiredTimer>,
    ) -> Result<States, Failure> {
        Err(other_kind("process"))
    }
}

fn other_kind(asked: &str) -> Failure {
    Failure::new(format!("the open function is no {asked}"))
}
