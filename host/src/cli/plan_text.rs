//! A plan drawn as text of 80 columns: stages from the sources on, each node with what it reads, what
//! its function needs and gives, what happens to bad records, what a sink promises.

use super::style::{Style, fold};
use crate::config::KafkaTopics;
use crate::config::plan::{
    ConsoleFormat, EventTime, FileFormat, FormatSpec, Input, KeyPointers, Node, OnError, Plan,
    Port, SinkConnector, SinkPlan, SourceConnector, SourcePlan, StepKind, StepPlan, TableInput,
};
use crate::config::{delivery, is_keyed, show_duration, show_size, stages};
use crate::join::{Exclusive, JoinBounds, JoinKind, JoinSpec};
use crate::plugin::{OnBad, Reads, TimeDomain};
use crate::window::{Emit, Panes, WindowKind, WindowSpec};

/// Where the descriptions of nodes begin.
const INDENT: usize = 6;

/// Draws a plan.
pub fn draw<P>(plan: &Plan<P>, style: Style) -> String {
    let mut out = format!("{} {}\n", style.bold("job"), style.bold(&plan.name));
    let batch = &plan.batch;
    let mut about = format!(
        "parallelism {}; batches of {} records, {}",
        plan.parallelism,
        batch.records,
        show_size(batch.bytes as u64)
    );
    about.push_str(&format!(
        " or {}",
        show_duration(i64::try_from(batch.latency_ms).unwrap_or(i64::MAX))
    ));
    match &plan.checkpoint {
        Some(c) => about.push_str(&format!(
            "; checkpoints every {} in {}, {} kept",
            show_duration(c.every_ms),
            c.path,
            c.keep
        )),
        None => about.push_str("; no checkpoints"),
    }
    about.push_str(&format!(
        "; state up to {} in memory",
        show_size(plan.state.memory)
    ));
    out.push_str(&fold("  ", 2, &about));
    let mut shown = vec![false; plan.steps.len()];
    for (number, stage) in stages(plan).iter().enumerate() {
        let kind = if stage.source.is_some() {
            "reads"
        } else {
            "by key"
        };
        out.push_str(&format!(
            "\n{}  {}\n",
            style.bold(&format!("stage {}", number + 1)),
            style.dim(&format!("{kind}, {} tasks", plan.parallelism))
        ));
        if let Some(source) = stage.source {
            let source = &plan.sources[source];
            out.push_str(&node("source", &source.name, "", style));
            for line in describe_source(source) {
                out.push_str(&fold(&" ".repeat(INDENT), INDENT + 2, &line));
            }
        }
        for &step in &stage.steps {
            let of = &plan.steps[step];
            if std::mem::replace(&mut shown[step], true) {
                out.push_str(&node("step", &of.name, "also stands here", style));
                continue;
            }
            out.push_str(&node(
                "step",
                &of.name,
                &format!("<- {}", inputs(plan, &of.inputs)),
                style,
            ));
            for line in describe_step(plan, step, of) {
                out.push_str(&fold(&" ".repeat(INDENT), INDENT + 2, &line));
            }
        }
    }
    for table in &plan.tables {
        let from = match &table.input {
            TableInput::File(_) => String::new(),
            TableInput::Stream(from) => format!("<- {}", inputs(plan, from)),
        };
        out.push('\n');
        out.push_str(&node("table", &table.name, &from, style));
        let lines = match &table.input {
            TableInput::File(source) => describe_source(source),
            TableInput::Stream(_) => {
                vec!["kept current from a stream; a null value deletes".to_string()]
            }
        };
        for line in lines {
            out.push_str(&fold(&" ".repeat(INDENT), INDENT + 2, &line));
        }
    }
    out.push_str(&format!("\n{}\n", style.bold("sinks")));
    for sink in &plan.sinks {
        out.push_str(&node(
            "sink",
            &sink.name,
            &format!("<- {}", inputs(plan, &sink.inputs)),
            style,
        ));
        out.push_str(&fold(
            &" ".repeat(INDENT),
            INDENT + 2,
            &describe_sink(plan, sink),
        ));
    }
    if !plan.plugins.is_empty() {
        out.push_str(&format!("\n{}\n", style.bold("plugins")));
        for plugin in &plan.plugins {
            let path = plugin
                .path
                .as_ref()
                .map_or("ships inside wasmill".to_string(), |p| {
                    p.display().to_string()
                });
            let sha = plugin.sha256.get(..12).unwrap_or(&plugin.sha256);
            let text = fold(
                "  ",
                INDENT,
                &format!("{}  {path}  sha256 {sha}…", plugin.name),
            );
            out.push_str(&style.bold_in(text, &plugin.name));
        }
    }
    out
}

