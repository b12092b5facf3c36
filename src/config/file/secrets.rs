//! Reads the files that a configuration names: passwords, keys and certificates. Only the parent does.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::Path,
};

use crate::config::{Camera, Mqtt, MqttSecrets, Page, Secret, Source};

/// No password and no chain of certificates is longer; the latter must fit into one message to a process (160 KiB).
const BYTES_MAX: u64 = 32 << 10;
/// A shorter token could be guessed.
const TOKEN_CHARS_MIN: usize = 16;

/// A file that a configuration names and that cannot be used. Its path is not shown, as people have written the
/// password itself there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {what}; {cure}")]
pub(crate) struct Unusable {
    /// `camera NAME: password_file` or `mqtt.…`.
    pub key: String,
    /// What is wrong with the file.
    pub what: &'static str,
    /// What to do about it.
    pub cure: &'static str,
}

/// Why a file cannot be used, and the cure.
pub(super) type Why = (&'static str, &'static str);

/// Reads a camera's password; `None` where it has none.
///
/// # Errors
/// When the file cannot be read, is empty, or holds more than one line.
pub(crate) fn camera_password(camera: &Camera) -> Result<Option<Secret>, Unusable> {
    let Source::Rtsp(rtsp) = &camera.source else { return Ok(None) };
    named(rtsp.password_file.as_deref(), password, || format!("camera {}: password_file", camera.name))
}

/// Reads what the broker's connection needs: password, authority, certificate and key.
///
/// # Errors
/// When a file cannot be read, or does not hold what its key says.
pub(crate) fn mqtt(mqtt: &Mqtt) -> Result<MqttSecrets, Unusable> {
    let chain = named(mqtt.tls_certificate_file.as_deref(), certificates, || "mqtt.tls_certificate_file".into())?;
    let key = named(mqtt.tls_key_file.as_deref(), private_key, || "mqtt.tls_key_file".into())?;
    Ok(MqttSecrets {
        password: named(mqtt.password_file.as_deref(), password, || "mqtt.password_file".into())?,
        ca_pem: named(mqtt.tls_ca_file.as_deref(), certificates, || "mqtt.tls_ca_file".into())?,
        client: chain.zip(key),
    })
}

/// Reads the status page's token; `None` where it needs none.
///
/// # Errors
/// When the file cannot be read, or what it holds is no token.
pub(crate) fn page(page: &Page) -> Result<Option<Secret>, Unusable> {
    let Page::Guarded { token_file, .. } = page else { return Ok(None) };
    named(Some(token_file), token, || "page.token_file".into())
}

fn named<T>(
    path: Option<&Path>,
    read: fn(&Path) -> Result<T, Why>,
    key: impl Fn() -> String,
) -> Result<Option<T>, Unusable> {
    path.map(|path| read(path).map_err(|(what, cure)| Unusable { key: key(), what, cure })).transpose()
}

/// A password: one line.
pub(super) fn password(path: &Path) -> Result<Secret, Why> {
    let text = text(path)?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.is_empty() {
        return Err(("the file is empty", "write the password into it"));
    }
    if line.chars().any(char::is_control) {
        return Err(("the file holds more than one line", "write the password into it and nothing else"));
    }
    Ok(Secret::new(line.to_owned()))
}

/// A token: one word that fits into an HTTP header and is too long to be guessed.
pub(super) fn token(path: &Path) -> Result<Secret, Why> {
    let text = text(path)?;
    let word = text.trim_end_matches(['\r', '\n']);
    if word.len() < TOKEN_CHARS_MIN {
        return Err(("the token in the file is shorter than 16 characters", "make one: openssl rand -hex 32"));
    }
    if !word.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(("the file holds more than letters, digits and signs", "make a token: openssl rand -hex 32"));
    }
    Ok(Secret::new(word.to_owned()))
}

/// Certificates, PEM.
pub(super) fn certificates(path: &Path) -> Result<String, Why> {
    let text = text(path)?;
    if !text.contains("-----BEGIN CERTIFICATE-----") {
        return Err(("there is no certificate in the file", "write it as PEM: -----BEGIN CERTIFICATE-----"));
    }
    Ok(text)
}

/// A private key without a passphrase, PEM.
pub(super) fn private_key(path: &Path) -> Result<Secret, Why> {
    let text = text(path)?;
    if text.contains("ENCRYPTED") {
        return Err(("the key has a passphrase", "remove it: openssl pkey -in OLD -out NEW"));
    }
    if !text.contains("PRIVATE KEY-----") {
        return Err(("there is no key in the file", "write it as PEM: -----BEGIN PRIVATE KEY-----"));
    }
    Ok(Secret::new(text))
}

/// Whether others than its owner may read or write it. A group may read a file of root's: this is how the package gives
/// secrets to the daemon.
pub(super) fn is_open_to_others(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| {
        let closed = if metadata.uid() == 0 { 0o037 } else { 0o077 };
        metadata.mode() & closed != 0
    })
}

fn text(path: &Path) -> Result<String, Why> {
    // Reading a pipe would block, and works only once.
    if !fs::metadata(path).map_err(|err| why(&err))?.is_file() {
        return Err(("this is no file", "name a file"));
    }
    let mut text = String::new();
    File::open(path).and_then(|file| file.take(BYTES_MAX + 1).read_to_string(&mut text)).map_err(|err| why(&err))?;
    if BYTES_MAX < text.len() as u64 {
        return Err(("the file is longer than 32 KiB", "name the right one"));
    }
    Ok(text)
}

fn why(err: &io::Error) -> Why {
    match err.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            ("there is no such file", "create it; relative paths start at the folder of the configuration file")
        }
        io::ErrorKind::PermissionDenied => {
            ("the file may not be read", "give it to the daemon's user, or run as that one")
        }
        io::ErrorKind::InvalidData => ("the file is not text in UTF-8", "name the right one"),
        io::ErrorKind::InvalidFilename => ("this is too long for a path", "write the path of a file"),
        _ => ("the file cannot be read", "look at the disk"),
    }
}
