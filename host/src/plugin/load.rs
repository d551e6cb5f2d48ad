//! Bytes become a `Plugin`: looked at, wrapped where they are a core module, compiled (or taken from the
//! cache), linked, instantiated once, and asked for their functions.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use wasmtime::component::{Component, ComponentExportIndex, InstancePre, Linker};

use super::abi::imports::{HOST, TYPES};
use super::abi::types::Level;
use super::abi::wasi;
use super::cache::hex;
use super::compile::{self, Gap, Request};
use super::engine::{Engine, EngineError};
use super::host::HostState;
use super::instance::{self, InstanceOptions, Live};
use super::limits::{CONFIG_BYTES_MAX, Limits};
use super::shape::{self, CONTRACT_VERSION, FileKind, Shape};
use super::{Descriptor, FunctionInfo, FunctionKind};

/// How a plugin is loaded.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// Its name in the job, for messages.
    pub name: String,
    /// What its instances may use.
    pub limits: Limits,
}

/// Why a file is no plugin for this host.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Another kind of file.
    #[error("not a WebAssembly file: {found}")]
    NotWasm {
        /// What it is instead.
        found: String,
    },
    /// It ends too early.
    #[error("truncated: the file ends at byte {at}, in the middle of something")]
    Truncated {
        /// Where.
        at: usize,
    },
    /// Not valid, or with a WebAssembly feature that is off here.
    #[error("not valid WebAssembly for this host, at byte {at}: {message}")]
    Invalid {
        /// Where.
        at: usize,
        /// What.
        message: String,
    },
    /// Text that does not parse.
    #[error("WebAssembly text does not parse: {0}")]
    Wat(String),
    /// Too big.
    #[error("the file has {bytes} bytes, more than {max}", max = super::limits::PLUGIN_BYTES_MAX)]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// Outside of what this host compiles, before it tries.
    #[error("no plugin of this shape is compiled here: {0}")]
    Shape(String),
    /// It begins with more than an instance may have.
    #[error("it has {wanted} {what} to begin with; the limit is {max}")]
    Declared {
        /// What of.
        what: &'static str,
        /// How much it declares.
        wanted: u64,
        /// How much there may be.
        max: u64,
    },
    /// Built for another version of the contract.
    #[error(
        "built for version {found} of the plugin contract; this host supports {CONTRACT_VERSION}"
    )]
    Version {
        /// The version it names.
        found: String,
    },
    /// Imports that no plugin gets.
    #[error("it imports what this host does not offer: {}", .0.join("; "))]
    Imports(Vec<String>),
    /// No plugin of ours at all.
    #[error(
        "it does not export wasmill:plugin/lifecycle@{CONTRACT_VERSION}: it is no Wasmill plugin{hint}"
    )]
    NoLifecycle {
        /// What it exports.
        hint: String,
    },
    /// An interface lacks a function, or its type is another.
    #[error("its export {0}")]
    Export(String),
    /// A core module that is not as the canonical ABI wants it.
    #[error("the core module cannot be made a component: {0}")]
    Wrap(String),
    /// A function whose interface is not exported.
    #[error("function {function} is a {kind}, but the plugin does not export wasmill:plugin/{interface}@{CONTRACT_VERSION}", kind = .interface)]
    MissingInterface {
        /// The function.
        function: String,
        /// The interface.
        interface: &'static str,
    },
    /// The compiler refused it.
    #[error("cannot be compiled: {0}")]
    Compile(String),
    /// The compiler met one of its limits.
    #[error("COMPILE_LIMIT: compiling it takes more than {allowed} of {} ({} of the operator's [compile])", .limit.name(), .limit.setting())]
    CompileLimit {
        /// Which.
        limit: CompileLimit,
        /// How much there may be.
        allowed: String,
    },
    /// It does not start, or does not say what it has.
    #[error("{0}")]
    Start(String),
    /// The engine itself.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// What a compiler may not have more of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompileLimit {
    /// Address space.
    Memory,
    /// CPU time.
    Cpu,
    /// Time.
    Wall,
    /// Machine code made.
    Code,
}

