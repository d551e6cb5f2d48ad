//! What checking a job asks of the plugin layer. The engine implements it; tests use a fake.

use std::path::PathBuf;

use super::spec::PluginSettings;
use crate::plugin::{Descriptor, FunctionKind, Limits};

/// A plugin to load.
#[derive(Clone, Debug)]
pub struct PluginRequest {
    /// Name in the job.
    pub name: String,
    /// File; none: `std`, which ships inside.
    pub path: Option<PathBuf>,
    /// What the job file says on limits and grants.
    pub settings: PluginSettings,
}

/// A plugin that was loaded.
#[derive(Clone, Debug)]
pub struct LoadedPlugin<P> {
    /// The plugin.
    pub plugin: P,
    /// SHA-256 of its file, lower-case hex.
    pub sha256: String,
    /// What instances may use: the job's settings, the rest by default.
    pub limits: Limits,
}

/// Why a plugin was not loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PluginRefused {
    /// The file is not the one that the job's `sha256` names. Nothing looked into it: whoever pins a file does not
    /// want another one compiled, let alone asked for its functions.
    OtherFile {
        /// SHA-256 of the file that is there, lower-case hex.
        sha256: String,
    },
    /// Anything else, in words.
    Because(String),
}

impl From<String> for PluginRefused {
    fn from(words: String) -> PluginRefused {
        PluginRefused::Because(words)
    }
}

/// A function that a plugin has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionInfo {
    /// Name.
    pub name: String,
    /// Kind.
    pub kind: FunctionKind,
    /// One line for people.
    pub doc: String,
    /// JSON Schema of the config; empty: any config goes.
    pub config_schema: String,
}

/// The plugin layer, as `check` sees it. Errors are in words, for people.
pub trait PluginHost {
    /// A loaded plugin.
    type Plugin: Clone;
    /// Reads, compares with the `sha256` that the job may name, and compiles.
    fn load(&self, request: &PluginRequest) -> Result<LoadedPlugin<Self::Plugin>, PluginRefused>;
    /// What the plugin has.
    fn functions(&self, plugin: &Self::Plugin) -> Result<Vec<FunctionInfo>, String>;
    /// Opens a function with a config (JSON text).
    fn open(
        &self,
        plugin: &LoadedPlugin<Self::Plugin>,
        function: &str,
        config: &str,
    ) -> Result<Descriptor, String>;
    /// Whether the plugin exports `session`: gaps of its own choice.
    fn has_sessions(&self, plugin: &Self::Plugin) -> bool;
    /// Whether this aggregate gives gaps; else why not.
    fn gives_gaps(
        &self,
        plugin: &Self::Plugin,
        function: &str,
        config: &str,
        descriptor: &Descriptor,
    ) -> Result<(), String>;
}
