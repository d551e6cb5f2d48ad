//! Functions that go wrong on one value (config `on`, default `bad`), so that tests can see what it
//! costs others: nothing. They are written as plainly as an author would have made the mistake.

use std::cell::{Cell, RefCell};

use wasmill_plugin::contract::{Batch, BytesCol, Descriptor, Failure, FunctionKind};
use wasmill_plugin::{
    Export, Fields, Function, Instance, NoConfig, Output, Reject, Schema, State, aggregate, config,
    filter, info, plugin, reject, transform,
};

plugin! {
    panics, overflows_stack, out_of_bounds, spins, hogs_memory, rejects, floods_log, counts_calls, leaks,
    test_panics, Sum, Count, fewer_accumulators
}

/// Config of them all.
#[config]
pub struct Trigger {
    /// The value that makes trouble
    #[serde(default = "bad")]
    on: String,
}

fn bad() -> String {
    "bad".into()
}

/// Any record.
#[derive(Fields)]
pub struct Line<'a> {
    #[field(value)]
    text: &'a str,
}

/// Panics.
#[transform]
pub fn panics(line: Line<'_>, config: &Trigger, out: &mut Output) {
    assert!(line.text != config.on, "cannot take `{}`", line.text);
    out.pass();
}

/// Calls itself until the stack is used up.
#[transform]
pub fn overflows_stack(line: Line<'_>, config: &Trigger, out: &mut Output) {
    fn deeper(n: u64) -> u64 {
        if n == u64::MAX {
            0
        } else {
            std::hint::black_box(deeper(std::hint::black_box(n + 1))) + 1
        }
    }
    if line.text == config.on {
        deeper(0);
    }
    out.pass();
}

/// Indexes past the end.
#[transform]
pub fn out_of_bounds(line: Line<'_>, config: &Trigger, out: &mut Output) {
    let limits = [1, 2, 3];
    let index = if line.text == config.on {
        line.text.len() + 1
    } else {
        0
    };
    out.emit(limits[index].to_string().as_bytes());
}

/// Never ends.
#[transform]
pub fn spins(line: Line<'_>, config: &Trigger, out: &mut Output) {
    if line.text == config.on {
        loop {
            std::hint::black_box(0);
        }
    }
    out.pass();
}

/// Wants all the memory that there is.
#[transform]
pub fn hogs_memory(line: Line<'_>, config: &Trigger, out: &mut Output) {
    let mut hoard: Vec<Vec<u8>> = Vec::new();
    if line.text == config.on {
        loop {
            hoard.push(vec![1; 1 << 20]);
            std::hint::black_box(&hoard);
        }
    }
    out.pass();
}

/// Rejects, as it should.
#[transform]
pub fn rejects(line: Line<'_>, config: &Trigger, out: &mut Output) -> Result<(), Reject> {
    if line.text == config.on {
        return Err(reject(format!("`{}` is not wanted", line.text)));
    }
    out.pass();
    Ok(())
}

/// Logs a thousand lines a record.
#[transform]
pub fn floods_log(line: Line<'_>, out: &mut Output) {
    for i in 0..1_000 {
        info!("line {i} about {}", line.text);
    }
    out.pass();
}

thread_local! {
    static CALLS: Cell<u64> = const { Cell::new(0) };
    static LEAK: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Emits a number from a global: what it says depends on when its instance was made.
#[transform]
pub fn counts_calls(_line: Line<'_>, out: &mut Output) {
    CALLS.set(CALLS.get() + 1);
    out.emit(CALLS.get().to_string().as_bytes());
}

/// Keeps 64 KiB a record for ever.
#[transform]
pub fn leaks(_line: Line<'_>, out: &mut Output) {
    LEAK.with_borrow_mut(|leak| leak.push(vec![1; 64 << 10]));
    out.pass();
}

/// Panics in a filter.
#[filter]
pub fn test_panics(line: Line<'_>, config: &Trigger) -> bool {
    assert!(line.text != config.on, "cannot test `{}`", line.text);
    true
}

/// A sum that panics in `add`.
#[derive(Default, State)]
pub struct Sum {
    sum: i64,
}

/// Adds integers, and panics on text.
#[aggregate]
impl Sum {
    fn add(&mut self, line: Line<'_>, config: &Trigger) {
        assert!(line.text != config.on, "cannot add `{}`", line.text);
        self.sum += line.text.parse::<i64>().unwrap_or(0);
    }

    fn merge(&mut self, later: Sum) {
        self.sum += later.sum;
    }

    fn finish(&self, out: &mut Output) {
        out.emit(self.sum.to_string().as_bytes());
    }
}

/// A count whose accumulators were changed once: version 2 of them.
#[derive(Default, State)]
pub struct Count {
    count: i64,
}

/// Counts, and knows nothing of older accumulators: it does not migrate.
#[aggregate(name = "count", version = 2)]
impl Count {
    fn add(&mut self, _line: Line<'_>) {
        self.count += 1;
    }

    fn finish(&self, out: &mut Output) {
        out.emit(self.count.to_string().as_bytes());
    }
}

/// Function `fewer-accumulators`.
#[expect(
    non_camel_case_types,
    reason = "a function's type is named like the function"
)]
pub enum fewer_accumulators {}

impl Export for fewer_accumulators {
    const FUNCTION: Function = Function {
        name: "fewer-accumulators",
        kind: FunctionKind::Aggregate,
        doc: "answers one accumulator less than it was given",
        schema: NoConfig::schema,
        open: |_| Ok(Box::new(Fewer)),
    };
}

struct Fewer;

impl Instance for Fewer {
    fn descriptor(&self) -> Descriptor {
        Descriptor::default()
    }

    fn init(&mut self) -> Result<Vec<u8>, Failure> {
        Ok(Vec::new())
    }

    fn add(
        &mut self,
        _: Batch,
        _: Option<Vec<u32>>,
        _: Vec<u32>,
        mut accs: BytesCol,
    ) -> Result<BytesCol, Failure> {
        accs.offsets.pop();
        Ok(accs)
    }
}