impl CompileLimit {
    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            CompileLimit::Memory => "memory",
            CompileLimit::Cpu => "CPU time",
            CompileLimit::Wall => "time",
            CompileLimit::Code => "machine code",
        }
    }

    /// The operator's key for it.
    pub fn setting(self) -> &'static str {
        match self {
            CompileLimit::Memory => "memory",
            CompileLimit::Cpu => "cpu",
            CompileLimit::Wall => "wall",
            CompileLimit::Code => "code",
        }
    }
}

/// Why a function cannot be had under a config.
#[derive(Clone, Debug, thiserror::Error)]
pub enum OpenError {
    /// No such function.
    #[error("there is no function {name:?} in plugin {plugin} (it has {})", .known.join(", "))]
    NoFunction {
        /// What was asked for.
        name: String,
        /// Where.
        plugin: String,
        /// What there is.
        known: Vec<String>,
    },
    /// It is of another kind.
    #[error("function {name} is a {found}, not a {wanted}")]
    Kind {
        /// Function.
        name: String,
        /// Its kind.
        found: &'static str,
        /// The kind asked for.
        wanted: &'static str,
    },
    /// The function refused its config.
    #[error("the config is refused: {0}")]
    Config(String),
    /// `open` failed or answered nonsense.
    #[error("{0}")]
    Failed(String),
}

/// Functions of the component, found once.
pub(super) struct Exports {
    pub functions: ComponentExportIndex,
    pub open: ComponentExportIndex,
    pub close: ComponentExportIndex,
    pub transform: Option<ComponentExportIndex>,
    pub filter: Option<ComponentExportIndex>,
    pub aggregate: Option<AggregateExports>,
    pub session: Option<ComponentExportIndex>,
    pub migration: Option<ComponentExportIndex>,
    pub join: Option<ComponentExportIndex>,
    pub process: Option<ComponentExportIndex>,
}

/// Functions of `aggregate`.
pub(super) struct AggregateExports {
    pub init: ComponentExportIndex,
    pub add: ComponentExportIndex,
    pub merge: ComponentExportIndex,
    pub finish: ComponentExportIndex,
}

/// A compiled plugin: cheap to clone, shared by all its instances.
#[derive(Clone)]
pub struct Plugin {
    pub(super) inner: Arc<Inner>,
    pub(super) options: InstanceOptions,
}

pub(super) struct Inner {
    pub name: String,
    pub sha256: String,
    pub component: Component,
    pub pre: InstancePre<HostState>,
    pub exports: Exports,
    pub limits: Arc<Limits>,
    pub log_level: Level,
    pub functions: Vec<FunctionInfo>,
    pub from_cache: bool,
    pub gaps: Vec<Gap>,
    /// The ticker runs as long as the engine does.
    _engine: Engine,
}

impl std::fmt::Debug for Plugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plugin")
            .field("name", &self.inner.name)
            .field("sha256", &self.inner.sha256)
            .finish_non_exhaustive()
    }
}

/// SHA-256 of a plugin's file as people write it: lower-case hex.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

