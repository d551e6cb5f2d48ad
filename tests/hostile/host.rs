//! Jobs side by side in this process, and the oracle that holds after every attack, whatever it was:
//!
//! - this process still lives (it is the one that ran the attack),
//! - the neighbour's job, which computes by the same engine and permits from before the attack until after it, still
//!   does, and its output is its golden, byte by byte,
//! - memory is back to where it was, up to `MEMORY_SLACK`,
//! - no descriptor, child, zombie, thread or file is left.
//!
//! Attacks run one at a time, so that what is left is the last one's. Where an attack is run by the binary, the process
//! that has to live through it is still this one: the other one is the attacking job's own, and its end is looked at.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tempfile::TempDir;
use wasmill::cli::engine::EngineHost;
use wasmill::config::{CheckOptions, Operator, check_file};
use wasmill::job::{Environment, Job, JobEnding, JobStatus, Started};
use wasmill::plugin::{CacheDir, CompileLimits, Compiler, Engine, EngineOptions};
use wasmill::runtime::permits::Permits;
use wasmill::sink::Console;
use wasmill::time::Stopwatch;

/// What an allocator may keep of a whole attack: less than one instance's memory.
const MEMORY_SLACK: u64 = 48 << 20;
/// How long threads and children may take to be gone: the machine may be busy.
const GONE: Duration = Duration::from_secs(10);

const PLAIN: &str = include_str!("../fixtures/plugins/plain.wat");

/// Records a second of a neighbour that lives as long as the attack: it always has something to do, and takes little.
const NEIGHBOURS_RATE: &str = "rate = 5000";
/// How long its next record may be away: the machine may be busy.
const NEXT_RECORD: Duration = Duration::from_secs(60);
/// How often it is asked whether it is still running.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

const NEIGHBOUR: &str = r#"
name = "neighbour"
parallelism = 1
batch = { latency = "2ms" }
[source.in]
type = "generator"
template = '{"record":{{index}}}'
RECORDS
[plugin.plain]
path = "plain.wat"
[step.same]
from = "in"
transform = "plain.copied"
[sink.out]
from = "same"
type = "console"
format = "value"
"#;

/// The binary whose `__compile` compiles.
pub fn program() -> PathBuf {
    std::env::var_os("WASMILL_BIN").map_or(env!("CARGO_BIN_EXE_wasmill").into(), PathBuf::from)
}

/// An engine as the binary has it, without a cache between runs.
pub fn engine(limits: CompileLimits) -> Engine {
    let options = EngineOptions {
        cache: CacheDir::Off,
        compile_limits: limits,
        ..EngineOptions::new(Compiler::Child(program()))
    };
    Engine::new(options).expect("the machine runs WebAssembly")
}

/// How an attacking job ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Before anything was started: exit code 2.
    Refused(String),
    /// Exit code 1.
    Failed(String),
    /// Exit code 0.
    Finished,
}

/// What an attacking job did.
#[derive(Debug)]
pub struct Outcome {
    /// How it ended.
    pub ending: Ending,
    /// Values that came out.
    pub out: Vec<String>,
    /// Dead letters: `value kind: message`.
    pub letters: Vec<String>,
    /// Where each of them stands in its partition: of a file, its line.
    pub offsets: Vec<u64>,
    /// Log lines of the dead letters.
    pub log: Vec<String>,
}

/// A folder with the attack's files.
pub struct Attack {
    /// The job.
    pub job: String,
    /// Further files: name, content.
    pub files: Vec<(String, Vec<u8>)>,
    /// What the job may do.
    pub operator: Operator,
    /// A new instance for every call.
    pub paranoid: bool,
}

/// Lines that a transform or process function gets: good ones around one that begins with `x`.
pub const LINES: &str = "a\nb\nx1\nc\nd\n";

impl Attack {
    /// A job without plugin files.
    pub fn job(job: &str) -> Attack {
        Attack {
            job: job.into(),
            files: vec![("in.txt".into(), LINES.into())],
            operator: Operator::default(),
            paranoid: false,
        }
    }

    /// A guest as transform, its failing records as dead letters; `settings`: lines of `[plugin.mine]`.
    pub fn transform(wat: &str, settings: &str) -> Attack {
        let job = format!(
            "name = \"attack\"\nparallelism = 1\n[source.in]\ntype = \"file\"\npath = \"in.txt\"\n\
             [plugin.mine]\npath = \"mine.wasm\"\n{settings}\n\
             [step.attack]\nfrom = \"in\"\ntransform = \"mine.attack\"\n\
             [sink.out]\nfrom = \"attack\"\ntype = \"console\"\nformat = \"value\"\n\
             [sink.letters]\nfrom = \"attack.errors\"\ntype = \"console\"\nformat = \"json\"\n"
        );
        Attack::job(&job).file("mine.wasm", wat.as_bytes())
    }

