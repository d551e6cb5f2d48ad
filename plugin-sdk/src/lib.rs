//! Write plugins for Wasmill in Rust.
//!
//! A plugin is a library of functions that the host runs in a sandbox, batch by batch. This crate makes them
//! out of plain Rust: one attribute a function, derives for what it reads and writes, and everything can be
//! called and tested natively.
//!
//! # The shortest plugin
//!
//! ```toml
//! [package]
//! name = "pages"
//! version = "0.1.0"
//! edition = "2024"
//!
//! [lib]
//! crate-type = ["cdylib"]
//!
//! [dependencies]
//! wasmill-plugin = "0.1"
//! ```
//!
//! ```
//! use wasmill_plugin::{Fields, filter, plugin};
//!
//! #[derive(Fields)]
//! struct Page<'a> {
//!     path: &'a str,
//!     ms: i64,
//! }
//!
//! /// Keeps pages that took long.
//! #[filter]
//! fn slow(page: Page<'_>) -> bool {
//!     page.ms > 500 && !page.path.starts_with("/internal/")
//! }
//!
//! plugin! { slow }
//!
//! // A function stays a function.
//! assert!(slow(Page { path: "/", ms: 501 }));
//! ```
//!
//! `cargo build --release --target wasm32-unknown-unknown` makes `pages.wasm`, and a job names the function
//! `pages.slow`. (With `-C target-feature=+simd128` in the target's `rustflags`, loops over bytes and numbers
//! become vector code.)
//!
//! # Fields: plugins don't parse
//!
//! The host extracts the fields of the struct from JSON or CSV, once a batch for all steps that want them, and
//! hands over columns; the struct borrows from them, and nothing is copied. Types are `&str`, `i64`, `f64`,
//! `bool`, [`Json`] (any value, as it stands) and `Option` of these. Where a field that is no `Option` is
//! missing, null or of another type, the record is rejected and the function never sees it; an `Option` is
//! `None` there.
//!
//! ```
//! use wasmill_plugin::{Fields, Json};
//!
//! #[derive(Fields)]
//! struct Order<'a> {
//!     id: i64,
//!     #[field(pointer = "/customer/address/city")]
//!     city: Option<&'a str>,
//!     #[field(name = "unit-price")]
//!     unit_price: f64,
//!     #[field(missing = "null", mismatch = "fail")] // the other policies: "null", "reject", "fail"
//!     discount: Option<f64>,
//!     items: Json<'a>,
//!     #[field(key)]
//!     key: Option<&'a [u8]>, // or &str
//!     #[field(timestamp)]
//!     time: i64, // or Option<i64>
//! }
//! ```
//!
//! `#[field(value)]` gives the raw value as `&[u8]` or `&str`; [`RawRecord`] gives everything raw, headers
//! included, for formats that the host does not read. [`text`] reads integers and parts of text
//! faster than `str` does in a sandbox.
//!
//! # Transforms
//!
//! Any number of records out for each in. A function that returns a value maps; one that takes an
//! [`Output`] may emit none or many, and set key, timestamp and port. `Err(reject(..))`, or `?` on any error,
//! fails the record, and the job's `on-error` decides what happens to it.
//!
//! ```
//! use wasmill_plugin::testing::{open, record};
//! use wasmill_plugin::{Emit, Fields, Output, Reject, Same, reject, transform};
//!
//! #[derive(Fields)]
//! struct Reading<'a> {
//!     sensor: &'a str,
//!     celsius: f64,
//! }
//!
//! #[derive(Emit)]
//! struct Converted {
//!     sensor: Same, // the input field of that name, handed on without a copy
//!     kelvin: f64,
//! }
//!
//! #[transform]
//! fn to_kelvin(reading: Reading<'_>) -> Converted {
//!     Converted { sensor: Same, kelvin: reading.celsius + 273.15 }
//! }
//!
//! #[transform(ports("cold"), sets_keys)]
//! fn by_sensor(reading: Reading<'_>, out: &mut Output<Converted>) -> Result<(), Reject> {
//!     if reading.celsius < -273.15 {
//!         return Err(reject("colder than can be"));
//!     }
//!     let converted = to_kelvin(Reading { ..reading });
//!     if converted.kelvin < 273.15 {
//!         out.pass().with_key(reading.sensor).to_port("cold"); // the input value itself
//!     } else {
//!         out.emit(converted).with_key(reading.sensor);
//!     }
//!     Ok(())
//! }
//!
//! let ran = open::<by_sensor>("{}").run(&[
//!     record(r#"{"sensor":"a","celsius":20}"#),
//!     record(r#"{"sensor":"b","celsius":-1}"#),
//!     record(r#"{"sensor":"c","celsius":-300}"#),
//! ]);
//! assert_eq!(ran.values(), [r#"{"sensor":"a","kelvin":293.15}"#]);
//! assert_eq!(ran.port("cold"), [r#"{"sensor":"b","celsius":-1}"#]);
//! assert_eq!(ran.rejected, [(2, "colder than can be".into())]);
//! ```
//!
//! `Output` alone (that is `Output<Bytes>`) takes bytes: `out.emit(b"..")`; `Output<i64>` takes integers, and writes them as
//! JSON does.
//!
//! # Config
//!
//! `#[config]` makes a struct a serde struct with members in kebab-case; its JSON Schema reaches the host, which
//! checks the job's `config = { .. }` against it. A function takes it as `&Config`.
//!
//! ```
//! use wasmill_plugin::testing::{open, record, try_open};
//! use wasmill_plugin::{Fields, config, filter};
//!
//! #[config]
//! struct Limits {
//!     /// The largest size to keep, in bytes
//!     max_size: i64,
//!     #[serde(default)]
//!     min_size: i64,
//! }
//!
//! #[derive(Fields)]
//! struct File {
//!     size: i64,
//! }
//!
//! #[filter]
//! fn fits(file: File, limits: &Limits) -> bool {
//!     (limits.min_size..=limits.max_size).contains(&file.size)
//! }
//!
//! let ran = open::<fits>(r#"{"max-size":10}"#).run(&[record(r#"{"size":7}"#), record(r#"{"size":11}"#)]);
//! assert_eq!(ran.values(), [r#"{"size":7}"#]);
//! assert!(try_open::<fits>(r#"{"maxsize":10}"#).is_err());
//! ```
//!
//! # Aggregates
//!
//! A struct is the accumulator of one key in one window; `#[aggregate]` goes on its `impl`. `add` takes a record,
//! `finish` makes the result. With `merge`, sliding windows get cheaper and session windows possible. `init`
//! (from the config) stands in for `Default`, `gap` gives each record's session gap, and `migrate` reads
//! accumulators of an older `version`. The host keeps accumulators in the compact form of [`State`].
//!
//! ```
//! use wasmill_plugin::testing::{open, record};
//! use wasmill_plugin::{Emit, Fields, Group, State, aggregate};
//!
//! #[derive(Fields)]
//! struct Visit {
//!     ms: i64,
//! }
//!
//! #[derive(Default, State)]
//! struct Visits {
//!     n: i64,
//!     longest: Option<i64>,
//! }
//!
//! #[derive(Emit)]
//! struct Summary {
//!     page: String,
//!     n: i64,
//!     longest: Option<i64>,
//! }
//!
//! /// Visits of a page, and the longest.
//! #[aggregate]
//! impl Visits {
//!     fn add(&mut self, visit: Visit) {
//!         self.n += 1;
//!         self.longest = self.longest.max(Some(visit.ms));
//!     }
//!
//!     fn merge(&mut self, later: Visits) {
//!         self.n += later.n;
//!         self.longest = self.longest.max(later.longest);
//!     }
//!
//!     fn finish(&self, group: &Group<'_>) -> Summary {
//!         Summary { page: group.key_text().into(), n: self.n, longest: self.longest }
//!     }
//! }
//!
//! let ran = open::<Visits>("{}").aggregate(&[record(r#"{"ms":3}"#), record(r#"{"ms":5}"#)]);
//! assert_eq!(ran.values(), [r#"{"page":"k","n":2,"longest":5}"#]);
//! ```
//!
//! `plugin! { Visits }` lists it; its name in jobs is `visits`, or what `#[aggregate(name = "..")]` says. Add
//! `order_dependent` where the result depends on the order of records.
//!
//! State outlives the plugin: a checkpoint that an older plugin wrote is gone on from by a newer one. Whoever changes
//! what a struct keeps raises its `version`, and says how older ones are read; without `migrate` the host refuses them.
//!
//! ```
//! use wasmill_plugin::testing::open;
//! use wasmill_plugin::{Emit, Fields, Reject, State, aggregate, reject, state};
//!
//! #[derive(Fields)]
//! struct Number {
//!     n: i64,
//! }
//!
//! #[derive(Default, State, Emit)]
//! struct Tally {
//!     count: i64,
//!     sum: i64,
//! }
//!
//! /// What version 1 kept.
//! #[derive(State)]
//! struct Tally1 {
//!     count: i64,
//! }
//!
//! /// How many numbers, and their sum.
//! #[aggregate(version = 2)]
//! impl Tally {
//!     fn add(&mut self, number: Number) {
//!         self.count += 1;
//!         self.sum += number.n;
//!     }
//!
//!     fn finish(self) -> Tally {
//!         self
//!     }
//!
//!     fn migrate(from_version: u32, bytes: &[u8]) -> Result<Tally, Reject> {
//!         if from_version != 1 {
//!             return Err(reject("too old"));
//!         }
//!         let old: Tally1 = state::from_bytes(bytes).ok_or_else(|| reject("damaged"))?;
//!         Ok(Tally { count: old.count, sum: 0 })
//!     }
//! }
//!
//! let mut tally = open::<Tally>("{}");
//! let old = state::to_bytes(&Tally1 { count: 3 });
//! let new = tally.migrate(1, &old).expect("version 1 is known");
//! assert_eq!(tally.finish(&new).values(), [r#"{"count":3,"sum":0}"#]);
//! ```
//!
//! # Joins
//!
//! A function of two rows that the host matched by key and time; `Option` where a side may be absent.
//!
//! ```
//! use wasmill_plugin::testing::{open, record};
//! use wasmill_plugin::{Emit, Fields, join};
//!
//! #[derive(Fields)]
//! struct Order<'a> {
//!     item: &'a str,
//! }
//!
//! #[derive(Fields)]
//! struct Payment {
//!     cents: i64,
//! }
//!
//! #[derive(Emit)]
//! struct Settled<'a> {
//!     item: &'a str,
//!     cents: Option<i64>,
//! }
//!
//! #[join]
//! fn settle(order: Order<'_>, payment: Option<Payment>) -> Settled<'_> {
//!     Settled { item: order.item, cents: payment.map(|p| p.cents) }
//! }
//!
//! let order = [record(r#"{"item":"tea"}"#)];
//! let ran = open::<settle>("{}").join(&order, &[], &[(Some(0), None)]);
//! assert_eq!(ran.values(), [r#"{"item":"tea","cents":null}"#]);
//! ```
//!
//! # Keyed state and timers
//!
//! `#[process]` goes on the `impl` of a key's state: a state machine that records and timers drive.
//!
//! ```
//! use wasmill_plugin::testing::{open, record};
//! use wasmill_plugin::{Context, Emit, Fields, Output, State, Timer, process};
//!
//! #[derive(Fields)]
//! struct Ping {
//!     #[field(timestamp)]
//!     time: i64,
//! }
//!
//! #[derive(Emit)]
//! struct Lost {
//!     pings: i64,
//! }
//!
//! #[derive(Default, State)]
//! enum Device {
//!     #[default]
//!     Unknown,
//!     Alive { pings: i64, timeout: i64 },
//! }
//!
//! /// Says when a device was silent for ten seconds.
//! #[process]
//! impl Device {
//!     fn on_record(&mut self, ping: Ping, device: &mut Context<'_>) {
//!         let mut pings = 1;
//!         if let Device::Alive { pings: before, timeout } = self {
//!             pings += *before;
//!             device.delete_timer(*timeout);
//!         }
//!         let timeout = ping.time + 10_000;
//!         device.set_timer(timeout);
//!         *self = Device::Alive { pings, timeout };
//!     }
//!
//!     fn on_timer(&mut self, _: Timer, device: &mut Context<'_>, out: &mut Output<Lost>) {
//!         if let Device::Alive { pings, .. } = self {
//!             out.emit(Lost { pings: *pings });
//!         }
//!         device.clear_state();
//!     }
//! }
//!
//! let mut device = open::<Device>("{}").keyed();
//! device.record(&record("").key("d").at(1_000));
//! device.record(&record("").key("d").at(4_000));
//! assert_eq!(device.watermark(13_999).values(), [""; 0]);
//! assert_eq!(device.watermark(14_000).values(), [r#"{"pings":2}"#]);
//! ```
//!
//! # What else there is
//!
//! - [`info!`](crate::info), [`warn!`](crate::warn) …: the job's log; nothing is formatted below its level.
//! - [`Counter`], [`Gauge`], [`Histogram`]: metrics, summed up here and sent once a call.
//! - A panic costs the record in work, not the batch, and its message and line stand in the dead letter.
//! - [`Instance`]: whole batches, where a function's fields depend on its config or a loop over columns is worth
//!   writing. [`host`] has the host's functions, [`contract`] the types.
//!
//! # What a plugin may count on, and what not
//!
//! An instance may be replaced between any two calls, and a call may be repeated with other rows of the same
//! batch: statics and thread-locals are no state. There are no files, no network, no clock and no randomness;
//! the target has no WASI, so `std::time::Instant::now()` panics.

