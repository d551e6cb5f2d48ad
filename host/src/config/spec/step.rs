//! `[step.x]`: which one thing a step does, and the keys that go with it.

use super::super::plan::{KeyPointers, OnError};
use super::super::problem::{Problems, Span, listed};
use super::super::reader::{At, Reader};
use super::super::values::DURATION_MAX_MS;
use super::common::{self, FunctionRef};
use super::source::{self, EventTimeSpec};
use super::{on_error, window};
use crate::join::{JoinBounds, JoinKind};
use crate::plugin::TimeDomain;
use crate::window::WindowSpec;

/// A step, as typed.
#[derive(Debug)]
pub struct StepSpec {
    /// Name.
    pub name: At<String>,
    /// What it reads.
    pub from: Vec<At<String>>,
    /// Where `from` stands.
    pub from_span: Option<Span>,
    /// What it does; none: something is wrong (noted already).
    pub doing: Option<Doing>,
    /// Policy.
    pub on_error: Option<At<OnError>>,
    /// Where `watermark = "max"` stands.
    pub watermark_max: Option<Span>,
    /// Watermarks from here on.
    pub event_time: Option<At<EventTimeSpec>>,
}

/// What a step does.
#[derive(Debug)]
pub enum Doing {
    /// A function of kind transform or filter.
    Transform(FunctionRef),
    /// Sets the key.
    Key(KeyPointers),
    /// Windowed aggregate.
    Window {
        /// Of kind aggregate.
        function: FunctionRef,
        /// Everything about windows.
        window: Box<WindowSpec>,
        /// Where `window` stands.
        span: Span,
    },
    /// Two-input join.
    Join {
        /// Of kind join; none: `std.pair`, or none needed.
        function: Option<FunctionRef>,
        /// Which rows.
        kind: JoinKind,
        /// Which pairs.
        bounds: JoinBounds,
        /// Milliseconds.
        allowed_lateness_ms: i64,
        /// Where `join` stands.
        span: Span,
    },
    /// Enrichment.
    Lookup {
        /// Of kind join; none: `std.pair`.
        function: Option<FunctionRef>,
        /// Table's name.
        table: At<String>,
        /// Where the table's key is in the record.
        on: Option<KeyPointers>,
        /// Keeps records without match.
        left: bool,
        /// Milliseconds.
        as_of_ms: Option<i64>,
    },
    /// First of a key.
    Dedup {
        /// Milliseconds.
        within_ms: i64,
    },
    /// Keyed state and timers.
    Process {
        /// Of kind process.
        function: FunctionRef,
        /// Milliseconds.
        ttl_ms: i64,
        /// Which clock.
        time: TimeDomain,
    },
}

/// The keys that say what a step does, and what each stands for.
const ACTIONS: [&str; 7] = [
    "transform",
    "key",
    "aggregate",
    "join",
    "lookup",
    "dedup",
    "process",
];

pub(super) fn read(name: At<String>, reader: &mut Reader<'_>, problems: &mut Problems) -> StepSpec {
    let from_span = reader.key_span("from");
    let from = common::from(reader, problems);
    let on_error = on_error(reader, problems);
    let watermark = reader.one_of("watermark", &[("min", false), ("max", true)], problems);
    let watermark_max = watermark.filter(|w| w.value).map(|w| w.span);
    let mut step = StepSpec {
        name,
        from,
        from_span,
        doing: None,
        on_error,
        watermark_max,
        event_time: None,
    };
    let Some(action) = action(reader, problems) else {
        // What the step does is not clear: any known key may be right.
        for key in ACTIONS.into_iter().chain(COMPANIONS.map(|(key, _)| key)) {
            reader.any(key);
        }
        return step;
    };
    step.doing = match action {
        "transform" => {
            let function = common::function(reader, "transform", problems);
            step.event_time = source::event_time(reader, problems);
            function.map(Doing::Transform)
        }
        "key" => common::key(reader, "key", problems).map(Doing::Key),
        "aggregate" => aggregate(reader, problems),
        "join" => join(reader, problems),
        "lookup" => lookup(reader, problems),
        "dedup" => dedup(reader, problems),
        _ => process(reader, problems),
    };
    for (key, why) in COMPANIONS {
        reader.elsewhere(key, why);
    }
    step
}

/// Keys that go with some actions only, and what a message says where they stand with another.
const COMPANIONS: [(&str, &str); 13] = [
    (
        "config",
        "it goes with transform, aggregate, join, lookup and process, which call a function",
    ),
    (
        "event-time",
        "it goes with a source, or with the transform that sets the timestamps",
    ),
    ("window", "it goes with aggregate and join"),
    ("time", "it goes with aggregate and process"),
    ("allowed-lateness", "it goes with aggregate and join"),
    ("emit", "it goes with aggregate"),
    ("trigger", "it goes with aggregate"),
    ("panes", "it goes with aggregate"),
    (
        "within",
        "it goes with join, and into dedup = { within = \"1h\" }",
    ),
    ("function", "it goes with join and lookup"),
    ("on", "it goes with lookup"),
    ("as-of", "it goes with lookup"),
    ("ttl", "it goes with process"),
];

