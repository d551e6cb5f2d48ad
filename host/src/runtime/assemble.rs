//! Makes the tasks of a plan: opens functions, makes steps, connects routes. No threads yet.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::plan::{
    FunctionPlan, Node, OnError, Plan, Port, StepKind, StepPlan, TableInput,
};
use crate::dedup::DedupStep;
use crate::join::JoinStep;
use crate::plugin::{
    Aggregate, InstanceOptions, InstanceTag, Join, OpenError, PauseHook, Plugin, Process,
    Transform, YieldHook,
};
use crate::process::{ProcessSpec, ProcessStep};
use crate::record::NodeIndex;
use crate::runtime::counters::JobCounters;
use crate::runtime::graph::{Graph, GraphOptions, GraphSink, Root, Route, Slot};
use crate::runtime::message::TimeId;
use crate::runtime::needs;
use crate::runtime::operators::{KeyStep, TransformStep};
use crate::runtime::permits::Pace;
use crate::runtime::policy::{ErrorPolicy, OriginNames};
use crate::runtime::task::{KeyedSlot, LOCAL, Task, TaskError, TaskSettings, TaskSlot, TaskSource};
use crate::sink::{SinkError, SinkWriter};
use crate::spill::{Ledger, Scratch, StateBudget, Vault};
use crate::step::Step;
use crate::table::{LookupSpec, LookupStep, Table};
use crate::time::Watermark;
use crate::window::watermark::{Combine, WatermarkTracker};
use crate::window::{FunctionFacts, WindowLimits, WindowStep};

/// Everything that the tasks of a job share.
pub struct Assembly {
    plan: Arc<Plan>,
    graph: Graph,
    counters: Arc<JobCounters>,
    names: OriginNames,
    settings: AssemblySettings,
    /// Tables from files: (table, with versions).
    tables: BTreeMap<(usize, bool), Arc<Table>>,
    /// What the job's state may take, and where it goes beyond that.
    budget: Arc<StateBudget>,
    scratch: Arc<Scratch>,
    /// How its tasks leave room for others; none: there are none (`wasmill test`).
    pace: Option<Pace>,
}

/// How tasks are made.
#[derive(Clone, Copy, Debug)]
pub struct AssemblySettings {
    /// Tasks per stage.
    pub parallelism: usize,
    /// See `TaskSettings::ordered`.
    pub ordered: bool,
    /// Ports that no one reads become sinks.
    pub show_unread: bool,
    /// A new instance for every call.
    pub paranoid: bool,
}

/// Makes the writer of a sink for a task: (number of the sink in the graph, task).
pub type SinkFactory<'a> = &'a dyn Fn(usize, usize) -> Result<Box<dyn SinkWriter>, SinkError>;

impl Assembly {
    /// Cuts the plan into stages. Tables from files are read here.
    pub fn new(plan: Arc<Plan>, settings: AssemblySettings) -> Result<Assembly, TaskError> {
        let graph = Graph::new(
            &plan,
            GraphOptions {
                show_unread: settings.show_unread,
            },
        );
        let counters = Arc::new(JobCounters::new(
            plan.sources.len(),
            plan.steps.len(),
            graph.sinks.len(),
        ));
        let names = OriginNames::new(plan.sources.iter().map(|s| s.name.as_str()));
        let tables = load_tables(&plan)?;
        let budget = StateBudget::new(plan.state.memory, plan.state.max);
        let scratch = Scratch::new(&plan.state.path, &plan.name);
        let scratch = Arc::new(scratch.with_value_max(plan.state.value_max));
        Ok(Assembly {
            plan,
            graph,
            counters,
            names,
            settings,
            tables,
            budget,
            scratch,
            pace: None,
        })
    }

    /// The same, whose tasks leave room for others within a plugin's call.
    pub fn paced(self, pace: Pace) -> Assembly {
        Assembly {
            pace: Some(pace),
            ..self
        }
    }

    /// Where the job's state goes that finds no room in memory.
    pub fn scratch(&self) -> &Arc<Scratch> {
        &self.scratch
    }

    /// The stages.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The plan.
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// The counters of all tasks.
    pub fn counters(&self) -> &Arc<JobCounters> {
        &self.counters
    }

    /// Names for messages.
    pub fn names(&self) -> &OriginNames {
        &self.names
    }