impl Engine {
    /// Makes a plugin of a file's bytes: a component, a core module with the canonical ABI, or either as text.
    pub fn load(&self, bytes: &[u8], options: &LoadOptions) -> Result<Plugin, LoadError> {
        let limits = options.limits.clamped();
        let flavour = self.flavour(limits.interruptible)?;
        let digest: [u8; 32] = Sha256::digest(bytes).into();
        let cached = self
            .cache()
            .and_then(|cache| cache.get(&digest, &flavour.engine));
        let from_cache = cached.is_some();
        let mut gaps = Vec::new();
        // SAFETY: the code was written by this very function, for this plugin and these settings, by this version
        // of the host and this user: the cache has checked a MAC over all of that.
        let cached = cached.and_then(|code| unsafe { deserialize(flavour, &code) }.ok());
        let component = match cached {
            Some(component) => component,
            None => {
                let binary = shape::binary_of(bytes)?;
                let shape = shape::shape(&binary)?;
                check_names(&shape)?;
                check_declared(&shape, &limits)?;
                let request = Request {
                    binary: &binary,
                    shape: &shape,
                    interruptible: limits.interruptible,
                    parallel: self.options().parallel_compilation,
                };
                let compiled = compile::compile(
                    &self.options().compiler,
                    &self.options().compile_limits.clamped(),
                    self.queue(),
                    flavour,
                    &request,
                )?;
                gaps = compiled.gaps;
                // SAFETY: the code came from this process's own compiler, or through the pipe of a child that this
                // process has started from its own program, with the same settings.
                let component = unsafe { deserialize(flavour, &compiled.code) }
                    .map_err(|e| LoadError::Compile(format!("{e:#}")))?;
                if let Some(cache) = self.cache() {
                    cache.put(&digest, &flavour.engine, &compiled.code);
                }
                component
            }
        };
        let ty = component.component_type();
        let imports: Vec<String> = ty
            .imports(&flavour.engine)
            .map(|(name, _)| name.to_string())
            .collect();
        let interfaces: Vec<String> = ty
            .exports(&flavour.engine)
            .map(|(name, _)| name.to_string())
            .collect();
        let exports = find_exports(&component, &interfaces)?;
        let pre = if imports.iter().any(|name| is_wasi(name)) {
            let mut linker = flavour
                .fresh_linker()
                .map_err(|e| LoadError::Compile(format!("{e:#}")))?;
            if limits.wasi_inert {
                for name in imports.iter().filter(|name| is_wasi(name)) {
                    let interface = name.rsplit_once('@').map_or(&**name, |(i, _)| i);
                    linker
                        .instance(name)
                        .and_then(|mut at| wasi::link(interface, &mut at))
                        .map_err(|e| LoadError::Compile(format!("{e:#}")))?;
                }
            }
            linker
                .define_unknown_imports_as_traps(&component)
                .map_err(|e| LoadError::Imports(vec![format!("{e:#}")]))?;
            link(&linker, &component)?
        } else {
            link(&flavour.linker, &component)?
        };
        let mut plugin = Inner {
            name: options.name.clone(),
            sha256: hex(&digest),
            component,
            pre,
            exports,
            limits: Arc::new(limits),
            log_level: log_level(),
            functions: Vec::new(),
            from_cache,
            gaps,
            _engine: self.clone(),
        };
        // The list of functions belongs to the plugin; it is asked for through a plugin that has none yet.
        let probe = Plugin {
            inner: Arc::new(plugin),
            options: InstanceOptions::default(),
        };
        let functions = list_functions(&probe)?;
        plugin = Arc::into_inner(probe.inner)
            .expect("the probe's instance is gone, and nothing else holds it");
        plugin.functions = functions;
        for f in &plugin.functions {
            check_interface(&plugin.exports, f)?;
        }
        Ok(Plugin {
            inner: Arc::new(plugin),
            options: InstanceOptions::default(),
        })
    }
}

/// Machine code becomes a component.
///
/// # Safety
/// The code must have been made by wasmtime with this flavour's settings, and not been changed since:
/// anything else is run as it is.
unsafe fn deserialize(
    flavour: &super::engine::Flavour,
    code: &[u8],
) -> wasmtime::Result<Component> {
    // SAFETY: the caller's promise.
    unsafe { Component::deserialize(&flavour.engine, code) }
}

impl Plugin {
    pub(super) fn inner(&self) -> &Inner {
        &self.inner
    }

    /// Its name in the job.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// SHA-256 of the file, hex.
    pub fn sha256(&self) -> &str {
        &self.inner.sha256
    }

