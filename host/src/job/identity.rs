//! What the checkpoints of a plan belong to: everything that gives state and positions their meaning, as settings
//! with the names that the job file has for them.
//!
//! What is left out may change freely between two runs: paths, limits, parallelism, sinks, stateless steps, early
//! triggers, time to live. What is in is held against a checkpoint by `checkpoint::compat`.

use std::collections::{BTreeMap, BTreeSet};

use crate::checkpoint::JobIdentity;
use crate::checkpoint::identity::{FunctionIdentity, NodeIdentity};
use crate::config::plan::{
    Input, KeyPointers, Node, Port, SourceConnector, SourcePlan, StepKind, TimeUnit, TimestampSpec,
};
use crate::config::{Plan, show_duration};
use crate::join::{Exclusive, JoinBounds, JoinKind};
use crate::plugin::TimeDomain;
use crate::record::NodeIndex;
use crate::runtime::assemble::function_of;
use crate::runtime::graph::is_stateful;
use crate::window::{Emit, Panes, WindowKind, WindowSpec};

/// Settings by name.
type Settings = BTreeMap<String, String>;

/// What a checkpoint of this plan belongs to. What functions migrate is not in it yet: see [`versions_before`].
pub fn identity<P>(plan: &Plan<P>) -> JobIdentity {
    let steps = (0..plan.steps.len()).filter(|&i| is_stateful(plan, i as NodeIndex));
    JobIdentity {
        job: plan.name.clone(),
        sources: plan.sources.iter().map(source).collect(),
        steps: steps.map(|i| step(plan, i as NodeIndex)).collect(),
        plugins: plan
            .plugins
            .iter()
            .map(|p| (p.name.clone(), p.sha256.clone()))
            .collect(),
        shape: Vec::new(),
    }
}

fn source(source: &SourcePlan) -> NodeIdentity {
    let mut settings = Settings::new();
    let kind = match &source.connector {
        SourceConnector::File { partitions, .. } => {
            set(&mut settings, "partitions", partitions);
            "file"
        }
        SourceConnector::Stdin => "stdin",
        SourceConnector::Generator(generator) => {
            set(&mut settings, "partitions", &Some(generator.partitions));
            set(&mut settings, "seed", &Some(generator.seed));
            "generator"
        }
        SourceConnector::Kafka(kafka) => {
            // Positions are offsets, which mean something else in another cluster's topic of that name; but brokers
            // come and go, and topics may be added. What is gone is the source's to notice.
            set(
                &mut settings,
                "isolation",
                &kafka.uncommitted.then_some("read-uncommitted"),
            );
            "kafka"
        }
    };
    set(
        &mut settings,
        "timestamp",
        &source.timestamp.as_ref().map(timestamp),
    );
    NodeIdentity {
        name: source.name.clone(),
        kind: kind.into(),
        settings,
        function: None,
    }
}

/// Older versions of state, among what was found, that a function would have to bring up to date.
pub fn versions_before<'a>(
    now: &NodeIdentity,
    found: impl Iterator<Item = &'a JobIdentity>,
) -> BTreeSet<u32> {
    let Some(ours) = &now.function else {
        return BTreeSet::new();
    };
    found
        .flat_map(|job| &job.steps)
        .filter(|before| before.name == now.name)
        .filter_map(|before| Some(before.function.as_ref()?.state_version))
        .filter(|&version| version < ours.state_version)
        .collect()
}