    /// Tasks per stage.
    pub fn parallelism(&self) -> usize {
        self.settings.parallelism
    }

    /// Makes everything anew at another parallelism.
    pub fn set_parallelism(&mut self, parallelism: usize) {
        self.settings.parallelism = parallelism;
    }

    /// The number under which a task of one stage is known to the tasks of another.
    pub fn channel(&self, from_stage: usize, from_task: usize, to_stage: usize) -> u32 {
        let upstream = &self.graph.stages[to_stage].upstream;
        let place = upstream
            .iter()
            .position(|&s| s == from_stage)
            .expect("stages send only to those behind them");
        (place * self.settings.parallelism + from_task) as u32
    }

    /// Name of a sink of the graph.
    pub fn sink_name(&self, sink: &GraphSink) -> String {
        let node = |node: &Node| match node {
            Node::Source(s) => self.plan.sources[usize::from(*s)].name.clone(),
            Node::Step(s) => self.plan.steps[usize::from(*s)].name.clone(),
        };
        match sink {
            GraphSink::Plan(index) => self.plan.sinks[*index].name.clone(),
            GraphSink::DeadLetters(of) | GraphSink::Unread(of, Port::Errors) => {
                format!("{}.errors", node(of))
            }
            GraphSink::Unread(of, _) => format!("{}.late", node(of)),
        }
    }

    /// Makes task `index` of a stage.
    pub fn task(
        &self,
        stage: usize,
        index: usize,
        sinks: SinkFactory<'_>,
    ) -> Result<Task, TaskError> {
        let at = &self.graph.stages[stage];
        let settings = TaskSettings {
            index,
            batch_records: self.plan.batch.records,
            key_bytes_max: usize::try_from(self.plan.state.key_max).unwrap_or(usize::MAX),
            ordered: self.settings.ordered,
            lockstep: self.settings.ordered && self.settings.parallelism > 1,
        };
        let source = at.source.map(|s| {
            let plan = &self.plan.sources[usize::from(s)];
            let policy = self.policy("source", &plan.name, plan.on_error, None);
            TaskSource::new(s, at.source_routes.clone(), policy, plan.event_time)
        });
        let slots = at
            .slots
            .iter()
            .map(|slot| self.slot(stage, slot, index))
            .collect::<Result<Vec<_>, _>>()?;
        let writers = (0..self.graph.sinks.len()).map(|number| {
            let leads_there = at.routes().any(|r| *r == Route::Sink(number));
            leads_there.then(|| sinks(number, index)).transpose()
        });
        let writers = writers.collect::<Result<Vec<_>, _>>()?;
        let downstream: Vec<(usize, usize)> = at
            .downstream
            .iter()
            .map(|&s| (s, self.settings.parallelism))
            .collect();
        let exchanges: Vec<(usize, usize, usize)> = at
            .routes()
            .filter_map(|r| match r {
                Route::Exchange {
                    stage, slot, input, ..
                } => Some((*stage, *slot, *input)),
                _ => None,
            })
            .collect();
        let by_row = exchanges
            .iter()
            .map(|&(stage, slot, _)| (stage, slot))
            .filter(|&(stage, slot)| {
                let step = self.graph.stages[stage].slots[slot].step;
                settings.lockstep && self.fires_all_inside(step)
            });
        let by_row = by_row.collect();
        let needs = exchanges.into_iter().map(|(stage, slot, input)| {
            let target = &self.graph.stages[stage].slots[slot];
            (
                (stage, slot, input),
                needs::of_input(&self.plan, target, input),
            )
        });
        let reading = at
            .upstream
            .iter()
            .filter(|&&s| self.graph.stages[s].source.is_some());
        let silent = reading.flat_map(|&s| (0..self.settings.parallelism).map(move |t| (s, t)));
        let silent: Vec<u32> = silent.map(|(s, t)| self.channel(s, t, stage)).collect();
        Ok(Task::new(
            settings,
            source,
            slots,
            writers,
            &downstream,
            by_row,
            needs.collect(),
            silent,
            Arc::clone(&self.counters),
        ))
    }

