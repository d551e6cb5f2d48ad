//! The component's exports: each call goes to the one open function. Wasm only.

use std::cell::RefCell;

use crate::bindings::exports::wasmill::plugin as guest;
use crate::bindings::wasmill::plugin::types;
use crate::contract::{Batch, BytesCol, Descriptor, Failure, FiredTimer, States, Windows};
use crate::function::{Function, Instance};
use crate::{host, logging, metrics};

// SAFETY: `plugin!` defines this symbol with exactly this signature; a plugin without it doesn't link.
unsafe extern "Rust" {
    safe fn __wasmill_functions() -> &'static [Function];
}

thread_local! {
    static OPEN: RefCell<Option<Box<dyn Instance>>> = const { RefCell::new(None) };
}

/// Runs one call on the open function.
fn call<T>(f: impl FnOnce(&mut dyn Instance) -> Result<T, Failure>) -> Result<T, Failure> {
    OPEN.with_borrow_mut(|open| {
        let Some(instance) = open else {
            return Err(Failure::new("no function is open"));
        };
        logging::forget_level();
        let answer = f(instance.as_mut());
        host::working_on_nothing();
        metrics::send();
        answer
    })
}

/// Panics reach the host with their message, place and row before the trap.
fn report_panics() {
    std::panic::set_hook(Box::new(|info| {
        let text = info.payload_as_str().unwrap_or("panic");
        let message = match info.location() {
            Some(at) => format!("{text} ({}:{})", at.file(), at.line()),
            None => text.to_string(),
        };
        match host::row_in_work() {
            Some(row) => host::failing_row(row, &message),
            None => host::log(crate::contract::Level::Error, &message),
        }
    }));
}

struct Exports;

impl guest::lifecycle::Guest for Exports {
    fn functions() -> Vec<types::Function> {
        __wasmill_functions()
            .iter()
            .map(|f| types::Function {
                name: f.name.into(),
                kind: f.kind,
                doc: f.doc.into(),
                config_schema: (f.schema)(),
            })
            .collect()
    }

    fn open(function: String, config: Vec<u8>) -> Result<Descriptor, Failure> {
        report_panics();
        let found = __wasmill_functions().iter().find(|f| f.name == function);
        let found =
            found.ok_or_else(|| Failure::new(format!("there is no function `{function}`")))?;
        let instance = (found.open)(&config)?;
        let descriptor = instance.descriptor();
        OPEN.set(Some(instance));
        Ok(descriptor)
    }

    fn close() {
        OPEN.set(None);
    }
}

impl guest::transform::Guest for Exports {
    fn process(input: Batch) -> Result<(), Failure> {
        call(|f| f.transform(input))
    }
}

impl guest::filter::Guest for Exports {
    fn test(input: Batch) -> Result<Vec<u8>, Failure> {
        call(|f| f.filter(input))
    }
}

impl guest::aggregate::Guest for Exports {
    fn init() -> Result<Vec<u8>, Failure> {
        call(|f| f.init())
    }

    fn add(
        input: Batch,
        rows: Option<Vec<u32>>,
        groups: Vec<u32>,
        accs: BytesCol,
    ) -> Result<BytesCol, Failure> {
        call(|f| f.add(input, rows, groups, accs))
    }

    fn merge(left: BytesCol, right: BytesCol) -> Result<BytesCol, Failure> {
        call(|f| f.merge(left, right))
    }

    fn finish(keys: BytesCol, windows: Windows, accs: BytesCol) -> Result<(), Failure> {
        call(|f| f.finish(keys, windows, accs))
    }
}

impl guest::session::Guest for Exports {
    fn gaps(input: Batch) -> Result<Vec<i64>, Failure> {
        call(|f| f.gaps(input))
    }
}

impl guest::migration::Guest for Exports {
    fn migrate(from_version: u32, states: BytesCol) -> Result<BytesCol, Failure> {
        call(|f| f.migrate(from_version, states))
    }
}

impl guest::join::Guest for Exports {
    fn join(
        left: Batch,
        right: Batch,
        left_rows: Vec<u32>,
        right_rows: Vec<u32>,
    ) -> Result<(), Failure> {
        call(|f| f.join(left, right, left_rows, right_rows))
    }
}

impl guest::process::Guest for Exports {
    fn process(
        input: Batch,
        groups: Vec<u32>,
        keys: BytesCol,
        states: States,
        fired: Vec<FiredTimer>,
    ) -> Result<States, Failure> {
        call(|f| f.process(input, groups, keys, states, fired))
    }
}

crate::bindings::export!(Exports with_types_in crate::bindings);
