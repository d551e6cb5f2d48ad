//! A plugin layer for tests: a few plugins with known functions, no file read, nothing compiled.

use std::sync::Arc;

use super::host::{FunctionInfo, LoadedPlugin, PluginHost, PluginRefused, PluginRequest};
use crate::plugin::{Descriptor, FunctionKind, Limits, Reads};

pub(crate) struct FakeHost;

const WITH_N: &str = r#"{"type":"object","additionalProperties":false,"required":["n"],
  "properties":{"n":{"type":"integer","minimum":1,"maximum":100,"description":"how many"},"by":{"type":"string"}}}"#;
const FILTER: &str = r##"{"type":"object","additionalProperties":false,"required":["op"],"properties":{
  "field":{"type":"string"},"op":{"$ref":"#/$defs/Op"},"value":true,"ratio":{"type":["number","null"],"exclusiveMinimum":0},
  "tags":{"type":"array","items":{"type":"string"},"maxItems":2}},
  "$defs":{"Op":{"oneOf":[{"const":"equal"},{"const":"less"},{"const":"exists"}]}}}"##;

type Row = (&'static str, FunctionKind, &'static str);

const STD: [Row; 17] = [
    (
        "count",
        FunctionKind::Aggregate,
        r#"{"type":"object","additionalProperties":false}"#,
    ),
    ("sum", FunctionKind::Aggregate, ""),
    ("min", FunctionKind::Aggregate, ""),
    ("max", FunctionKind::Aggregate, ""),
    ("mean", FunctionKind::Aggregate, ""),
    ("stats", FunctionKind::Aggregate, ""),
    ("last", FunctionKind::Aggregate, ""),
    ("collect", FunctionKind::Aggregate, ""),
    ("distinct", FunctionKind::Aggregate, ""),
    ("top", FunctionKind::Aggregate, WITH_N),
    ("first", FunctionKind::Aggregate, ""),
    ("split-words", FunctionKind::Transform, ""),
    ("select", FunctionKind::Transform, ""),
    ("parse-int", FunctionKind::Transform, ""),
    ("filter", FunctionKind::Filter, FILTER),
    ("pair", FunctionKind::Join, ""),
    ("merge", FunctionKind::Join, ""),
];

const OWN: [Row; 7] = [
    ("parse", FunctionKind::Transform, ""),
    ("classify", FunctionKind::Transform, ""),
    ("stamp", FunctionKind::Transform, ""),
    ("no-merge", FunctionKind::Aggregate, ""),
    ("delay-stats", FunctionKind::Aggregate, ""),
    ("track", FunctionKind::Process, ""),
    ("picky", FunctionKind::Transform, ""),
];

impl PluginHost for FakeHost {
    type Plugin = &'static [Row];

    fn load(&self, request: &PluginRequest) -> Result<LoadedPlugin<Self::Plugin>, PluginRefused> {
        let sha256 = "ab".repeat(32);
        let wanted = request.settings.sha256.as_ref();
        if wanted.is_some_and(|wanted| *wanted != sha256) {
            return Err(PluginRefused::OtherFile { sha256 });
        }
        let plugin: &'static [Row] = match &request.path {
            None => &STD,
            Some(path) if path.ends_with("broken.wasm") => {
                return Err("this is not WebAssembly".to_string().into());
            }
            Some(_) => &OWN,
        };
        Ok(LoadedPlugin {
            plugin,
            sha256,
            limits: Limits::default(),
        })
    }

    fn functions(&self, plugin: &Self::Plugin) -> Result<Vec<FunctionInfo>, String> {
        let info = |(name, kind, schema): &Row| FunctionInfo {
            name: name.to_string(),
            kind: *kind,
            doc: String::new(),
            config_schema: schema.to_string(),
        };
        Ok(plugin.iter().map(info).collect())
    }

    fn open(
        &self,
        _: &LoadedPlugin<Self::Plugin>,
        function: &str,
        config: &str,
    ) -> Result<Descriptor, String> {
        if function == "picky" && config == "{}" {
            return Err("give me a \"threshold\"".to_string());
        }
        Ok(Descriptor {
            reads: Reads::default(),
            right: Reads::default(),
            emits: Arc::from([]),
            ports: if function == "classify" {
                vec!["alerts".into(), "quiet".into()]
            } else {
                Vec::new()
            },
            sets_keys: matches!(function, "split-words" | "parse"),
            sets_timestamps: function == "stamp",
            mergeable: function != "no-merge",
            order_dependent: function == "first",
            state_version: 0,
            max_records: 0,
        })
    }

    fn has_sessions(&self, _: &Self::Plugin) -> bool {
        false
    }

    fn gives_gaps(&self, _: &Self::Plugin, _: &str, _: &str, _: &Descriptor) -> Result<(), String> {
        Ok(())
    }
}
