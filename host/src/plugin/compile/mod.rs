//! Compiling a plugin: in a child process that can be killed, since no option of a compiler bounds what
//! a file may cost it (7 KB of code can want gigabytes, and a process that runs out of memory aborts).
//!
//! The child is this same program, called with `__compile`: it takes a file on its standard input and
//! answers machine code on its standard output. It has no descriptor but those, no environment, limits of
//! memory, CPU and wall time, and no right to anything (`sandbox`). What it answers is deserialised because
//! this process made the child and read its pipe; code from anywhere else must carry the cache's MAC.

mod child;
mod gaps;
mod queue;
mod sandbox;
mod wire;
mod worker;

use std::path::PathBuf;

pub use gaps::Gap;
pub use sandbox::support;
pub use worker::{COMMAND, main as worker_main};

use super::cache::engine_hash;
use super::engine::Flavour;
use super::limits::CompileLimits;
use super::load::LoadError;
use super::shape::{FileKind, Shape};
use super::wrap::wrap;
pub(super) use queue::Queue;

/// Where compilers run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compiler {
    /// In a child process of this program (see `COMMAND`).
    Child(PathBuf),
    /// In this process: for tests, and for who trusts all plugins. A hostile file can end the process.
    InProcess,
}

impl Compiler {
    /// A child of the running program itself, whose `main` calls `worker_main` for `COMMAND`.
    pub fn this_program() -> Compiler {
        // By this name it is found even where the file was replaced or removed meanwhile.
        Compiler::Child(PathBuf::from("/proc/self/exe"))
    }
}

/// Machine code, and what the sandbox of the compiler lacked.
pub(super) struct Compiled {
    pub code: Vec<u8>,
    /// What did not hold the compiler.
    pub gaps: Vec<Gap>,
}

/// Compiles a file that has passed `shape`.
pub(super) fn compile(
    compiler: &Compiler,
    limits: &CompileLimits,
    queue: &Queue,
    flavour: &Flavour,
    request: &Request<'_>,
) -> Result<Compiled, LoadError> {
    match compiler {
        Compiler::InProcess => Ok(Compiled {
            code: compile_here(&flavour.engine, request.binary, request.shape)?,
            gaps: vec![Gap::new(
                gaps::IN_PROCESS,
                "no process of its own was asked for",
            )],
        }),
        Compiler::Child(program) => {
            let _turn = queue.wait();
            child::compile(program, limits, engine_hash(&flavour.engine), request)
        }
    }
}

/// What to compile.
pub(super) struct Request<'a> {
    pub binary: &'a [u8],
    pub shape: &'a Shape,
    pub interruptible: bool,
    pub parallel: bool,
}

/// Wraps a module, and compiles.
fn compile_here(
    engine: &wasmtime::Engine,
    binary: &[u8],
    shape: &Shape,
) -> Result<Vec<u8>, LoadError> {
    let wrapped;
    let component = match shape.kind {
        FileKind::Component => binary,
        FileKind::Module => {
            wrapped = wrap(binary, shape)?;
            &wrapped
        }
    };
    engine
        .precompile_component(component)
        .map_err(|e| LoadError::Compile(format!("{e:#}")))
}

#[cfg(test)]
mod tests;