    fn slot(&self, stage: usize, slot: &Slot, task: usize) -> Result<TaskSlot, TaskError> {
        let step = &self.plan.steps[usize::from(slot.step)];
        let policy = self.policy("step", &step.name, step.on_error, function_of(&step.kind));
        let mut made = self.step(step, task)?;
        let keyed = slot.stateful.then(|| {
            let vault = Vault::new(Arc::clone(&self.scratch), &step.name, task);
            made.take_vault(vault);
            self.keyed(stage, slot, step, self.budget.ledger())
        });
        Ok(TaskSlot {
            step: made,
            index: slot.step,
            routes: slot.routes.clone(),
            policy,
            event_time: step.event_time,
            keyed,
            fires_all_inside: self.fires_all_inside(slot.step),
        })
    }

    fn fires_all_inside(&self, step: NodeIndex) -> bool {
        match &self.plan.steps[usize::from(step)].kind {
            StepKind::Window { window, .. } => window.fires_all_inside(),
            _ => false,
        }
    }

    /// A stateful step's view of time: it waits from the start for the steps before it; source partitions
    /// make themselves known.
    fn keyed(&self, stage: usize, slot: &Slot, step: &StepPlan, ledger: Ledger) -> KeyedSlot {
        let combine = if step.watermark_max {
            Combine::Max
        } else {
            Combine::Min
        };
        let mut tracker = WatermarkTracker::new(slot.roots.len(), combine);
        for (input, roots) in slot.roots.iter().enumerate() {
            for &root in roots {
                let Root::Step(from) = root else { continue };
                let id = TimeId {
                    root,
                    source: 0,
                    partition: 0,
                }
                .into();
                let home = self.graph.home_of(from);
                if home == stage {
                    tracker.add(input, id, LOCAL);
                } else {
                    for task in 0..self.settings.parallelism {
                        tracker.add(input, id, self.channel(home, task, stage));
                    }
                }
            }
        }
        KeyedSlot {
            inputs: vec![Watermark::NONE; slot.roots.len()],
            tracker,
            roots: slot.roots.clone(),
            pending: Default::default(),
            pending_records: 0,
            watermark: Watermark::NONE,
            told: None,
            passes_idleness: matches!(
                step.kind,
                StepKind::Lookup { .. } | StepKind::Process { .. }
            ),
            shown: self.counters.steps[usize::from(slot.step)]
                .watermark
                .place(),
            state_bytes: (0, 0),
            ledger,
            scratch: Arc::clone(&self.scratch),
            counters: Arc::clone(&self.counters),
        }
    }

    fn step(&self, step: &StepPlan, task: usize) -> Result<Box<dyn Step>, TaskError> {
        let open = |function: usize| Opening {
            assembly: self,
            step,
            function: &self.plan.functions[function],
            task,
        };
        Ok(match &step.kind {
            StepKind::Transform { function } => {
                Box::new(TransformStep::new(open(*function).transform()?))
            }
            StepKind::Key(pointers) => Box::new(KeyStep::new(pointers.clone())),
            StepKind::Window { function, window } => {
                let descriptor = &self.plan.functions[*function].descriptor;
                let facts = FunctionFacts {
                    mergeable: descriptor.mergeable,
                    order_dependent: descriptor.order_dependent,
                    state_version: descriptor.state_version,
                };
                let aggregate = open(*function).aggregate()?;
                Box::new(WindowStep::new(
                    window.clone(),
                    aggregate,
                    facts,
                    WindowLimits::default(),
                )?)
            }
            StepKind::Join { function, join } => {
                let function = function.map(|f| open(f).join()).transpose()?;
                Box::new(JoinStep::new(join.clone(), function))
            }
            StepKind::Lookup {
                function,
                table,
                on,
                left,
                as_of_ms,
            } => {
                let spec = LookupSpec {
                    record_inputs: step.inputs.len(),
                    on: on.clone(),
                    left: *left,
                    as_of_ms: *as_of_ms,
                    speaks_for_table: task == 0,
                };
                let loaded = self.tables.get(&(*table, as_of_ms.is_some())).cloned();
                Box::new(LookupStep::new(spec, open(*function).join()?, loaded))
            }
            StepKind::Dedup { within_ms } => Box::new(DedupStep::new(*within_ms)),
            StepKind::Process {
                function,
                ttl_ms,
                time,
            } => {
                let state_version = self.plan.functions[*function].descriptor.state_version;
                let spec = ProcessSpec {
                    ttl_ms: *ttl_ms,
                    time: *time,
                    state_version,
                };
                Box::new(ProcessStep::new(spec, open(*function).process()?))
            }
        })
    }

