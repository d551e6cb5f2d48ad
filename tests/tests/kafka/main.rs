//! Behaviour against a real Apache Kafka: nothing here is mocked. Each test has topics and a job of its own; they
//! share one broker, except where it is killed.

mod bombs;
mod cluster;
mod faults;
mod files;
mod forgotten;
mod kills;
mod owners;
mod plain;
#[expect(
    dead_code,
    reason = "outages of the store are tested with the other behaviour"
)]
#[path = "../behaviour/s3_server.rs"]
mod s3_server;
mod savepoints;
mod secure;
mod sink;
mod source;
mod sums;
