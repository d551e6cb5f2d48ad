//! `wasmill test`: a job driven by hand from a script, with every sink as lines of output.
//!
//! The rules are in docs/job-file.md, "Test script". What comes out is a function of job and script
//! alone; a restart is checked to give again what was printed before.

pub mod collect;
pub mod diff;
pub mod driver;
pub mod line;
pub mod play;