    fn policy(
        &self,
        noun: &'static str,
        node: &str,
        on_error: OnError,
        function: Option<usize>,
    ) -> ErrorPolicy {
        let function = function.map(|f| &self.plan.functions[f]);
        let plugin = function.map(|f| &self.plan.plugins[f.plugin]);
        ErrorPolicy {
            noun,
            node: Arc::from(node),
            function: function
                .zip(plugin)
                .map(|(f, p)| Arc::from(format!("{}.{}", p.name, f.function))),
            plugin_sha256: plugin.map(|p| Arc::from(p.sha256.as_str())),
            on_error,
            names: self.names.clone(),
        }
    }
}

/// Reads the tables that come from files, once for all tasks.
fn load_tables(plan: &Plan) -> Result<BTreeMap<(usize, bool), Arc<Table>>, TaskError> {
    let mut tables = BTreeMap::new();
    for step in &plan.steps {
        let StepKind::Lookup {
            table, as_of_ms, ..
        } = &step.kind
        else {
            continue;
        };
        let (at, versioned) = (*table, as_of_ms.is_some());
        let TableInput::File(source) = &plan.tables[at].input else {
            continue;
        };
        if tables.contains_key(&(at, versioned)) {
            continue;
        }
        let mut loaded = Table::new(versioned);
        let rows = crate::source::read_all(source)?;
        if let Some(bad) = loaded.update(&rows).into_iter().next() {
            let name = &plan.tables[at].name;
            return Err(TaskError::Host(format!(
                "table {name}, row {}: {}",
                bad.row + 1,
                bad.message
            )));
        }
        tables.insert((at, versioned), Arc::new(loaded));
    }
    Ok(tables)
}

/// The function of a step, if it has one: index into `Plan::functions`.
pub fn function_of(kind: &StepKind) -> Option<usize> {
    match kind {
        StepKind::Transform { function }
        | StepKind::Window { function, .. }
        | StepKind::Lookup { function, .. }
        | StepKind::Process { function, .. } => Some(*function),
        StepKind::Join { function, .. } => *function,
        StepKind::Key(_) | StepKind::Dedup { .. } => None,
    }
}

/// A function about to be opened for a step's partition.
struct Opening<'a> {
    assembly: &'a Assembly,
    step: &'a StepPlan,
    function: &'a FunctionPlan,
    task: usize,
}

impl Opening<'_> {
    fn plugin(&self) -> Plugin {
        let assembly = self.assembly;
        assembly.plan.plugins[self.function.plugin]
            .plugin
            .with_options(InstanceOptions {
                paranoid: assembly.settings.paranoid,
                fail_fast: self.step.on_error == OnError::Fail,
                on_yield: assembly.pace.clone().map(|pace| {
                    let hook: YieldHook = Arc::new(move || pace.give_way());
                    hook
                }),
                on_pause: assembly.pace.clone().map(|pace| {
                    let hook: PauseHook = Arc::new(move |time| pace.pause(time));
                    hook
                }),
                log: None,
            })
    }

    fn tag(&self) -> InstanceTag {
        InstanceTag {
            job: Arc::from(self.assembly.plan.name.as_str()),
            step: Arc::from(self.step.name.as_str()),
            partition: self.task as u32,
        }
    }

    fn failed(&self, error: &OpenError) -> TaskError {
        TaskError::Host(format!("step {}: {error}", self.step.name))
    }

    fn transform(&self) -> Result<Box<dyn Transform>, TaskError> {
        let f = self.function;
        self.plugin()
            .transform(&f.function, &f.config, &f.descriptor, self.tag())
            .map_err(|e| self.failed(&e))
    }

    fn aggregate(&self) -> Result<Box<dyn Aggregate>, TaskError> {
        let f = self.function;
        self.plugin()
            .aggregate(&f.function, &f.config, &f.descriptor, self.tag())
            .map_err(|e| self.failed(&e))
    }

    fn join(&self) -> Result<Box<dyn Join>, TaskError> {
        let f = self.function;
        self.plugin()
            .join(&f.function, &f.config, &f.descriptor, self.tag())
            .map_err(|e| self.failed(&e))
    }

    fn process(&self) -> Result<Box<dyn Process>, TaskError> {
        let f = self.function;
        self.plugin()
            .process(&f.function, &f.config, &f.descriptor, self.tag())
            .map_err(|e| self.failed(&e))
    }
}
