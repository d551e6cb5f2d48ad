//! The job file, in two stages: `spec` is what was typed, `plan` the validated job, whose existence is
//! the proof that all names, kinds and limits hold.
//!
//! `document` reads TOML with places, `spec` reads its keys, `check` looks everything up and makes the
//! plan. All errors come at once, each with file, line and column, what is allowed, and a near match.
//! This module reads the job file and the schemas of plugins; it starts nothing.

mod check;
mod conceal;
mod delivery;
mod document;
#[cfg(test)]
pub(crate) mod fake;
mod host;
pub mod kafka;
#[cfg(test)]
mod mutation_tests;
mod operator;
pub mod plan;
mod problem;
mod reader;
mod schema;
pub mod secret;
mod spec;
mod stages;
#[cfg(test)]
mod tests;
mod values;

pub use check::{CheckOptions, Mode, check_file, check_text, checkpoint_place};
pub use conceal::{conceal, is_secret_name};
pub use delivery::{Delivery, delivery};
pub use host::{FunctionInfo, LoadedPlugin, PluginHost, PluginRefused, PluginRequest};
pub use kafka::{
    ClientSetting, KafkaDelivery, KafkaEnd, KafkaOffsets, KafkaSinkPlan, KafkaSourcePlan,
    KafkaStart, KafkaTopics, OnGap, SinkTopic,
};
pub use operator::Operator;
pub use plan::Plan;
pub use problem::{Position, Problem, Problems, Span, Texts};
pub use secret::{Redactor, Secret, SecretError, SecretRules, SecretText};
pub use spec::{PluginSettings, show_limit};
pub use stages::{Stage, is_keyed, stages};
pub use values::{duration_ms, show_duration, show_size, size_bytes};
