//! Behaviour against a real Apache Kafka: nothing here is mocked.