    /// A guest as process function; each record has a key of its own.
    pub fn process(wat: &str, settings: &str) -> Attack {
        let mut attack = Attack::transform(wat, settings);
        attack.job = attack.job.replace(
            "[step.attack]\nfrom = \"in\"\ntransform = \"mine.attack\"",
            "[step.words]\nfrom = \"in\"\ntransform = \"std.split-words\"\n\
                 [step.attack]\nfrom = \"words\"\nprocess = \"mine.attack\"\ntime = \"processing\"\nttl = \"1d\"",
        );
        attack
    }

    /// Another file, or this one with another content.
    pub fn file(mut self, name: &str, bytes: &[u8]) -> Attack {
        self.files.retain(|f| f.0 != name);
        self.files.push((name.into(), bytes.to_vec()));
        self
    }

    /// Other input.
    pub fn input(self, text: &str) -> Attack {
        self.file("in.txt", text.as_bytes())
    }

    /// Runs it beside the neighbour, and holds the oracle against what is left.
    pub fn run(self) -> Outcome {
        Attack::run_made(|| self)
    }

    /// The same of one so large that it has to be made by who is alone: else it would be taken for what another's left.
    pub fn run_made(make: impl FnOnce() -> Attack) -> Outcome {
        let watch = Watch::begin();
        let outcome = make().run_whole(&shared_engine(), watch.permits());
        watch.expect_unharmed();
        outcome
    }

    /// The same by an engine of its own, gone before the oracle looks.
    pub fn run_by(self, limits: CompileLimits) -> Outcome {
        let watch = Watch::begin();
        let outcome = self.run_whole(&engine(limits), watch.permits());
        watch.expect_unharmed();
        outcome
    }

    /// Runs it in a folder of its own, in which it leaves nothing.
    fn run_whole(self, engine: &Engine, permits: Permits) -> Outcome {
        let folder = self.folder();
        let files = names(folder.path());
        let outcome = self.run_in(folder.path(), engine, permits);
        assert_eq!(
            names(folder.path()),
            files,
            "files that the attack left behind"
        );
        outcome
    }

    /// A folder with its files.
    pub fn folder(&self) -> TempDir {
        let folder = tempfile::tempdir().expect("a scratch folder");
        for (name, bytes) in &self.files {
            fs::write(folder.path().join(name), bytes).expect("a scratch file");
        }
        fs::write(folder.path().join("job.toml"), &self.job).expect("a scratch file");
        folder
    }

    /// Runs it; who calls has begun a watch.
    pub fn run_in(&self, folder: &Path, engine: &Engine, permits: Permits) -> Outcome {
        self.run_changed(folder, engine, permits, || {})
    }

    /// The same; `change` comes between the plan and the start.
    pub fn run_changed(
        &self,
        folder: &Path,
        engine: &Engine,
        permits: Permits,
        change: impl FnOnce(),
    ) -> Outcome {
        let output = Output::default();
        let ending = start(
            &folder.join("job.toml"),
            engine,
            &self.operator,
            environment(permits, &output, self.paranoid),
            change,
        )
        .map_or_else(Ending::Refused, end);
        let (mut out, mut letters, mut offsets, mut log) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for line in output.text().lines() {
            let json: Option<serde_json::Value> = serde_json::from_str(line).ok();
            match json.as_ref().and_then(|j| j.get("error").map(|e| (j, e))) {
                Some((letter, error)) => {
                    letters.push(format!(
                        "{} {}: {}",
                        words(&letter["value"]),
                        words(&error["kind"]),
                        words(&error["message"])
                    ));
                    offsets.extend(error["offset"].as_u64());
                    log.extend(error["log"].as_array().into_iter().flatten().map(words));
                }
                None => out.push(line.to_owned()),
            }
        }
        Outcome {
            ending,
            out,
            letters,
            offsets,
            log,
        }
    }
}

/// A string without its quotes, other JSON as it is.
fn words(value: &serde_json::Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

fn environment(permits: Permits, output: &Output, paranoid: bool) -> Environment {
    Environment {
        permits,
        console: Console::new(Box::new(output.clone()), 80),
        paranoid,
        ..Environment::system()
    }
}

/// Checks and starts a job.
fn start(
    job: &Path,
    engine: &Engine,
    operator: &Operator,
    environment: Environment,
    change: impl FnOnce(),
) -> Result<Result<Started, String>, String> {
    let host = EngineHost::with(engine.clone(), operator);
    let options = CheckOptions {
        operator: operator.clone(),
        ..CheckOptions::default()
    };
    let plan = check_file(job, &options, &host).map_err(|p| p.render())?;
    change();
    Ok(Job::start(plan, environment).map_err(|e| e.to_string()))
}

fn end(started: Result<Started, String>) -> Ending {
    match started {
        Err(message) => Ending::Failed(message),
        Ok(Started::FinishedBefore(_)) => Ending::Finished,
        Ok(Started::Running(job)) => match job.wait() {
            JobEnding::Failed(message) => Ending::Failed(message),
            JobEnding::Finished | JobEnding::Stopped => Ending::Finished,
        },
    }
}

/// One engine for all attacks and the neighbour: what an attack broke in it would show in the next.
pub fn shared_engine() -> Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE
        .get_or_init(|| engine(CompileLimits::default()))
        .clone()
}

