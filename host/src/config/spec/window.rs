//! `window`, `within`, `emit`, `trigger`, `panes`, `time`: what a step says about time.

use super::super::document::{Node, Value};
use super::super::problem::{Problems, Span, listed};
use super::super::reader::{Reader, duration};
use super::super::values::DURATION_MAX_MS;
use crate::join::{Exclusive, JoinBounds};
use crate::plugin::TimeDomain;
use crate::window::{Emit, Panes, Trigger, WindowKind, WindowSpec};

/// Which of a window step's settings were typed: rules ask for that, not only for the value.
#[derive(Clone, Copy, Debug, Default)]
pub struct Typed {
    /// `emit`.
    pub emit: Option<Span>,
    /// `trigger`.
    pub trigger: Option<Span>,
    /// `panes`.
    pub panes: Option<Span>,
    /// `allowed-lateness`.
    pub allowed_lateness: Option<Span>,
}

/// Longest window, sliding distance and session gap: 100 years.
const WINDOW_MAX_MS: i64 = DURATION_MAX_MS / 2;

/// Most records of a count window: each key keeps that many.
const COUNT_MAX: i64 = 1_000_000_000;

/// Most windows that a record of a sliding step may fall in. Where the aggregate has `merge`, windows are made
/// of slices and a record costs one; this bounds the work of closing them.
const OVERLAP_MAX: i64 = 1_000_000;

const TIMES: [(&str, TimeDomain); 2] = [
    ("event", TimeDomain::Event),
    ("processing", TimeDomain::Processing),
];

/// `time`.
pub(super) fn time(reader: &mut Reader<'_>, problems: &mut Problems) -> TimeDomain {
    reader
        .one_of("time", &TIMES, problems)
        .map_or(TimeDomain::Event, |t| t.value)
}

/// All that an aggregate step says.
pub(super) fn aggregate(reader: &mut Reader<'_>, problems: &mut Problems) -> Option<WindowSpec> {
    let kind = kind(reader, problems);
    let time = time(reader, problems);
    let typed = Typed {
        emit: reader.key_span("emit"),
        trigger: reader.key_span("trigger"),
        panes: reader.key_span("panes"),
        allowed_lateness: reader.key_span("allowed-lateness"),
    };
    let emits = [
        ("append", Emit::Append),
        ("update", Emit::Update),
        ("complete", Emit::Complete),
    ];
    let emit = reader
        .one_of("emit", &emits, problems)
        .map_or(Emit::Append, |e| e.value);
    let pane_words = [
        ("accumulating", Panes::Accumulating),
        ("discarding", Panes::Discarding),
    ];
    let panes = reader
        .one_of("panes", &pane_words, problems)
        .map_or(Panes::Accumulating, |p| p.value);
    let trigger = trigger(reader, time, problems);
    let allowed_lateness_ms = reader
        .duration("allowed-lateness", 0..=DURATION_MAX_MS, problems)
        .unwrap_or(0);
    if let (Some(span), Emit::Complete, Panes::Discarding) = (typed.panes, emit, panes) {
        problems.error(span, "panes = \"discarding\" does not go with emit = \"complete\", which gives all groups again and again");
    }
    let kind = kind?;
    let spec = WindowSpec {
        kind,
        time,
        allowed_lateness_ms,
        emit,
        trigger,
        panes,
    };
    check_combination(&spec, typed, problems);
    Some(spec)
}

/// What goes with which kind of window.
fn check_combination(spec: &WindowSpec, typed: Typed, problems: &mut Problems) {
    match spec.kind {
        WindowKind::Count { .. } => {
            let all = [
                (typed.emit, "emit"),
                (typed.trigger, "trigger"),
                (typed.panes, "panes"),
                (typed.allowed_lateness, "allowed-lateness"),
            ];
            for (span, key) in all {
                if let Some(span) = span {
                    problems.error(span, format!("count windows take no {key:?}: they fire by their count, and nothing is late"));
                }
            }
        }
        WindowKind::Global => {
            if let Some(span) = typed.allowed_lateness {
                problems.error(
                    span,
                    "global windows take no \"allowed-lateness\": nothing is late for them",
                );
            }
        }
        _ if spec.time == TimeDomain::Processing => {
            if let Some(span) = typed.allowed_lateness {
                problems.error(
                    span,
                    "\"allowed-lateness\" goes with event time: nothing is late in processing time",
                );
            }
        }
        _ => {}
    }
}

