use std::os::unix::fs::symlink;

use super::*;

fn env(name: &str) -> Option<OsString> {
    matches!(name, "WASMILL_SECRET_A" | "HOME_KEY").then(|| "hunter2".into())
}

fn resolve(text: &str, rules: &SecretRules) -> Result<Secret, SecretError> {
    SecretText::parse(text)?.resolve_with(rules, env)
}

#[test]
fn references_are_put_in_and_shown_as_stars() {
    let secret = resolve(
        "user:${env:WASMILL_SECRET_A}!$${x}",
        &SecretRules::default(),
    )
    .unwrap();
    assert_eq!(secret.expose(), "user:hunter2!${x}");
    assert_eq!(format!("{secret} {secret:?}"), "*** ***");
    let typed = SecretText::parse("password").unwrap();
    assert_eq!(format!("{typed} {typed:?}"), "*** ***");
    assert!(!typed.has_references());
    let typed = SecretText::parse("a${env:X}").unwrap();
    assert_eq!(format!("{typed:?}"), "***${env:X}");
    assert!(typed.has_references());
}

#[test]
fn only_names_that_the_operator_allows_are_read() {
    let refused = resolve("${env:HOME_KEY}", &SecretRules::default()).unwrap_err();
    assert!(matches!(refused, SecretError::Refused { .. }), "{refused}");
    assert!(!refused.to_string().contains("hunter2"));
    let rules = SecretRules {
        env: vec!["HOME_KEY".into()],
        dirs: vec![],
    };
    assert_eq!(
        resolve("${env:HOME_KEY}", &rules).unwrap().expose(),
        "hunter2"
    );
    let missing = resolve("${env:WASMILL_SECRET_B}", &SecretRules::default()).unwrap_err();
    assert_eq!(
        missing.to_string(),
        "${env:WASMILL_SECRET_B}: it is not set"
    );
}

#[test]
fn what_is_no_reference_is_refused() {
    for text in [
        "${",
        "${env:A",
        "${}",
        "${env:}",
        "${env:1A}",
        "${env:A B}",
        "${file:}",
        "${file:a\0b}",
        "${file:${env:A}}",
        "${secret:../t2/key}",
        "${ENV:A}",
    ] {
        assert!(
            matches!(SecretText::parse(text), Err(SecretError::Syntax(_))),
            "{text}"
        );
    }
}

#[test]
fn files_are_read_beneath_allowed_folders_only() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("allowed");
    std::fs::create_dir_all(dir.join("sub")).unwrap();
    std::fs::create_dir(folder.path().join("allowed-not")).unwrap();
    std::fs::write(dir.join("sub/key"), "s3cret\r\n").unwrap();
    std::fs::write(folder.path().join("outside"), "no").unwrap();
    std::fs::write(folder.path().join("allowed-not/key"), "no").unwrap();
    std::fs::write(dir.join("big"), vec![b'x'; 70_000]).unwrap();
    symlink("../outside", dir.join("out")).unwrap();
    symlink("sub/key", dir.join("in")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        dir.join("fifo"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    let rules = SecretRules {
        env: vec![],
        dirs: vec![dir.clone()],
    };
    let read = |path: &str| resolve(&format!("${{file:{path}}}"), &rules);
    for path in ["sub/key", "in", dir.join("sub/key").to_str().unwrap()] {
        assert_eq!(read(path).unwrap().expose(), "s3cret", "{path}");
    }
    let outside = folder.path().join("outside");
    let prefix = folder.path().join("allowed-not/key");
    for path in [
        "../outside",
        "out",
        "sub",
        "fifo",
        "big",
        "absent",
        "/etc/passwd",
        "/proc/self/environ",
        outside.to_str().unwrap(),
        prefix.to_str().unwrap(),
    ] {
        let error = read(path).unwrap_err().to_string();
        assert!(!error.contains("root:"), "{path}: {error}");
    }
    assert!(resolve("${file:sub/key}", &SecretRules::default()).is_err());
}

#[test]
fn messages_lose_the_secrets_in_them() {
    let mut redactor = Redactor::default();
    redactor.add(&Secret::new("hunter2"));
    redactor.add(&Secret::new("hunter2-and-more"));
    redactor.add(&Secret::new("a"));
    assert_eq!(
        redactor.redact("login a:hunter2-and-more, hunter2 failed"),
        "login a:***, *** failed"
    );
}
