//! Keys in a variable or in a file.

use std::path::Path;

use cairn_ledger::LocalKey;

use crate::failure::{Exit, Failure};
use crate::program::Cairn;

/// Longest file of a key, in bytes.
const LIMIT: u64 = 64 << 10;

/// Reads a private key; `origin` says where the text is from.
pub(super) fn parse(text: &str, origin: &str) -> Result<LocalKey, Failure> {
    LocalKey::from_pem(text).map_err(|error| {
        // The text is a secret: what is wrong with it is said, and never what it is.
        let hint = other_form(text).map(str::to_owned).or_else(|| error.hint());
        Failure::new(Exit::Input, format!("{origin} holds no usable key: {error}")).with_hint(hint)
    })
}

/// What to do with a key of another form.
fn other_form(text: &str) -> Option<&'static str> {
    let text = text.trim_start();
    let begins = |with: &str| text.starts_with(with);
    if begins("-----BEGIN OPENSSH PRIVATE KEY-----") {
        Some(
            "it is a key of OpenSSH: ssh-add FILE gives it to ssh-agent, and cairn takes it from there (Ed25519 or ECDSA P-256)",
        )
    } else if begins("-----BEGIN ENCRYPTED PRIVATE KEY-----") {
        Some(
            "it is encrypted: openssl pkey -in FILE decrypts it; a key that asks for a passphrase is better kept in ssh-agent",
        )
    } else if begins("-----BEGIN PUBLIC KEY-----") || begins("ssh-") || begins("ecdsa-") {
        Some("it is the public half, which verifies and cannot sign")
    } else {
        None
    }
}

/// The text of a file; none if there is no file.
pub(super) fn read(path: &Path) -> Result<Option<String>, Failure> {
    use std::io::Read;
    let failed =
        |error: std::io::Error| Failure::new(Exit::Input, format!("cannot read {}: {error}", path.display()));
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut text = String::new();
    file.take(LIMIT).read_to_string(&mut text).map_err(failed)?;
    Ok(Some(text))
}

/// Warns of a private key that others can read.
pub(super) fn warn_if_readable(cairn: &Cairn, path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let Ok(metadata) = std::fs::metadata(path) else {
        return;
    };
    if metadata.permissions().mode() & 0o077 != 0 {
        let path = path.display();
        cairn
            .terminal
            .warn(format!("{path} can be read by others; chmod 600 {path}"));
    }
}