/// `window`, of any kind.
fn kind(reader: &mut Reader<'_>, problems: &mut Problems) -> Option<WindowKind> {
    const KINDS: [&str; 5] = ["tumbling", "sliding", "session", "count", "global"];
    let mut table = reader.table("window", problems)?;
    let found: Vec<_> = KINDS.into_iter().filter(|k| table.has(k)).collect();
    let [word] = found[..] else {
        for key in KINDS.into_iter().chain(["every", "offset"]) {
            table.any(key);
        }
        let what = if found.is_empty() {
            "no kind".to_string()
        } else {
            format!("several kinds: {}", listed(&found))
        };
        problems
            .error(table.span, format!("{} has {what}", table.title))
            .help(format!("write one of {}", listed(KINDS)));
        table.finish(problems);
        return None;
    };
    table.elsewhere("every", "it goes with sliding and count windows");
    table.elsewhere("offset", "it goes with tumbling and sliding windows");
    let kind = match word {
        "tumbling" => tumbling(&mut table, problems)
            .map(|(size, offset)| WindowKind::Tumbling { size, offset }),
        "sliding" => sliding(&mut table, problems),
        "session" => session(&mut table, problems),
        "count" => count(&mut table, problems),
        _ => {
            let span = table.key_span("global").unwrap_or(table.span);
            match table.boolean("global", problems) {
                Some(false) => {
                    problems.error(span, "write global = true, or another kind of window");
                    None
                }
                other => other.map(|_| WindowKind::Global),
            }
        }
    };
    table.finish(problems);
    kind
}

/// Size and offset.
fn tumbling(table: &mut Reader<'_>, problems: &mut Problems) -> Option<(i64, i64)> {
    let size = table.duration("tumbling", 1..=WINDOW_MAX_MS, problems);
    let offset = table
        .duration("offset", -WINDOW_MAX_MS..=WINDOW_MAX_MS, problems)
        .unwrap_or(0);
    let size = size?;
    Some((size, offset.rem_euclid(size)))
}

fn sliding(table: &mut Reader<'_>, problems: &mut Problems) -> Option<WindowKind> {
    let size = table.duration("sliding", 1..=WINDOW_MAX_MS, problems);
    table.require("every", problems);
    let every_span = table.key_span("every");
    let every = table.duration("every", 1..=WINDOW_MAX_MS, problems);
    let offset = table
        .duration("offset", -WINDOW_MAX_MS..=WINDOW_MAX_MS, problems)
        .unwrap_or(0);
    let (size, every, span) = (size?, every?, every_span?);
    if every > size {
        problems
            .error(
                span,
                "\"every\" is longer than the window: records between windows would be lost",
            )
            .help("write every <= sliding; with every = sliding it is a tumbling window");
        return None;
    }
    if size / every > OVERLAP_MAX {
        problems
            .error(
                span,
                format!("{} windows overlap at each moment", size / every),
            )
            .help(format!("allowed: sliding / every up to {OVERLAP_MAX}"));
        return None;
    }
    Some(WindowKind::Sliding {
        size,
        every,
        offset: offset.rem_euclid(every),
    })
}

fn session(table: &mut Reader<'_>, problems: &mut Problems) -> Option<WindowKind> {
    let node = table.any("session")?;
    if matches!(&node.value, Value::String(s) if s == "from-plugin") {
        return Some(WindowKind::Session { gap: None });
    }
    let gap = duration(node, "session", 1..=WINDOW_MAX_MS, problems)?;
    Some(WindowKind::Session { gap: Some(gap) })
}

