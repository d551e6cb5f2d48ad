//! A plan as JSON: `wasmill check --json`. Names are those of the job file where it has one.

use serde_json::{Value, json};

use super::plan_text::{describe_join, describe_reads, describe_window, input_name, pointers};
use crate::config::KafkaTopics;
use crate::config::plan::{
    Input, OnError, Plan, SinkConnector, SourceConnector, SourcePlan, StepKind, TableInput,
};
use crate::config::{delivery, stages};

/// The plan.
pub fn plan_json<P>(plan: &Plan<P>) -> Value {
    let stages: Vec<Value> = stages(plan)
        .iter()
        .map(|s| {
            json!({
                "source": s.source.map(|i| &plan.sources[i].name),
                "steps": s.steps.iter().map(|i| &plan.steps[*i].name).collect::<Vec<_>>(),
            })
        })
        .collect();
    json!({
        "name": plan.name,
        "parallelism": plan.parallelism,
        "batch": { "records": plan.batch.records, "bytes": plan.batch.bytes, "latency_ms": plan.batch.latency_ms },
        "checkpoint": plan.checkpoint.as_ref().map(|c| json!({
            "path": c.path, "every_ms": c.every_ms, "keep": c.keep, "max_age_ms": c.max_age_ms,
        })),
        "stages": stages,
        "sources": plan.sources.iter().map(source).collect::<Vec<_>>(),
        "tables": plan.tables.iter().map(|t| match &t.input {
            TableInput::File(file) => json!({ "name": t.name, "file": source(file) }),
            TableInput::Stream(from) => json!({ "name": t.name, "from": names(plan, from) }),
        }).collect::<Vec<_>>(),
        "steps": (0..plan.steps.len()).map(|i| step(plan, i)).collect::<Vec<_>>(),
        "sinks": plan.sinks.iter().map(|s| json!({
            "name": s.name,
            "from": names(plan, &s.inputs),
            "type": match s.connector {
                SinkConnector::Console(_) => "console",
                SinkConnector::File { .. } => "file",
                SinkConnector::Blackhole => "blackhole",
                SinkConnector::Kafka(_) => "kafka",
            },
            "delivery": delivery(plan, s).words(),
        })).collect::<Vec<_>>(),
        "plugins": plan.plugins.iter().map(|p| json!({ "name": p.name, "path": p.path, "sha256": p.sha256 })).collect::<Vec<_>>(),
    })
}

fn names<P>(plan: &Plan<P>, inputs: &[Input]) -> Vec<String> {
    inputs.iter().map(|i| input_name(plan, *i)).collect()
}

fn topics(topics: &KafkaTopics) -> Value {
    match topics {
        KafkaTopics::List(names) => json!(names),
        KafkaTopics::Pattern(pattern) => json!(pattern),
    }
}

fn policy(on_error: OnError) -> &'static str {
    match on_error {
        OnError::Fail => "fail",
        OnError::Skip => "skip",
        OnError::DeadLetter => "dead-letter",
    }
}

fn source(source: &SourcePlan) -> Value {
    let connector = match &source.connector {
        SourceConnector::File {
            pattern,
            partitions,
            watch_ms,
            ..
        } => {
            json!({ "type": "file", "path": pattern, "partitions": partitions, "watch_ms": watch_ms })
        }
        SourceConnector::Kafka(k) => json!({
            "type": "kafka", "brokers": k.brokers, "topics": topics(&k.topics), "group": k.group,
        }),
        SourceConnector::Stdin => json!({ "type": "stdin" }),
        SourceConnector::Generator(g) => json!({
            "type": "generator", "records": g.records, "rate": g.rate, "seed": g.seed, "partitions": g.partitions,
        }),
    };
    json!({
        "name": source.name,
        "connector": connector,
        "key": source.key.as_ref().map(pointers),
        "timestamp": source.timestamp.as_ref().map(|t| &*t.pointer),
        "event_time": source.event_time.map(|e| json!({
            "max_disorder_ms": e.max_disorder_ms, "idle_after_ms": e.idle_after_ms, "max_ahead_ms": e.max_ahead_ms,
        })),
        "on_error": policy(source.on_error),
    })
}

fn step<P>(plan: &Plan<P>, index: usize) -> Value {
    let step = &plan.steps[index];
    let (does, function, detail) = match &step.kind {
        StepKind::Transform { function } => ("transform", Some(*function), None),
        StepKind::Key(key) => ("key", None, Some(pointers(key))),
        StepKind::Window { function, window } => {
            ("aggregate", Some(*function), Some(describe_window(window)))
        }
        StepKind::Join { function, join } => ("join", *function, Some(describe_join(join))),
        StepKind::Lookup {
            function, table, ..
        } => (
            "lookup",
            Some(*function),
            Some(plan.tables[*table].name.clone()),
        ),
        StepKind::Dedup { within_ms } => (
            "dedup",
            None,
            Some(crate::config::show_duration(*within_ms)),
        ),
        StepKind::Process { function, .. } => ("process", Some(*function), None),
    };
    let function = function.map(|f| {
        let f = &plan.functions[f];
        json!({
            "name": format!("{}.{}", plan.plugins[f.plugin].name, f.function),
            "kind": f.kind.name(),
            "config": serde_json::from_str::<Value>(&f.config).unwrap_or_default(),
            "reads": describe_reads(&f.descriptor.reads),
            "writes": f.descriptor.emits.iter().map(|e| json!({ "name": &*e.name, "kind": e.kind.name() })).collect::<Vec<_>>(),
            "ports": f.descriptor.ports,
        })
    });
    json!({
        "name": step.name,
        "from": names(plan, &step.inputs),
        "does": does,
        "detail": detail,
        "function": function,
        "on_error": policy(step.on_error),
    })
}
