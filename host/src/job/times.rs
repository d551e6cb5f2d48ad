//! Time between a running plan, which counts its nodes, and a manifest, which names them.

use crate::checkpoint::manifest::Manifest;
use crate::checkpoint::times::{HeardTime, InputTime, PartitionTime, StepTime, TimeOwner};
use crate::config::Plan;
use crate::config::plan::{Input, Node, Port, StepKind};
use crate::record::NodeIndex;
use crate::runtime::graph::{Root, step_inputs};
use crate::runtime::task::OwnedPartition;
use crate::time::Watermark;
use crate::window::watermark::{
    Heard, PartitionWatermark, TrackerRecord, WatermarkId, WatermarkTracker,
};

/// A stateful step's time, for a manifest.
pub fn of_step<P>(plan: &Plan<P>, step: NodeIndex, tracker: &WatermarkTracker) -> StepTime {
    let record = tracker.record();
    let names = input_names(plan, step);
    let input = |(number, watermark): (usize, &i64)| InputTime {
        from: names.get(number).cloned().unwrap_or_default(),
        watermark: *watermark,
        heard: record
            .heard
            .iter()
            .filter(|h| h.input == number)
            .map(|h| HeardTime {
                of: owner(plan, h.of),
                watermark: h.watermark,
                activity: h.activity,
                in_input: (h.in_input != h.activity).then_some(h.in_input),
            })
            .collect(),
    };
    StepTime {
        watermark: record.current,
        inputs: record.inputs.iter().enumerate().map(input).collect(),
    }
}

/// A stateful step's time, from a manifest. What the plan has no more is left out; what it has anew stands at the
/// beginning of time, and holds the step where it is.
pub fn to_step<P>(plan: &Plan<P>, step: NodeIndex, time: &StepTime) -> WatermarkTracker {
    let names = input_names(plan, step);
    let mut record = TrackerRecord {
        current: time.watermark,
        inputs: vec![Watermark::NONE.0; names.len()],
        heard: Vec::new(),
    };
    let mut taken = vec![false; time.inputs.len()];
    for (number, name) in names.iter().enumerate() {
        // An input that is read twice has two places, in order.
        let before = (0..taken.len()).find(|&at| !taken[at] && time.inputs[at].from == *name);
        let Some(at) = before else { continue };
        taken[at] = true;
        let before = &time.inputs[at];
        record.inputs[number] = before.watermark;
        for heard in &before.heard {
            if let Some(of) = id(plan, &heard.of) {
                record.heard.push(Heard {
                    input: number,
                    of,
                    watermark: heard.watermark,
                    activity: heard.activity,
                    in_input: heard.in_input.unwrap_or(heard.activity),
                });
            }
        }
    }
    WatermarkTracker::of_record(record)
}

/// A partition's time, for a manifest.
pub fn of_partition<P>(plan: &Plan<P>, owned: &OwnedPartition) -> Vec<PartitionTime> {
    let time = |(root, watermark): (Root, PartitionWatermark)| PartitionTime {
        step: match root {
            Root::Source(_) => None,
            Root::Assigned(step) | Root::Step(step) => Some(step_name(plan, step)),
        },
        watermark,
    };
    owned.watermarks().into_iter().map(time).collect()
}

/// A partition's time, from a manifest.
pub fn to_partition<P>(
    plan: &Plan<P>,
    source: NodeIndex,
    times: Vec<PartitionTime>,
) -> OwnedPartition {
    let time = |time: PartitionTime| {
        let root = match &time.step {
            None => Root::Source(source),
            Some(name) => Root::Assigned(step_index(plan, name)?),
        };
        Some((root, time.watermark))
    };
    OwnedPartition::of_watermarks(times.into_iter().filter_map(time).collect())
}

/// Reads a step's time, of any format.
pub fn read_step<P>(
    plan: &Plan<P>,
    manifest: &Manifest,
    step: NodeIndex,
    time: &serde_json::Value,
) -> Result<WatermarkTracker, serde_json::Error> {
    if manifest.format == 1 {
        return serde_json::from_value(time.clone());
    }
    Ok(to_step(plan, step, &serde_json::from_value(time.clone())?))
}