fn step<P>(plan: &Plan<P>, index: NodeIndex) -> NodeIdentity {
    let at = &plan.steps[usize::from(index)];
    let mut settings = Settings::new();
    let keys: BTreeSet<String> = at.inputs.iter().flat_map(|i| keys(plan, *i)).collect();
    set(&mut settings, "keys", &joined(keys));
    let kind = match &at.kind {
        StepKind::Window { function, window } => {
            let facts = (&plan.functions[*function].descriptor).into();
            window_settings(window, &mut settings);
            let kept_as = if window.is_sliced(facts) {
                "slices"
            } else {
                "windows"
            };
            set(&mut settings, "kept as", &Some(kept_as));
            "window"
        }
        StepKind::Join { join, .. } => {
            join_settings(join, &mut settings);
            for (side, input) in ["left", "right"].into_iter().zip(&at.inputs) {
                let origins = joined(origins(plan, *input));
                set(&mut settings, side, &origins);
            }
            "join"
        }
        StepKind::Dedup { within_ms } => {
            set(&mut settings, "within", &Some(show_duration(*within_ms)));
            "dedup"
        }
        StepKind::Lookup {
            on, left, as_of_ms, ..
        } => {
            set(&mut settings, "on", &on.as_ref().map(pointers));
            set(&mut settings, "join", &left.then_some("left"));
            set(&mut settings, "as-of", &as_of_ms.map(show_duration));
            "lookup"
        }
        StepKind::Process { time, .. } => {
            set(&mut settings, "time", &Some(domain(*time)));
            "process"
        }
        StepKind::Transform { .. } | StepKind::Key(_) => "stateless",
    };
    let function = function_of(&at.kind).map(|f| {
        let function = &plan.functions[f];
        let plugin = &plan.plugins[function.plugin];
        FunctionIdentity {
            plugin: plugin.name.clone(),
            name: function.function.clone(),
            config: function.config.clone(),
            state_version: function.descriptor.state_version,
            migrates_from: BTreeSet::new(),
        }
    });
    // The function of a join or lookup keeps nothing: rows do.
    let keeps = matches!(at.kind, StepKind::Window { .. } | StepKind::Process { .. });
    NodeIdentity {
        name: at.name.clone(),
        kind: kind.into(),
        settings,
        function: function.filter(|_| keeps),
    }
}

fn window_settings(window: &WindowSpec, settings: &mut Settings) {
    let shift = |offset: i64| match offset {
        0 => String::new(),
        offset => format!(", offset {}", show_duration(offset)),
    };
    let show = show_duration;
    let kind = match window.kind {
        WindowKind::Tumbling { size, offset } => {
            format!("tumbling {}{}", show(size), shift(offset))
        }
        WindowKind::Sliding {
            size,
            every,
            offset,
        } => {
            format!(
                "sliding {} every {}{}",
                show(size),
                show(every),
                shift(offset)
            )
        }
        WindowKind::Session { gap: Some(gap) } => format!("session {}", show(gap)),
        WindowKind::Session { gap: None } => "session from-plugin".into(),
        WindowKind::Count { size, every } => format!("count {size} every {every}"),
        WindowKind::Global => "global".into(),
    };
    set(settings, "window", &Some(kind));
    set(settings, "time", &Some(domain(window.time)));
    let lateness = window.allowed_lateness_ms;
    set(settings, "allowed-lateness", &some_duration(lateness));
    let emit = match window.emit {
        Emit::Append => "append",
        Emit::Update => "update",
        Emit::Complete => "complete",
    };
    set(settings, "emit", &Some(emit));
    let discarding = window.panes == Panes::Discarding;
    set(settings, "panes", &discarding.then_some("discarding"));
}

fn join_settings(join: &crate::join::JoinSpec, settings: &mut Settings) {
    let kind = match join.kind {
        JoinKind::Inner => "inner",
        JoinKind::Left => "left",
        JoinKind::Right => "right",
        JoinKind::Full => "full",
        JoinKind::Semi => "semi",
        JoinKind::Anti => "anti",
    };
    set(settings, "join", &Some(kind));
    match &join.bounds {
        JoinBounds::Interval {
            from,
            to,
            exclusive,
        } => {
            let exclusive = match exclusive {
                Exclusive::Neither => "",
                Exclusive::From => ", from excluded",
                Exclusive::To => ", to excluded",
                Exclusive::Both => ", both excluded",
            };
            let text = format!(
                "from {} to {}{exclusive}",
                show_duration(*from),
                show_duration(*to)
            );
            set(settings, "within", &Some(text));
        }
        JoinBounds::Window { size, offset } => {
            let text = format!(
                "tumbling {}, offset {}",
                show_duration(*size),
                show_duration(*offset)
            );
            set(settings, "window", &Some(text));
        }
    }
    let lateness = join.allowed_lateness_ms;
    set(settings, "allowed-lateness", &some_duration(lateness));
}

fn some_duration(ms: i64) -> Option<String> {
    (ms != 0).then(|| show_duration(ms))
}

fn set(settings: &mut Settings, name: &str, value: &Option<impl ToString>) {
    if let Some(value) = value {
        settings.insert(name.into(), value.to_string());
    }
}

