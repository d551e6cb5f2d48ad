//! Makes the plan. All rules hold here.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::super::host::PluginHost;
use super::super::kafka::{ClientSetting, KafkaDelivery, KafkaSinkPlan};
use super::super::plan::{
    CheckpointPlan, EventTime, Input, Node, OnError, Plan, SinkConnector, SinkPlan,
    SourceConnector, SourcePlan, StatePlan, StepKind, StepPlan, TableInput, TablePlan,
};
use super::super::spec::{Doing, EventTimeSpec, JobSpec, SourceSpec};
use super::super::values::is_name;
use super::rules::{IDLE_AFTER_MS, join_pattern};
use super::{Checker, SpecInput, SpecNode};
use crate::join::JoinSpec;
use crate::record::NodeIndex;

impl<H: PluginHost> Checker<'_, H> {
    pub(super) fn lower(self) -> Plan<H::Plugin> {
        let spec = self.spec;
        let order = self
            .order
            .clone()
            .expect("a job without errors has no ring");
        let places: HashMap<usize, NodeIndex> = order
            .iter()
            .zip(0..)
            .map(|(s, place)| (*s, place))
            .collect();
        let input = |i: &SpecInput| Input {
            node: match i.node {
                SpecNode::Source(s) => Node::Source(s as NodeIndex),
                SpecNode::Step(s) => Node::Step(places[&s]),
                SpecNode::Table(_) | SpecNode::Sink(_) => {
                    unreachable!("inputs are sources and steps")
                }
            },
            port: i.port,
        };
        let inputs = |all: &[SpecInput]| all.iter().map(input).collect::<Vec<_>>();
        let sources = spec
            .sources
            .iter()
            .enumerate()
            .map(|(i, s)| self.source(s, self.policy(SpecNode::Source(i))))
            .collect();
        let tables = spec
            .tables
            .iter()
            .enumerate()
            .map(|(i, t)| TablePlan {
                name: t.name.value.clone(),
                input: match &t.file {
                    Some(file) => {
                        // A table has no errors port; what the job says for others is not for it.
                        let policy = file.on_error.as_ref().map_or(OnError::Fail, |p| p.value);
                        TableInput::File(Box::new(self.source(file, policy)))
                    }
                    None => TableInput::Stream(inputs(&self.table_inputs[i])),
                },
            })
            .collect();
        let steps = order
            .iter()
            .map(|&i| StepPlan {
                name: spec.steps[i].name.value.clone(),
                inputs: inputs(&self.step_inputs[i]),
                kind: self.kind(i),
                on_error: self.policy(SpecNode::Step(i)),
                watermark_max: spec.steps[i].watermark_max.is_some(),
                event_time: spec.steps[i]
                    .event_time
                    .as_ref()
                    .map(|e| self.event_time(e.value, self.bounded_behind(i))),
            })
            .collect();
        let sinks = spec
            .sinks
            .iter()
            .enumerate()
            .map(|(i, s)| SinkPlan {
                name: s.name.value.clone(),
                inputs: inputs(&self.sink_inputs[i]),
                connector: match s
                    .connector
                    .clone()
                    .expect("a sink without connector is an error")
                {
                    SinkConnector::File {
                        path,
                        format,
                        roll_bytes,
                        roll_every_ms,
                        overwrite,
                        ..
                    } => SinkConnector::File {
                        path: self.base.join(path),
                        format,
                        roll_bytes,
                        roll_every_ms,
                        overwrite,
                        reach: self.options.operator.writes.clone(),
                    },
                    SinkConnector::Kafka(kafka) => {
                        SinkConnector::Kafka(Box::new(self.kafka_sink(&kafka)))
                    }
                    other => other,
                },
            })
            .collect();
        Plan {
            name: self.job_name(),
            base: self.base.clone(),
            writes: self.options.operator.writes.clone(),
            parallelism: self
                .options
                .parallelism
                .or(spec.parallelism)
                .unwrap_or_else(cores),
            batch: spec.batch,
            checkpoint: spec.checkpoint.clone().map(|c| CheckpointPlan {
                path: match c.path.contains("://") {
                    true => c.path.clone(),
                    false => self.place(&c.path),
                },
                ..c
            }),
            state: StatePlan {
                memory: spec.state_memory.unwrap_or(crate::spill::MEMORY_DEFAULT),
                max: spec.state_max,
                key_max: spec
                    .state_key_max
                    .unwrap_or(crate::spill::KEY_BYTES_DEFAULT),
                value_max: spec
                    .state_value_max
                    .unwrap_or(crate::spill::VALUE_BYTES_DEFAULT),
                path: self.spill_folder(spec),
            },
            sources,
            tables,
            steps,
            sinks,
            warnings: self.problems.warning_lines(),
            plugins: self.plugins,
            functions: self.functions,
        }
    }

    /// Where state goes that finds no room in memory: beside a folder of checkpoints, so that it is on a disk that was
    /// chosen for state; else where temporary files go.
    pub(super) fn spill_folder(&self, spec: &JobSpec) -> PathBuf {
        let beside = |path: &str| {
            let local = !path.contains("://");
            let folder = local.then(|| self.base.join(path))?;
            folder.parent().map(Path::to_path_buf)
        };
        match (&spec.state_path, &spec.checkpoint) {
            (Some(path), _) => self.base.join(path),
            (None, Some(checkpoint)) => beside(&checkpoint.path).unwrap_or_else(std::env::temp_dir),
            (None, None) => std::env::temp_dir(),
        }
    }

    fn job_name(&self) -> String {
        let typed = self.spec.name.clone();
        typed.unwrap_or_else(|| self.file_stem())
    }

    fn resolved(&self, client: &[ClientSetting]) -> Vec<ClientSetting> {
        let rules = &self.options.operator.secrets;
        client.iter().map(|s| s.resolved(rules)).collect()
    }

    fn kafka_sink(&self, kafka: &KafkaSinkPlan) -> KafkaSinkPlan {
        let checkpoint = self.spec.checkpoint.as_ref();
        KafkaSinkPlan {
            // Without checkpoints there are no epochs to commit.
            delivery: if checkpoint.is_some() {
                kafka.delivery
            } else {
                KafkaDelivery::AtLeastOnce
            },
            client: self.resolved(&kafka.client),
            job: self.job_name(),
            every_ms: checkpoint.map(|c| c.every_ms),
            ..kafka.clone()
        }
    }

    /// A job without name is called like its file.
    fn file_stem(&self) -> String {
        let stem = std::path::Path::new(&self.problems.texts.file).file_stem();
        let stem = stem
            .map(|s| s.to_string_lossy().to_lowercase())
            .filter(|s| is_name(s));
        stem.unwrap_or_else(|| "job".to_string())
    }

    /// A folder under the job's.
    fn place(&self, path: &str) -> String {
        self.base.join(path).to_string_lossy().into_owned()
    }

    fn source(&self, source: &SourceSpec, on_error: OnError) -> SourcePlan {
        let connector = match source
            .connector
            .clone()
            .expect("a source without connector is an error")
        {
            SourceConnector::File {
                pattern,
                partitions,
                watch_ms,
                ..
            } => SourceConnector::File {
                pattern: join_pattern(&self.base, &pattern),
                partitions,
                watch_ms,
                reach: self.options.operator.reads.clone(),
            },
            SourceConnector::Kafka(kafka) => {
                let mut kafka = *kafka;
                if kafka.group.is_empty() {
                    kafka.group = format!("wasmill.{}.{}", self.job_name(), source.name.value);
                }
                kafka.client = self.resolved(&kafka.client);
                SourceConnector::Kafka(Box::new(kafka))
            }
            other => other,
        };
        SourcePlan {
            name: source.name.value.clone(),
            connector,
            format: source.format.clone(),
            key: source.key.clone(),
            timestamp: source.timestamp.clone(),
            event_time: source
                .event_time
                .as_ref()
                .map(|e| self.event_time(e.value, source.bounded)),
            on_error,
        }
    }

    fn event_time(&self, typed: EventTimeSpec, bounded: bool) -> EventTime {
        let default = if bounded || self.is_test() {
            None
        } else {
            Some(IDLE_AFTER_MS)
        };
        EventTime {
            max_disorder_ms: typed.max_disorder_ms,
            idle_after_ms: typed.idle_after_ms.or(default),
            max_ahead_ms: typed.max_ahead_ms,
        }
    }

    /// Whether all sources behind a step end by themselves.
    fn bounded_behind(&self, step: usize) -> bool {
        let mut seen = vec![false; self.spec.steps.len()];
        let mut todo = vec![step];
        while let Some(step) = todo.pop() {
            if std::mem::replace(&mut seen[step], true) {
                continue;
            }
            for input in &self.step_inputs[step] {
                match input.node {
                    SpecNode::Source(s) if !self.spec.sources[s].bounded => return false,
                    SpecNode::Step(s) => todo.push(s),
                    _ => {}
                }
            }
        }
        true
    }

    fn kind(&self, step: usize) -> StepKind {
        let opened = self.step_functions[step];
        let function = || opened.expect("a step whose function did not open is an error");
        match self.spec.steps[step]
            .doing
            .as_ref()
            .expect("a step that does nothing is an error")
        {
            Doing::Transform(_) => StepKind::Transform {
                function: function(),
            },
            Doing::Key(key) => StepKind::Key(key.clone()),
            Doing::Window { window, .. } => StepKind::Window {
                function: function(),
                window: (**window).clone(),
            },
            Doing::Join {
                kind,
                bounds,
                allowed_lateness_ms,
                ..
            } => StepKind::Join {
                function: opened,
                join: JoinSpec {
                    kind: *kind,
                    bounds: bounds.clone(),
                    allowed_lateness_ms: *allowed_lateness_ms,
                },
            },
            Doing::Lookup {
                table,
                on,
                left,
                as_of_ms,
                ..
            } => {
                let table = match self.names.get(&table.value) {
                    Some(SpecNode::Table(t)) => *t,
                    _ => unreachable!("an unknown table is an error"),
                };
                StepKind::Lookup {
                    function: function(),
                    table,
                    on: on.clone(),
                    left: *left,
                    as_of_ms: *as_of_ms,
                }
            }
            Doing::Dedup { within_ms } => StepKind::Dedup {
                within_ms: *within_ms,
            },
            Doing::Process { ttl_ms, time, .. } => StepKind::Process {
                function: function(),
                ttl_ms: *ttl_ms,
                time: *time,
            },
        }
    }
}

fn cores() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    cores.min(usize::from(crate::step::KEY_GROUPS))
}
