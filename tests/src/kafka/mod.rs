//! A real Apache Kafka for tests and for people trying the examples: one process, combined broker and
//! controller, on free ports and in a folder of its own, with settings that make it start and settle fast.
//!
//! A broker of a test dies with the test's process, however that ends: a shell holds a pipe from it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

mod certificate;
mod install;
mod settings;

pub use certificate::{Certificate, certificate};
pub use install::jars;
pub use settings::{Member, Security, Settings};

/// A busy machine has needed 58 s for a start.
const START_LIMIT: Duration = Duration::from_secs(120);

/// Between two looks at a port or a process.
const LOOK: Duration = Duration::from_millis(50);

/// How long tests that take a broker away wait before they bring it back: a soak says it, for tests it is nothing.
pub fn outage() -> Duration {
    let seconds = std::env::var("WASMILL_TEST_OUTAGE_S");
    Duration::from_secs(seconds.ok().and_then(|s| s.parse().ok()).unwrap_or(0))
}

/// Who ends the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// Our process, when it ends or drops the handle.
    Ours,
    /// `stop` of a later process.
    Detached,
}

/// A broker that was started.
pub struct Broker {
    folder: PathBuf,
    address: String,
    pid: u32,
    settings: Settings,
    life: Life,
    /// The shell that watches over us.
    watch: Option<Child>,
}

impl Broker {
    /// Starts one in an empty folder, or again in the folder of one that was stopped: ports and data stay.
    pub fn start(folder: &Path, settings: &Settings, life: Life) -> Result<Broker> {
        // A free port may be somebody else's by the time the broker wants it.
        let fresh = !folder.join("server.properties").exists();
        for _ in 0..if fresh { 2 } else { 0 } {
            match Broker::start_once(folder, settings, life) {
                Ok(broker) => return Ok(broker),
                Err(_) => fs::remove_dir_all(folder)?,
            }
        }
        Broker::start_once(folder, settings, life)
    }

    fn start_once(folder: &Path, settings: &Settings, life: Life) -> Result<Broker> {
        let jars = jars()?;
        fs::create_dir_all(folder)?;
        let properties = folder.join("server.properties");
        if !properties.exists() {
            settings.write(folder, &properties, [free_port()?, free_port()?])?;
            settings.format(&jars, folder, &properties)?;
        }
        let address = settings::address(&properties)?;
        let mut broker = Broker {
            folder: folder.to_path_buf(),
            address,
            pid: 0,
            settings: settings.clone(),
            life,
            watch: None,
        };
        broker.launch(&jars)?;
        Ok(broker)
    }

