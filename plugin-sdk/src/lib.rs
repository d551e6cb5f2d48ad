//! Write Wasmill plugins in Rust.
#![warn(missing_docs)]

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

pub use config::{NoConfig, Schema};
pub use contract::TimeDomain;
pub use emit::{Bytes, Emit, Same};
pub use function::{Export, Function, Instance};
pub use input::{Input, Json, RawRecord};
pub use logging::log_enabled;
pub use metrics::{Counter, Gauge, Histogram};
pub use output::{Emitted, Output};
pub use reject::{Outcome, Reject, reject};
pub use run::{Context, Group, Timer};
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
