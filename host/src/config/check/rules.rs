//! Rules that need the whole graph: keys, time, policies, places.

use super::super::host::PluginHost;
use super::super::kafka::{KafkaDelivery, KafkaSinkPlan, KafkaTopics};
use super::super::plan::{OnError, Port, SinkConnector, SourceConnector};
use super::super::reader::At;
use super::super::spec::{Doing, SourceSpec};
use super::{Checker, SpecInput, SpecNode};
use crate::plugin::TimeDomain;
use crate::window::WindowKind;

/// What is known of the records that a node puts out.
#[derive(Clone, Debug, Default)]
struct Facts {
    /// They may have keys.
    keyed: bool,
    /// They may have timestamps.
    timestamps: bool,
    /// A watermark is made somewhere behind.
    event_time: bool,
    /// A source behind never ends.
    unbounded: bool,
    /// A keyed step behind, by name.
    keyed_step: Option<usize>,
    /// A step in processing time behind, by name.
    processing: Option<usize>,
    /// Sources behind whose watermark moves only at their end.
    silent: SourceSet,
}

/// Sources by number, a bit each: a job may have thousands, and every step has such a set.
#[derive(Clone, Debug, Default)]
struct SourceSet(Vec<u64>);

impl SourceSet {
    fn of(source: Option<usize>) -> SourceSet {
        let mut set = SourceSet::default();
        if let Some(source) = source {
            set.0.resize(source / 64 + 1, 0);
            set.0[source / 64] |= 1 << (source % 64);
        }
        set
    }

    fn add_all(&mut self, other: &SourceSet) {
        self.0.resize(self.0.len().max(other.0.len()), 0);
        for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
            *mine |= theirs;
        }
    }

    fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        let bits = |(word, bits): (usize, &u64)| {
            let bits = *bits;
            (0..64)
                .filter(move |b| bits >> b & 1 == 1)
                .map(move |b| word * 64 + b)
        };
        self.0.iter().enumerate().flat_map(bits)
    }
}

impl Facts {
    fn join(mut self, other: &Facts) -> Facts {
        self.keyed |= other.keyed;
        self.timestamps |= other.timestamps;
        self.event_time |= other.event_time;
        self.unbounded |= other.unbounded;
        self.keyed_step = self.keyed_step.or(other.keyed_step);
        self.processing = self.processing.or(other.processing);
        self.silent.add_all(&other.silent);
        self
    }
}