/// Reads a partition's time, of any format. Null: it said nothing yet.
pub fn read_partition<P>(
    plan: &Plan<P>,
    manifest: &Manifest,
    source: NodeIndex,
    times: &serde_json::Value,
) -> Result<OwnedPartition, serde_json::Error> {
    if manifest.format == 1 {
        let times: Option<Vec<(Root, PartitionWatermark)>> = serde_json::from_value(times.clone())?;
        return Ok(OwnedPartition::of_watermarks(times.unwrap_or_default()));
    }
    let times: Option<Vec<PartitionTime>> = serde_json::from_value(times.clone())?;
    Ok(to_partition(plan, source, times.unwrap_or_default()))
}

/// The names of a step's inputs as the job file has them, in the order of the tracker's.
pub fn input_names<P>(plan: &Plan<P>, step: NodeIndex) -> Vec<String> {
    let at = &plan.steps[usize::from(step)];
    let mut names: Vec<String> = at.inputs.iter().map(|i| input_name(plan, *i)).collect();
    // All that a table is kept current from is one input.
    if let StepKind::Lookup { table, .. } = &at.kind
        && step_inputs(plan, step).len() > names.len()
    {
        names.push(plan.tables[*table].name.clone());
    }
    names
}

/// `source`, `step`, `step.port`.
pub fn input_name<P>(plan: &Plan<P>, input: Input) -> String {
    let (name, ports) = match input.node {
        Node::Source(source) => (source_name(plan, source), None),
        Node::Step(step) => {
            let function = match &plan.steps[usize::from(step)].kind {
                StepKind::Transform { function } => Some(&plan.functions[*function]),
                _ => None,
            };
            (step_name(plan, step), function)
        }
    };
    match input.port {
        Port::Main => name,
        Port::Late => format!("{name}.late"),
        Port::Errors => format!("{name}.errors"),
        Port::Named(port) => {
            let port = ports.and_then(|f| f.descriptor.ports.get(usize::from(port)));
            format!("{name}.{}", port.map_or("?", String::as_str))
        }
    }
}

fn owner<P>(plan: &Plan<P>, id: WatermarkId) -> TimeOwner {
    match id {
        WatermarkId::Partition { source, partition } => TimeOwner {
            step: None,
            source: Some(source_name(plan, source)),
            partition: Some(partition),
        },
        WatermarkId::Assigned {
            step,
            source,
            partition,
        } => TimeOwner {
            step: Some(step_name(plan, step)),
            source: Some(source_name(plan, source)),
            partition: Some(partition),
        },
        WatermarkId::Task { step, .. } => TimeOwner {
            step: Some(step_name(plan, step)),
            source: None,
            partition: None,
        },
    }
}

fn id<P>(plan: &Plan<P>, owner: &TimeOwner) -> Option<WatermarkId> {
    let step = owner.step.as_ref().map(|name| step_index(plan, name));
    let source = owner.source.as_ref().map(|name| source_index(plan, name));
    Some(match (step, source) {
        (None, Some(source)) => WatermarkId::Partition {
            source: source?,
            partition: owner.partition?,
        },
        (Some(step), Some(source)) => WatermarkId::Assigned {
            step: step?,
            source: source?,
            partition: owner.partition?,
        },
        (Some(step), None) => WatermarkId::Task {
            step: step?,
            task: 0,
        },
        (None, None) => return None,
    })
}

fn step_name<P>(plan: &Plan<P>, step: NodeIndex) -> String {
    plan.steps[usize::from(step)].name.clone()
}

fn source_name<P>(plan: &Plan<P>, source: NodeIndex) -> String {
    plan.sources[usize::from(source)].name.clone()
}

/// Place of a step in the plan.
pub fn step_index<P>(plan: &Plan<P>, name: &str) -> Option<NodeIndex> {
    let at = plan.steps.iter().position(|s| s.name == name)?;
    Some(at as NodeIndex)
}

/// Place of a source in the plan.
pub fn source_index<P>(plan: &Plan<P>, name: &str) -> Option<NodeIndex> {
    let at = plan.sources.iter().position(|s| s.name == name)?;
    Some(at as NodeIndex)
}

#[cfg(test)]
#[path = "times_tests.rs"]
mod tests;