fn node(kind: &str, name: &str, rest: &str, style: Style) -> String {
    style.bold_in(
        fold(&format!("  {kind} "), INDENT, &format!("{name} {rest}")),
        name,
    )
}

/// `a, b.late`.
pub fn inputs<P>(plan: &Plan<P>, inputs: &[Input]) -> String {
    inputs
        .iter()
        .map(|i| input_name(plan, *i))
        .collect::<Vec<_>>()
        .join(", ")
}

/// `b.late`.
pub fn input_name<P>(plan: &Plan<P>, input: Input) -> String {
    let (name, step) = match input.node {
        Node::Source(s) => (&plan.sources[usize::from(s)].name, None),
        Node::Step(s) => (
            &plan.steps[usize::from(s)].name,
            Some(&plan.steps[usize::from(s)]),
        ),
    };
    match input.port {
        Port::Main => name.clone(),
        Port::Late => format!("{name}.late"),
        Port::Errors => format!("{name}.errors"),
        Port::Named(port) => {
            let function = step.and_then(|s| match s.kind {
                StepKind::Transform { function } | StepKind::Process { function, .. } => {
                    Some(function)
                }
                _ => None,
            });
            let port_name =
                function.and_then(|f| plan.functions[f].descriptor.ports.get(usize::from(port)));
            format!("{name}.{}", port_name.map_or("?", String::as_str))
        }
    }
}

fn describe_source(source: &SourcePlan) -> Vec<String> {
    let mut what = match &source.connector {
        SourceConnector::File {
            pattern,
            partitions,
            watch_ms,
            ..
        } => {
            let partitions = partitions.map_or(String::new(), |n| format!(" in {n} partitions"));
            let watch = watch_ms.map_or(String::new(), |ms| {
                format!(", looked at again every {}", show_duration(ms))
            });
            format!("file {pattern}{partitions}{watch}")
        }
        SourceConnector::Kafka(k) => {
            let topics = match &k.topics {
                KafkaTopics::List(names) => names.join(", "),
                KafkaTopics::Pattern(pattern) => pattern.clone(),
            };
            format!("kafka {}: {topics}, group {}", k.brokers, k.group)
        }
        SourceConnector::Stdin => "standard input".to_string(),
        SourceConnector::Generator(g) => {
            let count = g.records.map_or("records without end".to_string(), |n| {
                format!("{n} records")
            });
            let rate = g.rate.map_or(String::new(), |r| format!(", {r} a second"));
            format!(
                "generator: {count}{rate}, {} partitions, seed {}",
                g.partitions, g.seed
            )
        }
    };
    let kafka = matches!(source.connector, SourceConnector::Kafka(_));
    what.push_str(match &source.format {
        FormatSpec::Bytes if kafka => "; a message is a record",
        FormatSpec::Json if kafka => "; JSON messages",
        FormatSpec::Lines => "; a line is a record",
        FormatSpec::Json => "; JSON lines",
        FormatSpec::Csv(_) => "; CSV",
        FormatSpec::Bytes => "; a file is a record",
    });
    let mut lines = vec![what];
    if let Some(key) = &source.key {
        lines.push(format!("key {}", pointers(key)));
    }
    if let Some(timestamp) = &source.timestamp {
        let format = timestamp
            .format
            .as_ref()
            .map_or(String::new(), |f| format!(" as {f:?}"));
        lines.push(format!("timestamp {}{format}", pointer(&timestamp.pointer)));
    }
    lines.extend(source.event_time.as_ref().map(describe_event_time));
    lines.push(describe_policy(source.on_error));
    lines
}

