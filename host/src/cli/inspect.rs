//! `wasmill plugin inspect`: what a plugin has, what it needs, and what a job would refuse.

use serde_json::{Value, json};

use super::Exit;
use super::args::InspectArguments;
use super::engine::{EngineHost, read_plugin};
use super::plan_text::describe_reads;
use super::style::{Style, colour_on_stderr, colour_on_stdout, fold, say, tell};
use crate::config::{Operator, show_size};
use crate::plugin::{
    CONTRACT_VERSION, Descriptor, FileKind, FunctionInspection, ImportStatus, Inspection,
    LoadOptions,
};

/// Shows what a plugin has, and what a job would refuse. A plugin that would be refused is exit 2.
pub fn run(arguments: InspectArguments) -> Exit {
    let path = arguments.plugin.display().to_string();
    let red = |word: &str| {
        let on = colour_on_stderr();
        Style { on }.red(word)
    };
    let looked =
        read_plugin(&arguments.plugin, &crate::reach::Reach::default()).and_then(|bytes| {
            let host = EngineHost::new(&Operator::default())?;
            let name = arguments
                .plugin
                .file_stem()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let options = LoadOptions {
                name,
                ..LoadOptions::default()
            };
            Ok(host.engine().inspect(&bytes, &options))
        });
    let inspection = match looked {
        Ok(inspection) => inspection,
        Err(message) => {
            tell(&red("error:"), &format!("{path}: {message}"));
            return Exit::Refused;
        }
    };
    if arguments.json {
        say(&format!("{:#}", to_json(&path, &inspection)));
    } else {
        print!(
            "{}",
            text(
                &path,
                &inspection,
                Style {
                    on: colour_on_stdout()
                }
            )
        );
    }
    for reason in &inspection.refused {
        tell(&red("refused:"), &format!("{path}: {reason}"));
    }
    if inspection.refused.is_empty() {
        Exit::Fine
    } else {
        Exit::Refused
    }
}

fn text(path: &str, inspection: &Inspection, style: Style) -> String {
    let path = crate::printable::line(path);
    let kind = inspection.kind.map_or("", FileKind::name);
    let mut out = style.bold_in(fold("", 2, &format!("{path} {kind}")), &path);
    let mut sizes = format!("{} on disk", show_size(inspection.file_bytes as u64));
    if let Some(bytes) = inspection.code_bytes {
        sizes.push_str(&format!(", {} compiled", show_size(bytes as u64)));
    }
    let contract = inspection.contract_version.as_deref().unwrap_or("none");
    out.push_str(&fold(
        "  ",
        4,
        &format!("{sizes}; plugin contract {contract} (this host has {CONTRACT_VERSION})"),
    ));
    out.push_str(&format!("  sha256 {}\n", inspection.sha256));
    if !inspection.functions.is_empty() {
        out.push_str(&format!("\n{}\n", style.bold("functions")));
    }
    for function in &inspection.functions {
        out.push_str(&function_text(function, style));
    }
    if !inspection.imports.is_empty() {
        out.push_str(&format!("\n{}\n", style.bold("imports")));
    }
    for import in &inspection.imports {
        let status = match &import.status {
            ImportStatus::Offered => "offered".to_string(),
            ImportStatus::Trap => "linked only: a call of it fails the record".to_string(),
            ImportStatus::Refused(why) => format!("refused: {why}"),
        };
        out.push_str(&fold("  ", 6, &format!("{}  {status}", import.name)));
    }
    if !inspection.refused.is_empty() {
        out.push_str(&format!("\n{}\n", style.bold("a job would refuse it")));
        for reason in &inspection.refused {
            out.push_str(&fold("  ", 4, reason));
        }
    }
    out
}

fn function_text(function: &FunctionInspection, style: Style) -> String {
    let info = &function.info;
    let head = fold(
        "  ",
        6,
        &format!("{} ({}) {}", info.name, info.kind.name(), info.doc),
    );
    let mut out = style.bold_in(head, &info.name);
    let mut lines = match &function.opened {
        Ok(descriptor) => describe(descriptor),
        Err(why) => vec![format!("without config it does not open: {why}")],
    };
    lines.extend(config_lines(&info.config_schema));
    for line in lines {
        out.push_str(&fold("      ", 8, &line));
    }
    out
}

