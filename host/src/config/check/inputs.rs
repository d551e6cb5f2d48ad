//! Names: unique, known, with a port that is there, and each read by something.

use std::collections::HashSet;

use super::super::host::PluginHost;
use super::super::plan::Port;
use super::super::problem::{did_you_mean, listed, nearest};
use super::super::reader::At;
use super::super::spec::Doing;
use super::{Checker, SpecInput, SpecNode};

impl<H: PluginHost> Checker<'_, H> {
    /// Fills `names`; a name that is there twice is an error.
    pub(super) fn collect_names(&mut self) {
        let spec = self.spec;
        let sources = (0..spec.sources.len()).map(SpecNode::Source);
        let tables = (0..spec.tables.len()).map(SpecNode::Table);
        let steps = (0..spec.steps.len()).map(SpecNode::Step);
        let sinks = (0..spec.sinks.len()).map(SpecNode::Sink);
        for node in sources.chain(tables).chain(steps).chain(sinks) {
            let (name, span, kind) = self.name_of(node);
            let name = name.to_string();
            let Some(&first) = self.names.get(&name) else {
                self.names.insert(name, node);
                continue;
            };
            let (_, first_span, first_kind) = self.name_of(first);
            let place = self.problems.texts.place(Some(first_span));
            self.hinted.push(name.clone());
            let message = format!(
                "the name {name:?} of this {kind} is already that of a {first_kind} ({place})"
            );
            self.problems
                .error(span, message)
                .help("names of sources, tables, steps and sinks are unique in a job");
        }
    }

    /// Looks all `from` and `lookup` names up.
    pub(super) fn resolve_inputs(&mut self) {
        let spec = self.spec;
        for (i, step) in spec.steps.iter().enumerate() {
            self.step_inputs[i] = self.resolve_all(&step.from);
            if let Some(Doing::Lookup { table, .. }) = &step.doing {
                self.resolve_table(table);
            }
        }
        for (i, table) in spec.tables.iter().enumerate() {
            self.table_inputs[i] = self.resolve_all(&table.from);
        }
        for (i, sink) in spec.sinks.iter().enumerate() {
            self.sink_inputs[i] = self.resolve_all(&sink.from);
        }
        let all = self
            .step_inputs
            .iter()
            .chain(&self.table_inputs)
            .chain(&self.sink_inputs);
        self.read = all.flatten().map(|i| (i.node, i.port)).collect();
    }

    fn resolve_all(&mut self, from: &[At<String>]) -> Vec<SpecInput> {
        from.iter().filter_map(|name| self.resolve(name)).collect()
    }

    fn resolve(&mut self, text: &At<String>) -> Option<SpecInput> {
        let (name, port) = match text.value.split_once('.') {
            Some((name, port)) => (name, Some(port)),
            None => (text.value.as_str(), None),
        };
        let node = match self.names.get(name) {
            Some(node @ (SpecNode::Source(_) | SpecNode::Step(_))) => *node,
            Some(SpecNode::Table(_)) => {
                self.problems
                    .error(
                        text.span,
                        format!("{name:?} is a table, and a table is not read as a stream"),
                    )
                    .help(format!("look it up: lookup = {name:?}"));
                return None;
            }
            Some(SpecNode::Sink(_)) => {
                self.problems.error(
                    text.span,
                    format!("{name:?} is a sink: nothing comes out of it"),
                );
                return None;
            }
            // Looking for near matches is the dear part, and nobody reads on after so many errors.
            None if self.problems.is_full() => return None,
            None => {
                let spec = self.spec;
                let sources = spec.sources.iter().map(|s| s.name.value.as_str());
                let known: Vec<&str> = sources
                    .chain(spec.steps.iter().map(|s| s.name.value.as_str()))
                    .collect();
                let hint = did_you_mean(name, known.iter().copied());
                self.hinted
                    .extend(nearest(name, known.iter().copied()).map(str::to_string));
                self.problems
                    .error(
                        text.span,
                        format!("there is no source or step {name:?}{hint}"),
                    )
                    .help(format!("known: {}", listed(known)));
                return None;
            }
        };
        let Some(port) = port else {
            return Some(SpecInput {
                node,
                port: Port::Main,
            });
        };
        let Some(ports) = self.ports(node) else {
            // What the step does is not known, so neither are its ports; reading it is all that is known.
            let port = if port == "errors" {
                Port::Errors
            } else {
                Port::Main
            };
            return Some(SpecInput { node, port });
        };
        if let Some((_, port)) = ports.iter().find(|(known, _)| known == port) {
            return Some(SpecInput { node, port: *port });
        }
        let (_, _, kind) = self.name_of(node);
        let known: Vec<&str> = ports.iter().map(|(p, _)| p.as_str()).collect();
        let hint = did_you_mean(port, known.iter().copied());
        self.hinted.push(name.to_string());
        self.problems
            .error(
                text.span,
                format!("the {kind} {name:?} has no port {port:?}{hint}"),
            )
            .help(format!("its ports: {}", listed(known)));
        None
    }

    /// All ports beside the main one; none while the step's function is not known.
    fn ports(&self, node: SpecNode) -> Option<Vec<(String, Port)>> {
        let errors = ("errors".to_string(), Port::Errors);
        let late = ("late".to_string(), Port::Late);
        let SpecNode::Step(step) = node else {
            return Some(vec![errors]);
        };
        Some(match self.spec.steps[step].doing.as_ref()? {
            Doing::Transform(_) | Doing::Process { .. } => {
                let function = &self.functions[self.step_functions[step]?];
                let named = function
                    .descriptor
                    .ports
                    .iter()
                    .zip(0u16..)
                    .map(|(p, i)| (p.clone(), Port::Named(i)));
                named.chain([errors]).collect()
            }
            Doing::Window { .. } | Doing::Join { .. } | Doing::Dedup { .. } => vec![late, errors],
            Doing::Key(_) | Doing::Lookup { .. } => vec![errors],
        })
    }

    fn resolve_table(&mut self, name: &At<String>) {
        if let Some(SpecNode::Table(_)) = self.names.get(&name.value) {
            return;
        }
        let known: Vec<&str> = self
            .spec
            .tables
            .iter()
            .map(|t| t.name.value.as_str())
            .collect();
        let what = match self.names.get(&name.value) {
            Some(node) => format!(
                "{:?} is a {}, not a table",
                name.value,
                self.name_of(*node).2
            ),
            None => format!(
                "there is no table {:?}{}",
                name.value,
                did_you_mean(&name.value, known.iter().copied())
            ),
        };
        self.hinted
            .extend(nearest(&name.value, known.iter().copied()).map(str::to_string));
        self.problems.error(name.span, what).help(format!(
            "known: {}; a stream becomes one by [table.x] from = …",
            listed(known)
        ));
    }

    /// Sources, steps and tables that nothing reads; ports whose records would be lost.
    pub(super) fn check_unread(&mut self) {
        let spec = self.spec;
        let nodes = (0..spec.sources.len())
            .map(SpecNode::Source)
            .chain((0..spec.steps.len()).map(SpecNode::Step));
        let read_nodes: HashSet<SpecNode> = self.read.iter().map(|(node, _)| *node).collect();
        let mut unread = Vec::new();
        let mut lost = Vec::new();
        for node in nodes {
            let read = |port| self.is_read(node, port);
            let any = read_nodes.contains(&node);
            let (name, span, kind) = self.name_of(node);
            if !any && !self.hinted.iter().any(|h| h == name) {
                unread.push((span, format!("nothing reads the {kind} {name:?}")));
                continue;
            }
            let named: Vec<_> = self
                .ports(node)
                .unwrap_or_default()
                .into_iter()
                .filter(|(_, p)| matches!(p, Port::Named(_)))
                .collect();
            for (port_name, port) in &named {
                if !read(*port) {
                    lost.push((
                        span,
                        format!("nothing reads \"{name}.{port_name}\": its records are dropped"),
                    ));
                }
            }
            let reads_named = named.iter().any(|(_, p)| read(*p));
            if any && !read(Port::Main) && !reads_named {
                lost.push((
                    span,
                    format!(
                        "only errors or late records of {name:?} are read: its results are dropped"
                    ),
                ));
            }
        }
        for (i, table) in spec.tables.iter().enumerate() {
            let looked_up = |doing: &Option<Doing>| matches!(doing, Some(Doing::Lookup { table: t, .. }) if t.value == table.name.value);
            let unclear = spec.steps.iter().any(|s| s.doing.is_none())
                || self.hinted.contains(&spec.tables[i].name.value);
            if !unclear && !spec.steps.iter().any(|s| looked_up(&s.doing)) {
                unread.push((
                    table.name.span,
                    format!("nothing looks into the table {:?}", table.name.value),
                ));
            }
        }
        for (span, message) in unread {
            self.problems.error(span, message).help("read it by a step or a sink (type = \"blackhole\" drops what it gets), or take it out");
        }
        for (span, message) in lost {
            self.problems.warning(span, message);
        }
    }
}
