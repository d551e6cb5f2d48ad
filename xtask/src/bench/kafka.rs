//! Kafka: the source beside a bare librdkafka consumer, the sink beside a bare producer, the cast job into nothing and
//! into a topic, exactly once beside at least once, latency, memory. One broker, on the same cores: CPU time counts.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use wasmill_tests::kafka::{Broker, Life, Settings, tool};

use super::{Cost, cost, median};
use crate::shell;

/// Of each topic.
const RECORDS: u64 = 5_000_000;

/// What is measured where nothing else is said.
const ROUNDS: usize = 3;

const USAGE: &str = "cargo xtask bench kafka [throughput|latency|memory]... [--rounds 3]";

/// Runs all of it, or what is named. The wasmill that `$WASMILL_BIN` names, or the workspace's.
pub fn run(arguments: &[String]) -> Result<()> {
    let (mut parts, mut rounds) = (Vec::new(), ROUNDS);
    let mut words = arguments.iter().map(String::as_str);
    while let Some(word) = words.next() {
        match word {
            "--rounds" => rounds = words.next().context(USAGE)?.parse().context(USAGE)?,
            "throughput" | "latency" | "memory" => parts.push(word),
            _ => bail!("{USAGE}"),
        }
    }
    let wanted = |part: &str| parts.is_empty() || parts.contains(&part);
    if std::env::var_os("WASMILL_BIN").is_none() {
        shell::build()?;
    }
    shell::run(&mut shell::cargo(&[
        "build",
        "--release",
        "--package",
        "wasmill-tests",
        "--example",
        "kafka-bare",
    ]))?;
    let folder = shell::target().join("kafka/bench");
    let _ = std::fs::remove_dir_all(&folder);
    let settings = Settings {
        heap_mib: 1_024,
        production: true,
        ..Settings::default()
    };
    let broker = Broker::start(&folder.join("broker"), &settings, Life::Ours)?;
    let bench = Bench {
        brokers: broker.address().to_owned(),
        folder,
    };
    for topic in ["lines", "ints", "mixed", "out", "lat-in", "lat-out"] {
        let mut create = tool("org.apache.kafka.tools.TopicCommand")?;
        create.args([
            "--bootstrap-server",
            &bench.brokers,
            "--create",
            "--topic",
            topic,
        ]);
        create.args(["--partitions", "2"]).stdout(Stdio::null());
        shell::run(&mut create)?;
    }
    if wanted("throughput") {
        bench.throughput(rounds)?;
    }
    if wanted("latency") {
        bench.latency(rounds)?;
    }
    if wanted("memory") {
        bench.memory()?;
    }
    Ok(())
}

struct Bench {
    brokers: String,
    folder: PathBuf,
}

/// Something that reads or writes all records.
struct Case {
    name: &'static str,
    work: Work,
}