    /// What it has.
    pub fn functions(&self) -> &[FunctionInfo] {
        &self.inner.functions
    }

    /// What its instances may use.
    pub fn limits(&self) -> &Limits {
        &self.inner.limits
    }

    /// Whether its code came from the cache.
    pub fn from_cache(&self) -> bool {
        self.inner.from_cache
    }

    /// What the compiler's sandbox lacked when it was compiled just now. Nothing where the code came from the cache.
    pub fn gaps(&self) -> &[Gap] {
        &self.inner.gaps
    }

    /// A function by name.
    pub fn function(&self, name: &str) -> Result<&FunctionInfo, OpenError> {
        self.inner
            .functions
            .iter()
            .find(|f| f.name == name)
            .ok_or_else(|| OpenError::NoFunction {
                name: name.into(),
                plugin: self.inner.name.clone(),
                known: self
                    .inner
                    .functions
                    .iter()
                    .map(|f| f.name.clone())
                    .collect(),
            })
    }

    /// What a function reads and writes under a config (JSON text).
    pub fn open(&self, function: &str, config: &str) -> Result<Descriptor, OpenError> {
        let info = self.function(function)?;
        if config.len() > CONFIG_BYTES_MAX {
            return Err(OpenError::Config(format!(
                "{} bytes, more than {CONFIG_BYTES_MAX}",
                config.len()
            )));
        }
        let failed = |f: super::failure::CallFailure| {
            OpenError::Failed(format!(
                "{function}: open: {}{}",
                f.message,
                log_words(&f.log)
            ))
        };
        let mut live = instance::scratch(self).map_err(failed)?;
        instance::open(self, &mut live, function, config, info.kind).map_err(|f| match f.kind {
            super::RejectKind::Rejected => OpenError::Config(f.message),
            _ => failed(f),
        })
    }
}

fn log_words(log: &[String]) -> String {
    if log.is_empty() {
        String::new()
    } else {
        format!(" (last log lines: {})", log.join("; "))
    }
}

fn list_functions(plugin: &Plugin) -> Result<Vec<FunctionInfo>, LoadError> {
    let failed = |f: super::failure::CallFailure| {
        LoadError::Start(format!("{}{}", f.message, log_words(&f.log)))
    };
    let mut live = instance::scratch(plugin).map_err(failed)?;
    check_types(plugin, &mut live)?;
    instance::functions(plugin, &mut live)
        .map_err(|f| LoadError::Start(format!("lifecycle.functions: {}", f.message)))
}

fn link(
    linker: &Linker<HostState>,
    component: &Component,
) -> Result<InstancePre<HostState>, LoadError> {
    linker
        .instantiate_pre(component)
        .map_err(|e| LoadError::Imports(vec![format!("{e:#}")]))
}

pub(super) fn is_wasi(name: &str) -> bool {
    name.starts_with("wasi:") || name == "wasi_snapshot_preview1"
}

/// Whether an import is one that plugins get.
pub(super) fn is_ours(name: &str) -> bool {
    let host = HOST.rsplit_once('@').map_or(HOST, |(name, _)| name);
    let types = TYPES.rsplit_once('@').map_or(TYPES, |(name, _)| name);
    let core = name.strip_prefix("cm32p2|").unwrap_or(name);
    core.rsplit_once('@')
        .is_some_and(|(n, v)| (n == host || n == types) && shape::is_supported(v))
}

/// Why an import is refused, and what would allow it.
pub(super) fn import_problem(name: &str, kind: FileKind) -> Option<String> {
    if is_ours(name) {
        return None;
    }
    if is_wasi(name) {
        // A component's WASI imports become traps: most are linked and never called.
        return (kind == FileKind::Module).then(|| {
            format!("{name} (a core module with WASI must be made a component first: wasm-tools component new --adapt)")
        });
    }
    Some(match name {
        "env" => "env (symbols that the linker left open: link with all libraries, or export what is missing)".into(),
        _ if name.starts_with("wasmill:") => format!("{name} (not in version {CONTRACT_VERSION} of the contract)"),
        _ => format!("{name} (plugins get wasmill:plugin/host only)"),
    })
}