extern crate self as wasmill_plugin;

mod bindings;
pub mod config;
pub mod contract;
pub mod emit;
#[cfg(target_arch = "wasm32")]
mod export;
mod function;
pub mod host;
pub mod input;
mod logging;
mod metrics;
mod output;
mod reject;
pub mod run;
pub mod state;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
pub mod text;

pub use config::{NoConfig, Schema};
pub use contract::TimeDomain;
pub use emit::{Bytes, Emit, Same};
pub use function::{Export, Function, Instance, Opening};
pub use input::{Input, Json, RawRecord};
pub use logging::log_enabled;
pub use metrics::{Counter, Gauge, Histogram};
pub use output::{Emitted, Output};
pub use reject::{Outcome, Reject, reject};
pub use run::{Context, Group, Timer, each_row};
#[doc(hidden)]
pub use serde;
pub use serde_json;
pub use state::State;
pub use wasmill_plugin_macros::{
    Emit, Fields, Schema, State, aggregate, config, filter, join, process, transform,
};

/// Lists the functions of the plugin. Once in its crate, at the root:
/// `wasmill_plugin::plugin! { parse, long, DelayStats }`.
#[macro_export]
macro_rules! plugin {
    ($($function:path),+ $(,)?) => {
        const _: () = {
            #[cfg_attr(target_arch = "wasm32", unsafe(export_name = "__wasmill_functions"))]
            #[allow(dead_code)]
            fn functions() -> &'static [$crate::Function] {
                const FUNCTIONS: &[$crate::Function] = &[$(<$function as $crate::Export>::FUNCTION),+];
                FUNCTIONS
            }
        };
    };
}
