//! The engine: wasmtime as the profile has it, its ticker thread, and the imports that plugins find.
//!
//! One per process, cheap to clone. Two flavours of wasmtime live in it, with and without checks for
//! interruption; code compiled by one never meets the other. No globals: two engines in one process
//! (tests) know nothing of each other.

use std::path::PathBuf;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use wasmtime::component::Linker;

use super::abi::imports;
use super::cache::CodeCache;
use super::compile::{Compiler, Queue};
use super::host::HostState;
use super::limits::CompileLimits;

/// Time between ticks: how precisely calls are stopped, and the least slice that is given back.
pub const TICK: Duration = Duration::from_millis(1);

/// Native stack that guest code may use. The default of wasmtime; deeper recursion traps.
const WASM_STACK_BYTES: usize = 512 << 10;

/// Where compiled code is kept between runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CacheDir {
    /// `$XDG_CACHE_HOME/wasmill` or `~/.cache/wasmill`; off where there is neither.
    Default,
    /// This folder.
    At(PathBuf),
    /// Nowhere: compile each time.
    Off,
}

/// How an engine is made.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// Where compiled code is kept.
    pub cache: CacheDir,
    /// Compile on several threads.
    pub parallel_compilation: bool,
    /// Where compilers run.
    pub compiler: Compiler,
    /// What one plugin may cost them.
    pub compile_limits: CompileLimits,
}

impl EngineOptions {
    /// The defaults, with compilers where the caller wants them: there is no default for that, since
    /// one of the answers is unsafe and the other needs a program.
    pub fn new(compiler: Compiler) -> EngineOptions {
        EngineOptions {
            cache: CacheDir::Default,
            parallel_compilation: true,
            compiler,
            compile_limits: CompileLimits::default(),
        }
    }
}

/// The engine could not be made: the machine lacks what wasmtime needs.
#[derive(Debug, thiserror::Error)]
#[error("cannot start the WebAssembly engine: {0}")]
pub struct EngineError(String);

/// Compiles and runs plugins.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    interruptible: Flavour,
    plain: OnceLock<Flavour>,
    options: EngineOptions,
    cache: Option<CodeCache>,
    queue: Queue,
    // Last: the ticker stops when nothing can run any more.
    _ticker: Ticker,
}

/// One configuration of wasmtime with the imports linked for it.
pub(super) struct Flavour {
    pub engine: wasmtime::Engine,
    pub linker: Linker<HostState>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("options", &self.inner.options)
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// Starts the engine and its ticker thread.
    pub fn new(options: EngineOptions) -> Result<Engine, EngineError> {
        let interruptible = Flavour::new(&options, true)?;
        let ticker = Ticker::start(interruptible.engine.clone())?;
        let cache = CodeCache::open(&options.cache);
        Ok(Engine {
            inner: Arc::new(Inner {
                interruptible,
                plain: OnceLock::new(),
                options,
                cache,
                queue: Queue::of_cores(),
                _ticker: ticker,
            }),
        })
    }

    pub(super) fn flavour(&self, interruptible: bool) -> Result<&Flavour, EngineError> {
        if interruptible {
            return Ok(&self.inner.interruptible);
        }
        if let Some(flavour) = self.inner.plain.get() {
            return Ok(flavour);
        }
        let made = Flavour::new(&self.inner.options, false)?;
        Ok(self.inner.plain.get_or_init(|| made))
    }

    pub(super) fn options(&self) -> &EngineOptions {
        &self.inner.options
    }

    pub(super) fn queue(&self) -> &Queue {
        &self.inner.queue
    }

    pub(super) fn cache(&self) -> Option<&CodeCache> {
        self.inner.cache.as_ref()
    }
}

impl Flavour {
    fn new(options: &EngineOptions, interruptible: bool) -> Result<Flavour, EngineError> {
        let engine = wasmtime::Engine::new(&config(options.parallel_compilation, interruptible))
            .map_err(engine_error)?;
        let mut linker = Linker::new(&engine);
        imports::link(&mut linker).map_err(engine_error)?;
        Ok(Flavour { engine, linker })
    }

    /// A linker of its own for a component whose further imports become traps. Made anew rather than
    /// cloned and changed.
    pub fn fresh_linker(&self) -> wasmtime::Result<Linker<HostState>> {
        let mut linker = Linker::new(&self.engine);
        imports::link(&mut linker)?;
        Ok(linker)
    }
}

fn engine_error(e: wasmtime::Error) -> EngineError {
    EngineError(format!("{e:#}"))
}

/// An engine that only compiles, in the compile child: the same settings, so that its code fits.
pub(super) fn engine_for_compiling(
    interruptible: bool,
    parallel: bool,
) -> wasmtime::Result<wasmtime::Engine> {
    wasmtime::Engine::new(&config(parallel, interruptible))
}

/// What is on and off: fewer proposals is less surface; equal input must give equal output on every
/// machine; nothing may run unbounded. `shape::features` refuses by name what is off here. Threads,
/// garbage collection, exceptions, stack switching and the component model's async are not compiled in
/// (`default-features = false` in Cargo.toml), and real WASI is not linked at all: most of the
/// engine's published holes lie there.
fn config(parallel: bool, interruptible: bool) -> wasmtime::Config {
    let mut config = wasmtime::Config::new();
    config
        // Winch, the other compiler, knows no interruption and had holes of its own.
        .strategy(wasmtime::Strategy::Cranelift)
        .wasm_component_model(true)
        // No async calls: no second stack, no host code run from a guest's.
        .concurrency_support(false)
        // The ticks that bound a call's time.
        .epoch_interruption(interruptible)
        // The engine's default. Past it recursion traps; host calls have the rest of the thread's stack.
        .max_wasm_stack(WASM_STACK_BYTES)
        // 32 bits bound addresses by themselves, so guard pages can replace most checks.
        .wasm_memory64(false)
        // One memory a module: one number to bound, and none in the contract needs two.
        .wasm_multi_memory(false)
        // No tool-chain in use makes them; each is one more way through the compiler.
        .wasm_custom_page_sizes(false)
        .wasm_wide_arithmetic(false)
        // Results may differ between processors, and a replay must not.
        .wasm_relaxed_simd(false)
        // The bits of a NaN are part of a result, too.
        .cranelift_nan_canonicalization(true)
        .cranelift_opt_level(wasmtime::OptLevel::Speed)
        // Nothing unwinds through guest code, and registering its tables takes time quadratic in the
        // number of modules.
        .native_unwind_info(false)
        // No backtraces, so nothing reads a hostile file's debug information.
        .generate_address_map(false)
        .wasm_backtrace_max_frames(None)
        // A new instance costs the pages that it touches, not those that it has.
        .memory_init_cow(true)
        // Does not change the code, only who makes it; bounded by the child's CPU time all the same.
        .parallel_compilation(parallel);
    config
}

/// Advances the interruptible flavour's epoch every `TICK`, from a thread of its own.
struct Ticker {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    fn start(engine: wasmtime::Engine) -> Result<Ticker, EngineError> {
        let (stop, stopped) = mpsc::channel::<()>();
        let thread = std::thread::Builder::new()
            .name("wasmill-ticker".into())
            .spawn(move || {
                while stopped.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                    engine.increment_epoch();
                }
            })
            .map_err(|e| EngineError(format!("cannot start the ticker thread: {e}")))?;
        Ok(Ticker {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // The thread only sleeps and counts: it ends within a tick.
            let _ = thread.join();
        }
    }
}
