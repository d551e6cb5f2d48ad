//! A job that dies again and again, at random moments and at named points of a commit, with what was not synced torn or
//! gone each time, as a power cut would leave it; and the check that nothing of it shows in what the job wrote.
//!
//! Everything follows from a seed but the moments at which the machine does things.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{command, lines_of_parts, run, wait};

/// Folders of the job's sinks.
const SINKS: [&str; 3] = ["sums", "both", "once"];

/// Rate of the source: the job lasts some hundred milliseconds more than its deaths let it.
const RATE: u64 = 60_000;

/// Longest that a start lives before it is killed, whether or not it came to its point.
const LIFE_MAX_MS: u64 = 600;

const KILLED: i32 = 9;

/// A xorshift generator: good enough to choose by, the same everywhere.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// From a seed.
    pub fn new(seed: u64) -> Random {
        // Seeds that are close give rows that are not.
        Random((seed ^ 0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9) | 1)
    }

    /// Below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) % n
    }

    fn one_of<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len() as u64) as usize]
    }
}

/// What happened.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Deaths at named points.
    pub at_points: u64,
    /// Deaths at random moments.
    pub anywhen: u64,
    /// Files torn or taken away, as a power cut may.
    pub torn: u64,
    /// Lines compared.
    pub lines: u64,
}

impl Counts {
    /// Adds those of another round.
    pub fn add(&mut self, other: &Counts) {
        self.at_points += other.at_points;
        self.anywhen += other.anywhen;
        self.torn += other.torn;
        self.lines += other.lines;
    }
}

/// Runs one job with so many deaths, in an empty folder. An error says what is wrong; the folder tells more then.
pub fn round(folder: &Path, seed: u64, deaths: u64) -> Result<Counts> {
    let mut random = Random::new(seed);
    let job = job(&mut random);
    let golden = folder.join("golden");
    fs::create_dir_all(&golden)?;
    fs::write(
        golden.join("job.toml"),
        job.replace(&format!("rate = {RATE}\n"), ""),
    )?;
    run(command(&golden, ["run", "job.toml", "--quiet"]), b"")?.expect_code(0)?;
    let killed = folder.join("killed");
    fs::create_dir_all(&killed)?;
    fs::write(killed.join("job.toml"), &job)?;
    let points = points(&killed)?;
    let mut counts = Counts::default();
    for number in 0..deaths {
        let point = (random.below(2) == 0)
            .then(|| format!("{}:{}", random.one_of(&points), 1 + random.below(6)));
        let ended = start(&killed, point.as_deref(), &mut random)
            .with_context(|| format!("start {number}, {point:?}"))?;
        match ended {
            Death::Finished => break,
            Death::AtPoint => counts.at_points += 1,
            Death::Killed => counts.anywhen += 1,
        }
        if random.below(2) == 0 {
            counts.torn += tear(&killed, &mut random)?;
        }
    }
    run(command(&killed, ["run", "job.toml", "--quiet"]), b"")?.expect_code(0)?;
    for sink in SINKS {
        let (want, got) = (
            lines_of_parts(&golden.join(sink))?,
            lines_of_parts(&killed.join(sink))?,
        );
        ensure!(want.len() > 500, "{sink}: too little to prove anything");
        if want != got {
            let lost = want.iter().find(|l| got.binary_search(l).is_err());
            let more = got.iter().find(|l| want.binary_search(l).is_err());
            bail!(
                "{sink}: {} lines undisturbed, {} with deaths; lost {lost:?}, more {more:?} (none: repeated)",
                want.len(),
                got.len()
            );
        }
        counts.lines += want.len() as u64;
    }
    Ok(counts)
}

/// Keyed state of several kinds; results do not depend on the order between partitions.
fn job(random: &mut Random) -> String {
    let parallelism = 1 + random.below(3);
    let every = [10, 20, 40, 90][random.below(4) as usize];
    let keep = 1 + random.below(3);
    let partitions = 1 + random.below(4);
    let seed = random.below(1 << 30);
    let keys = [400, 2_000, 10_000][random.below(3) as usize];
    let window = *random.one_of(&[
        "{ tumbling = \"5s\" }",
        "{ sliding = \"20s\", every = \"10s\" }",
    ]);
    let join = *random.one_of(&["inner", "left", "full"]);
    format!(
        r#"
name = "soak"
parallelism = {parallelism}
[checkpoint]
path = "checkpoints"
every = "{every}ms"
keep = {keep}
[source.in]
type = "generator"
records = 60000
rate = {RATE}
seed = {seed}
partitions = {partitions}
template = '{{"k":"u{{{{int 0 {keys}}}}}","v":{{{{int 0 100}}}},"t":{{{{time 1700000000000 10}}}}}}'
key = "/k"
timestamp = "/t"
[source.in.event-time]
max-disorder = "0ms"
[step.sums]
from = "in"
window = {window}
aggregate = "std.sum"
config = {{ field = "/v" }}
[step.visits]
from = "in"
window = {{ session = "2s" }}
aggregate = "std.count"
[step.both]
from = ["sums", "visits"]
join = "{join}"
within = {{ from = "-10s", to = "0s" }}
[step.slow]
from = "sums"
dedup = {{ within = "30s" }}
[sink.sums-out]
from = "sums"
type = "file"
path = "sums"
[sink.both-out]
from = "both"
type = "file"
path = "both"
[sink.once-out]
from = "slow"
type = "file"
path = "once"
"#
    )
}