/// Versions and imports, before anything is compiled.
pub(super) fn check_names(shape: &Shape) -> Result<(), LoadError> {
    for name in shape.exports.iter().chain(&shape.imports) {
        if let Some((_, version)) = shape::interface_of(name)
            && !shape::is_supported(version)
        {
            return Err(LoadError::Version {
                found: version.into(),
            });
        }
    }
    let problems: Vec<String> = shape
        .imports
        .iter()
        .filter_map(|name| import_problem(name, shape.kind))
        .collect();
    if !problems.is_empty() {
        return Err(LoadError::Imports(problems));
    }
    if !shape
        .exports
        .iter()
        .any(|name| shape::interface_of(name).is_some_and(|(i, _)| i == "lifecycle"))
    {
        return Err(no_lifecycle(&shape.exports));
    }
    Ok(())
}

/// What it has to begin with, against what an instance may have.
fn check_declared(shape: &Shape, limits: &Limits) -> Result<(), LoadError> {
    for (what, wanted, max) in [
        (
            "bytes of memory",
            shape.memory_bytes,
            limits.memory_bytes_max,
        ),
        (
            "table elements",
            shape.table_elements,
            limits.table_elements_max,
        ),
    ] {
        if wanted > max {
            return Err(LoadError::Declared { what, wanted, max });
        }
    }
    Ok(())
}

fn no_lifecycle(exports: &[String]) -> LoadError {
    let shown: Vec<&str> = exports
        .iter()
        .take(5)
        .map(|e| super::host::cut(e, 60))
        .collect();
    let hint = if shown.is_empty() {
        String::new()
    } else {
        format!(" (it exports {})", shown.join(", "))
    };
    LoadError::NoLifecycle { hint }
}

fn find_exports(component: &Component, interfaces: &[String]) -> Result<Exports, LoadError> {
    let interface = |name: &str| {
        interfaces
            .iter()
            .find(|full| {
                shape::interface_of(full).is_some_and(|(i, v)| i == name && shape::is_supported(v))
            })
            .and_then(|full| component.get_export_index(None, full))
    };
    let function = |instance: &ComponentExportIndex, interface: &str, name: &str| {
        component
            .get_export_index(Some(instance), name)
            .ok_or_else(|| LoadError::Export(format!("{interface} has no function {name}")))
    };
    let one = |iface: &str, name: &str| -> Result<Option<ComponentExportIndex>, LoadError> {
        interface(iface)
            .map(|instance| function(&instance, iface, name))
            .transpose()
    };
    let Some(lifecycle) = interface("lifecycle") else {
        return Err(no_lifecycle(interfaces));
    };
    let aggregate = interface("aggregate")
        .map(|a| {
            Ok::<_, LoadError>(AggregateExports {
                init: function(&a, "aggregate", "init")?,
                add: function(&a, "aggregate", "add")?,
                merge: function(&a, "aggregate", "merge")?,
                finish: function(&a, "aggregate", "finish")?,
            })
        })
        .transpose()?;
    Ok(Exports {
        functions: function(&lifecycle, "lifecycle", "functions")?,
        open: function(&lifecycle, "lifecycle", "open")?,
        close: function(&lifecycle, "lifecycle", "close")?,
        transform: one("transform", "process")?,
        filter: one("filter", "test")?,
        aggregate,
        session: one("session", "gaps")?,
        migration: one("migration", "migrate")?,
        join: one("join", "join")?,
        process: one("process", "process")?,
    })
}