fn count(table: &mut Reader<'_>, problems: &mut Problems) -> Option<WindowKind> {
    let size = table.integer("count", 1..=COUNT_MAX, problems);
    let every_span = table.key_span("every");
    let every = table.integer("every", 1..=COUNT_MAX, problems);
    let size = size?;
    match (every_span, every) {
        (None, _) => Some(WindowKind::Count {
            size: size.unsigned_abs(),
            every: size.unsigned_abs(),
        }),
        (Some(span), Some(every)) if every > size => {
            problems.error(
                span,
                "\"every\" is more than the count: records between windows would be lost",
            );
            None
        }
        (Some(_), every) => Some(WindowKind::Count {
            size: size.unsigned_abs(),
            every: every?.unsigned_abs(),
        }),
    }
}

fn trigger(reader: &mut Reader<'_>, time: TimeDomain, problems: &mut Problems) -> Trigger {
    let mut trigger = Trigger::default();
    let Some(mut table) = reader.table("trigger", problems) else {
        return trigger;
    };
    trigger.records = table
        .integer("records", 1..=i64::MAX, problems)
        .map(i64::unsigned_abs);
    trigger.every_ms = table.duration("every", 1..=WINDOW_MAX_MS, problems);
    trigger.every_event_ms = table.duration("every-event", 1..=WINDOW_MAX_MS, problems);
    if table.all().is_empty() {
        problems
            .error(table.span, "\"trigger\" says nothing")
            .help("write one or several of records = 100, every = \"5s\", every-event = \"2s\"");
    }
    if let (Some(span), TimeDomain::Processing) = (table.key_span("every-event"), time) {
        problems
            .error(
                span,
                "\"every-event\" goes by event time, and this step by processing time",
            )
            .help("write every = \"5s\"");
    }
    table.finish(problems);
    trigger
}

/// `within` or `window` of a join.
pub(super) fn join_bounds(reader: &mut Reader<'_>, problems: &mut Problems) -> Option<JoinBounds> {
    if let (true, Some(span)) = (reader.has("window"), reader.key_span("within")) {
        problems.error(span, "a join has either \"within\" or \"window\"");
    }
    if reader.has("window") {
        reader.any("within");
        let mut table = reader.table("window", problems)?;
        let bounds = if table.has("tumbling") {
            tumbling(&mut table, problems).map(|(size, offset)| JoinBounds::Window { size, offset })
        } else {
            problems.error(table.span, "windowed joins are tumbling").help("write window = { tumbling = \"1h\" }, or within = { from = \"-1h\", to = \"0s\" }");
            return None;
        };
        table.finish(problems);
        return bounds;
    }
    let Some(Node { .. }) = reader.any("within") else {
        problems
            .error(
                reader.span,
                format!("{} joins without a bound on time", reader.title),
            )
            .help(
                "write within = { from = \"-1h\", to = \"0s\" }, or window = { tumbling = \"1h\" }",
            );
        return None;
    };
    let span = reader.key_span("within");
    let mut table = reader.table("within", problems)?;
    for key in ["from", "to"] {
        table.require(key, problems);
    }
    let from = table.duration("from", -WINDOW_MAX_MS..=WINDOW_MAX_MS, problems);
    let to = table.duration("to", -WINDOW_MAX_MS..=WINDOW_MAX_MS, problems);
    let words = [
        ("from", Exclusive::From),
        ("to", Exclusive::To),
        ("both", Exclusive::Both),
    ];
    let exclusive = table
        .one_of("exclusive", &words, problems)
        .map_or(Exclusive::Neither, |e| e.value);
    table.finish(problems);
    let (from, to, span) = (from?, to?, span?);
    let width = match exclusive {
        Exclusive::Neither => to - from,
        Exclusive::From | Exclusive::To => to - from - 1,
        Exclusive::Both => to - from - 2,
    };
    if width < 0 {
        problems.error(span, "nothing can match: \"to\" lies before \"from\", or the excluded bounds leave nothing between");
        return None;
    }
    Some(JoinBounds::Interval {
        from,
        to,
        exclusive,
    })
}