fn describe(descriptor: &Descriptor) -> Vec<String> {
    let mut lines = Vec::new();
    for (side, reads) in [
        ("reads", &descriptor.reads),
        ("reads of the right side", &descriptor.right),
    ] {
        let what = describe_reads(reads);
        if !what.is_empty() {
            lines.push(format!("{side} {what}"));
        }
    }
    if !descriptor.emits.is_empty() {
        let emits: Vec<_> = descriptor
            .emits
            .iter()
            .map(|e| format!("{} ({})", e.name, e.kind.name()))
            .collect();
        lines.push(format!("writes {}", emits.join(", ")));
    }
    if !descriptor.ports.is_empty() {
        lines.push(format!("ports {}", descriptor.ports.join(", ")));
    }
    let traits = traits(descriptor);
    if !traits.is_empty() {
        lines.push(traits.join("; "));
    }
    lines
}

fn traits(descriptor: &Descriptor) -> Vec<&'static str> {
    let all = [
        (descriptor.sets_keys, "sets keys"),
        (descriptor.sets_timestamps, "sets timestamps"),
        (descriptor.mergeable, "merges"),
        (descriptor.order_dependent, "depends on order"),
    ];
    all.into_iter()
        .filter(|(has, _)| *has)
        .map(|(_, word)| word)
        .collect()
}

/// The settings that a schema names, one a line.
fn config_lines(schema: &str) -> Vec<String> {
    let Ok(schema) = serde_json::from_str::<Value>(schema) else {
        return Vec::new();
    };
    let required: Vec<&str> = schema
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let properties = schema.get("properties").and_then(Value::as_object);
    let line = |(name, rule): (&String, &Value)| {
        let kind = match rule.get("type") {
            Some(Value::String(one)) => format!(" ({one})"),
            Some(Value::Array(many)) => {
                let words: Vec<_> = many.iter().filter_map(Value::as_str).collect();
                format!(" ({})", words.join(" or "))
            }
            _ => String::new(),
        };
        let needed = if required.contains(&name.as_str()) {
            ", required"
        } else {
            ""
        };
        let doc = rule
            .get("description")
            .and_then(Value::as_str)
            .map_or(String::new(), |d| format!(": {d}"));
        format!("config {name}{kind}{needed}{doc}")
    };
    properties.into_iter().flatten().map(line).collect()
}

fn to_json(path: &str, inspection: &Inspection) -> Value {
    let functions: Vec<Value> = inspection
        .functions
        .iter()
        .map(|f| {
            let mut function = json!({
                "name": f.info.name,
                "kind": f.info.kind.name(),
                "doc": f.info.doc,
                "config_schema": serde_json::from_str::<Value>(&f.info.config_schema).ok(),
            });
            match &f.opened {
                Err(why) => function["not_opened"] = json!(why),
                Ok(d) => {
                    let fields = |reads: &crate::plugin::Reads| -> Vec<Value> {
                        let field = |r: &crate::plugin::FieldRead| json!({ "pointer": &*r.spec.pointer, "kind": r.spec.kind.name() });
                        reads.fields.iter().map(field).collect()
                    };
                    let columns = |reads: &crate::plugin::Reads| {
                        json!({ "values": reads.columns.values, "keys": reads.columns.keys, "timestamps": reads.columns.timestamps })
                    };
                    function["reads"] = json!({ "columns": columns(&d.reads), "fields": fields(&d.reads) });
                    if f.info.kind == crate::plugin::FunctionKind::Join {
                        function["reads_right"] = json!({ "columns": columns(&d.right), "fields": fields(&d.right) });
                    }
                    let emits = d.emits.iter().map(|e| json!({ "name": &*e.name, "kind": e.kind.name() }));
                    function["writes"] = emits.collect();
                    function["ports"] = json!(d.ports);
                    function["traits"] = json!(traits(d));
                    function["state_version"] = json!(d.state_version);
                    function["max_records"] = json!(d.max_records);
                }
            }
            function
        })
        .collect();
    let imports: Vec<Value> = inspection
        .imports
        .iter()
        .map(|i| match &i.status {
            ImportStatus::Offered => json!({ "name": i.name, "status": "offered" }),
            ImportStatus::Trap => json!({ "name": i.name, "status": "trap" }),
            ImportStatus::Refused(why) => {
                json!({ "name": i.name, "status": "refused", "why": why })
            }
        })
        .collect();
    json!({
        "path": path,
        "kind": inspection.kind.map(FileKind::name),
        "sha256": inspection.sha256,
        "file_bytes": inspection.file_bytes,
        "code_bytes": inspection.code_bytes,
        "contract_version": inspection.contract_version,
        "host_contract_version": CONTRACT_VERSION,
        "functions": functions,
        "imports": imports,
        "exports": inspection.exports,
        "refused": inspection.refused,
    })
}
