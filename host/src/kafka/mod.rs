//! What source and sink share of Kafka: a safe client over librdkafka, settings that a job may set,
//! positions. The only module that sees rdkafka.
//!
//! librdkafka is driven through its C interface: whole batches are taken off a partition's queue in one call,
//! and records are copied into our columns before the next one, so that no kept message pins the buffer that
//! it was fetched in. All calls that wait for a broker are made on threads of our own.

pub mod client;
pub mod consume;
mod headers;
pub mod offsets;
pub mod position;
pub mod produce;
pub mod settings;
pub mod topics;

pub use client::{Client, Fault, Kind, comes_again};
pub use position::KafkaPosition;
