//! The plugin layer as `config` asks for it.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use crate::config::{
    FunctionInfo, LoadedPlugin, Operator, PluginHost, PluginRefused, PluginRequest,
};
use crate::plugin::{Compiler, Descriptor, Engine, EngineOptions, Limits, LoadOptions, Plugin};
use crate::reach::Reach;

/// Largest plugin file. Compilation has limits of its own; this one is for reading.
pub const PLUGIN_BYTES_MAX: u64 = 64 << 20;

/// The plugin that ships inside.
pub const STD: &[u8] = include_bytes!("../../assets/std.wasm");

/// Loads plugins by the process's engine.
pub struct EngineHost {
    engine: Engine,
    /// What the operator allows.
    limits_max: Limits,
    may_trust: bool,
    reads: Reach,
}

impl EngineHost {
    /// Starts the engine.
    pub fn new(operator: &Operator) -> Result<EngineHost, String> {
        let options = EngineOptions {
            compile_limits: operator.compile.clone(),
            ..EngineOptions::new(Compiler::this_program())
        };
        let engine = Engine::new(options).map_err(|e| e.to_string())?;
        Ok(EngineHost::with(engine, operator))
    }

    /// By an engine that is there already.
    pub fn with(engine: Engine, operator: &Operator) -> EngineHost {
        EngineHost {
            engine,
            limits_max: operator.limits.clone(),
            may_trust: operator.may_trust,
            reads: operator.reads.clone(),
        }
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }
}

/// A file's bytes, up to a bound, if it is within reach.
pub fn read_plugin(path: &Path, reach: &Reach) -> Result<Vec<u8>, String> {
    // A pipe would hold who opens it, a device may have no end.
    if std::fs::metadata(path).is_ok_and(|m| !m.is_file()) {
        return Err("cannot be read: it is no regular file".into());
    }
    let file = reach
        .open(path)
        .map_err(|e| format!("cannot be read: {e}"))?;
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

impl PluginHost for EngineHost {
    type Plugin = Arc<Plugin>;

    fn load(&self, request: &PluginRequest) -> Result<LoadedPlugin<Arc<Plugin>>, PluginRefused> {
        let limits = request.settings.limits(&self.limits_max)?;
        if !limits.interruptible && !self.may_trust {
            let words = "interruptible = false is not allowed by the operator";
            return Err(words.to_string().into());
        }
        let read;
        let bytes = match &request.path {
            None => STD,
            Some(path) => {
                read = read_plugin(path, &self.reads)?;
                &read
            }
        };
        if let Some(wanted) = &request.settings.sha256 {
            let sha256 = crate::plugin::sha256(bytes);
            if *wanted != sha256 {
                return Err(PluginRefused::OtherFile { sha256 });
            }
        }
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

    fn gives_gaps(
        &self,
        plugin: &Arc<Plugin>,
        function: &str,
        config: &str,
        descriptor: &Descriptor,
    ) -> Result<(), String> {
        match plugin.refuses_gaps(function, config, descriptor) {
            Ok(None) => Ok(()),
            Ok(Some(why)) => Err(why),
            Err(e) => Err(e.to_string()),
        }
    }
}
