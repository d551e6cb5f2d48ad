//! The hostile corpus: guests, files and jobs made to do harm. Each case asserts how the attacking job
//! ended, word by word, and then the oracle (`host`) looks at what is left: this process and the job beside
//! it must be as if nothing had been.
//!
//! These tests drive the library, several jobs in one process, since "same process" cannot be seen from
//! outside of one that runs a single job. Plugins are compiled by the binary, as in `wasmill run`.

mod compile;
mod components;
mod contract;
mod cost;
mod fairness;
mod floods;
mod fuzz;
mod guests;
mod host;
mod jobs;
mod keyed;
mod lies;
mod limit_cost;
mod limits;
mod meta;
mod places;
mod records;
mod secrets;
mod states;
mod terminal;
mod values;
mod wat;
