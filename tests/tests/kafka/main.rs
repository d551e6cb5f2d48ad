//! Behaviour against a real Apache Kafka: nothing here is mocked. Each test has topics and a job of its own; they
//! share one broker, except where it is killed.

mod cluster;
mod kills;
mod plain;
