//! Stages of a plan, for people: which nodes run in one task, without a queue between them.
//!
//! A source starts a stage; a step that works by key starts one too, unless all that it reads is dealt
//! by the same key already. Other steps stand with what they read.

use super::plan::{Input, Node, Plan, Port, StepKind, TableInput};

/// Nodes of one stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// The source it reads, if it is a reading one.
    pub source: Option<usize>,
    /// Its steps, in the plan's order. A step that reads from several stages is shown in each.
    pub steps: Vec<usize>,
}

/// Whether a step keeps state by key.
pub fn is_keyed<P>(plan: &Plan<P>, step: usize) -> bool {
    match &plan.steps[step].kind {
        StepKind::Transform { .. } | StepKind::Key(_) => false,
        StepKind::Lookup { table, .. } => {
            matches!(plan.tables[*table].input, TableInput::Stream(_))
        }
        StepKind::Window { .. }
        | StepKind::Join { .. }
        | StepKind::Dedup { .. }
        | StepKind::Process { .. } => true,
    }
}

/// Cuts a plan.
pub fn stages<P>(plan: &Plan<P>) -> Vec<Stage> {
    let mut stages: Vec<Stage> = (0..plan.sources.len())
        .map(|s| Stage {
            source: Some(s),
            steps: Vec::new(),
        })
        .collect();
    // Stages that a step stands in, and the one whose dealing by key its output has.
    let mut standing: Vec<Vec<usize>> = Vec::new();
    let mut dealt: Vec<Option<usize>> = Vec::new();
    for (step, of) in plan.steps.iter().enumerate() {
        let dealt_by = |input: &Input| match (input.node, input.port) {
            (Node::Source(_), _) => None,
            (Node::Step(s), Port::Errors) => {
                common(&plan.steps[usize::from(s)].inputs, |i| origin(i, &dealt))
            }
            (Node::Step(s), _) => dealt[usize::from(s)],
        };
        let shared = common(&of.inputs, dealt_by);
        let (at, by) = if is_keyed(plan, step) {
            let lookup = matches!(of.kind, StepKind::Lookup { .. });
            let stage = shared.filter(|_| !lookup).unwrap_or(stages.len());
            if stage == stages.len() {
                stages.push(Stage {
                    source: None,
                    steps: Vec::new(),
                });
            }
            (vec![stage], Some(stage))
        } else {
            let mut all: Vec<usize> = of
                .inputs
                .iter()
                .flat_map(|i| match i.node {
                    Node::Source(s) => vec![usize::from(s)],
                    Node::Step(s) => standing[usize::from(s)].clone(),
                })
                .collect();
            all.sort_unstable();
            all.dedup();
            let rekeys = match &of.kind {
                StepKind::Key(_) => true,
                StepKind::Transform { function } => plan.functions[*function].descriptor.sets_keys,
                _ => false,
            };
            (all, shared.filter(|_| !rekeys))
        };
        for &stage in &at {
            stages[stage].steps.push(step);
        }
        standing.push(at);
        dealt.push(by);
    }
    stages
}

fn origin(input: &Input, dealt: &[Option<usize>]) -> Option<usize> {
    match input.node {
        Node::Source(_) => None,
        Node::Step(s) => dealt[usize::from(s)],
    }
}

/// The answer that all inputs agree on.
fn common(inputs: &[Input], of: impl Fn(&Input) -> Option<usize>) -> Option<usize> {
    inputs
        .iter()
        .map(of)
        .reduce(|a, b| if a == b { a } else { None })
        .flatten()
}
