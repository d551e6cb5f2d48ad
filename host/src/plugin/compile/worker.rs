//! The compile child itself. It lives for one file: closes what it inherited, locks itself in, reads the
//! file, answers, and ends.

use std::io::{self, Write as _};
use std::process::ExitCode;

use super::wire::{self, Answer, Status};
use super::{compile_here, gaps, sandbox};
use crate::plugin::cache::engine_hash;
use crate::plugin::engine::engine_for_compiling;
use crate::plugin::limits::PLUGIN_BYTES_MAX;
use crate::plugin::load::LoadError;
use crate::plugin::shape;

/// The argument by which this program knows that it is a compile child; then memory in bytes, and CPU time in
/// seconds. Not for people.
pub const COMMAND: &str = "__compile";

/// `main` of the child, with the arguments behind `COMMAND`.
pub fn main(arguments: &[String]) -> ExitCode {
    let [memory, cpu] = arguments else {
        eprintln!("not for people: it takes its limits as arguments");
        return ExitCode::from(2);
    };
    let (Ok(memory), Ok(cpu)) = (memory.parse(), cpu.parse()) else {
        eprintln!("not for people: its limits are numbers");
        return ExitCode::from(2);
    };
    sandbox::close_descriptors();
    let gaps = sandbox::enter(memory, cpu);
    match serve(gaps::to_words(&gaps)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("{e}");
            ExitCode::FAILURE
        }
    }
}

fn serve(gaps: String) -> io::Result<()> {
    let (flags, file) = wire::read_request(&mut io::stdin().lock(), PLUGIN_BYTES_MAX as u64)?;
    let engine = engine_for_compiling(
        flags & wire::INTERRUPTIBLE != 0,
        flags & wire::PARALLEL != 0,
    )
    .map_err(|e| io::Error::other(e.to_string()))?;
    // The host looked at it, too; it is cheap, and what is compiled here was seen here.
    let result = shape::shape(&file).and_then(|shape| compile_here(&engine, &file, &shape));
    let (status, payload) = match result {
        Ok(code) => (Status::Code, code),
        Err(LoadError::Wrap(words)) => (Status::Wrap, words.into_bytes()),
        Err(LoadError::Compile(words)) => (Status::Refused, words.into_bytes()),
        Err(other) => (Status::Refused, other.to_string().into_bytes()),
    };
    let answer = Answer {
        gaps,
        status,
        engine_hash: engine_hash(&engine),
        payload,
    };
    let mut out = io::stdout().lock();
    wire::write_answer(&mut out, &answer)?;
    out.flush()
}
