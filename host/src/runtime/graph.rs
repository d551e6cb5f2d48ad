//! Cuts a plan into stages: pure code over plain data, no threads, no channels.
//!
//! A stage is what one task runs without a queue: a source with all stateless steps behind it, or keyed steps
//! that share their partitioning, with the stateless steps behind them. Between stages, records are
//! dealt by key. A stateless step that reads from several stages (a union) simply stands in each of
//! them: it needs no exchange.
//!
//! Two things are worked out here once, so that tasks need not think: *routes* (which slot, stage or
//! sink an output goes to, and which place, or lane, it takes among the paths that lead there) and *roots*
//! (whose watermarks an input waits for).

use std::collections::BTreeSet;

use crate::config::plan::{Input, Node, OnError, Plan, Port, StepKind, TableInput};
use crate::record::NodeIndex;

/// A job as stages. Stage i only sends to stages behind it.
#[derive(Debug)]
pub struct Graph {
    /// In an order in which each comes after those that it reads.
    pub stages: Vec<Stage>,
    /// Sinks of the plan, then those that the runtime adds (dead letters, ports that nobody reads).
    pub sinks: Vec<GraphSink>,
}

/// Where records leave the job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GraphSink {
    /// A sink of the plan.
    Plan(usize),
    /// Dead letters of a node that no one reads.
    DeadLetters(Node),
    /// A `late` or `errors` port that no one reads, shown by `wasmill test`.
    Unread(Node, Port),
}

/// What one kind of task does.
#[derive(Debug, Default)]
pub struct Stage {
    /// The source it reads, if it is a reading stage.
    pub source: Option<NodeIndex>,
    /// Where the source's records go.
    pub source_routes: Routes,
    /// Steps, in an order in which each comes after those of this stage that it reads.
    pub slots: Vec<Slot>,
    /// Stages that send records or watermarks here, ascending.
    pub upstream: Vec<usize>,
    /// Stages that this one sends to, ascending.
    pub downstream: Vec<usize>,
}

impl Stage {
    /// All ways out of the stage's ports.
    pub fn routes(&self) -> impl Iterator<Item = &Route> {
        let all = std::iter::once(&self.source_routes).chain(self.slots.iter().map(|s| &s.routes));
        all.flat_map(|r| &r.0).flat_map(|(_, routes)| routes)
    }
}

/// A step in a stage.
#[derive(Debug)]
pub struct Slot {
    /// Index into `Plan::steps`.
    pub step: NodeIndex,
    /// Whether it keeps state, and so has boundaries and a watermark of its own.
    pub stateful: bool,
    /// Where its outputs go.
    pub routes: Routes,
    /// For each input of a stateful slot (a lookup's table last): whose watermarks it waits for.
    pub roots: Vec<BTreeSet<Root>>,
}

/// Routes of each port that leads somewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Routes(pub Vec<(Port, Vec<Route>)>);

impl Routes {
    /// Those of one port.
    pub fn of(&self, port: Port) -> &[Route] {
        self.0
            .iter()
            .find(|(p, _)| *p == port)
            .map_or(&[], |(_, routes)| routes)
    }

    fn add(&mut self, port: Port, route: Route) {
        match self.0.iter_mut().find(|(p, _)| *p == port) {
            Some((_, routes)) => routes.push(route),
            None => self.0.push((port, vec![route])),
        }
    }
}

/// One way out of a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// To a slot of the same task.
    Local {
        /// Which.
        slot: usize,
        /// Which of its inputs.
        input: usize,
        /// Added to the lane that records came on.
        lane: u32,
    },
    /// To the tasks of another stage, by key.
    Exchange {
        /// Which stage.
        stage: usize,
        /// Which slot there.
        slot: usize,
        /// Which of its inputs.
        input: usize,
        /// All records to all tasks (replicated tables).
        broadcast: bool,
    },
    /// To a sink: index into `Graph::sinks`.
    Sink(usize),
}

