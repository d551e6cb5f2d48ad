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
use super::host::HostState;

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
}

impl Default for EngineOptions {
    fn default() -> EngineOptions {
        EngineOptions {
            cache: CacheDir::Default,
            parallel_compilation: true,
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

    pub(super) fn cache(&self) -> Option<&CodeCache> {
        self.inner.cache.as_ref()
    }
}

impl Flavour {
    fn new(options: &EngineOptions, interruptible: bool) -> Result<Flavour, EngineError> {
        let engine =
            wasmtime::Engine::new(&config(options, interruptible)).map_err(engine_error)?;
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

/// What is on and off, and why: fewer proposals is less surface; equal input must give equal output on
/// every machine (NaN, relaxed SIMD); nothing may run unbounded (ticks).
fn config(options: &EngineOptions, interruptible: bool) -> wasmtime::Config {
    let mut config = wasmtime::Config::new();
    config
        .strategy(wasmtime::Strategy::Cranelift)
        .wasm_component_model(true)
        .concurrency_support(false)
        .epoch_interruption(interruptible)
        .max_wasm_stack(WASM_STACK_BYTES)
        .wasm_memory64(false)
        .wasm_multi_memory(false)
        .wasm_custom_page_sizes(false)
        .wasm_wide_arithmetic(false)
        .wasm_relaxed_simd(false)
        .cranelift_nan_canonicalization(true)
        .cranelift_opt_level(wasmtime::OptLevel::Speed)
        .native_unwind_info(false)
        .generate_address_map(false)
        .wasm_backtrace_max_frames(None)
        .memory_init_cow(true)
        .parallel_compilation(options.parallel_compilation);
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
