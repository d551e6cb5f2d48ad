//! The plugin layer as `config` asks for it.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::config::{FunctionInfo, LoadedPlugin, PluginHost, PluginRequest, PluginSettings};
use crate::plugin::{Compiler, Descriptor, Engine, EngineOptions, Limits, LoadOptions, Plugin};

/// Largest plugin file. Compilation has limits of its own; this one is for reading.
pub const PLUGIN_BYTES_MAX: u64 = 64 << 20;

/// The plugin that ships inside.
pub const STD: &[u8] = include_bytes!("../../assets/std.wasm");

/// Loads plugins by the process's engine.
pub struct EngineHost {
    engine: Engine,
}

impl EngineHost {
    /// Starts the engine.
    pub fn new() -> Result<EngineHost, String> {
        let engine =
            Engine::new(EngineOptions::new(Compiler::this_program())).map_err(|e| e.to_string())?;
        Ok(EngineHost { engine })
    }

    /// By an engine that is there already.
    pub fn with(engine: Engine) -> EngineHost {
        EngineHost { engine }
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }
}

/// A file's bytes, up to a bound.
pub fn read_plugin(path: &Path) -> Result<Vec<u8>, String> {
    let file = File::open(path).map_err(|e| format!("cannot be read: {e}"))?;
    let mut bytes = Vec::new();
    file.take(PLUGIN_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| format!("cannot be read: {e}"))?;
    if bytes.len() as u64 > PLUGIN_BYTES_MAX {
        return Err(format!(
            "is larger than a plugin may be ({} MiB)",
            PLUGIN_BYTES_MAX >> 20
        ));
    }
    Ok(bytes)
}

/// What the job file asks for, the rest by default, nothing above the hard maxima.
fn limits(settings: &PluginSettings) -> Limits {
    let mut limits = Limits::default();
    if let Some(memory) = settings.memory {
        limits.memory_bytes_max = memory;
        limits.memory_bytes_soft = memory / 4 * 3;
    }
    if let Some(ms) = settings.call_deadline_ms {
        limits.call_cpu = Duration::from_millis(ms);
    }
    if let Some(interruptible) = settings.interruptible {
        limits.interruptible = interruptible;
    }
    limits.clamped()
}

impl PluginHost for EngineHost {
    type Plugin = Arc<Plugin>;

    fn load(&self, request: &PluginRequest) -> Result<LoadedPlugin<Arc<Plugin>>, String> {
        let limits = limits(&request.settings);
        let read;
        let bytes = match &request.path {
            None => STD,
            Some(path) => {
                read = read_plugin(path)?;
                &read
            }
        };
        let options = LoadOptions {
            name: request.name.clone(),
            limits: limits.clone(),
        };
        let plugin = self
            .engine
            .load(bytes, &options)
            .map_err(|e| e.to_string())?;
        Ok(LoadedPlugin {
            sha256: plugin.sha256().to_owned(),
            plugin: Arc::new(plugin),
            limits,
        })
    }

    fn functions(&self, plugin: &Arc<Plugin>) -> Result<Vec<FunctionInfo>, String> {
        let info = |f: &crate::plugin::FunctionInfo| FunctionInfo {
            name: f.name.clone(),
            kind: f.kind,
            doc: f.doc.clone(),
            config_schema: f.config_schema.clone(),
        };
        Ok(plugin.functions().iter().map(info).collect())
    }

    fn open(
        &self,
        plugin: &LoadedPlugin<Arc<Plugin>>,
        function: &str,
        config: &str,
    ) -> Result<Descriptor, String> {
        plugin
            .plugin
            .open(function, config)
            .map_err(|e| e.to_string())
    }

    fn has_sessions(&self, plugin: &Arc<Plugin>) -> bool {
        plugin.chooses_gaps()
    }
}