/// Whose watermark: a source's partitions, a transform that assigns timestamps (for each partition behind
/// it), or a stateful step's output.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub enum Root {
    /// The source's own.
    Source(NodeIndex),
    /// Made at this step.
    Assigned(NodeIndex),
    /// Of this step's output.
    Step(NodeIndex),
}

/// What the runtime adds to a plan.
#[derive(Clone, Copy, Debug, Default)]
pub struct GraphOptions {
    /// `late` and `errors` ports that no one reads become sinks (`wasmill test`).
    pub show_unread: bool,
}

impl Graph {
    /// Cuts a plan.
    pub fn new<P>(plan: &Plan<P>, options: GraphOptions) -> Graph {
        Builder {
            plan,
            stages: Vec::new(),
            instances: vec![Vec::new(); plan.steps.len()],
            sinks: Vec::new(),
        }
        .build(options)
    }
}

impl Graph {
    /// The stage of a stateful step (it has one only).
    pub fn home_of(&self, step: NodeIndex) -> usize {
        let has = |stage: &Stage| stage.slots.iter().any(|s| s.step == step);
        self.stages
            .iter()
            .position(has)
            .expect("every step stands in some stage")
    }
}

struct Builder<'a, P> {
    plan: &'a Plan<P>,
    stages: Vec<Stage>,
    /// (stage, slot) of each step, in order of stages.
    instances: Vec<Vec<(usize, usize)>>,
    sinks: Vec<GraphSink>,
}

