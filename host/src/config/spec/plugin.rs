//! `[plugin.x]`.

use super::super::problem::{Problems, Span};
use super::super::reader::{At, Reader};

/// A plugin, as typed.
#[derive(Clone, Debug)]
pub struct PluginSpec {
    /// Name.
    pub name: At<String>,
    /// Path, as typed.
    pub path: Option<At<String>>,
    /// What it may use.
    pub settings: PluginSettings,
}

/// What a job file says on what a plugin's instances may use; none: the host's defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PluginSettings {
    /// Linear memory of an instance, bytes.
    pub memory: Option<u64>,
    /// CPU time of one call, milliseconds.
    pub call_deadline_ms: Option<u64>,
    /// Whether calls can be interrupted (default true).
    pub interruptible: Option<bool>,
    /// SHA-256 that the file must have, lower-case hex.
    pub sha256: Option<String>,
    /// Where `sha256` stands.
    pub sha256_span: Option<Span>,
}

pub(super) fn read(
    name: At<String>,
    reader: &mut Reader<'_>,
    problems: &mut Problems,
) -> PluginSpec {
    if name.value == "std" {
        problems
            .error(
                name.span,
                "the plugin name \"std\" is taken: it is the one that ships inside wasmill",
            )
            .help("choose another name; std needs no [plugin.std]");
    }
    let path = reader.required_string("path", problems);
    let memory = reader.size("memory", 1 << 20..=512 << 20, problems);
    let call_deadline_ms = reader
        .duration("call-deadline", 1..=10_000, problems)
        .map(i64::unsigned_abs);
    if let Some(wasi) = reader.one_of("wasi", &[("inert", true), ("none", false)], problems)
        && wasi.value
    {
        problems
            .error(wasi.span, "wasi = \"inert\" comes in a later version of wasmill")
            .help("build the plugin without WASI; WASI imports that it links and never calls do no harm");
    }
    let interruptible = reader.boolean("interruptible", problems);
    let sha = reader.string("sha256", problems);
    let sha256_span = sha.as_ref().map(|s| s.span);
    let sha256 = sha.and_then(|sha| {
        let hex = sha.value.to_ascii_lowercase();
        if hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Some(hex);
        }
        problems.error(sha.span, "\"sha256\" is 64 hexadecimal digits");
        None
    });
    let settings = PluginSettings {
        memory,
        call_deadline_ms,
        interruptible,
        sha256,
        sha256_span,
    };
    PluginSpec {
        name,
        path,
        settings,
    }
}