/// Types of all functions that will be called, checked once: a call later cannot fail for that.
fn check_types(plugin: &Plugin, live: &mut Live) -> Result<(), LoadError> {
    use super::abi::types::*;
    type Answer<T> = (Result<T, FailureOut>,);
    fn check<P, R>(
        live: &mut Live,
        name: &str,
        index: &ComponentExportIndex,
    ) -> Result<(), LoadError>
    where
        P: wasmtime::component::ComponentNamedList + wasmtime::component::Lower,
        R: wasmtime::component::ComponentNamedList + wasmtime::component::Lift,
    {
        let func = live.func(index);
        match func.typed::<P, R>(&live.store) {
            Ok(_) => Ok(()),
            Err(e) => Err(LoadError::Export(format!(
                "{name} is not as the contract has it: {e:#}"
            ))),
        }
    }
    let e = &plugin.inner.exports;
    check::<(), (Vec<FunctionOut>,)>(live, "lifecycle.functions", &e.functions)?;
    check::<(&str, &[u8]), Answer<DescriptorOut>>(live, "lifecycle.open", &e.open)?;
    check::<(), ()>(live, "lifecycle.close", &e.close)?;
    if let Some(f) = &e.transform {
        check::<(BatchIn<'_>,), Answer<()>>(live, "transform.process", f)?;
    }
    if let Some(f) = &e.filter {
        check::<(BatchIn<'_>,), Answer<Vec<u8>>>(live, "filter.test", f)?;
    }
    if let Some(a) = &e.aggregate {
        check::<(), Answer<Vec<u8>>>(live, "aggregate.init", &a.init)?;
        check::<(BatchIn<'_>, Option<&[u32]>, &[u32], BytesIn<'_>), Answer<BytesResult>>(
            live,
            "aggregate.add",
            &a.add,
        )?;
        check::<(BytesIn<'_>, BytesIn<'_>), Answer<BytesResult>>(
            live,
            "aggregate.merge",
            &a.merge,
        )?;
        check::<(BytesIn<'_>, WindowsIn<'_>, BytesIn<'_>), Answer<()>>(
            live,
            "aggregate.finish",
            &a.finish,
        )?;
    }
    if let Some(f) = &e.session {
        check::<(BatchIn<'_>,), Answer<Vec<i64>>>(live, "session.gaps", f)?;
    }
    if let Some(f) = &e.migration {
        check::<(u32, BytesIn<'_>), Answer<BytesResult>>(live, "migration.migrate", f)?;
    }
    if let Some(f) = &e.join {
        check::<(BatchIn<'_>, BatchIn<'_>, &[u32], &[u32]), Answer<()>>(live, "join.join", f)?;
    }
    if let Some(f) = &e.process {
        check::<(BatchIn<'_>, &[u32], BytesIn<'_>, StatesIn<'_>, &[FiredIn]), Answer<StatesResult>>(
            live,
            "process.process",
            f,
        )?;
    }
    Ok(())
}

fn check_interface(exports: &Exports, f: &FunctionInfo) -> Result<(), LoadError> {
    let (there, interface) = match f.kind {
        FunctionKind::Transform => (exports.transform.is_some(), "transform"),
        FunctionKind::Filter => (exports.filter.is_some(), "filter"),
        FunctionKind::Aggregate => (exports.aggregate.is_some(), "aggregate"),
        FunctionKind::Join => (exports.join.is_some(), "join"),
        FunctionKind::Process => (exports.process.is_some(), "process"),
    };
    if there {
        Ok(())
    } else {
        Err(LoadError::MissingInterface {
            function: f.name.clone(),
            interface,
        })
    }
}

/// Lines of guests below this are not kept: where nobody listens, information is, for the records that fail.
fn log_level() -> Level {
    use tracing::level_filters::LevelFilter;
    match LevelFilter::current() {
        LevelFilter::TRACE => Level::Trace,
        LevelFilter::DEBUG => Level::Debug,
        _ => Level::Info,
    }
}
