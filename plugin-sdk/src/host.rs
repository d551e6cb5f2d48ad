//! The host's functions. In a plugin they are the contract's imports; in `cargo test` on the author's
//! machine, [`crate::testing`] stands in for the host.

use std::cell::Cell;

use crate::contract::{BytesCol, Headers, Level, MetricKind, Nulls, Payload, TimeDomain};

#[cfg(target_arch = "wasm32")]
use crate::bindings::wasmill::plugin::host as imp;
#[cfg(not(target_arch = "wasm32"))]
use crate::testing::host as imp;

thread_local! {
    /// The row in work, for the panic hook. A plain static in Wasm: writing it costs one store.
    static ROW: Cell<u32> = const { Cell::new(u32::MAX) };
}

/// Notes the row in work, so that a panic names it.
#[inline]
pub fn working_on(row: u32) {
    ROW.set(row);
}

/// No row is in work.
#[inline]
pub fn working_on_nothing() {
    ROW.set(u32::MAX);
}

#[cfg(target_arch = "wasm32")]
pub(crate) fn row_in_work() -> Option<u32> {
    Some(ROW.get()).filter(|row| *row != u32::MAX)
}

/// Appends records to the chosen output. See `host.emit` in the contract.
pub fn emit(
    source: Option<&[u32]>,
    payload: &Payload,
    keys: Option<&BytesCol>,
    timestamps: Option<&[i64]>,
) {
    imp::emit(source, payload, keys, timestamps);
}

/// Marks of nulls for the next `emit`, one byte a row, 1 = null.
pub fn emit_nulls(keys: Option<&[u8]>, values: Option<&[u8]>) {
    imp::emit_nulls(keys, values);
}

/// Headers for the next `emit`.
pub fn emit_headers(headers: &Headers) {
    imp::emit_headers(headers);
}

/// Following emits go to this port of the descriptor; none = the main output.
pub fn port(index: Option<u32>) {
    imp::port(index);
}

/// This input record (group, pair) failed.
pub fn reject(row: u32, reason: &str) {
    imp::reject(row, reason);
}

/// The row in work, told just before a trap.
pub fn failing_row(row: u32, message: &str) {
    imp::failing_row(row, message);
}

/// Headers of the batch in hand.
pub fn input_headers() -> Option<Headers> {
    imp::input_headers()
}

/// Null keys and values of the batch in hand (of the left side, in a join).
pub fn input_nulls() -> Nulls {
    imp::input_nulls()
}

/// Null keys and values of the right side of a join.
pub fn right_nulls() -> Nulls {
    imp::right_nulls()
}

/// Writes to the job's log. [`crate::info!`] and its like check the level first.
pub fn log(level: Level, message: &str) {
    imp::log(level, message);
}

/// The least level that is kept.
pub fn log_level() -> Level {
    imp::log_level()
}

/// Registers a metric, or finds it again.
pub fn metric(name: &str, kind: MetricKind) -> u32 {
    imp::metric(name, kind)
}

/// Adds to a counter, sets a gauge, observes in a histogram.
pub fn record_metric(id: u32, value: f64) {
    imp::record_metric(id, value);
}

/// Sets a timer of the group's key.
pub fn set_timer(group: u32, domain: TimeDomain, time: i64) {
    imp::set_timer(group, domain, time);
}

/// Deletes a timer of the group's key.
pub fn delete_timer(group: u32, domain: TimeDomain, time: i64) {
    imp::delete_timer(group, domain, time);
}