impl<P> Builder<'_, P> {
    fn build(mut self, options: GraphOptions) -> Graph {
        for source in 0..self.plan.sources.len() {
            self.stages.push(Stage {
                source: Some(source as NodeIndex),
                ..Stage::default()
            });
        }
        for step in 0..self.plan.steps.len() {
            self.place(step as NodeIndex);
        }
        self.connect_sinks(options);
        for at in 0..self.stages.len() {
            let downstream: BTreeSet<usize> = self.stages[at]
                .routes()
                .filter_map(exchange_target)
                .collect();
            for &to in &downstream {
                self.stages[to].upstream.push(at);
            }
            self.stages[at].downstream = downstream.into_iter().collect();
        }
        Graph {
            stages: self.stages,
            sinks: self.sinks,
        }
    }

    /// All inputs of a step; those of a table that is kept current come last, as one more input.
    fn inputs(&self, step: NodeIndex) -> Vec<(usize, Input)> {
        step_inputs(self.plan, step)
    }

    fn place(&mut self, step: NodeIndex) {
        let stateful = is_stateful(self.plan, step);
        let inputs = self.inputs(step);
        let plan = &self.plan.steps[usize::from(step)];
        if !stateful {
            let mut stages: Vec<usize> = inputs
                .iter()
                .flat_map(|(_, i)| self.stages_of(i.node))
                .collect();
            stages.sort_unstable();
            stages.dedup();
            for stage in stages {
                let slot = self.push_slot(stage, step, false);
                for (at, input) in &inputs {
                    let lane = self.lane_base(step, *at);
                    for from in self
                        .places_of(input.node)
                        .filter(|p| p.0 == stage)
                        .collect::<Vec<_>>()
                    {
                        self.add_route(
                            from,
                            input.port,
                            Route::Local {
                                slot,
                                input: *at,
                                lane,
                            },
                        );
                    }
                }
            }
            return;
        }
        // Keyed already, all in one stage: the step joins that stage, without an exchange.
        let shared = inputs
            .iter()
            .map(|(_, i)| self.keyed_stage(*i))
            .reduce(|a, b| if a == b { a } else { None })
            .flatten();
        let lookup = matches!(plan.kind, StepKind::Lookup { .. });
        match shared {
            Some(stage) if !lookup => {
                let slot = self.push_slot(stage, step, true);
                for (at, input) in &inputs {
                    for from in self.places_of(input.node).collect::<Vec<_>>() {
                        self.add_route(
                            from,
                            input.port,
                            Route::Local {
                                slot,
                                input: *at,
                                lane: 0,
                            },
                        );
                    }
                }
            }
            _ => {
                let stage = self.stages.len();
                self.stages.push(Stage::default());
                let slot = self.push_slot(stage, step, true);
                let table = match &plan.kind {
                    StepKind::Lookup { on: Some(_), .. } => Some(plan.inputs.len()),
                    _ => None,
                };
                for (at, input) in &inputs {
                    let route = Route::Exchange {
                        stage,
                        slot,
                        input: *at,
                        broadcast: table == Some(*at),
                    };
                    for from in self.places_of(input.node).collect::<Vec<_>>() {
                        self.add_route(from, input.port, route.clone());
                    }
                }
            }
        }
    }

    fn push_slot(&mut self, stage: usize, step: NodeIndex, stateful: bool) -> usize {
        let slot = self.stages[stage].slots.len();
        let roots = if stateful {
            self.input_roots(step)
        } else {
            Vec::new()
        };
        self.stages[stage].slots.push(Slot {
            step,
            stateful,
            routes: Routes::default(),
            roots,
        });
        self.instances[usize::from(step)].push((stage, slot));
        slot
    }

    /// Where a node stands: (stage, slot), or (stage, none) for a source.
    fn places_of(&self, node: Node) -> impl Iterator<Item = (usize, Option<usize>)> + use<P> {
        let places: Vec<_> = match node {
            Node::Source(s) => vec![(usize::from(s), None)],
            Node::Step(s) => self.instances[usize::from(s)]
                .iter()
                .map(|&(stage, slot)| (stage, Some(slot)))
                .collect(),
        };
        places.into_iter()
    }

    fn stages_of(&self, node: Node) -> Vec<usize> {
        self.places_of(node).map(|p| p.0).collect()
    }

    fn add_route(&mut self, from: (usize, Option<usize>), port: Port, route: Route) {
        let stage = &mut self.stages[from.0];
        let routes = match from.1 {
            None => &mut stage.source_routes,
            Some(slot) => &mut stage.slots[slot].routes,
        };
        routes.add(port, route);
    }

    /// The stage whose partitioning by key an output has, if it has one.
    fn keyed_stage(&self, input: Input) -> Option<usize> {
        let Node::Step(step) = input.node else {
            return None;
        };
        let plan = &self.plan.steps[usize::from(step)];
        if is_stateful(self.plan, step) {
            // A lookup with `on` deals by the record's key too, but table rows are everywhere: still keyed.
            return Some(self.instances[usize::from(step)][0].0);
        }
        let rekeys = match &plan.kind {
            StepKind::Key(_) => input.port != Port::Errors,
            StepKind::Transform { function } => {
                input.port != Port::Errors && self.plan.functions[*function].descriptor.sets_keys
            }
            _ => false,
        };
        if rekeys {
            return None;
        }
        plan.inputs
            .iter()
            .map(|i| self.keyed_stage(*i))
            .reduce(|a, b| if a == b { a } else { None })
            .flatten()
    }

    fn input_roots(&self, step: NodeIndex) -> Vec<BTreeSet<Root>> {
        let plan = &self.plan.steps[usize::from(step)];
        let inputs = self.inputs(step);
        let width = inputs
            .iter()
            .map(|(at, _)| at + 1)
            .max()
            .unwrap_or(0)
            .max(plan.inputs.len());
        let mut roots = vec![BTreeSet::new(); width];
        for (at, input) in inputs {
            collect_roots(self.plan, input.node, &mut roots[at]);
        }
        roots
    }

    /// How many lanes lead to a step's inputs before this one.
    fn lane_base(&self, step: NodeIndex, input: usize) -> u32 {
        let inputs = &self.plan.steps[usize::from(step)].inputs;
        inputs[..input]
            .iter()
            .map(|i| lanes(self.plan, i.node))
            .sum()
    }

    fn connect_sinks(&mut self, options: GraphOptions) {
        for (index, sink) in self.plan.sinks.iter().enumerate() {
            let at = self.sinks.len();
            self.sinks.push(GraphSink::Plan(index));
            for input in &sink.inputs {
                self.route_to_sink(*input, at);
            }
        }
        let sources = self
            .plan
            .sources
            .iter()
            .enumerate()
            .map(|(i, s)| (Node::Source(i as NodeIndex), s.on_error));
        let steps = self
            .plan
            .steps
            .iter()
            .enumerate()
            .map(|(i, s)| (Node::Step(i as NodeIndex), s.on_error));
        for (node, on_error) in sources.chain(steps).collect::<Vec<_>>() {
            if on_error == OnError::DeadLetter && !self.is_read(node, Port::Errors) {
                let sink = if options.show_unread {
                    GraphSink::Unread(node, Port::Errors)
                } else {
                    GraphSink::DeadLetters(node)
                };
                self.add_sink(sink, node, Port::Errors);
            }
            let has_late =
                matches!(node, Node::Step(s) if makes_late(&self.plan.steps[usize::from(s)].kind));
            if has_late && options.show_unread && !self.is_read(node, Port::Late) {
                self.add_sink(GraphSink::Unread(node, Port::Late), node, Port::Late);
            }
        }
    }

    fn add_sink(&mut self, sink: GraphSink, node: Node, port: Port) {
        let at = self.sinks.len();
        self.sinks.push(sink);
        self.route_to_sink(Input { node, port }, at);
    }

    fn route_to_sink(&mut self, input: Input, sink: usize) {
        for from in self.places_of(input.node).collect::<Vec<_>>() {
            self.add_route(from, input.port, Route::Sink(sink));
        }
    }

    fn is_read(&self, node: Node, port: Port) -> bool {
        let wanted = Input { node, port };
        let steps = (0..self.plan.steps.len())
            .flat_map(|s| self.inputs(s as NodeIndex))
            .any(|(_, i)| i == wanted);
        steps || self.plan.sinks.iter().any(|s| s.inputs.contains(&wanted))
    }
}