/// The one thing that the step does.
fn action(reader: &mut Reader<'_>, problems: &mut Problems) -> Option<&'static str> {
    let mut found: Vec<&'static str> = ACTIONS.into_iter().filter(|a| reader.has(a)).collect();
    // In a lookup, `join` says what becomes of records without match.
    if found.contains(&"lookup") {
        found.retain(|a| *a != "join");
    }
    match found[..] {
        [one] => Some(one),
        [] if reader.has("window") => {
            let span = reader.key_span("window").unwrap_or(reader.span);
            problems
                .error(span, format!("{} has a window and nothing to do with it", reader.title))
                .help("add aggregate = \"plugin.function\", such as \"std.count\"; or join = \"inner\" with two inputs");
            None
        }
        [] => {
            problems
                .error(reader.span, format!("{} does nothing", reader.title))
                .help(format!("give it one of {}", listed(ACTIONS)));
            None
        }
        [_, second, ..] => {
            let span = reader.key_span(second).unwrap_or(reader.span);
            problems
                .error(
                    span,
                    format!("{} does several things: {}", reader.title, listed(&found)),
                )
                .help("a step does exactly one; write a step for each");
            None
        }
    }
}

fn aggregate(reader: &mut Reader<'_>, problems: &mut Problems) -> Option<Doing> {
    let function = common::function(reader, "aggregate", problems);
    let span = reader.key_span("window");
    if span.is_none() {
        problems
            .error(reader.span, format!("{} has an aggregate, but no \"window\"", reader.title))
            .help("such as window = { tumbling = \"10s\" }, or { global = true } for one result at the end");
    }
    let window = window::aggregate(reader, problems);
    Some(Doing::Window {
        function: function?,
        window: Box::new(window?),
        span: span?,
    })
}

fn join(reader: &mut Reader<'_>, problems: &mut Problems) -> Option<Doing> {
    let kinds = [
        ("inner", JoinKind::Inner),
        ("left", JoinKind::Left),
        ("right", JoinKind::Right),
        ("full", JoinKind::Full),
        ("semi", JoinKind::Semi),
        ("anti", JoinKind::Anti),
    ];
    let kind = reader.one_of("join", &kinds, problems);
    let unchanged = kind
        .as_ref()
        .is_some_and(|k| matches!(k.value, JoinKind::Semi | JoinKind::Anti));
    let mut function = None;
    let wants_function = reader.has("function");
    if unchanged {
        for key in ["function", "config"] {
            reader.elsewhere(
                key,
                "semi and anti joins give the left rows unchanged, no function sees them",
            );
        }
    } else {
        function = common::function(reader, "function", problems);
    }
    let bounds = window::join_bounds(reader, problems);
    let allowed_lateness_ms = reader
        .duration("allowed-lateness", 0..=DURATION_MAX_MS, problems)
        .unwrap_or(0);
    let kind = kind?;
    if function.is_none() && wants_function && !unchanged {
        return None;
    }
    Some(Doing::Join {
        function,
        kind: kind.value,
        bounds: bounds?,
        allowed_lateness_ms,
        span: kind.span,
    })
}

fn lookup(reader: &mut Reader<'_>, problems: &mut Problems) -> Option<Doing> {
    let table = reader.string("lookup", problems);
    let on_given = reader.has("on");
    let on = common::key(reader, "on", problems);
    let left = reader
        .one_of("join", &[("inner", false), ("left", true)], problems)
        .is_some_and(|j| j.value);
    let wants_function = reader.has("function");
    let function = common::function(reader, "function", problems);
    let as_of_ms = reader.duration("as-of", 1..=DURATION_MAX_MS, problems);
    if (on_given && on.is_none()) || (wants_function && function.is_none()) {
        return None;
    }
    Some(Doing::Lookup {
        function,
        table: table?,
        on,
        left,
        as_of_ms,
    })
}

fn dedup(reader: &mut Reader<'_>, problems: &mut Problems) -> Option<Doing> {
    let mut table = reader.table("dedup", problems)?;
    table.require("within", problems);
    let within = table.duration("within", 0..=DURATION_MAX_MS, problems);
    table.finish(problems);
    Some(Doing::Dedup { within_ms: within? })
}

fn process(reader: &mut Reader<'_>, problems: &mut Problems) -> Option<Doing> {
    let function = common::function(reader, "process", problems);
    if !reader.has("ttl") {
        problems
            .error(
                reader.span,
                format!(
                    "{} has no \"ttl\": state without a bound is refused",
                    reader.title
                ),
            )
            .help("add ttl = \"1d\": a key's state is dropped so long after it was last written");
    }
    let ttl = reader.duration("ttl", 1..=DURATION_MAX_MS, problems);
    let time = window::time(reader, problems);
    Some(Doing::Process {
        function: function?,
        ttl_ms: ttl?,
        time,
    })
}