fn describe_event_time(time: &EventTime) -> String {
    let mut out = format!(
        "watermark {} behind the newest timestamp",
        show_duration(time.max_disorder_ms)
    );
    if let Some(ms) = time.idle_after_ms {
        out.push_str(&format!(", idle after {}", show_duration(ms)));
    }
    if let Some(ms) = time.max_ahead_ms {
        out.push_str(&format!(
            ", at most {} ahead of the clock",
            show_duration(ms)
        ));
    }
    out
}

fn describe_policy(policy: OnError) -> String {
    match policy {
        OnError::Fail => "a bad record stops the job",
        OnError::Skip => "bad records are counted and dropped",
        OnError::DeadLetter => "bad records become dead letters",
    }
    .to_string()
}

fn describe_step<P>(plan: &Plan<P>, index: usize, step: &StepPlan) -> Vec<String> {
    let mut lines = Vec::new();
    match &step.kind {
        StepKind::Transform { function } => lines.extend(describe_function(plan, *function)),
        StepKind::Key(key) => lines.push(format!("key {}", pointers(key))),
        StepKind::Window { function, window } => {
            lines.push(describe_window(window));
            lines.extend(describe_function(plan, *function));
        }
        StepKind::Join { function, join } => {
            lines.push(describe_join(join));
            lines.extend(function.iter().flat_map(|f| describe_function(plan, *f)));
        }
        StepKind::Lookup {
            function,
            table,
            on,
            left,
            as_of_ms,
        } => {
            let mut what = format!(
                "looks into {} by {}",
                plan.tables[*table].name,
                on.as_ref().map_or("the key".to_string(), pointers)
            );
            what.push_str(if *left {
                "; keeps records without match"
            } else {
                "; drops records without match"
            });
            if let Some(ms) = as_of_ms {
                what.push_str(&format!(
                    "; the value valid at the record's timestamp, versions kept {}",
                    show_duration(*ms)
                ));
            }
            lines.push(what);
            lines.extend(describe_function(plan, *function));
        }
        StepKind::Dedup { within_ms } => lines.push(format!(
            "first of a key within {}",
            show_duration(*within_ms)
        )),
        StepKind::Process {
            function,
            ttl_ms,
            time,
        } => {
            lines.push(format!(
                "keyed state and timers; state is dropped {} after its last write, in {}",
                show_duration(*ttl_ms),
                clock(*time)
            ));
            lines.extend(describe_function(plan, *function));
        }
    }
    if step.watermark_max {
        lines.push("its watermark is the greatest of its inputs'".to_string());
    }
    lines.extend(step.event_time.as_ref().map(describe_event_time));
    let mut policy = describe_policy(step.on_error);
    if is_keyed(plan, index) {
        policy.push_str("; dealt to tasks by key");
    }
    lines.push(policy);
    lines
}

