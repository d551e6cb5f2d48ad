//! What is told beside results, progress and the end: warnings of the host and of client libraries, and what plugins log.
//! Warnings go to standard error in plain words; `--log` (or `$WASMILL_LOG`) chooses more, or less.
//!
//! Only this crate's words are shown: those of libraries below it are for their authors, and may show what was signed.

use std::fmt::{Debug, Write as _};
use std::sync::Arc;

use clap::ValueEnum;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use super::progress::Shown;
use crate::config::Redactor;

/// Where the level stands if it is not typed.
const VARIABLE: &str = "WASMILL_LOG";

/// What logs of plugins are marked with.
const OF_PLUGINS: &str = "wasmill::plugin";

/// What logs of the client library are marked with.
const OF_KAFKA: &str = "wasmill::kafka";

/// How much is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    /// Nothing.
    Off,
    /// What failed.
    Error,
    /// And what may go wrong.
    Warn,
    /// And what plugins tell of their work.
    Info,
    /// And what helps to find mistakes.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    /// What was typed, else what the environment has, else warnings. The error says what is wrong there.
    pub fn choose(typed: Option<LogLevel>) -> Result<LogLevel, String> {
        match (typed, std::env::var_os(VARIABLE)) {
            (Some(typed), _) => Ok(typed),
            (None, Some(text)) if !text.is_empty() => {
                let text = text.to_string_lossy();
                LogLevel::from_str(&text, true).map_err(|_| {
                    format!(
                        "${VARIABLE} is {text:?}; allowed: off, error, warn, info, debug, trace"
                    )
                })
            }
            (None, _) => Ok(LogLevel::Warn),
        }
    }

    fn filter(self) -> LevelFilter {
        match self {
            LogLevel::Off => LevelFilter::OFF,
            LogLevel::Error => LevelFilter::ERROR,
            LogLevel::Warn => LevelFilter::WARN,
            LogLevel::Info => LevelFilter::INFO,
            LogLevel::Debug => LevelFilter::DEBUG,
            LogLevel::Trace => LevelFilter::TRACE,
        }
    }
}

/// The process's log. Cheap to clone.
#[derive(Clone)]
pub struct Log {
    level: LevelFilter,
    way: Arc<Mutex<Way>>,
}

/// How lines go out.
struct Way {
    shown: Arc<Shown>,
    redactor: Redactor,
}

impl Log {
    /// Listens from now on, for the rest of the process.
    pub fn start(level: LogLevel) -> Log {
        let log = Log {
            level: level.filter(),
            way: Arc::new(Mutex::new(Way {
                shown: Arc::new(Shown::Nothing),
                redactor: Redactor::default(),
            })),
        };
        // Another one listens in this process already: a program that calls the command line has it its way.
        let _ = tracing::subscriber::set_global_default(log.clone());
        log
    }

    /// From now on lines go between those of the progress.
    pub fn show_in(&self, shown: &Arc<Shown>) {
        self.way.lock().shown = Arc::clone(shown);
    }

    /// From now on these secrets are taken out.
    pub fn redact(&self, redactor: Redactor) {
        self.way.lock().redactor = redactor;
    }
}

impl Subscriber for Log {
    fn enabled(&self, of: &Metadata<'_>) -> bool {
        let target = of.target();
        let is_ours = target == "wasmill" || target.starts_with("wasmill::");
        *of.level() <= self.level && is_ours
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.level)
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        let (level, target) = (*event.metadata().level(), event.metadata().target());
        let way = self.way.lock();
        line.message = way.redactor.redact(&line.message);
        way.shown
            .log(level_name(level), &line.text(target), || line.json(target));
    }

    // Nothing here makes spans.
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

fn level_name(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warning",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

/// What an event says.
#[derive(Default)]
struct Line {
    message: String,
    fields: Map<String, Value>,
}

impl Line {
    fn field(&self, name: &str) -> Option<&str> {
        self.fields.get(name)?.as_str().filter(|s| !s.is_empty())
    }

    /// For people.
    fn text(&self, target: &str) -> String {
        let mut text = String::new();
        if target == OF_KAFKA {
            text += "kafka: ";
        }
        // A plugin that is only looked at works for no step.
        let who = self.field("step").map(|step| format!("step {step}"));
        let who = who.or_else(|| Some(format!("function {}", self.field("function")?)));
        if let Some(who) = who {
            text += &who;
            if let Some(partition) = self.fields.get("partition") {
                let _ = write!(text, ", partition {partition}");
            }
            text += if target == OF_PLUGINS {
                ", logs: "
            } else {
                ": "
            };
        }
        text + &self.message
    }

    /// For programs.
    fn json(&self, target: &str) -> Value {
        let mut all = self.fields.clone();
        all.retain(|_, value| value.as_str() != Some(""));
        all.insert("target".into(), json!(target));
        all.insert("message".into(), json!(self.message));
        Value::Object(all)
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let text = format!("{value:?}");
        match field.name() {
            "message" => self.message = text,
            name => drop(self.fields.insert(name.into(), json!(text))),
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.fields.insert(field.name().into(), json!(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.fields.insert(field.name().into(), json!(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(fields: &[(&str, Value)], message: &str) -> Line {
        let fields = fields.iter().map(|(n, v)| ((*n).to_owned(), v.clone()));
        Line {
            message: message.into(),
            fields: fields.collect(),
        }
    }

    #[test]
    fn a_line_says_who_speaks_in_plain_words() {
        let of_step = [
            ("job", json!("j")),
            ("step", json!("counts")),
            ("partition", json!(3)),
            ("function", json!("split")),
        ];
        let said = line(&of_step, "odd value");
        assert_eq!(
            said.text(OF_PLUGINS),
            "step counts, partition 3, logs: odd value"
        );
        let host = said.text("wasmill::plugin::instance");
        assert_eq!(host, "step counts, partition 3: odd value");
        let looked_at = [("step", json!("")), ("function", json!("split"))];
        let looked_at = line(&looked_at, "hello");
        assert_eq!(looked_at.text(OF_PLUGINS), "function split, logs: hello");
        assert_eq!(line(&[], "FAIL: x").text(OF_KAFKA), "kafka: FAIL: x");
        assert_eq!(
            looked_at.json(OF_PLUGINS),
            json!({"function": "split", "target": OF_PLUGINS, "message": "hello"})
        );
    }

    #[test]
    fn what_is_typed_wins_and_warnings_are_told_where_nothing_is_said() {
        assert_eq!(LogLevel::choose(Some(LogLevel::Off)), Ok(LogLevel::Off));
        assert!(LogLevel::Warn.filter() < LogLevel::Info.filter());
    }
}
