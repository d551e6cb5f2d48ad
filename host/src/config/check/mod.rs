//! From spec to plan: looks names up, opens functions, and holds the job against all rules. It goes on
//! after each problem; a plan is made only when there is none.

mod folders;
mod functions;
mod graph;
mod inputs;
mod lower;
mod rules;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::document;
use super::host::PluginHost;
use super::plan::{FunctionPlan, OnError, Plan, PluginPlan, Port};
use super::problem::{Problems, Span, Texts};
use super::spec::{self, JobSpec};
use super::stages::stages;

/// Threads of a job: more than a big machine has of use for, and fewer than one has room for.
const TASKS_MAX: usize = 4_096;

/// How a job is checked.
#[derive(Clone, Debug, Default)]
pub struct CheckOptions {
    /// `--set a.b.c=value`, in order.
    pub overrides: Vec<String>,
    /// `--parallelism`: wins over the job file.
    pub parallelism: Option<usize>,
    /// For whom.
    pub mode: Mode,
    /// What whoever runs it allows.
    pub operator: super::Operator,
}

/// What the plan is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// `run` and `check`.
    #[default]
    Run,
    /// `test`: a script stands in for all sources, and may give keys, timestamps and watermarks.
    Test,
}

/// Reads and checks a job file.
pub fn check_file<H: PluginHost>(
    path: &Path,
    options: &CheckOptions,
    host: &H,
) -> Result<Plan<H::Plugin>, Box<Problems>> {
    let texts = Texts {
        file: path.display().to_string(),
        text: String::new(),
        overrides: options.overrides.clone(),
    };
    let text = match read_text(path) {
        Ok(text) => text,
        Err(message) => {
            let mut problems = Problems::new(texts);
            problems.error(None, message);
            return Err(Box::new(problems));
        }
    };
    let base = path
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    check_text(Texts { text, ..texts }, base, options, host)
}

/// Where a job file keeps checkpoints, as a plan has it; none: nowhere. Nothing else of it is looked at, so that it can
/// be asked of a job whose plugins are gone.
pub fn checkpoint_place(
    path: &Path,
    overrides: &[String],
) -> Result<Option<String>, Box<Problems>> {
    let mut problems = Problems::new(Texts {
        file: path.display().to_string(),
        text: String::new(),
        overrides: overrides.to_vec(),
    });
    match read_text(path) {
        Ok(text) => problems.texts.text = text,
        Err(message) => {
            problems.error(None, message);
            return Err(Box::new(problems));
        }
    }
    let Some(root) = document::parse(&mut problems) else {
        problems.sort();
        return Err(Box::new(problems));
    };
    let place = spec::read(&root, &mut problems).checkpoint.map(|c| c.path);
    if place.is_none() && !problems.errors.is_empty() {
        problems.sort();
        return Err(Box::new(problems));
    }
    let base = path.parent().unwrap_or(Path::new(""));
    Ok(place.map(|place| match place.contains("://") {
        true => place,
        false => base.join(place).to_string_lossy().into_owned(),
    }))
}

pub(super) fn read_text(path: &Path) -> Result<String, String> {
    use std::io::Read as _;
    let file = std::fs::File::open(path).map_err(|e| format!("cannot be read: {e}"))?;
    let mut bytes = Vec::new();
    // One byte past the bound, so that `parse` sees that it was passed.
    let limit = document::FILE_BYTES_MAX as u64 + 1;
    file.take(limit)
        .read_to_end(&mut bytes)
        .map_err(|e| format!("cannot be read: {e}"))?;
    String::from_utf8(bytes)
        .map_err(|e| format!("is not UTF-8 (byte {})", e.utf8_error().valid_up_to()))
}

/// Checks a job file's text. `base`: the folder that paths are relative to.
pub fn check_text<H: PluginHost>(
    texts: Texts,
    base: &Path,
    options: &CheckOptions,
    host: &H,
) -> Result<Plan<H::Plugin>, Box<Problems>> {
    let mut problems = Problems::new(texts);
    let Some(root) = document::parse(&mut problems) else {
        problems.sort();
        return Err(Box::new(problems));
    };
    let spec = spec::read(&root, &mut problems);
    let mut checker = Checker {
        spec: &spec,
        host,
        base: base.to_path_buf(),
        options,
        problems,
        names: HashMap::new(),
        hinted: Vec::new(),
        plugins: Vec::new(),
        loaded: HashMap::new(),
        functions: Vec::new(),
        step_functions: vec![None; spec.steps.len()],
        step_inputs: vec![Vec::new(); spec.steps.len()],
        table_inputs: vec![Vec::new(); spec.tables.len()],
        sink_inputs: vec![Vec::new(); spec.sinks.len()],
        read: HashSet::new(),
        order: None,
    };
    checker.run();
    checker.finish()
}

