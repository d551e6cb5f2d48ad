//! Plugins are loaded and functions opened: kinds, configs, and what a step asks of its function.

use super::super::host::{FunctionInfo, LoadedPlugin, PluginHost, PluginRefused, PluginRequest};
use super::super::plan::{FunctionPlan, PluginPlan};
use super::super::problem::{Span, did_you_mean, listed, nearest};
use super::super::spec::{Doing, FunctionRef, PluginSettings};
use super::super::{schema, values};
use super::Checker;
use crate::join::JoinKind;
use crate::plugin::FunctionKind;
use crate::window::WindowKind;

/// Most windows a record may fall in where it is added to each of them.
const UNSLICED_OVERLAP_MAX: i64 = 10_000;

impl<H: PluginHost> Checker<'_, H> {
    /// Loads all plugins that the file names; `std` when a step asks for it.
    pub(super) fn load_plugins(&mut self) {
        for plugin in &self.spec.plugins {
            let name = plugin.name.value.clone();
            let Some(path) = &plugin.path else {
                self.loaded.insert(name, None);
                continue;
            };
            let request = PluginRequest {
                name: name.clone(),
                path: Some(self.base.join(&path.value)),
                settings: plugin.settings.clone(),
            };
            self.load(request, path.span);
        }
    }

    fn load(&mut self, request: PluginRequest, span: Span) {
        let name = request.name.clone();
        let loaded = self.host.load(&request).and_then(|l| {
            let functions = self.host.functions(&l.plugin);
            functions.map(|f| (l, f)).map_err(PluginRefused::Because)
        });
        let (loaded, functions) = match loaded {
            Ok(loaded) => loaded,
            Err(refused) => {
                match refused {
                    PluginRefused::OtherFile { sha256 } => {
                        let span = request.settings.sha256_span.unwrap_or(span);
                        let message =
                            format!("plugin {name:?} is another file than this \"sha256\" says");
                        self.problems
                            .error(span, message)
                            .help(format!("the file has {sha256}"));
                    }
                    PluginRefused::Because(why) => {
                        self.problems.error(span, format!("plugin {name:?}: {why}"));
                    }
                }
                self.loaded.insert(name, None);
                return;
            }
        };
        let LoadedPlugin {
            plugin,
            sha256,
            limits,
        } = loaded;
        self.plugins.push(PluginPlan {
            name: name.clone(),
            path: request.path,
            sha256,
            plugin,
            limits,
        });
        self.loaded
            .insert(name, Some((self.plugins.len() - 1, functions)));
    }

    /// Opens the function of every step that has one.
    pub(super) fn open_functions(&mut self) {
        let spec = self.spec;
        for (index, step) in spec.steps.iter().enumerate() {
            let pair = || FunctionRef {
                plugin: "std".into(),
                function: "pair".into(),
                span: step.name.span,
                config: None,
            };
            let (function, kinds): (FunctionRef, &[FunctionKind]) = match &step.doing {
                Some(Doing::Transform(f)) => {
                    (f.clone(), &[FunctionKind::Transform, FunctionKind::Filter])
                }
                Some(Doing::Window { function, .. }) => {
                    (function.clone(), &[FunctionKind::Aggregate])
                }
                Some(Doing::Process { function, .. }) => {
                    (function.clone(), &[FunctionKind::Process])
                }
                Some(Doing::Join {
                    kind: JoinKind::Semi | JoinKind::Anti,
                    ..
                }) => continue,
                Some(Doing::Join { function, .. } | Doing::Lookup { function, .. }) => {
                    (function.clone().unwrap_or_else(pair), &[FunctionKind::Join])
                }
                Some(Doing::Key(_) | Doing::Dedup { .. }) | None => continue,
            };
            self.step_functions[index] = self.open(&function, kinds);
            if let Some(opened) = self.step_functions[index] {
                self.check_window(index, opened, function.span);
            }
        }
        let unused = spec.plugins.iter().filter(|p| {
            !spec
                .steps
                .iter()
                .any(|s| uses(s.doing.as_ref(), &p.name.value))
        });
        for plugin in unused {
            self.problems.warning(
                plugin.name.span,
                format!("no step uses the plugin {:?}", plugin.name.value),
            );
        }
    }

    fn open(&mut self, reference: &FunctionRef, kinds: &[FunctionKind]) -> Option<usize> {
        let FunctionRef {
            plugin,
            function,
            span,
            config,
        } = reference;
        if plugin == "std" && !self.loaded.contains_key("std") {
            let settings = PluginSettings::default();
            self.load(
                PluginRequest {
                    name: "std".into(),
                    path: None,
                    settings,
                },
                *span,
            );
        }
        let Some(loaded) = self.loaded.get(plugin) else {
            let mut known: Vec<&str> = self
                .spec
                .plugins
                .iter()
                .map(|p| p.name.value.as_str())
                .collect();
            known.push("std");
            let hint = did_you_mean(plugin, known.iter().copied());
            self.problems
                .error(*span, format!("unknown plugin {plugin:?}{hint}"))
                .help(format!(
                    "known: {}; another one needs [plugin.{plugin}] with its path",
                    listed(known)
                ));
            return None;
        };
        let (at, functions) = loaded.as_ref()?;
        let at = *at;
        let wanted = kinds
            .iter()
            .map(|k| k.name())
            .collect::<Vec<_>>()
            .join(" or ");
        let Some(info) = functions.iter().find(|f| f.name == *function) else {
            let fitting: Vec<&str> = functions
                .iter()
                .filter(|f| kinds.contains(&f.kind))
                .map(|f| f.name.as_str())
                .collect();
            let all = functions.iter().map(|f| f.name.as_str());
            let near =
                nearest(function, fitting.iter().copied()).or_else(|| nearest(function, all));
            let hint = near.map_or(String::new(), |k| {
                format!("; did you mean \"{plugin}.{k}\"?")
            });
            let help = format!("{plugin} has of kind {wanted}: {}", listed(fitting));
            self.problems
                .error(
                    *span,
                    format!("plugin {plugin:?} has no function {function:?}{hint}"),
                )
                .help(help);
            return None;
        };
        if !kinds.contains(&info.kind) {
            let fitting = functions
                .iter()
                .filter(|f| kinds.contains(&f.kind))
                .map(|f| f.name.as_str());
            let help = format!("{plugin} has of kind {wanted}: {}", listed(fitting));
            let goes = usage(info.kind);
            let message = format!(
                "{plugin}.{function} is of kind {}; this step needs {wanted}",
                info.kind.name()
            );
            self.problems.error(*span, message).help(help).help(format!(
                "a function of kind {} goes into {goes}",
                info.kind.name()
            ));
            return None;
        }
        let info: FunctionInfo = info.clone();
        let json = config
            .as_ref()
            .map_or_else(|| serde_json::json!({}), |e| e.node.to_json());
        let text = json.to_string();
        let same = |f: &FunctionPlan| f.plugin == at && f.function == *function && f.config == text;
        if let Some(known) = self.functions.iter().position(same) {
            return Some(known);
        }
        let errors = self.problems.errors.len();
        if !info.config_schema.is_empty() {
            match serde_json::from_str(&info.config_schema) {
                Ok(schema) => {
                    let what = format!("config of {plugin}.{function}");
                    schema::check(
                        &schema,
                        config.as_ref().map(|e| &e.node),
                        *span,
                        &what,
                        &mut self.problems,
                    );
                }
                Err(e) => {
                    self.problems.error(
                        *span,
                        format!("{plugin}.{function}: its config schema is not JSON: {e}"),
                    );
                }
            }
        }
        if self.problems.errors.len() > errors {
            return None;
        }
        let loaded = LoadedPlugin {
            plugin: self.plugins[at].plugin.clone(),
            sha256: self.plugins[at].sha256.clone(),
            limits: self.plugins[at].limits.clone(),
        };
        match self.host.open(&loaded, function, &text) {
            Ok(descriptor) => {
                let function = function.clone();
                self.functions.push(FunctionPlan {
                    plugin: at,
                    function,
                    kind: info.kind,
                    config: text,
                    descriptor,
                });
                Some(self.functions.len() - 1)
            }
            Err(message) => {
                let span = config.as_ref().map_or(*span, |e| e.key_span);
                self.problems.error(
                    span,
                    format!("{plugin}.{function} cannot be opened: {message}"),
                );
                None
            }
        }
    }

    /// What a window asks of its aggregate.
    fn check_window(&mut self, step: usize, function: usize, function_span: Span) {
        let Some(Doing::Window { window, span, .. }) = &self.spec.steps[step].doing else {
            return;
        };
        let plan = &self.functions[function];
        let name = format!("{}.{}", self.plugins[plan.plugin].name, plan.function);
        let (mergeable, sliced) = (
            plan.descriptor.mergeable,
            plan.descriptor.mergeable && !plan.descriptor.order_dependent,
        );
        match window.kind {
            WindowKind::Session { gap } => {
                if !mergeable {
                    self.problems
                        .error(function_span, format!("{name} has no \"merge\", and session windows need it: sessions that touch become one"))
                        .help("choose an aggregate that can merge, or another window");
                }
                if gap.is_some() {
                    return;
                }
                let (plugin, found) = (&self.plugins[plan.plugin], &plan.descriptor);
                let error = if self.host.has_sessions(&plugin.plugin) {
                    let given =
                        self.host
                            .gives_gaps(&plugin.plugin, &plan.function, &plan.config, found);
                    given.err().map(|why| format!("session = \"from-plugin\" needs an aggregate that gives gaps, and {name} does not: {why}"))
                } else {
                    Some(format!(
                        "session = \"from-plugin\" needs a plugin that exports the interface \"session\", and {:?} does not",
                        plugin.name
                    ))
                };
                if let Some(error) = error {
                    self.problems
                        .error(*span, error)
                        .help("write a fixed gap, such as session = \"30m\"");
                }
            }
            WindowKind::Sliding { size, every, .. }
                if !sliced && size / every > UNSLICED_OVERLAP_MAX =>
            {
                let why = if mergeable {
                    "its result depends on the order of records"
                } else {
                    "it has no \"merge\""
                };
                self.problems
                    .error(*span, format!("each record falls in {} windows, and {name} is added to each of them, since {why}", size / every))
                    .help(format!("allowed: up to {UNSLICED_OVERLAP_MAX}, that is every >= {}", values::show_duration((size / UNSLICED_OVERLAP_MAX).max(1))));
            }
            _ => {}
        }
    }
}

fn uses(doing: Option<&Doing>, plugin: &str) -> bool {
    let function = match doing {
        Some(
            Doing::Transform(function)
            | Doing::Window { function, .. }
            | Doing::Process { function, .. },
        ) => Some(function),
        Some(Doing::Join { function, .. } | Doing::Lookup { function, .. }) => function.as_ref(),
        Some(Doing::Key(_) | Doing::Dedup { .. }) | None => None,
    };
    // Of a step with something wrong, nobody knows what it would use.
    doing.is_none() || function.is_some_and(|f| f.plugin == plugin)
}

fn usage(kind: FunctionKind) -> &'static str {
    match kind {
        FunctionKind::Transform | FunctionKind::Filter => "transform = \"…\"",
        FunctionKind::Aggregate => "aggregate = \"…\" with a window",
        FunctionKind::Join => "function = \"…\" of a join or lookup",
        FunctionKind::Process => "process = \"…\"",
    }
}
