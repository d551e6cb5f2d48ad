//! Formats: cutting bytes into records, extracting typed fields from values, and writing values.
//! Per record: one that is malformed is reported by row, and never costs the batch.

pub mod csv;