/// A node as the spec numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum SpecNode {
    Source(usize),
    Table(usize),
    Step(usize),
    Sink(usize),
}

/// An input, in the spec's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct SpecInput {
    node: SpecNode,
    port: Port,
}

struct Checker<'a, H: PluginHost> {
    spec: &'a JobSpec,
    host: &'a H,
    base: PathBuf,
    options: &'a CheckOptions,
    problems: Problems,
    names: HashMap<String, SpecNode>,
    /// Names that some error suggests: they are not reported as unread, too.
    hinted: Vec<String>,
    plugins: Vec<PluginPlan<H::Plugin>>,
    /// Index into `plugins`, and what each has; none: it could not be loaded (noted already).
    loaded: HashMap<String, Option<(usize, Vec<super::host::FunctionInfo>)>>,
    functions: Vec<FunctionPlan>,
    /// Index into `functions`, for steps whose function could be opened.
    step_functions: Vec<Option<usize>>,
    step_inputs: Vec<Vec<SpecInput>>,
    table_inputs: Vec<Vec<SpecInput>>,
    sink_inputs: Vec<Vec<SpecInput>>,
    /// What steps, tables and sinks read.
    read: HashSet<(SpecNode, Port)>,
    /// Steps, each after what it reads; none while there is a cycle.
    order: Option<Vec<usize>>,
}

impl<H: PluginHost> Checker<'_, H> {
    fn run(&mut self) {
        self.collect_names();
        if self.spec.sources.is_empty() {
            self.problems
                .error(None, "there is no source")
                .help("add [source.some-name] with type = \"file\", \"stdin\" or \"generator\"");
        }
        self.load_plugins();
        self.open_functions();
        self.resolve_inputs();
        self.check_unread();
        self.order = self.sorted();
        self.check_places();
        if self.order.is_some() {
            self.check_rules();
        }
    }

    fn finish(mut self) -> Result<Plan<H::Plugin>, Box<Problems>> {
        self.problems.sort();
        if !self.problems.errors.is_empty() {
            return Err(Box::new(self.problems));
        }
        let (texts, is_test) = (self.problems.texts.clone(), self.is_test());
        let plan = self.lower();
        let (stages, tasks) = (stages(&plan).len(), plan.parallelism);
        // A script drives all of them by one thread.
        if stages * tasks > TASKS_MAX && !is_test {
            let mut problems = Problems::new(texts);
            let words = format!(
                "{stages} stages of {tasks} tasks each are {} threads: a job has at most {TASKS_MAX}",
                stages * tasks
            );
            problems.error(None, words).help("lower \"parallelism\"");
            return Err(Box::new(problems));
        }
        Ok(plan)
    }

    fn is_test(&self) -> bool {
        self.options.mode == Mode::Test
    }

    /// The policy of a step or source, given what the job and it say.
    fn policy(&self, node: SpecNode) -> OnError {
        let typed = match node {
            SpecNode::Source(s) => self.spec.sources[s].on_error.as_ref(),
            SpecNode::Step(s) => self.spec.steps[s].on_error.as_ref(),
            SpecNode::Table(_) | SpecNode::Sink(_) => None,
        };
        if self.is_read(node, Port::Errors) {
            return OnError::DeadLetter;
        }
        typed
            .map(|t| t.value)
            .or(self.spec.on_error)
            .unwrap_or(OnError::Fail)
    }

    fn is_read(&self, node: SpecNode, port: Port) -> bool {
        self.read.contains(&(node, port))
    }

    fn name_of(&self, node: SpecNode) -> (&str, Span, &'static str) {
        let (name, kind) = match node {
            SpecNode::Source(i) => (&self.spec.sources[i].name, "source"),
            SpecNode::Table(i) => (&self.spec.tables[i].name, "table"),
            SpecNode::Step(i) => (&self.spec.steps[i].name, "step"),
            SpecNode::Sink(i) => (&self.spec.sinks[i].name, "sink"),
        };
        (&name.value, name.span, kind)
    }
}