fn describe_function<P>(plan: &Plan<P>, function: usize) -> Vec<String> {
    let function = &plan.functions[function];
    let name = format!(
        "{} {}.{}",
        function.kind.name(),
        plan.plugins[function.plugin].name,
        function.function
    );
    let d = &function.descriptor;
    let mut traits = Vec::new();
    for (has, word) in [
        (d.sets_keys, "sets keys"),
        (d.sets_timestamps, "sets timestamps"),
        (d.mergeable, "merges"),
        (d.order_dependent, "depends on order"),
    ] {
        if has {
            traits.push(word.to_string());
        }
    }
    if !d.ports.is_empty() {
        traits.push(format!("ports {}", d.ports.join(", ")));
    }
    let mut lines = vec![if traits.is_empty() {
        name
    } else {
        format!("{name} ({})", traits.join("; "))
    }];
    let mut fields = Vec::new();
    let reads = describe_reads(&d.reads);
    if !reads.is_empty() {
        fields.push(format!("reads {reads}"));
    }
    let right = describe_reads(&d.right);
    if !right.is_empty() {
        fields.push(format!("reads of the right side {right}"));
    }
    if !d.emits.is_empty() {
        let emits: Vec<_> = d
            .emits
            .iter()
            .map(|e| format!("{} ({})", e.name, e.kind.name()))
            .collect();
        fields.push(format!("writes {}", emits.join(", ")));
    }
    if function.config != "{}" {
        fields.push(format!("config {}", function.config));
    }
    lines.extend(fields);
    lines
}

/// `/a (ints), /b (text, missing = null), keys`.
pub fn describe_reads(reads: &Reads) -> String {
    let word = |on: OnBad| match on {
        OnBad::Null => "null",
        OnBad::Reject => "rejected",
        OnBad::Fail => "fails the job",
    };
    let mut out: Vec<String> = reads
        .fields
        .iter()
        .map(|f| {
            let bad = if f.missing == f.mismatch {
                format!("else {}", word(f.missing))
            } else {
                format!(
                    "missing: {}, mistyped: {}",
                    word(f.missing),
                    word(f.mismatch)
                )
            };
            format!(
                "{} ({}, {bad})",
                pointer(&f.spec.pointer),
                f.spec.kind.name()
            )
        })
        .collect();
    let columns = [
        (reads.columns.values, "whole values"),
        (reads.columns.keys, "keys"),
        (reads.columns.timestamps, "timestamps"),
    ];
    out.extend(
        columns
            .into_iter()
            .filter(|(has, _)| *has)
            .map(|(_, word)| word.to_string()),
    );
    out.join(", ")
}

/// A window step's settings in words.
pub fn describe_window(window: &WindowSpec) -> String {
    let shift = |offset: i64| {
        if offset == 0 {
            String::new()
        } else {
            format!(", shifted by {}", show_duration(offset))
        }
    };
    let mut out = match &window.kind {
        WindowKind::Tumbling { size, offset } => format!(
            "tumbling windows of {}{}",
            show_duration(*size),
            shift(*offset)
        ),
        WindowKind::Sliding {
            size,
            every,
            offset,
        } => {
            format!(
                "sliding windows of {}, every {}{}",
                show_duration(*size),
                show_duration(*every),
                shift(*offset)
            )
        }
        WindowKind::Session { gap: Some(gap) } => {
            format!("sessions, ended by {} of silence", show_duration(*gap))
        }
        WindowKind::Session { gap: None } => {
            "sessions, each record's gap from the plugin".to_string()
        }
        WindowKind::Count { size, every } if size == every => {
            format!("windows of {size} records of a key")
        }
        WindowKind::Count { size, every } => {
            format!("the last {size} records of a key, at every {every}")
        }
        WindowKind::Global => "one window for all time".to_string(),
    };
    let counted = matches!(window.kind, WindowKind::Count { .. });
    if !counted {
        out.push_str(&format!(" in {}", clock(window.time)));
        out.push_str(match window.emit {
            Emit::Append => "; results when a window closes",
            Emit::Update => "; changed groups at each firing",
            Emit::Complete => "; all kept groups at each firing",
        });
    }
    let trigger = &window.trigger;
    let mut early = Vec::new();
    early.extend(trigger.records.map(|n| format!("{n} records")));
    early.extend(
        trigger
            .every_ms
            .map(|ms| format!("every {}", show_duration(ms))),
    );
    early.extend(
        trigger
            .every_event_ms
            .map(|ms| format!("every {} of event time", show_duration(ms))),
    );
    if !early.is_empty() {
        out.push_str(&format!("; fires early at {}", early.join(", or ")));
        if window.panes == Panes::Discarding {
            out.push_str(", each pane alone");
        }
    }
    if window.allowed_lateness_ms > 0 {
        out.push_str(&format!(
            "; late records taken for {}",
            show_duration(window.allowed_lateness_ms)
        ));
    }
    out
}