/// The neighbour at work.
pub struct Neighbour {
    _folder: TempDir,
    job: Box<Job>,
    output: Golden,
}

impl Neighbour {
    /// Starts one; `records` says how many there are of them, or how fast they come.
    pub fn start(permits: &Permits, records: &str) -> Neighbour {
        let job = NEIGHBOUR.replace("RECORDS", records);
        let attack = Attack::job(&job).file("plain.wat", PLAIN.as_bytes());
        let folder = attack.folder();
        let output = Golden::default();
        let environment = Environment {
            permits: permits.clone(),
            console: Console::new(Box::new(output.clone()), 80),
            ..Environment::system()
        };
        let job = folder.path().join("job.toml");
        let started = start(&job, &shared_engine(), &attack.operator, environment, || {});
        match started.expect("the neighbour's job is fine") {
            Ok(Started::Running(job)) => Neighbour {
                _folder: folder,
                job,
                output,
            },
            other => panic!("the neighbour does not run: {:?}", other.err()),
        }
    }

    /// Waits for a record that has not come out yet.
    fn expect_next_record(&self) {
        let (seen, more) = &*self.output.0;
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        let before = seen.records;
        let started = Stopwatch::start();
        while seen.records == before {
            let status = self.job.status();
            assert!(
                status == JobStatus::Running && started.elapsed() < NEXT_RECORD,
                "the neighbour puts out nothing any more: {status:?}"
            );
            (seen, _) = more
                .wait_timeout(seen, LOOK_AGAIN)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Stops it, and looks at what came out.
    fn expect_golden_until_stopped(self) {
        self.job.stop();
        assert_eq!(self.job.wait(), JobEnding::Stopped);
        self.output.expect_whole();
    }

    /// Waits for its end, and looks at what came out.
    pub fn expect_golden(self, records: u64) {
        assert_eq!(self.job.wait(), JobEnding::Finished);
        assert_eq!(self.output.expect_whole(), records);
    }
}

/// What the neighbour has put out so far, compared with its golden as it comes, not kept.
#[derive(Clone, Default)]
struct Golden(Arc<(Mutex<Seen>, Condvar)>);

#[derive(Default)]
struct Seen {
    records: u64,
    /// The beginning of the next line.
    rest: Vec<u8>,
    wrong: Option<String>,
}

impl Golden {
    /// All was right, and the last line whole: so many there were.
    fn expect_whole(&self) -> u64 {
        let seen = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        assert_eq!(seen.wrong, None, "the neighbour's output changed");
        assert!(seen.rest.is_empty(), "the neighbour's last line is torn");
        seen.records
    }
}

impl Write for Golden {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (seen, more) = &*self.0;
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        for piece in bytes.split_inclusive(|b| *b == b'\n') {
            seen.rest.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                let golden = format!("{{\"record\":{}}}\n", seen.records);
                if seen.wrong.is_none() && seen.rest != golden.as_bytes() {
                    let line = String::from_utf8_lossy(&seen.rest).into_owned();
                    seen.wrong = Some(format!("{line:?} instead of {golden:?}"));
                }
                seen.rest.clear();
                seen.records += 1;
            }
        }
        more.notify_all();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Standard output of a job, kept.
#[derive(Clone, Default)]
struct Output(Arc<Mutex<Vec<u8>>>);

impl Output {
    fn text(&self) -> String {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One attack at a time, also after one that failed its test. The first one warms everything up.
pub fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    static WARM: OnceLock<()> = OnceLock::new();
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    WARM.get_or_init(|| {
        let attack = Attack::transform(&crate::wat::transform(&crate::wat::Guest::default()), "");
        let permits = Permits::per_core();
        let neighbour = Neighbour::start(&permits, NEIGHBOURS_RATE);
        neighbour.expect_next_record();
        let outcome = attack.run_whole(&shared_engine(), permits);
        neighbour.expect_golden_until_stopped();
        assert_eq!(outcome.ending, Ending::Finished);
        assert_eq!(outcome.out, ["a", "b", "x1", "c", "d"]);
    });
    alone
}

/// The oracle around an attack of any kind: alone with the neighbour, which computes from before it until after it.
#[must_use = "it says nothing until it is asked"]
pub struct Watch {
    before: Left,
    neighbour: Option<Neighbour>,
    permits: Permits,
    // Last: the next one begins when all else is gone.
    _alone: MutexGuard<'static, ()>,
}

impl Watch {
    /// From now on.
    pub fn begin() -> Watch {
        Watch::by(alone())
    }

    /// The same, by who is alone already and has made what it needs.
    pub fn by(alone: MutexGuard<'static, ()>) -> Watch {
        Watch::with(alone, Permits::per_core())
    }

    /// The same by these permits.
    pub fn with(alone: MutexGuard<'static, ()>, permits: Permits) -> Watch {
        let before = Left::now();
        let neighbour = Neighbour::start(&permits, NEIGHBOURS_RATE);
        neighbour.expect_next_record();
        Watch {
            before,
            neighbour: Some(neighbour),
            permits,
            _alone: alone,
        }
    }

    /// Those of the neighbour, for a job that attacks to share.
    pub fn permits(&self) -> Permits {
        self.permits.clone()
    }

    /// The neighbour goes on, its output is its golden, and when it is gone, too, nothing is left behind.
    pub fn expect_unharmed(mut self) {
        if let Some(neighbour) = self.neighbour.take() {
            neighbour.expect_next_record();
            neighbour.expect_golden_until_stopped();
        }
        self.before.expect_nothing_new();
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let asked = self.neighbour.is_none();
        assert!(
            asked || std::thread::panicking(),
            "nobody asked what the attack left"
        );
    }
}

/// What a process has, as the kernel counts it.
#[derive(Debug)]
struct Left {
    memory_bytes: u64,
    descriptors: usize,
    threads: Vec<String>,
}

impl Left {
    /// Now.
    fn now() -> Left {
        Left {
            memory_bytes: memory_bytes("VmRSS:"),
            descriptors: names(Path::new("/proc/self/fd")).len(),
            threads: threads(),
        }
    }

    /// Nothing more than before. Threads and children get a moment to end.
    fn expect_nothing_new(&self) {
        let started = Stopwatch::start();
        loop {
            let (now, children) = (Left::now(), children());
            let gone = children.is_empty()
                && now.threads.len() <= self.threads.len()
                && now.descriptors <= self.descriptors
                && now.memory_bytes <= self.memory_bytes + MEMORY_SLACK;
            if gone {
                return;
            }
            assert!(
                started.elapsed() < GONE,
                "left behind: children {children:?}\nbefore {self:?}\nnow    {now:?}"
            );
            std::thread::yield_now();
        }
    }
}

/// The most memory that this process has from now on, beyond what it has now.
pub struct Peak(u64);

impl Peak {
    /// From now on.
    pub fn start() -> Peak {
        // The first attack of all warms everything up.
        drop(alone());
        Peak::start_alone()
    }

    /// The same, by who is alone already.
    pub fn start_alone() -> Peak {
        fs::write("/proc/self/clear_refs", "5").expect("Linux forgets the peak when told to");
        Peak(memory_bytes("VmRSS:"))
    }

    /// So much it was.
    pub fn bytes(&self) -> u64 {
        memory_bytes("VmHWM:").saturating_sub(self.0)
    }
}

fn memory_bytes(of: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux has it");
    let line = status.lines().find_map(|l| l.strip_prefix(of));
    let kib = line.and_then(|l| l.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.expect("a number of kB") << 10
}

/// Threads by name, without those of the test harness, which come and go.
fn threads() -> Vec<String> {
    let mut all: Vec<String> = tasks()
        .filter_map(|task| fs::read_to_string(task.join("comm")).ok())
        .map(|name| name.trim().to_owned())
        .filter(|name| name.contains('/') || name.starts_with("wasmill"))
        .collect();
    all.sort();
    all
}

fn tasks() -> impl Iterator<Item = PathBuf> {
    let tasks = fs::read_dir("/proc/self/task").expect("Linux has it");
    tasks.filter_map(|t| Some(t.ok()?.path()))
}

/// Children of any thread, zombies among them.
pub fn children() -> Vec<u32> {
    tasks()
        .filter_map(|task| fs::read_to_string(task.join("children")).ok())
        .flat_map(|list| {
            list.split_whitespace()
                .filter_map(|pid| pid.parse().ok())
                .collect::<Vec<u32>>()
        })
        .collect()
}

/// Names in a folder, in order.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    let mut names: Vec<String> = entries
        .filter_map(|e| Some(e.ok()?.file_name().to_string_lossy().into_owned()))
        .collect();
    names.sort();
    names
}
