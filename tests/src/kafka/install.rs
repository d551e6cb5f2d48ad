//! Where the broker's jars come from: Maven, once, kept under `target/`. Java and Maven are installed where we may.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Mutex;

use anyhow::{Context, Result, ensure};

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
    let programs = Programs::default();
    programs.need("java", "-version")?;
    if fs::read_to_string(&done).is_ok_and(|before| before == wanted) {
        return Ok(folder);
    }
    programs.need("mvn", "--version")?;
    eprintln!("fetching Apache Kafka with Maven (once, 54 MB) …");
    let _ = fs::remove_dir_all(&folder);
    let fetched = programs
        .command("mvn")
        .args(["-q", "-B", "dependency:copy-dependencies"])
        .args(["-DincludeScope=runtime", "-f"])
        .arg(&pom)
        .arg(format!("-DoutputDirectory={}", folder.display()))
        .status()
        .context("start mvn")?;
    ensure!(
        fetched.success(),
        "Maven cannot fetch Apache Kafka (see above): it needs the network once"
    );
    fs::write(done, wanted)?;
    Ok(folder)
}

/// Where programs are looked for: in a test, somewhere else than in `$PATH`.
#[derive(Default)]
struct Programs(Option<OsString>);

impl Programs {
    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(name);
        command.stdin(Stdio::null());
        if let Some(path) = &self.0 {
            command.env("PATH", path);
        }
        command
    }

    fn works(&self, program: &str, version: &str) -> bool {
        let mut command = self.command(program);
        command.arg(version).stdout(Stdio::null());
        let tried = command.stderr(Stdio::null()).status();
        tried.is_ok_and(|s| s.success())
    }

    /// The program, installed if it is missing and we may: as root, or where sudo asks for no password.
    fn need(&self, program: &str, version: &str) -> Result<()> {
        if self.works(program, version) {
            return Ok(());
        }
        let say = format!(
            "{program} is missing, which the Kafka broker of the tests needs: apt-get install {}",
            PACKAGES.join(" ")
        );
        eprintln!("{say} …");
        let root = self.command("id").arg("-u").output();
        let root = root.is_ok_and(|out| out.stdout.starts_with(b"0\n"));
        let apt = |arguments: &[&str]| {
            let mut command = if root {
                self.command("apt-get")
            } else {
                let mut sudo = self.command("sudo");
                sudo.args(["-n", "apt-get"]);
                sudo
            };
            command.env("DEBIAN_FRONTEND", "noninteractive");
            command.args(arguments).status().is_ok_and(|s| s.success())
        };
        // One list that cannot be had does not matter, if the packages can.
        apt(&["update", "-q"]);
        let install = ["install", "-q", "-y", "--no-install-recommends"];
        ensure!(
            apt(&[&install[..], &PACKAGES].concat()),
            "{say} (tried it, and may not here)"
        );
        ensure!(
            self.works(program, version),
            "{say} (did it, and {program} {version} still fails)"
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    /// A machine of its own: a folder with these programs, shell scripts, and nothing else. They write into `said`.
    fn machine(programs: &[(&str, &str)]) -> Result<(tempfile::TempDir, Programs)> {
        let folder = tempfile::tempdir()?;
        for (name, script) in programs {
            let at = folder.path().join(name);
            let here = folder.path().display();
            fs::write(&at, format!("#!/bin/sh\ncd {here}\n{script}\n"))?;
            fs::set_permissions(&at, fs::Permissions::from_mode(0o755))?;
        }
        let path = folder.path().as_os_str().to_owned();
        Ok((folder, Programs(Some(path))))
    }

    fn said(folder: &Path) -> String {
        fs::read_to_string(folder.join("said")).unwrap_or_default()
    }

    /// Installs a Java.
    const APT: &str = "echo apt-get $* >> said\n\
        case $1 in install) echo '#!/bin/sh' > java; /bin/chmod +x java;; esac";

    const DONE: &str = "apt-get update -q\n\
        apt-get install -q -y --no-install-recommends default-jre-headless maven\n";

    #[test]
    fn root_installs_what_is_missing() -> Result<()> {
        let (folder, programs) = machine(&[("id", "echo 0"), ("apt-get", APT)])?;
        programs.need("java", "-version")?;
        assert_eq!(said(folder.path()), DONE);
        // Once.
        programs.need("java", "-version")?;
        assert_eq!(said(folder.path()), DONE);
        Ok(())
    }

    #[test]
    fn others_install_by_sudo_where_it_asks_for_no_password() -> Result<()> {
        let sudo = "echo sudo $1 >> said; shift; \"$@\"";
        let all = [("id", "echo 1000"), ("sudo", sudo), ("apt-get", APT)];
        let (folder, programs) = machine(&all)?;
        programs.need("java", "-version")?;
        let each = DONE.replace("apt-get ", "sudo -n\napt-get ");
        assert_eq!(said(folder.path()), each);
        Ok(())
    }

    #[test]
    fn list_that_cannot_be_had_does_not_keep_packages_away() -> Result<()> {
        let apt = format!("{APT}\n[ $1 = install ]");
        let (_folder, programs) = machine(&[("id", "echo 0"), ("apt-get", &apt)])?;
        programs.need("java", "-version")
    }

    #[test]
    fn where_we_may_not_it_says_what_is_missing_and_fails() -> Result<()> {
        let ways: [&[(&str, &str)]; 4] = [
            // No apt at all; no sudo; sudo wants a password; the packages are not there.
            &[("id", "echo 0")],
            &[("id", "echo 1000"), ("apt-get", APT)],
            &[("id", "echo 1000"), ("sudo", "exit 1"), ("apt-get", APT)],
            &[("id", "echo 0"), ("apt-get", "exit 100")],
        ];
        for way in ways {
            let (folder, programs) = machine(way)?;
            let why = programs.need("mvn", "--version").expect_err("it may not");
            assert_eq!(
                why.to_string(),
                "mvn is missing, which the Kafka broker of the tests needs: apt-get install \
                 default-jre-headless maven (tried it, and may not here)"
            );
            assert_eq!(said(folder.path()), "");
        }
        // Installed, and it is not there all the same.
        let (_folder, programs) = machine(&[("id", "echo 0"), ("apt-get", APT)])?;
        let why = programs.need("mvn", "--version").expect_err("no mvn came");
        assert!(why.to_string().contains("still fails"), "{why}");
        Ok(())
    }
}