/// All points that a job with files passes: the binary lists its points when it is given none of them.
pub fn points(folder: &Path) -> Result<Vec<String>> {
    let mut command = command(folder, ["run", "job.toml"]);
    command.env("WASMILL_CRASH_AT", "?");
    let said = run(command, b"")?.expect_code(2)?.stderr;
    let names = said.split("names: ").nth(1).context("names are listed")?;
    // Transactions are a broker's, which has a test of its own.
    let names = names.split_whitespace();
    Ok(names
        .filter(|name| !name.starts_with("transaction"))
        .map(str::to_owned)
        .collect())
}

enum Death {
    Finished,
    AtPoint,
    Killed,
}

fn start(folder: &Path, point: Option<&str>, random: &mut Random) -> Result<Death> {
    let parallelism = format!("parallelism={}", 1 + random.below(3));
    let mut command = command(
        folder,
        ["run", "job.toml", "--quiet", "--set", &parallelism],
    );
    let life = match point {
        Some(point) => {
            command.env("WASMILL_CRASH_AT", point);
            LIFE_MAX_MS
        }
        None => 5 + random.below(LIFE_MAX_MS / 2),
    };
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("start wasmill")?;
    let by_itself = ends_within(&mut child, Duration::from_millis(life))?;
    if !by_itself {
        child.kill()?;
    }
    let ended = wait(child)?;
    match ended.status.signal() {
        Some(KILLED) if by_itself => Ok(Death::AtPoint),
        Some(KILLED) => Ok(Death::Killed),
        _ => ended.expect_code(0).map(|_| Death::Finished),
    }
}

/// Whether it ended before the time was over. Nothing tells of the moment at which a child ends but asking.
fn ends_within(child: &mut Child, time: Duration) -> Result<bool> {
    let start = Instant::now();
    while start.elapsed() < time {
        if child.try_wait()?.is_some() {
            return Ok(true);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(false)
}

/// Does to files what a power cut may have done, at the worst moment that fits what is there. Answers to how many.
fn tear(folder: &Path, random: &mut Random) -> Result<u64> {
    let checkpoints = folder.join("checkpoints");
    let mut manifests = names(&checkpoints);
    manifests.retain(|name| name.starts_with("manifest-"));
    let mut torn = 0;
    let published = SINKS
        .iter()
        .flat_map(|sink| names(&folder.join(sink)))
        .filter_map(|name| epoch_of(name.strip_prefix("part-")?))
        .max();
    // A name that was given but not synced may be gone: as long as nobody acted on it.
    if let [.., before, newest] = &manifests[..]
        && published < epoch_of(&newest["manifest-".len()..])
        && random.below(2) == 0
        && files_are_there(&checkpoints, before)
    {
        fs::remove_file(checkpoints.join(newest))?;
        manifests.pop();
        torn += 1;
    }
    let stored = manifests
        .last()
        .and_then(|name| epoch_of(&name["manifest-".len()..]));
    let mut unsynced: Vec<PathBuf> = Vec::new();
    let all: String = manifests
        .iter()
        .filter_map(|name| fs::read_to_string(checkpoints.join(name)).ok())
        .collect();
    for name in names(&checkpoints) {
        let is_named = name.starts_with("state-") && all.contains(&name);
        if name.ends_with(".tmp") || (name.starts_with("state-") && !is_named) {
            unsynced.push(checkpoints.join(name));
        }
    }
    for sink in SINKS {
        let folder = folder.join(sink);
        for name in names(&folder) {
            let epoch = name.strip_prefix(".part-").and_then(epoch_of);
            if epoch.is_some_and(|epoch| Some(epoch) > stored) {
                unsynced.push(folder.join(name));
            }
        }
    }
    for path in unsynced {
        match random.below(3) {
            0 => fs::remove_file(&path)?,
            1 => {
                let file = fs::File::options().write(true).open(&path)?;
                let length = file.metadata()?.len();
                file.set_len(random.below(length + 1))?;
            }
            _ => continue,
        }
        torn += 1;
    }
    Ok(torn)
}

/// Whether all files that a manifest names are still there: then it may be gone back to.
fn files_are_there(checkpoints: &Path, manifest: &str) -> bool {
    let text = fs::read_to_string(checkpoints.join(manifest)).unwrap_or_default();
    let named = text.lines().filter_map(|line| {
        let name = line.trim().strip_prefix("\"name\": \"state-")?;
        Some(format!("state-{}", name.trim_end_matches(['"', ','])))
    });
    named
        .collect::<Vec<_>>()
        .iter()
        .all(|name| checkpoints.join(name).exists())
}

/// The number that a name goes on with.
fn epoch_of(rest: &str) -> Option<u64> {
    rest.get(..10)?.parse().ok()
}

/// Names in a folder, sorted.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut names: Vec<String> = entries
        .filter_map(|e| Some(e.ok()?.file_name().to_string_lossy().into_owned()))
        .collect();
    names.sort();
    names
}
