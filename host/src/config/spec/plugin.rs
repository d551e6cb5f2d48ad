//! `[plugin.x]`.

use super::super::problem::{Problems, Span};
use super::super::reader::{At, Reader};
use super::super::values::{show_duration, show_size};
use crate::plugin::Limits;
use crate::plugin::limits::{SETTINGS, Setting, Unit};

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
    /// Limits that were set, by key of `plugin::limits::SETTINGS`.
    pub limits: Vec<(&'static str, u64)>,
    /// Whether calls can be interrupted (default true).
    pub interruptible: Option<bool>,
    /// Whether it gets stand-ins for WASI.
    pub wasi_inert: bool,
    /// SHA-256 that the file must have, lower-case hex.
    pub sha256: Option<String>,
    /// Where `sha256` stands.
    pub sha256_span: Option<Span>,
}

impl PluginSettings {
    /// What instances may use: the job's word, the rest by default, nothing above the operator's maxima.
    /// A limit above them is refused rather than cut, so that nobody relies on what he has not.
    pub fn limits(&self, max: &Limits) -> Result<Limits, String> {
        let mut limits = Limits {
            wasi_inert: self.wasi_inert,
            ..Limits::default()
        };
        for (key, value) in &self.limits {
            let setting = setting(key);
            let most = (setting.get)(max);
            if *value > most {
                return Err(format!(
                    "{key} = {} is more than the operator allows, {}",
                    show(setting.unit, *value),
                    show(setting.unit, most)
                ));
            }
            (setting.set)(&mut limits, *value);
        }
        limits.interruptible = self.interruptible.unwrap_or(true);
        Ok(limits.clamped_to(max))
    }
}

fn setting(key: &str) -> &'static Setting {
    SETTINGS
        .iter()
        .find(|s| s.key == key)
        .expect("keys are read from the table")
}

/// A limit's value as people write it.
pub fn show(unit: Unit, value: u64) -> String {
    match unit {
        Unit::Bytes => show_size(value),
        Unit::Millis => show_duration(i64::try_from(value).unwrap_or(i64::MAX)),
        Unit::Count => value.to_string(),
    }
}

/// All limits of a table, each within its least and most.
pub fn read_limits(
    reader: &mut Reader<'_>,
    max: &Limits,
    problems: &mut Problems,
) -> Vec<(&'static str, u64)> {
    let mut all = Vec::new();
    for setting in SETTINGS {
        let most = (setting.get)(max);
        let range = setting.least..=most;
        let signed = |v: u64| i64::try_from(v).unwrap_or(i64::MAX);
        let value = match setting.unit {
            Unit::Bytes => reader.size(setting.key, range, problems),
            Unit::Millis => reader
                .duration(setting.key, signed(setting.least)..=signed(most), problems)
                .map(i64::unsigned_abs),
            Unit::Count => reader
                .integer(setting.key, signed(setting.least)..=signed(most), problems)
                .map(i64::unsigned_abs),
        };
        all.extend(value.map(|v| (setting.key, v)));
    }
    all
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
    let limits = read_limits(reader, &Limits::max(), problems);
    let wasi_inert = reader
        .one_of("wasi", &[("inert", true), ("none", false)], problems)
        .is_some_and(|wasi| wasi.value);
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
        limits,
        interruptible,
        wasi_inert,
        sha256,
        sha256_span,
    };
    PluginSpec {
        name,
        path,
        settings,
    }
}
