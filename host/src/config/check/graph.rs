//! The order of steps, and the ring where there is none.

use std::collections::BTreeSet;

use super::super::host::PluginHost;
use super::super::spec::Doing;
use super::{Checker, SpecNode};

impl<H: PluginHost> Checker<'_, H> {
    /// Steps that a step reads, through a table that is kept current too.
    fn steps_read(&self, step: usize) -> Vec<usize> {
        let table = match &self.spec.steps[step].doing {
            Some(Doing::Lookup { table, .. }) => self.names.get(&table.value),
            _ => None,
        };
        let table_inputs = match table {
            Some(SpecNode::Table(t)) => self.table_inputs[*t].as_slice(),
            _ => &[],
        };
        let inputs = self.step_inputs[step].iter().chain(table_inputs);
        inputs
            .filter_map(|i| {
                if let SpecNode::Step(s) = i.node {
                    Some(s)
                } else {
                    None
                }
            })
            .collect()
    }

    /// Each step after what it reads, otherwise as in the file. Rings are noted as errors.
    pub(super) fn sorted(&mut self) -> Option<Vec<usize>> {
        let count = self.spec.steps.len();
        let reads: Vec<Vec<usize>> = (0..count).map(|s| self.steps_read(s)).collect();
        let mut readers = vec![Vec::new(); count];
        let mut waiting: Vec<usize> = vec![0; count];
        for (step, from) in reads.iter().enumerate() {
            waiting[step] = from.len();
            for &other in from {
                readers[other].push(step);
            }
        }
        let mut ready: BTreeSet<usize> = (0..count).filter(|s| waiting[*s] == 0).collect();
        let mut order = Vec::with_capacity(count);
        while let Some(step) = ready.pop_first() {
            order.push(step);
            for &reader in &readers[step] {
                waiting[reader] -= 1;
                if waiting[reader] == 0 {
                    ready.insert(reader);
                }
            }
        }
        if order.len() == count {
            return Some(order);
        }
        self.report_rings(&reads, &waiting);
        None
    }

    /// Walks from each step that never got ready along what it reads, until a step comes twice.
    fn report_rings(&mut self, reads: &[Vec<usize>], waiting: &[usize]) {
        let mut done = vec![false; waiting.len()];
        for start in (0..waiting.len()).filter(|s| waiting[*s] > 0) {
            let mut path: Vec<usize> = Vec::new();
            let mut at = start;
            let ring = loop {
                if done[at] {
                    break None;
                }
                if let Some(first) = path.iter().position(|s| *s == at) {
                    break Some(path[first..].to_vec());
                }
                path.push(at);
                // A step that never got ready reads one that never did.
                match reads[at].iter().find(|s| waiting[**s] > 0) {
                    Some(next) => at = *next,
                    None => break None,
                }
            };
            for step in &path {
                done[*step] = true;
            }
            let Some(mut ring) = ring else { continue };
            // Shown in the direction of the records, from the step that comes first in the file.
            ring.reverse();
            let first = (0..ring.len()).min_by_key(|i| ring[*i]).unwrap_or(0);
            ring.rotate_left(first);
            let names: Vec<&str> = ring
                .iter()
                .chain(&ring[..1])
                .map(|s| self.spec.steps[*s].name.value.as_str())
                .collect();
            let step = &self.spec.steps[ring[0]];
            let span = step.from_span.unwrap_or(step.name.span);
            let shown = if names.len() > 12 {
                format!("{} -> … ({} steps)", names[..10].join(" -> "), ring.len())
            } else {
                names.join(" -> ")
            };
            self.problems
                .error(span, format!("steps feed each other in a ring: {shown}"));
        }
    }
}
