//! A certificate for a broker on loopback, made by Java's own tool.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// Of a broker: signed by itself, so clients trust just it.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// Key and certificate, PKCS#12.
    pub key_store: String,
    /// Password of that file.
    pub key_password: String,
    /// The certificate as text, for `ssl.ca.pem`.
    pub pem: String,
}

/// Makes one in a folder.
pub fn certificate(folder: &Path) -> Result<Certificate> {
    super::jars()?;
    let store = folder.join("broker.p12").display().to_string();
    let password = "only-for-tests";
    let named = [
        "-alias",
        "broker",
        "-keystore",
        &store,
        "-storepass",
        password,
    ];
    let keytool = |first: &[&str], more: &[&str]| -> Result<String> {
        let done = Command::new("keytool")
            .args(first)
            .args(named)
            .args(more)
            .stdin(Stdio::null())
            .output()
            .context("start keytool, which comes with Java")?;
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        ensure!(done.status.success(), "keytool: {said}");
        Ok(said)
    };
    let make = [
        "-storetype",
        "PKCS12",
        "-keyalg",
        "EC",
        "-groupname",
        "secp256r1",
    ];
    let names = [
        "-dname",
        "CN=127.0.0.1",
        "-ext",
        "san=ip:127.0.0.1",
        "-validity",
        "2",
    ];
    keytool(&["-genkeypair"], &[&make[..], &names[..]].concat())?;
    let pem = keytool(&["-exportcert", "-rfc"], &[])?;
    Ok(Certificate {
        key_store: store,
        key_password: password.to_owned(),
        pem,
    })
}
