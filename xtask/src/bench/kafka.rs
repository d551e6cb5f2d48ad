//! Kafka: the source beside a bare librdkafka consumer, the sink beside a bare producer, the cast job into nothing and
//! into a topic, exactly once beside at least once, latency, memory. One broker, on the same cores: CPU time counts.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use wasmill_tests::kafka::{Broker, Life, Settings, tool};

use super::{Cost, cost};
use crate::shell;

/// Of each topic.
const RECORDS: u64 = 5_000_000;

/// Runs all of it. The wasmill that `$WASMILL_BIN` names, or the workspace's.
pub fn run() -> Result<()> {
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
        fast_code: true,
        ..Settings::default()
    };
    let broker = Broker::start(&folder.join("broker"), &settings, Life::Ours)?;
    let bench = Bench {
        brokers: broker.address().to_owned(),
        folder,
    };
    for topic in [
        "lines",
        "ints",
        "lines-out",
        "cast-out",
        "once-out",
        "least-out",
        "lat-in",
        "lat-out",
    ] {
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
    bench.throughput()?;
    bench.latency()?;
    bench.memory()
}

struct Bench {
    brokers: String,
    folder: PathBuf,
}

impl Bench {
    fn throughput(&self) -> Result<()> {
        let count = RECORDS.to_string();
        let produce = self.show("bare producer, 100 B", |b| {
            b.bare(&["produce", &b.brokers, "lines", &count, "lines"])
        })?;
        self.bare(&["produce", &self.brokers, "ints", &count, "ints"])?;
        let consume = self.show("bare batch consumer, 100 B", |b| {
            b.bare(&["consume", &b.brokers, "lines", &count])
        })?;
        let blackhole = "type = \"blackhole\"";
        let source = self.job(
            "source, with headers",
            "",
            &self.topic("lines"),
            "",
            blackhole,
        )?;
        println!(
            "source: {:.0} % of the bare consumer",
            100.0 * consume.cpu / source.cpu
        );
        let without = format!("{}\nheaders = false", self.topic("lines"));
        let source = self.job("source, headers = false", "", &without, "", blackhole)?;
        let file = self.folder.join("lines.txt");
        write_lines(&file)?;
        let lines = format!("type = \"file\"\npath = \"{}\"", file.display());
        let into_nothing = self.job("file into nothing", "", &lines, "", blackhole)?;
        let sink = self.job(
            "file into a topic",
            "",
            &lines,
            "",
            &self.sink("lines-out", "at-least-once"),
        )?;
        let sink_alone = sink.cpu - into_nothing.cpu;
        println!(
            "source: {:.0} % of the bare consumer",
            100.0 * consume.cpu / source.cpu
        );
        println!(
            "sink, without the file's reading: {:.0} % of the bare producer",
            100.0 * produce.cpu / sink_alone
        );
        let cast = "[step.cast]\nfrom = \"in\"\ntransform = \"std.parse-int\"\n\
                    [step.half]\nfrom = \"cast\"\ntransform = \"std.filter\"\n\
                    config = { field = \"\", op = \"<\", value = 500000 }";
        let ints = format!("{}\nheaders = false", self.topic("ints"));
        self.job("cast, keep half, into nothing", "", &ints, cast, blackhole)?;
        self.job(
            "cast, keep half, into a topic",
            "",
            &ints,
            cast,
            &self.sink("cast-out", "at-least-once"),
        )?;
        let every = "[checkpoint]\npath = \"CHECKPOINTS\"\nevery = \"1s\"";
        let least = self.job(
            "the same, 1 s epochs, at least once",
            every,
            &ints,
            cast,
            &self.sink("least-out", "at-least-once"),
        )?;
        let once = self.job(
            "the same, 1 s epochs, exactly once",
            every,
            &ints,
            cast,
            &self.sink("once-out", "exactly-once"),
        )?;
        println!(
            "exactly once: {:.0} % of at least once by CPU, {:.0} % on the wall",
            100.0 * least.cpu / once.cpu,
            100.0 * least.wall / once.wall
        );
        Ok(())
    }

    fn latency(&self) -> Result<()> {
        let cast = "[step.cast]\nfrom = \"in\"\ntransform = \"std.parse-int\"";
        let source = format!("{}\nstart = \"latest\"", self.kafka("topics = \"lat-in\""));
        let every = "[checkpoint]\npath = \"CHECKPOINTS\"\nevery = \"1s\"";
        let mut job = self.start(
            "latency",
            every,
            &source,
            cast,
            &self.sink("lat-out", "at-least-once"),
        )?;
        std::thread::sleep(Duration::from_secs(2));
        println!("latency topic -> cast -> topic, 100,000 records/s:");
        let measured = self.bare(&["latency", &self.brokers, "lat-in", "lat-out", "100000", "8"]);
        job.kill()?;
        job.wait()?;
        measured
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
        let program = shell::target().join("release/examples/kafka-bare");
        shell::run(Command::new(program).args(arguments))
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
    ) -> Result<std::process::Child> {
        let mut command = self.command(name, head, source, steps, sink)?;
        command
            .stdin(Stdio::null())
            .spawn()
            .context("start wasmill")
    }

    fn job(&self, name: &str, head: &str, source: &str, steps: &str, sink: &str) -> Result<Cost> {
        let mut command = self.command(name, head, source, steps, sink)?;
        self.show(name, |_| {
            ensure!(command.status()?.success(), "{name} failed");
            Ok(())
        })
    }

    fn show(&self, name: &str, mut work: impl FnMut(&Self) -> Result<()>) -> Result<Cost> {
        let ((), cost) = cost(|| work(self))?;
        let millions = RECORDS as f64 / 1e6;
        println!(
            "{name:<40} {:>5.2} CPU-s, {:>5.2} M records per CPU-second; {:>5.1} s on the wall",
            cost.cpu,
            millions / cost.cpu,
            cost.wall
        );
        Ok(cost)
    }
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