/// All inputs of a step with their place; those of a table that is kept current share the last one.
pub fn step_inputs<P>(plan: &Plan<P>, step: NodeIndex) -> Vec<(usize, Input)> {
    let step = &plan.steps[usize::from(step)];
    let mut inputs: Vec<(usize, Input)> = step.inputs.iter().copied().enumerate().collect();
    if let StepKind::Lookup { table, .. } = &step.kind
        && let TableInput::Stream(from) = &plan.tables[*table].input
    {
        inputs.extend(from.iter().map(|i| (step.inputs.len(), *i)));
    }
    inputs
}

/// Whether a step keeps state by key. A lookup in a table that was read from a file keeps none.
pub fn is_stateful<P>(plan: &Plan<P>, step: NodeIndex) -> bool {
    match &plan.steps[usize::from(step)].kind {
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

/// Whether a step has late records.
fn makes_late(kind: &StepKind) -> bool {
    matches!(
        kind,
        StepKind::Window { .. } | StepKind::Join { .. } | StepKind::Dedup { .. }
    )
}

/// Paths that lead out of a node: a union adds up those of its inputs, a stateful step makes one of all.
fn lanes<P>(plan: &Plan<P>, node: Node) -> u32 {
    match node {
        Node::Step(s) if !is_stateful(plan, s) => plan.steps[usize::from(s)]
            .inputs
            .iter()
            .map(|i| lanes(plan, i.node))
            .sum(),
        _ => 1,
    }
}

fn collect_roots<P>(plan: &Plan<P>, node: Node, into: &mut BTreeSet<Root>) {
    match node {
        Node::Source(s) => {
            into.insert(Root::Source(s));
        }
        Node::Step(s) if is_stateful(plan, s) => {
            into.insert(Root::Step(s));
        }
        Node::Step(s) => {
            let step = &plan.steps[usize::from(s)];
            if step.event_time.is_some() {
                into.insert(Root::Assigned(s));
                return;
            }
            for input in &step.inputs {
                collect_roots(plan, input.node, into);
            }
        }
    }
}

fn exchange_target(route: &Route) -> Option<usize> {
    match route {
        Route::Exchange { stage, .. } => Some(*stage),
        _ => None,
    }
}

#[cfg(test)]
#[path = "graph_tests.rs"]
mod tests;
