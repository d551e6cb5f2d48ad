//! Where the broker's jars come from: Maven, once, kept under `target/`. Java and Maven are installed where we may.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Mutex;

use anyhow::{Context, Result, bail, ensure};

/// What Debian calls them.
const PACKAGES: [&str; 2] = ["default-jre-headless", "maven"];

/// The folder of jars; fetched if it is not there or another version's.
pub fn jars() -> Result<PathBuf> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let pom = crate::root().join("tests/kafka/pom.xml");
    let wanted = fs::read_to_string(&pom).with_context(|| format!("read {}", pom.display()))?;
    let folder = crate::target().join("kafka/jars");
    let done = folder.join("pom.done");
    need("java", "-version")?;
    if fs::read_to_string(&done).is_ok_and(|before| before == wanted) {
        return Ok(folder);
    }
    need("mvn", "--version")?;
    eprintln!("fetching Apache Kafka with Maven (once, 54 MB) …");
    let _ = fs::remove_dir_all(&folder);
    let fetched = Command::new("mvn")
        .args(["-q", "-B", "dependency:copy-dependencies"])
        .args(["-DincludeScope=runtime", "-f"])
        .arg(&pom)
        .arg(format!("-DoutputDirectory={}", folder.display()))
        .stdin(Stdio::null())
        .status()
        .context("start mvn")?;
    ensure!(
        fetched.success(),
        "Maven cannot fetch Apache Kafka (see above): it needs the network once"
    );
    fs::write(done, wanted)?;
    Ok(folder)
}

/// The program, installed if it is missing and we may.
fn need(program: &str, version: &str) -> Result<()> {
    let works = || {
        let tried = Command::new(program)
            .arg(version)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        tried.is_ok_and(|s| s.success())
    };
    if works() {
        return Ok(());
    }
    let say = format!(
        "{program} is missing, which the Kafka broker of the tests needs: apt-get install {}",
        PACKAGES.join(" ")
    );
    eprintln!("{say} …");
    let root = Command::new("id").arg("-u").output();
    let root = root.is_ok_and(|out| out.stdout.starts_with(b"0\n"));
    let sudo: &[&str] = if root { &[] } else { &["sudo", "-n"] };
    for arguments in [&["update", "-q"][..], &["install", "-q", "-y"][..]] {
        let mut words = sudo.to_vec();
        words.push("apt-get");
        words.extend(arguments);
        if arguments.len() == 3 {
            words.extend(PACKAGES);
        }
        let ran = Command::new(words[0]).args(&words[1..]).status();
        if !ran.is_ok_and(|s| s.success()) {
            bail!("{say} (tried it, and may not here)");
        }
    }
    ensure!(works(), "{say}");
    Ok(())
}