impl<H: PluginHost> Checker<'_, H> {
    /// Files that are read are there; places that are written are not shared.
    pub(super) fn check_places(&mut self) {
        let spec = self.spec;
        if !self.is_test() {
            let mut stdin = None;
            for source in &spec.sources {
                self.check_files(source);
                if let Some(SourceConnector::Stdin) = source.connector
                    && let Some(first) = stdin.replace(&source.name.value)
                {
                    self.problems.error(
                        source.name.span,
                        format!("standard input is already read by {first:?}"),
                    );
                }
            }
        }
        for file in spec.tables.iter().filter_map(|t| t.file.as_ref()) {
            self.check_files(file);
        }
        if !self.is_test() {
            self.check_own_folders();
            self.check_echoes();
            self.check_secrets();
            self.check_transactions();
        }
        self.check_sink_folders();
    }

    /// Exactly-once Kafka sinks share one producer, and its transaction is kept track of beside a topic.
    pub(super) fn check_transactions(&mut self) {
        let spec = self.spec;
        if spec.checkpoint.is_none() {
            return;
        }
        let sinks: Vec<_> = spec
            .sinks
            .iter()
            .filter_map(|s| match &s.connector {
                Some(SinkConnector::Kafka(k)) if k.delivery == KafkaDelivery::ExactlyOnce => {
                    Some((&s.name, k))
                }
                _ => None,
            })
            .collect();
        let Some((first_name, first)) = sinks.first() else {
            return;
        };
        let settings = |k: &KafkaSinkPlan| {
            let client = k.client.iter().map(|s| (s.name.clone(), s.text.clone()));
            (
                k.brokers.clone(),
                k.partitioner,
                k.compression,
                client.collect::<Vec<_>>(),
            )
        };
        for (name, sink) in &sinks[1..] {
            if settings(sink) != settings(first) {
                let message = format!(
                    "sinks {:?} and {:?} are exactly once by one transaction, and have different \"brokers\", \"partitioner\", \"compression\" or \"client\"",
                    first_name.value, name.value
                );
                self.problems
                    .error(name.span, message)
                    .help("make them equal, or set delivery = \"at-least-once\" on one of them");
            }
        }
        let read = spec.sources.iter().any(|s| match &s.connector {
            Some(SourceConnector::Kafka(k)) => {
                k.brokers == first.brokers && matches!(k.topics, KafkaTopics::List(_))
            }
            _ => false,
        });
        if !read && sinks.iter().all(|(_, k)| k.topic.fixed.is_none()) {
            self.problems
                .error(first_name.span, "delivery = \"exactly-once\" needs a topic that is known beforehand: what was committed is noted beside it")
                .help("add \"topic\": records that name none at \"topic-from\" go there");
        }
    }

    /// Secrets of clients can be had.
    fn check_secrets(&mut self) {
        let spec = self.spec;
        let sources = spec.sources.iter().filter_map(|s| match &s.connector {
            Some(SourceConnector::Kafka(kafka)) => Some(&kafka.client),
            _ => None,
        });
        let sinks = spec.sinks.iter().filter_map(|s| match &s.connector {
            Some(SinkConnector::Kafka(kafka)) => Some(&kafka.client),
            _ => None,
        });
        for setting in sources.chain(sinks).flatten() {
            if let Err(e) = setting.text.resolve(&self.options.operator.secrets) {
                self.problems
                    .error(setting.span, format!("{:?}: {e}", setting.name));
            }
        }
    }

    fn check_files(&mut self, source: &SourceSpec) {
        let Some(SourceConnector::File {
            pattern, watch_ms, ..
        }) = &source.connector
        else {
            return;
        };
        let full = join_pattern(&self.base, pattern);
        let span = source.path_span.unwrap_or(source.name.span);
        let reads = &self.options.operator.reads;
        if let Err(words) = reads.check(std::path::Path::new(&full)) {
            self.problems.error(span, words).help(PATHS_HINT);
            return;
        }
        if watch_ms.is_some() {
            return;
        }
        let found =
            glob::glob(&full).is_ok_and(|mut paths| paths.any(|p| p.is_ok_and(|p| p.is_file())));
        if !found {
            let is_pattern = pattern.contains(['*', '?', '[']);
            let message = if std::path::Path::new(&full).is_dir() {
                format!(
                    "{pattern:?} is a folder; name its files, such as \"{}/*\"",
                    pattern.trim_end_matches('/')
                )
            } else if std::path::Path::new(&full).exists() {
                format!("{pattern:?} is no regular file, but a pipe or a device")
            } else if is_pattern {
                format!("no file matches {pattern:?}")
            } else {
                format!("there is no file {pattern:?}")
            };
            self.problems
                .error(span, message)
                .help(format!("looked for {full}"));
        }
    }

    /// The folders that a job writes beside its sinks'. They are opened by name later on, so what is looked at
    /// here is only as good as the folder's owner.
    fn check_own_folders(&mut self) {
        let spec = self.spec;
        let mut folders = Vec::new();
        if let Some(checkpoint) = &spec.checkpoint
            && !checkpoint.path.contains("://")
        {
            folders.push(("checkpoints", self.base.join(&checkpoint.path)));
        }
        if spec.state_path.is_some() {
            folders.push(("state beyond memory", self.spill_folder(spec)));
        }
        for (what, folder) in folders {
            if let Err(words) = self.options.operator.writes.check_now(&folder) {
                self.problems
                    .error(None, format!("{what}: {words}"))
                    .help(PATHS_HINT);
            }
        }
    }

    /// Everything that follows the records from the sources to the sinks.
    pub(super) fn check_rules(&mut self) {
        let spec = self.spec;
        let sources: Vec<Facts> = spec
            .sources
            .iter()
            .enumerate()
            .map(|(i, s)| self.source_facts(i, s))
            .collect();
        let mut steps: Vec<Facts> = vec![Facts::default(); spec.steps.len()];
        let mut warned = Vec::new();
        for step in self.order.clone().unwrap_or_default() {
            let facts_of = |i: &SpecInput| match i.node {
                SpecNode::Source(s) => &sources[s],
                SpecNode::Step(s) => &steps[s],
                SpecNode::Table(_) | SpecNode::Sink(_) => {
                    unreachable!("inputs are sources and steps")
                }
            };
            let inputs: Vec<Facts> = self.step_inputs[step]
                .iter()
                .map(|i| facts_of(i).clone())
                .collect();
            let table: Vec<Facts> = self
                .table_of(step)
                .iter()
                .map(|i| facts_of(i).clone())
                .collect();
            steps[step] = self.check_step(step, &inputs, &table, &mut warned);
        }
        for (t, table) in spec.tables.iter().enumerate() {
            let keyed = self.table_inputs[t].iter().any(|i| match i.node {
                SpecNode::Source(s) => sources[s].keyed,
                SpecNode::Step(s) => steps[s].keyed,
                SpecNode::Table(_) | SpecNode::Sink(_) => false,
            });
            if !self.table_inputs[t].is_empty() && !keyed && !self.is_test() {
                self.problems.error(table.name.span, format!("the stream of table {:?} has no key", table.name.value)).help("a table is kept by key: set \"key\" on the source, or read it through a key step");
            }
        }
        for (i, source) in spec.sources.iter().enumerate() {
            self.check_policy(SpecNode::Source(i), source.on_error.as_ref());
        }
        for (i, step) in spec.steps.iter().enumerate() {
            self.check_policy(SpecNode::Step(i), step.on_error.as_ref());
            if let Some(span) = step.watermark_max {
                let several =
                    self.step_inputs[i].len() + usize::from(!self.table_of(i).is_empty()) > 1;
                if !several {
                    self.problems
                        .error(span, "watermark = \"max\" is for steps with several inputs")
                        .help(
                            "it takes the greatest of the inputs' watermarks instead of the least",
                        );
                }
            }
        }
        let stateful = spec
            .steps
            .iter()
            .any(|s| !matches!(s.doing, Some(Doing::Transform(_) | Doing::Key(_)) | None));
        if stateful && spec.checkpoint.is_none() && !self.is_test() {
            self.problems.warning(None, "there is no [checkpoint]: state lives as long as the process, and a job that stops starts anew");
        }
    }

    fn source_facts(&mut self, index: usize, source: &SourceSpec) -> Facts {
        // Records of a topic have keys and timestamps of their own.
        let kafka = matches!(source.connector, Some(SourceConnector::Kafka(_)));
        if source.event_time.is_some() && source.timestamp.is_none() && !kafka && !self.is_test() {
            let span = source.event_time.as_ref().map(|e| e.span);
            let message = format!(
                "{:?} has \"event-time\" but no \"timestamp\": its watermark moves only at the end of input",
                source.name.value
            );
            self.problems.warning(span, message);
        }
        Facts {
            keyed: source.key.is_some() || kafka || self.is_test(),
            timestamps: source.timestamp.is_some() || kafka || self.is_test(),
            event_time: source.event_time.is_some(),
            unbounded: !source.bounded,
            silent: SourceSet::of(source.event_time.is_none().then_some(index)),
            ..Facts::default()
        }
    }

    /// Inputs of the table that a step looks into, if a stream keeps it current.
    fn table_of(&self, step: usize) -> &[SpecInput] {
        let Some(Doing::Lookup { table, .. }) = &self.spec.steps[step].doing else {
            return &[];
        };
        match self.names.get(&table.value) {
            Some(SpecNode::Table(t)) => &self.table_inputs[*t],
            _ => &[],
        }
    }

    fn check_step(
        &mut self,
        step: usize,
        inputs: &[Facts],
        table: &[Facts],
        warned: &mut Vec<usize>,
    ) -> Facts {
        let spec = &self.spec.steps[step];
        let name = &spec.name.value;
        let mut facts = inputs.iter().fold(Facts::default(), Facts::join);
        let Some(doing) = &spec.doing else {
            return Facts {
                keyed: true,
                timestamps: true,
                event_time: true,
                ..facts
            };
        };
        let mut stateful = true;
        // Whether the step works by event time, and so needs timestamps and a watermark.
        let mut by_event_time = false;
        let mut processing = false;
        match doing {
            Doing::Transform(_) => {
                stateful = false;
                let Some(function) = self.step_functions[step] else {
                    return Facts {
                        keyed: true,
                        timestamps: true,
                        event_time: true,
                        ..facts
                    };
                };
                let descriptor = &self.functions[function].descriptor;
                facts.keyed |= descriptor.sets_keys;
                facts.timestamps |= descriptor.sets_timestamps;
            }
            Doing::Key(_) => {
                stateful = false;
                facts.keyed = true;
            }
            Doing::Window { window, .. } => {
                processing = window.time == TimeDomain::Processing;
                by_event_time = !processing
                    && !matches!(window.kind, WindowKind::Count { .. } | WindowKind::Global);
                // A global window closes with the input, but its triggers may go by event time.
                by_event_time |= !processing && window.trigger.every_event_ms.is_some();
            }
            Doing::Join { span, .. } => {
                by_event_time = true;
                if spec.from.len() != 2 {
                    let at = spec.from_span.unwrap_or(spec.name.span);
                    self.problems
                        .error(
                            at,
                            format!(
                                "a join has two inputs, and {name:?} has {}",
                                spec.from.len()
                            ),
                        )
                        .help("write from = [\"left\", \"right\"]");
                } else if let [left, right] = inputs {
                    for (side, facts) in [("left", left), ("right", right)] {
                        if !facts.keyed {
                            let message = format!("the {side} input of join {name:?} has no key");
                            self.problems.error(*span, message).help("joins match records of one key: set \"key\" on the source, or put a key step before the join");
                        }
                    }
                }
            }
            Doing::Lookup { on, as_of_ms, .. } => {
                by_event_time = as_of_ms.is_some();
                if on.is_none() && !facts.keyed {
                    self.problems
                        .error(
                            spec.name.span,
                            format!("lookup {name:?} has no \"on\", and its records have no key"),
                        )
                        .help("write on = \"/pointer\", or put a key step before it");
                }
                facts = table.iter().fold(facts, Facts::join);
            }
            Doing::Dedup { .. } => by_event_time = true,
            Doing::Process { time, .. } => {
                processing = *time == TimeDomain::Processing;
                by_event_time = !processing;
            }
        }
        if let Some(event_time) = &spec.event_time {
            if let Some(keyed) = facts.keyed_step {
                let other = &self.spec.steps[keyed].name.value;
                self.problems
                    .error(event_time.span, format!("\"event-time\" on {name:?} comes too late: {other:?} before it works by key"))
                    .help("watermarks are made by source partition, so before the first window, join, dedup, process or lookup");
            }
            facts.event_time = true;
            facts.silent = SourceSet::default();
        }
        if let (true, Some(other)) = (
            by_event_time || self.is_global_event(step),
            facts.processing,
        ) {
            let other = &self.spec.steps[other].name.value;
            self.problems
                .error(spec.name.span, format!("{name:?} works by event time, and {other:?} before it by processing time"))
                .help("results in processing time carry no event time: write time = \"processing\" here, or \"event\" there");
        }
        if by_event_time && !self.is_test() {
            self.warn_of_time(step, &facts, warned);
        }
        if stateful {
            facts.keyed_step = facts.keyed_step.or(Some(step));
        }
        if processing {
            facts.processing = Some(step);
        }
        if matches!(doing, Doing::Window { .. } | Doing::Process { .. }) {
            facts.timestamps = true;
        }
        facts
    }

    fn is_global_event(&self, step: usize) -> bool {
        matches!(&self.spec.steps[step].doing,
            Some(Doing::Window { window, .. }) if window.kind == WindowKind::Global && window.time == TimeDomain::Event)
    }

    /// Timestamps that nobody makes, watermarks that stand still.
    fn warn_of_time(&mut self, step: usize, facts: &Facts, warned: &mut Vec<usize>) {
        let spec = &self.spec.steps[step];
        let (name, span) = (&spec.name.value, spec.name.span);
        if !facts.timestamps {
            let message = format!(
                "{name:?} works by event time, and nothing before it makes timestamps: it rejects every record"
            );
            self.problems
                .warning(span, message)
                .help("set \"timestamp\" on the source, or use a transform that sets timestamps");
        }
        if !facts.event_time {
            let when = if facts.unbounded {
                "never, since a source before it does not end"
            } else {
                "only at the end of input"
            };
            let message = format!("no \"event-time\" before {name:?}: its watermark moves {when}");
            self.problems
                .warning(span, message)
                .help("add event-time = { max-disorder = \"10s\" } to the source");
            return;
        }
        for source in facts.silent.iter() {
            if warned.contains(&source) {
                continue;
            }
            warned.push(source);
            let source = &self.spec.sources[source];
            let when = if source.bounded {
                "until it ends"
            } else {
                "for ever"
            };
            let message = format!(
                "the source {:?} has no \"event-time\": it holds the watermark of {name:?} back {when}",
                source.name.value
            );
            self.problems.warning(source.name.span, message);
        }
    }

    /// Who reads `x.errors` wants dead letters.
    fn check_policy(&mut self, node: SpecNode, typed: Option<&At<OnError>>) {
        let Some(typed) = typed else { return };
        if typed.value == OnError::DeadLetter || !self.is_read(node, Port::Errors) {
            return;
        }
        let name = self.name_of(node).0.to_string();
        let word = if typed.value == OnError::Fail {
            "fail"
        } else {
            "skip"
        };
        self.problems
            .error(
                typed.span,
                format!(
                    "on-error = {word:?} leaves \"{name}.errors\" empty, and something reads it"
                ),
            )
            .help("write on-error = \"dead-letter\", or leave it out");
    }
}

/// What would allow a path.
pub(super) const PATHS_HINT: &str =
    "the operator's file says where jobs may read and write: [paths]";

/// The pattern under the job's folder, whose own name is no pattern.
pub(super) fn join_pattern(base: &std::path::Path, pattern: &str) -> String {
    if std::path::Path::new(pattern).is_absolute() {
        return pattern.to_string();
    }
    let base = glob::Pattern::escape(&base.to_string_lossy());
    match base.as_str() {
        "." => pattern.to_string(),
        base => format!("{}/{pattern}", base.trim_end_matches('/')),
    }
}

/// Default idleness of sources that do not end.
pub(super) const IDLE_AFTER_MS: i64 = 60_000;