/// A join's settings in words.
pub fn describe_join(join: &JoinSpec) -> String {
    let kind = match join.kind {
        JoinKind::Inner => "inner join",
        JoinKind::Left => "left join",
        JoinKind::Right => "right join",
        JoinKind::Full => "full join",
        JoinKind::Semi => "semi join (left rows with a match)",
        JoinKind::Anti => "anti join (left rows without match)",
    };
    let mut out = match &join.bounds {
        JoinBounds::Interval {
            from,
            to,
            exclusive,
        } => {
            let (low, high) = match exclusive {
                Exclusive::Neither => ("<=", "<="),
                Exclusive::From => ("<", "<="),
                Exclusive::To => ("<=", "<"),
                Exclusive::Both => ("<", "<"),
            };
            format!(
                "{kind} by key: {} {low} right - left {high} {}",
                show_duration(*from),
                show_duration(*to)
            )
        }
        JoinBounds::Window { size, offset } => {
            let shift = if *offset == 0 {
                String::new()
            } else {
                format!(", shifted by {}", show_duration(*offset))
            };
            format!(
                "{kind} by key in tumbling windows of {}{shift}",
                show_duration(*size)
            )
        }
    };
    if join.allowed_lateness_ms > 0 {
        out.push_str(&format!(
            "; late records taken for {}",
            show_duration(join.allowed_lateness_ms)
        ));
    }
    out
}

fn describe_sink<P>(plan: &Plan<P>, sink: &SinkPlan) -> String {
    let what = match &sink.connector {
        SinkConnector::Console(ConsoleFormat::Table) => "console, as a table".to_string(),
        SinkConnector::Console(ConsoleFormat::Json) => "console, JSON envelopes".to_string(),
        SinkConnector::Console(ConsoleFormat::Value) => "console, bare values".to_string(),
        SinkConnector::File {
            path,
            format,
            roll_bytes,
            roll_every_ms,
            overwrite,
            ..
        } => {
            let format = if *format == FileFormat::Json {
                "JSON envelopes"
            } else {
                "bare values"
            };
            let every =
                roll_every_ms.map_or(String::new(), |ms| format!(" or {}", show_duration(ms)));
            let over = if *overwrite {
                ", over what is there"
            } else {
                ""
            };
            format!(
                "part files in {}, {format}, rolled at {}{every}{over}",
                path.display(),
                show_size(*roll_bytes)
            )
        }
        SinkConnector::Kafka(k) => {
            let topic = match (&k.topic.fixed, &k.topic.from) {
                (Some(topic), None) => topic.clone(),
                (None, Some(from)) => format!("the topic at {from}"),
                (Some(topic), Some(from)) => format!("the topic at {from}, else {topic}"),
                (None, None) => String::new(),
            };
            format!("kafka {}: {topic}", k.brokers)
        }
        SinkConnector::Blackhole => "dropped, counted".to_string(),
    };
    format!("{what}; {}", delivery(plan, sink).words())
}

/// A key's pointers as typed.
pub fn pointers(key: &KeyPointers) -> String {
    match key {
        KeyPointers::One(one) => pointer(one),
        KeyPointers::Many(many) => format!(
            "[{}]",
            many.iter()
                .map(|p| pointer(p))
                .collect::<Vec<_>>()
                .join(", ")
        ),
    }
}

fn pointer(pointer: &str) -> String {
    if pointer.is_empty() {
        "the whole value".to_string()
    } else {
        pointer.to_string()
    }
}

fn clock(time: TimeDomain) -> &'static str {
    match time {
        TimeDomain::Event => "event time",
        TimeDomain::Processing => "processing time",
    }
}
