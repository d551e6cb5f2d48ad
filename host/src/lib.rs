//! Wasmill: a stream processing host for WebAssembly plugins.
//!
//! The host reads partitions of records, runs them through sandboxed plugins, groups them in
//! event-time windows, and writes results. This library is the whole engine; the binary `wasmill`
//! only parses arguments and sets the exit code. There are no globals: several jobs live in one
//! process, each behind a handle.
//!
//! The modules marked hidden are the engine's inside: public for benches and tests, without a
//! promise to stay as they are.

mod large_pages;
mod prefetch;
#[doc(hidden)]
pub mod printable;
#[doc(hidden)]
pub mod reach;
#[doc(hidden)]
pub mod record;
mod room;
#[doc(hidden)]
pub mod time;

#[doc(hidden)]
pub mod spill;
#[doc(hidden)]
pub mod step;

#[doc(hidden)]
pub mod checkpoint;
#[doc(hidden)]
pub mod cli;
pub mod config;
/// Speaking to a running job on this machine.
pub mod control;
#[doc(hidden)]
pub mod crash;
#[doc(hidden)]
pub mod dedup;
#[doc(hidden)]
pub mod format;
pub mod job;
#[doc(hidden)]
pub mod join;
pub mod kafka;
#[doc(hidden)]
pub mod keyed;
#[doc(hidden)]
pub mod plugin;
#[doc(hidden)]
pub mod process;
#[doc(hidden)]
pub mod runtime;
#[doc(hidden)]
pub mod script;
#[doc(hidden)]
pub mod sink;
#[doc(hidden)]
pub mod source;
#[doc(hidden)]
pub mod state;
#[doc(hidden)]
pub mod table;
#[doc(hidden)]
pub mod window;
