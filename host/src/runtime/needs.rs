//! What is read of records behind a point: so that fields are extracted once, early and together, and what no
//! one reads does not travel. Pure code over the plan.

use crate::config::plan::{Input, Node, OnError, Plan, Port, StepKind};
use crate::plugin::{FunctionKind, Reads};
use crate::record::{FieldSpec, Needs, NodeIndex};
use crate::runtime::graph::{Slot, step_inputs};

/// What a stateful slot needs of the records of one of its inputs.
pub fn of_input(plan: &Plan, slot: &Slot, input: usize) -> Needs {
    let step = &plan.steps[usize::from(slot.step)];
    let mut needs = Needs {
        value: false,
        keys: true,
        timestamps: true,
        headers: true,
        fields: Vec::new(),
    };
    match &step.kind {
        StepKind::Window { function, .. } => {
            let reads = &plan.functions[*function].descriptor.reads;
            add_reads(&mut needs, reads);
            let shown = |port| !slot.routes.of(port).is_empty();
            // Late records and dead letters show the record as it came.
            needs.value = reads.columns.values
                || step.on_error == OnError::DeadLetter
                || shown(Port::Late)
                || shown(Port::Errors);
        }
        StepKind::Join {
            function: Some(function),
            ..
        } => {
            let descriptor = &plan.functions[*function].descriptor;
            add_reads(
                &mut needs,
                if input == 0 {
                    &descriptor.reads
                } else {
                    &descriptor.right
                },
            );
            needs.value = true;
        }
        StepKind::Lookup { function, .. } => {
            let descriptor = &plan.functions[*function].descriptor;
            add_reads(
                &mut needs,
                if input < step.inputs.len() {
                    &descriptor.reads
                } else {
                    &descriptor.right
                },
            );
            needs.value = true;
        }
        StepKind::Process { function, .. } => {
            add_reads(&mut needs, &plan.functions[*function].descriptor.reads);
            needs.value = true;
        }
        _ => needs.value = true,
    }
    needs
}

/// Fields that steps directly behind an output read of its values, filters and keys seen through.
pub fn fields_behind(plan: &Plan, output: Input) -> Vec<FieldSpec> {
    let mut fields = Vec::new();
    collect(plan, output, &mut fields);
    fields
}

fn collect(plan: &Plan, output: Input, fields: &mut Vec<FieldSpec>) {
    for step in 0..plan.steps.len() {
        let step = step as NodeIndex;
        for (at, input) in step_inputs(plan, step) {
            if input == output {
                collect_step(plan, step, at, fields);
            }
        }
    }
}

fn collect_step(plan: &Plan, step: NodeIndex, input: usize, fields: &mut Vec<FieldSpec>) {
    let this = &plan.steps[usize::from(step)];
    let mut add = |reads: &Reads| {
        for field in &reads.fields {
            if !fields.contains(&field.spec) {
                fields.push(field.spec.clone());
            }
        }
    };
    let passes_on = match &this.kind {
        StepKind::Transform { function } => {
            add(&plan.functions[*function].descriptor.reads);
            plan.functions[*function].kind == FunctionKind::Filter
        }
        StepKind::Window { function, .. } | StepKind::Process { function, .. } => {
            add(&plan.functions[*function].descriptor.reads);
            false
        }
        StepKind::Join {
            function: Some(function),
            ..
        }
        | StepKind::Lookup { function, .. } => {
            let descriptor = &plan.functions[*function].descriptor;
            add(if input == 0 {
                &descriptor.reads
            } else {
                &descriptor.right
            });
            false
        }
        StepKind::Key(_) => true,
        _ => false,
    };
    if passes_on {
        collect(
            plan,
            Input {
                node: Node::Step(step),
                port: Port::Main,
            },
            fields,
        );
    }
}

fn add_reads(needs: &mut Needs, reads: &Reads) {
    needs
        .fields
        .extend(reads.fields.iter().map(|f| f.spec.clone()));
}