enum Work {
    /// Arguments of `kafka-bare`.
    Bare([&'static str; 3]),
    /// A job: what stands before source, steps and sink; then these.
    Job {
        head: &'static str,
        source: String,
        steps: &'static str,
        sink: String,
    },
}

const CAST: &str = "[step.cast]\nfrom = \"in\"\ntransform = \"std.parse-int\"\n\
     [step.half]\nfrom = \"cast\"\ntransform = \"std.filter\"\n\
     config = { field = \"\", op = \"<\", value = 500000 }";

const EVERY: &str = "[checkpoint]\npath = \"CHECKPOINTS\"\nevery = \"1s\"";

impl Bench {
    /// All cases one after the other, several times; of each, the run counts that took the least CPU time, since
    /// neighbours on the same cores can only make it more.
    fn throughput(&self, rounds: usize) -> Result<()> {
        let count = RECORDS.to_string();
        for what in ["lines", "ints", "mixed"] {
            self.bare(&["produce", &self.brokers, what, &count, what])?;
        }
        let file = self.folder.join("lines.txt");
        write_lines(&file)?;
        let cases = self.cases(&format!("type = \"file\"\npath = \"{}\"", file.display()));
        let mut least: Vec<Option<Cost>> = vec![None; cases.len()];
        for round in 0..rounds.max(1) {
            for (case, least) in cases.iter().zip(&mut least) {
                let cost = self.measure(case, round)?;
                if least.is_none_or(|before| cost.cpu < before.cpu) {
                    *least = Some(cost);
                }
            }
        }
        println!("\nthe least of {rounds} rounds:");
        let cpu = |name: &str| {
            let found = cases.iter().position(|case| case.name == name);
            let cost = found.and_then(|i| least[i]);
            cost.map(|c| c.cpu)
                .with_context(|| format!("no case {name}"))
        };
        for case in &cases {
            let seconds = cpu(case.name)?;
            println!(
                "{:<40} {seconds:>5.2} CPU-s, {:>5.2} M records per CPU-second",
                case.name,
                RECORDS as f64 / 1e6 / seconds
            );
        }
        let consumer = cpu("bare batch consumer")?;
        for source in ["source, with headers", "source, headers = false"] {
            let share = 100.0 * consumer / cpu(source)?;
            println!("{source}: {share:.0} % of the bare consumer");
        }
        let sink = cpu("file into a topic")? - cpu("file into nothing")?;
        let share = 100.0 * cpu("bare producer")? / sink;
        println!("sink, without the file's reading: {share:.0} % of the bare producer");
        let share =
            100.0 * cpu("epochs of 1 s, at least once")? / cpu("epochs of 1 s, exactly once")?;
        println!("exactly once: {share:.0} % of at least once");
        Ok(())
    }

    fn cases(&self, file: &str) -> Vec<Case> {
        let blackhole = || "type = \"blackhole\"".to_owned();
        let bare = |name, arguments| Case {
            name,
            work: Work::Bare(arguments),
        };
        let job = |name, head, source: &str, steps, sink| {
            let source = source.to_owned();
            Case {
                name,
                work: Work::Job {
                    head,
                    source,
                    steps,
                    sink,
                },
            }
        };
        let lines = self.topic("lines");
        let ints = format!("{}\nheaders = false", self.topic("ints"));
        let least = || self.sink("out", "at-least-once");
        vec![
            bare("bare batch consumer", ["consume", "lines", ""]),
            bare("bare batch consumer of numbers", ["consume", "ints", ""]),
            job("source, with headers", "", &lines, "", blackhole()),
            job(
                "source, headers = false",
                "",
                &format!("{lines}\nheaders = false"),
                "",
                blackhole(),
            ),
            bare("bare producer", ["produce", "out", "lines"]),
            job("file into nothing", "", file, "", blackhole()),
            job("file into a topic", "", file, "", least()),
            job(
                "cast, keep half, into nothing",
                "",
                &ints,
                CAST,
                blackhole(),
            ),
            job(
                "cast, a tenth is no number, into nothing",
                "on-error = \"skip\"",
                &format!("{}\nheaders = false", self.topic("mixed")),
                CAST,
                blackhole(),
            ),
            job("cast, keep half, into a topic", "", &ints, CAST, least()),
            job("epochs of 1 s, at least once", EVERY, &ints, CAST, least()),
            job(
                "epochs of 1 s, exactly once",
                EVERY,
                &ints,
                CAST,
                self.sink("out", "exactly-once"),
            ),
        ]
    }

    fn measure(&self, case: &Case, round: usize) -> Result<Cost> {
        let ((), cost) = cost(|| match &case.work {
            Work::Bare([what, topic, kind]) => {
                let count = RECORDS.to_string();
                let mut arguments = vec![*what, &self.brokers, *topic, &count];
                arguments.extend(Some(*kind).filter(|k| !k.is_empty()));
                self.bare(&arguments)
            }
            Work::Job {
                head,
                source,
                steps,
                sink,
            } => {
                let name = format!("{} {round}", case.name);
                let mut command = self.command(&name, head, source, steps, sink)?;
                ensure!(command.status()?.success(), "{name} failed");
                Ok(())
            }
        })?;
        println!(
            "{:<40} {:>5.2} CPU-s, {:>5.1} s on the wall",
            case.name, cost.cpu, cost.wall
        );
        Ok(cost)
    }

    /// Job and bare relay in turns, after a round that only makes the broker's code warm: its first seconds at this rate are
    /// its own compiler's.
    fn latency(&self, rounds: usize) -> Result<()> {
        println!("latency topic -> cast -> topic, 100,000 records/s, ms:");
        self.latency_of_job("warm-up")?;
        self.latency_of_relay()?;
        println!("round         job p50 / p99 / most     bare relay p50 / p99 / most");
        let (mut jobs, mut relays) = (Vec::new(), Vec::new());
        for round in 0..rounds.max(1) {
            let name = format!("latency-{round}");
            let (job, relay) = if round % 2 == 0 {
                let job = self.latency_of_job(&name)?;
                (job, self.latency_of_relay()?)
            } else {
                let relay = self.latency_of_relay()?;
                (self.latency_of_job(&name)?, relay)
            };
            println!("{:<5} {:>26} {:>31}", round + 1, job.line(), relay.line());
            jobs.push(job);
            relays.push(relay);
        }
        let (job, relay) = (Waits::median(&jobs), Waits::median(&relays));
        println!("{:<5} {:>26} {:>31}", "mid", job.line(), relay.line());
        Ok(())
    }

    fn latency_of_job(&self, name: &str) -> Result<Waits> {
        let cast = "[step.cast]\nfrom = \"in\"\ntransform = \"std.parse-int\"";
        let source = format!("{}\nstart = \"latest\"", self.kafka("topics = \"lat-in\""));
        let sink = self.sink("lat-out", "at-least-once");
        self.measure_latency(self.start(name, EVERY, &source, cast, &sink)?)
    }

    fn latency_of_relay(&self) -> Result<Waits> {
        let mut relay = Command::new(bare_program());
        relay.args(["relay", &self.brokers, "lat-in", "lat-out"]);
        self.measure_latency(relay.spawn().context("start the bare relay")?)
    }

    /// What records wait while this moves them from topic to topic; it is ended then.
    fn measure_latency(&self, mut between: Child) -> Result<Waits> {
        std::thread::sleep(Duration::from_secs(2));
        let mut probe = Command::new(bare_program());
        probe.args(["latency", &self.brokers, "lat-in", "lat-out", "100000", "8"]);
        let printed = shell::output(&mut probe);
        between.kill()?;
        between.wait()?;
        Waits::read(&printed?)
    }

    fn memory(&self) -> Result<()> {
        let watched = "type = \"file\"\npath = \"nothing-*.txt\"\nwatch = \"1s\"";
        let source = self.kafka("topics = \"lat-in\"\nstart = \"latest\"");
        let without = self.resident("without Kafka", watched, "type = \"blackhole\"")?;
        let with = self.resident(
            "Kafka to Kafka",
            &source,
            &self.sink("lat-out", "at-least-once"),
        )?;
        println!(
            "memory of an idle job: {without:.0} MiB without Kafka, {with:.0} MiB from topic to topic"
        );
        Ok(())
    }

    fn resident(&self, name: &str, source: &str, sink: &str) -> Result<f64> {
        let mut job = self.start(name, "", source, "", sink)?;
        std::thread::sleep(Duration::from_secs(5));
        let status = std::fs::read_to_string(format!("/proc/{}/status", job.id()))?;
        job.kill()?;
        job.wait()?;
        let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"));
        let kib = line
            .and_then(|l| l.split_whitespace().next())
            .context("no VmRSS")?;
        Ok(kib.parse::<f64>()? / 1_024.0)
    }

    fn kafka(&self, more: &str) -> String {
        format!("type = \"kafka\"\nbrokers = \"{}\"\n{more}", self.brokers)
    }

    fn topic(&self, topic: &str) -> String {
        self.kafka(&format!("topics = \"{topic}\"\nend = \"latest\""))
    }

    fn sink(&self, topic: &str, delivery: &str) -> String {
        self.kafka(&format!("topic = \"{topic}\"\ndelivery = \"{delivery}\""))
    }

    fn bare(&self, arguments: &[&str]) -> Result<()> {
        shell::run(Command::new(bare_program()).args(arguments))
    }

    fn command(
        &self,
        name: &str,
        head: &str,
        source: &str,
        steps: &str,
        sink: &str,
    ) -> Result<Command> {
        let name = name
            .replace(|c: char| !c.is_ascii_alphanumeric(), "-")
            .to_lowercase();
        let from = if steps.contains("half") {
            "half"
        } else if steps.contains("cast") {
            "cast"
        } else {
            "in"
        };
        let head = head.replace("CHECKPOINTS", &format!("checkpoints-{name}"));
        let text = format!(
            "name = \"{name}\"\nparallelism = 2\n{head}\n[source.in]\n{source}\n{steps}\n[sink.out]\nfrom = \"{from}\"\n{sink}\n"
        );
        let file = self.folder.join(format!("{name}.toml"));
        std::fs::write(&file, text)?;
        let binary = match std::env::var_os("WASMILL_BIN") {
            Some(path) => path.into(),
            None => shell::target().join("release/wasmill"),
        };
        let mut command = Command::new(binary);
        command
            .args(["run".as_ref(), file.as_os_str(), "--quiet".as_ref()])
            .current_dir(&self.folder);
        Ok(command)
    }

    fn start(
        &self,
        name: &str,
        head: &str,
        source: &str,
        steps: &str,
        sink: &str,
    ) -> Result<Child> {
        let mut command = self.command(name, head, source, steps, sink)?;
        command
            .stdin(Stdio::null())
            .spawn()
            .context("start wasmill")
    }
}

/// How long records were on their way, in milliseconds: p50, p99 and the longest.
struct Waits([f64; 3]);

impl Waits {
    /// From the line that the probe prints.
    fn read(line: &str) -> Result<Waits> {
        let number = |behind: &str| {
            let text = line.split_once(behind)?.1.trim_start();
            text.split(' ').next()?.parse().ok()
        };
        let all = [number("p50"), number("p99"), number("most")];
        let [Some(p50), Some(p99), Some(most)] = all else {
            bail!("the probe printed {line:?}");
        };
        Ok(Waits([p50, p99, most]))
    }

    fn line(&self) -> String {
        let [p50, p99, most] = self.0;
        format!("{p50:.1} / {p99:.1} / {most:.1}")
    }

    /// The middle of each.
    fn median(all: &[Waits]) -> Waits {
        Waits([0, 1, 2].map(|what| median(all.iter().map(|waits| waits.0[what]))))
    }
}

fn bare_program() -> PathBuf {
    shell::target().join("release/examples/kafka-bare")
}

/// As many lines as the topics have records, and as long.
fn write_lines(file: &Path) -> Result<()> {
    use std::io::Write;
    let mut out = std::io::BufWriter::new(std::fs::File::create(file)?);
    for number in 0..RECORDS {
        writeln!(
            out,
            "{{\"id\":{number:010},\"text\":\"0123456789012345678901234567890123456789012345678901234567890123456789abcd\"}}"
        )?;
    }
    Ok(out.flush()?)
}