    fn launch(&mut self, jars: &Path) -> Result<()> {
        let log = self.folder.join("server.log");
        let out = fs::File::create(&log)?;
        let java = self.settings.java(jars);
        // The shell's standard input is our pipe: it ends when we do, and then the shell ends the broker.
        let watch = match self.life {
            Life::Ours => "cat >/dev/null; kill -9 $pid 2>/dev/null",
            Life::Detached => ":",
        };
        // The broker must not hold our pipe's reading end, nor the one that tells its id.
        let script = format!("\"$@\" </dev/null >&2 & pid=$!; echo $pid; exec >/dev/null; {watch}");
        let mut shell = Command::new("setsid")
            .args(["sh", "-c", &script, "broker"])
            .args(&java)
            .arg("kafka.Kafka")
            .arg(self.folder.join("server.properties"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(out)
            .spawn()
            .context("start a broker")?;
        let mut said = String::new();
        BufReader::new(shell.stdout.take().expect("stdout is piped")).read_line(&mut said)?;
        self.pid = said.trim().parse().context("the broker's process id")?;
        fs::write(self.folder.join("pid"), said.trim())?;
        match self.life {
            Life::Ours => self.watch = Some(shell),
            Life::Detached => drop(shell.wait()?),
        }
        self.wait_for_start(&log)
    }

    fn wait_for_start(&mut self, log: &Path) -> Result<()> {
        let begun = Instant::now();
        let address: SocketAddr = self.address.parse()?;
        // In the moment of its exec, a process has no command line.
        let mut gone = 0;
        loop {
            let text = fs::read_to_string(log).unwrap_or_default();
            if text.contains("Kafka Server started") && TcpStream::connect(address).is_ok() {
                return Ok(());
            }
            let tail = || text.lines().rev().take(30).collect::<Vec<_>>().join("\n");
            gone = if alive(self.pid) { 0 } else { gone + 1 };
            ensure!(
                gone < 5,
                "the broker ended at its start (newest line first):\n{}",
                tail()
            );
            ensure!(
                begun.elapsed() < START_LIMIT,
                "the broker did not start in {} s:\n{}",
                START_LIMIT.as_secs(),
                tail()
            );
            thread::sleep(LOOK);
        }
    }

    /// Starts several that are one cluster, each in a folder below this one: the first is the controller, and the
    /// others start side by side.
    pub fn cluster(folder: &Path, of: u16) -> Result<Vec<Broker>> {
        let start = |id: u16, controller: Option<u16>| {
            let settings = Settings {
                member: Member { id, of, controller },
                heap_mib: 256,
                ..Settings::default()
            };
            Broker::start(&folder.join(id.to_string()), &settings, Life::Ours)
        };
        let first = start(1, None)?;
        let controller = settings::controller(&first.folder.join("server.properties"))?;
        let others = thread::scope(|scope| {
            let start = &start;
            let others: Vec<_> = (2..=of)
                .map(|id| scope.spawn(move || start(id, Some(controller))))
                .collect();
            let ended = others.into_iter().map(|one| one.join());
            ended
                .map(|one| one.expect("a start does not panic"))
                .collect::<Result<Vec<Broker>>>()
        })?;
        Ok([first].into_iter().chain(others).collect())
    }

    /// `127.0.0.1:PORT`, for `brokers`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Where its data and log are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Ends it at once, as a crash does.
    pub fn kill(&mut self) -> Result<()> {
        end(self.pid, "-KILL")?;
        if let Some(mut watch) = self.watch.take() {
            drop(watch.stdin.take());
            watch.wait()?;
        }
        Ok(())
    }

    /// Starts it again after `kill`, with the same ports and data.
    pub fn restart(&mut self) -> Result<()> {
        self.launch(&jars()?)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if self.life == Life::Ours {
            let _ = self.kill();
        }
    }
}

/// Stops the broker of a folder; false: none ran.
pub fn stop(folder: &Path) -> Result<bool> {
    let Ok(pid) = fs::read_to_string(folder.join("pid")) else {
        return Ok(false);
    };
    let pid = pid.trim().parse()?;
    let ran = is_broker(pid);
    if ran {
        end(pid, "-TERM")?;
    }
    fs::remove_file(folder.join("pid"))?;
    Ok(ran)
}

/// The address of the broker that runs in a folder, if one does.
pub fn running(folder: &Path) -> Option<String> {
    let pid = fs::read_to_string(folder.join("pid")).ok()?;
    if !is_broker(pid.trim().parse().ok()?) {
        return None;
    }
    settings::address(&folder.join("server.properties")).ok()
}

/// One of Kafka's own command line tools, such as `org.apache.kafka.tools.TopicCommand`, ready for arguments.
pub fn tool(class: &str) -> Result<Command> {
    let mut command = Command::new("java");
    command
        .args(["-Xshare:auto", "-XX:TieredStopAtLevel=1"])
        .args(["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp"])
        .arg(format!("{}/*", jars()?.display()))
        .arg(class);
    Ok(command)
}

fn end(pid: u32, signal: &str) -> Result<()> {
    if !is_broker(pid) {
        return Ok(());
    }
    Command::new("kill")
        .args([signal, &pid.to_string()])
        .stderr(Stdio::null())
        .status()?;
    let begun = Instant::now();
    while is_broker(pid) {
        if begun.elapsed() > Duration::from_secs(30) {
            bail!("the broker, process {pid}, does not end");
        }
        thread::sleep(LOOK);
    }
    Ok(())
}

fn alive(pid: u32) -> bool {
    // A process that ended but that nobody waited for yet has no command line.
    fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty())
}

/// Whether the process is (still) a broker: ids are used again.
fn is_broker(pid: u32) -> bool {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&line).contains("kafka.Kafka")
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