fn joined(names: BTreeSet<String>) -> Option<String> {
    (!names.is_empty()).then(|| names.into_iter().collect::<Vec<_>>().join(", "))
}

fn domain(time: TimeDomain) -> &'static str {
    match time {
        TimeDomain::Event => "event",
        TimeDomain::Processing => "processing",
    }
}

fn pointers(key: &KeyPointers) -> String {
    match key {
        KeyPointers::One(pointer) => pointer.to_string(),
        KeyPointers::Many(all) => format!("[{}]", all.join(", ")),
    }
}

fn timestamp(timestamp: &TimestampSpec) -> String {
    let unit = match timestamp.unit {
        TimeUnit::Seconds => "s",
        TimeUnit::Millis => "ms",
        TimeUnit::Micros => "us",
    };
    let format = timestamp.format.as_ref();
    format.map_or_else(
        || format!("{} in {unit}", timestamp.pointer),
        |format| format!("{} as {format}", timestamp.pointer),
    )
}

/// What makes the keys of the records that come from an input.
fn keys<P>(plan: &Plan<P>, input: Input) -> BTreeSet<String> {
    let step = match input.node {
        Node::Source(source) => {
            let key = plan.sources[usize::from(source)].key.as_ref();
            return key.map(pointers).into_iter().collect();
        }
        Node::Step(step) => &plan.steps[usize::from(step)],
    };
    // Dead letters have the key that the step's input had.
    if input.port != Port::Errors {
        if let StepKind::Key(key) = &step.kind {
            return BTreeSet::from([pointers(key)]);
        }
        let function = function_of(&step.kind).map(|f| &plan.functions[f]);
        if let Some(function) = function.filter(|f| f.descriptor.sets_keys) {
            let plugin = &plan.plugins[function.plugin].name;
            let config = match function.config.as_str() {
                "" | "{}" => String::new(),
                config => format!(" {config}"),
            };
            return BTreeSet::from([format!("by {plugin}.{}{config}", function.function)]);
        }
    }
    step.inputs.iter().flat_map(|i| keys(plan, *i)).collect()
}

/// The sources and stateful steps whose records an input has.
fn origins<P>(plan: &Plan<P>, input: Input) -> BTreeSet<String> {
    match input.node {
        Node::Source(source) => BTreeSet::from([plan.sources[usize::from(source)].name.clone()]),
        Node::Step(step) if is_stateful(plan, step) => {
            BTreeSet::from([super::times::input_name(plan, input)])
        }
        Node::Step(step) => {
            let inputs = &plan.steps[usize::from(step)].inputs;
            inputs.iter().flat_map(|i| origins(plan, *i)).collect()
        }
    }
}

/// What checkpoints of format 1 said of a plan, a line for each source and stateful step. Must stay as it is.
pub fn shape_of_format_1<P>(plan: &Plan<P>) -> Vec<String> {
    let mut shape = Vec::new();
    for source in &plan.sources {
        shape.push(format!(
            "source {}: key {:?}, timestamp {:?}",
            source.name, source.key, source.timestamp
        ));
    }
    for (index, step) in plan.steps.iter().enumerate() {
        if !is_stateful(plan, index as NodeIndex) {
            continue;
        }
        let function = function_of(&step.kind).map(|f| &plan.functions[f]);
        let function = function.map(|f| {
            let plugin = &plan.plugins[f.plugin].name;
            format!(
                "{plugin}.{} {}, state version {}",
                f.function, f.config, f.descriptor.state_version
            )
        });
        let what = match &step.kind {
            StepKind::Window { window, .. } => format!("{window:?}"),
            StepKind::Join { join, .. } => format!("{join:?}"),
            StepKind::Dedup { within_ms } => format!("dedup within {within_ms} ms"),
            StepKind::Lookup {
                on, left, as_of_ms, ..
            } => format!("lookup on {on:?}, left {left}, as of {as_of_ms:?}"),
            StepKind::Process { ttl_ms, time, .. } => {
                format!("process, ttl {ttl_ms} ms, {time:?} time")
            }
            StepKind::Transform { .. } | StepKind::Key(_) => continue,
        };
        shape.push(format!(
            "step {}: {what}, {}",
            step.name,
            function.unwrap_or_else(|| "no function".into())
        ));
    }
    shape
}

#[cfg(test)]
#[path = "identity_tests.rs"]
mod tests;
